//! The feed on files: how it is kept, and who wakes its readers (clauses F1 to F4).

use super::{LOST, count, open, place, seeded};
use redflag_core::{
    Fleet,
    conformance::generate::{agent, at, enrolment, report_id, report_of, scope_of},
    feed::FeedPosition,
    store::EventStore,
};
use redflag_store_sqlite::{Options, SqliteStore};
use rusqlite::Connection;
use seeded::{first_report, offers};
use std::{path::Path, time::Duration};
use tokio::time::timeout;

fn looking(path: &Path, feed_poll_interval: Duration) -> SqliteStore {
    SqliteStore::open(path, Options { feed_poll_interval, ..Options::default() }).expect("the store opens")
}

/// Of all 20 updates, or all but one in turn, so that every report says something.
async fn report(fleet: &Fleet, number: u32) {
    let offers = &offers(&[("apt", 20)])[0].1;
    let scope = scope_of("apt", at(number), &offers[usize::from(number.is_multiple_of(2))..], &[]);
    fleet
        .record_report(agent(0), report_of(report_id(u64::from(number)), u64::from(number), vec![scope]), at(number))
        .await
        .expect("the report is taken");
}

#[tokio::test]
async fn a_unit_of_work_is_one_row_however_many_batches() {
    let (_directory, path) = place();
    let fleet = Fleet::new(open(&path));
    fleet.enrol(enrolment(0)).await.unwrap();
    fleet.record_report(agent(0), first_report(&offers(&[("apt", 350)])), at(1)).await.unwrap();
    let connection = Connection::open(&path).unwrap();
    assert_eq!(count(&connection, "SELECT COUNT(*) FROM feed WHERE first_position = 1 AND first_number = 1 AND batches = 4"), 1);
    assert_eq!(fleet.store().feed(FeedPosition(1), 2).await.unwrap().iter().map(|entry| entry.number).collect::<Vec<_>>(), [2, 3]);
}

/// Looking at the file would come an hour later.
#[tokio::test]
async fn what_this_store_writes_wakes_at_once() {
    let (_directory, path) = place();
    let store = looking(&path, Duration::from_secs(3_600));
    let fleet = Fleet::new(store.clone());
    fleet.enrol(enrolment(0)).await.unwrap();
    for number in 1..10 {
        let reader = store.clone();
        let waiting = tokio::spawn(async move { reader.feed_grown(FeedPosition(u64::from(number) - 1)).await });
        let gives_up = timeout(Duration::from_millis(5), store.feed_grown(FeedPosition(u64::from(number) - 1))).await;
        assert!(gives_up.is_err(), "nothing came yet: {gives_up:?}");
        report(&fleet, number).await;
        let woken = timeout(LOST, waiting).await.unwrap_or_else(|_| panic!("report {number} woke nobody"));
        assert_eq!(woken.unwrap().unwrap(), FeedPosition(u64::from(number)));
    }
}

/// Two stores on one file know nothing of each other, as two processes would.
#[tokio::test]
async fn what_another_process_writes_is_noticed() {
    let (_directory, path) = place();
    let (here, there) = (looking(&path, Duration::from_millis(1)), Fleet::new(open(&path)));
    there.enrol(enrolment(0)).await.unwrap();
    for number in 1..4 {
        let reader = here.clone();
        let waiting = tokio::spawn(async move { reader.feed_grown(FeedPosition(u64::from(number) - 1)).await });
        report(&there, number).await;
        let woken = timeout(LOST, waiting).await.unwrap_or_else(|_| panic!("report {number} was never noticed"));
        assert_eq!(woken.unwrap().unwrap(), FeedPosition(u64::from(number)));
    }
}

#[tokio::test]
async fn a_feed_with_a_hole_is_told_and_not_passed_over() {
    let (_directory, path) = place();
    let fleet = Fleet::new(open(&path));
    fleet.enrol(enrolment(0)).await.unwrap();
    for number in 1..5 {
        report(&fleet, number).await;
    }
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch("DROP TRIGGER feed_stay; DELETE FROM feed WHERE first_position = 3").unwrap();
    let whole = fleet.store().feed(FeedPosition::START, 2).await.unwrap();
    assert_eq!(whole.len(), 2);
    for after in [0, 2] {
        let error = fleet.store().feed(FeedPosition(after), 10).await.unwrap_err();
        assert_eq!(error.kind(), &redflag_core::store::StoreErrorKind::Corrupt, "after {after}");
    }
}
