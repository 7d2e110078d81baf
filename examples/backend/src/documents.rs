//! Core's values as JSON documents.
//!
//! Core leaves it to the stores how its records are kept, so here is one mirror for each. Serde's `remote` fills it field by
//! field: a field that core adds and a mirror lacks does not compile, so none can be forgotten. What is inside the records
//! (offers, standings, outcomes) core serialises itself.

use crate::{error::Failure, tables::Json};
use redb::{Key, ReadableTable};
use redflag_core::{
    agent::{AgentHead, HostFacts, LastReport, ScopeHead},
    batch::{BatchRecord, Outcome, Receipt, RejectedItem},
    event::{Actor, Event, EventKind, RecordedEvent, Source},
    ids::{AgentId, BatchId, CommandId, Digest, EventId, ReportId},
    names::{Manager, PackageKey, Text, Version},
    offer::Offer,
    rejection::Rejection,
    report::{ReportAnswer, StoredReport},
    state::{Ignore, PackageState, Standing, VersionChange},
    store::Record,
    time::Timestamp,
    words::VersionOutcome,
    work::ChosenEventId,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};
use serde_json::value::RawValue;
use std::{borrow::Borrow, collections::BTreeMap};

/// A value that is kept as one JSON document.
pub(crate) trait Document: Sized {
    /// The document of this value.
    fn write(&self) -> Result<Vec<u8>, Failure>;

    /// Reads what [`Document::write`] wrote.
    fn read(json: &[u8]) -> Result<Self, Failure>;
}

/// The document under a key.
pub(crate) fn find<'k, K: Key + 'static, T: Document>(
    table: &impl ReadableTable<K, Json>,
    key: impl Borrow<K::SelfType<'k>>,
) -> Result<Option<T>, Failure> {
    table.get(key)?.map(|json| T::read(json.value())).transpose()
}

/// The documents of a range, in key order.
pub(crate) fn all<K: Key + 'static, T: Document>(range: redb::Range<'_, K, Json>) -> Result<Vec<T>, Failure> {
    range.map(|entry| T::read(entry?.1.value())).collect()
}

macro_rules! documents {
    ($($value:ident as $mirror:ident,)+) => {$(
        impl Document for $value {
            fn write(&self) -> Result<Vec<u8>, Failure> {
                let mut json = Vec::new();
                $mirror::serialize(self, &mut serde_json::Serializer::new(&mut json)).map_err(Failure::refused)?;
                Ok(json)
            }

            fn read(json: &[u8]) -> Result<Self, Failure> {
                let mut json = serde_json::Deserializer::from_slice(json);
                let value = $mirror::deserialize(&mut json).map_err(Failure::corrupt)?;
                json.end().map_err(Failure::corrupt)?;
                Ok(value)
            }
        }
    )+};
}

documents! {
    AgentHead as AgentHeadMirror,
    PackageState as PackageStateMirror,
    RecordedEvent as RecordedEventMirror,
    ChosenEventId as ChosenEventIdMirror,
    VersionChange as VersionChangeMirror,
    BatchRecord as BatchRecordMirror,
    RejectedItem as RejectedItemMirror,
    StoredReport as StoredReportMirror,
    Record as RecordMirror,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "AgentHead")]
struct AgentHeadMirror {
    agent: AgentId,
    name: Text,
    public_key: [u8; 32],
    enrolled_at: Timestamp,
    tags: Vec<Text>,
    host: HostFacts,
    last_contact_at: Option<Timestamp>,
    last_report: Option<LastReport>,
    scopes: BTreeMap<Manager, ScopeHead>,
    events: u64,
    batches: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "PackageState")]
struct PackageStateMirror {
    package: PackageKey,
    offer: Offer,
    standing: Standing,
    package_ignore: Option<Ignore>,
    revision: u64,
    discovered_at: Timestamp,
    changed_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "RecordedEvent")]
struct RecordedEventMirror {
    #[serde(with = "EventMirror")]
    event: Event,
    sequence: u64,
    revision: u64,
    batch: BatchId,
    index: u32,
    actor: Actor,
    source: Source,
    received_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Event")]
struct EventMirror {
    id: EventId,
    package: PackageKey,
    #[serde(serialize_with = "write_kind", deserialize_with = "read_kind")]
    kind: EventKind,
    observed_at: Option<Timestamp>,
}

/// Through core's own text, which also keeps the kinds of newer writers (clause S5).
fn write_kind<S: Serializer>(kind: &EventKind, serializer: S) -> Result<S::Ok, S::Error> {
    RawValue::from_string(kind.to_json()).map_err(ser::Error::custom)?.serialize(serializer)
}

fn read_kind<'de, D: Deserializer<'de>>(deserializer: D) -> Result<EventKind, D::Error> {
    <&RawValue>::deserialize(deserializer).map(|kind| EventKind::from_json(kind.get()))
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "ChosenEventId")]
struct ChosenEventIdMirror {
    event: EventId,
    sequence: u64,
    digest: Digest,
    batch: BatchId,
    index: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "VersionChange")]
struct VersionChangeMirror {
    package: PackageKey,
    from_version: Option<Version>,
    to_version: Version,
    outcome: VersionOutcome,
    command: Option<CommandId>,
    reason: Option<Text>,
    at: Timestamp,
    sequence: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "BatchRecord")]
struct BatchRecordMirror {
    actor: Actor,
    source: Source,
    digest: Digest,
    #[serde(with = "ReceiptMirror")]
    receipt: Receipt,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Receipt")]
struct ReceiptMirror {
    agent: AgentId,
    batch: BatchId,
    number: u64,
    received_at: Timestamp,
    submitted: u32,
    accepted: u32,
    duplicate: u32,
    rejected: u32,
    exceptions: Vec<(u32, Outcome)>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "RejectedItem")]
struct RejectedItemMirror {
    batch: BatchId,
    index: u32,
    rejection: Rejection,
    package: Option<PackageKey>,
    excerpt: String,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "StoredReport")]
struct StoredReportMirror {
    report_id: ReportId,
    digest: Digest,
    sequence: u64,
    received_at: Timestamp,
    answer: ReportAnswer,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Record")]
struct RecordMirror {
    value: String,
    revision: u64,
}
