//! Goals of reports: the first, the unchanged, the changed one, and those with bad facts, of hosts of a small fleet.

use crate::{
    cost::{Cost, Started, measured, median, millis, ratio},
    rivals::{Naive, Raw},
    table::{Met, Row},
    workload::{EVENTS, Offers, changed, digest_report, full_report, offers},
};
use redflag_core::{
    Fleet,
    conformance::generate::{agent, at, enrolment, invalid_fact},
    ids::BatchId,
    query::UpdateFilter,
    report::{Fact, Report, ReportAnswer, ScopeContent},
};
use redflag_store_sqlite::{Options, SqliteStore};
use rusqlite::Connection;
use std::path::{Path, PathBuf};

/// Hosts that report before anything is measured, because an index costs most when it is not small.
const HOSTS_BEFORE: u32 = 15;

/// One host after the other, in one file.
pub(crate) struct Hosts {
    fleet: Fleet,
    next: u32,
}

impl Hosts {
    /// Of a store in which so many hosts are enrolled.
    pub(crate) fn new(store: SqliteStore, enrolled: u32) -> Self {
        Self { fleet: Fleet::new(store), next: enrolled }
    }

    /// Enrols one more, and has it report.
    pub(crate) async fn first(&mut self, report: Report) -> (u32, Cost, ReportAnswer) {
        let host = self.next;
        self.next += 1;
        self.fleet.enrol(enrolment(host)).await.expect("the agent is enrolled");
        let (cost, answer) = self.report(host, report).await;
        (host, cost, answer)
    }

    pub(crate) async fn report(&self, host: u32, report: Report) -> (Cost, ReportAnswer) {
        let started = Started::now();
        let answer = self.fleet.record_report(agent(host), report, at(host)).await;
        let cost = started.cost();
        (cost, answer.expect("the report is taken"))
    }
}

/// What a first report costs a new host, everything of it being new to nobody but its host. Making the offers, and giving their
/// memory back, is not part of it: the rivals get theirs ready made too.
pub(crate) async fn first_report(hosts: &mut Hosts, distribution: u32) -> (u32, Cost) {
    let offers = offers(distribution);
    let (host, cost, answer) = hosts.first(full_report(&offers, 1)).await;
    assert_eq!((answer.events as usize, answer.outcomes.counts().0 as usize), (EVENTS, EVENTS));
    (host, cost)
}

pub(crate) async fn measure(directory: &Path, rounds: usize) -> Vec<Row> {
    let path = |name: &str| directory.join(name);
    let offers = offers(0);
    let (raw, naive) = (Raw::new(&path("raw.db"), &offers), Naive::new(&path("naive.db"), &offers));
    let file = path("store.db");
    let store = SqliteStore::open(&file, Options::default()).expect("the store opens");
    let mut hosts = Hosts::new(store.clone(), 0);
    for host in 0..HOSTS_BEFORE {
        raw.report(&offers);
        naive.report(&offers, host);
        first_report(&mut hosts, 0).await;
    }
    // From now on what lists are counted by is kept up to date with every report.
    hosts.fleet.store().stats(&UpdateFilter::default()).await.expect("stats");
    let (mut raws, mut naives, mut firsts) = (Vec::new(), Vec::new(), Vec::new());
    let (ours_before, naive_before) = (bytes(&file), bytes(&path("naive.db")));
    for _ in 0..rounds {
        raws.push(measured(|| raw.report(&offers)));
        let host = hosts.next;
        naives.push(measured(|| naive.report(&offers, host)));
        firsts.push(first_report(&mut hosts, 0).await.1);
    }
    let an_event = |grown: i64| grown as f64 / (EVENTS * rounds) as f64;
    let on_disk = (an_event(bytes(&file) - ours_before), an_event(bytes(&path("naive.db")) - naive_before));
    let mut rows = first_report_rows(median(&raws), median(&naives), median(&firsts));
    rows.push(disk_row(on_disk));
    rows.push(log_row(&mut hosts, &file).await);
    rows.extend(unchanged_rows(&hosts, &file, rounds).await);
    rows.push(changed_row(&mut hosts, rounds).await);
    rows.extend(isolation_rows(&mut hosts, rounds).await);
    rows
}

fn first_report_rows(raw: Cost, naive: Cost, ours: Cost) -> Vec<Row> {
    let row = |measure: &str, of: fn(Cost) -> std::time::Duration| {
        let (raw, naive, ours) = (of(raw), of(naive), of(ours));
        let (of_raw, against_naive) = (ratio(raw, ours), ratio(naive, ours));
        Row {
            goal: format!("first report of {EVENTS}, {measure}"),
            ours: format!("{:.2} ms, {:.0} events/s", millis(ours), EVENTS as f64 / ours.as_secs_f64()),
            raw: format!("{:.2} ms", millis(raw)),
            naive: format!("{:.1} ms", millis(naive)),
            ratio: format!("{of_raw:.2} R, {against_naive:.1} N"),
            demand: "0.20 R, 25 N".to_owned(),
            stretch: "0.40 R".to_owned(),
            met: Some(Met::of(of_raw >= 0.20 && against_naive >= 25.0, of_raw >= 0.40)),
        }
    };
    vec![row("processor time", |cost| cost.cpu), row("wall time", |cost| cost.wall)]
}

fn disk_row((ours, naive): (f64, f64)) -> Row {
    Row {
        goal: "disk, an event with its state and all indexes".to_owned(),
        ours: format!("{ours:.0} B"),
        naive: format!("{naive:.0} B"),
        ratio: format!("{:.1} N", naive / ours),
        demand: "130 B".to_owned(),
        stretch: "80 B".to_owned(),
        met: Some(Met::of(ours <= 130.0, ours <= 80.0)),
        ..Row::default()
    }
}

/// What a first report writes into the write-ahead log; nothing is demanded of it.
async fn log_row(hosts: &mut Hosts, file: &Path) -> Row {
    empty_log(file);
    first_report(hosts, 0).await;
    let bytes = log_bytes(file) as f64 / EVENTS as f64;
    Row { goal: "write-ahead log, an event of a first report".to_owned(), ours: format!("{bytes:.0} B"), ..Row::default() }
}

async fn unchanged_rows(hosts: &Hosts, file: &Path, rounds: usize) -> Vec<Row> {
    let (offers, host) = (offers(0), hosts.next - 1);
    let mut costs = Vec::new();
    let mut pages = 0;
    for number in 2..2 + u32::try_from(rounds * 10).expect("rounds are few") {
        let report = digest_report(&offers, number);
        empty_log(file);
        let (cost, answer) = hosts.report(host, report).await;
        assert_eq!((answer.events, answer.full_required.len()), (0, 0));
        costs.push(cost);
        pages = pages.max(log_bytes(file).saturating_sub(LOG_HEADER) / LOGGED_PAGE);
    }
    let cpu = millis(median(&costs).cpu);
    vec![
        Row {
            goal: "unchanged report, processor time".to_owned(),
            ours: format!("{cpu:.2} ms"),
            demand: "0.6 ms".to_owned(),
            stretch: "0.3 ms".to_owned(),
            met: Some(Met::of(cpu <= 0.6, cpu <= 0.3)),
            ..Row::default()
        },
        Row {
            goal: "unchanged report, pages written".to_owned(),
            ours: pages.to_string(),
            demand: "1".to_owned(),
            met: Some(Met::of(pages == 1, false)),
            ..Row::default()
        },
    ]
}

async fn changed_row(hosts: &mut Hosts, rounds: usize) -> Row {
    let expected: usize = changed(offers(0)).iter().map(|(_, offers)| offers.len()).sum();
    let gone = EVENTS - expected;
    let mut costs = Vec::new();
    let mut events = 0;
    for _ in 0..rounds {
        let (host, _) = first_report(hosts, 0).await;
        let offers = changed(offers(0));
        let (cost, answer) = hosts.report(host, full_report(&offers, 2)).await;
        let (recorded, unchanged, rejected) = answer.outcomes.counts();
        assert_eq!((recorded + unchanged, rejected), (expected as u64, 0));
        assert_eq!(u64::from(answer.events), recorded + gone as u64, "one event a change, none for anything else");
        events = answer.events;
        costs.push(cost);
    }
    let cpu = millis(median(&costs).cpu);
    Row {
        goal: format!("1.5 % changed, {events} events, processor time"),
        ours: format!("{cpu:.2} ms"),
        demand: "10 ms, exactly the changes".to_owned(),
        stretch: "5 ms".to_owned(),
        met: Some(Met::of(cpu <= 10.0, cpu <= 5.0)),
        ..Row::default()
    }
}

/// Judging every fact before anything is written is what isolation is: a report without a bad fact runs the very statements it
/// would run without it, so the first row says how well this measures.
async fn isolation_rows(hosts: &mut Hosts, rounds: usize) -> Vec<Row> {
    let percent = EVENTS.div_ceil(100);
    let cases = [("0 bad", 0, (1.05, 1.02)), ("1 bad", 1, (1.3, 1.1)), ("1 % bad", percent, (2.0, 1.3))];
    let mut none = Vec::new();
    let mut costs = vec![Vec::new(); cases.len()];
    for _ in 0..rounds {
        none.push(first_report(hosts, 0).await.1);
        for ((_, bad, _), costs) in cases.iter().zip(&mut costs) {
            let offers = offers(0);
            let (_, cost, answer) = hosts.first(report_with_invalid(&offers, *bad)).await;
            assert_eq!(answer.outcomes.counts(), ((EVENTS - bad) as u64, 0, *bad as u64));
            costs.push(cost);
            assert_eq!(kept(hosts, hosts.next - 1, &answer).await, *bad, "every bad fact is kept with its reason");
        }
    }
    let none = median(&none);
    let mut rows = Vec::new();
    for ((name, _, (demand, stretch)), costs) in cases.iter().zip(&costs) {
        let ours = median(costs);
        let times = ratio(ours.cpu, none.cpu);
        rows.push(Row {
            goal: format!("isolation, {name}, against none"),
            ours: format!("{:.2} ms", millis(ours.cpu)),
            raw: format!("{:.2} ms without", millis(none.cpu)),
            ratio: format!("{times:.2}"),
            demand: format!("{demand}"),
            stretch: format!("{stretch}"),
            met: Some(Met::of(times <= *demand, times <= *stretch)),
            ..Row::default()
        });
    }
    rows
}

/// A report of these offers, so many of which did not pass.
fn report_with_invalid(offers: &Offers, invalid: usize) -> Report {
    let mut report = full_report(offers, 1);
    let ScopeContent::Facts { offers, .. } = &mut report.scopes[0].content else { return report };
    let distance = offers.len() / invalid.max(1);
    for place in 0..invalid {
        let fact = &mut offers[place * distance];
        let Fact::Valid(package, _) = fact else { continue };
        *fact = invalid_fact(Some(package.clone()));
    }
    report
}

/// Rejections stored with the batches of a report.
async fn kept(hosts: &Hosts, host: u32, answer: &ReportAnswer) -> usize {
    let mut kept = 0;
    for batch in 0..answer.batches {
        let id = BatchId::of_report(agent(host), answer.report_id, batch);
        kept += hosts.fleet.store().rejections(agent(host), id).await.expect("rejections").len();
    }
    kept
}

/// Bytes of the database, those still in the write-ahead log included.
fn bytes(path: &Path) -> i64 {
    let connection = Connection::open(path).expect("the file opens");
    let size = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()";
    connection.query_row(size, [], |row| row.get(0)).expect("a size")
}

/// What stands before the pages of the write-ahead log, and what each takes with its own header.
const LOG_HEADER: u64 = 32;
const LOGGED_PAGE: u64 = 4_096 + 24;

fn log_of(file: &Path) -> PathBuf {
    file.with_extension("db-wal")
}

fn log_bytes(file: &Path) -> u64 {
    std::fs::metadata(log_of(file)).expect("a write-ahead log").len()
}

fn empty_log(file: &Path) {
    let connection = Connection::open(file).expect("the file opens");
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("a checkpoint");
    assert_eq!(log_bytes(file), 0);
}
