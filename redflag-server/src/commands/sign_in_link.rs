//! `redflag-server sign-in-link`: a link that signs an operator in, once.

use super::{database, noted_url};
use crate::{
    arguments::{self, Database, Format},
    output,
};
use anyhow::Context as _;
use clap::Args;
use redflag_core::audit::entry::By;
use redflag_server::{
    Role,
    access::{self, AccountName},
    audit::AuditLog,
    clock,
};
use serde_json::json;
use std::process::ExitCode;

/// Arguments of `redflag-server sign-in-link`.
#[derive(Debug, Args)]
pub(crate) struct SignInLink {
    #[command(flatten)]
    database: Database,
    /// The account, which is made if there is none; decisions record its name
    #[arg(long, default_value_t = AccountName::first())]
    name: AccountName,
    /// Of an account that is made: viewer (sees), approver (also decides) or admin (everything) [default: admin]
    #[arg(long)]
    role: Option<Role>,
    /// The server's address, where the running server did not note it
    #[arg(long, env = "REDFLAG_PUBLIC_URL", hide_env_values = true, value_name = "URL", value_parser = arguments::public_url)]
    public_url: Option<String>,
    #[command(flatten)]
    format: Format,
}

impl SignInLink {
    /// Runs the command.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let fleet = database::existing(&self.database.database).await?;
        let url = match self.public_url {
            Some(url) => url,
            None => noted_url::get(&fleet).await?.context("no server has run on this database yet; start one, or give --public-url")?,
        };
        let link = access::issue_sign_in_link(fleet.store(), self.name.clone(), self.role).await?;
        let by = By::CommandLine { name: self.name.text().clone() };
        AuditLog::new(fleet).note(access::link_note(by, &self.name, self.role, clock::now())).await?;
        let (url, expires_at) = (link.url(&url), link.expires_at);
        output::line(&if self.format.json { json!({"url": url, "expires_at": expires_at}).to_string() } else { url })?;
        Ok(ExitCode::SUCCESS)
    }
}
