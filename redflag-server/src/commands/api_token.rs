//! `redflag-server api-token`: what scripts and integrations carry, from the server's own command line.

use super::database;
use crate::{
    arguments::{self, Database, Format},
    cli::WrongUsage,
    output,
};
use anyhow::bail;
use clap::{Args, Subcommand};
use redflag_core::{
    Fleet,
    audit::{AuditKind, entry::By},
    names::Text,
};
use redflag_server::{
    Scope,
    access::{self, API_TOKEN_LIFETIME_MAX, AccountName, ApiToken, ApiTokenOptions},
    audit::AuditLog,
    clock,
};
use serde_json::json;
use std::{collections::BTreeSet, process::ExitCode, time::Duration};

/// Arguments of `redflag-server api-token`.
#[derive(Debug, Args)]
pub(crate) struct ApiTokens {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a token and print it, once
    Create {
        /// Whose it is: it may do what both its scopes and this account's role allow
        #[arg(long, value_name = "NAME")]
        account: AccountName,
        /// read, decide, command, enrol, administer; may be repeated
        #[arg(long, required = true, value_name = "WORD", value_delimiter = ',')]
        scope: Vec<Scope>,
        /// For how long, at most 366d
        #[arg(long, value_name = "TIME", default_value = "90d", value_parser = arguments::duration)]
        expires: Duration,
        /// What it is for
        #[arg(long, value_name = "TEXT", value_parser = arguments::text)]
        label: Text,
        #[command(flatten)]
        database: Database,
        #[command(flatten)]
        format: Format,
    },
    /// List the tokens that work, the newest first
    List {
        /// Of this account
        #[arg(long, value_name = "NAME")]
        account: Option<AccountName>,
        #[command(flatten)]
        database: Database,
        #[command(flatten)]
        format: Format,
    },
    /// Revoke a token
    Revoke {
        /// Its id, as `list` prints it
        id: String,
        #[command(flatten)]
        database: Database,
        #[command(flatten)]
        format: Format,
    },
}

impl ApiTokens {
    /// Runs the command.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.what {
            What::Create { account, scope, expires, label, database, format } => {
                if expires > API_TOKEN_LIFETIME_MAX {
                    return Err(WrongUsage("an API token ends after at most 366d").into());
                }
                let fleet = database::existing(&database.database).await?;
                let scopes: BTreeSet<Scope> = scope.into_iter().collect();
                let options = ApiTokenOptions { account, label, scopes, expires_in: expires };
                let made = access::issue_api_token(fleet.store(), options).await?;
                note(&fleet, AuditKind::TokenMade, &made.listed).await?;
                let json = || json!({"token": made.expose(), "listed": made.listed}).to_string();
                output::line(&if format.json { json() } else { made.expose() })?;
            }
            What::List { account, database, format } => {
                let fleet = database::existing(&database.database).await?;
                let tokens = access::api_tokens(fleet.store(), account.as_ref()).await?;
                if format.json {
                    output::line(&json!({"tokens": tokens}).to_string())?;
                    return Ok(ExitCode::SUCCESS);
                }
                for token in &tokens {
                    output::line(&line(token))?;
                }
            }
            What::Revoke { id, database, format } => {
                let fleet = database::existing(&database.database).await?;
                let Some(revoked) = access::revoke_api_token(fleet.store(), None, &id).await? else { bail!("there is no API token {id}") };
                note(&fleet, AuditKind::TokenRevoked, &revoked).await?;
                let json = || serde_json::to_string(&revoked);
                output::line(&if format.json { json()? } else { format!("{} was revoked", revoked.id) })?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Puts it down in the audit log.
async fn note(fleet: &Fleet, kind: AuditKind, token: &ApiToken) -> anyhow::Result<()> {
    let by = By::CommandLine { name: Text::lossy("operator") };
    Ok(AuditLog::new(fleet.clone()).note(access::api_token_note(kind, by, token, clock::now())).await?)
}

fn line(token: &ApiToken) -> String {
    let scopes: Vec<&str> = token.scopes.iter().map(|scope| scope.as_str()).collect();
    let used = token.last_used_at.map_or_else(|| "never used".to_owned(), |at| format!("used {at}"));
    let ApiToken { id, account, label, expires_at, .. } = token;
    format!("{id}  {account}  {}  ends {expires_at}  {used}  {label}", scopes.join(","))
}
