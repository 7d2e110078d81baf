//! `redflag-server serve`: the API and the pages, until a signal arrives.

use super::noted_url;
use crate::{
    arguments::{self, AuditKeyFile, Database, SigningKeyFile},
    cli::WrongUsage,
    interrupt, open_files, output,
};
use anyhow::Context as _;
use clap::Args;
use redflag_core::{
    command::{
        payload::{SideEffect, SigningMode},
        record::Terms,
    },
    limits,
};
use redflag_server::{DatabaseName, RequestLimits, Server, Settings, TlsFiles, Transport, TrustedProxy, open_fleet};
use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

/// Arguments of `redflag-server serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    signing_key: SigningKeyFile,
    #[command(flatten)]
    audit_key: AuditKeyFile,
    /// What installing approved updates may change beyond them without a second look: new-package, other-package, removal; may be repeated
    #[arg(long, env = "REDFLAG_ALLOW_SIDE_EFFECT", hide_env_values = true, value_name = "WORD", value_delimiter = ',')]
    allow_side_effect: Vec<SideEffect>,
    /// Whose keys sign commands: server-signs or operator-signs (people sign, with keys that are not on the server)
    #[arg(long, env = "REDFLAG_MODE", hide_env_values = true, value_name = "WORD", default_value_t = SigningMode::ServerSigns)]
    mode: SigningMode,
    /// With --mode operator-signs: how many people must sign each command
    #[arg(long, env = "REDFLAG_SIGNATURES", hide_env_values = true, value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=limits::COMMAND_SIGNATURES_MAX as i64))]
    signatures: Option<u32>,
    /// Where to listen
    #[arg(long, env = "REDFLAG_LISTEN", hide_env_values = true, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Events per batch of a report
    #[arg(long, env = "REDFLAG_BATCH_EVENTS", hide_env_values = true, value_name = "N", default_value_t = limits::BATCH_EVENTS_DEFAULT,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::BATCH_EVENTS_MAX)))]
    batch_events: u32,
    /// Silence after which an agent counts as offline, for example 15m
    #[arg(long, env = "REDFLAG_OFFLINE_AFTER", hide_env_values = true, value_name = "TIME", default_value = "15m", value_parser = arguments::duration)]
    offline_after: Duration,
    /// How clients reach the server, where that is not the address listened on
    #[arg(long, env = "REDFLAG_PUBLIC_URL", hide_env_values = true, value_name = "URL", value_parser = arguments::public_url)]
    public_url: Option<String>,
    /// A proxy in front ends TLS: allows listening beyond loopback, for proxies that --trusted-proxy lists; cookies are for HTTPS only
    #[arg(long, env = "REDFLAG_BEHIND_TLS_PROXY", hide_env_values = true, conflicts_with_all = ["tls_certificate", "tls_key"])]
    behind_tls_proxy: bool,
    /// Everybody who signs in has to have a second factor; who has none gets no further than to setting one up. API tokens do without
    #[arg(long, env = "REDFLAG_REQUIRE_SECOND_FACTOR", hide_env_values = true)]
    require_second_factor: bool,
    /// A proxy, or a network of proxies, whose word about a client's address counts (X-Forwarded-For); may be repeated
    #[arg(long, env = "REDFLAG_TRUSTED_PROXY", hide_env_values = true, value_name = "ADDRESS", value_delimiter = ',')]
    trusted_proxy: Vec<TrustedProxy>,
    /// Serve TLS with this certificate chain in PEM; read anew at SIGHUP, and within ten seconds after it changed
    #[arg(long, env = "REDFLAG_TLS_CERTIFICATE", hide_env_values = true, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The key of the certificate, in PEM
    #[arg(long, env = "REDFLAG_TLS_KEY", hide_env_values = true, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Most connections at once, each of which takes an open file; no address holds more than half of them
    #[arg(long, env = "REDFLAG_CONNECTIONS_MAX", hide_env_values = true, value_name = "N",
        default_value_t = RequestLimits::default().connections_max, value_parser = arguments::connections)]
    connections_max: usize,
    /// Most bytes of a report
    #[arg(long, env = "REDFLAG_REPORT_BYTES_MAX", hide_env_values = true, value_name = "BYTES", default_value_t = limits::REPORT_BYTES_MAX,
        value_parser = arguments::bytes)]
    report_bytes_max: usize,
    /// Most bytes of any other request
    #[arg(long, env = "REDFLAG_BODY_BYTES_MAX", hide_env_values = true, value_name = "BYTES",
        default_value_t = RequestLimits::default().body_bytes_max, value_parser = arguments::bytes)]
    body_bytes_max: usize,
    #[command(flatten)]
    quota: arguments::Quota,
}

fn signatures_min(mode: SigningMode, signatures: Option<u32>) -> Result<u32, WrongUsage> {
    match (mode, signatures) {
        (SigningMode::ServerSigns, None) => Ok(0),
        (SigningMode::ServerSigns, Some(_)) => Err(WrongUsage("--signatures needs --mode operator-signs: nobody else signs")),
        (SigningMode::OperatorSigns, signatures) => Ok(signatures.unwrap_or(1)),
    }
}

impl Serve {
    fn settings(self) -> anyhow::Result<Settings> {
        Ok(Settings {
            signing_key: self.signing_key.path(&self.database)?,
            audit_key: self.audit_key.path(&self.database)?,
            terms: Terms {
                mode: self.mode,
                signatures_min: signatures_min(self.mode, self.signatures)?,
                side_effects: self.allow_side_effect.into_iter().collect(),
                ..Terms::default()
            },
            listen: self.listen,
            signatures_seen: self.database.database.parse::<DatabaseName>()?.signatures_seen(),
            database: self.database.database,
            batch_events: self.batch_events,
            offline_after: self.offline_after,
            public_url: self.public_url,
            transport: match (self.tls_certificate, self.tls_key) {
                (Some(certificate), Some(key)) => Transport::Tls(TlsFiles { certificate, key }),
                _ if self.behind_tls_proxy => Transport::BehindTlsProxy,
                _ => Transport::PlainLoopback,
            },
            trusted_proxies: self.trusted_proxy,
            second_factor_required: self.require_second_factor,
            limits: RequestLimits {
                report_bytes_max: self.report_bytes_max,
                body_bytes_max: self.body_bytes_max,
                connections_max: self.connections_max,
                ..RequestLimits::default()
            },
            quota: self.quota.into(),
        })
    }

    /// Runs the command.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let shutdown = interrupt::cancelled_on_signal().context("listening for signals")?;
        let mut settings = self.settings()?;
        // Before a file is made that nobody will serve.
        settings.check()?;
        settings.limits.connections_max = open_files::connections_within(settings.limits.connections_max);
        let fleet = open_fleet(&settings).await?;
        let server = Server::bind(settings, fleet.clone()).await?;
        if let Some(certificate) = server.certificate() {
            interrupt::reload_on_hangup(certificate).context("listening for signals")?;
        }
        let first_start = noted_url::note(&fleet, &server.url()).await?;
        output::line(&format!("serving {}", server.url()))?;
        output::line(&match &server.app().settings.terms {
            Terms { mode: SigningMode::ServerSigns, .. } => {
                format!("commands are signed by key {}", server.app().signing_key.fingerprint())
            }
            Terms { signatures_min, .. } => {
                format!("commands wait until {signatures_min} of the people whose keys are listed have signed them")
            }
        })?;
        if first_start {
            output::line(&format!("sign in (once, within 15 minutes): {}", server.sign_in_link().await?))?;
        } else {
            output::line("sign in: `redflag-server sign-in-link`, with the same --database, prints a link")?;
        }
        tracing::info!(url = server.url(), durable_on_ack = ?fleet.store().guarantees().durable_on_ack, "serving");
        server.run(shutdown).await?;
        tracing::info!("stopped");
        Ok(ExitCode::SUCCESS)
    }
}
