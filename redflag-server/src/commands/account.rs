//! `redflag-server account`: who operators are, from the server's own command line.

use super::{database, password};
use crate::{
    arguments::{Database, Format},
    output,
};
use clap::{Args, Subcommand};
use redflag_core::{
    Fleet,
    audit::{AuditKind, entry::By},
    names::Text,
};
use redflag_server::{
    Role,
    access::{self, Account, AccountName, Passwords, Standing},
    audit::AuditLog,
    clock,
};
use serde_json::{Value, json};
use std::process::ExitCode;

/// Arguments of `redflag-server account`.
#[derive(Debug, Args)]
pub(crate) struct Accounts {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the accounts
    List {
        #[command(flatten)]
        on: On,
    },
    /// Make an account, without a password; `sign-in-link` opens it
    Add {
        /// Its name, as decisions will record it
        name: AccountName,
        /// viewer (sees), approver (also decides) or admin (everything)
        #[arg(long)]
        role: Role,
        #[command(flatten)]
        on: On,
    },
    /// Give an account another role; its sessions, links and API tokens end
    Role {
        /// The account
        name: AccountName,
        /// viewer, approver or admin
        role: Role,
        #[command(flatten)]
        on: On,
    },
    /// Disable an account: its sessions, links and API tokens end, and it cannot sign in
    Disable {
        /// The account
        name: AccountName,
        #[command(flatten)]
        on: On,
    },
    /// Enable an account again, with its password; what ended does not come back
    Enable {
        /// The account
        name: AccountName,
        #[command(flatten)]
        on: On,
    },
    /// Give an account a password, asked for at the terminal or read as one line from standard input; its sessions, links and API tokens end
    Password {
        /// The account
        name: AccountName,
        #[command(flatten)]
        on: On,
    },
    /// Take the second factor of an account away, of whose app and recovery codes are lost; its sessions, links and API tokens end
    RemoveSecondFactor {
        /// The account
        name: AccountName,
        #[command(flatten)]
        on: On,
    },
}

/// Which fleet, and for whom to print.
#[derive(Debug, Args)]
struct On {
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    format: Format,
}

impl On {
    async fn fleet(&self) -> anyhow::Result<Fleet> {
        database::existing(&self.database.database).await
    }
}

impl Accounts {
    /// Runs the command.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let (What::List { on }
        | What::Add { on, .. }
        | What::Role { on, .. }
        | What::Disable { on, .. }
        | What::Enable { on, .. }
        | What::Password { on, .. }
        | What::RemoveSecondFactor { on, .. }) = &self.what;
        let fleet = on.fleet().await?;
        let store = fleet.store();
        let (changed, kind) = match &self.what {
            What::List { .. } => return list(&fleet, on).await,
            What::Add { name, role, .. } => (access::add_account(store, name.clone(), *role).await?, AuditKind::AccountMade),
            What::Role { name, role, .. } => (access::set_role(store, name, *role).await?, AuditKind::AccountChanged),
            What::Disable { name, .. } => (access::set_standing(store, name, Standing::Disabled).await?, AuditKind::AccountChanged),
            What::Enable { name, .. } => (access::set_standing(store, name, Standing::Enabled).await?, AuditKind::AccountChanged),
            What::Password { name, .. } => (set_password(&fleet, name).await?, AuditKind::PasswordSet),
            What::RemoveSecondFactor { name, .. } => (access::remove_second_factor(store, name).await?, AuditKind::SecondFactorRemoved),
        };
        let by = By::CommandLine { name: Text::lossy("operator") };
        AuditLog::new(fleet.clone()).note(access::account_note(kind, by, &changed, clock::now())).await?;
        output::line(&if on.format.json { document(&changed).to_string() } else { line(&changed) })?;
        Ok(ExitCode::SUCCESS)
    }
}

async fn list(fleet: &Fleet, on: &On) -> anyhow::Result<ExitCode> {
    let accounts = access::accounts(fleet.store()).await?;
    if on.format.json {
        let accounts: Vec<Value> = accounts.iter().map(document).collect();
        output::line(&json!({"accounts": accounts}).to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    for account in &accounts {
        output::line(&line(account))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn set_password(fleet: &Fleet, name: &AccountName) -> anyhow::Result<Account> {
    // Before anybody thinks of a password for nobody.
    let known = access::account(fleet.store(), name).await?;
    let account = known.ok_or_else(|| anyhow::anyhow!("there is no account {name}"))?;
    let password = password::read(&account.name)?;
    let hash = Passwords::default().hash(password).await.map_err(|problem| anyhow::anyhow!("{}", problem.detail()))?;
    Ok(access::set_password(fleet.store(), &account.name, &hash).await?)
}

fn line(account: &Account) -> String {
    let password = if account.has_password() { "has a password" } else { "no password" };
    let factor = if account.has_second_factor() { ", and a second factor" } else { "" };
    let standing = if account.standing == Standing::Disabled { "  disabled" } else { "" };
    format!("{:<24} {:<8}  {password}{factor}{standing}", account.name, account.role)
}

fn document(account: &Account) -> Value {
    json!({
        "name": account.name,
        "role": account.role,
        "disabled": account.standing == Standing::Disabled,
        "has_password": account.has_password(),
        "has_second_factor": account.has_second_factor(),
        "created_at": account.created_at,
    })
}
