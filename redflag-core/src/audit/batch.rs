//! What an entry says of a batch: where it stands in the feed, and digests of all that was stored of it.

use crate::{
    batch::{BatchRecord, RejectedItem},
    event::RecordedEvent,
    feed::{FeedEntry, FeedPosition},
    ids::{AgentId, Digest},
};
use serde::{Deserialize, Serialize};

/// A batch as it was sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedBatch {
    /// Its place in the feed.
    pub position: FeedPosition,
    /// The agent whose batch it is.
    pub agent: AgentId,
    /// Its number in the agent's stream.
    pub number: u64,
    /// The [`FeedEntry::digest`], which stays when the batch goes.
    pub digest: Digest,
    /// A digest of its record, events and rejections; none for a batch that had gone before it was sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Digest>,
}

impl SealedBatch {
    /// What is said of a batch whose record has gone.
    #[must_use]
    pub fn of_tombstone(entry: &FeedEntry) -> Self {
        let FeedEntry { position, agent, number, digest, record: _ } = entry;
        Self { position: *position, agent: *agent, number: *number, digest: *digest, content: None }
    }

    /// What is said of a batch that is there, with its events and rejections in order.
    #[must_use]
    pub fn of_content(entry: &FeedEntry, record: &BatchRecord, events: &[RecordedEvent], rejections: &[RejectedItem]) -> Self {
        Self { content: Some(content_digest(record, events, rejections)), ..Self::of_tombstone(entry) }
    }
}

/// Over everything that is stored of a batch. Each part stands behind its length, so that none can reach into the next.
fn content_digest(record: &BatchRecord, events: &[RecordedEvent], rejections: &[RejectedItem]) -> Digest {
    let mut parts = vec![serde_json::to_vec(record).expect("batch records always serialise")];
    parts.extend(events.iter().map(|event| serde_json::to_vec(event).expect("events always serialise")));
    parts.extend(rejections.iter().map(|item| serde_json::to_vec(item).expect("rejections always serialise")));
    let lengths: Vec<[u8; 8]> = parts.iter().map(|part| (part.len() as u64).to_be_bytes()).collect();
    let pieces: Vec<&[u8]> = lengths.iter().zip(&parts).flat_map(|(length, part)| [length.as_slice(), part.as_slice()]).collect();
    Digest::of("redflag audit batch v1", &pieces)
}
