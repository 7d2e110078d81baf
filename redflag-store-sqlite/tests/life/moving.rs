//! Logs longer than one slice: out of a file, through the memory store, and back (clauses S1 and B14).

use super::{count, open, place, seeded, thirty_days_after, window};
use redflag_core::{
    Fleet, MemoryStore,
    conformance::generate::{agent, at, enrolment},
    export::{Exporter, Importer, Summary},
    limits,
    store::Store,
};
use rusqlite::Connection;
use seeded::{first_report, offers};
use std::sync::Arc;

async fn moved(from: &Fleet, to: &Fleet) -> Summary {
    let (mut exporter, mut importer) = (Exporter::new(from), Importer::new(to).await.expect("an empty fleet"));
    while let Some(line) = exporter.next_line().await.expect("the export goes on") {
        importer.line(&line).await.expect("the line is taken");
    }
    let summary = importer.finish().expect("the export is whole");
    assert_eq!(summary, exporter.summary());
    summary
}

#[tokio::test]
async fn a_report_of_several_slices_moves_and_comes_back() {
    const EVENTS: usize = limits::LOG_SLICE_EVENTS as usize + 250;
    let ((_here, path), (_there, back)) = (place(), place());
    let fleet = Fleet::new(open(&path));
    fleet.enrol(enrolment(0)).await.unwrap();
    fleet.record_report(agent(0), first_report(&offers(&[("apt", EVENTS)])), at(1)).await.unwrap();
    let memory = Fleet::new(MemoryStore::new());
    let summary = moved(&fleet, &memory).await;
    assert_eq!(summary.events, EVENTS as u64);
    let returned = Fleet::new(open(&back));
    assert_eq!(moved(&memory, &returned).await, summary);
    let second = async |store: &dyn Store| store.replay(agent(0), EVENTS as u64 - 250, 1_000).await.unwrap();
    let events = second(returned.store()).await;
    assert_eq!((events.len(), &events), (250, &second(fleet.store()).await), "events whose ids are computed from their place");
    assert!(count(&Connection::open(&back).unwrap(), "SELECT COUNT(*) FROM feed") > 1, "the log came in slices");
    // Pruned in one store, and moved from there: base states instead of events.
    let pruned = returned.prune(agent(0), window(), thirty_days_after(at(2))).await.unwrap();
    assert_eq!(pruned.events, EVENTS as u64);
    let again = Fleet::shared(Arc::new(MemoryStore::new()));
    assert_eq!(moved(&returned, &again).await.events, 0);
    assert_eq!(again.store().derived(agent(0)).await.unwrap(), returned.store().derived(agent(0)).await.unwrap());
    assert_eq!(returned.check(agent(0)).await.unwrap(), []);
}
