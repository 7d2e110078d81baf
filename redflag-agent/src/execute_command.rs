//! `redflag-agent execute`: hands a signed command to the executor and shows what became of it. The agent has no say in it and needs
//! no rights for it; what it prints is what the executor answers.

use crate::{
    executor::{
        answer::{Answer, Outcome},
        command_line::read_envelope,
        service,
    },
    output::{print, show},
};
use anyhow::{Context as _, Result, bail};
use clap::Args;
use redflag_core::command::plan::{Change, Excess, Plan};
use std::{
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
};
use tokio::io::AsyncWriteExt as _;

/// Arguments of `redflag-agent execute`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  redflag-agent execute command.json
  redflag-agent execute - --json <command.json | jq .status
  redflag-agent execute command.json --executor /usr/sbin/redflag-executor     as root, without the service

Exit codes: 0 carried out, 1 begun and failed (or no answer), 3 refused and nothing has changed, 4 begun and its end was not seen.")]
pub struct ExecuteArguments {
    /// The signed command: a file, or - for standard input
    #[arg(value_name = "ENVELOPE")]
    envelope: PathBuf,
    /// Where the executor listens
    #[arg(long, value_name = "PATH", default_value = service::DEFAULT_SOCKET)]
    socket: PathBuf,
    /// Start this executor for the one command, instead of asking the one that listens
    #[arg(long, value_name = "PATH", conflicts_with = "socket")]
    executor: Option<PathBuf>,
    /// Print one JSON document instead of lines for people
    #[arg(long)]
    json: bool,
}

/// Hands the envelope over and prints the answer.
///
/// # Errors
/// When it cannot be read, or the executor gives no answer: whether it acted is unknown then, and asking again is safe, because no
/// command is carried out twice.
pub async fn run(arguments: &ExecuteArguments) -> Result<ExitCode> {
    let envelope = read_envelope(&arguments.envelope)?;
    let bytes = match &arguments.executor {
        Some(program) => start(program, &envelope).await.with_context(|| format!("could not use {}", program.display()))?,
        None => service::ask(&arguments.socket, &envelope, &mut |part| show(&part)).await.with_context(|| {
            format!("no answer from the executor at {}; is redflag-executor.socket active?", arguments.socket.display())
        })?,
    };
    let answer: Answer = serde_json::from_slice(&bytes).context("the executor's answer cannot be read; are both of one version?")?;
    print(&if arguments.json { answer.to_json() } else { text(&answer) })?;
    Ok(ExitCode::from(answer.outcome.exit_code()))
}

/// Lets an executor of our own handle the one envelope.
async fn start(program: &Path, envelope: &[u8]) -> Result<Vec<u8>> {
    let mut child = tokio::process::Command::new(program).args(["run", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().expect("standard input is piped");
    // One that ends without reading has said why.
    let _ = stdin.write_all(envelope).await;
    drop(stdin);
    let output = child.wait_with_output().await?;
    if output.stdout.is_empty() {
        bail!("it ended with {} and no answer", output.status);
    }
    Ok(output.stdout)
}

fn text(answer: &Answer) -> String {
    let command = answer.command_id.map_or_else(|| "not a command".to_owned(), |id| format!("command {id}"));
    let mut lines = vec![format!("{command}: {}", answer.outcome.summary())];
    lines.extend(details(&answer.outcome));
    lines.extend(answer.notes.iter().map(|note| format!("note: {note}")));
    lines.join("\n")
}

fn details(outcome: &Outcome) -> Vec<String> {
    match outcome {
        Outcome::Planned { plan, excess, plan_digest } => {
            let beyond = excess.iter().map(|excess| format!("  beyond the items: {}", shown_excess(excess)));
            changes(plan).chain(beyond).chain([format!("  digest of the plan: {plan_digest}")]).collect()
        }
        Outcome::WouldRun { plan: Some(plan) } => changes(plan).collect(),
        Outcome::Interrupted { items, .. } => items.iter().map(|item| format!("  {}: {}", item.package, item.found)).collect(),
        Outcome::Refused(refused) => refused.excess.iter().map(|excess| format!("  not approved: {}", shown_excess(excess))).collect(),
        _ => Vec::new(),
    }
}

fn changes(plan: &Plan) -> impl Iterator<Item = String> {
    plan.changes.iter().map(|change| format!("  {}", shown(change)))
}

fn shown(change: &Change) -> String {
    let version = |version: &Option<redflag_core::names::Version>| version.as_ref().map_or("nothing".to_owned(), ToString::to_string);
    format!("{}: {} → {}", change.package, version(&change.from), version(&change.to))
}

fn shown_excess(excess: &Excess) -> String {
    match excess {
        Excess::Missing(item) => format!("{} stays as it is", item.package),
        Excess::OtherOrigin(change) => {
            format!("{}, from {:?}", shown(change), change.origin.as_ref().map_or("nowhere", AsRef::as_ref))
        }
        Excess::NewPackage(change) | Excess::Removal(change) | Excess::OtherPackage(change) | Excess::OtherVersion(change) => shown(change),
    }
}
