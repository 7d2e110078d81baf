//! The audit log as JSON.

use crate::audit::{AuditKey, StoredCheckpoint};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use redflag_core::audit::{SealedBatch, chain::Link, damage::Damage};
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// A page of the audit log, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AuditListView {
    /// The entries.
    pub(super) entries: Vec<EntryView>,
    /// Entries of the whole log.
    pub(super) total: u64,
    /// The digest of the newest of all.
    pub(super) head: String,
    /// `before` of the next page; null on the last.
    pub(super) next_before: Option<u64>,
}

/// One entry.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EntryView {
    /// Its number, from 1 without gap.
    number: u64,
    /// When it happened.
    at: String,
    /// Who did it, for people.
    by: String,
    /// What happened, in one word.
    kind: &'static str,
    /// The batch it seals; null for other kinds.
    batch: Option<SealedBatchView>,
    /// The damaged end it goes on behind; null for other kinds.
    damage: Option<DamageView>,
    /// What else is told, by name.
    facts: BTreeMap<&'static str, String>,
    /// The digest that stands for it and all before it.
    digest: String,
}

/// A batch as it was sealed.
#[derive(Debug, Serialize, ToSchema)]
struct SealedBatchView {
    /// Its position in the feed.
    position: u64,
    /// The agent whose batch it is, or was.
    agent_id: String,
    /// Its number in the agent's stream.
    number: u64,
    /// The digest that stands for it in the feed.
    digest: String,
    /// The digest of its record, events and rejections; null when it had gone before it was sealed.
    content: Option<String>,
}

/// A damaged end of the log, behind which an entry goes on.
#[derive(Debug, Serialize, ToSchema)]
struct DamageView {
    /// The last entry that could be read; 0 when none could.
    after: u64,
    /// How many records could not be read.
    records: u64,
    /// A digest of these, which are kept.
    digest: String,
}

/// The newest checkpoint.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CheckpointListView {
    /// The public key that signs checkpoints here, in base64.
    public_key: String,
    /// A short name of it, for comparing.
    key_fingerprint: String,
    /// The checkpoint; null before the first.
    checkpoint: Option<CheckpointView>,
}

/// A checkpoint.
#[derive(Debug, Serialize, ToSchema)]
struct CheckpointView {
    /// Its number, from 1 without gap.
    number: u64,
    /// Entries it stands for.
    size: u64,
    /// The digest of the last of them.
    head: String,
    /// The digest that stands for it and all before it.
    digest: String,
    /// When it was signed.
    at: String,
    /// The envelope, byte for byte as it was signed (DSSE).
    envelope: String,
}

impl From<&Link> for EntryView {
    fn from(link: &Link) -> Self {
        let entry = &link.entry;
        Self {
            number: entry.number,
            at: entry.at.to_string(),
            by: entry.by.to_string(),
            kind: entry.kind.as_str(),
            batch: entry.batch.as_ref().map(Into::into),
            damage: entry.damage.map(|Damage { after, records, digest }| DamageView { after, records, digest: digest.to_string() }),
            facts: entry.facts.iter().map(|(name, value)| (name.as_str(), value.to_string())).collect(),
            digest: link.digest.to_string(),
        }
    }
}

impl From<&SealedBatch> for SealedBatchView {
    fn from(batch: &SealedBatch) -> Self {
        let SealedBatch { position, agent, number, digest, content } = batch;
        Self {
            position: position.0,
            agent_id: agent.to_string(),
            number: *number,
            digest: digest.to_string(),
            content: content.map(|content| content.to_string()),
        }
    }
}

impl CheckpointListView {
    pub(super) fn of(key: &AuditKey, newest: Option<&StoredCheckpoint>) -> Self {
        let view = |stored: &StoredCheckpoint| CheckpointView {
            number: stored.checkpoint.number,
            size: stored.checkpoint.size,
            head: stored.checkpoint.head.to_string(),
            digest: stored.checkpoint.digest().to_string(),
            at: stored.checkpoint.at.to_string(),
            envelope: stored.envelope.clone(),
        };
        Self { public_key: STANDARD.encode(key.public_key().to_bytes()), key_fingerprint: key.fingerprint(), checkpoint: newest.map(view) }
    }
}
