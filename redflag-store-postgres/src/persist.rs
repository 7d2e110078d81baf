//! Writing: [`Changes`] into rows, without looking inside.
//!
//! One statement a table, whatever the number of rows: they travel as one array a column.

use crate::{
    catalog::{OfferRefs, Refs},
    error::Failure,
    rows::source_columns,
    stored::{arch, bigint, code, get, integer, json},
    transaction::Transaction,
};
use redflag_core::{
    agent::AgentHead,
    batch::{BatchRecord, RejectedItem},
    counters::{CounterChanges, CounterKey},
    event::{RecordedEvent, Source},
    ids::BatchId,
    names::{Text, Version},
    report::StoredReport,
    state::{PackageState, VersionChange},
    work::{Changes, ChosenEventId, Loaded},
};
use std::collections::HashMap;

/// Writes `changes` of the agent known as `agent_ref`, or of a new one, decided from `loaded`. Answers false when the new agent was enrolled by somebody
/// else since it was looked for; nothing is written then.
pub(crate) async fn persist(
    transaction: &mut Transaction,
    agent_ref: Option<i32>,
    loaded: &Loaded,
    changes: &Changes,
    refs: &Refs,
) -> Result<bool, Failure> {
    let agent_ref = match (agent_ref, &changes.head) {
        (Some(agent_ref), Some(head)) => {
            update_head(transaction, agent_ref, head).await?;
            agent_ref
        }
        (Some(agent_ref), None) => agent_ref,
        (None, Some(head)) => match insert_head(transaction, head).await? {
            Some(agent_ref) => agent_ref,
            None => return Ok(false),
        },
        // Core decides nothing about an agent that it was not shown.
        (None, None) => return Ok(true),
    };
    let mut writer = Writer { transaction, agent_ref };
    writer.batches(&changes.batches).await?;
    writer.events(&changes.events, refs, &changes.batches).await?;
    writer.chosen_ids(&changes.chosen_ids, &changes.batches).await?;
    writer.states(&changes.states, refs, loaded).await?;
    writer.history(&changes.history, refs).await?;
    writer.rejections(&changes.rejections, &changes.batches).await?;
    writer.counters(&changes.counters).await?;
    for report in &changes.reports {
        writer.report(report).await?;
    }
    Ok(true)
}

async fn insert_head(transaction: &mut Transaction, head: &AgentHead) -> Result<Option<i32>, Failure> {
    let insert = sqlx::query(
        "INSERT INTO agents (agent_id, name, public_key, enrolled_at, tags, host, last_contact_at, last_report, scopes, events, batches,
             pruned_batches, pruned_events, pruned_day)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
         ON CONFLICT (agent_id) DO NOTHING
         RETURNING agent_ref",
    )
    .bind(head.agent.as_uuid())
    .bind(head.name.as_str())
    .bind(head.public_key.as_slice())
    .bind(head.enrolled_at.as_micros())
    .bind(json(&head.tags))
    .bind(json(&head.host))
    .bind(head.last_contact_at.map(|at| at.as_micros()))
    .bind(head.last_report.as_ref().map(json))
    .bind(json(&head.scopes))
    .bind(bigint(head.events)?)
    .bind(bigint(head.batches)?)
    .bind(bigint(head.pruned.batches)?)
    .bind(bigint(head.pruned.events)?)
    .bind(head.pruned.day.number());
    transaction.row(insert).await?.map(|row| get(&row, 0)).transpose()
}

/// Values that did not change leave the indexes alone, as PostgreSQL finds out by itself.
async fn update_head(transaction: &mut Transaction, agent_ref: i32, head: &AgentHead) -> Result<(), Failure> {
    let update = sqlx::query(
        "UPDATE agents SET name = $2, public_key = $3, enrolled_at = $4, tags = $5, host = $6, last_contact_at = $7,
             last_report = $8, scopes = $9, events = $10, batches = $11, pruned_batches = $12, pruned_events = $13, pruned_day = $14
         WHERE agent_ref = $1",
    )
    .bind(agent_ref)
    .bind(head.name.as_str())
    .bind(head.public_key.as_slice())
    .bind(head.enrolled_at.as_micros())
    .bind(json(&head.tags))
    .bind(json(&head.host))
    .bind(head.last_contact_at.map(|at| at.as_micros()))
    .bind(head.last_report.as_ref().map(json))
    .bind(json(&head.scopes))
    .bind(bigint(head.events)?)
    .bind(bigint(head.batches)?)
    .bind(bigint(head.pruned.batches)?)
    .bind(bigint(head.pruned.events)?)
    .bind(head.pruned.day.number());
    transaction.execute(update).await.map(|_| ())
}

/// One column of rows.
fn column<'a, T, V>(rows: &'a [T], of: impl Fn(&'a T) -> V) -> Vec<V> {
    rows.iter().map(of).collect()
}

/// One column of rows, each value of which may not fit.
fn fitting<'a, T, V>(rows: &'a [T], of: impl Fn(&'a T) -> Result<V, Failure>) -> Result<Vec<V>, Failure> {
    rows.iter().map(of).collect()
}

/// A state with the refs of its package and offer.
type StateRow<'a> = (&'a PackageState, i32, OfferRefs);

struct Writer<'a> {
    transaction: &'a mut Transaction,
    agent_ref: i32,
}

impl Writer<'_> {
    async fn batches(&mut self, batches: &[BatchRecord]) -> Result<(), Failure> {
        if batches.is_empty() {
            return Ok(());
        }
        let insert = sqlx::query(
            "INSERT INTO update_batches
             (agent_ref, number, batch_id, actor, source, report_id, digest, received_at, first_sequence, first_ordinal,
              submitted, accepted, duplicate, rejected, exceptions)
             SELECT $1, * FROM UNNEST($2::bigint[], $3::uuid[], $4::text[], $5::smallint[], $6::uuid[], $7::bytea[], $8::bigint[],
                 $9::bigint[], $10::integer[], $11::integer[], $12::integer[], $13::integer[], $14::integer[], $15::text[])",
        )
        .bind(self.agent_ref)
        .bind(fitting(batches, |record| bigint(record.receipt.number))?)
        .bind(column(batches, |record| record.receipt.batch.as_uuid()))
        .bind(column(batches, |record| json(&record.actor)))
        .bind(column(batches, |record| source_columns(&record.source).0))
        .bind(column(batches, |record| source_columns(&record.source).1))
        .bind(column(batches, |record| record.digest.as_bytes().as_slice()))
        .bind(column(batches, |record| record.receipt.received_at.as_micros()))
        .bind(fitting(batches, |record| bigint(record.first_sequence))?)
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
        let numbers = BatchNumbers::new(batches)?;
        let refs = &refs.events;
        let insert = sqlx::query(
            "INSERT INTO update_events
             (agent_ref, sequence, package_ref, revision, batch_number, batch_index, kind, availability,
              candidate_ref, installed_ref, reason_ref, observed_at, detail, event_id)
             SELECT $1, * FROM UNNEST($2::bigint[], $3::integer[], $4::bigint[], $5::bigint[], $6::integer[], $7::smallint[],
                 $8::smallint[], $9::integer[], $10::integer[], $11::integer[], $12::bigint[], $13::text[], $14::uuid[])",
        )
        .bind(self.agent_ref)
        .bind(fitting(events, |event| bigint(event.sequence))?)
        .bind(column(refs, |(package, _)| *package))
        .bind(fitting(events, |event| bigint(event.revision))?)
        .bind(fitting(events, |event| numbers.of(event.batch))?)
        .bind(fitting(events, |event| integer(event.index))?)
        .bind(column(events, |event| event.event.kind.word().map(|word| code(word.code()))))
        .bind(column(refs, |(_, offer)| offer.map(|offer| offer.availability)))
        .bind(column(refs, |(_, offer)| offer.map(|offer| offer.candidate)))
        .bind(column(refs, |(_, offer)| offer.and_then(|offer| offer.installed)))
        .bind(column(refs, |(_, offer)| offer.and_then(|offer| offer.reason)))
        .bind(column(events, |event| event.event.observed_at.map(|at| at.as_micros())))
        .bind(column(events, |event| event.event.kind.offer().is_none().then(|| event.event.kind.to_json())))
        .bind(column(events, |event| (event.source == Source::Submitted).then(|| event.event.id.as_uuid())));
        self.transaction.execute(insert).await.map(|_| ())
    }

    async fn chosen_ids(&mut self, chosen: &[ChosenEventId], batches: &[BatchRecord]) -> Result<(), Failure> {
        if chosen.is_empty() {
            return Ok(());
        }
        let numbers = BatchNumbers::new(batches)?;
        let insert = sqlx::query(
            "INSERT INTO chosen_event_ids (agent_ref, event_id, sequence, batch_number, batch_index, digest)
             SELECT $1, * FROM UNNEST($2::uuid[], $3::bigint[], $4::bigint[], $5::integer[], $6::bytea[])",
        )
        .bind(self.agent_ref)
        .bind(column(chosen, |chosen| chosen.event.as_uuid()))
        .bind(fitting(chosen, |chosen| bigint(chosen.sequence))?)
        .bind(fitting(chosen, |chosen| numbers.of(chosen.batch))?)
        .bind(fitting(chosen, |chosen| integer(chosen.index))?)
        .bind(column(chosen, |chosen| chosen.digest.as_bytes().as_slice()));
        self.transaction.execute(insert).await.map(|_| ())
    }

    /// States that were there before are updated, the others inserted: to find out by trying costs 8 % more write-ahead log.
    async fn states(&mut self, states: &[PackageState], refs: &Refs, loaded: &Loaded) -> Result<(), Failure> {
        let rows = states.iter().zip(&refs.states).map(|(state, (package, offer))| (state, *package, *offer));
        let (known, new): (Vec<StateRow<'_>>, Vec<_>) = rows.partition(|(state, ..)| loaded.states.get(&state.package).is_some());
        if !new.is_empty() {
            self.write_states(
                "INSERT INTO current_package_state
                 (agent_ref, package_ref, candidate_ref, installed_ref, reason_ref, status, severity, availability,
                  revision, discovered_at, changed_at, detail)
                 SELECT $1, * FROM UNNEST($2::integer[], $3::integer[], $4::integer[], $5::integer[], $6::smallint[], $7::smallint[],
                     $8::smallint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::text[])",
                &new,
            )
            .await?;
        }
        if !known.is_empty() {
            let found = self.write_states(
                "UPDATE current_package_state AS s SET
                     candidate_ref = n.candidate_ref, installed_ref = n.installed_ref, reason_ref = n.reason_ref, status = n.status,
                     severity = n.severity, availability = n.availability, revision = n.revision,
                     discovered_at = n.discovered_at, changed_at = n.changed_at, detail = n.detail
                 FROM UNNEST($2::integer[], $3::integer[], $4::integer[], $5::integer[], $6::smallint[], $7::smallint[],
                     $8::smallint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::text[])
                     AS n (package_ref, candidate_ref, installed_ref, reason_ref, status, severity, availability,
                           revision, discovered_at, changed_at, detail)
                 WHERE s.agent_ref = $1 AND s.package_ref = n.package_ref",
                &known,
            );
            if found.await? != known.len() as u64 {
                return Err(Failure::corrupt("a state that was loaded is missing"));
            }
        }
        Ok(())
    }

    async fn write_states(&mut self, sql: &'static str, rows: &[StateRow<'_>]) -> Result<u64, Failure> {
        let statement = sqlx::query(sql)
            .bind(self.agent_ref)
            .bind(column(rows, |(_, package, _)| *package))
            .bind(column(rows, |(.., offer)| offer.candidate))
            .bind(column(rows, |(.., offer)| offer.installed))
            .bind(column(rows, |(.., offer)| offer.reason))
            .bind(column(rows, |(state, ..)| code(state.status().code())))
            .bind(column(rows, |(state, ..)| code(state.offer.candidate.severity.code())))
            .bind(column(rows, |(.., offer)| offer.availability))
            .bind(fitting(rows, |(state, ..)| bigint(state.revision))?)
            .bind(column(rows, |(state, ..)| state.discovered_at.as_micros()))
            .bind(column(rows, |(state, ..)| state.changed_at.as_micros()))
            .bind(column(rows, |(state, ..)| state.detail_json()));
        self.transaction.execute(statement).await
    }

    async fn history(&mut self, history: &[VersionChange], refs: &Refs) -> Result<(), Failure> {
        if history.is_empty() {
            return Ok(());
        }
        let insert = sqlx::query(
            "INSERT INTO update_version_history
             (agent_ref, package_ref, sequence, from_version, to_version, outcome, command_id, reason, at)
             SELECT $1, * FROM UNNEST($2::integer[], $3::bigint[], $4::text[], $5::text[], $6::smallint[], $7::uuid[], $8::text[],
                 $9::bigint[])",
        )
        .bind(self.agent_ref)
        .bind(refs.history.as_slice())
        .bind(fitting(history, |change| bigint(change.sequence))?)
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
        let numbers = BatchNumbers::new(batches)?;
        let insert = sqlx::query(
            "INSERT INTO rejections (agent_ref, batch_number, batch_index, code, field, message, manager, name, arch, excerpt)
             SELECT $1, * FROM UNNEST($2::bigint[], $3::integer[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                 $9::text[], $10::text[])",
        )
        .bind(self.agent_ref)
        .bind(fitting(rejections, |item| numbers.of(item.batch))?)
        .bind(fitting(rejections, |item| integer(item.index))?)
        .bind(column(rejections, |item| item.rejection.code.as_str()))
        .bind(column(rejections, |item| item.rejection.field.as_str()))
        .bind(column(rejections, |item| item.rejection.message.as_str()))
        .bind(column(rejections, |item| item.package.as_ref().map(|package| package.manager.as_str())))
        .bind(column(rejections, |item| item.package.as_ref().map(|package| package.name.as_str())))
        .bind(column(rejections, |item| item.package.as_ref().map(arch)))
        .bind(column(rejections, |item| item.excerpt.as_str()));
        self.transaction.execute(insert).await.map(|_| ())
    }

    /// What grows is added or inserted; what shrinks must be there already.
    async fn counters(&mut self, counters: &CounterChanges) -> Result<(), Failure> {
        let (more, fewer): (Vec<_>, Vec<_>) = counters.iter().partition(|(_, difference)| *difference > 0);
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

    async fn report(&mut self, report: &StoredReport) -> Result<(), Failure> {
        let insert = sqlx::query(
            "INSERT INTO reports (agent_ref, report_id, digest, sequence, received_at, answer) VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(self.agent_ref)
        .bind(report.report_id.as_uuid())
        .bind(report.digest.as_bytes().as_slice())
        .bind(bigint(report.sequence)?)
        .bind(report.received_at.as_micros())
        .bind(json(&report.answer));
        self.transaction.execute(insert).await.map(|_| ())
    }
}

/// Numbers of new batches by id.
struct BatchNumbers(HashMap<BatchId, i64>);

impl BatchNumbers {
    fn new(batches: &[BatchRecord]) -> Result<Self, Failure> {
        let number = |record: &BatchRecord| Ok((record.receipt.batch, bigint(record.receipt.number)?));
        batches.iter().map(number).collect::<Result<_, Failure>>().map(Self)
    }

    fn of(&self, id: BatchId) -> Result<i64, Failure> {
        self.0.get(&id).copied().ok_or_else(|| Failure::corrupt(format!("rows of batch {id}, which is not written with them")))
    }
}
