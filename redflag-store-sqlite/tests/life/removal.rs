//! Removal takes every row of an agent from every table, retention what belongs to the start of a log, and neither anything of others
//! (clauses D2 and D3).

use super::{count, lived, open, place, remove, tables_with};
use redflag_core::{
    conformance::generate::{agent, at, enrolment},
    rebuild::Rebuild,
    store::{BatchStore, EventStore, Mode, StateStore},
    work::UnitOfWork,
};
use rusqlite::Connection;

/// What stays of a removed agent.
const STAYS: [&str; 3] = ["feed", "feed_tombstones", "removed_agents"];

#[tokio::test]
async fn no_table_keeps_a_row_of_a_removed_agent() {
    let (_directory, path) = place();
    let fleet = lived(&path).await;
    let connection = Connection::open(&path).unwrap();
    let removed = count(&connection, "SELECT agent_ref FROM agents WHERE agent_id = (SELECT MAX(agent_id) FROM agents)");
    let rows = || -> Vec<(String, i64, i64)> {
        let of = |table: &str, which: &str| count(&connection, &format!("SELECT COUNT(*) FROM {table} WHERE agent_ref {which} {removed}"));
        let tables = tables_with(&connection, "agent_ref").into_iter().filter(|table| table != "maintenance");
        tables.map(|table| (table.clone(), of(&table, "="), of(&table, "<>"))).collect()
    };
    let before = rows();
    for (table, of_it, of_others) in &before {
        let empty = table == "removed_agents";
        assert_eq!((*of_it == 0, *of_others == 0), (empty, empty), "{table} has rows to lose: {before:?}");
    }
    remove(&fleet, 2, at(1)).await.unwrap();
    for ((table, before, others_before), (_, after, others)) in before.iter().zip(rows()) {
        assert_eq!(others, *others_before, "rows of others in {table}");
        match table.as_str() {
            "removed_agents" => assert_eq!(after, 1),
            "feed_tombstones" => assert!(after > *before, "{table} goes on naming every batch"),
            stays if STAYS.contains(&stays) => assert_eq!(after, *before, "rows that stay in {table}"),
            _ => assert_eq!(after, 0, "rows of the removed agent in {table}"),
        }
    }
    let text = "SELECT COUNT(*) FROM pragma_foreign_key_check";
    assert_eq!(count(&connection, text), 0);
    assert_eq!(fleet.check(agent(1)).await.unwrap(), []);
}

#[tokio::test]
async fn what_retention_leaves_belongs_together() {
    let (_directory, path) = place();
    drop(lived(&path).await);
    let connection = Connection::open(&path).unwrap();
    let without = |rows: &str, of: &str| count(&connection, &format!("SELECT COUNT(*) FROM (SELECT {rows} EXCEPT SELECT {of})"));
    let same = |one: &str, other: &str| assert_eq!((without(one, other), without(other, one)), (0, 0), "{one} and {other}");
    same(
        "agent_ref, event_id, sequence FROM chosen_event_ids",
        "agent_ref, event_id, sequence FROM update_events WHERE event_id IS NOT NULL",
    );
    same("agent_ref, number FROM update_batches WHERE rejected > 0", "agent_ref, batch_number FROM rejections");
    same("agent_ref, number FROM update_batches WHERE accepted > 0", "agent_ref, batch_number FROM update_events");
    same("agent_ref, pruned_batches FROM agents", "agent_ref, MAX(number) FROM feed_tombstones GROUP BY 1");
    same("agent_ref, pruned_batches + 1 FROM agents", "agent_ref, MIN(number) FROM update_batches GROUP BY 1");
    same("agent_ref, pruned_events + 1 FROM agents", "agent_ref, MIN(sequence) FROM update_events GROUP BY 1");
    assert!(count(&connection, "SELECT COUNT(*) FROM chosen_event_ids") > 0);
}

/// The trend of the fleet is kept beside that of each agent, through every kind of change.
#[tokio::test]
async fn open_updates_of_the_fleet_are_the_sum_of_those_of_its_agents() {
    let (_directory, path) = place();
    let fleet = lived(&path).await;
    let connection = Connection::open(&path).unwrap();
    let sums = |table: &str| -> Vec<(i64, i64, i64)> {
        let sql = format!("SELECT day, severity, SUM(difference) AS s FROM {table} GROUP BY 1, 2 HAVING s <> 0 ORDER BY 1, 2");
        let mut select = connection.prepare(&sql).unwrap();
        select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap().map(Result::unwrap).collect()
    };
    assert!(!sums("open_changes").is_empty());
    assert_eq!(sums("open_changes_of_fleet"), sums("open_changes"), "after reports and retention");
    let mut derived = fleet.store().derived(agent(0)).await.unwrap().unwrap();
    derived.open_changes[0].difference += 7;
    derived.open_changes.truncate(1);
    let rebuild = UnitOfWork::Rebuild(Rebuild { agent: agent(0), derived });
    fleet.store().run(&rebuild, Mode::Commit).await.unwrap();
    assert_eq!(sums("open_changes_of_fleet"), sums("open_changes"), "after something else was put in place");
    fleet.rebuild(agent(0)).await.unwrap();
    for host in 0..3 {
        remove(&fleet, host, at(1)).await.unwrap();
        assert_eq!(sums("open_changes_of_fleet"), sums("open_changes"), "after agent {host} was removed");
    }
    assert_eq!(sums("open_changes"), []);
}

/// The feed names removed agents by their refs, so nobody else may get them.
#[tokio::test]
async fn the_ref_of_a_removed_agent_is_not_given_again() {
    let (_directory, path) = place();
    let fleet = lived(&path).await;
    let before = fleet.store().feed(Default::default(), 1_000).await.unwrap();
    for host in [2, 1, 0] {
        remove(&fleet, host, at(1)).await.unwrap();
    }
    let store = open(&path);
    for host in 3..6 {
        store.run(&UnitOfWork::EnrolAgent(enrolment(host)), Mode::Commit).await.unwrap();
    }
    let after = store.feed(Default::default(), 1_000).await.unwrap();
    let named = |entries: &[redflag_core::feed::FeedEntry]| entries.iter().map(|entry| (entry.agent, entry.digest)).collect::<Vec<_>>();
    assert_eq!(named(&after), named(&before));
    let connection = Connection::open(&path).unwrap();
    assert_eq!(count(&connection, "SELECT COUNT(*) FROM agents JOIN removed_agents USING (agent_ref)"), 0);
    assert_eq!(store.removed_agents(Some(agent(0)), 1).await.unwrap()[0].agent, agent(1));
}

#[tokio::test]
async fn a_rehearsed_removal_removes_nothing() {
    let (_directory, path) = place();
    let fleet = lived(&path).await;
    let derived = fleet.store().derived(agent(0)).await.unwrap();
    let batches = fleet.store().agent_batches(agent(0), 0, 1_000).await.unwrap();
    let tombstones =
        batches.iter().map(|record| redflag_core::feed::Tombstone { number: record.receipt.number, digest: record.feed_digest() });
    let work = redflag_core::removal::RemoveAgent {
        agent: agent(0),
        actor: redflag_core::event::Actor::Agent,
        reason: None,
        removed_at: at(1),
        tombstones: tombstones.collect(),
    };
    fleet.store().run(&UnitOfWork::RemoveAgent(work), Mode::Rehearse).await.unwrap();
    assert_eq!(fleet.store().derived(agent(0)).await.unwrap(), derived);
    assert_eq!(fleet.store().removed_agents(None, 1).await.unwrap(), []);
    assert_eq!(count(&Connection::open(&path).unwrap(), "SELECT COUNT(*) FROM maintenance"), 0);
}
