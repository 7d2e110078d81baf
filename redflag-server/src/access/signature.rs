//! Agents: the signature of a request, verified against the public key registered at enrolment.

use super::{
    ClientAddress,
    replay::{self, Sighting},
};
use crate::{app::AppState, problem::Problem, quarantine};
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use ed25519_dalek::{Signature, VerifyingKey};
use redflag_core::{
    ids::AgentId,
    signing::{self, SignatureParameters, SignedRequest},
};
use std::time::Duration;

/// How far the time of a signature may lie from ours, in seconds, either way.
const CREATED_SECONDS_MAX: i64 = 300;

/// The agent whose key signed a request (clause C3).
///
/// As an extractor it is there on routes with [`super::Policy::Agent`] only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentCredential {
    /// The agent.
    pub agent: AgentId,
}

impl FromRequestParts<AppState> for AgentCredential {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _app: &AppState) -> Result<Self, Problem> {
        parts.extensions.get().copied().ok_or_else(Problem::unauthorized)
    }
}

/// Verifies all of a request but its body, whose digest is among what was signed.
///
/// Every failure answers the same words, so that a stranger learns nothing of which agents exist.
///
/// # Errors
/// 401; 429 for strangers whose address has shown too many signatures that did not hold; 503 when the store fails.
pub(super) async fn verify(app: &AppState, parts: &Parts) -> Result<AgentCredential, Problem> {
    let (address, signed) = (ClientAddress::of(app, parts), Signed::read(&parts.headers));
    if !signed.as_ref().is_some_and(|signed| app.quotas.knows(signed.parameters.agent)) {
        app.strangers.admit(address)?;
    }
    app.strangers.checked(address, held(app, parts, signed).await)
}

async fn held(app: &AppState, parts: &Parts, signed: Option<Signed<'_>>) -> Result<AgentCredential, Problem> {
    let signed = signed.ok_or_else(|| Problem::unauthorized().because("it is not signed as agents sign"))?;
    let (now, agent) = (app.now().as_micros() / 1_000_000, signed.parameters.agent);
    let unproven = |why: &str| Problem::unauthorized().because(format!("{why}; it says it is of agent {agent}"));
    if signed.parameters.created.abs_diff(now) > CREATED_SECONDS_MAX.unsigned_abs() {
        return Err(unproven("it was signed at another time"));
    }
    let head = app.fleet.store().agent(agent).await?.ok_or_else(|| unproven("no such agent is enrolled"))?;
    let key = VerifyingKey::from_bytes(&head.public_key).map_err(|_| unproven("the agent's key is none"))?;
    let verified = authorities(app, &parts.headers).any(|authority| {
        let request = SignedRequest {
            method: parts.method.as_str(),
            authority: &authority,
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or_default(),
            content_digest: signed.content_digest,
        };
        key.verify_strict(signed.parameters.signature_base(&request).as_bytes(), &signed.signature).is_ok()
    });
    if !verified {
        return Err(unproven("the signature does not hold"));
    }
    match replay::note(app, &signed.parameters).await? {
        Sighting::First => {}
        Sighting::TwoHosts => quarantine::two_hosts(app, agent).await?,
        Sighting::Replayed => return Err(unproven("it came before")),
        Sighting::TooMany => {
            let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", "too many requests of this agent");
            let problem = problem.because(format!("agent {agent} sends too many requests"));
            return Err(problem.with_retry_after(Duration::from_secs(CREATED_SECONDS_MAX.unsigned_abs())));
        }
    }
    quarantine::admit(app.fleet.store(), agent).await?;
    Ok(AgentCredential { agent })
}

/// The names by which clients may have called this server: the `Host` they sent and the configured public URL.
pub(super) fn authorities(app: &AppState, headers: &HeaderMap) -> impl Iterator<Item = String> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_ascii_lowercase);
    let public = app.settings.public_url.as_deref().and_then(|url| url.split_once("://"));
    let public = public.and_then(|(_, rest)| rest.split('/').next()).map(str::to_ascii_lowercase);
    host.into_iter().chain(public)
}

struct Signed<'a> {
    parameters: SignatureParameters,
    signature: Signature,
    content_digest: &'a str,
}

impl<'a> Signed<'a> {
    /// The three headers, each exactly once.
    fn read(headers: &'a HeaderMap) -> Option<Self> {
        let only = |name: &str| {
            let mut values = headers.get_all(name).iter();
            let first = values.next()?.to_str().ok()?;
            if values.next().is_some() { None } else { Some(first) }
        };
        let parameters = SignatureParameters::from_header(only(signing::SIGNATURE_INPUT)?).ok()?;
        let signature = Signature::from_bytes(&signing::read_signature_header(only(signing::SIGNATURE)?).ok()?);
        Some(Self { parameters, signature, content_digest: only(signing::CONTENT_DIGEST)? })
    }
}
