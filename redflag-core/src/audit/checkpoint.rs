//! Checkpoints: signed statements of how far a log has come, each naming the one before.

use super::chain::Place;
use crate::{
    dsse::{self, EnvelopeFault, Form, Signatures},
    ids::Digest,
    limits,
    public_key::PublicKey,
    strict_json,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// What the payload of a checkpoint is called.
pub const PAYLOAD_TYPE: &str = "application/vnd.redflag.audit-checkpoint.v1+json";
const FORM: Form = Form { payload_type: PAYLOAD_TYPE, bytes_max: limits::CHECKPOINT_ENVELOPE_BYTES_MAX, signatures_max: 1 };
const SCHEMA: u32 = 1;

/// How far a log has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    schema: u32,
    /// Which log: the digest of its first entry.
    pub log: Digest,
    /// Its number among the checkpoints of the log: 1..n without gap.
    pub number: u64,
    /// The entries it stands for.
    pub size: u64,
    /// The digest of the last of them.
    pub head: Digest,
    /// The [`Checkpoint::digest`] of the one before; none for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Digest>,
    /// When it was made, by the clock of the server.
    pub at: Timestamp,
}

impl Checkpoint {
    /// The first checkpoint of a log, where its chain stands.
    #[must_use]
    pub const fn first(log: Digest, place: &Place, at: Timestamp) -> Self {
        Self { schema: SCHEMA, log, number: 1, size: place.number, head: place.digest, previous: None, at }
    }

    /// The next checkpoint of the log, where its chain stands.
    #[must_use]
    pub fn next(&self, place: &Place, at: Timestamp) -> Self {
        let (number, previous) = (self.number + 1, Some(self.digest()));
        Self { schema: SCHEMA, log: self.log, number, size: place.number, head: place.digest, previous, at }
    }

    /// Whether this is the next checkpoint of the log after `before`; of nothing, the first.
    ///
    /// # Errors
    /// With what is wrong, for people.
    pub fn follows(&self, before: Option<&Self>) -> Result<(), String> {
        let (log, number, size, previous) = match before {
            Some(before) => (before.log, before.number + 1, before.size, Some(before.digest())),
            None => (self.log, 1, 0, None),
        };
        if self.log != log {
            return Err(format!("it is of log {}, and the one before of {log}", self.log));
        }
        if self.number != number {
            return Err(format!("checkpoint {} stands where checkpoint {number} must", self.number));
        }
        if self.previous != previous {
            return Err("it does not name the checkpoint before".to_owned());
        }
        if self.size < size {
            return Err(format!("it stands for {} entries, and the one before for {size}", self.size));
        }
        Ok(())
    }

    /// The digest that stands for it and all before it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of("redflag audit checkpoint v1", &[&strict_json::write(self)])
    }

    /// The bytes to sign.
    #[must_use]
    pub fn bytes_to_sign(&self) -> Vec<u8> {
        dsse::bytes_to_sign(PAYLOAD_TYPE, &strict_json::write(self))
    }

    /// The envelope with the Ed25519 signature of [`Checkpoint::bytes_to_sign`]; `key_id` is the [`crate::signing::key_id`] of the key.
    ///
    /// # Panics
    /// Never: JSON is UTF-8.
    #[must_use]
    pub fn envelope(&self, key_id: Digest, signature: [u8; 64]) -> String {
        let envelope = dsse::write(PAYLOAD_TYPE, &strict_json::write(self), &Signatures::from([(key_id, signature)]));
        String::from_utf8(envelope).expect("JSON is UTF-8")
    }

    /// Verifies the signature of an envelope, and only then reads its payload. The signature must be of one of `keys`.
    ///
    /// # Errors
    /// With what is wrong, for people.
    pub fn read(envelope: &[u8], keys: &[PublicKey]) -> Result<Self, CheckpointFault> {
        let (payload, signatures) = dsse::read(&FORM, envelope)?;
        let (key_id, signature) = signatures.first_key_value().ok_or_else(|| CheckpointFault::malformed("nobody signed it"))?;
        let key = keys.iter().find(|key| key.id() == *key_id).ok_or(CheckpointFault::UnknownKey(*key_id))?;
        if !key.signed(&dsse::bytes_to_sign(PAYLOAD_TYPE, &payload), signature) {
            return Err(CheckpointFault::BadSignature(*key_id));
        }
        Self::of_payload(&payload)
    }

    /// What an envelope says, and the [`crate::signing::key_id`] of the key that is said to have signed it. Nothing of it is proved: this
    /// is for going on with a log of one's own, and for showing it.
    ///
    /// # Errors
    /// [`CheckpointFault::Malformed`].
    pub fn read_unproven(envelope: &[u8]) -> Result<(Self, Digest), CheckpointFault> {
        let (payload, signatures) = dsse::read(&FORM, envelope)?;
        let (key_id, _) = signatures.first_key_value().ok_or_else(|| CheckpointFault::malformed("nobody signed it"))?;
        Ok((Self::of_payload(&payload)?, *key_id))
    }

    fn of_payload(payload: &[u8]) -> Result<Self, CheckpointFault> {
        let checkpoint: Self = strict_json::read(payload).map_err(CheckpointFault::Malformed)?;
        if checkpoint.schema == SCHEMA {
            return Ok(checkpoint);
        }
        Err(CheckpointFault::malformed(format!("schema {} is not read, only {SCHEMA}", checkpoint.schema)))
    }
}

/// Why bytes are no checkpoint to be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointFault {
    /// They are not in the form of a checkpoint's envelope.
    #[error("not a checkpoint: {0}")]
    Malformed(String),
    /// They are signed by a key that is not trusted here.
    #[error("signed by key {0}, which is not trusted here")]
    UnknownKey(Digest),
    /// The signature does not fit.
    #[error("the signature of key {0} does not fit")]
    BadSignature(Digest),
}

impl CheckpointFault {
    fn malformed(what: impl Into<String>) -> Self {
        Self::Malformed(what.into())
    }
}

impl From<EnvelopeFault> for CheckpointFault {
    fn from(fault: EnvelopeFault) -> Self {
        let (EnvelopeFault::TooLarge(what) | EnvelopeFault::Malformed(what) | EnvelopeFault::WrongPayloadType(what)) = fault;
        Self::Malformed(what)
    }
}
