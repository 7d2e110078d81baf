//! Settings of a server, with defaults that start on SQLite without set-up.

use crate::{
    access::{AgentQuota, TrustedProxy},
    server::ServerError,
    serving::tls::TlsFiles,
};
use redflag_core::{command::record::Terms, limits};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

/// How a server listens, what it stores in, and its limits.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The database: a path of a SQLite file, `sqlite:PATH`, `postgres://USER:PASSWORD@HOST/DATABASE`, or `memory:` for a fleet
    /// that is gone with the process.
    pub database: String,
    /// Events per batch of a report, 1 to [`limits::BATCH_EVENTS_MAX`].
    pub batch_events: u32,
    /// After how long without contact an agent counts as offline.
    pub offline_after: Duration,
    /// How clients reach the server, where that is not the address listened on, for example `https://redflag.example`.
    pub public_url: Option<String>,
    /// Who encrypts.
    pub transport: Transport,
    /// Proxies whose word about a client's address and scheme counts.
    pub trusted_proxies: Vec<TrustedProxy>,
    /// Whether everybody who signs in has to have a second factor. API tokens do without.
    pub second_factor_required: bool,
    /// The file of the key that signs commands, which is made when there is none. Without one, a key that lives as long as the process:
    /// agents enrolled before the next start will not know that of the next one.
    pub signing_key: Option<PathBuf>,
    /// The file of the key that signs checkpoints of the audit log, which is made when there is none. Without one, a key that lives as long
    /// as the process: agents will not believe the checkpoints of the next one.
    pub audit_key: Option<PathBuf>,
    /// On which terms approved updates are planned and installed.
    pub terms: Terms,
    /// Limits of one request.
    pub limits: RequestLimits,
    /// What each agent may cost.
    pub quota: AgentQuota,
    /// Who knows which signatures of agents were seen.
    pub signatures_seen: SignaturesSeen,
}

impl Settings {
    /// How clients reach the server: the public URL if one is set, else the address listened on.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = match self.transport {
            Transport::Tls(_) => "https",
            Transport::PlainLoopback | Transport::BehindTlsProxy => "http",
        };
        self.public_url.as_ref().map_or_else(|| format!("{scheme}://{}", self.listen), |url| url.trim_end_matches('/').to_owned())
    }

    /// Whether the settings go together.
    ///
    /// # Errors
    /// [`ServerError::PlainHttp`] when plain HTTP would leave this machine; [`ServerError::NoTrustedProxy`] when nobody is listed whom it
    /// could be taken from.
    pub fn check(&self) -> Result<(), ServerError> {
        let loopback = self.listen.ip().is_loopback();
        match self.transport {
            Transport::PlainLoopback if !loopback => Err(ServerError::PlainHttp(self.listen)),
            Transport::BehindTlsProxy if !loopback && self.trusted_proxies.is_empty() => Err(ServerError::NoTrustedProxy(self.listen)),
            Transport::PlainLoopback | Transport::BehindTlsProxy | Transport::Tls(_) => Ok(()),
        }
    }
}

/// Who knows which signatures of agents were seen, so that two hosts of one key are found out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignaturesSeen {
    /// This process: enough where it is the only server of its database.
    #[default]
    Here,
    /// Also the servers that share the database. The binary does so on PostgreSQL, every five minutes.
    Shared {
        /// How often a server tells the others of an agent, at most: one small write each time.
        every: Duration,
    },
}

/// Who encrypts what passes between server and clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// Nobody: allowed on loopback only.
    #[default]
    PlainLoopback,
    /// A proxy in front, which ends TLS. Beyond loopback, only proxies that [`Settings::trusted_proxies`] lists may connect.
    BehindTlsProxy,
    /// The server itself, with this certificate and key.
    Tls(TlsFiles),
}

impl Transport {
    /// Whether clients reach the server over TLS.
    #[must_use]
    pub const fn encrypted(&self) -> bool {
        match self {
            Self::PlainLoopback => false,
            Self::BehindTlsProxy | Self::Tls(_) => true,
        }
    }
}

/// Limits of requests and of the connections that bring them; a request over a limit is refused before it is parsed.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// Most bytes of a report's body.
    pub report_bytes_max: usize,
    /// Most bytes of any other body.
    pub body_bytes_max: usize,
    /// Longest time from the request's head to its answer.
    pub request_timeout: Duration,
    /// Most bytes of a request's head, at least 4,096.
    pub head_bytes_max: usize,
    /// Longest time a connection may take for the next head, idle time included; and for the TLS handshake.
    pub head_timeout: Duration,
    /// Most connections at once. Further ones wait until one ends. No single address holds more than half of them. Each takes an open file:
    /// the binary raises its limit of those, an embedder has to see to that.
    pub connections_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            database: "redflag.db".to_owned(),
            batch_events: limits::BATCH_EVENTS_DEFAULT,
            offline_after: Duration::from_secs(15 * 60),
            public_url: None,
            transport: Transport::default(),
            trusted_proxies: Vec::new(),
            second_factor_required: false,
            signing_key: None,
            audit_key: None,
            terms: Terms::default(),
            limits: RequestLimits::default(),
            quota: AgentQuota::default(),
            signatures_seen: SignaturesSeen::default(),
        }
    }
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self {
            report_bytes_max: limits::REPORT_BYTES_MAX,
            body_bytes_max: 64 * 1024,
            request_timeout: Duration::from_secs(60),
            head_bytes_max: 32 * 1024,
            head_timeout: Duration::from_secs(30),
            connections_max: 16_384,
        }
    }
}
