//! Public keys of Ed25519 (RFC 8032) whose signatures are to prove something.

use crate::{ids::Digest, signing};
use ed25519_dalek::{Signature, VerifyingKey};

/// A public key. Signatures of it are verified strictly: no other form of the same signature, no point of small order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    key: VerifyingKey,
    id: Digest,
}

/// Bytes that are no public key to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an Ed25519 public key, or a weak one")]
pub struct InvalidKey;

impl PublicKey {
    /// The key with these 32 bytes.
    ///
    /// # Errors
    /// When they are no point of the curve, or one of small order, for which signatures prove nothing.
    pub fn new(public_key: &[u8; 32]) -> Result<Self, InvalidKey> {
        let key = VerifyingKey::from_bytes(public_key).map_err(|_| InvalidKey)?;
        if key.is_weak() { Err(InvalidKey) } else { Ok(Self { key, id: signing::key_id(public_key) }) }
    }

    /// Its [`signing::key_id`].
    #[must_use]
    pub const fn id(&self) -> Digest {
        self.id
    }

    /// Its 32 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        self.key.to_bytes()
    }

    /// Whether this key signed `bytes`.
    #[must_use]
    pub fn signed(&self, bytes: &[u8], signature: &[u8; 64]) -> bool {
        self.key.verify_strict(bytes, &Signature::from_bytes(signature)).is_ok()
    }
}
