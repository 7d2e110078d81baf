//! Rows of the tables that hold one of core's values each, read back.

use crate::{
    error::Failure,
    scopes::ScopeColumns,
    stored::{Json, count, get, package_key},
};
use redflag_core::{
    agent::{AgentHead, LastReport, Pruned},
    batch::{BatchRecord, Receipt},
    counters::CounterKey,
    event::{Event, EventKind, EventWord, RecordedEvent, Source},
    ids::{AgentId, BatchId, EventId},
    names::Text,
    offer::{Availability, Candidate, Offer},
    query::UpdateRow,
    report::StoredReport,
    state::PackageState,
};
use sqlx::{Row as _, postgres::PgRow};
use std::sync::Arc;
use uuid::Uuid;

/// What [`head`] reads, of [`head_tables!`].
macro_rules! head_columns {
    () => {
        "a.agent_id, a.name, a.enrolled_at, a.events, a.batches, a.pruned_batches, a.pruned_events, a.pruned_day, a.scope_times,
         a.last_contact_at, a.report_received_at, a.report_sequence, a.report_id, a.report_digest,
         f.public_key, f.tags, f.host, f.scopes, a.commands"
    };
}
pub(crate) use head_columns;

/// Where an agent's head stands.
macro_rules! head_tables {
    () => {
        " agents AS a JOIN agent_facts AS f ON f.agent_ref = a.agent_ref "
    };
}
pub(crate) use head_tables;

/// What [`batch`] reads, of `update_batches AS b`.
macro_rules! batch_columns {
    () => {
        "b.batch_id, b.actor, b.source, b.source_id, b.digest, b.number, b.received_at, b.submitted, b.accepted, b.duplicate, b.rejected,
         b.exceptions, b.first_sequence, b.first_ordinal"
    };
}
pub(crate) use batch_columns;

/// What [`report`] reads, of `reports AS r`.
macro_rules! report_columns {
    () => {
        "r.report_id, r.digest, r.sequence, r.received_at, r.answer"
    };
}
pub(crate) use report_columns;

/// What [`candidate`] reads, of `candidates AS c`.
macro_rules! candidate_columns {
    () => {
        "c.version, c.origin, c.severity, c.severity_word, c.security, c.advisories, c.cves, c.size_bytes, c.description, c.metadata"
    };
}
pub(crate) use candidate_columns;

/// What [`state`] reads, of [`state_tables!`].
macro_rules! state_columns {
    () => {
        concat!(
            "p.manager, p.name, p.arch, s.revision, s.discovered_at, s.changed_at, s.detail, i.text, s.availability, r.text, ",
            $crate::rows::candidate_columns!()
        )
    };
}
pub(crate) use state_columns;

/// What a state refers to, joined to states `AS s`.
macro_rules! state_tables {
    () => {
        " JOIN packages AS p ON p.package_ref = s.package_ref
         JOIN candidates AS c ON c.candidate_ref = s.candidate_ref
         LEFT JOIN texts AS i ON i.text_ref = s.installed_ref
         LEFT JOIN texts AS r ON r.text_ref = s.reason_ref "
    };
}
pub(crate) use state_tables;

/// What [`event`] reads, of `update_events AS e` joined to a table on a condition.
macro_rules! select_events {
    ($from:literal, $on:literal, $rest:literal) => {
        concat!(
            "SELECT e.sequence, e.revision, e.batch_index, e.kind, e.observed_at, e.detail, e.event_id,
                    b.batch_id, b.actor, b.source, b.source_id, b.received_at, b.first_ordinal,
                    p.manager, p.name, p.arch, i.text, e.availability, r.text, ",
            $crate::rows::candidate_columns!(),
            " FROM ",
            $from,
            " JOIN update_events AS e ON ",
            $on,
            " JOIN update_batches AS b ON b.agent_ref = e.agent_ref AND b.number = e.batch_number
             JOIN packages AS p ON p.package_ref = e.package_ref
             LEFT JOIN candidates AS c ON c.candidate_ref = e.candidate_ref
             LEFT JOIN texts AS i ON i.text_ref = e.installed_ref
             LEFT JOIN texts AS r ON r.text_ref = e.reason_ref ",
            $rest
        )
    };
}
pub(crate) use select_events;

/// The columns of `head_columns!` from `at`.
pub(crate) fn head(row: &PgRow, at: usize) -> Result<AgentHead, Failure> {
    let last_report = last_report(row, at + 10)?;
    let scopes = ScopeColumns { times: row.try_get(at + 8)?, scopes: get(row, at + 17)? };
    Ok(AgentHead {
        agent: get(row, at)?,
        name: get(row, at + 1)?,
        enrolled_at: get(row, at + 2)?,
        events: count(row, at + 3)?,
        batches: count(row, at + 4)?,
        commands: count(row, at + 18)?,
        pruned: Pruned { batches: count(row, at + 5)?, events: count(row, at + 6)?, day: get(row, at + 7)? },
        scopes: scopes.read(last_report.map(|report| report.received_at))?,
        last_contact_at: get(row, at + 9)?,
        last_report,
        public_key: get(row, at + 14)?,
        tags: get::<Json<_>>(row, at + 15)?.0,
        host: get::<Json<_>>(row, at + 16)?.0,
    })
}

/// How many columns `head_columns!` names.
pub(crate) const HEAD_COLUMNS: usize = 19;

/// Four columns from `at`: when an agent's newest report was received, its number, id and digest.
fn last_report(row: &PgRow, at: usize) -> Result<Option<LastReport>, Failure> {
    let Some(received_at) = get(row, at)? else { return Ok(None) };
    Ok(Some(LastReport { received_at, sequence: get(row, at + 1)?, report_id: get(row, at + 2)?, digest: get(row, at + 3)? }))
}

/// The columns of `candidate_columns!` from `at`.
pub(crate) fn candidate(row: &PgRow, at: usize) -> Result<Candidate, Failure> {
    let ids = |index| get::<Option<Json<Vec<Text>>>>(row, index).map(|ids| ids.map_or_else(Vec::new, |json| json.0));
    Ok(Candidate {
        version: get(row, at)?,
        origin: get(row, at + 1)?,
        severity: get(row, at + 2)?,
        severity_word: get(row, at + 3)?,
        security: get(row, at + 4)?,
        advisories: ids(at + 5)?,
        cves: ids(at + 6)?,
        size_bytes: get(row, at + 7)?,
        description: get(row, at + 8)?,
        metadata: get(row, at + 9)?,
    })
}

/// From `at`: installed version, availability, its reason, then the candidate.
fn offer(row: &PgRow, at: usize) -> Result<Offer, Failure> {
    Ok(Offer {
        installed: get(row, at)?,
        availability: Availability { kind: get(row, at + 1)?, reason: get(row, at + 2)? },
        candidate: Arc::new(candidate(row, at + 3)?),
    })
}

/// The columns of `state_columns!` from `at`.
pub(crate) fn state(row: &PgRow, at: usize) -> Result<PackageState, Failure> {
    let package = package_key(row, at)?;
    let (standing, package_ignore) = PackageState::read_detail_json(get::<Option<String>>(row, at + 6)?.as_deref())
        .map_err(|error| Failure::corrupt(format!("the detail of the state of {package}: {error}")))?;
    Ok(PackageState {
        package,
        revision: count(row, at + 3)?,
        discovered_at: get(row, at + 4)?,
        changed_at: get(row, at + 5)?,
        standing,
        package_ignore,
        offer: offer(row, at + 7)?,
    })
}

/// The agent's id and name, then the columns of `state_columns!`.
pub(crate) fn update(row: &PgRow) -> Result<UpdateRow, Failure> {
    Ok(UpdateRow { agent: get(row, 0)?, agent_name: get(row, 1)?, state: state(row, 2)? })
}

/// An event with its place in the log.
pub(crate) fn event(row: &PgRow, agent: AgentId) -> Result<RecordedEvent, Failure> {
    let (batch, index): (BatchId, u32) = (get(row, 7)?, get::<u16>(row, 2)?.into());
    let source = source(row, 9)?;
    let chosen: Option<EventId> = get(row, 6)?;
    let id = match (chosen, source) {
        (Some(id), _) => id,
        (None, Source::Report { report_id }) => EventId::of_report(agent, report_id, count(row, 12)? + u64::from(index)),
        (None, Source::Decision | Source::Command { .. }) => EventId::of_batch(agent, batch, index),
        (None, Source::Submitted) => return Err(Failure::corrupt(format!("event {index} of submitted batch {batch} has no id"))),
    };
    Ok(RecordedEvent {
        event: Event { id, package: package_key(row, 13)?, kind: event_kind(row)?, observed_at: get(row, 4)? },
        sequence: count(row, 0)?,
        revision: count(row, 1)?,
        batch,
        index,
        actor: get::<Json<_>>(row, 8)?.0,
        source,
        received_at: get(row, 11)?,
    })
}

fn event_kind(row: &PgRow) -> Result<EventKind, Failure> {
    if let Some(detail) = get::<Option<String>>(row, 5)? {
        return Ok(EventKind::from_json(&detail));
    }
    match get::<Option<EventWord>>(row, 3)? {
        Some(EventWord::Discovered) => Ok(EventKind::Discovered { offer: offer(row, 16)? }),
        Some(EventWord::Revised) => Ok(EventKind::Revised { offer: offer(row, 16)? }),
        word => Err(Failure::corrupt(format!("an event of kind {word:?} without detail"))),
    }
}

/// Two columns from `at`: the source's code, and the id of the report or command.
fn source(row: &PgRow, at: usize) -> Result<Source, Failure> {
    match (get::<u8>(row, at)?, row.try_get::<Option<Uuid>, _>(at + 1)?) {
        (0, Some(_)) => Ok(Source::Report { report_id: get(row, at + 1)? }),
        (1, None) => Ok(Source::Decision),
        (2, None) => Ok(Source::Submitted),
        (3, Some(_)) => Ok(Source::Command { command: get(row, at + 1)? }),
        (code, id) => Err(Failure::corrupt(format!("a batch of source {code} with id {id:?}"))),
    }
}

/// The code of a source, and the id of the report or command.
pub(crate) const fn source_columns(source: &Source) -> (i16, Option<Uuid>) {
    match source {
        Source::Report { report_id } => (0, Some(report_id.as_uuid())),
        Source::Decision => (1, None),
        Source::Submitted => (2, None),
        Source::Command { command } => (3, Some(command.as_uuid())),
    }
}

/// The columns of `batch_columns!` from `at`.
pub(crate) fn batch(row: &PgRow, at: usize, agent: AgentId) -> Result<BatchRecord, Failure> {
    Ok(BatchRecord {
        actor: get::<Json<_>>(row, at + 1)?.0,
        source: source(row, at + 2)?,
        digest: get(row, at + 4)?,
        first_sequence: count(row, at + 12)?,
        first_ordinal: get(row, at + 13)?,
        receipt: Receipt {
            agent,
            batch: get(row, at)?,
            number: count(row, at + 5)?,
            received_at: get(row, at + 6)?,
            submitted: get(row, at + 7)?,
            accepted: get(row, at + 8)?,
            duplicate: get(row, at + 9)?,
            rejected: get(row, at + 10)?,
            exceptions: get::<Option<Json<_>>>(row, at + 11)?.map_or_else(Vec::new, |json| json.0),
        },
    })
}

/// How many columns `report_columns!` names.
pub(crate) const REPORT_COLUMNS: usize = 5;

/// The columns of `report_columns!` from `at`.
pub(crate) fn report(row: &PgRow, at: usize) -> Result<StoredReport, Failure> {
    Ok(StoredReport {
        report_id: get(row, at)?,
        digest: get(row, at + 1)?,
        sequence: get(row, at + 2)?,
        received_at: get(row, at + 3)?,
        answer: get::<Json<_>>(row, at + 4)?.0,
    })
}

/// Five columns from `at`: manager, status, severity, security, availability.
pub(crate) fn counter_key(row: &PgRow, at: usize) -> Result<CounterKey, Failure> {
    Ok(CounterKey {
        manager: get(row, at)?,
        status: get(row, at + 1)?,
        severity: get(row, at + 2)?,
        security: get(row, at + 3)?,
        availability: get(row, at + 4)?,
    })
}
