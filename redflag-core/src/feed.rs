//! The feed: every batch of a fleet in commit order, at positions without gap (clauses F1 to F4).
//!
//! Whoever saw a position has seen everything before it, for ever: nothing appears below it later. So a reader keeps one number,
//! and asks for what comes after it. An entry names its batch; the batch's events are a slice of its agent's stream
//! ([`Fleet::events_of`]).

use crate::{
    Fleet,
    batch::BatchRecord,
    event::RecordedEvent,
    ids::{AgentId, Digest},
    limits,
    store::{StoreError, StoreErrorKind},
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A place in the feed: 1..n without gap; 0 is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FeedPosition(pub u64);

impl FeedPosition {
    /// Before the first entry.
    pub const START: Self = Self(0);
}

impl fmt::Display for FeedPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One batch of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedEntry {
    /// Its place.
    pub position: FeedPosition,
    /// The agent whose batch it is, or was.
    pub agent: AgentId,
    /// The batch's number in the agent's stream.
    pub number: u64,
    /// [`BatchRecord::feed_digest`] of the record; stays when the record goes.
    pub digest: Digest,
    /// The batch; none once retention has pruned it or its agent was removed.
    pub record: Option<BatchRecord>,
}

/// What stands in the feed for a batch whose record has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// The batch's number in the agent's stream.
    pub number: u64,
    /// Its [`FeedEntry::digest`].
    pub digest: Digest,
}

/// A reader of the feed that waits for more.
///
/// It keeps nothing but its position: store that with what was made of the entries, and a reader that starts there again after a
/// crash misses nothing and repeats nothing.
#[derive(Clone, Debug)]
pub struct Subscription {
    fleet: Fleet,
    position: FeedPosition,
}

impl Subscription {
    /// The place up to which entries were handed out.
    #[must_use]
    pub const fn position(&self) -> FeedPosition {
        self.position
    }

    /// The next entries, 1 to [`limits::FEED_ENTRIES_DEFAULT`]; waits until there are any. Cancel safe: entries that were not handed
    /// out come again.
    ///
    /// # Errors
    /// When the store fails; the subscription can go on afterwards.
    pub async fn next(&mut self) -> Result<Vec<FeedEntry>, StoreError> {
        let store = self.fleet.store();
        let mut entries = store.feed(self.position, limits::FEED_ENTRIES_DEFAULT).await?;
        if entries.is_empty() {
            let newest = store.feed_grown(self.position).await?;
            entries = store.feed(self.position, limits::FEED_ENTRIES_DEFAULT).await?;
            if entries.is_empty() {
                let message = format!("the feed reaches position {newest} and holds nothing after {}", self.position);
                return Err(StoreError::caused(StoreErrorKind::Corrupt, message));
            }
        }
        self.position = entries.last().map_or(self.position, |last| last.position);
        Ok(entries)
    }
}

impl Fleet {
    /// Follows the feed from what comes after `position`.
    #[must_use]
    pub fn subscribe(&self, position: FeedPosition) -> Subscription {
        Subscription { fleet: self.clone(), position }
    }

    /// The accepted events of a batch, in order. Fewer than the record says once retention or removal took them.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn events_of(&self, record: &BatchRecord) -> Result<Vec<RecordedEvent>, StoreError> {
        let receipt = &record.receipt;
        if receipt.accepted == 0 {
            return Ok(Vec::new());
        }
        let mut events = self.store().replay(receipt.agent, record.first_sequence - 1, receipt.accepted).await?;
        events.retain(|event| event.batch == receipt.batch);
        Ok(events)
    }
}
