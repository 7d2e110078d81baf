//! Writing: every list of a unit of work's changes, as it is. Nothing here looks inside: core has judged.

use crate::{
    commands,
    documents::{find, put},
    error::Failure,
    feed, forget,
    tables::{
        self, AGENTS, BASES, BATCH_NUMBERS, BATCHES, CHOSEN_IDS, COUNTERS, EVENTS, EVENTS_OF_PACKAGE, HISTORY, OPEN_CHANGES, REJECTIONS,
        REMOVED, REPORT_NUMBERS, REPORTS, STATES,
    },
};
use redb::{ReadableTable, WriteTransaction};
use redflag_core::{
    batch::BatchRecord,
    counters::{CounterKey, OpenChange},
    event::RecordedEvent,
    ids::AgentId,
    rebuild::Derived,
    report::StoredReport,
    state::{PackageState, VersionChange},
    work::{Changes, Pruning},
};

/// Writes `changes` of an agent. Taken apart by name, so that a list that core adds does not compile until it is written here.
pub(crate) fn persist(transaction: &WriteTransaction, agent: AgentId, changes: &Changes) -> Result<(), Failure> {
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
    let id = tables::agent(agent);
    put(transaction, AGENTS, head.iter().map(|head| (id, head)))?;
    write_batches(transaction, agent, batches)?;
    write_events(transaction, agent, events)?;
    put(transaction, CHOSEN_IDS, chosen_ids.iter().map(|chosen| ((id, tables::event(chosen.event)), chosen)))?;
    write_states(transaction, agent, states)?;
    write_history(transaction, agent, history)?;
    add_counters(transaction, agent, counters.iter())?;
    add_open_changes(transaction, agent, open_changes)?;
    put(transaction, REJECTIONS, rejections.iter().map(|item| ((id, tables::batch(item.batch), item.index), item)))?;
    reports.iter().try_for_each(|report| write_report(transaction, agent, report))?;
    commands::write(transaction, agent, commands)?;
    if removed.is_none() && pruning.is_none() {
        // Of batches that are taken away the feed has kept the tombstones all along.
        feed::append(transaction, agent, tombstones.iter().copied())?;
    }
    if let (Some(Pruning { reports_before, bases }), Some(head)) = (pruning, head) {
        forget::prune(transaction, agent, head.pruned, *reports_before)?;
        put(transaction, BASES, bases.iter().map(|state| (tables::package(agent, &state.package), state)))?;
    }
    if let Some(Derived { sequence: _, pruned: _, states, history, counters, open_changes }) = derived {
        forget::derived(transaction, agent)?;
        write_states(transaction, agent, states)?;
        write_history(transaction, agent, history)?;
        add_counters(transaction, agent, counters.iter().map(|(key, count)| (key, *count)))?;
        add_open_changes(transaction, agent, open_changes)?;
    }
    if let Some(removed) = removed {
        forget::agent(transaction, agent)?;
        put(transaction, REMOVED, [(id, removed)])?;
    }
    Ok(())
}

fn write_batches(transaction: &WriteTransaction, agent: AgentId, batches: &[BatchRecord]) -> Result<(), Failure> {
    let id = tables::agent(agent);
    put(transaction, BATCHES, batches.iter().map(|record| ((id, record.receipt.number), record)))?;
    let mut numbers = transaction.open_table(BATCH_NUMBERS)?;
    for BatchRecord { receipt, .. } in batches {
        numbers.insert((id, tables::batch(receipt.batch)), receipt.number)?;
    }
    feed::append(transaction, agent, batches.iter().map(feed::tombstone))
}

fn write_events(transaction: &WriteTransaction, agent: AgentId, events: &[RecordedEvent]) -> Result<(), Failure> {
    put(transaction, EVENTS, events.iter().map(|event| ((tables::agent(agent), event.sequence), event)))?;
    let mut of_package = transaction.open_table(EVENTS_OF_PACKAGE)?;
    for event in events {
        of_package.insert((tables::package(agent, &event.event.package), event.revision), event.sequence)?;
    }
    Ok(())
}

fn write_states(transaction: &WriteTransaction, agent: AgentId, states: &[PackageState]) -> Result<(), Failure> {
    put(transaction, STATES, states.iter().map(|state| (tables::package(agent, &state.package), state)))
}

fn write_history(transaction: &WriteTransaction, agent: AgentId, history: &[VersionChange]) -> Result<(), Failure> {
    put(transaction, HISTORY, history.iter().map(|change| ((tables::package(agent, &change.package), change.sequence), change)))
}

fn add_counters<'a>(
    transaction: &WriteTransaction,
    agent: AgentId,
    differences: impl Iterator<Item = (&'a CounterKey, i64)>,
) -> Result<(), Failure> {
    for (key, difference) in differences {
        let place = tables::counter(agent, key);
        let stored: Option<(CounterKey, i64)> = find(&transaction.open_table(COUNTERS)?, place)?;
        let count = stored.map_or(0, |(_, count)| count) + difference;
        put(transaction, COUNTERS, [(place, (key, count))])?;
    }
    Ok(())
}

fn add_open_changes(transaction: &WriteTransaction, agent: AgentId, changes: &[OpenChange]) -> Result<(), Failure> {
    for change in changes {
        let place = tables::open_change(agent, change);
        let stored: Option<OpenChange> = find(&transaction.open_table(OPEN_CHANGES)?, place)?;
        let difference = stored.map_or(0, |stored| stored.difference) + change.difference;
        put(transaction, OPEN_CHANGES, [(place, OpenChange { difference, ..*change })])?;
    }
    Ok(())
}

fn write_report(transaction: &WriteTransaction, agent: AgentId, report: &StoredReport) -> Result<(), Failure> {
    let id = tables::agent(agent);
    let last = transaction.open_table(REPORTS)?.range(tables::numbered(id))?.next_back().transpose()?.map(|(key, _)| key.value().1);
    let number = last.map_or(1, |last| last + 1);
    put(transaction, REPORTS, [((id, number), report)])?;
    transaction.open_table(REPORT_NUMBERS)?.insert((id, tables::report(report.report_id)), number)?;
    Ok(())
}
