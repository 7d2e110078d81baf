//! What lists and counts cost over a large fleet: agents with 3,772 states each, of three distributions, so that the catalog holds
//! three times as many packages; some updates are installed or withdrawn already.
//!
//! The first agent of each distribution reports through the facade; its states are then copied to the other agents in bulk, with
//! counters recounted. The log holds the events of the first three only: no list reads it.
//!
//! `cargo bench -p redflag-store-sqlite --bench lists`; `REDFLAG_AGENTS` sets the sizes of the fleets (`100 1000` when unset),
//! `REDFLAG_ROUNDS` the times each read is measured (100 when unset). The file of 1,000 agents takes about 250 MB.

use redflag_core::{
    Fleet,
    conformance::generate::{Rng, agent, at, checked, enrolment, report_id, report_of, scope_of},
    ids::UpdateId,
    names::{APT, DNF, DOCKER, PackageKey},
    offer::{Offer, OfferInput},
    query::{AgentQuery, AgentSortKey, PageNumber, PageSize, PageStart, Search, StatusFilter, UpdateFilter, UpdateQuery},
    store::StateStore,
    words::{Severity, Status},
};
use redflag_store_sqlite::{Options, SqliteStore};
use rusqlite::{Connection, params};
use std::{
    path::Path,
    time::{Duration, Instant},
};

const UPDATES: [(&str, usize); 3] = [(DNF, 3_488), (APT, 277), (DOCKER, 7)];
const DISTRIBUTIONS: u32 = 3;
const PAGE: u32 = 100;

type Offers = Vec<(&'static str, Vec<(PackageKey, Offer)>)>;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let variable = |name: &str, unset: &str| std::env::var(name).unwrap_or_else(|_| unset.to_owned());
    let rounds: u32 = variable("REDFLAG_ROUNDS", "100").parse().expect("REDFLAG_ROUNDS is a number");
    for agents in variable("REDFLAG_AGENTS", "100 1000").split_whitespace() {
        runtime.block_on(run(agents.parse().expect("REDFLAG_AGENTS are numbers"), rounds));
    }
}

async fn run(agents: u32, rounds: u32) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("fleet.db");
    fill(&path, agents).await;
    let store = SqliteStore::open(&path, Options::default()).expect("the store opens");
    let begun = Instant::now();
    let total = store.stats(&UpdateFilter::default()).await.expect("stats").total;
    let counted = begun.elapsed();
    let bytes = std::fs::metadata(&path).expect("a file").len();
    print(&format!(
        "{agents} agents, {} states, {total} open, {} MB; counted at the first list in {:.0} ms; pages of {PAGE}, {rounds} rounds, p50 / p99 ms",
        u64::from(agents) * states_of_one(),
        bytes / 1_000_000,
        millis(counted)
    ));
    Reads { store: store.clone(), rounds, rng: Rng::new(3), agents }.measure().await;
    growth(store, agents).await;
}

fn states_of_one() -> u64 {
    UPDATES.iter().map(|(_, count)| *count as u64).sum()
}

/// Reports of new hosts, and the same again, at this size.
async fn growth(store: SqliteStore, agents: u32) {
    let fleet = Fleet::new(store);
    let (mut first, mut unchanged) = (Vec::new(), Vec::new());
    for number in agents..agents + 9 {
        fleet.enrol(enrolment(number)).await.expect("the agent is enrolled");
        let offers = offers(number % DISTRIBUTIONS);
        for (sequence, times) in [(1, &mut first), (2, &mut unchanged)] {
            let scopes = offers.iter().map(|(manager, offers)| scope_of(manager, at(1), offers, &[]));
            let report = report_of(report_id(sequence), sequence, scopes.collect());
            let begun = Instant::now();
            fleet.record_report(agent(number), report, at(1)).await.expect("the report is taken");
            times.push(begun.elapsed());
        }
    }
    show("first report of a new host, 3,772 events", first);
    show("the same again, sent in full", unchanged);
}

struct Reads {
    store: SqliteStore,
    rounds: u32,
    rng: Rng,
    agents: u32,
}

impl Reads {
    async fn measure(&mut self) {
        let any = UpdateFilter::default();
        for sort in ["severity", "name", "agent", "-last-change"] {
            self.lists(sort, sort, &any).await;
        }
        let search = |text: &str| UpdateFilter { search: Some(Search::new(text).expect("a search")), ..any.clone() };
        let of_agent = UpdateFilter { agent: Some(agent(self.agents / 2)), ..any.clone() };
        let withdrawn = UpdateFilter { status: StatusFilter::Is(Status::Withdrawn), ..any.clone() };
        for (name, filter) in [
            ("one agent", of_agent.clone()),
            ("withdrawn", withdrawn),
            ("critical", UpdateFilter { severity: Some(Severity::Critical), ..any.clone() }),
            ("docker", UpdateFilter { manager: Some(DOCKER.parse().expect("a manager")), ..any.clone() }),
            ("search 'curl-00'", search("curl-00")),
            ("search 'lib'", search("lib")),
        ] {
            self.lists(name, "severity", &filter).await;
        }
        for (name, filter) in [("fleet", any.clone()), ("search 'lib'", search("lib")), ("one agent", of_agent)] {
            let mut times = Vec::new();
            for _ in 0..self.rounds {
                let begun = Instant::now();
                self.store.stats(&filter).await.expect("stats");
                times.push(begun.elapsed());
            }
            show(&format!("stats, {name}"), times);
        }
        for sort in [AgentSortKey::Name, AgentSortKey::LastContact, AgentSortKey::Updates] {
            let query = AgentQuery { sort, size: PageSize::new(PAGE).expect("a size"), ..AgentQuery::default() };
            let mut times = Vec::new();
            for _ in 0..self.rounds {
                let begun = Instant::now();
                self.store.agents(&query).await.expect("a page");
                times.push(begun.elapsed());
            }
            show(&format!("agents by {sort:?}, page 1"), times);
        }
    }

    /// The first page of a list, pages at random places by number and by cursor, and the last page.
    async fn lists(&mut self, name: &str, sort: &str, filter: &UpdateFilter) {
        let size = PageSize::new(PAGE).expect("a size");
        let query = UpdateQuery { filter: filter.clone(), sort: sort.parse().expect("a sort"), size, start: PageStart::default() };
        let total = self.store.stats(filter).await.expect("stats").total;
        let pages = u32::try_from(total.div_ceil(u64::from(PAGE))).expect("pages are few").max(1);
        let numbered = |number: u32| UpdateQuery { start: PageStart::Number(PageNumber::new(number).expect("a number")), ..query.clone() };
        let rounds = self.rounds;
        let (mut first, mut random, mut seek, mut last) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let slow = |times: &[Duration]| times.iter().sum::<Duration>() > Duration::from_secs(8);
        for _ in 0..rounds {
            self.page(&numbered(1), &mut first).await;
            if !slow(&random) {
                let number = 1 + u32::try_from(self.rng.below(pages as usize)).expect("a page's number");
                if let Some(next) = self.page(&numbered(number), &mut random).await {
                    self.page(&UpdateQuery { start: PageStart::After(next), ..query.clone() }, &mut seek).await;
                }
            }
            if !slow(&last) {
                self.page(&numbered(pages), &mut last).await;
            }
            if slow(&first) {
                break;
            }
        }
        for (place, times) in [("page 1", first), ("random page", random), ("random cursor", seek), ("last page", last)] {
            show(&format!("{name}, {place} of {pages}"), times);
        }
    }

    async fn page(&self, query: &UpdateQuery, times: &mut Vec<Duration>) -> Option<redflag_core::query::Cursor> {
        let begun = Instant::now();
        let page = self.store.updates(query).await.expect("a page");
        times.push(begun.elapsed());
        page.next
    }
}

fn show(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let Some(slowest) = times.len().checked_sub(1) else { return };
    let of = |percent: usize| millis(times[(times.len() * percent / 100).min(slowest)]);
    print(&format!("{name:>45}: {:>9.2} / {:>9.2}", of(50), of(99)));
}

#[expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]
fn print(line: &str) {
    println!("{line}");
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// What the hosts of one distribution are offered.
fn offers(distribution: u32) -> Offers {
    let mut rng = Rng::new(u64::from(distribution) + 7);
    let severities = [Some("critical"), Some("important"), Some("moderate"), Some("moderate"), Some("low"), None];
    let offer = |rng: &mut Rng, manager: &str, number: usize| OfferInput {
        package_name: format!(
            "{}{}-{number:04}-{distribution}",
            rng.pick(&["lib", "python3-", "perl-", "golang-", "node-", "rust-"]),
            rng.pick(&["curl", "openssl", "xml", "zstd", "glibc", "systemd", "qt", "gtk", "postgres", "kernel"])
        ),
        arch: (manager != DOCKER).then(|| "x86_64".to_owned()),
        current_version: Some(format!("1.{}.0-1.lab1", number % 40)),
        available_version: format!("1.{}.1-{}.lab1", number % 40, 1 + rng.below(5)),
        repository_source: Some("lab-updates-security".to_owned()),
        severity: rng.pick(&severities).map(str::to_owned),
        security: rng.chance(30),
        advisories: vec![format!("LABSA-2026:{:04}", rng.below(9_999))],
        package_description: Some("A library of routines that packages of this lab are linked against".to_owned()),
        ..OfferInput::default()
    };
    let of_manager = |(manager, count): (&'static str, usize)| {
        let inputs: Vec<_> = (0..count).map(|number| offer(&mut rng, manager, number)).collect();
        (manager, checked(manager, &inputs))
    };
    UPDATES.into_iter().map(of_manager).collect()
}

async fn fill(path: &Path, agents: u32) {
    let store = SqliteStore::open(path, Options::default()).expect("the store opens");
    let fleet = Fleet::new(store.clone());
    for number in 0..agents {
        fleet.enrol(enrolment(number)).await.expect("the agent is enrolled");
        if number < DISTRIBUTIONS {
            let offers = offers(number);
            let scopes = offers.iter().map(|(manager, offers)| scope_of(manager, at(1), offers, &[]));
            let answer = fleet.record_report(agent(number), report_of(report_id(1), 1, scopes.collect()), at(1)).await;
            assert_eq!(u64::from(answer.expect("the report is taken").events), states_of_one());
            let (package, _) = &offers[0].1[0];
            let id = UpdateId { agent: agent(number), package: package.clone() };
            assert!(store.update(&id).await.expect("a read").is_some());
        }
    }
    drop((fleet, store));
    let connection = Connection::open(path).expect("the file opens");
    connection.execute_batch("PRAGMA journal_mode = DELETE; PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF;").expect("settings");
    connection.execute_batch("BEGIN").expect("begins");
    let mut copy = connection.prepare(COPY).expect("prepares");
    for reference in DISTRIBUTIONS + 1..=agents {
        copy.execute(params![reference, 1 + reference % DISTRIBUTIONS]).expect("copies");
    }
    connection.execute_batch(&format!("{RECOUNT}; COMMIT;")).expect("recounts");
}

/// One update in twenty is installed already, one withdrawn.
const COPY: &str = r#"
    INSERT INTO current_package_state
        (agent_ref, package_ref, status, severity, security, availability, candidate_ref, installed_ref, reason_ref, revision,
         discovered_at, changed_at, detail)
    SELECT ?1, package_ref, CASE (package_ref * 7 + ?1 * 13) % 20 WHEN 0 THEN 6 WHEN 1 THEN 9 ELSE 0 END, severity, security, availability,
        candidate_ref, installed_ref, reason_ref, 1, discovered_at, changed_at + ?1,
        CASE (package_ref * 7 + ?1 * 13) % 20
            WHEN 0 THEN '{"standing":{"status":"installed","version":"1"}}'
            WHEN 1 THEN '{"standing":{"status":"withdrawn","reason":"no-longer-offered"}}'
        END
    FROM current_package_state
    WHERE agent_ref = ?2
    ORDER BY package_ref"#;

const RECOUNT: &str = "
    DELETE FROM update_counters;
    INSERT INTO update_counters (agent_ref, manager, status, severity, security, availability, count)
    SELECT s.agent_ref, p.manager, s.status, s.severity, s.security, s.availability, COUNT(*)
    FROM current_package_state AS s JOIN packages AS p USING (package_ref)
    GROUP BY 1, 2, 3, 4, 5, 6;
    UPDATE generation SET number = number + 1";
