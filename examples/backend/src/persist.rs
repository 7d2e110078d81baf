//! Writing: every list of a unit of work's changes, as it is. Nothing here looks inside: core has judged.

use crate::{
    documents::{find, put},
    error::Failure,
    feed, forget,
    tables::{
        self, AGENTS, BASES, BATCH_NUMBERS, BATCHES, CHOSEN_IDS, EVENTS, EVENTS_OF_PACKAGE, HISTORY, OPEN_CHANGES, REJECTIONS, REMOVED,
        REPORT_NUMBERS, REPORTS, STATES,
    },
};
use redb::{ReadableTable, WriteTransaction};
use redflag_core::{
    batch::BatchRecord,
    counters::OpenChange,
    event::RecordedEvent,
    ids::AgentId,
    rebuild::Derived,
    report::StoredReport,
    state::{PackageState, VersionChange},
    time::Day,
    words::Severity,
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
        // Counters spare a backend counting its states. This one reads them all for every list anyway, and counts.
        counters: _,
        open_changes,
        reports,
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
    write_derived(transaction, agent, states, history)?;
    put(transaction, REJECTIONS, rejections.iter().map(|item| ((id, tables::batch(item.batch), item.index), item)))?;
    add_open_changes(transaction, agent, open_changes)?;
    reports.iter().try_for_each(|report| write_report(transaction, agent, report))?;
    if removed.is_none() && pruning.is_none() {
        // Of batches that are taken away the feed has kept the tombstones all along.
        feed::append(transaction, agent, tombstones.iter().copied())?;
    }
    if let (Some(Pruning { reports_before, bases }), Some(head)) = (pruning, head) {
        forget::prune(transaction, agent, head.pruned, *reports_before)?;
        put(transaction, BASES, bases.iter().map(|state| (tables::package(agent, &state.package), state)))?;
    }
    if let Some(Derived { sequence: _, states, history, counters: _, open_changes }) = derived {
        forget::derived(transaction, agent)?;
        write_derived(transaction, agent, states, history)?;
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

fn write_derived(
    transaction: &WriteTransaction,
    agent: AgentId,
    states: &[PackageState],
    history: &[VersionChange],
) -> Result<(), Failure> {
    put(transaction, STATES, states.iter().map(|state| (tables::package(agent, &state.package), state)))?;
    put(transaction, HISTORY, history.iter().map(|change| ((tables::package(agent, &change.package), change.sequence), change)))
}

fn add_open_changes(transaction: &WriteTransaction, agent: AgentId, changes: &[OpenChange]) -> Result<(), Failure> {
    for change in changes {
        let key = tables::open_change(agent, change);
        let stored: Option<(Day, Severity, i64)> = find(&transaction.open_table(OPEN_CHANGES)?, key)?;
        let difference = stored.map_or(0, |(_, _, difference)| difference) + change.difference;
        put(transaction, OPEN_CHANGES, [(key, (change.day, change.severity, difference))])?;
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
