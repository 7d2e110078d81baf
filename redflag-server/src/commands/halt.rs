//! `redflag-server halt`: the emergency halt of all commands.

use super::database;
use crate::{
    arguments::{self, Database, Format},
    output,
};
use clap::Args;
use redflag_core::{
    audit::{
        AuditKind, FactName,
        entry::{By, Note},
    },
    names::Text,
};
use redflag_server::{
    audit::AuditLog,
    clock,
    halt::{self, Halt},
};
use serde_json::json;
use std::process::ExitCode;

/// Arguments of `redflag-server halt`.
#[derive(Debug, Args)]
pub(crate) struct Halting {
    /// Halt all commands, and why; every page shows it
    #[arg(long, value_name = "TEXT", value_parser = arguments::text, conflicts_with = "lift")]
    reason: Option<Text>,
    /// Let commands be handed out again
    #[arg(long)]
    lift: bool,
    /// The operator's name, as the halt will record it
    #[arg(long, default_value = "operator", value_parser = arguments::text)]
    name: Text,
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    format: Format,
}

impl Halting {
    /// Runs the command.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let fleet = database::existing(&self.database.database).await?;
        let (store, log) = (fleet.store(), AuditLog::new(fleet.clone()));
        let by = By::CommandLine { name: self.name.clone() };
        let (halted, lifted) = match (self.reason, self.lift) {
            (Some(reason), _) => {
                let wanted = Halt { by: self.name, at: clock::now(), reason };
                let halted = halt::halt(store, wanted.clone()).await?;
                if halted == wanted {
                    log.note(Note::new(AuditKind::Halted, by, wanted.at).with(FactName::Reason, &wanted.reason)).await?;
                }
                (Some(halted), None)
            }
            (None, true) => {
                let lifted = halt::lift(store).await?;
                if lifted.is_some() {
                    log.note(Note::new(AuditKind::HaltLifted, by, clock::now())).await?;
                }
                (None, lifted)
            }
            (None, false) => (halt::halted(store).await?, None),
        };
        output::line(&if self.format.json {
            json!({"halted": halted.is_some(), "halt": halted, "lifted": lifted}).to_string()
        } else {
            match (&halted, &lifted) {
                (Some(halt), _) => format!("commands are halted since {} by {}: {}", halt.at, halt.by, halt.reason),
                (None, Some(halt)) => format!("commands are not halted any more (they were since {} by {})", halt.at, halt.by),
                (None, None) => "commands are not halted".to_owned(),
            }
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
