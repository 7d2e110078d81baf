//! TLS by rustls: certificate and key from PEM files, read anew when they change, so that a renewal needs no restart.

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tokio_rustls::TlsAcceptor;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Where the server's certificate and its key lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain in PEM, the server's own certificate first.
    pub certificate: PathBuf,
    /// The key in PEM, which others may not read.
    pub key: PathBuf,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("reading {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Everybody on this machine may read the key.
    #[error("the key in {path} has mode {mode:o}: others may read it; take that away (chmod o= FILE)")]
    Exposed {
        /// The key's file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A file is no PEM, or holds nothing of what is looked for.
    #[error("looking for {what} in {path}")]
    Pem {
        /// What is looked for.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why it is not found.
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key cannot be used together.
    #[error("using the certificate in {path}")]
    Unusable {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// The certificate in force, and where the next one will be.
#[derive(Debug)]
pub(crate) struct Tls {
    files: TlsFiles,
    in_force: RwLock<Loaded>,
}

#[derive(Clone, Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    certificate: Vec<u8>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// When certificate and key cannot be used.
    pub(crate) fn open(files: TlsFiles) -> Result<Self, TlsError> {
        let loaded = Loaded::read(&files)?;
        Ok(Self { files, in_force: RwLock::new(loaded) })
    }

    /// Encrypts a new connection; those that are there keep the certificate they began with.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.in_force.read().unwrap_or_else(PoisonError::into_inner).config))
    }

    /// Reads the files again.
    ///
    /// # Errors
    /// When they cannot be used; what was in force stays so.
    pub(crate) fn reload(&self) -> Result<(), TlsError> {
        let loaded = Loaded::read(&self.files)?;
        *self.in_force.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        tracing::info!(certificate = %self.files.certificate.display(), "the TLS certificate was read");
        Ok(())
    }

    /// Looks at the certificate every ten seconds, and reads both files when it is another one.
    pub(crate) async fn follow_files(&self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            self.reload_if_changed();
        }
    }

    /// What cannot be used is logged, at every look.
    fn reload_if_changed(&self) {
        let now = read(&self.files.certificate);
        let unchanged = |now: &Vec<u8>| *now == self.in_force.read().unwrap_or_else(PoisonError::into_inner).certificate;
        let reloaded = match now {
            Ok(now) if unchanged(&now) => return,
            Ok(_) => self.reload(),
            Err(error) => Err(error),
        };
        if let Err(error) = reloaded {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the new TLS certificate cannot be used; the one before stays in force"
            );
        }
    }
}

impl Loaded {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let pem = |what, path: &Path| {
            let path = path.to_owned();
            move |source| TlsError::Pem { what, path, source }
        };
        let certificate = read(&files.certificate)?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&certificate).collect();
        let chain = chain.map_err(pem("certificates", &files.certificate))?;
        private(&files.key)?;
        let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?).map_err(pem("a private key", &files.key))?;
        let unusable = |source| TlsError::Unusable { path: files.certificate.clone(), source };
        // TLS 1.2 and 1.3 with the suites of our one cryptography.
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions();
        let mut config = config.map_err(unusable)?.with_no_client_auth().with_single_cert(chain, key).map_err(unusable)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), certificate })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

fn private(path: &Path) -> Result<(), TlsError> {
    let metadata = fs::metadata(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o007 == 0 { Ok(()) } else { Err(TlsError::Exposed { path: path.to_owned(), mode }) }
}
