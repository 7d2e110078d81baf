//! The key with which the server signs commands: 32 bytes in a file of its own, never in the database.
//!
//! Whoever has this file and reaches an agent can order what that host's policy allows, so the file belongs to one user and nobody else
//! may read it; anything else is refused, not mended. A key is replaced in two steps, because hosts must know the new one before it
//! signs: [`SigningKey::prepare`], then [`SigningKey::rotate`].

use crate::ids;
use ed25519_dalek::Signer as _;
use redflag_core::{
    command::{delivery::SignerBody, envelope::Envelope, payload::SigningMode, record::CommandRecord},
    ids::Digest,
    signing,
};
use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// A key that signs commands.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SigningKeyError {
    /// It cannot be read or written.
    #[error("the signing key {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what a key file must be.
    #[error("the signing key {path} is refused: {reason}")]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

type Result<T> = std::result::Result<T, SigningKeyError>;

impl SigningKey {
    /// A new key that is nowhere but in this process.
    ///
    /// # Panics
    /// When the operating system has no randomness to give.
    #[must_use]
    pub fn new() -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(&ids::random_bytes()))
    }

    /// The key in the file at `path`, which is made (mode 0600) when there is none.
    ///
    /// # Errors
    /// When the file cannot be read or made, is no plain file of this user, may be read by others, or does not hold 32 bytes.
    pub fn open(path: &Path) -> Result<Self> {
        match Self::read(path)? {
            Some(key) => Ok(key),
            None => Self::make(path),
        }
    }

    /// The key in the file at `path`; none when there is no such file.
    ///
    /// # Errors
    /// As [`SigningKey::open`].
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let metadata = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(path)(error)),
        };
        let refused = |reason: String| SigningKeyError::Refused { path: path.to_owned(), reason };
        if !metadata.is_file() {
            return Err(refused("it must be a plain file".to_owned()));
        }
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let reason = format!("others may read it (mode {mode:o}): treat it as known to them, and make another (signing-key prepare)");
            return Err(refused(reason));
        }
        let bytes = fs::read(path).map_err(failed(path))?;
        let bytes = bytes.try_into().map_err(|bytes: Vec<u8>| refused(format!("it has {} bytes, and a key has 32", bytes.len())))?;
        Ok(Some(Self(ed25519_dalek::SigningKey::from_bytes(&bytes))))
    }

    /// Makes the key that is to come, beside the file at `path`; the same again answers the same one.
    ///
    /// # Errors
    /// As [`SigningKey::open`].
    pub fn prepare(path: &Path) -> Result<Self> {
        Self::open(&next(path))
    }

    /// The key that was prepared beside the file at `path`; none when there is none.
    ///
    /// # Errors
    /// As [`SigningKey::open`].
    pub fn prepared(path: &Path) -> Result<Option<Self>> {
        Self::read(&next(path))
    }

    /// Puts the key that was prepared into the place of the one at `path`, which is gone afterwards. A server takes it up when it starts.
    ///
    /// # Errors
    /// As [`SigningKey::open`], and when none was prepared.
    pub fn rotate(path: &Path) -> Result<Self> {
        let reason = "no key was prepared; run signing-key prepare, and let every host know that key first".to_owned();
        let key = Self::prepared(path)?.ok_or_else(|| SigningKeyError::Refused { path: path.to_owned(), reason })?;
        fs::rename(next(path), path).and_then(|()| sync_directory_of(path)).map_err(failed(path))?;
        Ok(key)
    }

    /// The 32 bytes of the public half.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// The [`signing::key_id`] of the public half.
    #[must_use]
    pub fn id(&self) -> Digest {
        signing::key_id(&self.public_key())
    }

    /// A short name of the public half for people to compare.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        signing::fingerprint(&self.public_key())
    }

    /// What agents are told of the key.
    #[must_use]
    pub fn signer(&self, mode: SigningMode) -> SignerBody {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        SignerBody { mode, key_id: self.id(), public_key: STANDARD.encode(self.public_key()) }
    }

    /// The envelope of a command: signed here where the server signs, with the signatures that people made where they do. None before
    /// the command has its counter.
    pub(crate) fn envelope(&self, record: &CommandRecord) -> Option<Envelope> {
        let envelope = Envelope::around(&record.payload()?);
        Some(match record.terms.mode {
            SigningMode::ServerSigns => {
                let signature = self.0.sign(&envelope.bytes_to_sign()).to_bytes();
                envelope.with_signature(self.id(), signature)
            }
            SigningMode::OperatorSigns => {
                record.signatures.iter().fold(envelope, |envelope, (key_id, signature)| envelope.with_signature(*key_id, signature.0))
            }
        })
    }

    /// Writes a new key under a name that is taken by nobody yet; of two processes that do so at once one is the first.
    fn make(path: &Path) -> Result<Self> {
        let key = Self::new();
        let partial = path.with_extension(format!("{}.partial", ids::batch_id()));
        let written = write_private(&partial, &key.0.to_bytes()).and_then(|()| fs::hard_link(&partial, path));
        let removed = fs::remove_file(&partial);
        match written {
            Ok(()) => removed.and_then(|()| sync_directory_of(path)).map(|()| key).map_err(failed(path)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::open(path),
            Err(error) => Err(failed(path)(error)),
        }
    }
}

impl Default for SigningKey {
    fn default() -> Self {
        Self::new()
    }
}

/// The key is not shown, not even in a log.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.fingerprint()).finish()
    }
}

fn next(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".next");
    PathBuf::from(name)
}

fn failed(path: &Path) -> impl Fn(io::Error) -> SigningKeyError {
    let path = path.to_owned();
    move |source| SigningKeyError::Io { path: path.clone(), source }
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_is_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let key = SigningKey::open(&path).unwrap();
        assert_eq!(SigningKey::open(&path).unwrap().id(), key.id());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside it");
        let secret = key.0.to_bytes().map(|byte| byte.to_string()).join(", ");
        assert!(!format!("{key:?}").contains(&secret));
    }

    #[test]
    fn what_others_may_read_or_have_damaged_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let refusal = |path: &Path| SigningKey::open(path).unwrap_err().to_string();
        SigningKey::open(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(refusal(&path).contains("mode 644"), "{}", refusal(&path));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, [1; 31]).unwrap();
        assert!(refusal(&path).contains("31 bytes"), "{}", refusal(&path));
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(refusal(&link).contains("plain file"), "{}", refusal(&link));
        assert!(matches!(SigningKey::open(&directory.path().join("no/key")), Err(SigningKeyError::Io { .. })));
    }

    #[test]
    fn a_key_is_replaced_in_two_steps() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let old = SigningKey::open(&path).unwrap();
        assert!(SigningKey::rotate(&path).unwrap_err().to_string().contains("no key was prepared"));
        assert!(SigningKey::prepared(&path).unwrap().is_none());
        let prepared = SigningKey::prepare(&path).unwrap();
        assert_eq!(SigningKey::prepared(&path).unwrap().unwrap().id(), prepared.id());
        assert_eq!(SigningKey::prepare(&path).unwrap().id(), prepared.id());
        assert_eq!(SigningKey::open(&path).unwrap().id(), old.id(), "it does not sign yet");
        assert_eq!(SigningKey::rotate(&path).unwrap().id(), prepared.id());
        assert_eq!(SigningKey::open(&path).unwrap().id(), prepared.id());
        assert!(SigningKey::rotate(&path).is_err(), "once");
    }
}
