//! `redflag-server commands`: the queue, newest first.

use super::{command_lines, database};
use crate::{
    arguments::{Database, Format},
    output,
};
use clap::Args;
use redflag_core::{
    ids::AgentId,
    query::{CommandFilter, CommandQuery, PageSize},
};
use serde_json::{Value, json};
use std::process::ExitCode;

/// Arguments of `redflag-server commands`.
#[derive(Debug, Args)]
pub(crate) struct Commands {
    /// Of this agent
    #[arg(long, value_name = "ID")]
    agent: Option<AgentId>,
    /// any (if absent), open, or one state
    #[arg(long, value_name = "WORD", default_value = "any")]
    state: CommandFilter,
    /// Most commands to print, the newest
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u64,
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    format: Format,
}

impl Commands {
    /// Runs the command.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let fleet = database::existing(&self.database.database).await?;
        let mut query = CommandQuery { agent: self.agent, state: self.state, size: PageSize::MAX, ..CommandQuery::default() };
        let mut found = Vec::new();
        let total = loop {
            let page = fleet.store().commands(&query).await?;
            found.extend(page.items);
            match page.next {
                Some(next) if (found.len() as u64) < self.limit => query.after = Some(next),
                _ => break page.total,
            }
        };
        found.truncate(usize::try_from(self.limit).unwrap_or(usize::MAX));
        if self.format.json {
            let commands = found.iter().map(|row| command_lines::document(&row.agent_name, &row.record));
            let commands: Vec<Value> = commands.collect::<Result<_, _>>()?;
            output::line(&json!({"total": total, "commands": commands}).to_string())?;
            return Ok(ExitCode::SUCCESS);
        }
        for row in &found {
            output::line(&command_lines::line(&row.agent_name, &row.record))?;
        }
        output::line(&format!("{} of {total} commands", found.len()))?;
        Ok(ExitCode::SUCCESS)
    }
}
