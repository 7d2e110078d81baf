//! Logs longer than one slice: into a file, out of it, and pruned there (clauses S1 and B14).

use super::{count, open, place, seeded, thirty_days_after, window};
use redflag_core::{
    Fleet, MemoryStore,
    conformance::generate::{agent, at, enrolment},
    export::{Exporter, Importer, Summary},
    limits,
};
use rusqlite::Connection;
use seeded::{first_report, offers};

async fn moved(from: &Fleet, to: &Fleet) -> Summary {
    let (mut exporter, mut importer) = (Exporter::new(from), Importer::new(to).await.expect("an empty fleet"));
    while let Some(line) = exporter.next_line().await.expect("the export goes on") {
        importer.line(&line).await.expect("the line is taken");
    }
    let summary = importer.finish().expect("the export is whole");
    assert_eq!(summary, exporter.summary());
    summary
}

/// Out of the memory store, whose ids are never computed from what is stored.
#[tokio::test]
async fn a_report_of_several_slices_moves_and_comes_back() {
    const EVENTS: usize = limits::LOG_SLICE_EVENTS as usize + 250;
    let memory = Fleet::new(MemoryStore::new());
    memory.enrol(enrolment(0)).await.unwrap();
    memory.record_report(agent(0), first_report(&offers(&[("apt", EVENTS)])), at(1)).await.unwrap();
    let (_directory, path) = place();
    let file = Fleet::new(open(&path));
    let summary = moved(&memory, &file).await;
    assert_eq!(summary.events, EVENTS as u64);
    assert!(count(&Connection::open(&path).unwrap(), "SELECT COUNT(*) FROM feed") > 1, "the log came in slices");
    let later = async |fleet: &Fleet| fleet.store().replay(agent(0), EVENTS as u64 - 250, 1_000).await.unwrap();
    assert_eq!(later(&file).await, later(&memory).await, "events of the second slice");
    let back = Fleet::new(MemoryStore::new());
    assert_eq!(moved(&file, &back).await, summary);
    // Pruned, and moved from there: base states instead of events.
    let pruned = file.prune(agent(0), window(), thirty_days_after(at(2))).await.unwrap();
    assert_eq!(pruned.events, EVENTS as u64);
    let based = Fleet::new(MemoryStore::new());
    assert_eq!(moved(&file, &based).await.events, 0);
    assert_eq!(based.store().derived(agent(0)).await.unwrap(), file.store().derived(agent(0)).await.unwrap());
    assert_eq!(file.check(agent(0)).await.unwrap(), []);
}
