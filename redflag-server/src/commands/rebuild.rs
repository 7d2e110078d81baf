//! `redflag-server rebuild`: what follows from the log is held against it, and mended.

use super::{agents, database};
use crate::{
    arguments::{Database, Format},
    output,
    progress::Progress,
};
use anyhow::Context as _;
use clap::Args;
use redflag_core::{
    agent::AgentHead,
    ids::AgentId,
    rebuild::Difference,
    store::{StoreError, StoreErrorKind},
    work::Refusal,
};
use serde_json::{Value, json};
use std::{error::Error, process::ExitCode};

/// Arguments of `redflag-server rebuild`.
#[derive(Debug, Args)]
pub(crate) struct Rebuild {
    #[command(flatten)]
    database: Database,
    /// Compare only, and change nothing; over all agents also the fleet's totals
    #[arg(long)]
    check: bool,
    /// Only this agent
    #[arg(long, value_name = "ID")]
    agent: Option<AgentId>,
    #[command(flatten)]
    format: Format,
}

/// What was found, told at once to people and at the end to programs.
#[derive(Debug)]
struct Findings {
    format: Format,
    differences: Vec<Value>,
    damaged: Vec<Value>,
    different: usize,
}

impl Rebuild {
    /// Runs the command.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let fleet = database::existing(&self.database.database).await?;
        let chosen = agents::chosen(&fleet, self.agent).await?;
        let mut found = Findings { format: self.format, differences: Vec::new(), damaged: Vec::new(), different: 0 };
        let progress = Progress::of(if self.check { "comparing" } else { "rebuilding" }, chosen.len());
        for head in &chosen {
            let done = if self.check { fleet.check(head.agent).await } else { fleet.rebuild(head.agent).await };
            found.take(&progress, head, done)?;
            progress.advance();
        }
        if self.check && self.agent.is_none() {
            let ids: Vec<_> = chosen.iter().map(|head| head.agent).collect();
            progress.tell("adding up the totals");
            found.different(&progress, "the fleet", &fleet.check_totals(&ids).await?)?;
        }
        drop(progress);
        found.conclude(chosen.len(), self.check)
    }
}

impl Findings {
    fn take(&mut self, progress: &Progress, head: &AgentHead, done: Result<Vec<Difference>, StoreError>) -> anyhow::Result<()> {
        let name = format!("{} ({})", head.name, head.agent);
        match done {
            Ok(differences) => self.different(progress, &name, &differences),
            // One damaged log is no reason to leave the others as they are.
            Err(error) if *error.kind() == StoreErrorKind::Corrupt => {
                let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
                self.damaged.push(json!({"agent": head.agent, "cause": cause}));
                self.tell(progress, &format!("{name}: its log is damaged: {cause}"))
            }
            // Removed meanwhile.
            Err(error) if matches!(error.kind(), StoreErrorKind::Refused(Refusal::UnknownAgent { .. })) => Ok(()),
            Err(error) => Err(error).context(name),
        }
    }

    fn different(&mut self, progress: &Progress, whose: &str, differences: &[Difference]) -> anyhow::Result<()> {
        self.different += differences.len();
        for Difference { agent, what, stored, expected } in differences {
            if self.format.json {
                self.differences.push(json!({"agent": agent, "what": what, "stored": stored, "expected": expected}));
            }
            self.tell(progress, &format!("{whose}: {what}\n  stored   {stored}\n  expected {expected}"))?;
        }
        Ok(())
    }

    fn tell(&self, progress: &Progress, text: &str) -> anyhow::Result<()> {
        if self.format.json { Ok(()) } else { progress.aside(|| output::line(text)) }
    }

    fn conclude(self, agents: usize, check: bool) -> anyhow::Result<ExitCode> {
        let Self { format, differences, damaged, different } = self;
        let said = if format.json {
            json!({"agents": agents, "differences": differences, "damaged": damaged, "mended": !check && different > 0}).to_string()
        } else {
            let counted = |number: usize, thing: &str| format!("{number} {thing}{}", if number == 1 { "" } else { "s" });
            let differences = counted(different, "difference");
            let outcome = match (different, check) {
                (0, _) => "everything is what the log says".to_owned(),
                (_, true) => format!("{differences}, which rebuild without --check mends"),
                (_, false) => format!("{differences}, mended"),
            };
            let damaged = if damaged.is_empty() { String::new() } else { format!("; damaged: {}", counted(damaged.len(), "log")) };
            format!("{}: {outcome}{damaged}", counted(agents, "agent"))
        };
        output::line(&said)?;
        let well = damaged.is_empty() && (different == 0 || !check);
        Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
