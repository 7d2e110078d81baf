//! `redflag-server prune`: retention takes the start of each agent's log.

use super::{agents, database};
use crate::{
    arguments::{self, Database, Format},
    output,
    progress::Progress,
};
use anyhow::Context as _;
use clap::Args;
use redflag_core::{audit::entry::By, ids::AgentId, names::Text, retention::RetentionWindow};
use redflag_server::{audit::AuditLog, clock};
use serde_json::{Value, json};
use std::process::ExitCode;

/// Arguments of `redflag-server prune`.
#[derive(Debug, Args)]
pub(crate) struct Prune {
    #[command(flatten)]
    database: Database,
    /// Take what was received earlier than this many days ago, at least 30d
    #[arg(long, value_name = "DAYS", value_parser = arguments::window)]
    older_than: RetentionWindow,
    /// Only of this agent
    #[arg(long, value_name = "ID")]
    agent: Option<AgentId>,
    /// Only tell what would go
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    format: Format,
}

impl Prune {
    /// Runs the command.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let fleet = database::existing(&self.database.database).await?;
        let now = clock::now();
        let chosen = agents::chosen(&fleet, self.agent).await?;
        if !self.dry_run {
            let by = By::CommandLine { name: Text::lossy("operator") };
            AuditLog::new(fleet.clone()).before_pruning(self.agent, by, self.older_than.begins_at(now), now).await?;
        }
        let progress = Progress::of(if self.dry_run { "counting" } else { "pruning" }, chosen.len());
        let would = if self.dry_run { "would go" } else { "went" };
        let mut taken: Vec<Value> = Vec::new();
        let (mut batches, mut events) = (0, 0);
        for head in &chosen {
            let name = || format!("{} ({})", head.name, head.agent);
            let pruned = match self.dry_run {
                true => fleet.prunable(head.agent, self.older_than, now).await,
                false => fleet.prune(head.agent, self.older_than, now).await,
            };
            let pruned = pruned.with_context(name)?;
            let of_agent = (pruned.batches - head.pruned.batches, pruned.events - head.pruned.events);
            if of_agent.0 > 0 {
                batches += of_agent.0;
                events += of_agent.1;
                taken.push(json!({"agent": head.agent, "name": head.name, "batches": of_agent.0, "events": of_agent.1}));
                if !self.format.json {
                    progress.aside(|| output::line(&format!("{}: {} batches with {} events {would}", name(), of_agent.0, of_agent.1)))?;
                }
            }
            progress.advance();
        }
        drop(progress);
        let before = self.older_than.begins_at(now);
        output::line(&if self.format.json {
            json!({"before": before, "dry_run": self.dry_run, "agents": taken, "batches": batches, "events": events}).to_string()
        } else {
            format!("received before {before}: {batches} batches with {events} events of {} agents {would}", taken.len())
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
