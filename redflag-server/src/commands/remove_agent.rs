//! `redflag-server remove-agent`: everything stored of an agent goes.

use super::database;
use crate::{
    arguments::{self, Database, Format},
    cli::WrongUsage,
    output,
};
use anyhow::Context as _;
use clap::Args;
use redflag_core::{agent::AgentHead, audit::entry::By, event::Actor, ids::AgentId, names::Text, store::StoreErrorKind, work::Refusal};
use redflag_server::{audit::AuditLog, clock, quarantine};
use std::{
    io::{self, IsTerminal as _},
    process::ExitCode,
};

/// Arguments of `redflag-server remove-agent`.
#[derive(Debug, Args)]
pub(crate) struct RemoveAgent {
    /// The agent
    #[arg(value_name = "ID")]
    agent: AgentId,
    /// Why, in words; kept with the removal
    #[arg(long, value_name = "TEXT", value_parser = arguments::text)]
    reason: Text,
    /// The operator's name, as the removal will record it
    #[arg(long, default_value = "operator", value_parser = arguments::text)]
    name: Text,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    format: Format,
}

impl RemoveAgent {
    /// Runs the command.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let fleet = database::existing(&self.database.database).await?;
        // One that was removed before needs no second thought.
        if let Some(head) = fleet.store().agent(self.agent).await?
            && !self.yes
            && !confirmed(&head)?
        {
            anyhow::bail!("nothing was removed");
        }
        let by = By::CommandLine { name: self.name.clone() };
        AuditLog::new(fleet.clone()).before_removal(self.agent, by, &self.reason, clock::now()).await?;
        let removed = fleet.remove_agent(self.agent, Actor::Operator(self.name), Some(self.reason), clock::now()).await;
        let removed = removed.map_err(|error| match error.kind() {
            StoreErrorKind::Refused(Refusal::UnknownAgent { agent }) => anyhow::anyhow!("no agent {agent}"),
            _ => error.into(),
        })?;
        quarantine::forget(fleet.store(), self.agent).await?;
        output::line(&if self.format.json {
            serde_json::to_string(&removed)?
        } else {
            let reason = removed.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
            format!(
                "{} ({}) was removed at {} by {}{reason}\n{} events in {} batches went; the feed keeps the digest of each batch",
                removed.name, removed.agent, removed.removed_at, removed.actor, removed.events, removed.batches
            )
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Asks whoever sits at the terminal.
fn confirmed(head: &AgentHead) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        return Err(WrongUsage("a removal cannot be undone: where nobody can be asked, give --yes").into());
    }
    let AgentHead { name, agent, events, batches, .. } = head;
    output::ask(&format!("Remove {name} ({agent}) with {events} events in {batches} batches for good? [y/N] "))?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).context("reading the answer")?;
    Ok(["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()))
}
