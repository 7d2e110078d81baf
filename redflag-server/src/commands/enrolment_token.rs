//! `redflag-server enrolment-token`: a token with which agents enrol.

use super::database;
use crate::{
    arguments::{self, Database, Format},
    output,
};
use clap::Args;
use redflag_core::{audit::entry::By, names::Text};
use redflag_server::{EnrolmentTokenOptions, access, audit::AuditLog, clock};
use serde_json::json;
use std::{process::ExitCode, time::Duration};

/// Arguments of `redflag-server enrolment-token`.
#[derive(Debug, Args)]
pub(crate) struct EnrolmentToken {
    #[command(flatten)]
    database: Database,
    /// How many agents it enrols
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(access::SEATS_MAX)))]
    seats: u32,
    /// For how long, for example 24h
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = arguments::duration)]
    expires: Duration,
    /// What it is for
    #[arg(long, value_name = "TEXT", value_parser = arguments::text)]
    label: Option<Text>,
    #[command(flatten)]
    format: Format,
}

impl EnrolmentToken {
    /// Runs the command.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let fleet = database::existing(&self.database.database).await?;
        let options = EnrolmentTokenOptions { seats: self.seats, expires_in: self.expires, label: self.label };
        let (token, expires_at) = access::issue_token(fleet.store(), options.clone()).await?;
        let by = By::CommandLine { name: Text::lossy("operator") };
        AuditLog::new(fleet).note(access::token_note(by, &options, expires_at, clock::now())).await?;
        let token = token.expose();
        let json = || json!({"token": token, "seats": self.seats, "expires_at": expires_at}).to_string();
        output::line(&if self.format.json { json() } else { token.to_owned() })?;
        Ok(ExitCode::SUCCESS)
    }
}
