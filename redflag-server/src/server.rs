//! A server from settings to shutdown, for the binary and for embedding.

use crate::{
    access::{self, AccountError, AccountName, EnrolmentTokenOptions},
    app::{App, AppState},
    audit::{AuditKey, keeper},
    database::{DatabaseName, UnknownDatabase},
    dispatch,
    key_pair::KeyFileError,
    operations, router,
    serving::{
        Serving,
        tls::{Tls, TlsError},
    },
    settings::{Settings, Transport},
    signing_key::SigningKey,
};
use redflag_core::{Fleet, audit::entry::By, store::StoreError};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long requests under way may take to end once a shutdown began.
const DRAIN: Duration = Duration::from_secs(10);
/// How long the audit log may take to be sealed after that.
const SEAL: Duration = Duration::from_secs(5);

/// Why a server could not start or went down.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// Plain HTTP would leave this machine.
    #[error(
        "plain HTTP on {0} is refused: it is no loopback address; give a certificate (--tls-certificate, --tls-key), or put a TLS proxy in \
         front and say so (--behind-tls-proxy)"
    )]
    PlainHttp(SocketAddr),
    /// Plain HTTP would be taken from everybody.
    #[error("plain HTTP on {0} is taken from listed proxies alone, and none is listed; list the TLS proxy (--trusted-proxy)")]
    NoTrustedProxy(SocketAddr),
    /// Certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address cannot be listened on.
    #[error("listening on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The database's name is of no known kind.
    #[error(transparent)]
    UnknownDatabase(#[from] UnknownDatabase),
    /// The database cannot be opened.
    #[error("opening the database {database}")]
    Database {
        /// Its name.
        database: DatabaseName,
        /// Why.
        source: StoreError,
    },
    /// A key of the server cannot be used.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The audit log cannot be gone on with.
    #[error("going on with the audit log")]
    Audit(#[source] StoreError),
    /// Operations under way cannot be read.
    #[error("going on with bulk decisions")]
    Operations(#[source] StoreError),
}

/// A server that is bound to its address and not yet running.
#[derive(Debug)]
pub struct Server {
    app: AppState,
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
}

/// The certificate of a running server, for whoever learns that another one lies in its place.
#[derive(Clone, Debug)]
pub struct Certificate(Arc<Tls>);

impl Certificate {
    /// Reads certificate and key again, for connections from now on. A running server does so within ten seconds by itself.
    ///
    /// # Errors
    /// When they cannot be used; what was in force stays so.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.0.reload()
    }
}

/// Opens the fleet that [`Settings::database`] names; a SQLite file, or a schema on PostgreSQL, that is not there is made.
///
/// # Errors
/// When the name is of no known kind or the database cannot be opened.
pub async fn open_fleet(settings: &Settings) -> Result<Fleet, ServerError> {
    let database: DatabaseName = settings.database.parse()?;
    database.open().await.map_err(|source| ServerError::Database { database, source })
}

impl Server {
    /// Binds the listener.
    ///
    /// # Errors
    /// When plain HTTP would leave this machine, the certificate or a key cannot be used, or the address cannot be listened on.
    pub async fn bind(settings: Settings, fleet: Fleet) -> Result<Self, ServerError> {
        let address = settings.listen;
        settings.check()?;
        let signing_key = settings.signing_key.as_deref().map_or_else(|| Ok(SigningKey::new()), SigningKey::open)?;
        let audit_key = settings.audit_key.as_deref().map_or_else(|| Ok(AuditKey::new()), AuditKey::open)?;
        let tls = match &settings.transport {
            Transport::Tls(files) => Some(Arc::new(Tls::open(files.clone())?)),
            Transport::PlainLoopback | Transport::BehindTlsProxy => None,
        };
        let listen = |source| ServerError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        // Port 0 became a real one; pages show the address.
        let settings = Settings { listen: address, ..settings };
        Ok(Self { app: App::with_keys(fleet, settings, signing_key, audit_key), listener, tls })
    }

    /// The certificate, where the server encrypts by itself.
    #[must_use]
    pub fn certificate(&self) -> Option<Certificate> {
        self.tls.as_ref().map(|tls| Certificate(Arc::clone(tls)))
    }

    /// How clients reach it: the public URL if one is set, else the address listened on.
    #[must_use]
    pub fn url(&self) -> String {
        self.app.settings.url()
    }

    /// What handlers share, for composing other things over the same fleet.
    #[must_use]
    pub fn app(&self) -> &AppState {
        &self.app
    }

    /// A link that signs the account `operator` in once, within 15 minutes; where there is none it is made, an administrator's.
    ///
    /// # Errors
    /// When the account is disabled or the store fails.
    pub async fn sign_in_link(&self) -> Result<String, AccountError> {
        let name = AccountName::first();
        let link = access::issue_sign_in_link(self.app.fleet.store(), name.clone(), None).await?;
        self.app.audit.note(access::link_note(By::Server, &name, None, self.app.now())).await?;
        Ok(link.url(&self.url()))
    }

    /// A token with which agents enrol.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn enrolment_token(&self, options: EnrolmentTokenOptions) -> Result<String, StoreError> {
        let (token, expires_at) = access::issue_token(self.app.fleet.store(), options.clone()).await?;
        self.app.audit.note(access::token_note(By::Server, &options, expires_at, self.app.now())).await?;
        Ok(token.expose().to_owned())
    }

    /// Goes on with bulk decisions that an earlier stop interrupted, and serves until `shutdown` is cancelled, then lets requests under
    /// way end for at most ten seconds; those that wait for the feed to go on, or for commands, are answered at once.
    ///
    /// # Errors
    /// When, at the start, the store fails.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), ServerError> {
        keeper::begin(&self.app).await.map_err(ServerError::Audit)?;
        operations::resume(&self.app).await.map_err(ServerError::Operations)?;
        let drained = {
            let (shutdown, stopping) = (shutdown.clone(), self.app.stopping.clone());
            async move {
                shutdown.cancelled().await;
                stopping.cancel();
                tokio::time::sleep(DRAIN).await;
            }
        };
        let serving = Serving {
            router: router::router(&self.app),
            limits: self.app.settings.limits,
            trusted_proxies: self.app.settings.trusted_proxies.clone(),
            tls: self.tls.clone(),
            metrics: Arc::clone(&self.app.metrics),
            shutdown,
        };
        let certificate = async {
            match &self.tls {
                Some(tls) => tls.follow_files().await,
                None => std::future::pending().await,
            }
        };
        let served = tokio::select! {
            never = dispatch::sweep_for_ever(&self.app) => never,
            never = dispatch::follow_feed(&self.app) => never,
            never = keeper::keep(&self.app) => never,
            () = certificate => Ok(()),
            () = serving.run(self.listener) => Ok(()),
            () = drained => {
                tracing::warn!("requests still under way after {DRAIN:?} were cut off");
                Ok(())
            }
        };
        seal(&self.app).await;
        served
    }
}

/// Seals the audit log as far as there is time.
async fn seal(app: &App) {
    match tokio::time::timeout(SEAL, keeper::finish(app)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(error = &error as &dyn std::error::Error, "the audit log was not sealed; the next start does it"),
        Err(_) => tracing::warn!("the audit log was not sealed within {SEAL:?}; the next start goes on with it"),
    }
}
