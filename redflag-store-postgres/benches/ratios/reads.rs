//! Goals of reading: any page, search, counts, groups and statistics of a large fleet, each held against the exact aggregate and
//! timed beside the way without a mirror: OFFSET, and aggregates over all states.
//!
//! Two fleets in one database, of 100 and of 1,000 hosts with 3,772 updates each (`REDFLAG_READ_HOSTS` sets the larger number), of
//! three distributions, so that the catalog holds three times as many packages. The first hosts report through the facade; their
//! states are copied to the others in bulk: one update in twenty is installed, one withdrawn, and one in ten changed on another of
//! sixty days.

use crate::{
    cluster::{Cluster, script},
    cost::{Meter, client, millis},
    goals::{Bound, Goals, Line, print, with_unit},
    setting,
};
use redflag_core::{
    Fleet,
    conformance::generate::{Rng, agent, at, checked, enrolment, report_id, report_of, scope_of},
    names::{APT, DNF, DOCKER},
    offer::OfferInput,
    query::{
        Cursor, PackageQuery, PageNumber, PageSize, PageStart, Search, Sort, SortKey, StatusFilter, TrendQuery, UpdateFilter, UpdateQuery,
    },
    store::StateStore as _,
    time::Day,
    words::{Severity, Status},
};
use redflag_store_postgres::{Options, PostgresStore};
use sqlx::{AssertSqlSafe, Executor as _, PgConnection, Row as _};
use std::time::{Duration, Instant};

const UPDATES: [(&str, usize); 3] = [(DNF, 3_488), (APT, 277), (DOCKER, 7)];
const DISTRIBUTIONS: u32 = 3;
const SORTS: [SortKey; 4] = [SortKey::Severity, SortKey::Name, SortKey::Agent, SortKey::LastChange];

/// Measures them on `cluster` and prints a line each.
pub(crate) async fn run(cluster: &Cluster, meter: &mut Meter<'_>, goals: &mut Goals) {
    let hosts = setting("REDFLAG_READ_HOSTS", 1_000);
    let rounds = setting("REDFLAG_ROUNDS", 11);
    let small = fill(cluster, meter.connection(), hosts / 10).await;
    let large = fill(cluster, meter.connection(), hosts).await;
    let connection = meter.connection();
    script(connection, &format!("SET search_path TO {}", large.schema)).await;
    large.assert_exact(connection).await;
    let mut times = Times::default();
    let mut rng = Rng::new(5);
    for _ in 0..rounds {
        for (fleet, times) in [(&small, &mut times.small), (&large, &mut times.large)] {
            fleet.pages(&mut rng, times).await;
        }
        large.counts(&mut times).await;
    }
    let naive = Naive::measure(connection, &large).await;
    report(goals, &times, &naive);
}

fn page_size() -> PageSize {
    PageSize::new(100).expect("a size")
}

/// A fleet with the store that is measured.
struct Filled<'a> {
    cluster: &'a Cluster,
    schema: String,
    store: PostgresStore,
    hosts: u32,
}

/// What one read took.
#[derive(Clone, Copy, Debug)]
struct Took {
    wall: Duration,
    /// Processor time of both sides.
    cpu: Duration,
}

/// What reads took, by what was asked for.
#[derive(Default)]
struct Times {
    small: Pages,
    large: Pages,
    search: Vec<Took>,
    counts: Vec<Took>,
    stats: Vec<Took>,
    packages: Vec<Took>,
    trend: Vec<Took>,
}

/// What pages took, with the name of the list.
#[derive(Default)]
struct Pages {
    first: Vec<(String, Took)>,
    last: Vec<(String, Took)>,
    other: Vec<(String, Took)>,
}

impl Pages {
    fn all(&self) -> impl Iterator<Item = &(String, Took)> {
        self.first.iter().chain(&self.last).chain(&self.other)
    }
}

async fn timed<T>(work: impl Future<Output = T>) -> (Duration, T) {
    let begun = Instant::now();
    let answer = work.await;
    (begun.elapsed(), answer)
}

/// Filters of one kind each, with their names.
fn filters(hosts: u32) -> Vec<(&'static str, UpdateFilter)> {
    let any = UpdateFilter::default;
    let search = |text: &str| UpdateFilter { search: Some(Search::new(text).expect("a search")), ..any() };
    vec![
        ("open", any()),
        ("any status", UpdateFilter { status: StatusFilter::Any, ..any() }),
        ("withdrawn", UpdateFilter { status: StatusFilter::Is(Status::Withdrawn), ..any() }),
        ("critical", UpdateFilter { severity: Some(Severity::Critical), ..any() }),
        ("apt", UpdateFilter { manager: Some(APT.parse().expect("a manager")), ..any() }),
        ("one agent", UpdateFilter { agent: Some(agent(hosts / 2)), ..any() }),
        ("search curl-00", search("curl-00")),
        ("search lib", search("lib")),
    ]
}

impl Filled<'_> {
    async fn took<T>(&self, work: impl Future<Output = T>) -> (Took, T) {
        let before = self.cluster.cpu() + client();
        let (wall, answer) = timed(work).await;
        (Took { wall, cpu: (self.cluster.cpu() + client()).saturating_sub(before) }, answer)
    }

    /// Every list: its first and last page, one anywhere, and the one after that by cursor.
    async fn pages(&self, rng: &mut Rng, times: &mut Pages) {
        for key in SORTS {
            for reverse in [false, true] {
                for (name, filter) in filters(self.hosts) {
                    self.list(Sort { key, reverse }, name, filter, rng, times).await;
                }
            }
        }
    }

    async fn list(&self, sort: Sort, name: &str, filter: UpdateFilter, rng: &mut Rng, times: &mut Pages) {
        let name = format!("{name} by {sort}");
        let total = self.store.stats(&filter).await.expect("stats").total;
        let pages = u32::try_from(total.div_ceil(100)).expect("pages are few").max(1);
        let anywhere = 1 + u32::try_from(rng.below(pages as usize)).expect("a page's number");
        let query = UpdateQuery { filter, sort, size: page_size(), start: PageStart::default() };
        let number = |number: u32| PageStart::Number(PageNumber::new(number).expect("a number"));
        let first = self.page(&query, number(1)).await;
        times.first.push((name.clone(), first.0));
        let (elapsed, next) = self.page(&query, number(anywhere)).await;
        times.other.push((name.clone(), elapsed));
        if let Some(next) = next {
            times.other.push((name.clone(), self.page(&query, PageStart::After(next)).await.0));
        }
        let last = self.page(&query, number(pages)).await;
        times.last.push((name, last.0));
    }

    async fn page(&self, query: &UpdateQuery, start: PageStart) -> (Took, Option<Cursor>) {
        let query = UpdateQuery { start, ..query.clone() };
        let (took, page) = self.took(self.store.updates(&query)).await;
        (took, page.expect("a page").next)
    }

    async fn counts(&self, times: &mut Times) {
        for (name, filter) in filters(self.hosts) {
            for _ in 0..5 {
                let (took, stats) = self.took(self.store.stats(&filter)).await;
                stats.expect("stats");
                if name.starts_with("search") {
                    let query = UpdateQuery { filter: filter.clone(), size: page_size(), ..UpdateQuery::default() };
                    times.search.push(took);
                    times.search.push(self.page(&query, PageStart::default()).await.0);
                } else {
                    times.counts.push(took);
                }
                times.stats.push(self.took(self.store.stats(&UpdateFilter::default())).await.0);
                let packages = PackageQuery { filter: filter.clone(), size: page_size(), ..PackageQuery::default() };
                times.packages.push(self.took(self.store.packages(&packages)).await.0);
            }
            let month = TrendQuery::new(None, Day::of(at(70 * 86_400)), 30).expect("a month");
            times.trend.push(self.took(self.store.trend(&month)).await.0);
        }
    }

    /// What the store counts is what an aggregate over all states counts.
    async fn assert_exact(&self, connection: &mut PgConnection) {
        let any = UpdateFilter { status: StatusFilter::Any, ..UpdateFilter::default() };
        let stats = self.store.stats(&any).await.expect("stats");
        let rows = connection.fetch_all("SELECT status, severity, COUNT(*) FROM current_package_state GROUP BY 1, 2").await;
        let rows = rows.expect("an aggregate");
        let sum = |column: usize, code: u8| -> u64 {
            let of_code = rows.iter().filter(|row| row.get::<i16, _>(column) == i16::from(code));
            of_code.map(|row| row.get::<i64, _>(2).unsigned_abs()).sum()
        };
        for severity in Severity::ALL {
            assert_eq!(stats.by_severity.get(severity).copied().unwrap_or(0), sum(1, severity.code()), "{severity}");
        }
        for status in Status::ALL {
            assert_eq!(stats.by_status.get(status).copied().unwrap_or(0), sum(0, status.code()), "{status}");
        }
        let query = PackageQuery { filter: any, size: PageSize::new(500).expect("a size"), ..PackageQuery::default() };
        let found = self.store.packages(&query).await.expect("packages");
        let rows = connection.fetch_all(AssertSqlSafe(GROUPS.replace("LIMIT 100", "LIMIT 500"))).await.expect("an aggregate");
        let expected: Vec<(String, u64)> = rows.iter().map(|row| (row.get(0), row.get::<i64, _>(1).unsigned_abs())).collect();
        let found: Vec<_> = found.items.iter().map(|row| (row.package.name.as_str().to_owned(), row.hosts)).collect();
        assert_eq!(found, expected, "packages by hosts");
    }
}

/// Packages by hosts, of any status.
const GROUPS: &str = "
    SELECT p.name, COUNT(*) FROM current_package_state AS s JOIN packages AS p USING (package_ref)
    GROUP BY p.package_ref ORDER BY 2 DESC, p.name, p.manager, p.arch LIMIT 100";

/// The same without a mirror, in milliseconds.
struct Naive {
    page: f64,
    last: f64,
    search: f64,
    count: f64,
    stats: f64,
    packages: f64,
    /// A hundred rows by key: what no list can do without.
    rows: f64,
}

impl Naive {
    async fn measure(connection: &mut PgConnection, fleet: &Filled<'_>) -> Self {
        let total = fleet.store.stats(&UpdateFilter::default()).await.expect("stats").total;
        let list = |offset: u64| {
            format!(
                "SELECT s.agent_ref, s.package_ref, p.name, a.name FROM current_package_state AS s
                 JOIN packages AS p USING (package_ref) JOIN agents AS a USING (agent_ref)
                 WHERE s.status NOT IN (6, 9)
                 ORDER BY s.severity, p.name, p.manager, p.arch, a.agent_id LIMIT 100 OFFSET {offset}"
            )
        };
        let mut time = async |sql: &str| {
            let mut times = Vec::new();
            for _ in 0..3 {
                times.push(timed(connection.fetch_all(AssertSqlSafe(sql))).await.0);
            }
            times.sort_unstable();
            millis(times[1])
        };
        Self {
            page: time(&list(total / 2)).await,
            last: time(&list(total - total % 100)).await,
            search: time(
                "SELECT s.agent_ref, p.name FROM current_package_state AS s JOIN packages AS p USING (package_ref)
                 WHERE s.status NOT IN (6, 9) AND p.name ILIKE '%lib%' ORDER BY s.severity, p.name LIMIT 100",
            )
            .await,
            count: time("SELECT COUNT(*) FROM current_package_state WHERE status NOT IN (6, 9)").await,
            stats: time("SELECT severity, status, COUNT(*) FROM current_package_state GROUP BY 1, 2").await,
            packages: time(GROUPS).await,
            rows: time(
                "SELECT s.* FROM generate_series(1, 100) AS k (agent_ref)
                 JOIN LATERAL (SELECT * FROM current_package_state AS s WHERE s.agent_ref = k.agent_ref AND s.package_ref > 1000
                     ORDER BY s.package_ref LIMIT 1) AS s ON TRUE",
            )
            .await,
        }
    }
}

/// The value that `percent` of all stay below, in milliseconds.
fn percentile(times: impl Iterator<Item = Duration>, percent: usize) -> f64 {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    millis(times[(times.len() * percent / 100).min(times.len() - 1)])
}

fn report(goals: &mut Goals, times: &Times, naive: &Naive) {
    // Wall time is what is asked for, and means little on a shared machine; processor time of both sides stands beside it.
    let mut line = |goal: &str, took: Vec<Took>, percent, raw: Option<f64>, naive: Option<f64>, demand: f64, stretch: Option<f64>| {
        let text = |value: f64| with_unit(value, "ms");
        let ours = percentile(took.iter().map(|took| took.wall), percent);
        let line = Line {
            goal: format!("{goal}, p{percent}"),
            ours: format!("{} ({} on processors)", text(ours), text(percentile(took.iter().map(|took| took.cpu), percent))),
            raw: raw.map_or(String::new(), text),
            naive: naive.map_or(String::new(), text),
            ratio: naive.map_or(String::new(), |naive| format!("{:.0}x naive", naive / ours)),
        };
        goals.line(&line, ours, "ms", Bound::AtMost(demand), stretch.map(Bound::AtMost));
    };
    let of = |pages: &[(String, Took)]| pages.iter().map(|(_, took)| *took).collect::<Vec<_>>();
    let all = |pages: &Pages| pages.all().map(|(_, took)| *took).collect::<Vec<_>>();
    let (small, large) = (&times.small, &times.large);
    let first = percentile(large.first.iter().map(|(_, took)| took.wall), 50);
    line("any page of any list", all(large), 50, Some(naive.rows), Some(naive.page), 2.0, None);
    line("any page of any list", all(large), 99, Some(naive.rows), Some(naive.page), 10.0, Some(3.0));
    line("last pages", of(&large.last), 50, Some(naive.rows), Some(naive.last), 2.0 * first, None);
    line("search: counts and first page", times.search.clone(), 99, None, Some(naive.search), 10.0, Some(5.0));
    line("exact counts of a list", times.counts.clone(), 99, None, Some(naive.count), 10.0, Some(5.0));
    line("statistics of the fleet", times.stats.clone(), 99, None, Some(naive.stats), 15.0, Some(5.0));
    line("packages by hosts", times.packages.clone(), 99, None, Some(naive.packages), 15.0, Some(5.0));
    line("trend of 30 days", times.trend.clone(), 99, None, None, 15.0, None);
    let growth = |of: fn(&Pages) -> Vec<Duration>| percentile(of(large).into_iter(), 50) / percentile(of(small).into_iter(), 50);
    let pages = growth(|pages| pages.all().map(|(_, took)| took.cpu).collect());
    let searches = growth(|pages| pages.all().filter(|(name, _)| name.starts_with("search")).map(|(_, took)| took.cpu).collect());
    goals.plain("a page at 10 times the rows, processor time, p50", pages, "times", Bound::AtMost(1.3), None);
    goals.plain("a searched page at 10 times the rows, processor time, p50", searches, "times", Bound::AtMost(1.3), None);
    slowest(large);
}

/// The lists that take longest, because a percentile over all of them says nothing about one.
fn slowest(pages: &Pages) {
    let mut names: Vec<&str> = pages.all().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let of = |name: &str| {
        let times = || pages.all().filter(|(of, _)| of == name).map(|(_, took)| took.cpu);
        (percentile(times(), 50), percentile(times(), 99))
    };
    let mut lists: Vec<_> = names.into_iter().map(|name| (of(name), name)).collect();
    lists.sort_by(|((a, _), _), ((b, _), _)| b.total_cmp(a));
    for ((p50, p99), name) in lists.iter().take(6) {
        print(&format!("  slowest lists: {name}: p50 {p50:.2} ms, p99 {p99:.2} ms of processor time"));
    }
}

async fn fill<'a>(cluster: &'a Cluster, connection: &mut PgConnection, hosts: u32) -> Filled<'a> {
    let schema = format!("fleet_of_{hosts}");
    let open = async || {
        let options = Options { schema: schema.clone(), ..Options::default() };
        PostgresStore::connect(&cluster.url(), options).await.expect("the store opens")
    };
    let fleet = Fleet::new(open().await);
    for number in 0..hosts {
        fleet.enrol(enrolment(number)).await.expect("the agent is enrolled");
        if number < DISTRIBUTIONS {
            let offers = offers(number);
            let scopes = offers.iter().map(|(manager, offers)| scope_of(manager, at(1), offers, &[]));
            let answer = fleet.record_report(agent(number), report_of(report_id(1), 1, scopes.collect()), at(1)).await;
            assert_eq!(answer.expect("the report is taken").events, 3_772);
        }
    }
    drop(fleet);
    script(connection, &format!("SET search_path TO {schema}")).await;
    script(connection, COPY).await;
    script(connection, RECOUNT).await;
    script(connection, "VACUUM ANALYZE").await;
    let store = open().await;
    let before = resident();
    let (elapsed, stats) = timed(store.stats(&UpdateFilter { status: StatusFilter::Any, ..UpdateFilter::default() })).await;
    let total = stats.expect("stats").total;
    print(&format!(
        "{hosts} hosts, {total} states; the mirror is filled in {:.0} ms and takes {:.1} bytes a state",
        millis(elapsed),
        resident().saturating_sub(before) as f64 / total as f64
    ));
    Filled { cluster, schema, store, hosts }
}

/// Memory of this process, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    status.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("a number of pages") * 4_096
}

/// What the hosts of one distribution are offered.
fn offers(distribution: u32) -> Vec<(&'static str, Vec<(redflag_core::names::PackageKey, redflag_core::offer::Offer)>)> {
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

const COPY: &str = r#"
    INSERT INTO current_package_state (agent_ref, package_ref, discovered_at, changed_at, candidate_ref, revision, last_sequence,
        status, severity, availability, security, installed_ref, reason_ref, detail)
    SELECT a.agent_ref, s.package_ref, s.discovered_at,
           s.changed_at + a.agent_ref
               + CASE (s.package_ref * 31 + a.agent_ref * 17) % 10 WHEN 0 THEN 86400000000 * (1 + (s.package_ref + a.agent_ref) % 60) ELSE 0 END,
           s.candidate_ref, 1, 0, k.status, s.severity, s.availability, s.security, s.installed_ref, s.reason_ref,
           CASE k.status
               WHEN 6 THEN '{"standing":{"status":"installed","version":"1"}}'
               WHEN 9 THEN '{"standing":{"status":"withdrawn","reason":"no-longer-offered"}}'
           END
    FROM agents AS a
    JOIN current_package_state AS s ON s.agent_ref = 1 + a.agent_ref % 3
    CROSS JOIN LATERAL (
        SELECT CASE (s.package_ref * 7 + a.agent_ref * 13) % 20 WHEN 0 THEN 6 WHEN 1 THEN 9 ELSE 0 END AS status) AS k
    WHERE a.agent_ref > 3
    ORDER BY a.agent_ref, s.package_ref"#;

const RECOUNT: &str = "
    DELETE FROM update_counters;
    INSERT INTO update_counters (agent_ref, manager, status, severity, security, availability, count)
    SELECT s.agent_ref, p.manager, s.status, s.severity, s.security, s.availability, COUNT(*)
    FROM current_package_state AS s JOIN packages AS p USING (package_ref)
    GROUP BY 1, 2, 3, 4, 5, 6;
    DELETE FROM open_changes;
    INSERT INTO open_changes (agent_ref, day, severity, difference)
    SELECT s.agent_ref, s.changed_at / 86400000000, s.severity, COUNT(*)
    FROM current_package_state AS s WHERE s.status NOT IN (6, 9) GROUP BY 1, 2, 3";
