//! What an entry says that goes on behind a damaged end of its log.
//!
//! Entries that cannot be read any more cannot be brought back, and the next one cannot say what it follows. So the chain goes on from the
//! last entry that can be read, under a number that none of the lost ones can have had, with an entry that says so, and that covers the
//! damaged bytes: whoever verifies the log is told of the gap for ever.

use crate::ids::Digest;
use serde::{Deserialize, Serialize};

/// The damaged end behind which an entry goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Damage {
    /// The number of the last entry that could be read; 0 when none could.
    pub after: u64,
    /// How many records behind it could not be read.
    pub records: u64,
    /// The [`Damage::digest_of`] these.
    pub digest: Digest,
}

impl Damage {
    /// The digest of records that cannot be read: of each its key and its bytes, each behind its length.
    #[must_use]
    pub fn digest_of(records: &[(String, String)]) -> Digest {
        let parts: Vec<&[u8]> = records.iter().flat_map(|(key, text)| [key.as_bytes(), text.as_bytes()]).collect();
        let lengths: Vec<[u8; 8]> = parts.iter().map(|part| (part.len() as u64).to_be_bytes()).collect();
        let pieces: Vec<&[u8]> = lengths.iter().zip(&parts).flat_map(|(length, part)| [length.as_slice(), part]).collect();
        Digest::of("redflag audit damage v1", &pieces)
    }
}

/// A gap in a log, as who verifies it is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The last entry before it; 0 when there is none.
    pub after: u64,
    /// The entry that goes on behind it.
    pub continued: u64,
    /// The digest of that entry, which names the gap.
    pub digest: Digest,
    /// How many of the lost entries checkpoints stood for; none of these checkpoints can be held against them any more.
    pub signed: u64,
}
