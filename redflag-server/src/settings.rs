//! Settings of a server, with defaults that start on SQLite without set-up.

use crate::server::ServerError;
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
    /// The file of the key that signs commands, which is made when there is none. Without one, a key that lives as long as the process:
    /// agents enrolled before the next start will not know that of the next one.
    pub signing_key: Option<PathBuf>,
    /// On which terms approved updates are planned and installed.
    pub terms: Terms,
    /// Limits of one request.
    pub limits: RequestLimits,
}

impl Settings {
    /// Whether the settings go together.
    ///
    /// # Errors
    /// [`ServerError::PlainHttp`] when plain HTTP would leave this machine.
    pub fn check(&self) -> Result<(), ServerError> {
        match self.transport {
            Transport::PlainLoopback if !self.listen.ip().is_loopback() => Err(ServerError::PlainHttp(self.listen)),
            Transport::PlainLoopback | Transport::BehindTlsProxy => Ok(()),
        }
    }
}

/// Who encrypts what passes between server and clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// Nobody: allowed on loopback only.
    #[default]
    PlainLoopback,
    /// A proxy in front, which ends TLS.
    BehindTlsProxy,
}

/// Limits of one request; a request over a limit is refused before it is parsed.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// Most bytes of a report's body.
    pub report_bytes_max: usize,
    /// Most bytes of any other body.
    pub body_bytes_max: usize,
    /// Longest time from the request's head to its answer.
    pub request_timeout: Duration,
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
            signing_key: None,
            terms: Terms::default(),
            limits: RequestLimits::default(),
        }
    }
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self { report_bytes_max: limits::REPORT_BYTES_MAX, body_bytes_max: 64 * 1024, request_timeout: Duration::from_secs(60) }
    }
}
