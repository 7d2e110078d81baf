//! What the commands' arguments share, and how their values are read.

use anyhow::Context as _;
use clap::Args;
use redflag_core::{names::Text, retention::RetentionWindow};
use redflag_server::{AgentQuota, DatabaseName, key_pair::KeyPair};
use std::{path::PathBuf, time::Duration};

/// Which fleet a command is about.
#[derive(Debug, Args)]
pub(crate) struct Database {
    /// The database: a path of a SQLite file, sqlite:PATH, a PostgreSQL URL, or memory: (gone when `serve` ends)
    #[arg(long, env = "REDFLAG_DATABASE", hide_env_values = true, default_value = "redflag.db")]
    pub(crate) database: String,
}

/// Which key signs commands.
#[derive(Debug, Args)]
pub(crate) struct SigningKeyFile {
    /// The file of the key that signs commands [default: DATABASE.signing-key for a SQLite file, else redflag.signing-key]
    #[arg(long, env = "REDFLAG_SIGNING_KEY", hide_env_values = true, value_name = "FILE")]
    signing_key: Option<PathBuf>,
}

impl SigningKeyFile {
    /// The file; none where the fleet of this database, and so its key, is gone with the process.
    pub(crate) fn path(self, database: &Database) -> anyhow::Result<Option<PathBuf>> {
        match self.signing_key {
            Some(path) => Ok(Some(path)),
            None => Ok(database.database.parse::<DatabaseName>()?.signing_key()),
        }
    }
}

/// Which key signs checkpoints of the audit log.
#[derive(Debug, Args)]
pub(crate) struct AuditKeyFile {
    /// The file of the key that signs checkpoints of the audit log [default: DATABASE.audit-key for a SQLite file, else redflag.audit-key]
    #[arg(long, env = "REDFLAG_AUDIT_KEY", hide_env_values = true, value_name = "FILE")]
    audit_key: Option<PathBuf>,
}

impl AuditKeyFile {
    /// As [`SigningKeyFile::path`].
    pub(crate) fn path(self, database: &Database) -> anyhow::Result<Option<PathBuf>> {
        match self.audit_key {
            Some(path) => Ok(Some(path)),
            None => Ok(database.database.parse::<DatabaseName>()?.audit_key()),
        }
    }
}

/// What each agent may cost the server.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Quota {
    /// Bytes an agent may send at once; 429 beyond, until they are given back
    #[arg(long, env = "REDFLAG_AGENT_BYTES_AT_ONCE", hide_env_values = true, value_name = "BYTES",
        default_value_t = AgentQuota::default().bytes_at_once, value_parser = clap::value_parser!(u64).range(1..))]
    agent_bytes_at_once: u64,
    /// Bytes that are given back to an agent in a second
    #[arg(long, env = "REDFLAG_AGENT_BYTES_PER_SECOND", hide_env_values = true, value_name = "BYTES",
        default_value_t = AgentQuota::default().bytes_per_second, value_parser = clap::value_parser!(u64).range(1..))]
    agent_bytes_per_second: u64,
    /// Events an agent may cause at once; 429 beyond, until they are given back
    #[arg(long, env = "REDFLAG_AGENT_EVENTS_AT_ONCE", hide_env_values = true, value_name = "N",
        default_value_t = AgentQuota::default().events_at_once, value_parser = clap::value_parser!(u64).range(1..))]
    agent_events_at_once: u64,
    /// Events that are given back to an agent in a second
    #[arg(long, env = "REDFLAG_AGENT_EVENTS_PER_SECOND", hide_env_values = true, value_name = "N",
        default_value_t = AgentQuota::default().events_per_second, value_parser = clap::value_parser!(u64).range(1..))]
    agent_events_per_second: u64,
}

impl From<Quota> for AgentQuota {
    fn from(quota: Quota) -> Self {
        Self {
            bytes_at_once: quota.agent_bytes_at_once,
            bytes_per_second: quota.agent_bytes_per_second,
            events_at_once: quota.agent_events_at_once,
            events_per_second: quota.agent_events_per_second,
        }
    }
}

/// A person's key.
#[derive(Debug, Args)]
pub(crate) struct SignerKeyFile {
    /// The file of the person's key [default: ~/.config/redflag/signer.key]
    #[arg(long, env = "REDFLAG_SIGNER_KEY", hide_env_values = true, value_name = "FILE")]
    key: Option<PathBuf>,
}

impl SignerKeyFile {
    /// What the key is for, in errors.
    pub(crate) const PURPOSE: &str = "person's key";

    /// Where it is.
    pub(crate) fn path(&self) -> anyhow::Result<PathBuf> {
        if let Some(path) = &self.key {
            return Ok(path.clone());
        }
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let directory = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")));
        Ok(directory.context("there is no home directory; say with --key where the key is")?.join("redflag/signer.key"))
    }

    /// The key.
    pub(crate) fn read(&self) -> anyhow::Result<KeyPair> {
        let path = self.path()?;
        KeyPair::read(&path, Self::PURPOSE)?
            .with_context(|| format!("there is no key in {}; `redflag-server signer new` makes one", path.display()))
    }
}

/// For whom a command prints.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Format {
    /// Print one JSON document instead of lines for people
    #[arg(long)]
    pub(crate) json: bool,
}

/// Reads `45s`, `15m`, `24h` or `7d`.
pub(crate) fn duration(written: &str) -> Result<Duration, String> {
    let wrong = || format!("{written:?} is not a number above 0 with s, m, h or d after it, for example 15m");
    let unit = written.chars().last().ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = written[..written.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).filter(|seconds| *seconds > 0).map(Duration::from_secs).ok_or_else(wrong)
}

pub(crate) fn bytes(written: &str) -> Result<usize, String> {
    const LEAST: usize = 1_024;
    written.parse().ok().filter(|bytes| *bytes >= LEAST).ok_or_else(|| format!("{written:?} is not a number of bytes from {LEAST}"))
}

/// Reads a number of connections, of which one address may hold half.
pub(crate) fn connections(written: &str) -> Result<usize, String> {
    const MOST: usize = 1_000_000;
    let number = written.parse().ok().filter(|number| (2..=MOST).contains(number));
    number.ok_or_else(|| format!("{written:?} is not a number of connections from 2 to {MOST}"))
}

pub(crate) fn text(written: &str) -> Result<Text, String> {
    Text::parse(written).map_err(|rejection| rejection.message)
}

pub(crate) fn public_url(written: &str) -> Result<String, String> {
    let host = written.strip_prefix("https://").or_else(|| written.strip_prefix("http://")).map(|rest| rest.trim_end_matches('/'));
    match host {
        Some(host) if !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']) => Ok(written.trim_end_matches('/').to_owned()),
        _ => Err(format!("{written:?} is not like https://redflag.example")),
    }
}

/// Reads `400d`.
pub(crate) fn window(written: &str) -> Result<RetentionWindow, String> {
    let days = written.strip_suffix('d').and_then(|days| days.parse().ok());
    let days = days.ok_or_else(|| format!("{written:?} is not a number of days with d after it, for example 400d"))?;
    RetentionWindow::days(days).map_err(|error| error.message)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn durations_have_a_unit_and_are_not_zero() {
        assert_eq!(duration("24h").unwrap(), Duration::from_secs(86_400));
        for wrong in ["", "24", "h", "0s", "-1h", "1.5h", "99999999999999999999d", "9999999999999999999d", "1é"] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn windows_are_days_and_not_too_short() {
        assert_eq!(window("400d"), Ok(RetentionWindow::days(400).unwrap()));
        assert!(window("30d").is_ok(), "the limit is inclusive");
        for wrong in ["", "d", "400", "400h", "-400d", "29d", "4294967296d", "40é"] {
            assert!(window(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_could_never_work_is_refused_before_anything_starts() {
        assert_eq!(bytes("1024"), Ok(1_024));
        for wrong in ["", "0", "1023", "-1", "99999999999999999999"] {
            assert!(bytes(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(connections("2"), Ok(2));
        for wrong in ["", "1", "1000001", "-1"] {
            assert!(connections(wrong).is_err(), "{wrong:?}");
        }
    }
}
