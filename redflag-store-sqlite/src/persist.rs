//! Writing: [`Changes`] into rows, without looking inside.
//!
//! Every row is one step of a prepared statement, in the order of its table's key: on SQLite nothing is faster.

use crate::{
    catalog::{Catalog, OfferRefs},
    error::Failure,
    feed, maintenance, removed,
    rows::source_columns,
    stored::{get, json},
    trend,
};
use redflag_core::{
    agent::AgentHead,
    batch::{BatchRecord, RejectedItem},
    counters::CounterKey,
    event::{EventKind, RecordedEvent, Source},
    ids::{BatchId, CommandId},
    names::{PackageKey, Text, Version},
    offer::Offer,
    rebuild::Derived,
    report::StoredReport,
    state::{PackageState, VersionChange},
    work::{Changes, ChosenEventId, Pruning},
};
use rusqlite::{Connection, params};

/// What was written that others must hear of.
#[derive(Debug)]
pub(crate) struct Written<'a> {
    pub(crate) agent_ref: i64,
    /// New and changed states, each with its package's ref.
    pub(crate) states: Vec<(i64, &'a PackageState)>,
    /// Whether they are all that the agent has now.
    pub(crate) replaced: bool,
    /// Whether the feed goes on.
    pub(crate) feed_grew: bool,
}

/// Writes `changes` of the agent of this ref and head, as far as it has them; none when there is nothing to write.
pub(crate) fn persist<'a>(
    connection: &Connection,
    catalog: &mut Catalog,
    agent_ref: Option<i64>,
    before: Option<&AgentHead>,
    changes: &'a Changes,
) -> Result<Option<Written<'a>>, Failure> {
    let Changes {
        head,
        batches,
        events,
        chosen_ids,
        states,
        history,
        rejections,
        counters,
        open_changes,
        reports,
        tombstones,
        pruning,
        derived,
        removed,
    } = changes;
    let agent_ref = match (agent_ref, before, head) {
        (Some(agent_ref), Some(before), Some(after)) => {
            update_head(connection, agent_ref, before, after)?;
            agent_ref
        }
        (_, None, Some(head)) => insert_head(connection, new_agent_ref(connection)?, head)?,
        (Some(agent_ref), _, None) => agent_ref,
        (None, _, None) if removed.is_some() => new_agent_ref(connection)?,
        // Core decides nothing else about an agent that it was not shown.
        (None, _, _) => return Ok(None),
    };
    feed::insert_tombstones(connection, agent_ref, tombstones)?;
    // Tombstones of batches that go now stand in the feed already.
    let restored = if removed.is_none() && pruning.is_none() { &**tombstones } else { &[] };
    let numbers = restored.iter().map(|tombstone| tombstone.number).chain(batches.iter().map(|record| record.receipt.number));
    let feed_grew = feed::append(connection, agent_ref, numbers)?;
    if let Some(removed) = removed {
        removed::insert(connection, agent_ref, removed)?;
        maintenance::pass(connection, agent_ref, || maintenance::remove(connection, agent_ref))?;
        return Ok(Some(Written { agent_ref, states: Vec::new(), replaced: true, feed_grew }));
    }
    let mut writer = Writer { connection, catalog, agent_ref };
    writer.batches(batches)?;
    writer.events(events, batches)?;
    writer.chosen_ids(chosen_ids)?;
    let mut package_refs = writer.states(states)?;
    writer.history(history)?;
    writer.rejections(rejections, batches)?;
    writer.counters(counters.iter())?;
    trend::add(connection, agent_ref, open_changes)?;
    reports.iter().try_for_each(|report| writer.report(report))?;
    if let Some(Pruning { reports_before, bases }) = pruning {
        let pruned = head.as_ref().or(before).map(|head| head.pruned).unwrap_or_default();
        maintenance::pass(connection, agent_ref, || {
            writer.bases(bases)?;
            maintenance::prune(connection, agent_ref, pruned, *reports_before)
        })?;
    }
    let states = derived.as_ref().map_or(states, |derived| &derived.states);
    if let Some(Derived { sequence: _, pruned: _, states, history, counters, open_changes }) = derived {
        maintenance::pass(connection, agent_ref, || maintenance::clear_derived(connection, agent_ref))?;
        package_refs = writer.states(states)?;
        writer.history(history)?;
        writer.counters(counters.iter().map(|(key, count)| (key, *count)))?;
        trend::add(connection, agent_ref, open_changes)?;
    }
    Ok(Some(Written { agent_ref, states: package_refs.into_iter().zip(states).collect(), replaced: derived.is_some(), feed_grew }))
}

/// A ref that no agent has or had.
fn new_agent_ref(connection: &Connection) -> Result<i64, Failure> {
    let mut select = connection.prepare_cached(
        "SELECT 1 + MAX(COALESCE((SELECT MAX(agent_ref) FROM agents), 0), COALESCE((SELECT MAX(agent_ref) FROM removed_agents), 0))",
    )?;
    select.query_one([], |row| Ok(get(row, 0)))?
}

fn insert_head(connection: &Connection, agent_ref: i64, head: &AgentHead) -> Result<i64, Failure> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO agents (agent_ref, agent_id, name, public_key, enrolled_at, tags, host, last_contact_at, last_report, scopes, events,
             batches, pruned_batches, pruned_events, pruned_day)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
    )?;
    Ok(insert.insert(params![
        agent_ref,
        head.agent.as_uuid().as_bytes(),
        head.name.as_str(),
        head.public_key,
        head.enrolled_at.as_micros(),
        json(&head.tags),
        json(&head.host),
        head.last_contact_at.map(|at| at.as_micros()),
        head.last_report.as_ref().map(json),
        json(&head.scopes),
        head.events,
        head.batches,
        head.pruned.batches,
        head.pruned.events,
        head.pruned.day.number(),
    ])?)
}

/// Columns that stand in an index are written only when they changed: an unchanged report touches one page.
fn update_head(connection: &Connection, agent_ref: i64, before: &AgentHead, after: &AgentHead) -> Result<(), Failure> {
    if before.name != after.name {
        let mut rename = connection.prepare_cached("UPDATE agents SET name = ?2 WHERE agent_ref = ?1")?;
        rename.execute(params![agent_ref, after.name.as_str()])?;
    }
    let mut update = connection.prepare_cached(
        "UPDATE agents SET public_key = ?2, enrolled_at = ?3, tags = ?4, host = ?5, last_contact_at = ?6, last_report = ?7,
             scopes = ?8, events = ?9, batches = ?10, pruned_batches = ?11, pruned_events = ?12, pruned_day = ?13
         WHERE agent_ref = ?1",
    )?;
    update.execute(params![
        agent_ref,
        after.public_key,
        after.enrolled_at.as_micros(),
        json(&after.tags),
        json(&after.host),
        after.last_contact_at.map(|at| at.as_micros()),
        after.last_report.as_ref().map(json),
        json(&after.scopes),
        after.events,
        after.batches,
        after.pruned.batches,
        after.pruned.events,
        after.pruned.day.number(),
    ])?;
    Ok(())
}

struct Writer<'a> {
    connection: &'a Connection,
    catalog: &'a mut Catalog,
    agent_ref: i64,
}

impl Writer<'_> {
    fn offer(&mut self, package_ref: i64, offer: &Offer) -> Result<OfferRefs, Failure> {
        self.catalog.offer_refs(self.connection, package_ref, offer)
    }

    fn package(&mut self, package: &PackageKey) -> Result<i64, Failure> {
        self.catalog.package_ref(self.connection, package)
    }

    fn batches(&self, batches: &[BatchRecord]) -> Result<(), Failure> {
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO update_batches
             (agent_ref, number, batch_id, actor, source, report_id, digest, received_at, first_sequence, first_ordinal,
              submitted, accepted, duplicate, rejected, exceptions)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        )?;
        for BatchRecord { actor, source, digest, first_sequence, first_ordinal, receipt } in batches {
            let (source, report_id) = source_columns(source);
            insert.execute(params![
                self.agent_ref,
                receipt.number,
                receipt.batch.as_uuid().as_bytes(),
                json(actor),
                source,
                report_id,
                digest.as_bytes(),
                receipt.received_at.as_micros(),
                first_sequence,
                first_ordinal,
                receipt.submitted,
                receipt.accepted,
                receipt.duplicate,
                receipt.rejected,
                (!receipt.exceptions.is_empty()).then(|| json(&receipt.exceptions)),
            ])?;
        }
        Ok(())
    }

    fn events(&mut self, events: &[RecordedEvent], batches: &[BatchRecord]) -> Result<(), Failure> {
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO update_events
             (agent_ref, sequence, package_ref, revision, batch_number, batch_index, kind,
              candidate_ref, installed_ref, availability, reason_ref, observed_at, detail, event_id)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        )?;
        let mut numbers = BatchNumbers::new(batches);
        for RecordedEvent { event, sequence, revision, batch, index, source, .. } in events {
            let package_ref = self.package(&event.package)?;
            let offer = event.kind.offer().map(|offer| self.offer(package_ref, offer)).transpose()?;
            insert.execute(params![
                self.agent_ref,
                sequence,
                package_ref,
                revision,
                numbers.of(*batch)?,
                index,
                event.kind.word().map(|word| word.code()),
                offer.map(|refs| refs.candidate),
                offer.and_then(|refs| refs.installed),
                offer.map(|refs| refs.availability),
                offer.and_then(|refs| refs.reason),
                event.observed_at.map(|at| at.as_micros()),
                offer.is_none().then(|| EventKind::to_json(&event.kind)),
                (*source == Source::Submitted).then(|| event.id.as_uuid().into_bytes()),
            ])?;
        }
        Ok(())
    }

    fn chosen_ids(&self, chosen: &[ChosenEventId]) -> Result<(), Failure> {
        let mut insert = self
            .connection
            .prepare_cached("INSERT INTO chosen_event_ids (agent_ref, event_id, sequence, digest) VALUES (?1, ?2, ?3, ?4)")?;
        for ChosenEventId { event, sequence, digest, .. } in chosen {
            insert.execute(params![self.agent_ref, event.as_uuid().as_bytes(), sequence, digest.as_bytes()])?;
        }
        Ok(())
    }

    fn states(&mut self, states: &[PackageState]) -> Result<Vec<i64>, Failure> {
        let mut upsert = self.connection.prepare_cached(
            "INSERT INTO current_package_state
             (agent_ref, package_ref, status, severity, security, availability, candidate_ref, installed_ref, reason_ref,
              revision, discovered_at, changed_at, detail)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
             ON CONFLICT (agent_ref, package_ref) DO UPDATE SET
                 status = excluded.status, severity = excluded.severity, security = excluded.security,
                 availability = excluded.availability, candidate_ref = excluded.candidate_ref, installed_ref = excluded.installed_ref, reason_ref = excluded.reason_ref,
                 revision = excluded.revision, discovered_at = excluded.discovered_at, changed_at = excluded.changed_at,
                 detail = excluded.detail",
        )?;
        let package_refs = states.iter().map(|state| self.package(&state.package)).collect::<Result<Vec<_>, _>>()?;
        let mut rows = Vec::with_capacity(states.len());
        for (state, package_ref) in states.iter().zip(&package_refs) {
            rows.push((*package_ref, self.offer(*package_ref, &state.offer)?, state));
        }
        rows.sort_unstable_by_key(|(package_ref, ..)| *package_ref);
        for (package_ref, offer, state) in rows {
            upsert.execute(params![
                self.agent_ref,
                package_ref,
                state.status().code(),
                state.offer.candidate.severity.code(),
                state.offer.candidate.security,
                offer.availability,
                offer.candidate,
                offer.installed,
                offer.reason,
                state.revision,
                state.discovered_at.as_micros(),
                state.changed_at.as_micros(),
                state.detail_json(),
            ])?;
        }
        Ok(package_refs)
    }

    fn history(&mut self, history: &[VersionChange]) -> Result<(), Failure> {
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO update_version_history
             (agent_ref, package_ref, sequence, from_version, to_version, outcome, command_id, reason, at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?;
        for change in history {
            let package_ref = self.package(&change.package)?;
            insert.execute(params![
                self.agent_ref,
                package_ref,
                change.sequence,
                change.from_version.as_ref().map(Version::as_str),
                change.to_version.as_str(),
                change.outcome.code(),
                change.command.map(|command: CommandId| command.as_uuid().into_bytes()),
                change.reason.as_ref().map(Text::as_str),
                change.at.as_micros(),
            ])?;
        }
        Ok(())
    }

    fn rejections(&self, rejections: &[RejectedItem], batches: &[BatchRecord]) -> Result<(), Failure> {
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO rejections (agent_ref, batch_number, batch_index, code, field, message, manager, name, arch, excerpt)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?;
        let mut numbers = BatchNumbers::new(batches);
        for RejectedItem { batch, index, rejection, package, excerpt } in rejections {
            insert.execute(params![
                self.agent_ref,
                numbers.of(*batch)?,
                index,
                rejection.code.as_str(),
                rejection.field,
                rejection.message,
                package.as_ref().map(|package| package.manager.as_str()),
                package.as_ref().map(|package| package.name.as_str()),
                package.as_ref().map(PackageKey::arch_text),
                excerpt,
            ])?;
        }
        Ok(())
    }

    fn counters<'k>(&self, counters: impl Iterator<Item = (&'k CounterKey, i64)>) -> Result<(), Failure> {
        let mut add = self.connection.prepare_cached(
            "UPDATE update_counters SET count = count + ?7
             WHERE agent_ref = ?1 AND manager = ?2 AND status = ?3 AND severity = ?4 AND security = ?5 AND availability = ?6",
        )?;
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO update_counters (agent_ref, manager, status, severity, security, availability, count)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?;
        for (key, difference) in counters {
            let values = params![
                self.agent_ref,
                key.manager.as_str(),
                key.status.code(),
                key.severity.code(),
                key.security,
                key.availability.code(),
                difference,
            ];
            if add.execute(values)? == 0 {
                insert.execute(values)?;
            }
        }
        Ok(())
    }

    fn bases(&mut self, bases: &[PackageState]) -> Result<(), Failure> {
        let mut upsert = self.connection.prepare_cached(
            "INSERT INTO bases (agent_ref, package_ref, state) VALUES (?1, ?2, ?3)
             ON CONFLICT (agent_ref, package_ref) DO UPDATE SET state = excluded.state",
        )?;
        for state in bases {
            let package_ref = self.package(&state.package)?;
            upsert.execute(params![self.agent_ref, package_ref, json(state)])?;
        }
        Ok(())
    }

    fn report(&self, report: &StoredReport) -> Result<(), Failure> {
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO reports (agent_ref, report_id, digest, sequence, received_at, answer) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        insert.execute(params![
            self.agent_ref,
            report.report_id.as_uuid().as_bytes(),
            report.digest.as_bytes(),
            report.sequence,
            report.received_at.as_micros(),
            json(&report.answer),
        ])?;
        Ok(())
    }
}

/// Numbers of new batches by id; rows come batch by batch, so the last one found is nearly always the one asked for.
struct BatchNumbers<'a> {
    batches: &'a [BatchRecord],
    at: usize,
}

impl<'a> BatchNumbers<'a> {
    const fn new(batches: &'a [BatchRecord]) -> Self {
        Self { batches, at: 0 }
    }

    fn of(&mut self, id: BatchId) -> Result<u64, Failure> {
        let later = self.batches.get(self.at..).unwrap_or_default();
        let ahead = later.iter().position(|record| record.receipt.batch == id);
        self.at += ahead.ok_or_else(|| Failure::corrupt(format!("rows of batch {id}, which is not written with them")))?;
        Ok(self.batches[self.at].receipt.number)
    }
}
