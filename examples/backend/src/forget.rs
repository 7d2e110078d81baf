//! Taking away: what retention, a rebuild and the removal of an agent end. The only place where rows go (clause D1).

use crate::{
    documents::{all, clear, read},
    error::Failure,
    tables::{
        self, AGENTS, BASES, BATCH_NUMBERS, BATCHES, CHOSEN_IDS, COUNTERS, EVENTS, EVENTS_OF_PACKAGE, HISTORY, OPEN_CHANGES, REJECTIONS,
        REPORT_NUMBERS, REPORTS, STATES,
    },
};
use redb::{ReadableTable, WriteTransaction};
use redflag_core::{
    agent::Pruned,
    batch::BatchRecord,
    event::{RecordedEvent, Source},
    ids::AgentId,
    report::StoredReport,
    time::Timestamp,
};

/// Takes the start of an agent's log away: `pruned` of its stream, and the reports of that time.
pub(crate) fn prune(transaction: &WriteTransaction, agent: AgentId, pruned: Pruned, reports_before: Timestamp) -> Result<(), Failure> {
    let id = tables::agent(agent);
    let batches: Vec<BatchRecord> = all(transaction.open_table(BATCHES)?.range((id, 0)..=(id, pruned.batches))?)?;
    for batch in batches.iter().map(|record| tables::batch(record.receipt.batch)) {
        transaction.open_table(BATCH_NUMBERS)?.remove((id, batch))?;
        clear(transaction, REJECTIONS, tables::rejections_of((id, batch)))?;
    }
    clear(transaction, BATCHES, (id, 0)..=(id, pruned.batches))?;

    let events: Vec<RecordedEvent> = all(transaction.open_table(EVENTS)?.range((id, 0)..=(id, pruned.events))?)?;
    for event in events {
        transaction.open_table(EVENTS_OF_PACKAGE)?.remove((tables::package(agent, &event.event.package), event.revision))?;
        // Another event may have been given the id that was computed for this one.
        if event.source == Source::Submitted {
            transaction.open_table(CHOSEN_IDS)?.remove((id, tables::event(event.event.id)))?;
        }
    }
    clear(transaction, EVENTS, (id, 0)..=(id, pruned.events))?;
    prune_reports(transaction, agent, reports_before)
}

fn prune_reports(transaction: &WriteTransaction, agent: AgentId, before: Timestamp) -> Result<(), Failure> {
    let id = tables::agent(agent);
    let mut old = Vec::new();
    for entry in transaction.open_table(REPORTS)?.range(tables::numbered(id))? {
        let (key, document) = entry?;
        let report: StoredReport = read(document.value())?;
        // Reports lie in the order of their arrival, by which the store's clock may have been set back.
        if report.received_at < before {
            old.push((key.value(), tables::report(report.report_id)));
        }
    }
    for (key, report) in old {
        transaction.open_table(REPORTS)?.remove(key)?;
        transaction.open_table(REPORT_NUMBERS)?.remove((id, report))?;
    }
    Ok(())
}

/// Takes away what follows from an agent's log, so that it can be written anew.
pub(crate) fn derived(transaction: &WriteTransaction, agent: AgentId) -> Result<(), Failure> {
    clear(transaction, STATES, tables::packages_of(agent))?;
    clear(transaction, HISTORY, tables::numbered_packages_of(agent))?;
    clear(transaction, COUNTERS, tables::counters_of(agent))?;
    clear(transaction, OPEN_CHANGES, tables::open_changes_of(agent))
}

/// Takes away every row of an agent but its entries of the feed.
pub(crate) fn agent(transaction: &WriteTransaction, agent: AgentId) -> Result<(), Failure> {
    let id = tables::agent(agent);
    derived(transaction, agent)?;
    clear(transaction, AGENTS, id..=id)?;
    clear(transaction, BASES, tables::packages_of(agent))?;
    clear(transaction, EVENTS, tables::numbered(id))?;
    clear(transaction, EVENTS_OF_PACKAGE, tables::numbered_packages_of(agent))?;
    clear(transaction, CHOSEN_IDS, tables::ids_of(agent))?;
    clear(transaction, BATCHES, tables::numbered(id))?;
    clear(transaction, BATCH_NUMBERS, tables::ids_of(agent))?;
    clear(transaction, REJECTIONS, (id, 0, 0)..=(id, tables::Uuid::MAX, u32::MAX))?;
    clear(transaction, REPORTS, tables::numbered(id))?;
    clear(transaction, REPORT_NUMBERS, tables::ids_of(agent))
}
