//! The key with which a server signs checkpoints: another than the one that signs commands, so that what each is good for stays apart.

use crate::key_pair::{KeyFileError, KeyPair};
use redflag_core::{audit::checkpoint::Checkpoint, ids::Digest, public_key::PublicKey};
use std::path::Path;

const PURPOSE: &str = "audit key";

/// A key that signs checkpoints.
#[derive(Clone, Debug, Default)]
pub struct AuditKey(KeyPair);

impl AuditKey {
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
    pub fn open(path: &Path) -> Result<Self, KeyFileError> {
        KeyPair::open(path, PURPOSE).map(Self)
    }

    /// The key in the file at `path`; none when there is no such file.
    ///
    /// # Errors
    /// As [`KeyPair::read`].
    pub fn read(path: &Path) -> Result<Option<Self>, KeyFileError> {
        Ok(KeyPair::read(path, PURPOSE)?.map(Self))
    }

    /// Its public half.
    ///
    /// # Panics
    /// Never: a public half that was computed from a secret one is not weak.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey::new(&self.0.public_key()).expect("a computed public key is not weak")
    }

    /// The [`redflag_core::signing::key_id`] of its public half.
    #[must_use]
    pub fn id(&self) -> Digest {
        self.0.id()
    }

    /// A short name of its public half for people to compare.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint()
    }

    /// The envelope of a checkpoint.
    #[must_use]
    pub fn sign(&self, checkpoint: &Checkpoint) -> String {
        checkpoint.envelope(self.id(), self.0.sign(&checkpoint.bytes_to_sign()))
    }
}
