//! `redflag-agent trust-server-key`: a person of this host pins another key of the server, or the one that is to come. Nothing else pins
//! a key; `run` only drops the old one when the next one has signed.
//!
//! Works while `run` does, which reads the pins anew for each command.

use crate::{
    error::{Error, Result},
    executor::policy::DEFAULT_POLICY,
    home::AgentHome,
    identity::Identity,
    output::print,
    signer::{PinnedSigner, Pins, ShownSigner},
};
use clap::Args;
use redflag_core::command::payload::SigningMode;
use serde::Serialize;
use std::{path::Path, process::ExitCode};

/// Arguments of `redflag-agent trust-server-key`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  redflag-agent trust-server-key 11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
  redflag-agent trust-server-key --next 11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
  redflag-agent trust-server-key 11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo= --mode operator-signs
  redflag-agent trust-server-key 11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo= --json | jq .new.fingerprint

With --next the key is pinned beside the one in force, before the server changes it: the first command that it signs makes it the only \
one. Without, it replaces all that is pinned, at once. With --mode the host follows a server that has changed whose keys sign.

Take the key from the server's operator, not from the server's answers. The policy of the executor is root's and stays as it is:
the lines that are printed belong into it.

Exit codes: 0 the key is pinned (or was before), 1 it is no key, or no agent is enrolled here; nothing has changed then.")]
pub struct TrustArguments {
    /// The server's public key, in base64
    #[arg(value_name = "KEY")]
    key: String,
    /// Pin it as the key to come, and keep the one in force until it has signed a command
    #[arg(long)]
    next: bool,
    /// Whose keys sign commands there: server-signs, or operator-signs (keys of people) [default: as pinned, else server-signs]
    #[arg(long, value_name = "WORD")]
    mode: Option<SigningMode>,
    /// Print one JSON document instead of lines for people
    #[arg(long)]
    json: bool,
}

impl TrustArguments {
    /// What is pinned afterwards.
    fn applied_to(&self, pins: Option<Pins>) -> Result<Pins> {
        let pinned = pins.as_ref().map_or(SigningMode::ServerSigns, |pins| pins.current().mode());
        let mode = self.mode.unwrap_or(pinned);
        let key = PinnedSigner::parse(&self.key, mode)?;
        match pins {
            _ if !self.next => Ok(Pins::only(key)),
            None => Err(Error::invalid("no key of the server is pinned, and so none can be the next one; leave --next out")),
            // The same command again, after the key has signed, is no mistake.
            Some(pins) if *pins.current() == key => Ok(pins),
            Some(pins) => pins.with_next(key),
        }
    }
}

/// The key in force before and now, and the one to come.
#[derive(Serialize)]
struct Replaced {
    old: Option<ShownSigner>,
    new: ShownSigner,
    next: Option<ShownSigner>,
}

/// Pins the key and prints what was pinned and what is.
///
/// # Errors
/// When it is no key, there is no enrolled agent, its files cannot be used, or the output cannot be written.
pub fn run(state_dir: &Path, arguments: &TrustArguments) -> anyhow::Result<ExitCode> {
    let home = AgentHome::existing(state_dir)?;
    let identity = Identity::enrolled(&home)?;
    let (before, pins) = Identity::change_pins(&home, |pins| arguments.applied_to(pins))?;
    let name = identity.server.host();
    let shown = |signer: &PinnedSigner| signer.shown(name);
    let replaced =
        Replaced { old: before.as_ref().map(|pins| shown(pins.current())), new: shown(pins.current()), next: pins.next().map(shown) };
    print(&if arguments.json { serde_json::to_string_pretty(&replaced)? } else { text(&replaced, &pins, name) })?;
    Ok(ExitCode::SUCCESS)
}

fn text(Replaced { old, new, next }: &Replaced, pins: &Pins, name: &str) -> String {
    let old = old.as_ref().map_or("none", |old| &old.fingerprint);
    let next = next.as_ref().map_or(String::new(), |next| format!("next key {}: {FOLLOWED}\n", next.fingerprint));
    format!("old key  {old}\nnew key  {} ({})\n{next}\n{}", new.fingerprint, new.mode, policy_hint(pins, name))
}

/// What becomes of a key to come.
pub(crate) const FOLLOWED: &str = "the first command it signs makes it the only one";

/// What root has to do before keys command the host, under the `name` of the server.
pub(crate) fn policy_hint(pins: &Pins, name: &str) -> String {
    match pins.current().mode() {
        SigningMode::ServerSigns => {
            format!("A key commands this host only if root has it in {DEFAULT_POLICY}:\n\n{}", pins.policy_blocks(name))
        }
        SigningMode::OperatorSigns => format!(
            "People sign commands ({}): root adds to {DEFAULT_POLICY} the lines that each of them has from `redflag-server signer show`, and \
             none of the server's key, which commands nothing here.",
            SigningMode::OperatorSigns
        ),
    }
}
