//! `redflag-agent forget-checkpoint`: a person of this host believes the server's audit log from now on as it stands, for example after a
//! backup was restored. Works while `run` does.

use crate::{home::AgentHome, output::print, witness};
use clap::Args;
use std::{path::Path, process::ExitCode};

/// Arguments of `redflag-agent forget-checkpoint`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  redflag-agent forget-checkpoint
  redflag-agent forget-checkpoint --json

Do it only when the server's operator has said why the audit log went back or on differently, or why another key signs it: this host is a \
witness, and what it forgets it cannot testify to.")]
pub struct ForgetArguments {
    /// Print one JSON document instead of lines for people
    #[arg(long)]
    json: bool,
}

/// Forgets, and prints what was forgotten.
///
/// # Errors
/// When there is no state directory, its file cannot be used, or the output cannot be written.
pub fn run(state_dir: &Path, arguments: &ForgetArguments) -> anyhow::Result<ExitCode> {
    let forgotten = witness::forget(&AgentHome::existing(state_dir)?)?;
    print(&match &forgotten {
        _ if arguments.json => serde_json::to_string_pretty(&serde_json::json!({"forgotten": forgotten}))?,
        None => "no checkpoint was kept".to_owned(),
        Some(witnessed) => {
            let number = witnessed.checkpoint.map_or_else(|| "no checkpoint".to_owned(), |number| format!("checkpoint {number}"));
            let objection = witnessed.objection.as_ref().map_or_else(String::new, |(at, what)| format!("\nobjection of {at}: {what}"));
            format!("forgotten    {number} of the log that key {} signs{objection}", witnessed.key_fingerprint)
        }
    })?;
    Ok(ExitCode::SUCCESS)
}
