//! Goals of lists: every sort both ways, every plain filter, the first, a random and the last page by number and a random one by
//! cursor, over a large fleet; and what grows with it, held against a fleet of a tenth.

use crate::{
    Size,
    cost::{Cost, Started, median, millis, percentile, ratio, resident_bytes},
    fleet,
    reports::{Hosts, first_report},
    summaries,
    table::{Met, Row, print},
    workload::{EVENTS, UPDATES},
};
use redflag_core::{
    conformance::generate::{Rng, agent},
    names::DOCKER,
    query::{Cursor, PageNumber, PageSize, PageStart, Search, StatusFilter, UpdateFilter, UpdateQuery},
    store::StateStore,
    words::{Severity, Status},
};
use redflag_store_sqlite::{Options, SqliteStore};
use rusqlite::Connection;
use std::{collections::BTreeMap, path::Path, time::Duration};

const PAGE_ROWS: u32 = 100;

const SORTS: [&str; 8] = ["severity", "-severity", "name", "-name", "agent", "-agent", "last-change", "-last-change"];

const PLACES: [&str; 4] = ["page 1", "random page", "random cursor", "last page"];

pub(crate) async fn measure(directory: &Path, size: Size) -> Vec<Row> {
    let (small, large) = (directory.join("small.db"), directory.join("large.db"));
    let small_hosts = (size.hosts / 10).max(fleet::DISTRIBUTIONS);
    fleet::fill(&small, small_hosts).await;
    fleet::fill(&large, size.hosts).await;
    let before = resident_bytes();
    let store = SqliteStore::open(&large, Options::default()).expect("the store opens");
    let started = Started::now();
    store.stats(&UpdateFilter::default()).await.expect("stats");
    let counted = started.cost();
    let after = resident_bytes();
    let states = EVENTS * size.hosts as usize;
    let of_fleet = format!("{} hosts, {states} states", size.hosts);
    let mut rows = vec![
        Row {
            goal: format!("first list after opening, {of_fleet}"),
            ours: format!("{:.0} ms, processor time {:.0} ms", millis(counted.wall), millis(counted.cpu)),
            ..Row::default()
        },
        Row {
            goal: format!("memory for lists, {of_fleet}"),
            ours: format!("{} MB, {:.0} B a state", (after - before) / 1_000_000, (after - before) as f64 / states as f64),
            ..Row::default()
        },
    ];
    let mut reads = Reads { store: store.clone(), size, rng: Rng::new(3) };
    rows.extend(reads.lists().await);
    rows.extend(reads.counts(&large).await);
    rows.extend(summaries::measure(&store, size).await);
    let other = SqliteStore::open(&small, Options::default()).expect("the store opens");
    rows.extend(growth([(other, small_hosts), (store, size.hosts)], size).await);
    let memory = format!("{} MB", resident_bytes() / 1_000_000);
    rows.push(Row { goal: "memory of the whole process, rivals and both fleets included".to_owned(), ours: memory, ..Row::default() });
    rows
}

/// At most one of them narrows a list that must be fast.
pub(crate) fn plain_filters(hosts: u32) -> Vec<(&'static str, UpdateFilter)> {
    let open = UpdateFilter::default();
    vec![
        ("status withdrawn", UpdateFilter { status: StatusFilter::Is(Status::Withdrawn), ..open.clone() }),
        ("status any", UpdateFilter { status: StatusFilter::Any, ..open.clone() }),
        ("severity critical", UpdateFilter { severity: Some(Severity::Critical), ..open.clone() }),
        ("manager docker, 7 in 3,772", UpdateFilter { manager: Some(DOCKER.parse().expect("a manager")), ..open.clone() }),
        ("manager dnf", UpdateFilter { manager: Some(UPDATES[0].0.parse().expect("a manager")), ..open.clone() }),
        ("one agent", UpdateFilter { agent: Some(agent(hosts / 2)), ..open }),
        ("search 'curl-00'", search("curl-00")),
        ("search 'lib', a sixth of all", search("lib")),
    ]
}

fn search(text: &str) -> UpdateFilter {
    UpdateFilter { search: Some(Search::new(text).expect("a search")), ..UpdateFilter::default() }
}

fn query(filter: &UpdateFilter, sort: &str) -> UpdateQuery {
    let size = PageSize::new(PAGE_ROWS).expect("a size");
    UpdateQuery { filter: filter.clone(), sort: sort.parse().expect("a sort"), size, start: PageStart::default() }
}

fn at_page(query: &UpdateQuery, number: u32) -> UpdateQuery {
    UpdateQuery { start: PageStart::Number(PageNumber::new(number).expect("a number")), ..query.clone() }
}

/// What reading pages cost, by sort and place.
type Times = BTreeMap<(&'static str, usize), Vec<Cost>>;

struct Reads {
    store: SqliteStore,
    size: Size,
    rng: Rng,
}

impl Reads {
    async fn lists(&mut self) -> Vec<Row> {
        let mut rows = Vec::new();
        for sorts in SORTS.chunks(2) {
            rows.push(self.list(&format!("any page by {}, both ways", sorts[0]), &UpdateFilter::default(), sorts).await);
        }
        for (name, filter) in plain_filters(self.size.hosts) {
            rows.push(self.list(&format!("any page of {name}, every sort"), &filter, &SORTS).await);
        }
        rows
    }

    async fn list(&mut self, goal: &str, filter: &UpdateFilter, sorts: &[&'static str]) -> Row {
        let mut times = Times::new();
        for sort in sorts {
            self.pages(&query(filter, sort), sort, &mut times).await;
        }
        if self.size.detail {
            for ((sort, place), times) in &times {
                print(&format!("    {goal}: {sort}, {}: {}", PLACES[*place], spread(times)));
            }
        }
        list_row(goal.to_owned(), &times)
    }

    async fn pages(&mut self, query: &UpdateQuery, sort: &'static str, times: &mut Times) {
        let total = self.store.stats(&query.filter).await.expect("stats").total;
        let pages = u32::try_from(total.div_ceil(u64::from(PAGE_ROWS))).expect("pages are few").max(1);
        let mut begun = Duration::ZERO;
        for _ in 0..self.size.reads {
            let random = 1 + u32::try_from(self.rng.below(pages as usize)).expect("a page's number");
            let mut took = |place: usize, cost: Cost| {
                begun += cost.wall;
                times.entry((sort, place)).or_default().push(cost);
            };
            took(0, self.page(&at_page(query, 1)).await.0);
            let (cost, next) = self.page(&at_page(query, random)).await;
            took(1, cost);
            if let Some(next) = next {
                took(2, self.page(&UpdateQuery { start: PageStart::After(next), ..query.clone() }).await.0);
            }
            took(3, self.page(&at_page(query, pages)).await.0);
            // A list that is far from its goal is told by a few reads as well.
            if begun > Duration::from_secs(10) {
                break;
            }
        }
    }

    async fn page(&self, query: &UpdateQuery) -> (Cost, Option<Cursor>) {
        let started = Started::now();
        let page = self.store.updates(query).await.expect("a page");
        (started.cost(), page.next)
    }

    async fn counts(&self, file: &Path) -> Vec<Row> {
        let mut times = Vec::new();
        for (_, filter) in plain_filters(self.size.hosts) {
            for _ in 0..self.size.reads {
                times.push(self.stats(&filter).await);
            }
        }
        let counts = counts_row("exact counts of every plain filter".to_owned(), &times, 10.0);
        let mut times = Vec::new();
        for _ in 0..self.size.reads * 5 {
            times.push(self.stats(&UpdateFilter::default()).await);
        }
        let stats = self.store.stats(&UpdateFilter::default()).await.expect("stats");
        let exact = Connection::open(file).expect("the file opens").query_row(
            "SELECT COUNT(*), COALESCE(SUM(security), 0), COALESCE(SUM(availability = 0), 0) FROM current_package_state WHERE status NOT IN (6, 9)",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        );
        assert_eq!((stats.total, stats.security, stats.installable), exact.expect("an aggregate"), "equal to the exact aggregate");
        vec![counts, counts_row("statistics of the fleet, equal to the aggregate".to_owned(), &times, 15.0)]
    }

    async fn stats(&self, filter: &UpdateFilter) -> Cost {
        let started = Started::now();
        self.store.stats(filter).await.expect("stats");
        started.cost()
    }
}

/// The middle of each sort and place, of which the slowest counts, and the slowest of all reads but one in a hundred.
fn list_row(goal: String, times: &Times) -> Row {
    let middles = |of: fn(&Cost) -> Duration| times.iter().map(move |(place, costs)| (place, percentile(costs.iter().map(of), 50)));
    let p50 = |of| millis(middles(of).map(|(_, middle)| middle).max().unwrap_or_default());
    let p99 = |of: fn(&Cost) -> Duration| millis(percentile(times.values().flatten().map(of), 99));
    let cpu: BTreeMap<_, _> = middles(|cost| cost.cpu).collect();
    let of_first = |((sort, place), last): (&&(&'static str, usize), &Duration)| {
        let first = cpu.get(&(*sort, 0)).filter(|_| *place == 3)?;
        Some(ratio(*last, *first))
    };
    let last = cpu.iter().filter_map(of_first).fold(0.0, f64::max);
    let [wall50, wall99, cpu50, cpu99] = [p50(|cost| cost.wall), p99(|cost| cost.wall), p50(|cost| cost.cpu), p99(|cost| cost.cpu)];
    Row {
        goal,
        ours: format!("p50 {wall50:.2}, p99 {wall99:.2} ms; processor time {cpu50:.2}, {cpu99:.2} ms"),
        ratio: format!("last {last:.1} x page 1 of processor time"),
        demand: "p50 2, p99 10 ms, 2 x".to_owned(),
        stretch: "p99 3 ms".to_owned(),
        met: Some(Met::of(wall50 <= 2.0 && wall99 <= 10.0 && last <= 2.0, wall99 <= 3.0)),
        ..Row::default()
    }
}

pub(crate) fn counts_row(goal: String, times: &[Cost], demand: f64) -> Row {
    let p99 = millis(percentile(times.iter().map(|cost| cost.wall), 99));
    Row {
        goal,
        ours: spread(times),
        demand: format!("p99 {demand} ms"),
        stretch: "p99 5 ms".to_owned(),
        met: Some(Met::of(p99 <= demand, p99 <= 5.0)),
        ..Row::default()
    }
}

fn spread(costs: &[Cost]) -> String {
    let of = |of: fn(&Cost) -> Duration, percent| millis(percentile(costs.iter().map(of), percent));
    let [wall50, wall99] = [50, 99].map(|percent| of(|cost| cost.wall, percent));
    let [cpu50, cpu99] = [50, 99].map(|percent| of(|cost| cost.cpu, percent));
    format!("p50 {wall50:.2}, p99 {wall99:.2} ms; processor time {cpu50:.2}, {cpu99:.2} ms")
}

/// What the same costs in a fleet of ten times the size, both taking turns.
async fn growth(stores: [(SqliteStore, u32); 2], size: Size) -> Vec<Row> {
    let mut reports = [Vec::new(), Vec::new()];
    let mut pages = [Vec::new(), Vec::new()];
    let mut searches = [Vec::new(), Vec::new()];
    let mut rng = Rng::new(5);
    let mut reads = Vec::new();
    let mut hosts = Vec::new();
    for (store, enrolled) in stores {
        reads.push(Reads { store: store.clone(), size, rng: Rng::new(3) });
        store.stats(&UpdateFilter::default()).await.expect("stats");
        hosts.push(Hosts::new(store, enrolled));
    }
    for round in 0..size.rounds.max(size.reads) {
        for place in 0..2 {
            if round < size.rounds {
                reports[place].push(first_report(&mut hosts[place], round as u32 % fleet::DISTRIBUTIONS).await.1);
            }
            pages[place].push(any_page(&reads[place], &query(&UpdateFilter::default(), "severity"), &mut rng).await);
            searches[place].push(any_page(&reads[place], &query(&search("curl-00"), "severity"), &mut rng).await);
        }
    }
    let row = |what: &str, costs: &[Vec<Cost>; 2]| {
        let [small, large] = [0, 1].map(|place| median(&costs[place]).cpu);
        let times = ratio(large, small);
        Row {
            goal: format!("growth, {what} at ten times the rows"),
            ours: format!("{:.2} ms, at a tenth {:.2} ms", millis(large), millis(small)),
            ratio: format!("{times:.2}"),
            demand: "1.3".to_owned(),
            stretch: "flat".to_owned(),
            met: Some(Met::of(times <= 1.3, times <= 1.05)),
            ..Row::default()
        }
    };
    vec![row("first report", &reports), row("any page by severity", &pages), row("any page of a search", &searches)]
}

async fn any_page(reads: &Reads, query: &UpdateQuery, rng: &mut Rng) -> Cost {
    let total = reads.store.stats(&query.filter).await.expect("stats").total;
    let pages = usize::try_from(total.div_ceil(u64::from(PAGE_ROWS))).expect("pages are few").max(1);
    let number = 1 + u32::try_from(rng.below(pages)).expect("a page's number");
    let started = Started::now();
    reads.store.updates(&at_page(query, number)).await.expect("a page");
    started.cost()
}
