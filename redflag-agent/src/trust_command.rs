//! `redflag-agent trust-server-key`: a person of this host pins another key of the server. Nothing else ever changes the pin.
//!
//! Takes no lock, so it works while `run` does, which reads the pin anew before each poll.

use crate::{
    executor::policy::DEFAULT_POLICY,
    home::AgentHome,
    identity::Identity,
    output::print,
    signer::{PinnedSigner, ShownSigner},
};
use anyhow::Result;
use clap::Args;
use redflag_core::command::payload::SigningMode;
use serde::Serialize;
use std::{path::Path, process::ExitCode};

/// Arguments of `redflag-agent trust-server-key`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  redflag-agent trust-server-key 11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
  redflag-agent trust-server-key 11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo= --json | jq .new.fingerprint

Take the key from the server's operator, not from the server's answers. The policy of the executor is root's and stays as it is:
the lines that are printed belong into it.

Exit codes: 0 the key is pinned (or was before), 1 it is no key, or no agent is enrolled here; nothing has changed then.")]
pub struct TrustArguments {
    /// The server's public key, in base64
    #[arg(value_name = "KEY")]
    key: String,
    /// Print one JSON document instead of lines for people
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Replaced {
    old: Option<ShownSigner>,
    new: ShownSigner,
}

/// Pins the key and prints the old one and the new one.
///
/// # Errors
/// When it is no key, there is no enrolled agent, its files cannot be used, or the output cannot be written.
pub fn run(state_dir: &Path, arguments: &TrustArguments) -> Result<ExitCode> {
    let home = AgentHome::existing(state_dir)?;
    let identity = Identity::enrolled(&home)?;
    let mode = identity.signer.as_ref().map_or(SigningMode::ServerSigns, PinnedSigner::mode);
    let new = PinnedSigner::parse(&arguments.key, mode)?;
    let replaced = Replaced { old: identity.signer.as_ref().map(PinnedSigner::shown), new: new.shown() };
    let block = new.policy_block(identity.server.host());
    if identity.signer.as_ref() != Some(&new) {
        Identity { signer: Some(new), ..identity }.write_without_key(&home)?;
    }
    print(&if arguments.json { serde_json::to_string_pretty(&replaced)? } else { text(&replaced, &block) })?;
    Ok(ExitCode::SUCCESS)
}

fn text(Replaced { old, new }: &Replaced, block: &str) -> String {
    let old = old.as_ref().map_or("none", |old| &old.fingerprint);
    format!("old key  {old}\nnew key  {} ({})\n\n{}", new.fingerprint, new.mode, policy_hint(block))
}

/// What root has to do before a key commands the host.
pub(crate) fn policy_hint(block: &str) -> String {
    format!("A key commands this host only if root has it in {DEFAULT_POLICY}:\n\n{block}")
}
