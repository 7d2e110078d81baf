//! Key pairs that a server keeps: 32 bytes each, in a file of their own, never in the database.
//!
//! A key file belongs to one user and nobody else may read it; anything else is refused, not mended.

use crate::ids;
use ed25519_dalek::Signer as _;
use redflag_core::{ids::Digest, signing};
use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// An Ed25519 key pair.
#[derive(Clone)]
pub struct KeyPair(ed25519_dalek::SigningKey);

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// It cannot be read or written.
    #[error("the {purpose} {path}")]
    Io {
        /// What the key is for, in a few words.
        purpose: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what a key file must be.
    #[error("the {purpose} {path} is refused: {reason}")]
    Refused {
        /// What the key is for, in a few words.
        purpose: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

type Result<T> = std::result::Result<T, KeyFileError>;

impl KeyPair {
    /// A new one that is nowhere but in this process.
    ///
    /// # Panics
    /// When the operating system has no randomness to give.
    #[must_use]
    pub fn new() -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(&ids::random()))
    }

    /// The one in the file at `path`, which is made (mode 0600) when there is none. `purpose` is for errors: `signing key`.
    ///
    /// # Errors
    /// When the file cannot be read or made, is no plain file of this user, may be read by others, or does not hold 32 bytes.
    pub fn open(path: &Path, purpose: &'static str) -> Result<Self> {
        match Self::read(path, purpose)? {
            Some(key) => Ok(key),
            None => Self::make(path, purpose),
        }
    }

    /// The one in the file at `path`; none when there is no such file.
    ///
    /// # Errors
    /// As [`KeyPair::open`].
    pub fn read(path: &Path, purpose: &'static str) -> Result<Option<Self>> {
        let metadata = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(path, purpose)(error)),
        };
        let refused = |reason: String| KeyFileError::Refused { purpose, path: path.to_owned(), reason };
        if !metadata.is_file() {
            return Err(refused("it must be a plain file".to_owned()));
        }
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(refused(format!("others may read it (mode {mode:o}): treat it as known to them, and make another")));
        }
        let bytes = fs::read(path).map_err(failed(path, purpose))?;
        let bytes = bytes.try_into().map_err(|bytes: Vec<u8>| refused(format!("it has {} bytes, and a key has 32", bytes.len())))?;
        Ok(Some(Self(ed25519_dalek::SigningKey::from_bytes(&bytes))))
    }

    /// Puts the file at `from` into the place of the one at `to`.
    ///
    /// # Errors
    /// When it cannot be moved.
    pub fn replace(from: &Path, to: &Path, purpose: &'static str) -> Result<()> {
        fs::rename(from, to).and_then(|()| sync_directory_of(to)).map_err(failed(to, purpose))
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

    /// The signature of these bytes.
    #[must_use]
    pub fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.0.sign(bytes).to_bytes()
    }

    /// Writes a new key under a name that is taken by nobody yet; of two processes that do so at once one is the first.
    fn make(path: &Path, purpose: &'static str) -> Result<Self> {
        let key = Self::new();
        let partial = path.with_extension(format!("{}.partial", ids::batch_id()));
        let written = write_private(&partial, &key.0.to_bytes()).and_then(|()| fs::hard_link(&partial, path));
        let removed = fs::remove_file(&partial);
        match written {
            Ok(()) => removed.and_then(|()| sync_directory_of(path)).map(|()| key).map_err(failed(path, purpose)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::open(path, purpose),
            Err(error) => Err(failed(path, purpose)(error)),
        }
    }
}

impl Default for KeyPair {
    fn default() -> Self {
        Self::new()
    }
}

/// The secret half is not shown, not even in a log.
impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyPair").field(&self.fingerprint()).finish()
    }
}

fn failed(path: &Path, purpose: &'static str) -> impl Fn(io::Error) -> KeyFileError {
    let path = path.to_owned();
    move |source| KeyFileError::Io { purpose, path: path.clone(), source }
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

    const PURPOSE: &str = "signing key";

    #[test]
    fn a_key_is_made_once_and_is_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let key = KeyPair::open(&path, PURPOSE).unwrap();
        assert_eq!(KeyPair::open(&path, PURPOSE).unwrap().id(), key.id());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside it");
        let secret = key.0.to_bytes().map(|byte| byte.to_string()).join(", ");
        assert!(!format!("{key:?}").contains(&secret));
    }

    #[test]
    fn what_others_may_read_or_have_damaged_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let refusal = |path: &Path| KeyPair::open(path, PURPOSE).unwrap_err().to_string();
        KeyPair::open(&path, PURPOSE).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(refusal(&path).contains("mode 644"), "{}", refusal(&path));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, [1; 31]).unwrap();
        assert!(refusal(&path).contains("31 bytes"), "{}", refusal(&path));
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(refusal(&link).contains("plain file"), "{}", refusal(&link));
        assert!(matches!(KeyPair::open(&directory.path().join("no/key"), PURPOSE), Err(KeyFileError::Io { .. })));
    }
}
