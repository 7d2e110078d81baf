//! Writing: [`Changes`] into rows, without looking inside.
//!
//! Every row is one step of a prepared statement, in the order of its table's key: on SQLite nothing is faster.

use crate::{
    catalog::{Catalog, OfferRefs},
    commands,
    error::Failure,
    feed,
    index::{Change, StateNow, Traits},
    maintenance, removed,
    rows::source_columns,
    sql::{Insert, integer, key, keys},
    stored::{get, json},
    trend,
};
use hashbrown::HashMap;
use redflag_core::{
    agent::AgentHead,
    batch::{BatchRecord, RejectedItem},
    counters::CounterKey,
    event::{EventKind, RecordedEvent, Source},
    ids::{AgentId, BatchId, CommandId},
    names::{PackageKey, Text, Version},
    rebuild::Derived,
    report::StoredReport,
    state::{PackageState, VersionChange},
    work::{Changes, ChosenEventId, Pruning},
};
use rusqlite::{Connection, OptionalExtension, params};

/// What was written that others must hear of.
#[derive(Debug)]
pub(crate) struct Written {
    agent_ref: i64,
    /// The agent as lists name it; none when it is gone.
    agent: Option<(AgentId, Text)>,
    /// Whether lists name it in another way than before.
    renamed: bool,
    /// New and changed states by ascending ref of their packages, each with its place in the changes.
    states: Vec<(i64, usize)>,
    /// Whether they are all that the agent has now.
    replaced: bool,
    /// Whether the feed goes on.
    pub(crate) feed_grew: bool,
}

impl Written {
    pub(crate) const fn concerns_lists(&self) -> bool {
        self.renamed || self.replaced || !self.states.is_empty()
    }

    /// The same for the index, out of the changes that were written.
    pub(crate) fn change<'a>(&self, changes: &'a Changes) -> Change<&'a PackageKey> {
        let all = changes.derived.as_ref().map_or(&changes.states, |derived| &derived.states);
        let state = |(package_ref, place): &(i64, usize)| {
            let state: &PackageState = &all[*place];
            (StateNow { package_ref: *package_ref, traits: Traits::of(state), changed_at: state.changed_at }, &state.package)
        };
        let Self { agent_ref, agent, replaced, .. } = self;
        Change { agent_ref: *agent_ref, agent: agent.clone(), replaced: *replaced, states: self.states.iter().map(state).collect() }
    }
}

/// Writes `changes` of the agent of this ref and head, as far as it has them; none when there is nothing to write.
pub(crate) fn persist(
    connection: &Connection,
    catalog: &mut Catalog,
    agent_ref: Option<i64>,
    before: Option<&AgentHead>,
    changes: &Changes,
) -> Result<Option<Written>, Failure> {
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
        commands,
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
        return Ok(Some(Written { agent_ref, agent: None, renamed: false, states: Vec::new(), replaced: true, feed_grew }));
    }
    let mut writer = Writer { connection, catalog, agent_ref, newest: HashMap::with_capacity(events.len()) };
    writer.batches(batches)?;
    writer.events(events, batches)?;
    writer.chosen_ids(chosen_ids)?;
    let mut written = writer.states(states, events)?;
    writer.history(history)?;
    writer.rejections(rejections, batches)?;
    writer.counters(counters.iter())?;
    trend::add(connection, agent_ref, open_changes)?;
    reports.iter().try_for_each(|report| writer.report(report))?;
    commands::write(connection, agent_ref, commands)?;
    if let Some(Pruning { reports_before, bases }) = pruning {
        let pruned = head.as_ref().or(before).map(|head| head.pruned).unwrap_or_default();
        maintenance::pass(connection, agent_ref, || {
            writer.bases(bases)?;
            maintenance::prune(connection, agent_ref, pruned, *reports_before)
        })?;
    }
    if let Some(Derived { sequence: _, pruned: _, states, history, counters, open_changes }) = derived {
        maintenance::pass(connection, agent_ref, || maintenance::clear_derived(connection, agent_ref))?;
        writer.find_newest()?;
        written = writer.states(states, events)?;
        writer.history(history)?;
        writer.counters(counters.iter().map(|(key, count)| (key, *count)))?;
        trend::add(connection, agent_ref, open_changes)?;
    }
    let named = head.as_ref().or(before).map(|head| (head.agent, head.name.clone()));
    let renamed = before.zip(head.as_ref()).is_some_and(|(before, after)| before.name != after.name);
    Ok(Some(Written { agent_ref, agent: named, renamed, states: written, replaced: derived.is_some(), feed_grew }))
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
             batches, pruned_batches, pruned_events, pruned_day, commands)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
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
        head.commands,
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
             scopes = ?8, events = ?9, batches = ?10, pruned_batches = ?11, pruned_events = ?12, pruned_day = ?13, commands = ?14
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
        after.commands,
    ])?;
    Ok(())
}

struct Writer<'a> {
    connection: &'a Connection,
    catalog: &'a mut Catalog,
    agent_ref: i64,
    /// The newest events by package, as far as they are new or were looked up.
    newest: HashMap<i64, Newest>,
}

/// The newest event of a package.
#[derive(Clone, Copy)]
struct Newest {
    sequence: i64,
    /// Its place among the new events, with what its offer is in refs.
    written: Option<(usize, OfferRefs)>,
}

impl Writer<'_> {
    fn package_ref(&mut self, package: &PackageKey) -> Result<i64, Failure> {
        let package = self.catalog.package(self.connection, package)?;
        Ok(self.catalog.reference(package))
    }

    fn batches(&self, batches: &[BatchRecord]) -> Result<(), Failure> {
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO update_batches
             (agent_ref, number, batch_id, actor, source, source_id, digest, received_at, first_sequence, first_ordinal,
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
        let mut insert = Insert::new(self.connection, INSERT_EVENT)?;
        let mut numbers = BatchNumbers::new(batches);
        for (place, RecordedEvent { event, sequence, revision, batch, index, source, .. }) in events.iter().enumerate() {
            let package = self.catalog.package(self.connection, &event.package)?;
            let (package_ref, sequence) = (self.catalog.reference(package), integer(*sequence)?);
            let offer = event.kind.offer().map(|offer| self.catalog.offer_refs(self.connection, package, offer)).transpose()?;
            let integers = [
                Some(key(self.agent_ref, sequence)?),
                Some(package_ref),
                Some(integer(*revision)?),
                if *revision > 1 { self.newest_event(package_ref)? } else { None },
                Some(integer(numbers.of(*batch)?)?),
                Some(i64::from(*index)),
                event.kind.word().map(|word| i64::from(word.code())),
                offer.map(|refs| refs.candidate),
                offer.and_then(|refs| refs.installed),
                offer.map(|refs| i64::from(refs.availability)),
                offer.and_then(|refs| refs.reason),
                event.observed_at.map(|at| at.as_micros()),
            ];
            let detail = offer.is_none().then(|| EventKind::to_json(&event.kind));
            let chosen = (*source == Source::Submitted).then(|| event.id.as_uuid().into_bytes());
            insert.row(integers, &[&detail, &chosen])?;
            self.newest.insert(package_ref, Newest { sequence, written: offer.map(|refs| (place, refs)) });
        }
        Ok(())
    }

    /// The sequence of the newest event of a package so far.
    fn newest_event(&self, package_ref: i64) -> Result<Option<i64>, Failure> {
        if let Some(newest) = self.newest.get(&package_ref) {
            return Ok(Some(newest.sequence));
        }
        let mut select = self.connection.prepare_cached(NEWEST_EVENT)?;
        let found = select.query_row([key(self.agent_ref, package_ref)?], |row| Ok(get(row, 0))).optional()?.transpose()?;
        Ok(found.flatten())
    }

    /// Looks up the newest events of all packages in the log.
    fn find_newest(&mut self) -> Result<(), Failure> {
        let mut select = self.connection.prepare_cached(NEWEST_EVENTS)?;
        let mut found = select.query(keys(self.agent_ref)?)?;
        while let Some(row) = found.next()? {
            self.newest.insert(get(row, 0)?, Newest { sequence: get(row, 1)?, written: None });
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

    /// Writes states in the order of their table; answers the refs of their packages and their own places, in that order.
    fn states(&mut self, states: &[PackageState], events: &[RecordedEvent]) -> Result<Vec<(i64, usize)>, Failure> {
        let mut rows = Vec::with_capacity(states.len());
        for (place, state) in states.iter().enumerate() {
            let package = self.catalog.package(self.connection, &state.package)?;
            rows.push((self.catalog.reference(package), place, package));
        }
        rows.sort_by_key(|(package_ref, ..)| *package_ref);
        let mut upsert = Insert::new(self.connection, UPSERT_STATE)?;
        for (package_ref, place, package) in &rows {
            let state = &states[*place];
            let newest = self.newest.get(package_ref).copied();
            let offer = match newest.and_then(|newest| newest.written) {
                // Comparing with the event that brought it is comparing pointers.
                Some((event, refs)) if events[event].event.kind.offer() == Some(&state.offer) => refs,
                _ => self.catalog.offer_refs(self.connection, *package, &state.offer)?,
            };
            let candidate = &state.offer.candidate;
            let integers = [
                Some(key(self.agent_ref, *package_ref)?),
                Some(i64::from(state.status().code())),
                Some(i64::from(candidate.severity.code())),
                Some(i64::from(candidate.security)),
                Some(i64::from(offer.availability)),
                Some(offer.candidate),
                offer.installed,
                offer.reason,
                Some(integer(state.revision)?),
                newest.map(|newest| newest.sequence),
                Some(state.discovered_at.as_micros()),
                Some(state.changed_at.as_micros() - state.discovered_at.as_micros()),
            ];
            upsert.row(integers, &[&state.detail_json()])?;
        }
        Ok(rows.into_iter().map(|(package_ref, place, _)| (package_ref, place)).collect())
    }

    fn history(&mut self, history: &[VersionChange]) -> Result<(), Failure> {
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO update_version_history
             (agent_ref, package_ref, sequence, from_version, to_version, outcome, command_id, reason, at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?;
        for change in history {
            let package_ref = self.package_ref(&change.package)?;
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
            let package_ref = self.package_ref(&state.package)?;
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

const INSERT_EVENT: &str = "
    INSERT INTO update_events
        (event_key, package_ref, revision, previous, batch_number, batch_index, kind,
         candidate_ref, installed_ref, availability, reason_ref, observed_at, detail, event_id)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";

pub(crate) const NEWEST_EVENT: &str = "SELECT sequence FROM current_package_state WHERE state_key = ?1";

pub(crate) const NEWEST_EVENTS: &str = "
    SELECT package_ref, MAX(sequence)
    FROM update_events
    WHERE event_key BETWEEN ?1 AND ?2
    GROUP BY package_ref";

const UPSERT_STATE: &str = "
    INSERT INTO current_package_state
        (state_key, status, severity, security, availability, candidate_ref, installed_ref, reason_ref,
         revision, sequence, discovered_at, changed_after, detail)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
    ON CONFLICT (state_key) DO UPDATE SET
        status = excluded.status, severity = excluded.severity, security = excluded.security, availability = excluded.availability,
        candidate_ref = excluded.candidate_ref, installed_ref = excluded.installed_ref, reason_ref = excluded.reason_ref,
        revision = excluded.revision, sequence = COALESCE(excluded.sequence, sequence), discovered_at = excluded.discovered_at,
        changed_after = excluded.changed_after, detail = excluded.detail";

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
