//! `redflag-server signer`: a person's key on the person's own machine, and the list of people's keys at the server.

use super::database;
use crate::{
    arguments::{self, Database, Format, SignerKeyFile},
    output,
};
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use redflag_core::{audit::entry::By, ids::Digest, names::Text};
use redflag_server::{
    AccountName,
    audit::AuditLog,
    key_pair::KeyPair,
    people::{self, ListedKey, NewKey, PersonKey},
};
use serde_json::{Value, json};
use std::{fs::DirBuilder, os::unix::fs::DirBuilderExt as _, path::Path, process::ExitCode};

/// Arguments of `redflag-server signer`.
#[derive(Debug, Args)]
pub(crate) struct Signers {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// On the person's machine: make a key, which stays in its file, and show its public half
    New(Own),
    /// On the person's machine: show the public half of the key
    Show(Own),
    /// At the server: list the keys of people, also those that were revoked
    List(Listing),
    /// At the server: list a key of a person, so that its signatures are taken
    Add(Adding),
    /// At the server: revoke a key for good; nothing that lacks its signature then is handed out or begun
    Revoke(Revoking),
}

#[derive(Debug, Args)]
struct Own {
    #[command(flatten)]
    file: SignerKeyFile,
    /// The person's account, for the lines of the policy
    #[arg(long, value_name = "NAME", default_value_t = AccountName::first())]
    person: AccountName,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Args)]
struct Listing {
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Args)]
struct Adding {
    /// The account whose key it is
    #[arg(value_name = "NAME")]
    person: AccountName,
    /// The public key, in base64, as `signer show` prints it
    #[arg(value_name = "KEY")]
    public_key: PersonKey,
    /// What tells it from the person's other keys
    #[arg(long, value_name = "TEXT", value_parser = arguments::text)]
    label: Option<Text>,
    /// The operator's name, as the list will record it
    #[arg(long, default_value = "operator", value_parser = arguments::text)]
    name: Text,
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Args)]
struct Revoking {
    /// The id of the key, as `signer list` prints it
    #[arg(value_name = "KEY-ID")]
    key: Digest,
    /// Why
    #[arg(long, value_name = "TEXT", value_parser = arguments::text)]
    reason: Option<Text>,
    /// The operator's name, as the list will record it
    #[arg(long, default_value = "operator", value_parser = arguments::text)]
    name: Text,
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    format: Format,
}

impl Signers {
    /// Runs the command.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.what {
            What::New(own) => own.make(),
            What::Show(own) => own.show(),
            What::List(listing) => listing.run().await,
            What::Add(adding) => adding.run().await,
            What::Revoke(revoking) => revoking.run().await,
        }
    }
}

impl Own {
    fn make(&self) -> anyhow::Result<ExitCode> {
        let path = self.file.path()?;
        if KeyPair::read(&path, SignerKeyFile::PURPOSE)?.is_some() {
            bail!("there is a key in {} already; `redflag-server signer show` shows it", path.display());
        }
        if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
            made.with_context(|| format!("making the directory {}", directory.display()))?;
        }
        self.tell(&KeyPair::open(&path, SignerKeyFile::PURPOSE)?, &path)
    }

    fn show(&self) -> anyhow::Result<ExitCode> {
        let path = self.file.path()?;
        self.tell(&self.file.read()?, &path)
    }

    fn tell(&self, key: &KeyPair, path: &Path) -> anyhow::Result<ExitCode> {
        let public_key = PersonKey::new(key.public_key())?;
        let policy = public_key.policy_block(&self.person);
        output::line(&if self.format.json {
            let (key_id, fingerprint) = (key.id(), key.fingerprint());
            json!({"file": path.display().to_string(), "key_id": key_id, "fingerprint": fingerprint, "public_key": public_key, "policy": policy})
                .to_string()
        } else {
            format!(
                "the key in {} signs for {}; the file stays on this machine\nfingerprint  {}\nkey id       {}\npublic key   {public_key}\n\n\
                 1. An administrator of the server lists it:\n\nredflag-server signer add {} {public_key}\n\n\
                 2. Root of each host that is to do what it signs adds to /etc/redflag/executor.toml:\n\n{policy}",
                path.display(),
                self.person,
                key.fingerprint(),
                key.id(),
                self.person
            )
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Listing {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let fleet = database::existing(&self.database.database).await?;
        let keys = people::keys(fleet.store()).await?;
        if self.format.json {
            output::line(&json!({"keys": keys.iter().map(document).collect::<Vec<_>>()}).to_string())?;
        } else if keys.is_empty() {
            output::line("no key of a person is listed")?;
        } else {
            keys.iter().try_for_each(|key| output::line(&text(key)))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Adding {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let Self { person, public_key, label, name, database, format } = self;
        let fleet = database::existing(&database.database).await?;
        let listed = people::list(&AuditLog::new(fleet), NewKey { person, public_key, label, by: By::CommandLine { name } }).await?;
        output::line(&if format.json { document(&listed).to_string() } else { text(&listed) })?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Revoking {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let Self { key, reason, name, database, format } = self;
        let fleet = database::existing(&database.database).await?;
        let revoked = people::revoke(&AuditLog::new(fleet), key, By::CommandLine { name }, reason)
            .await?
            .with_context(|| format!("no key {key} is listed"))?;
        output::line(&if format.json {
            document(&revoked).to_string()
        } else {
            format!("{}\nhosts forget it when root takes it out of their policies, /etc/redflag/executor.toml", text(&revoked))
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A key in one line.
fn text(key: &ListedKey) -> String {
    let ListedKey { person, public_key, label, listed_by, listed_at, revoked } = key;
    let label = label.as_ref().map_or_else(String::new, |label| format!(" ({label})"));
    let stands = match revoked {
        None => format!("listed {listed_at} by {listed_by}"),
        Some(revoked) => {
            let reason = revoked.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
            format!("revoked {} by {}{reason}", revoked.at, revoked.by)
        }
    };
    format!("{person}{label}  {}  {stands}  {}", public_key.fingerprint(), public_key.id())
}

fn document(key: &ListedKey) -> Value {
    let ListedKey { person, public_key, label, listed_by, listed_at, revoked } = key;
    json!({"person": person, "label": label, "key_id": public_key.id(), "fingerprint": public_key.fingerprint(), "public_key": public_key,
        "listed_by": listed_by, "listed_at": listed_at, "revoked": revoked, "policy": public_key.policy_block(person)})
}
