//! `redflag-server signing-key`: the key that signs commands, and replacing it in two steps.

use super::database;
use crate::{
    arguments::{Database, Format, SigningKeyFile},
    output,
};
use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::{Args, Subcommand};
use redflag_core::command::payload::SigningMode;
use redflag_server::signing_key::SigningKey;
use serde_json::{Value, json};
use std::{fmt::Write as _, path::Path, process::ExitCode};

/// Arguments of `redflag-server signing-key`.
#[derive(Debug, Args)]
pub(crate) struct SigningKeys {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show the key that signs now, and the lines that let a host follow it
    Show(Which),
    /// Make the key that is to come, and show it; the same again shows the same one
    Prepare(Which),
    /// Put the key that was prepared in the place of the one that signs
    Rotate(Which),
}

#[derive(Debug, Args)]
struct Which {
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    file: SigningKeyFile,
    #[command(flatten)]
    format: Format,
}

impl SigningKeys {
    /// Runs the command.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let (which, step) = match self.what {
            What::Show(which) => (which, Work::Show),
            What::Prepare(which) => (which, Work::Prepare),
            What::Rotate(which) => (which, Work::Rotate),
        };
        let Which { database, file, format } = which;
        database::name(&database.database)?;
        let path = file.path(&database)?.context("a fleet in memory has no key file")?;
        let key = step.take(&path)?;
        let next = SigningKey::prepared(&path)?.filter(|next| next.id() != key.id());
        output::line(&if format.json { document(&key, next.as_ref(), &path).to_string() } else { step.told(&key, next.as_ref(), &path) })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What is done with the key.
#[derive(Clone, Copy)]
enum Work {
    Show,
    Prepare,
    Rotate,
}

impl Work {
    fn take(self, path: &Path) -> anyhow::Result<SigningKey> {
        Ok(match self {
            Self::Show => SigningKey::read(path)?
                .with_context(|| format!("no signing key at {}: a server makes one when it starts", path.display()))?,
            Self::Prepare => {
                // Preparing what replaces nothing would leave a key that nobody takes up.
                Self::Show.take(path)?;
                SigningKey::prepare(path)?
            }
            Self::Rotate => SigningKey::rotate(path)?,
        })
    }

    fn told(self, key: &SigningKey, next: Option<&SigningKey>, path: &Path) -> String {
        let lead = match self {
            Self::Show => format!("the key in {} signs commands", path.display()),
            Self::Prepare => "the key that was prepared signs nothing yet".to_owned(),
            Self::Rotate => format!("the key that was prepared is now in {}; a server takes it up when it starts", path.display()),
        };
        let facts =
            format!("fingerprint  {}\nkey id       {}\npublic key   {}", key.fingerprint(), key.id(), STANDARD.encode(key.public_key()));
        let next = next
            .map_or(String::new(), |next| format!("\nto follow    {}, which signs nothing yet (signing-key prepare)", next.fingerprint()));
        format!("{lead}\n{facts}{next}\n\n{}", self.to_do(key))
    }

    /// What people do next.
    fn to_do(self, key: &SigningKey) -> String {
        let (policy, trust) = (policy(key), |option: &str| trust(option, key));
        match self {
            Self::Show => format!("Lines for /etc/redflag/executor.toml of a host that may follow this key:\n\n{policy}"),
            Self::Prepare => format!(
                "On every host, as root: pin it in the agent beside the key in force, and add it to the policy of the executor.\n\n\
                 {}\ncat >>/etc/redflag/executor.toml <<'END'\n\n{policy}\nEND\n\n\
                 `redflag-agent doctor` tells on each host whether both are done. Then signing-key rotate.",
                trust("--next ")
            ),
            Self::Rotate => format!(
                "1. Restart the server, and of several all before the first hands out a command. Commands that were not begun are signed anew.\n\
                 2. An agent that has pinned this key drops the old one at the first command it signs. Any other refuses what it signs, until\n   \
                 somebody runs there, as root:\n\n{}\n\n\
                 3. Lines that must stand in /etc/redflag/executor.toml of every host; take those of the old key out:\n\n{policy}",
                trust("")
            ),
        }
    }
}

/// What root of a host runs in the agent's name.
fn trust(option: &str, key: &SigningKey) -> String {
    let key = STANDARD.encode(key.public_key());
    format!("setpriv --reuid=redflag-agent --regid=redflag-agent --clear-groups redflag-agent trust-server-key {option}{key}")
}

/// The block of the policy, in the form that an executor reads.
fn policy(key: &SigningKey) -> String {
    let mode = SigningMode::ServerSigns;
    format!("[[signer]]\nname = \"redflag-server\"\nmode = \"{mode}\"\npublic_key = \"{}\"", hexadecimal(&key.public_key()))
}

fn document(key: &SigningKey, next: Option<&SigningKey>, path: &Path) -> Value {
    json!({
        "fingerprint": key.fingerprint(),
        "key_id": key.id(),
        "public_key": STANDARD.encode(key.public_key()),
        "public_key_hexadecimal": hexadecimal(&key.public_key()),
        "mode": SigningMode::ServerSigns,
        "file": path.display().to_string(),
        "next_key_id": next.map(SigningKey::id),
        "next_fingerprint": next.map(SigningKey::fingerprint),
    })
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing into a string cannot fail");
        text
    })
}
