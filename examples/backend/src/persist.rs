//! Writing: every list of a unit of work's changes, as it is. Nothing here looks inside: core has judged.

use crate::{
    documents::Document,
    error::Failure,
    tables::{self, AGENTS, BATCHES, CHOSEN_IDS, EVENTS, EVENTS_OF_PACKAGE, HISTORY, REJECTIONS, REPORT_NUMBERS, REPORTS, STATES},
};
use redb::{ReadableTable, WriteTransaction};
use redflag_core::{
    batch::{BatchRecord, RejectedItem},
    event::RecordedEvent,
    ids::AgentId,
    report::StoredReport,
    state::{PackageState, VersionChange},
    work::{Changes, ChosenEventId},
};

/// Writes `changes` of an agent. Taken apart by name, so that a list that core adds does not compile until it is written here.
pub(crate) fn persist(transaction: &WriteTransaction, agent: AgentId, changes: &Changes) -> Result<(), Failure> {
    // Counters spare a backend counting its states. This one reads them all for every list anyway, and counts.
    let Changes { head, batches, events, chosen_ids, states, history, rejections, reports, .. } = changes;
    if let Some(head) = head {
        transaction.open_table(AGENTS)?.insert(tables::agent(agent), head.write()?.as_slice())?;
    }
    write_batches(transaction, agent, batches)?;
    write_events(transaction, agent, events)?;
    write_chosen_ids(transaction, agent, chosen_ids)?;
    write_states(transaction, agent, states)?;
    write_history(transaction, agent, history)?;
    write_rejections(transaction, agent, rejections)?;
    reports.iter().try_for_each(|report| write_report(transaction, agent, report))
}

fn write_batches(transaction: &WriteTransaction, agent: AgentId, batches: &[BatchRecord]) -> Result<(), Failure> {
    let mut table = transaction.open_table(BATCHES)?;
    for batch in batches {
        table.insert((tables::agent(agent), tables::batch(batch.receipt.batch)), batch.write()?.as_slice())?;
    }
    Ok(())
}

fn write_events(transaction: &WriteTransaction, agent: AgentId, events: &[RecordedEvent]) -> Result<(), Failure> {
    let mut table = transaction.open_table(EVENTS)?;
    let mut of_package = transaction.open_table(EVENTS_OF_PACKAGE)?;
    for event in events {
        table.insert((tables::agent(agent), event.sequence), event.write()?.as_slice())?;
        of_package.insert((tables::package(agent, &event.event.package), event.revision), event.sequence)?;
    }
    Ok(())
}

fn write_chosen_ids(transaction: &WriteTransaction, agent: AgentId, chosen_ids: &[ChosenEventId]) -> Result<(), Failure> {
    let mut table = transaction.open_table(CHOSEN_IDS)?;
    for chosen in chosen_ids {
        table.insert((tables::agent(agent), tables::event(chosen.event)), chosen.write()?.as_slice())?;
    }
    Ok(())
}

fn write_states(transaction: &WriteTransaction, agent: AgentId, states: &[PackageState]) -> Result<(), Failure> {
    let mut table = transaction.open_table(STATES)?;
    for state in states {
        table.insert(tables::package(agent, &state.package), state.write()?.as_slice())?;
    }
    Ok(())
}

fn write_history(transaction: &WriteTransaction, agent: AgentId, history: &[VersionChange]) -> Result<(), Failure> {
    let mut table = transaction.open_table(HISTORY)?;
    for change in history {
        table.insert((tables::package(agent, &change.package), change.sequence), change.write()?.as_slice())?;
    }
    Ok(())
}

fn write_rejections(transaction: &WriteTransaction, agent: AgentId, rejections: &[RejectedItem]) -> Result<(), Failure> {
    let mut table = transaction.open_table(REJECTIONS)?;
    for item in rejections {
        table.insert((tables::agent(agent), tables::batch(item.batch), item.index), item.write()?.as_slice())?;
    }
    Ok(())
}

fn write_report(transaction: &WriteTransaction, agent: AgentId, report: &StoredReport) -> Result<(), Failure> {
    let mut table = transaction.open_table(REPORTS)?;
    let last = table.range(tables::numbered(tables::agent(agent)))?.next_back().transpose()?;
    let number = last.map_or(1, |(key, _)| key.value().1 + 1);
    table.insert((tables::agent(agent), number), report.write()?.as_slice())?;
    let mut numbers = transaction.open_table(REPORT_NUMBERS)?;
    numbers.insert((tables::agent(agent), tables::report(report.report_id)), number)?;
    Ok(())
}
