//! Goals of writing: a first report, one that changes little, one that changes nothing, one with bad facts; bytes, growth, memory.

use crate::{
    cluster::{Cluster, number, script},
    cost::{Cost, Meter, median, millis},
    goals::{Bound, Goals, Line, print, with_unit},
    naive::Naive,
    raw::Raw,
    setting,
    workload::Host,
};
use redflag_core::{
    Fleet,
    conformance::generate::{agent, at, enrolment},
    report::{Report, ReportStatus},
    store::{BatchStore as _, Mode},
    work::{RecordReport, UnitOfWork, Withheld},
};
use redflag_store_postgres::{Options, PostgresStore};
use std::{sync::Arc, time::Duration};

/// How many times the hosts of the small fleet the large one has.
const GROWTH: u32 = 10;

/// Unchanged reports measured together, because one is short.
const UNCHANGED: u32 = 100;

/// Bad facts in a report: 1 %.
const BAD: usize = 38;

/// The tables of the log and of what follows from it, without the catalogs, which all hosts share.
const TABLES: [&str; 6] = ["update_batches", "update_events", "rejections", "reports", "current_package_state", "update_version_history"];

/// Prints a line a goal.
pub(crate) async fn run(cluster: &Cluster, meter: &mut Meter<'_>, goals: &mut Goals) {
    let (rounds, hosts) = (setting("REDFLAG_ROUNDS", 11), setting("REDFLAG_HOSTS", 30));
    let host = Host::new();
    let mut bench = Bench {
        raw: Raw::new(cluster.connect().await, &host).await,
        naive: Naive::new(cluster.connect().await, &host).await,
        small: Ours::open(cluster, "small").await,
        large: Ours::open(cluster, "large").await,
        host,
    };
    bench.load(hosts).await;
    print(&format!(
        "{} updates a report; {hosts} hosts have reported before, {} in the fleet that isolation and growth are measured in; \
         {rounds} interleaved rounds, medians; CPU is that of client and server together",
        bench.host.len(),
        hosts * GROWTH
    ));
    // What is written of a page for the first time after a checkpoint is all of it: everything is flushed, then one round is not
    // counted, so that the log is that of a server between two checkpoints.
    script(meter.connection(), "VACUUM (ANALYZE)").await;
    script(meter.connection(), "CHECKPOINT").await;
    let after_checkpoint = bench.round(meter).await;
    let mut all = Vec::new();
    for _ in 0..rounds {
        all.push(bench.round(meter).await);
    }
    first_reports(goals, &bench, &all, &after_checkpoint);
    bytes_on_disk(goals, meter, &mut bench).await;
    unchanged_reports(goals, meter, &bench).await;
    changed_reports(goals, meter, &mut bench, rounds).await;
    isolation(goals, &all);
    growth(goals, &bench, &all);
    memory(goals, cluster);
}

struct Bench {
    host: Host,
    raw: Raw,
    naive: Naive,
    small: Ours,
    large: Ours,
}

/// What one interleaved round cost.
struct Round {
    raw: Cost,
    naive: Cost,
    ours: Cost,
    large: Cost,
    not_isolated: Cost,
    one_bad: Cost,
    many_bad: Cost,
}

impl Bench {
    async fn load(&mut self, hosts: u32) {
        for _ in 0..hosts {
            self.raw.report().await;
            self.naive.report().await;
        }
        self.small.load(&self.host, hosts).await;
        self.large.load(&self.host, hosts * GROWTH).await;
    }

    async fn round(&mut self, meter: &mut Meter<'_>) -> Round {
        let Self { host, raw, naive, small, large } = self;
        Round {
            raw: meter.measure(async || raw.report().await).await.0,
            ours: small.first(meter, host.report(1), 0).await,
            naive: meter.measure(async || naive.report().await).await.0,
            not_isolated: large.first_without_isolation(meter, host.report(1)).await,
            large: large.first(meter, host.report(1), 0).await,
            one_bad: large.first(meter, host.report_with_bad(1, 1), 1).await,
            many_bad: large.first(meter, host.report_with_bad(1, BAD), BAD).await,
        }
    }
}

/// A fleet of ours.
struct Ours {
    store: PostgresStore,
    fleet: Fleet,
    schema: &'static str,
    hosts: u32,
}

impl Ours {
    async fn open(cluster: &Cluster, schema: &'static str) -> Self {
        let options = Options { schema: schema.to_owned(), ..Options::default() };
        let store = PostgresStore::connect(&cluster.url(), options).await.expect("the store opens");
        Self { fleet: Fleet::new(store.clone()), store, schema, hosts: 0 }
    }

    async fn enrol(&mut self) -> u32 {
        self.fleet.enrol(enrolment(self.hosts)).await.expect("the agent is enrolled");
        self.hosts += 1;
        self.hosts - 1
    }

    async fn load(&mut self, host: &Host, hosts: u32) {
        for _ in 0..hosts {
            let number = self.enrol().await;
            self.fleet.record_report(agent(number), host.report(1), at(1)).await.expect("the report is taken");
        }
    }

    /// What it costs to record the first report of another host through the facade.
    async fn first(&mut self, meter: &mut Meter<'_>, report: Report, bad: usize) -> Cost {
        let (number, facts) = (self.enrol().await, report.facts());
        let (cost, answer) = meter.measure(async || self.fleet.record_report(agent(number), report, at(1)).await).await;
        let answer = answer.expect("the report is taken");
        assert_eq!(answer.outcomes.counts(), ((facts - bad) as u64, 0, bad as u64), "good facts are stored, bad ones told");
        assert_eq!(self.rows_of(meter, "update_events", number).await, facts - bad);
        assert_eq!(self.rows_of(meter, "rejections", number).await, bad, "bad facts are kept with their reason");
        cost
    }

    /// The same without what isolates bad events: the unit of work alone, which goes down whole if the database refuses any.
    async fn first_without_isolation(&mut self, meter: &mut Meter<'_>, report: Report) -> Cost {
        let agent = agent(self.enrol().await);
        let work = RecordReport { agent, report: Arc::new(report), received_at: at(1), batch_events: 100, withheld: Withheld::default() };
        let work = UnitOfWork::RecordReport(work);
        let (cost, answer) = meter.measure(async || self.store.run(&work, Mode::Commit).await).await;
        answer.expect("the report is taken");
        cost
    }

    async fn rows_of(&self, meter: &mut Meter<'_>, table: &str, host: u32) -> usize {
        let (schema, agent) = (self.schema, agent(host));
        let sql = format!("SELECT COUNT(*) FROM {schema}.{table} JOIN {schema}.agents USING (agent_ref) WHERE agent_id = '{agent}'");
        usize::try_from(number(meter.connection(), &sql).await).expect("a count")
    }

    /// Bytes on disk of `tables`, indexes included.
    async fn bytes(&self, meter: &mut Meter<'_>, tables: &[&str]) -> f64 {
        let mut bytes = 0;
        for table in tables {
            bytes += number(meter.connection(), &format!("SELECT pg_total_relation_size('{}.{table}')", self.schema)).await;
        }
        bytes as f64
    }

    /// How many rows of each table were written by transaction `first` or a later one, as far as there are any.
    async fn written_since(&self, meter: &mut Meter<'_>, first: i64) -> Vec<(&'static str, i64)> {
        let mut written = Vec::new();
        for table in
            TABLES.into_iter().chain(["agents", "agent_facts", "packages", "candidates", "texts", "chosen_event_ids", "update_counters"])
        {
            let sql = format!("SELECT COUNT(*) FROM {}.{table} WHERE xmin::text::bigint >= {first}", self.schema);
            let rows = number(meter.connection(), &sql).await;
            if rows > 0 {
                written.push((table, rows));
            }
        }
        written
    }
}

fn of(all: &[Round], part: impl Fn(&Round) -> Cost) -> Cost {
    median(&all.iter().map(part).collect::<Vec<_>>())
}

fn milliseconds(duration: Duration) -> String {
    with_unit(millis(duration), "ms")
}

fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}

fn first_reports(goals: &mut Goals, bench: &Bench, all: &[Round], after_checkpoint: &Round) {
    let (raw, naive, ours) = (of(all, |round| round.raw), of(all, |round| round.naive), of(all, |round| round.ours));
    for (meter, part) in [("CPU", Cost::cpu as fn(&Cost) -> Duration), ("wall", |cost| cost.wall)] {
        let line = |against: &str, ratio: f64| Line {
            goal: format!("first report, {meter}, against {against}"),
            ours: milliseconds(part(&ours)),
            raw: milliseconds(part(&raw)),
            naive: milliseconds(part(&naive)),
            ratio: with_unit(ratio, ""),
        };
        let of_raw = ratio(part(&raw), part(&ours));
        goals.line(&line("raw", of_raw), of_raw, "", Bound::AtLeast(0.25), Some(Bound::AtLeast(0.45)));
        let of_naive = ratio(part(&naive), part(&ours));
        goals.line(&line("naive", of_naive), of_naive, "", Bound::AtLeast(25.0), Some(Bound::AtLeast(60.0)));
    }
    let events = bench.host.len() as f64;
    let wal = |cost: &Cost| cost.wal as f64 / events;
    let line = Line {
        goal: "write-ahead log an event, first report".to_owned(),
        ours: with_unit(wal(&ours), "B"),
        raw: with_unit(wal(&raw), "B"),
        naive: with_unit(wal(&naive), "B"),
        ratio: with_unit(ours.wal as f64 / naive.wal as f64, ""),
    };
    goals.line(&line, wal(&ours), "B", Bound::AtMost(520.0), Some(Bound::AtMost(200.0)));
    print(&format!(
        "  ours: client {}, server {}, {} events/s; right after a checkpoint {:.0} B of log an event (raw {:.0}, naive {:.0})",
        milliseconds(ours.client),
        milliseconds(ours.server),
        with_unit(events / ours.wall.as_secs_f64(), ""),
        wal(&after_checkpoint.ours),
        wal(&after_checkpoint.raw),
        wal(&after_checkpoint.naive),
    ));
}

async fn bytes_on_disk(goals: &mut Goals, meter: &mut Meter<'_>, bench: &mut Bench) {
    let large = &bench.large;
    let events = number(meter.connection(), &format!("SELECT COUNT(*) FROM {}.update_events", large.schema)).await as f64;
    let ours = large.bytes(meter, &TABLES).await / events;
    let naive = bench.naive.bytes().await;
    let of_naive = naive.iter().sum::<i64>() as f64;
    let line = Line {
        goal: "disk an event, log, state and indexes".to_owned(),
        ours: with_unit(ours, "B"),
        naive: with_unit(of_naive, "B"),
        ratio: with_unit(ours / of_naive, ""),
        ..Line::default()
    };
    goals.line(&line, ours, "B", Bound::AtMost(300.0), Some(Bound::AtMost(150.0)));
    let large = &bench.large;
    let mut parts = Vec::new();
    for table in ["update_events", "current_package_state", "update_batches", "reports"] {
        parts.push(format!("{table} {:.0}", large.bytes(meter, &[table]).await / events));
    }
    print(&format!("  ours: {}; naive {naive:?} (the original was measured at [490, 576, 486])", parts.join(", ")));
}

async fn unchanged_reports(goals: &mut Goals, meter: &mut Meter<'_>, bench: &Bench) {
    let ours = &bench.small;
    let mut costs = Vec::new();
    for block in 0..5 {
        let reports: Vec<Report> = (0..UNCHANGED).map(|number| bench.host.unchanged(2 + block * UNCHANGED + number)).collect();
        let work = async || {
            for report in reports {
                let answer = ours.fleet.record_report(agent(0), report, at(2)).await.expect("the report is taken");
                assert_eq!((answer.status, answer.full_required.len()), (ReportStatus::Unchanged, 0));
            }
        };
        costs.push(meter.measure(work).await.0.each(UNCHANGED));
    }
    let cost = median(&costs);
    let bound = (Bound::AtMost(1.0), Some(Bound::AtMost(0.6)));
    goals.plain("unchanged report, CPU", millis(cost.cpu()), "ms", bound.0, bound.1);
    goals.plain("unchanged report, write-ahead log", cost.wal as f64, "B", Bound::AtMost(256.0), None);
    let first = number(meter.connection(), "SELECT pg_current_xact_id()::text::bigint").await;
    ours.fleet.record_report(agent(0), bench.host.unchanged(9_999), at(3)).await.expect("the report is taken");
    let written = ours.written_since(meter, first).await;
    let line = Line { goal: "unchanged report, rows written".to_owned(), ours: format!("{written:?}"), ..Line::default() };
    let rows: i64 = written.iter().map(|(table, rows)| if *table == "agents" { *rows } else { *rows * 1_000 }).sum();
    goals.line(&line, rows as f64, "", Bound::AtMost(1.0), None);
    print(&format!("  client {}, server {}, wall {}", milliseconds(cost.client), milliseconds(cost.server), milliseconds(cost.wall)));
}

/// Of two hosts that report the same changes, the first brings them into the catalogs.
async fn changed_reports(goals: &mut Goals, meter: &mut Meter<'_>, bench: &mut Bench, rounds: u32) {
    let ours = &bench.small;
    let (mut new, mut known) = (Vec::new(), Vec::new());
    for round in 0..rounds.min(setting("REDFLAG_HOSTS", 30) / 2 - 1) {
        let (later, expected) = bench.host.changed(round);
        for (host, costs) in [(1 + 2 * round, &mut new), (2 + 2 * round, &mut known)] {
            let report = later.report(2);
            let (cost, answer) = meter.measure(async || ours.fleet.record_report(agent(host), report, at(2)).await).await;
            assert_eq!(answer.expect("the report is taken").events, expected, "exactly the changes");
            costs.push(cost);
        }
    }
    for (what, costs) in [("known to other hosts", known), ("new to the fleet", new)] {
        let cost = median(&costs);
        let bound = (Bound::AtMost(10.0), Some(Bound::AtMost(5.0)));
        goals.plain(&format!("1.5 % changed, {what}, CPU"), millis(cost.cpu()), "ms", bound.0, bound.1);
        let bound = (Bound::AtMost(250.0), Some(Bound::AtMost(100.0)));
        goals.plain(&format!("1.5 % changed, {what}, write-ahead log"), cost.wal as f64 / 1_000.0, "kB", bound.0, bound.1);
        print(&format!("  client {}, server {}, wall {}", milliseconds(cost.client), milliseconds(cost.server), milliseconds(cost.wall)));
    }
}

fn isolation(goals: &mut Goals, all: &[Round]) {
    let without = of(all, |round| round.not_isolated).cpu();
    for (bad, demand, stretch, with) in [
        ("no bad event", 1.05, 1.02, of(all, |round| round.large)),
        ("one bad event", 1.3, 1.1, of(all, |round| round.one_bad)),
        ("1 % bad events", 2.0, 1.3, of(all, |round| round.many_bad)),
    ] {
        let ratio = ratio(with.cpu(), without);
        let line = Line {
            goal: format!("isolation, {bad}, CPU, against none"),
            ours: milliseconds(with.cpu()),
            raw: milliseconds(without),
            ratio: with_unit(ratio, ""),
            ..Line::default()
        };
        goals.line(&line, ratio, "", Bound::AtMost(demand), Some(Bound::AtMost(stretch)));
    }
}

fn growth(goals: &mut Goals, bench: &Bench, all: &[Round]) {
    for (meter, part) in [("CPU", Cost::cpu as fn(&Cost) -> Duration), ("wall", |cost| cost.wall)] {
        // Both fleets meet the same moments of the machine in a round.
        let (small, large) = (of(all, |round| round.ours), of(all, |round| round.large));
        let ratio = ratio(part(&large), part(&small));
        let line = Line {
            goal: format!("first report at {} hosts, {meter}, against {}", bench.large.hosts, bench.small.hosts),
            ours: milliseconds(part(&large)),
            raw: milliseconds(part(&small)),
            ratio: with_unit(ratio, ""),
            ..Line::default()
        };
        goals.line(&line, ratio, "", Bound::AtMost(1.3), None);
    }
}

/// The most memory this process ever held, the benchmark's own included: more than any report takes.
fn memory(goals: &mut Goals, cluster: &Cluster) {
    let highest = kib("/proc/self/status", "VmHWM") as f64 / 1_024.0;
    goals.plain("memory of the client, highest of all", highest, "MiB", Bound::AtMost(64.0), None);
    let private = cluster.processes().map(|process| kib(&format!("/proc/{process}/status"), "RssAnon")).max().unwrap_or(0);
    print(&format!("  the largest server process holds {} MiB of its own", private / 1_024));
}

/// A line of a process's status.
fn kib(path: &str, line: &str) -> u64 {
    let status = std::fs::read_to_string(path).unwrap_or_default();
    let found = status.lines().find(|status| status.starts_with(line)).unwrap_or_default();
    found.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}
