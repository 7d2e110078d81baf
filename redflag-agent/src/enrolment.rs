//! Enrolment: a token from an operator turns a key made on this host into an agent of the fleet.

use crate::{
    clock,
    error::{Error, Result},
    home::AgentHome,
    host::Machine,
    identity::Identity,
    server::{PlainHttp, Server, ServerUrl, TrustedCertificates},
    signer::{PinnedSigner, Pins},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use redflag_core::{command::delivery::SignerBody, ids::AgentId, names::Text, time::Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

const PATH: &str = "api/v1/enrol";
/// Clocks further apart than this are worth a warning: servers accept signatures for some minutes only.
const CLOCKS_APART_MAX: Duration = Duration::from_mins(2);

/// What enrolment needs.
#[derive(Clone, Debug, Default)]
pub struct EnrolOptions {
    /// The server's address, for example `https://redflag.example`.
    pub server: String,
    /// The enrolment token an operator made.
    pub token: String,
    /// The name to be shown; the host's own when none.
    pub name: Option<String>,
    /// Words that mark the agent, for example `simulated`.
    pub tags: Vec<String>,
    /// Where plain HTTP may be used.
    pub plain_http: PlainHttp,
    /// By which certificates the server proves itself; by those this host trusts when none.
    pub trusted_certificates: Option<TrustedCertificates>,
}

#[derive(Serialize)]
struct Request<'a> {
    token: &'a str,
    agent_id: AgentId,
    name: &'a Text,
    public_key: String,
    tags: &'a [String],
}

#[derive(Deserialize)]
struct Answer {
    agent_id: AgentId,
    name: Text,
    server_time: Timestamp,
    /// Servers that hand out no commands name none.
    #[serde(default)]
    signer: Option<SignerBody>,
}

/// Enrols the host and returns its identity.
///
/// Safe to repeat: after a lost answer the same id and key are sent again, and a host enrolled at this server already is left
/// as it is, except that it trusts the certificates that are given, where some are.
///
/// # Errors
/// [`Error::OtherMachine`]; when the host is enrolled at another server, the server refuses the token, or it cannot be reached.
///
/// # Cancel safety
/// Cancelling leaves an enrolment that the next call completes.
pub async fn enrol(home: &AgentHome, options: &EnrolOptions) -> Result<Identity> {
    let _lock = home.lock()?;
    Machine::settle(home)?;
    let known = Identity::read(home)?;
    let kept = known.as_ref().and_then(|known| known.server.trusted().cloned());
    let trusted = options.trusted_certificates.clone().or(kept);
    let server = ServerUrl::parse(&options.server, options.plain_http)?.trusting(trusted);
    let mut identity = match known {
        Some(known) if known.enrolled_at.is_some() && known.server == server => return Ok(known),
        Some(known) if known.enrolled_at.is_some() && known.server.as_str() == server.as_str() => {
            let identity = Identity { server, ..known };
            identity.write(home)?;
            return Ok(identity);
        }
        Some(known) if known.enrolled_at.is_some() => {
            let (path, at) = (home.path().display(), &known.server);
            return Err(Error::invalid(format!("{path} is enrolled at {at} as {:?}; use another --state-dir, or remove it", known.name)));
        }
        Some(pending) => Identity { server, name: name(options)?, ..pending },
        None => Identity::new(server, name(options)?),
    };
    identity.write(home)?;
    register(&Server::new(identity.server.clone())?, &mut identity, options).await?;
    identity.write(home)?;
    Ok(identity)
}

/// Asks the server to take the identity, and notes what it answered.
pub(crate) async fn register(server: &Server, identity: &mut Identity, options: &EnrolOptions) -> Result<()> {
    let request = Request {
        token: options.token.trim(),
        agent_id: identity.agent,
        name: &identity.name,
        public_key: STANDARD.encode(identity.public_key()),
        tags: &options.tags,
    };
    let body = serde_json::to_vec(&request).map_err(|error| Error::invalid(format!("could not encode the request: {error}")))?;
    let answer = server.post(PATH, body, None).await.map_err(|error| match error {
        Error::Unauthorized { server, problem } => Error::TokenRefused { server, problem },
        error => error,
    })?;
    let answer: Answer = serde_json::from_slice(&answer)
        .map_err(|error| server.unreachable(format!("its answer to enrolment is not readable: {error}"), None))?;
    if answer.agent_id != identity.agent {
        return Err(server.unreachable(format!("it enrolled {} instead of {}", answer.agent_id, identity.agent), None));
    }
    let signer = answer.signer.as_ref().map(PinnedSigner::from_body).transpose();
    let signer = signer.map_err(|error| server.unreachable(format!("its answer to enrolment cannot be used: {error}"), None))?;
    identity.pins = signer.map(Pins::only);
    let now = clock::now();
    let apart = now.since(answer.server_time).max(answer.server_time.since(now));
    if apart > CLOCKS_APART_MAX {
        tracing::warn!(
            apart_seconds = apart.as_secs(),
            "this host's clock and the server's differ; signed requests may be refused until they agree"
        );
    }
    identity.name = answer.name;
    identity.enrolled_at = Some(now);
    Ok(())
}

fn name(options: &EnrolOptions) -> Result<Text> {
    match &options.name {
        // A name is shown on one line, and on terminals.
        Some(name) if name.chars().any(char::is_control) => {
            Err(Error::invalid(format!("the name {name:?} is not usable: it holds control characters")))
        }
        Some(name) => Text::parse_as("name", name)
            .map_err(|rejection| Error::invalid(format!("the name {name:?} is not usable: {}", rejection.message))),
        None => Ok(crate::host::name().unwrap_or_else(|| Text::lossy("unnamed host"))),
    }
}
