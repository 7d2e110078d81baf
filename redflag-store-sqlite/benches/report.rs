//! What a report costs: the store's public API against the limit of the disk format and against a row-by-row design, interleaved
//! in one run, because only ratios of one run mean anything on a shared machine.
//!
//! - `raw`: prepared inserts of the same texts into one table without any index, one transaction.
//! - `naive`: the design this one replaces: four statements an event (look, log, upsert, history), random version-4 ids in text as
//!   keys, times in text, the rest of the offer as metadata in the event and again in the state, fifteen indexes over text columns, three foreign keys,
//!   transactions of 100. What it takes on disk is printed, to be held against the 1,525 bytes an event of the design replaced: it
//!   is a reconstruction, and the indexes of its three tables are those that the lists of that design ask for.
//! - `store`: a first report of 3,772 updates through the facade, with log, state, receipts, counters and all indexes; what is
//!   the same on every host is known from other hosts.
//!
//! All three hold the reports of fifteen other hosts before anything is measured, because an index costs most when it is not small.
//!
//! `cargo bench -p redflag-store-sqlite --bench report`; `REDFLAG_ROUNDS` sets the rounds (9 when unset).

use redflag_core::{
    Fleet,
    conformance::generate::{Rng, agent, at, checked, enrolment, report_id, report_of, scope_of},
    ids::{Digest, ReportId},
    names::{APT, DNF, DOCKER, PackageKey},
    offer::{Offer, OfferInput},
    query::UpdateFilter,
    report::{Report, Scope, ScopeContent, scope_digest},
};
use redflag_store_sqlite::{Options, SqliteStore};
use rusqlite::{Connection, params};
use std::{
    path::Path,
    time::{Duration, Instant},
};

const UPDATES: [(&str, usize); 3] = [(DNF, 3_488), (APT, 277), (DOCKER, 7)];

/// Hosts that report before anything is measured.
const HOSTS_BEFORE: u32 = 15;

/// Unchanged reports measured together, because one is shorter than the clock of processor time ticks.
const UNCHANGED: u32 = 200;

type Offers = Vec<(&'static str, Vec<(PackageKey, Offer)>)>;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    runtime.block_on(run());
}

async fn run() {
    let rounds: u32 = std::env::var("REDFLAG_ROUNDS").map_or(9, |rounds| rounds.parse().expect("REDFLAG_ROUNDS is a number"));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| directory.path().join(name);
    let offers = offers();
    let events: usize = offers.iter().map(|(_, offers)| offers.len()).sum();
    let texts: Vec<String> = offers.iter().flat_map(|(_, offers)| offers).map(|(_, offer)| json(offer)).collect();
    let metadata: Vec<String> = offers.iter().flat_map(|(_, offers)| offers).map(|(_, offer)| rest(offer)).collect();
    let raw = raw_table(&path("raw.db"));
    let naive = naive_tables(&path("naive.db"));
    let fleet = Fleet::new(SqliteStore::open(path("store.db"), Options::default()).expect("the store opens"));
    let store_file = path("store.db");
    for host in 0..HOSTS_BEFORE {
        raw_report(&raw, &offers, &texts);
        naive_report(&naive, &offers, &metadata, host);
        enrol(&fleet, host).await;
        timed(&fleet, host, report(&offers)).await;
    }
    // From now on the counts of fleet lists are kept up to date with every report.
    fleet.store().stats(&UpdateFilter::default()).await.expect("stats");
    let (mut raws, mut naives, mut stores) = (Vec::new(), Vec::new(), Vec::new());
    let bytes_before = [&store_file, &path("naive.db")].map(|file| bytes(file));
    for round in HOSTS_BEFORE..HOSTS_BEFORE + rounds {
        raws.push(measured(|| raw_report(&raw, &offers, &texts)));
        naives.push(measured(|| naive_report(&naive, &offers, &metadata, round)));
        enrol(&fleet, round).await;
        stores.push(timed(&fleet, round, report(&offers)).await);
    }
    let bytes_after = [&store_file, &path("naive.db")].map(|file| bytes(file));
    let [grown, naive_grown] = [0, 1].map(|file| (bytes_after[file] - bytes_before[file]) as f64 / (events as f64 * f64::from(rounds)));
    let reports: Vec<Report> = (2..2 + UNCHANGED).map(|number| same_again(&offers, number)).collect();
    let before = Cost::now();
    for report in reports {
        timed(&fleet, HOSTS_BEFORE, report).await;
    }
    let all = before.elapsed();
    let unchanged = Cost { wall: all.wall / UNCHANGED, cpu: all.cpu / UNCHANGED };
    let (raw, naive, store) = (median(&raws), median(&naives), median(&stores));
    let rate = |cost: Cost| events as f64 / cost.wall.as_secs_f64();
    let ratio = |a: Duration, b: Duration| a.as_secs_f64() / b.as_secs_f64();
    print(&format!("{events} events, {rounds} interleaved rounds, synchronous=FULL, medians"));
    for (name, cost) in [("raw", raw), ("naive", naive), ("store", store)] {
        print(&format!(
            "{name:>6}: {:>8.2} ms wall {:>8.2} ms CPU {:>9.0} events/s   of raw {:.3} wall {:.3} CPU   against naive {:.1} wall {:.1} CPU",
            millis(cost.wall),
            millis(cost.cpu),
            rate(cost),
            ratio(raw.wall, cost.wall),
            ratio(raw.cpu, cost.cpu),
            ratio(naive.wall, cost.wall),
            ratio(naive.cpu, cost.cpu),
        ));
    }
    print(&format!(
        "unchanged report: {:.2} ms wall, {:.2} ms CPU (mean of {UNCHANGED} in a row)",
        millis(unchanged.wall),
        millis(unchanged.cpu)
    ));
    print(&format!("on disk: {grown:.0} bytes an event, everything included; naive {naive_grown:.0}"));
}

#[expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]
fn print(line: &str) {
    println!("{line}");
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// What was used up: time, and processor time of all threads.
#[derive(Clone, Copy)]
struct Cost {
    wall: Duration,
    cpu: Duration,
}

struct Started {
    at: Instant,
    cpu: Duration,
}

impl Cost {
    fn now() -> Started {
        Started { at: Instant::now(), cpu: cpu() }
    }
}

impl Started {
    fn elapsed(&self) -> Cost {
        Cost { wall: self.at.elapsed(), cpu: cpu().saturating_sub(self.cpu) }
    }
}

/// Processor time of every thread so far, from Linux's accounting in nanoseconds.
fn cpu() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    let nanos = tasks.filter_map(Result::ok).filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok());
    Duration::from_nanos(nanos.filter_map(|line| line.split(' ').next()?.parse::<u64>().ok()).sum())
}

fn measured(work: impl FnOnce()) -> Cost {
    let before = Cost::now();
    work();
    before.elapsed()
}

fn median(costs: &[Cost]) -> Cost {
    let middle = |mut all: Vec<Duration>| {
        all.sort_unstable();
        all[all.len() / 2]
    };
    Cost { wall: middle(costs.iter().map(|cost| cost.wall).collect()), cpu: middle(costs.iter().map(|cost| cost.cpu).collect()) }
}

/// Bytes of the database, those still in the write-ahead log included.
fn bytes(path: &Path) -> i64 {
    let connection = Connection::open(path).expect("the file opens");
    connection
        .query_row("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()", [], |row| row.get(0))
        .expect("a size")
}

/// About 400 bytes of JSON an offer, as scanners send them.
fn offers() -> Offers {
    let mut rng = Rng::new(7);
    let offer = |rng: &mut Rng, manager: &str, number: usize| OfferInput {
        package_name: format!("lab-package-{number:05}"),
        arch: (manager != DOCKER).then(|| "x86_64".to_owned()),
        current_version: Some(format!("1.{}.0-1.lab1", number % 40)),
        available_version: format!("1.{}.1-{}.lab1", number % 40, 1 + rng.below(5)),
        repository_source: Some("lab-updates-security".to_owned()),
        severity: rng.pick(&[Some("important"), Some("moderate"), None]).map(str::to_owned),
        security: rng.chance(30),
        advisories: vec![format!("LABSA-2026:{:04}", rng.below(9_999))],
        size_bytes: Some(rng.next() >> 44),
        package_description: Some("A library of routines that packages of this lab are linked against".to_owned()),
        ..OfferInput::default()
    };
    let of_manager = |(manager, count): (&'static str, usize)| {
        let inputs: Vec<_> = (0..count).map(|number| offer(&mut rng, manager, number)).collect();
        (manager, checked(manager, &inputs))
    };
    UPDATES.into_iter().map(of_manager).collect()
}

fn report(offers: &Offers) -> Report {
    let scopes = offers.iter().map(|(manager, offers)| scope_of(manager, at(1), offers, &[]));
    let digest = Digest::of("bench", &[]);
    let id: ReportId = report_id(1);
    Report { digest, ..report_of(id, 1, scopes.collect()) }
}

/// A report that names every scope by its digest.
fn same_again(offers: &Offers, number: u32) -> Report {
    let scopes = offers.iter().map(|(manager, offers)| {
        let digest = scope_digest(&offers[0].0.manager, offers.iter().map(|(package, offer)| (package, offer)));
        Scope { content: ScopeContent::Digest(digest), ..scope_of(manager, at(number), &[], &[]) }
    });
    report_of(report_id(u64::from(number)), u64::from(number), scopes.collect())
}

async fn enrol(fleet: &Fleet, number: u32) {
    fleet.enrol(enrolment(number)).await.expect("the agent is enrolled");
}

/// What it costs to have `report` recorded; it must be taken whole.
async fn timed(fleet: &Fleet, number: u32, report: Report) -> Cost {
    let (facts, sequence) = (report.facts(), report.sequence);
    let before = Cost::now();
    let answer = fleet.record_report(agent(number), report, at(1)).await.expect("the report is taken");
    let cost = before.elapsed();
    assert_eq!((answer.events as usize, answer.full_required.len()), (facts, 0), "report {sequence:?}");
    cost
}

fn connection(path: &Path) -> Connection {
    let connection = Connection::open(path).expect("the file opens");
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;").expect("settings");
    connection
}

fn json(offer: &Offer) -> String {
    serde_json::to_string(offer).expect("offers serialise")
}

/// What has no column of its own in the naive tables.
fn rest(offer: &Offer) -> String {
    let candidate = &offer.candidate;
    let rest = (&candidate.description, &candidate.advisories, candidate.size_bytes, candidate.security, &offer.availability);
    serde_json::to_string(&rest).expect("offers serialise")
}

fn raw_table(path: &Path) -> Connection {
    let connection = connection(path);
    connection
        .execute_batch("CREATE TABLE raw (agent, manager, name, arch, installed, version, severity, origin, metadata)")
        .expect("a table");
    connection
}

fn raw_report(connection: &Connection, offers: &Offers, texts: &[String]) {
    connection.execute_batch("BEGIN IMMEDIATE").expect("begins");
    let mut insert = connection.prepare("INSERT INTO raw VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)").expect("prepares");
    for ((package, offer), text) in offers.iter().flat_map(|(_, offers)| offers).zip(texts) {
        let candidate = &offer.candidate;
        insert
            .execute(params![
                "a9e00000-0000-4000-8000-000000000001",
                package.manager.as_str(),
                package.name.as_str(),
                package.arch.as_ref().map(AsRef::<str>::as_ref),
                offer.installed.as_ref().map(AsRef::<str>::as_ref),
                candidate.version.as_str(),
                candidate.severity.as_str(),
                candidate.origin.as_ref().map(AsRef::<str>::as_ref),
                text,
            ])
            .expect("inserts");
    }
    connection.execute_batch("COMMIT").expect("commits");
}

fn naive_tables(path: &Path) -> Connection {
    let connection = connection(path);
    let tables = "
        CREATE TABLE agents (id TEXT PRIMARY KEY);
        CREATE TABLE events (
            id TEXT PRIMARY KEY, agent_id TEXT NOT NULL REFERENCES agents (id), event_type TEXT NOT NULL, package_type TEXT NOT NULL,
            package_name TEXT NOT NULL, version_from TEXT, version_to TEXT NOT NULL, severity TEXT NOT NULL, repository_source TEXT,
            metadata TEXT NOT NULL, created_at TEXT NOT NULL);
        CREATE INDEX events_agent ON events (agent_id);
        CREATE INDEX events_package ON events (package_name);
        CREATE INDEX events_created ON events (created_at);
        CREATE INDEX events_severity ON events (severity);
        CREATE TABLE states (
            id TEXT PRIMARY KEY, agent_id TEXT NOT NULL REFERENCES agents (id), package_type TEXT NOT NULL, package_name TEXT NOT NULL,
            current_version TEXT, available_version TEXT NOT NULL, severity TEXT NOT NULL, repository_source TEXT,
            metadata TEXT NOT NULL, status TEXT NOT NULL, last_discovered_at TEXT NOT NULL, last_updated_at TEXT NOT NULL,
            UNIQUE (agent_id, package_type, package_name));
        CREATE INDEX states_status ON states (status);
        CREATE INDEX states_severity ON states (severity);
        CREATE INDEX states_package ON states (package_name);
        CREATE INDEX states_updated ON states (last_updated_at);
        CREATE TABLE history (
            id TEXT PRIMARY KEY, agent_id TEXT NOT NULL REFERENCES agents (id), package_type TEXT NOT NULL, package_name TEXT NOT NULL,
            version_from TEXT, version_to TEXT NOT NULL, event_id TEXT NOT NULL, created_at TEXT NOT NULL);
        CREATE INDEX history_agent ON history (agent_id);
        CREATE INDEX history_package ON history (package_name);
        CREATE INDEX history_created ON history (created_at);";
    connection.execute_batch(tables).expect("tables");
    connection
}

fn naive_report(connection: &Connection, offers: &Offers, texts: &[String], round: u32) {
    let mut rng = Rng::new(u64::from(round));
    let mut id = || uuid::Builder::from_random_bytes(rng.uuid().into_bytes()).into_uuid().to_string();
    let agent = agent(round).to_string();
    let now = at(round).to_string();
    connection.execute("INSERT INTO agents VALUES (?1)", [&agent]).expect("inserts");
    let mut known = connection
        .prepare("SELECT available_version FROM states WHERE agent_id = ?1 AND package_type = ?2 AND package_name = ?3")
        .expect("prepares");
    let mut event =
        connection.prepare("INSERT INTO events VALUES (?1, ?2, 'discovered', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)").expect("prepares");
    let mut state = connection
        .prepare(
            "INSERT INTO states VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'pending', ?10, ?10)
             ON CONFLICT (agent_id, package_type, package_name) DO UPDATE SET
                 available_version = excluded.available_version, metadata = excluded.metadata",
        )
        .expect("prepares");
    let mut history = connection.prepare("INSERT INTO history VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)").expect("prepares");
    let all: Vec<_> = offers.iter().flat_map(|(_, offers)| offers).zip(texts).collect();
    for chunk in all.chunks(100) {
        connection.execute_batch("BEGIN IMMEDIATE").expect("begins");
        for ((package, offer), text) in chunk {
            let candidate = &offer.candidate;
            let (manager, name) = (package.manager.as_str(), package.name.as_str());
            let installed = offer.installed.as_ref().map(AsRef::<str>::as_ref);
            let (version, severity) = (candidate.version.as_str(), candidate.severity.as_str());
            let origin = candidate.origin.as_ref().map(AsRef::<str>::as_ref);
            assert!(!known.exists(params![agent, manager, name]).expect("selects"));
            let event_id = id();
            event.execute(params![event_id, agent, manager, name, installed, version, severity, origin, text, now]).expect("inserts");
            state.execute(params![id(), agent, manager, name, installed, version, severity, origin, text, now]).expect("upserts");
            history.execute(params![id(), agent, manager, name, installed, version, event_id, now]).expect("inserts");
        }
        connection.execute_batch("COMMIT").expect("commits");
    }
}
