//! The command line: its arguments with the settings they make, and its commands.

use crate::output;
use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use redflag_core::{Fleet, limits, names::Text, store::Expected};
use redflag_server::{DatabaseName, EnrolmentTokenOptions, RequestLimits, Role, Server, Settings, Transport, access, open_fleet};
use serde_json::json;
use std::{error::Error, fmt, net::SocketAddr, time::Duration};
use tokio_util::sync::CancellationToken;

const EXAMPLES: &str = "\
Examples:
  redflag-server serve
      Serves http://127.0.0.1:8080 from the SQLite file redflag.db and, the first time, prints a sign-in link.
  redflag-server sign-in-link --name ada --role approver
      Prints a link that signs ada in once, within 15 minutes. The server may be running.
  redflag-server enrolment-token --seats 20 --expires 8h
      Prints a token with which 20 agents can enrol.
  redflag-server serve --database postgres://redflag:PASSWORD@db.example/redflag
  redflag-server serve --listen 0.0.0.0:8080 --behind-tls-proxy --public-url https://redflag.example
      Serves behind a proxy that ends TLS.

Exit codes: 0 done, 1 failed (standard error says why), 2 wrong usage.
Logs go to standard error; REDFLAG_LOG sets their level (info if absent).";

/// Server of RedFlag: which package updates wait on every machine, their history, and decisions about them.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API and the pages until SIGTERM or Ctrl-C
    #[command(after_help = "\
Examples:
  redflag-server serve
  redflag-server serve --database /var/lib/redflag/redflag.db --listen 127.0.0.1:9000
  redflag-server serve --database postgres://redflag:PASSWORD@db.example/redflag
  redflag-server serve --listen 0.0.0.0:8080 --behind-tls-proxy --public-url https://redflag.example")]
    Serve(Serve),
    /// Print a link that signs an operator in, once, within 15 minutes
    #[command(after_help = "\
Examples:
  redflag-server sign-in-link
  redflag-server sign-in-link --name ada --role approver

Give the database that `serve` was given. The server may be running.")]
    SignInLink(SignInLink),
    /// Print a token with which agents enrol
    #[command(after_help = "\
Examples:
  redflag-server enrolment-token
  redflag-server enrolment-token --seats 20 --expires 8h --label 'web servers'

Then, on each host: redflag-agent enrol --server URL --token TOKEN")]
    EnrolmentToken(EnrolmentToken),
}

#[derive(Debug, Args)]
struct Database {
    /// The database: a path of a SQLite file, sqlite:PATH, a PostgreSQL URL, or memory: (gone when `serve` ends)
    #[arg(long, env = "REDFLAG_DATABASE", hide_env_values = true, default_value = "redflag.db")]
    database: String,
}

#[derive(Debug, Args)]
struct Serve {
    #[command(flatten)]
    database: Database,
    /// Where to listen
    #[arg(long, env = "REDFLAG_LISTEN", hide_env_values = true, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Events per batch of a report
    #[arg(long, env = "REDFLAG_BATCH_EVENTS", hide_env_values = true, value_name = "N", default_value_t = limits::BATCH_EVENTS_DEFAULT,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::BATCH_EVENTS_MAX)))]
    batch_events: u32,
    /// Silence after which an agent counts as offline, for example 15m
    #[arg(long, env = "REDFLAG_OFFLINE_AFTER", hide_env_values = true, value_name = "TIME", default_value = "15m", value_parser = duration)]
    offline_after: Duration,
    /// How clients reach the server, where that is not the address listened on
    #[arg(long, env = "REDFLAG_PUBLIC_URL", hide_env_values = true, value_name = "URL", value_parser = public_url)]
    public_url: Option<String>,
    /// A proxy in front ends TLS: allows listening beyond loopback, and cookies are for HTTPS only
    #[arg(long, env = "REDFLAG_BEHIND_TLS_PROXY", hide_env_values = true)]
    behind_tls_proxy: bool,
    /// Most bytes of a report
    #[arg(long, env = "REDFLAG_REPORT_BYTES_MAX", hide_env_values = true, value_name = "BYTES", default_value_t = limits::REPORT_BYTES_MAX,
        value_parser = bytes)]
    report_bytes_max: usize,
    /// Most bytes of any other request
    #[arg(long, env = "REDFLAG_BODY_BYTES_MAX", hide_env_values = true, value_name = "BYTES",
        default_value_t = RequestLimits::default().body_bytes_max, value_parser = bytes)]
    body_bytes_max: usize,
}

#[derive(Debug, Args)]
struct SignInLink {
    #[command(flatten)]
    database: Database,
    /// The operator's name, as decisions will record it
    #[arg(long, default_value = "operator", value_parser = text)]
    name: Text,
    /// viewer (sees), approver (also decides) or admin (everything)
    #[arg(long, default_value = "admin")]
    role: Role,
    /// The server's address, where the running server did not note it
    #[arg(long, env = "REDFLAG_PUBLIC_URL", hide_env_values = true, value_name = "URL", value_parser = public_url)]
    public_url: Option<String>,
    /// Print one JSON document instead of a line for people
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct EnrolmentToken {
    #[command(flatten)]
    database: Database,
    /// How many agents it enrols
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(access::SEATS_MAX)))]
    seats: u32,
    /// For how long, for example 24h
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration)]
    expires: Duration,
    /// What it is for
    #[arg(long, value_name = "TEXT", value_parser = text)]
    label: Option<Text>,
    /// Print one JSON document instead of a line for people
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let done = match arguments.command {
        Command::Serve(serve) => serve.run().await,
        Command::SignInLink(link) => link.run().await,
        Command::EnrolmentToken(token) => token.run().await,
    };
    done.map_err(Failure)
}

/// Why a command failed, with its causes.
#[derive(Debug)]
pub(crate) struct Failure(anyhow::Error);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

impl Serve {
    fn settings(self) -> Settings {
        Settings {
            listen: self.listen,
            database: self.database.database,
            batch_events: self.batch_events,
            offline_after: self.offline_after,
            public_url: self.public_url,
            transport: if self.behind_tls_proxy { Transport::BehindTlsProxy } else { Transport::PlainLoopback },
            limits: RequestLimits {
                report_bytes_max: self.report_bytes_max,
                body_bytes_max: self.body_bytes_max,
                ..RequestLimits::default()
            },
        }
    }

    async fn run(self) -> anyhow::Result<()> {
        let shutdown = shutdown_on_signal().context("listening for signals")?;
        let settings = self.settings();
        // Before a file is made that nobody will serve.
        settings.check()?;
        let fleet = open_fleet(&settings).await?;
        let server = Server::bind(settings, fleet.clone()).await?;
        let first_start = note_url(&fleet, &server.url()).await?;
        output::line(&format!("serving {}", server.url()))?;
        if first_start {
            output::line(&format!("sign in (once, within 15 minutes): {}", server.sign_in_link().await?))?;
        } else {
            output::line("sign in: `redflag-server sign-in-link`, with the same --database, prints a link")?;
        }
        tracing::info!(url = server.url(), durable_on_ack = ?fleet.store().guarantees().durable_on_ack, "serving");
        server.run(shutdown).await?;
        tracing::info!("stopped");
        Ok(())
    }
}

impl SignInLink {
    async fn run(self) -> anyhow::Result<()> {
        let fleet = existing_fleet(self.database).await?;
        let url = match self.public_url {
            Some(url) => url,
            None => noted_url(&fleet).await?.context("no server has run on this database yet; start one, or give --public-url")?,
        };
        let link = access::issue_sign_in_link(fleet.store(), self.name, self.role).await?;
        let (url, expires_at) = (link.url(&url), link.expires_at);
        output::line(&if self.json { json!({"url": url, "expires_at": expires_at}).to_string() } else { url })?;
        Ok(())
    }
}

impl EnrolmentToken {
    async fn run(self) -> anyhow::Result<()> {
        let fleet = existing_fleet(self.database).await?;
        let options = EnrolmentTokenOptions { seats: self.seats, expires_in: self.expires, label: self.label };
        let (token, expires_at) = access::issue_token(fleet.store(), options).await?;
        let token = token.expose();
        let json = || json!({"token": token, "seats": self.seats, "expires_at": expires_at}).to_string();
        output::line(&if self.json { json() } else { token.to_owned() })?;
        Ok(())
    }
}

/// Opens a database that a server made; a new file would be a fleet nobody serves.
async fn existing_fleet(database: Database) -> anyhow::Result<Fleet> {
    let settings = Settings { database: database.database, ..Settings::default() };
    match settings.database.parse()? {
        DatabaseName::Memory => anyhow::bail!("a fleet in memory belongs to the process of its server"),
        DatabaseName::Sqlite(path) if !path.exists() => {
            anyhow::bail!("no database at {}; start the server first, or give --database", path.display())
        }
        _ => Ok(open_fleet(&settings).await?),
    }
}

const SETTINGS: &str = "settings";
const URL: &str = "url";

/// Notes the server's address for `sign-in-link`; answers whether no server ran on this database before.
async fn note_url(fleet: &Fleet, url: &str) -> anyhow::Result<bool> {
    let store = fleet.store();
    loop {
        let known = store.get(SETTINGS, URL).await?;
        let expected = known.as_ref().map_or(Expected::Absent, |record| Expected::Revision(record.revision));
        if known.as_ref().is_some_and(|record| record.value == url) || store.put(SETTINGS, URL, url, expected).await?.is_some() {
            return Ok(known.is_none());
        }
    }
}

async fn noted_url(fleet: &Fleet) -> anyhow::Result<Option<String>> {
    Ok(fleet.store().get(SETTINGS, URL).await?.map(|record| record.value))
}

/// Cancelled by SIGTERM or Ctrl-C.
fn shutdown_on_signal() -> std::io::Result<CancellationToken> {
    let shutdown = CancellationToken::new();
    let cancelled = shutdown.clone();
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: shutting down"),
            _ = tokio::signal::ctrl_c() => tracing::info!("interrupted: shutting down"),
        }
        cancelled.cancel();
    });
    Ok(shutdown)
}

/// Reads `45s`, `15m`, `24h` or `7d`.
fn duration(written: &str) -> Result<Duration, String> {
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

fn bytes(written: &str) -> Result<usize, String> {
    const LEAST: usize = 1_024;
    written.parse().ok().filter(|bytes| *bytes >= LEAST).ok_or_else(|| format!("{written:?} is not a number of bytes from {LEAST}"))
}

fn text(written: &str) -> Result<Text, String> {
    Text::parse(written).map_err(|rejection| rejection.message)
}

fn public_url(written: &str) -> Result<String, String> {
    let host = written.strip_prefix("https://").or_else(|| written.strip_prefix("http://")).map(|rest| rest.trim_end_matches('/'));
    match host {
        Some(host) if !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']) => Ok(written.trim_end_matches('/').to_owned()),
        _ => Err(format!("{written:?} is not like https://redflag.example")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn durations_have_a_unit_and_are_not_zero() {
        assert_eq!(duration("24h").unwrap(), Duration::from_secs(86_400));
        for wrong in ["", "24", "h", "0s", "-1h", "1.5h", "99999999999999999999d", "9999999999999999999d", "1é"] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_could_never_work_is_refused_before_anything_starts() {
        assert_eq!(bytes("1024"), Ok(1_024));
        for wrong in ["", "0", "1023", "-1", "99999999999999999999"] {
            assert!(bytes(wrong).is_err(), "{wrong:?}");
        }
    }
}
