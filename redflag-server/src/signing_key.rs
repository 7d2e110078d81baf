//! The key with which the server signs commands.
//!
//! Whoever has its file and reaches an agent can order what that host's policy allows. A key is replaced in two steps, because hosts must
//! know the new one before it signs: [`SigningKey::prepare`], then [`SigningKey::rotate`].

use crate::key_pair::{KeyFileError, KeyPair};
use redflag_core::{
    command::{delivery::SignerBody, envelope::Envelope, payload::SigningMode, record::CommandRecord},
    ids::Digest,
};
use std::path::{Path, PathBuf};

const PURPOSE: &str = "signing key";

/// A key that signs commands.
#[derive(Clone, Debug, Default)]
pub struct SigningKey(KeyPair);

type Result<T> = std::result::Result<T, KeyFileError>;

impl SigningKey {
    /// A new key that is nowhere but in this process.
    ///
    /// # Panics
    /// When the operating system has no randomness to give.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The key in the file at `path`, which is made (mode 0600) when there is none.
    ///
    /// # Errors
    /// As [`KeyPair::open`].
    pub fn open(path: &Path) -> Result<Self> {
        KeyPair::open(path, PURPOSE).map(Self)
    }

    /// The key in the file at `path`; none when there is no such file.
    ///
    /// # Errors
    /// As [`KeyPair::open`].
    pub fn read(path: &Path) -> Result<Option<Self>> {
        Ok(KeyPair::read(path, PURPOSE)?.map(Self))
    }

    /// Makes the key that is to come, beside the file at `path`; the same again answers the same one.
    ///
    /// # Errors
    /// As [`KeyPair::open`].
    pub fn prepare(path: &Path) -> Result<Self> {
        Self::open(&next(path))
    }

    /// The key that was prepared beside the file at `path`; none when there is none.
    ///
    /// # Errors
    /// As [`KeyPair::open`].
    pub fn prepared(path: &Path) -> Result<Option<Self>> {
        Self::read(&next(path))
    }

    /// Puts the key that was prepared into the place of the one at `path`, which is gone afterwards. A server takes it up when it starts.
    ///
    /// # Errors
    /// As [`KeyPair::open`], and when none was prepared.
    pub fn rotate(path: &Path) -> Result<Self> {
        let reason = "no key was prepared; run signing-key prepare, and let every host know that key first".to_owned();
        let key = Self::prepared(path)?.ok_or_else(|| KeyFileError::Refused { purpose: PURPOSE, path: path.to_owned(), reason })?;
        KeyPair::replace(&next(path), path, PURPOSE)?;
        Ok(key)
    }

    /// The 32 bytes of the public half.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.0.public_key()
    }

    /// The [`redflag_core::signing::key_id`] of the public half.
    #[must_use]
    pub fn id(&self) -> Digest {
        self.0.id()
    }

    /// A short name of the public half for people to compare.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint()
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
                let signature = self.0.sign(&envelope.bytes_to_sign());
                envelope.with_signature(self.id(), signature)
            }
            SigningMode::OperatorSigns => {
                record.signatures.iter().fold(envelope, |envelope, (key_id, signature)| envelope.with_signature(*key_id, signature.0))
            }
        })
    }
}

fn next(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".next");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

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
