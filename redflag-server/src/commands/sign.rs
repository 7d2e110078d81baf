//! `redflag-server sign`: a person reads what waits for signatures at a server, signs it with a key that never leaves this machine, and
//! sends the signatures.
//!
//! What is shown is read from the exact bytes that are signed. What the server says beside them is not believed: a command that is to
//! another agent, or another one than was asked for, is not signed.

use crate::{
    arguments::{Format, SignerKeyFile},
    cli::WrongUsage,
    output,
    remote::{self, Refused, Remote},
};
use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Args;
use redflag_core::{
    command::{
        envelope::Envelope,
        payload::{Command, SigningMode},
    },
    ids::{AgentId, CommandId, Digest},
};
use redflag_server::{clock, key_pair::KeyPair, reading, visible::visible};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    io::{self, IsTerminal as _},
    path::PathBuf,
    process::ExitCode,
};

/// How often a command is read and signed anew because its number was given to another one meanwhile.
const TRIES: u32 = 3;

/// Arguments of `redflag-server sign`.
#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// The server: https://…, or http:// of this machine
    #[arg(long, env = "REDFLAG_SERVER", hide_env_values = true, value_name = "URL", value_parser = remote::address)]
    server: Url,
    /// The file of an API token with the scopes read and command [default: the token itself is in `REDFLAG_TOKEN`]
    #[arg(long, env = "REDFLAG_TOKEN_FILE", hide_env_values = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    key: SignerKeyFile,
    /// Only this agent's
    #[arg(long, value_name = "ID")]
    agent: Option<AgentId>,
    /// Only this command, of --agent
    #[arg(long, value_name = "ID", requires = "agent")]
    command: Option<CommandId>,
    /// Ask once for all, after showing them
    #[arg(long)]
    all: bool,
    /// With --all: do not ask
    #[arg(long, requires = "all")]
    yes: bool,
    #[command(flatten)]
    format: Format,
}

/// A command as lists name it.
#[derive(Clone, Deserialize)]
struct Listed {
    agent_id: AgentId,
    id: CommandId,
    /// The server's word, which is not signed.
    agent_name: String,
}

#[derive(Deserialize)]
struct Page {
    commands: Vec<Listed>,
    next: Option<String>,
}

/// What the server says is to be signed. Of the rest of its answer nothing is needed.
#[derive(Deserialize)]
struct ToSign {
    envelope: String,
    signed_with: Vec<Digest>,
}

#[derive(Serialize)]
struct Signature {
    key_id: Digest,
    counter: u64,
    signature: String,
}

#[derive(Deserialize)]
struct Signed {
    state: String,
}

/// What was read of a command.
enum Read {
    /// It can be signed.
    ToSign(Box<(Command, Envelope)>),
    /// There is nothing to do, and why.
    Nothing(&'static str),
}

impl Sign {
    /// Runs the command.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        if !self.yes && !io::stdin().is_terminal() {
            return Err(WrongUsage("where nobody can be asked, give --all --yes: it signs everything that waits").into());
        }
        let signing = Signing { key: self.key.read()?, remote: Remote::new(self.server.clone(), self.token()?)?, json: self.format.json };
        let mut waiting = signing.waiting(self.agent, self.command).await?;
        // What was asked for first is signed first.
        waiting.reverse();
        let ends = if self.all { signing.all(&waiting, self.yes).await? } else { signing.each(&waiting).await? };
        let failed = ends.iter().any(|end| end["failed"].is_string());
        if self.format.json {
            output::line(&json!({"key_id": signing.key.id(), "commands": ends}).to_string())?;
        } else if ends.is_empty() {
            output::line("nothing waits for signatures")?;
        }
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn token(&self) -> anyhow::Result<String> {
        let token = match &self.token_file {
            Some(path) => std::fs::read_to_string(path).with_context(|| format!("reading the token in {}", path.display()))?,
            None => std::env::var("REDFLAG_TOKEN").context("no API token: say with --token-file where it is, or set REDFLAG_TOKEN")?,
        };
        Ok(token.trim().to_owned())
    }
}

/// A key, and the server whose commands it signs.
struct Signing {
    key: KeyPair,
    remote: Remote,
    json: bool,
}

impl Signing {
    /// The commands that wait for signatures, newest first.
    async fn waiting(&self, agent: Option<AgentId>, command: Option<CommandId>) -> anyhow::Result<Vec<Listed>> {
        let of_agent = agent.map_or_else(String::new, |agent| format!("&agent_id={agent}"));
        let first = format!("api/v1/commands?state=awaiting-signature&page_size=500{of_agent}");
        let (mut waiting, mut path) = (Vec::new(), first.clone());
        loop {
            let page: Page = self.remote.get(&path).await?;
            waiting.extend(page.commands);
            match page.next {
                // Cursors are made of letters that URLs leave as they are; another one is none of ours.
                Some(next) if next.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') => {
                    path = format!("{first}&after={next}");
                }
                Some(_) => bail!("the server's list of commands goes on at no place that could be"),
                None => break,
            }
        }
        if let Some(command) = command {
            waiting.retain(|listed| listed.id == command);
            if waiting.is_empty() {
                bail!("the command {command} does not wait for signatures");
            }
        }
        Ok(waiting)
    }

    /// Shows each and asks for each.
    async fn each(&self, waiting: &[Listed]) -> anyhow::Result<Vec<Value>> {
        let mut ends = Vec::new();
        for listed in waiting {
            let end = match self.read(listed).await {
                Ok(Read::Nothing(why)) => left(listed, why),
                Ok(Read::ToSign(read)) => {
                    self.show(listed, &read.0)?;
                    if agreed("sign it? [y/N] ")? { self.sign(listed, *read).await } else { left(listed, "declined") }
                }
                Err(error) => failed(listed, &error),
            };
            self.tell(&end)?;
            ends.push(end);
        }
        Ok(ends)
    }

    /// Shows all, and asks once if at all.
    async fn all(&self, waiting: &[Listed], yes: bool) -> anyhow::Result<Vec<Value>> {
        let (mut ends, mut to_sign) = (Vec::new(), Vec::new());
        for listed in waiting {
            match self.read(listed).await {
                Ok(Read::Nothing(why)) => ends.push(left(listed, why)),
                Ok(Read::ToSign(read)) => {
                    self.show(listed, &read.0)?;
                    to_sign.push((listed, *read));
                }
                Err(error) => ends.push(failed(listed, &error)),
            }
        }
        let agreed = to_sign.is_empty() || yes || agreed(&format!("sign all {}? [y/N] ", to_sign.len()))?;
        for (listed, read) in to_sign {
            ends.push(if agreed { self.sign(listed, read).await } else { left(listed, "declined") });
        }
        ends.iter().try_for_each(|end| self.tell(end))?;
        Ok(ends)
    }

    /// What is to be signed for a command, as far as it is what was asked for.
    async fn read(&self, listed: &Listed) -> anyhow::Result<Read> {
        let asked: anyhow::Result<ToSign> = self.remote.get(&format!("{}/to-sign", path(listed))).await;
        let ToSign { envelope, signed_with } = match asked {
            Err(error) if code(&error) == Some("illegal_step") => return Ok(Read::Nothing("it does not wait for signatures any more")),
            asked => asked?,
        };
        if signed_with.contains(&self.key.id()) {
            return Ok(Read::Nothing("this key has signed it already"));
        }
        let envelope = Envelope::read(envelope.as_bytes())?;
        let command = envelope.unverified()?;
        if command.audience.agent != listed.agent_id || command.id != listed.id {
            bail!("what is to be signed is the command {} to agent {}, which was not asked for", command.id, command.audience.agent);
        }
        if command.mode != SigningMode::OperatorSigns {
            bail!("what is to be signed says {}, and people sign {}", command.mode, SigningMode::OperatorSigns);
        }
        if command.expires_at <= clock::now() {
            return Ok(Read::Nothing("it has expired"));
        }
        Ok(Read::ToSign(Box::new((command, envelope))))
    }

    /// Signs what was agreed to. Where its number was given to another command meanwhile, the same with another number is signed, and
    /// nothing else.
    async fn sign(&self, listed: &Listed, (agreed, mut envelope): (Command, Envelope)) -> Value {
        let mut counter = agreed.counter;
        for _ in 0..TRIES {
            let signature = STANDARD.encode(self.key.sign(&envelope.bytes_to_sign()));
            let body = Signature { key_id: self.key.id(), counter, signature };
            let sent: anyhow::Result<Signed> = self.remote.post(&format!("{}/signatures", path(listed)), &body).await;
            match sent {
                Ok(Signed { state }) => return json!({"agent_id": listed.agent_id, "id": listed.id, "signed": visible(&state)}),
                Err(error) if code(&error) == Some("counter_moved") => {}
                Err(error) => return failed(listed, &error),
            }
            match self.read(listed).await {
                Ok(Read::ToSign(again)) if (Command { counter, ..again.0.clone() }) == (Command { counter, ..agreed.clone() }) => {
                    counter = again.0.counter;
                    envelope = again.1;
                }
                Ok(Read::ToSign(_)) => return failed(listed, &anyhow::anyhow!("it is another one now than what was agreed to")),
                Ok(Read::Nothing(why)) => return left(listed, why),
                Err(error) => return failed(listed, &error),
            }
        }
        failed(listed, &anyhow::anyhow!("other commands of this agent were signed or handed out all the time; try again"))
    }

    fn show(&self, listed: &Listed, command: &Command) -> anyhow::Result<()> {
        let name = format!("  (the server calls the agent {}; that is not signed)", visible(&listed.agent_name));
        for line in reading::lines(command).into_iter().chain([name]) {
            // Standard output is the document's then.
            if self.json { output::aside(&line) } else { output::line(&line)? }
        }
        Ok(())
    }

    fn tell(&self, end: &Value) -> anyhow::Result<()> {
        let id = end["id"].as_str().unwrap_or_default();
        let line = match (end["signed"].as_str(), end["failed"].as_str(), end["left"].as_str()) {
            (Some(state), _, _) => format!("{id}: signed; it is {state} now"),
            (_, Some(why), _) => format!("{id}: not signed: {why}"),
            (_, _, why) => format!("{id}: left as it is: {}", why.unwrap_or_default()),
        };
        if self.json { Ok(()) } else { output::line(&line) }
    }
}

fn path(listed: &Listed) -> String {
    format!("api/v1/commands/{}/{}", listed.agent_id, listed.id)
}

fn code(error: &anyhow::Error) -> Option<&str> {
    error.downcast_ref::<Refused>().map(|refused| refused.code.as_str())
}

fn left(listed: &Listed, why: &str) -> Value {
    json!({"agent_id": listed.agent_id, "id": listed.id, "left": why})
}

fn failed(listed: &Listed, error: &anyhow::Error) -> Value {
    json!({"agent_id": listed.agent_id, "id": listed.id, "failed": visible(&format!("{error:#}"))})
}

fn agreed(question: &str) -> anyhow::Result<bool> {
    output::ask(question)?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).context("reading the answer")?;
    Ok(["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()))
}
