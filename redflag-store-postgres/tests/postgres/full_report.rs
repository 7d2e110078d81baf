//! The report of 3,772 updates (3,488 dnf, 277 apt, 7 docker): stored exactly, listed exactly, and cheap to repeat.

use crate::server::{Server, into_schema};
use redflag_core::{
    Fleet,
    conformance::generate::{Rng, agent, at, checked, enrolment, offers, report_id, report_of, scope_of},
    event::EventKind,
    feed::FeedPosition,
    ids::UpdateId,
    names::{Manager, PackageKey, Version},
    offer::Offer,
    query::{PageNumber, PageSize, PageStart, Sort, SortKey, UpdateFilter, UpdateQuery, UpdateRow},
    report::{Report, ReportStatus},
    store::{EventStore as _, StateStore as _},
    words::{Status, WithdrawalReason},
};
use redflag_store_postgres::PostgresStore;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

const COUNTS: [(&str, usize); 3] = [("dnf", 3_488), ("apt", 277), ("docker", 7)];
const ALL: u64 = 3_772;

type Offers = Vec<(&'static str, Vec<(PackageKey, Offer)>)>;

fn all_offers() -> Offers {
    let mut rng = Rng::new(11);
    COUNTS.iter().map(|(manager, count)| (*manager, checked(manager, &offers(&mut rng, manager, *count)))).collect()
}

fn report(number: u32, offers: &Offers) -> Report {
    let scopes = offers.iter().map(|(manager, offers)| scope_of(manager, at(number), offers, &[])).collect();
    report_of(report_id(number.into()), number.into(), scopes)
}

/// A store whose agent 0 has reported.
async fn reported(offers: &Offers) -> (Server, PostgresStore, Fleet, PgConnection) {
    let (server, options) = (Server::shared(), Server::options());
    let store = server.open(&options).await;
    let fleet = Fleet::new(store.clone());
    fleet.enrol(enrolment(0)).await.expect("the agent is enrolled");
    let answer = fleet.record_report(agent(0), report(1, offers), at(1)).await.expect("the report is taken");
    assert_eq!((answer.status, u64::from(answer.events), answer.batches), (ReportStatus::Recorded, ALL, 38));
    let connection = into_schema(&server, &options).await;
    (server, store, fleet, connection)
}

/// Every row of the list, page by page, by number.
async fn walk(store: &PostgresStore, size: u32, sort: Sort) -> Vec<UpdateRow> {
    let filter = UpdateFilter { agent: Some(agent(0)), ..UpdateFilter::default() };
    let mut rows = Vec::new();
    for number in 1.. {
        let start = PageStart::Number(PageNumber::new(number).expect("numbers start at 1"));
        let query = UpdateQuery { filter: filter.clone(), sort, size: PageSize::new(size).expect("within the limits"), start };
        let page = store.updates(&query).await.expect("the store answers");
        assert_eq!(page.stats.total, ALL);
        rows.extend(page.items);
        assert_eq!(page.next.is_some(), rows.len() as u64 != ALL);
        if page.next.is_none() {
            break;
        }
    }
    rows
}

#[tokio::test]
async fn it_is_stored_exactly_and_every_row_is_reachable_under_every_sort() {
    let offers = all_offers();
    let (_server, store, _fleet, _connection) = reported(&offers).await;
    let stats = store.stats(&UpdateFilter::default()).await.unwrap();
    let by_manager: BTreeMap<Manager, u64> =
        COUNTS.iter().map(|(manager, count)| (Manager::parse(manager).unwrap(), *count as u64)).collect();
    assert_eq!((stats.total, stats.by_manager), (ALL, by_manager));
    let expected: HashMap<&PackageKey, &Offer> =
        offers.iter().flat_map(|(_, offers)| offers).map(|(package, offer)| (package, offer)).collect();
    for key in [SortKey::Severity, SortKey::Name, SortKey::Agent, SortKey::LastChange] {
        for reverse in [false, true] {
            let sort = Sort { key, reverse };
            let rows = walk(&store, 500, sort).await;
            let found: HashMap<&PackageKey, &Offer> = rows.iter().map(|row| (&row.state.package, &row.state.offer)).collect();
            assert!(found == expected && rows.len() as u64 == ALL, "every row once and exactly by {sort}");
            assert!(rows.iter().all(|row| (row.state.revision, row.state.status()) == (1, Status::Pending)));
            let place = |row: &UpdateRow| redflag_core::query::Position::of(row);
            assert!(rows.windows(2).all(|pair| place(&pair[0]).compare(&place(&pair[1]), sort).is_lt()), "in order by {sort}");
        }
    }
    let by_severity = Sort { key: SortKey::Severity, reverse: false };
    let ids = |rows: Vec<UpdateRow>| rows.iter().map(UpdateRow::id).collect::<Vec<UpdateId>>();
    assert!(ids(walk(&store, 200, by_severity).await) == ids(walk(&store, 500, by_severity).await), "the same order at every size");
    let log = store.replay(agent(0), 0, u32::MAX).await.unwrap();
    assert!((1..).zip(&log).all(|(sequence, event)| event.sequence == sequence));
    assert_eq!(log.len() as u64, ALL);
}

#[tokio::test]
async fn the_same_again_writes_no_event_and_the_next_exactly_its_changes() {
    let mut offers = all_offers();
    let (_server, store, fleet, mut connection) = reported(&offers).await;
    let mut touched = async || {
        let mut touched = BTreeMap::new();
        // The newest version of a row names the transaction that wrote it.
        for table in
            ["agents", "packages", "candidates", "texts", "update_batches", "update_events", "current_package_state", "update_counters"]
        {
            let rows = connection.fetch_all(AssertSqlSafe(format!("SELECT DISTINCT xmin::text FROM {table}"))).await.unwrap();
            touched.insert(table, rows.iter().map(|row| row.get(0)).collect::<HashSet<String>>());
        }
        touched
    };
    let before = touched().await;
    let answer = fleet.record_report(agent(0), report(2, &offers), at(2)).await.unwrap();
    assert_eq!((answer.status, answer.events, answer.outcomes.counts()), (ReportStatus::Unchanged, 0, (0, ALL, 0)));
    let after = touched().await;
    let changed: Vec<_> = after.iter().filter(|(table, writers)| before[*table] != **writers).map(|(table, _)| *table).collect();
    assert_eq!(changed, ["agents"], "tables that an unchanged report writes");

    // 1 % of the dnf offers get a newer version, 0.5 % are gone.
    let dnf = &mut offers[0].1;
    let gone: Vec<PackageKey> = dnf.drain(100..119).map(|(package, _)| package).collect();
    let mut revised = Vec::new();
    for (package, offer) in dnf.iter_mut().step_by(90).take(38) {
        Arc::make_mut(&mut offer.candidate).version = Version::parse("9:9.9-9").unwrap();
        revised.push(package.clone());
    }
    let answer = fleet.record_report(agent(0), report(3, &offers), at(3)).await.unwrap();
    assert_eq!(answer.events as usize, revised.len() + gone.len());
    let events = store.replay(agent(0), ALL, 1_000).await.unwrap();
    let of = |wanted: fn(&EventKind) -> bool| -> HashSet<PackageKey> {
        events.iter().filter(|event| wanted(&event.event.kind)).map(|event| event.event.package.clone()).collect()
    };
    assert_eq!(of(|kind| matches!(kind, EventKind::Revised { .. })), revised.into_iter().collect());
    let withdrawn = |kind: &EventKind| matches!(kind, EventKind::Withdrawn { reason: WithdrawalReason::NoLongerOffered });
    assert_eq!(of(withdrawn), gone.into_iter().collect());
    assert_eq!(store.stats(&UpdateFilter::default()).await.unwrap().total, ALL - 19);
}

/// What the server writes ahead is what its disks and replicas pay (clause R4).
#[tokio::test]
async fn an_unchanged_report_is_one_small_write_and_a_full_one_few_bytes_an_event() {
    let server = Server::own();
    let store = server.open(&Server::options()).await;
    let fleet = Fleet::new(store);
    let mut connection = PgConnection::connect(&server.url()).await.unwrap();
    // Settled, and no checkpoint meanwhile, after which whole pages would be written.
    connection.execute("CHECKPOINT").await.unwrap();
    // The follower's part is written by the time the feed was read, and counted with the report that caused it.
    let mut written = async || -> i64 {
        fleet.store().feed(FeedPosition::START, 1_000).await.unwrap();
        let row = connection.fetch_one("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint").await.unwrap();
        row.get(0)
    };
    let offers = all_offers();
    // As many agents as fill pages.
    let few: Offers = offers[2..].to_vec();
    for number in 0..40 {
        fleet.enrol(enrolment(number)).await.unwrap();
        fleet.record_report(agent(number), report(1, &few), at(1)).await.unwrap();
    }
    fleet.record_report(agent(0), report(2, &offers), at(2)).await.unwrap();
    fleet.record_report(agent(1), report(2, &offers), at(2)).await.unwrap();
    let before = written().await;
    fleet.record_report(agent(2), report(2, &offers), at(2)).await.unwrap();
    let full = (written().await - before) as u64 / ALL;
    // Now and then a page is tidied up, so some together; now and then the server has something of its own to note, so the least.
    let mut unchanged = i64::MAX;
    for block in 0..4 {
        let before = written().await;
        for number in 0..14 {
            let number = 3 + block * 14 + number;
            fleet.record_report(agent(2), report(number, &offers), at(number)).await.unwrap();
        }
        unchanged = unchanged.min((written().await - before) / 14);
    }
    println!("{full} B of WAL an event of a full report, {unchanged} B an unchanged report");
    assert!(full <= 520, "{full} B of WAL an event");
    assert!(unchanged <= 256, "{unchanged} B of WAL for an unchanged report");
}
