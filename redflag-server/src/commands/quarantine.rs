//! `redflag-server quarantine`: agents in quarantine, and letting one out.

use super::database;
use crate::{
    arguments::{self, Database, Format},
    output,
};
use clap::Args;
use redflag_core::{audit::entry::By, ids::AgentId, names::Text};
use redflag_server::{audit::AuditLog, clock, quarantine};
use serde_json::json;
use std::process::ExitCode;

/// Arguments of `redflag-server quarantine`.
#[derive(Debug, Args)]
pub(crate) struct Quarantined {
    /// Let this agent out
    #[arg(long, value_name = "AGENT")]
    release: Option<AgentId>,
    /// The operator's name, as the audit log will record it
    #[arg(long, default_value = "operator", value_parser = arguments::text)]
    name: Text,
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    format: Format,
}

impl Quarantined {
    /// Runs the command.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let fleet = database::existing(&self.database.database).await?;
        if let Some(agent) = self.release {
            let by = By::CommandLine { name: self.name };
            let ended = quarantine::release(&AuditLog::new(fleet), agent, by, clock::now()).await?;
            let ended = ended.ok_or_else(|| anyhow::anyhow!("no agent {agent} is in quarantine"))?;
            output::line(&match self.format.json {
                true => json!({"released": agent, "quarantine": ended}).to_string(),
                false => format!("{agent} is not in quarantine any more (it was since {}: {})", ended.at, ended.reason),
            })?;
            return Ok(ExitCode::SUCCESS);
        }
        let all = quarantine::all(fleet.store()).await?;
        if self.format.json {
            output::line(&json!({"quarantined": all}).to_string())?;
        } else if all.is_empty() {
            output::line("no agent is in quarantine")?;
        }
        for (agent, quarantine) in all.iter().filter(|_| !self.format.json) {
            output::line(&format!("{agent} since {}: {}", quarantine.at, quarantine.reason))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
