//! Rows of the tables that hold one of core's values each, read back.

use crate::{
    error::Failure,
    sql::key,
    stored::{Json, get, package_key},
};
use redflag_core::{
    agent::{AgentHead, Pruned},
    batch::{BatchRecord, Receipt},
    event::{Event, EventKind, EventWord, RecordedEvent, Source},
    ids::{AgentId, BatchId, EventId},
    names::{PackageKey, Text},
    offer::{Availability, Candidate, Offer},
    query::UpdateRow,
    report::StoredReport,
    state::PackageState,
};
use rusqlite::{Connection, OptionalExtension, Row, params, types::ValueRef};
use std::sync::Arc;

/// What [`head_of`] reads, of `agents AS a`.
macro_rules! head_columns {
    () => {
        "a.agent_id, a.name, a.public_key, a.enrolled_at, a.tags, a.host, a.last_contact_at, a.last_report, a.scopes, a.events, a.batches,
         a.pruned_batches, a.pruned_events, a.pruned_day, a.commands"
    };
}
pub(crate) use head_columns;

/// What [`candidate`] reads, of `candidates AS c`.
macro_rules! candidate_columns {
    () => {
        "c.version, c.origin, c.severity, c.severity_word, c.security, c.advisories, c.cves, c.size_bytes, c.description, c.metadata"
    };
}
pub(crate) use candidate_columns;

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

/// The ref of an agent, if it is enrolled.
pub(crate) fn agent_ref(connection: &Connection, agent: AgentId) -> Result<Option<i64>, Failure> {
    let mut select = connection.prepare_cached("SELECT agent_ref FROM agents WHERE agent_id = ?1")?;
    Ok(select.query_row([agent.as_uuid().as_bytes()], |row| row.get(0)).optional()?)
}

/// The ref of a package, if any agent was ever offered it.
pub(crate) fn package_ref(connection: &Connection, package: &PackageKey) -> Result<Option<i64>, Failure> {
    let mut select = connection.prepare_cached("SELECT package_ref FROM packages WHERE name = ?1 AND manager = ?2 AND arch = ?3")?;
    let found = select.query_row(params![package.name.as_str(), package.manager.as_str(), package.arch_text()], |row| row.get(0));
    Ok(found.optional()?)
}

/// An agent's ref and head by its id.
pub(crate) fn head(connection: &Connection, agent: AgentId) -> Result<Option<(i64, AgentHead)>, Failure> {
    let mut select =
        connection.prepare_cached(concat!("SELECT a.agent_ref, ", head_columns!(), " FROM agents AS a WHERE a.agent_id = ?1"))?;
    let found =
        select.query_row([agent.as_uuid().as_bytes()], |row| Ok(get(row, 0).and_then(|reference| Ok((reference, head_of(row, 1)?)))));
    found.optional()?.transpose()
}

/// The columns of `head_columns!` from `at`.
pub(crate) fn head_of(row: &Row<'_>, at: usize) -> Result<AgentHead, Failure> {
    Ok(AgentHead {
        agent: get(row, at)?,
        name: get(row, at + 1)?,
        public_key: get(row, at + 2)?,
        enrolled_at: get(row, at + 3)?,
        tags: get::<Json<_>>(row, at + 4)?.0,
        host: get::<Json<_>>(row, at + 5)?.0,
        last_contact_at: get(row, at + 6)?,
        last_report: get::<Option<Json<_>>>(row, at + 7)?.map(|json| json.0),
        scopes: get::<Json<_>>(row, at + 8)?.0,
        events: get(row, at + 9)?,
        batches: get(row, at + 10)?,
        commands: get(row, at + 14)?,
        pruned: Pruned { batches: get(row, at + 11)?, events: get(row, at + 12)?, day: get(row, at + 13)? },
    })
}

/// The columns of `candidate_columns!` from `at`.
pub(crate) fn candidate(row: &Row<'_>, at: usize) -> Result<Candidate, Failure> {
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

/// From `at`: installed version, availability, its reason, then the columns of `candidate_columns!`.
fn offer(row: &Row<'_>, at: usize) -> Result<Offer, Failure> {
    Ok(Offer {
        installed: get(row, at)?,
        availability: Availability { kind: get(row, at + 1)?, reason: get(row, at + 2)? },
        candidate: Arc::new(candidate(row, at + 3)?),
    })
}

/// One update by refs, with what it refers to.
pub(crate) fn update(connection: &Connection, agent_ref: i64, package_ref: i64) -> Result<Option<UpdateRow>, Failure> {
    let mut select = connection.prepare_cached(UPDATE)?;
    select.query_row([key(agent_ref, package_ref)?], |row| Ok(update_of(row))).optional()?.transpose()
}

/// What [`update_of`] reads, to be followed by a `WHERE`.
macro_rules! select_updates {
    ($rest:literal) => {
        concat!(
            "SELECT a.agent_id, a.name, p.manager, p.name, p.arch, s.revision, s.discovered_at, s.changed_at, s.detail,
                    i.text, s.availability, r.text, ",
            $crate::rows::candidate_columns!(),
            " FROM current_package_state AS s
             JOIN agents AS a ON a.agent_ref = s.agent_ref
             JOIN packages AS p ON p.package_ref = s.package_ref
             JOIN candidates AS c ON c.candidate_ref = s.candidate_ref
             LEFT JOIN texts AS i ON i.text_ref = s.installed_ref
             LEFT JOIN texts AS r ON r.text_ref = s.reason_ref ",
            $rest
        )
    };
}
pub(crate) use select_updates;

pub(crate) const UPDATE: &str = select_updates!("WHERE s.state_key = ?1");

/// The columns of `select_updates!`.
pub(crate) fn update_of(row: &Row<'_>) -> Result<UpdateRow, Failure> {
    let (standing, package_ignore) = PackageState::read_detail_json(get::<Option<String>>(row, 8)?.as_deref())
        .map_err(|error| Failure::corrupt(format!("the detail of a state: {error}")))?;
    let state = PackageState {
        package: package_key(row, 2)?,
        revision: get(row, 5)?,
        discovered_at: get(row, 6)?,
        changed_at: get(row, 7)?,
        standing,
        package_ignore,
        offer: offer(row, 9)?,
    };
    Ok(UpdateRow { agent: get(row, 0)?, agent_name: get(row, 1)?, state })
}

/// What [`event`] reads, to be followed by a `WHERE` and an `ORDER BY`.
macro_rules! select_events {
    ($rest:literal) => {
        concat!(
            "SELECT e.sequence, e.revision, e.batch_index, e.kind, e.observed_at, e.detail, e.event_id,
                    b.batch_id, b.actor, b.source, b.source_id, b.received_at, b.first_ordinal,
                    p.manager, p.name, p.arch, i.text, e.availability, r.text, ",
            $crate::rows::candidate_columns!(),
            " FROM update_events AS e
             JOIN update_batches AS b ON b.agent_ref = e.agent_ref AND b.number = e.batch_number
             JOIN packages AS p ON p.package_ref = e.package_ref
             LEFT JOIN candidates AS c ON c.candidate_ref = e.candidate_ref
             LEFT JOIN texts AS i ON i.text_ref = e.installed_ref
             LEFT JOIN texts AS r ON r.text_ref = e.reason_ref ",
            $rest
        )
    };
}
pub(crate) use select_events;

/// An event with its place in the log.
pub(crate) fn event(row: &Row<'_>, agent: AgentId) -> Result<RecordedEvent, Failure> {
    let (batch, index): (BatchId, u32) = (get(row, 7)?, get(row, 2)?);
    let source = source(row, 9)?;
    let chosen: Option<EventId> = get(row, 6)?;
    let id = match (chosen, source) {
        (Some(id), _) => id,
        (None, Source::Report { report_id }) => EventId::of_report(agent, report_id, get::<u64>(row, 12)? + u64::from(index)),
        (None, Source::Decision | Source::Command { .. }) => EventId::of_batch(agent, batch, index),
        (None, Source::Submitted) => return Err(Failure::corrupt(format!("event {index} of submitted batch {batch} has no id"))),
    };
    Ok(RecordedEvent {
        event: Event { id, package: package_key(row, 13)?, kind: event_kind(row)?, observed_at: get(row, 4)? },
        sequence: get(row, 0)?,
        revision: get(row, 1)?,
        batch,
        index,
        actor: get::<Json<_>>(row, 8)?.0,
        source,
        received_at: get(row, 11)?,
    })
}

fn event_kind(row: &Row<'_>) -> Result<EventKind, Failure> {
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
fn source(row: &Row<'_>, at: usize) -> Result<Source, Failure> {
    match (get::<u8>(row, at)?, row.get_ref(at + 1)?) {
        (0, ValueRef::Blob(_)) => Ok(Source::Report { report_id: get(row, at + 1)? }),
        (1, ValueRef::Null) => Ok(Source::Decision),
        (2, ValueRef::Null) => Ok(Source::Submitted),
        (3, ValueRef::Blob(_)) => Ok(Source::Command { command: get(row, at + 1)? }),
        (code, id) => Err(Failure::corrupt(format!("a batch of source {code} with id {id:?}"))),
    }
}

/// The code of a source, and the id of the report or command.
pub(crate) fn source_columns(source: &Source) -> (u8, Option<[u8; 16]>) {
    match source {
        Source::Report { report_id } => (0, Some(report_id.as_uuid().into_bytes())),
        Source::Decision => (1, None),
        Source::Submitted => (2, None),
        Source::Command { command } => (3, Some(command.as_uuid().into_bytes())),
    }
}

/// The columns of `batch_columns!` from `at`.
pub(crate) fn batch(row: &Row<'_>, at: usize, agent: AgentId) -> Result<BatchRecord, Failure> {
    Ok(BatchRecord {
        actor: get::<Json<_>>(row, at + 1)?.0,
        source: source(row, at + 2)?,
        digest: get(row, at + 4)?,
        first_sequence: get(row, at + 12)?,
        first_ordinal: get(row, at + 13)?,
        receipt: Receipt {
            agent,
            batch: get(row, at)?,
            number: get(row, at + 5)?,
            received_at: get(row, at + 6)?,
            submitted: get(row, at + 7)?,
            accepted: get(row, at + 8)?,
            duplicate: get(row, at + 9)?,
            rejected: get(row, at + 10)?,
            exceptions: get::<Option<Json<_>>>(row, at + 11)?.map_or_else(Vec::new, |json| json.0),
        },
    })
}

/// A stored batch.
pub(crate) fn find_batch(connection: &Connection, agent_ref: i64, agent: AgentId, id: BatchId) -> Result<Option<BatchRecord>, Failure> {
    let mut select = connection.prepare_cached(BATCH)?;
    select.query_row(params![agent_ref, id.as_uuid().as_bytes()], |row| Ok(batch(row, 0, agent))).optional()?.transpose()
}

pub(crate) const BATCH: &str = concat!("SELECT ", batch_columns!(), " FROM update_batches AS b WHERE b.agent_ref = ?1 AND b.batch_id = ?2");

/// The columns of `report_columns!`.
pub(crate) fn report(row: &Row<'_>) -> Result<StoredReport, Failure> {
    Ok(StoredReport {
        report_id: get(row, 0)?,
        digest: get(row, 1)?,
        sequence: get(row, 2)?,
        received_at: get(row, 3)?,
        answer: get::<Json<_>>(row, 4)?.0,
    })
}
