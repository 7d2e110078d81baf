//! Witnesses: whoever keeps a checkpoint can tell whether a log goes on from it.
//!
//! A witness needs no entries: it keeps the newest checkpoint it was shown, and takes another only along the checkpoints between, each
//! signed and naming the one before. A server that went back, or went on differently, has no such way to offer; the two checkpoints that
//! do not go together, both signed, show it to everybody.

use super::checkpoint::{Checkpoint, CheckpointFault};
use crate::{ids::Digest, public_key::PublicKey};
use serde::{Deserialize, Serialize};

/// A checkpoint as it is kept: the envelope, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Kept(String);

impl Kept {
    /// The envelope.
    #[must_use]
    pub fn envelope(&self) -> &str {
        &self.0
    }

    /// What it says.
    ///
    /// # Errors
    /// As [`Checkpoint::read`].
    pub fn read(&self, key: &PublicKey) -> Result<Checkpoint, CheckpointFault> {
        Checkpoint::read(self.0.as_bytes(), std::slice::from_ref(key))
    }
}

impl From<String> for Kept {
    fn from(envelope: String) -> Self {
        Self(envelope)
    }
}

/// Which checkpoint a witness keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointName {
    /// Its number.
    pub number: u64,
    /// Its [`Checkpoint::digest`].
    pub digest: Digest,
}

impl CheckpointName {
    /// The name of a checkpoint.
    #[must_use]
    pub fn of(checkpoint: &Checkpoint) -> Self {
        Self { number: checkpoint.number, digest: checkpoint.digest() }
    }
}

/// A witness asks how the log went on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessBody {
    /// The checkpoint it keeps; none for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<CheckpointName>,
}

/// How the log went on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessAnswer {
    /// The 32 bytes of the public key that signs checkpoints, in base64.
    pub public_key: String,
    /// The newest checkpoint for who keeps none. For who keeps one that is of this log, those after it, the next one first and at most
    /// [`crate::limits::CHECKPOINTS_TOLD_MAX`]. For who keeps another, the one of this log with the same number, or else the newest.
    pub checkpoints: Vec<Kept>,
}

/// A witness says that a log has forked. Both checkpoints are signed; they cannot be of one log that only ever went on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForkBody {
    /// What the witness keeps.
    pub kept: Kept,
    /// What it was shown.
    pub shown: Kept,
    /// How it showed, for people.
    pub what: String,
}

/// Why a witness does not go along.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Objection {
    /// What was shown proves nothing.
    #[error(transparent)]
    Unproven(#[from] CheckpointFault),
    /// What was shown does not follow from what is kept.
    #[error("the log has forked: {what}")]
    Fork {
        /// The first checkpoint that does not follow.
        shown: Kept,
        /// How it showed.
        what: String,
    },
}

/// The checkpoint to keep after these were shown, in their order; what is kept when none was.
///
/// # Errors
/// The objection of the witness, who keeps what it kept.
pub fn go_along(kept: Option<&Kept>, shown: &[Kept], key: &PublicKey) -> Result<Option<Kept>, Objection> {
    let mut newest = kept.map(|kept| kept.read(key)).transpose()?;
    for next in shown {
        let checkpoint = next.read(key)?;
        if let Some(newest) = &newest {
            checkpoint.follows(Some(newest)).map_err(|what| Objection::Fork { shown: next.clone(), what })?;
        }
        newest = Some(checkpoint);
    }
    Ok(shown.last().or(kept).cloned())
}
