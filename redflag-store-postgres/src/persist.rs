//! Writing: [`Changes`] into rows, without looking inside.
//!
//! One statement a table, whatever the number of rows: events and new states are copied in, the others travel as one array a
//! column.

use crate::{
    catalog::{OfferRefs, Refs},
    commands,
    copy::Rows,
    derived,
    error::Failure,
    load::Found,
    pass, pruning, removal,
    rows::source_columns,
    scopes::ScopeColumns,
    stored::{bigint, code, get, integer, json, smallint},
    traces,
    transaction::{Statement, Transaction},
};
use hashbrown::HashMap;
use redflag_core::{
    agent::AgentHead,
    batch::{BatchRecord, RejectedItem},
    counters::CounterKey,
    event::{RecordedEvent, Source},
    ids::BatchId,
    names::{Text, Version},
    rebuild::Derived,
    report::StoredReport,
    state::{PackageState, VersionChange},
    time::Timestamp,
    work::{Changes, ChosenEventId},
};

/// Writes `changes`, decided from what was `found`.
pub(crate) async fn persist(transaction: &mut Transaction, found: &Found, changes: &Changes, refs: &Refs) -> Result<(), Failure> {
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
    if let Some(removed) = removed {
        let agent_ref = removal::remove(transaction, found.agent_ref, removed).await?;
        removal::bury(transaction, agent_ref, tombstones).await?;
        return traces::leave(transaction, agent_ref, &found.loaded, changes, refs).await;
    }
    let agent_ref = match (found.agent_ref, head) {
        (Some(agent_ref), Some(head)) => {
            update_head(transaction, agent_ref, found.loaded.head.as_ref(), head).await?;
            agent_ref
        }
        (Some(agent_ref), None) => {
            touch_head(transaction, agent_ref).await?;
            agent_ref
        }
        (None, Some(head)) => insert_head(transaction, head).await?,
        // Core decides nothing about an agent that it was not shown.
        (None, None) => return Ok(()),
    };
    let mut writer = Writer { transaction, agent_ref, last_sequences: found.last_sequences.clone() };
    writer.batches(batches).await?;
    writer.events(events, refs, batches).await?;
    writer.chosen_ids(chosen_ids, batches).await?;
    writer.states(states, &refs.states, &found.last_sequences).await?;
    writer.history(history, &refs.history).await?;
    writer.rejections(rejections, batches).await?;
    writer.counters(counters.iter()).await?;
    writer.reports(reports).await?;
    commands::write(writer.transaction, agent_ref, commands).await?;
    derived::add_open_changes(writer.transaction, agent_ref, open_changes).await?;
    removal::bury(writer.transaction, agent_ref, tombstones).await?;
    if let Some(pruning) = pruning {
        let head = head.as_ref().or(found.loaded.head.as_ref());
        let head = head.ok_or_else(|| Failure::corrupt("retention of an agent without a head"))?;
        pruning::prune(writer.transaction, agent_ref, &head.pruned, pruning, &refs.bases).await?;
    }
    if let Some(derived) = derived {
        writer.replace(derived, refs).await?;
    }
    traces::leave(transaction, agent_ref, &found.loaded, changes, refs).await
}

async fn insert_head(transaction: &mut Transaction, head: &AgentHead) -> Result<i32, Failure> {
    // Room for some seven versions of the row; as large as a row may be that stays whole.
    let insert = "INSERT INTO agents (name, enrolled_at, events, batches, pruned_batches, pruned_events, pruned_day, scope_times,
             last_contact_at, report_received_at, report_sequence, report_id, report_digest, commands, agent_id, room)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, repeat(' ', 1750))
         RETURNING agent_ref";
    let scopes = scopes(head);
    let row = transaction.row(bind_head(insert, head, scopes.times)?.bind(head.agent.as_uuid())).await?;
    let agent_ref: i32 = row.map_or_else(|| Err(Failure::corrupt("an agent that was inserted is not there")), |row| get(&row, 0))?;
    let insert = "INSERT INTO agent_facts (public_key, tags, host, scopes, agent_ref) VALUES ($1, $2, $3, $4, $5)";
    transaction.execute(bind_facts(insert, head, scopes.scopes).bind(agent_ref)).await?;
    Ok(agent_ref)
}

/// Values that did not change leave the indexes alone, as PostgreSQL finds out by itself.
async fn update_head(transaction: &mut Transaction, agent_ref: i32, before: Option<&AgentHead>, head: &AgentHead) -> Result<(), Failure> {
    let update = "UPDATE agents SET name = $1, enrolled_at = $2, events = $3, batches = $4, pruned_batches = $5, pruned_events = $6,
             pruned_day = $7, scope_times = $8, last_contact_at = $9, report_received_at = $10, report_sequence = $11, report_id = $12,
             report_digest = $13, commands = $14, room = ''
         WHERE agent_ref = $15";
    let after = scopes(head);
    transaction.execute(bind_head(update, head, after.times)?.bind(agent_ref)).await?;
    let same = |before: &AgentHead| {
        (before.public_key, &before.tags, &before.host) == (head.public_key, &head.tags, &head.host)
            && scopes(before).scopes == after.scopes
    };
    if !before.is_some_and(same) {
        let update = "UPDATE agent_facts SET public_key = $1, tags = $2, host = $3, scopes = $4 WHERE agent_ref = $5";
        transaction.execute(bind_facts(update, head, after.scopes).bind(agent_ref)).await?;
    }
    Ok(())
}

/// Makes a new version of the row: what was decided from an older one holds no more.
async fn touch_head(transaction: &mut Transaction, agent_ref: i32) -> Result<(), Failure> {
    let update = sqlx::query("UPDATE agents SET events = events WHERE agent_ref = $1").bind(agent_ref);
    transaction.execute(update).await.map(|_| ())
}

fn scopes(head: &AgentHead) -> ScopeColumns {
    ScopeColumns::of(&head.scopes, head.last_report.map(|report| report.received_at))
}

/// Everything of `agents` but the agent's id.
fn bind_head<'a>(sql: &'static str, head: &'a AgentHead, scope_times: Vec<Option<i64>>) -> Result<Statement<'a>, Failure> {
    let report = head.last_report.as_ref();
    Ok(sqlx::query(sql)
        .bind(head.name.as_str())
        .bind(head.enrolled_at.as_micros())
        .bind(integer(head.events)?)
        .bind(integer(head.batches)?)
        .bind(integer(head.pruned.batches)?)
        .bind(integer(head.pruned.events)?)
        .bind(head.pruned.day.number())
        .bind(scope_times)
        .bind(head.last_contact_at.map(Timestamp::as_micros))
        .bind(report.map(|report| report.received_at.as_micros()))
        .bind(report.map(|report| bigint(report.sequence)).transpose()?)
        .bind(report.map(|report| report.report_id.as_uuid()))
        .bind(report.map(|report| report.digest.as_bytes().as_slice()))
        .bind(integer(head.commands)?))
}

/// Everything of `agent_facts` but the agent's ref.
fn bind_facts<'a>(sql: &'static str, head: &'a AgentHead, scopes: String) -> Statement<'a> {
    sqlx::query(sql).bind(head.public_key.as_slice()).bind(json(&head.tags)).bind(json(&head.host)).bind(scopes)
}

/// One column of rows.
fn column<'a, T, V>(rows: &'a [T], of: impl Fn(&'a T) -> V) -> Vec<V> {
    rows.iter().map(of).collect()
}

/// One column of rows, each value of which may not fit.
fn fitting<'a, T, V>(rows: &'a [T], of: impl FnMut(&'a T) -> Result<V, Failure>) -> Result<Vec<V>, Failure> {
    rows.iter().map(of).collect()
}

/// A state with what its row names by refs.
struct StateRow<'a> {
    state: &'a PackageState,
    package: i32,
    offer: OfferRefs,
    last_sequence: i32,
}

struct Writer<'a> {
    transaction: &'a mut Transaction,
    agent_ref: i32,
    /// By the ref of its package: the newest event of each state, as far as written.
    last_sequences: HashMap<i32, i32>,
}

impl Writer<'_> {
    async fn batches(&mut self, batches: &[BatchRecord]) -> Result<(), Failure> {
        if batches.is_empty() {
            return Ok(());
        }
        let insert = sqlx::query(
            "INSERT INTO update_batches
             (agent_ref, number, batch_id, actor, source, source_id, digest, received_at, first_sequence, first_ordinal,
              submitted, accepted, duplicate, rejected, exceptions)
             SELECT $1, * FROM UNNEST($2::integer[], $3::uuid[], $4::text[], $5::smallint[], $6::uuid[], $7::bytea[], $8::bigint[],
                 $9::integer[], $10::integer[], $11::integer[], $12::integer[], $13::integer[], $14::integer[], $15::text[])",
        )
        .bind(self.agent_ref)
        .bind(fitting(batches, |record| integer(record.receipt.number))?)
        .bind(column(batches, |record| record.receipt.batch.as_uuid()))
        .bind(column(batches, |record| json(&record.actor)))
        .bind(column(batches, |record| source_columns(&record.source).0))
        .bind(column(batches, |record| source_columns(&record.source).1))
        .bind(column(batches, |record| record.digest.as_bytes().as_slice()))
        .bind(column(batches, |record| record.receipt.received_at.as_micros()))
        .bind(fitting(batches, |record| integer(record.first_sequence))?)
        .bind(fitting(batches, |record| integer(record.first_ordinal))?)
        .bind(fitting(batches, |record| integer(record.receipt.submitted))?)
        .bind(fitting(batches, |record| integer(record.receipt.accepted))?)
        .bind(fitting(batches, |record| integer(record.receipt.duplicate))?)
        .bind(fitting(batches, |record| integer(record.receipt.rejected))?)
        .bind(column(batches, |record| (!record.receipt.exceptions.is_empty()).then(|| json(&record.receipt.exceptions))));
        self.transaction.execute(insert).await.map(|_| ())
    }

    async fn events(&mut self, events: &[RecordedEvent], refs: &Refs, batches: &[BatchRecord]) -> Result<(), Failure> {
        if events.is_empty() {
            return Ok(());
        }
        let mut numbers = BatchNumbers::new(batches)?;
        let mut rows = Rows::new(15, events.len());
        for (event, (package, offer)) in events.iter().zip(&refs.events) {
            let sequence = integer(event.sequence)?;
            let kind = &event.event.kind;
            rows.row()
                .field(self.agent_ref)
                .field(sequence)
                .field(event.event.observed_at.map(Timestamp::as_micros))
                .field(*package)
                .field(integer(event.revision)?)
                .field(self.last_sequences.insert(*package, sequence).filter(|previous| *previous > 0))
                .field(numbers.of(event.batch)?)
                .field(smallint(event.index)?)
                .field(kind.word().map(|word| code(word.code())))
                .field(offer.map(|offer| offer.availability))
                .field(offer.map(|offer| offer.candidate))
                .field(offer.and_then(|offer| offer.installed))
                .field(offer.and_then(|offer| offer.reason))
                .field(kind.offer().is_none().then(|| kind.to_json()))
                .field((event.source == Source::Submitted).then(|| event.event.id.as_uuid()));
        }
        let into = "update_events (agent_ref, sequence, observed_at, package_ref, revision, previous_sequence, batch_number, batch_index,
             kind, availability, candidate_ref, installed_ref, reason_ref, detail, event_id)";
        self.transaction.copy(into, rows).await
    }

    async fn chosen_ids(&mut self, chosen: &[ChosenEventId], batches: &[BatchRecord]) -> Result<(), Failure> {
        if chosen.is_empty() {
            return Ok(());
        }
        let mut numbers = BatchNumbers::new(batches)?;
        let insert = sqlx::query(
            "INSERT INTO chosen_event_ids (agent_ref, event_id, sequence, batch_number, batch_index, digest)
             SELECT $1, * FROM UNNEST($2::uuid[], $3::integer[], $4::integer[], $5::smallint[], $6::bytea[])",
        )
        .bind(self.agent_ref)
        .bind(column(chosen, |chosen| chosen.event.as_uuid()))
        .bind(fitting(chosen, |chosen| integer(chosen.sequence))?)
        .bind(fitting(chosen, |chosen| numbers.of(chosen.batch))?)
        .bind(fitting(chosen, |chosen| smallint(chosen.index))?)
        .bind(column(chosen, |chosen| chosen.digest.as_bytes().as_slice()));
        self.transaction.execute(insert).await.map(|_| ())
    }

    /// States that were there before are updated, the others added.
    async fn states(&mut self, states: &[PackageState], refs: &[(i32, OfferRefs)], before: &HashMap<i32, i32>) -> Result<(), Failure> {
        let rows = states.iter().zip(refs).map(|(state, (package, offer))| StateRow {
            state,
            package: *package,
            offer: *offer,
            last_sequence: self.last_sequences.get(package).copied().unwrap_or(0),
        });
        let (known, mut new): (Vec<StateRow<'_>>, Vec<_>) = rows.partition(|row| before.contains_key(&row.package));
        // In the order of the primary key: its pages are filled one after the other.
        new.sort_unstable_by_key(|row| row.package);
        self.new_states(&new).await?;
        self.known_states(&known).await
    }

    async fn new_states(&mut self, states: &[StateRow<'_>]) -> Result<(), Failure> {
        if states.is_empty() {
            return Ok(());
        }
        let mut rows = Rows::new(14, states.len());
        for StateRow { state, package, offer, last_sequence } in states {
            rows.row()
                .field(self.agent_ref)
                .field(*package)
                .field(state.discovered_at.as_micros())
                .field(state.changed_at.as_micros())
                .field(offer.candidate)
                .field(integer(state.revision)?)
                .field(*last_sequence)
                .field(code(state.status().code()))
                .field(code(state.offer.candidate.severity.code()))
                .field(offer.availability)
                .field(state.offer.candidate.security)
                .field(offer.installed)
                .field(offer.reason)
                .field(state.detail_json());
        }
        let into = "current_package_state (agent_ref, package_ref, discovered_at, changed_at, candidate_ref, revision, last_sequence,
             status, severity, availability, security, installed_ref, reason_ref, detail)";
        self.transaction.copy(into, rows).await
    }

    async fn known_states(&mut self, states: &[StateRow<'_>]) -> Result<(), Failure> {
        if states.is_empty() {
            return Ok(());
        }
        let update = sqlx::query(
            "UPDATE current_package_state AS s SET
                 discovered_at = n.discovered_at, changed_at = n.changed_at, candidate_ref = n.candidate_ref, revision = n.revision,
                 last_sequence = n.last_sequence, status = n.status, severity = n.severity, availability = n.availability,
                 security = n.security, installed_ref = n.installed_ref, reason_ref = n.reason_ref, detail = n.detail
             FROM UNNEST($2::integer[], $3::bigint[], $4::bigint[], $5::integer[], $6::integer[], $7::integer[], $8::smallint[],
                 $9::smallint[], $10::smallint[], $11::boolean[], $12::integer[], $13::integer[], $14::text[])
                 AS n (package_ref, discovered_at, changed_at, candidate_ref, revision, last_sequence, status, severity,
                       availability, security, installed_ref, reason_ref, detail)
             WHERE s.agent_ref = $1 AND s.package_ref = n.package_ref",
        )
        .bind(self.agent_ref)
        .bind(column(states, |row| row.package))
        .bind(column(states, |row| row.state.discovered_at.as_micros()))
        .bind(column(states, |row| row.state.changed_at.as_micros()))
        .bind(column(states, |row| row.offer.candidate))
        .bind(fitting(states, |row| integer(row.state.revision))?)
        .bind(column(states, |row| row.last_sequence))
        .bind(column(states, |row| code(row.state.status().code())))
        .bind(column(states, |row| code(row.state.offer.candidate.severity.code())))
        .bind(column(states, |row| row.offer.availability))
        .bind(column(states, |row| row.state.offer.candidate.security))
        .bind(column(states, |row| row.offer.installed))
        .bind(column(states, |row| row.offer.reason))
        .bind(column(states, |row| row.state.detail_json()));
        if self.transaction.execute(update).await? != states.len() as u64 {
            return Err(Failure::corrupt("a state that was loaded is missing"));
        }
        Ok(())
    }

    async fn history(&mut self, history: &[VersionChange], packages: &[i32]) -> Result<(), Failure> {
        if history.is_empty() {
            return Ok(());
        }
        let insert = sqlx::query(
            "INSERT INTO update_version_history
             (agent_ref, package_ref, sequence, from_version, to_version, outcome, command_id, reason, at)
             SELECT $1, * FROM UNNEST($2::integer[], $3::integer[], $4::text[], $5::text[], $6::smallint[], $7::uuid[], $8::text[],
                 $9::bigint[])",
        )
        .bind(self.agent_ref)
        .bind(packages)
        .bind(fitting(history, |change| integer(change.sequence))?)
        .bind(column(history, |change| change.from_version.as_ref().map(Version::as_str)))
        .bind(column(history, |change| change.to_version.as_str()))
        .bind(column(history, |change| code(change.outcome.code())))
        .bind(column(history, |change| change.command.map(|command| command.as_uuid())))
        .bind(column(history, |change| change.reason.as_ref().map(Text::as_str)))
        .bind(column(history, |change| change.at.as_micros()));
        self.transaction.execute(insert).await.map(|_| ())
    }

    async fn rejections(&mut self, rejections: &[RejectedItem], batches: &[BatchRecord]) -> Result<(), Failure> {
        if rejections.is_empty() {
            return Ok(());
        }
        let mut numbers = BatchNumbers::new(batches)?;
        let insert = sqlx::query(
            "INSERT INTO rejections (agent_ref, batch_number, batch_index, code, field, message, manager, name, arch, excerpt)
             SELECT $1, * FROM UNNEST($2::integer[], $3::smallint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                 $9::text[], $10::text[])",
        )
        .bind(self.agent_ref)
        .bind(fitting(rejections, |item| numbers.of(item.batch))?)
        .bind(fitting(rejections, |item| smallint(item.index))?)
        .bind(column(rejections, |item| item.rejection.code.as_str()))
        .bind(column(rejections, |item| item.rejection.field.as_str()))
        .bind(column(rejections, |item| item.rejection.message.as_str()))
        .bind(column(rejections, |item| item.package.as_ref().map(|package| package.manager.as_str())))
        .bind(column(rejections, |item| item.package.as_ref().map(|package| package.name.as_str())))
        .bind(column(rejections, |item| item.package.as_ref().map(|package| package.arch_text())))
        .bind(column(rejections, |item| item.excerpt.as_str()));
        self.transaction.execute(insert).await.map(|_| ())
    }

    /// What grows is added or inserted; what shrinks must be there already.
    async fn counters<'c>(&mut self, differences: impl Iterator<Item = (&'c CounterKey, i64)>) -> Result<(), Failure> {
        let (more, fewer): (Vec<_>, Vec<_>) = differences.partition(|(_, difference)| *difference > 0);
        if !more.is_empty() {
            self.count(
                "INSERT INTO update_counters (agent_ref, manager, status, severity, security, availability, count)
                 SELECT $1, * FROM UNNEST($2::text[], $3::smallint[], $4::smallint[], $5::boolean[], $6::smallint[], $7::bigint[])
                 ON CONFLICT (agent_ref, manager, status, severity, security, availability)
                 DO UPDATE SET count = update_counters.count + excluded.count",
                &more,
            )
            .await?;
        }
        if !fewer.is_empty() {
            let found = self.count(
                "UPDATE update_counters AS k SET count = k.count + d.difference
                 FROM UNNEST($2::text[], $3::smallint[], $4::smallint[], $5::boolean[], $6::smallint[], $7::bigint[])
                     AS d (manager, status, severity, security, availability, difference)
                 WHERE k.agent_ref = $1 AND k.manager = d.manager AND k.status = d.status AND k.severity = d.severity
                     AND k.security = d.security AND k.availability = d.availability",
                &fewer,
            );
            if found.await? != fewer.len() as u64 {
                return Err(Failure::corrupt("a counter that must shrink is missing"));
            }
        }
        Ok(())
    }

    async fn count(&mut self, sql: &'static str, differences: &[(&CounterKey, i64)]) -> Result<u64, Failure> {
        let statement = sqlx::query(sql)
            .bind(self.agent_ref)
            .bind(column(differences, |(key, _)| key.manager.as_str()))
            .bind(column(differences, |(key, _)| code(key.status.code())))
            .bind(column(differences, |(key, _)| code(key.severity.code())))
            .bind(column(differences, |(key, _)| key.security))
            .bind(column(differences, |(key, _)| code(key.availability.code())))
            .bind(column(differences, |(_, difference)| *difference));
        self.transaction.execute(statement).await
    }

    /// Their refs grow in their order.
    async fn reports(&mut self, reports: &[StoredReport]) -> Result<(), Failure> {
        if reports.is_empty() {
            return Ok(());
        }
        let insert = sqlx::query(
            "INSERT INTO reports (agent_ref, report_id, digest, sequence, received_at, answer)
             SELECT $1, r.report_id, r.digest, r.sequence, r.received_at, r.answer
             FROM UNNEST($2::uuid[], $3::bytea[], $4::bigint[], $5::bigint[], $6::text[]) WITH ORDINALITY
                 AS r (report_id, digest, sequence, received_at, answer, place)
             ORDER BY r.place",
        )
        .bind(self.agent_ref)
        .bind(column(reports, |report| report.report_id.as_uuid()))
        .bind(column(reports, |report| report.digest.as_bytes().as_slice()))
        .bind(fitting(reports, |report| bigint(report.sequence))?)
        .bind(column(reports, |report| report.received_at.as_micros()))
        .bind(column(reports, |report| json(&report.answer)));
        self.transaction.execute(insert).await.map(|_| ())
    }

    async fn replace(&mut self, derived: &Derived, refs: &Refs) -> Result<(), Failure> {
        // The length of the stream, which core has compared.
        let Derived { sequence: _, pruned: _, states, history, counters, open_changes } = derived;
        pass::delete(self.transaction, self.agent_ref, derived::DELETIONS).await?;
        self.last_sequences = derived::last_sequences(self.transaction, self.agent_ref).await?;
        self.states(states, &refs.derived_states, &HashMap::new()).await?;
        self.history(history, &refs.derived_history).await?;
        self.counters(counters.iter().map(|(key, count)| (key, *count))).await?;
        derived::add_open_changes(self.transaction, self.agent_ref, open_changes).await
    }
}

/// Numbers of new batches by id.
struct BatchNumbers {
    numbers: HashMap<BatchId, i32>,
    /// The batch asked for last: rows of one batch follow each other.
    last: Option<(BatchId, i32)>,
}

impl BatchNumbers {
    fn new(batches: &[BatchRecord]) -> Result<Self, Failure> {
        let number = |record: &BatchRecord| Ok((record.receipt.batch, integer(record.receipt.number)?));
        Ok(Self { numbers: batches.iter().map(number).collect::<Result<_, Failure>>()?, last: None })
    }

    fn of(&mut self, id: BatchId) -> Result<i32, Failure> {
        match self.last {
            Some((last, number)) if last == id => Ok(number),
            _ => {
                let number = self.numbers.get(&id).copied();
                let number = number.ok_or_else(|| Failure::corrupt(format!("rows of batch {id}, which is not written with them")))?;
                self.last = Some((id, number));
                Ok(number)
            }
        }
    }
}
