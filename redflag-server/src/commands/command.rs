//! `redflag-server command`: one command of an agent, and what can be done about it.

use super::{
    command_lines::{self, told},
    database,
};
use crate::{
    arguments::{self, Database, Format},
    output,
};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use redflag_core::{
    Fleet,
    audit::{self, AuditKind, entry::By},
    command::{
        record::CommandRecord,
        step::{Confirm, Retry, Step},
    },
    event::Actor,
    ids::{AgentId, CommandId, Digest},
    names::Text,
    store::{StoreError, StoreErrorKind},
};
use redflag_server::{audit::AuditLog, clock, ids, queue};
use serde_json::json;
use std::process::ExitCode;

/// Arguments of `redflag-server command`.
#[derive(Debug, Args)]
pub(crate) struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show a command: what it is to do, where it stands, its plan and what its tools printed
    Show(Which),
    /// Call a command off; one that has ended stays as it is
    Cancel(Cancel),
    /// Ask again for a command that came to nothing; prints the new one
    Retry(Again),
    /// Accept a plan that goes beyond what was approved; prints the installation
    Confirm(Accept),
}

/// Which command.
#[derive(Debug, Args)]
struct Which {
    /// Its agent
    #[arg(value_name = "AGENT")]
    agent: AgentId,
    /// The command
    #[arg(value_name = "ID")]
    command: CommandId,
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    format: Format,
}

/// Who takes a step.
#[derive(Debug, Args)]
struct Who {
    /// The operator's name, as the command will record it
    #[arg(long, default_value = "operator", value_parser = arguments::text)]
    name: Text,
}

#[derive(Debug, Args)]
struct Cancel {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    who: Who,
    /// Why, in words; kept with the command
    #[arg(long, value_name = "TEXT", value_parser = arguments::text)]
    reason: Option<Text>,
}

#[derive(Debug, Args)]
struct Again {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    who: Who,
    /// The id of the new command; the same again has one effect
    #[arg(long, value_name = "ID")]
    id: Option<CommandId>,
}

#[derive(Debug, Args)]
struct Accept {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    who: Who,
    /// The digest of the plan that was looked at, as `command show` prints it
    #[arg(long, value_name = "DIGEST")]
    plan_digest: Digest,
    /// In which words; kept with the approvals
    #[arg(long, value_name = "TEXT", value_parser = arguments::text)]
    comment: Option<Text>,
    /// The id of the installation; the same again has one effect
    #[arg(long, value_name = "ID")]
    id: Option<CommandId>,
}

impl Command {
    /// Runs the command.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.what {
            What::Show(which) => {
                let fleet = database::existing(&which.database.database).await?;
                let record = fleet.store().command(which.agent, which.command).await?.with_context(|| unknown(&which))?;
                tell(&fleet, &which, &record).await
            }
            What::Cancel(Cancel { which, who, reason }) => {
                let by = Actor::Operator(who.name.clone());
                let step = Step::Cancel { command: which.command, by, reason };
                take(which, who.name, AuditKind::CommandCancelled, step).await
            }
            What::Retry(Again { which, who, id }) => {
                let command = id.unwrap_or_else(ids::command_id);
                let step = Step::Retry(Retry { command, failed: which.command, operator: who.name.clone() });
                take(which, who.name, AuditKind::CommandRetried, step).await
            }
            What::Confirm(Accept { which, who, plan_digest, comment, id }) => {
                let command = id.unwrap_or_else(ids::command_id);
                let confirm = Confirm { command, plan: which.command, digest: plan_digest, operator: who.name.clone(), comment };
                take(which, who.name, AuditKind::PlanConfirmed, Step::Confirm(confirm)).await
            }
        }
    }
}

/// Takes a step and tells of the command it was about.
async fn take(which: Which, name: Text, kind: AuditKind, step: Step) -> anyhow::Result<ExitCode> {
    let fleet = database::existing(&which.database.database).await?;
    let taken = fleet.command(which.agent, step, clock::now()).await.map_err(refused)?;
    let record = taken.into_iter().next().context("the step answered no command")?;
    AuditLog::new(fleet.clone()).note(audit::command::note(kind, By::CommandLine { name }, &record, clock::now())).await?;
    tell(&fleet, &which, &record).await
}

/// What the queue refuses is told in its own words; the rest is a failure of the store.
fn refused(error: StoreError) -> anyhow::Error {
    match error.kind() {
        StoreErrorKind::Refused(refusal) => anyhow::anyhow!("{refusal}"),
        _ => error.into(),
    }
}

async fn tell(fleet: &Fleet, which: &Which, record: &CommandRecord) -> anyhow::Result<ExitCode> {
    let head = fleet.store().agent(which.agent).await?.with_context(|| format!("no agent {}", which.agent))?;
    let led_to = queue::led_to(fleet.store(), record).await?;
    output::line(&if which.format.json {
        let mut document = command_lines::document(&head.name, record)?;
        document["led_to"] = json!(led_to.iter().map(|other| other.id).collect::<Vec<_>>());
        document.to_string()
    } else {
        told(&head.name, record, &led_to)
    })?;
    Ok(ExitCode::SUCCESS)
}

fn unknown(which: &Which) -> String {
    format!("no command {} of agent {}", which.command, which.agent)
}
