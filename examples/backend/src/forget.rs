//! Taking away: what retention, a rebuild and the removal of an agent end. The only place where rows go (clause D1).

use crate::{
    documents::{all, clear, read},
    error::Failure,
    tables::{
        self, AGENTS, BASES, BATCH_NUMBERS, BATCHES, CHOSEN_IDS, COMMANDS, COUNTERS, EVENTS, EVENTS_OF_PACKAGE, HISTORY, OPEN_CHANGES,
        REJECTIONS, REPORT_NUMBERS, REPORTS, STATES,
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
    clear(transaction, REPORT_NUMBERS, tables::ids_of(agent))?;
    clear(transaction, COMMANDS, tables::ids_of(agent))
}

#[cfg(test)]
mod tests {
    use crate::RedbStore;
    use redb::ReadableTableMetadata as _;
    use redflag_core::{
        Fleet,
        conformance::{
            Shape,
            generate::{agent, at, rescan},
            history,
        },
        event::Actor,
        retention::RetentionWindow,
        store::{BatchStore as _, Mode},
    };
    use std::{collections::BTreeMap, time::Duration};

    /// How many rows each table has that has any.
    async fn filled(store: &RedbStore) -> BTreeMap<String, u64> {
        let rows = store.read(|transaction| {
            let count = |table: redb::UntypedTableHandle| {
                let rows = transaction.open_untyped_table(table.clone())?.len()?;
                Ok((redb::TableHandle::name(&table).to_owned(), rows))
            };
            transaction.list_tables()?.map(count).collect::<Result<BTreeMap<_, _>, _>>()
        });
        rows.await.unwrap().into_iter().filter(|(_, rows)| *rows > 0).collect()
    }

    /// The ports cannot see rows of an agent that is gone, and its id never comes back: a table that was forgotten shows only here.
    #[tokio::test]
    async fn a_removed_agent_leaves_rows_in_the_feed_alone() {
        let directory = tempfile::tempdir().unwrap();
        let store = RedbStore::open(directory.path().join("fleet.redb")).unwrap();
        let fleet = Fleet::new(store.clone());
        for work in history(7, Shape { agents: 1, steps: 60, ..Shape::default() }) {
            drop(store.run(&work, Mode::Commit).await);
        }
        let month = RetentionWindow::days(30).unwrap();
        let pruned = fleet.prune(agent(0), month, at(20).saturating_add(Duration::from_secs(30 * 86_400))).await.unwrap();
        assert!(!pruned.nothing());
        fleet.command(agent(0), rescan(1), at(21)).await.unwrap();

        let before = filled(&store).await;
        let all: Vec<_> = before.keys().map(String::as_str).collect();
        let expected = [
            "agents",
            "bases",
            "batch_numbers",
            "batches",
            "chosen_ids",
            "commands",
            "counters",
            "events",
            "events_of_package",
            "feed",
            "history",
            "meta",
            "open_changes",
            "rejections",
            "report_numbers",
            "reports",
            "states",
        ];
        assert_eq!(all, expected, "tables of an agent that did everything");
        for (index, of) in [("batch_numbers", "batches"), ("report_numbers", "reports"), ("events_of_package", "events")] {
            assert_eq!(before[index], before[of], "entries of an index, and rows that it finds");
        }
        fleet.remove_agent(agent(0), Actor::Agent, None, at(100)).await.unwrap();
        let left = [("feed", before["feed"]), ("meta", 1), ("removed", 1)].map(|(table, rows)| (table.to_owned(), rows));
        assert_eq!(filled(&store).await, BTreeMap::from(left));
    }
}
