//! Reports of one host in a small fleet, with criterion's statistics: what to look at while changing the write path. Goals and
//! ratios are printed by the bench `ratios`.
//!
//! `cargo bench -p redflag-store-sqlite --bench reports`

#[path = "common/workload.rs"]
mod workload;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use redflag_core::{
    Fleet,
    conformance::generate::{agent, at, enrolment},
    report::{Report, ReportAnswer},
};
use redflag_store_sqlite::{Options, SqliteStore};
use std::cell::Cell;
use tokio::runtime::Runtime;
use workload::{EVENTS, changed, digest_report, full_report, offers};

struct Bench {
    runtime: Runtime,
    fleet: Fleet,
    hosts: Cell<u32>,
}

impl Bench {
    /// A new host with the report it is about to send.
    fn enrolled(&self, report: Report) -> (u32, Report) {
        let host = self.hosts.replace(self.hosts.get() + 1);
        self.runtime.block_on(self.fleet.enrol(enrolment(host))).expect("the agent is enrolled");
        (host, report)
    }

    /// A new host that reported once.
    fn reported(&self) -> u32 {
        let (host, report) = self.enrolled(full_report(&offers(0), 1));
        assert_eq!(self.report(host, report).events as usize, EVENTS);
        host
    }

    fn report(&self, host: u32, report: Report) -> ReportAnswer {
        self.runtime.block_on(self.fleet.record_report(agent(host), report, at(1))).expect("the report is taken")
    }
}

fn benches(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = SqliteStore::open(directory.path().join("store.db"), Options::default()).expect("the store opens");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    let bench = Bench { runtime, fleet: Fleet::new(store), hosts: Cell::new(0) };
    let unchanged = bench.reported();
    let mut group = criterion.benchmark_group("a report of 3,772 updates");
    group.sample_size(20);
    group.bench_function("the first of its host", |bencher| {
        let setup = || bench.enrolled(full_report(&offers(0), 1));
        bencher.iter_batched(setup, |(host, report)| bench.report(host, report), BatchSize::PerIteration);
    });
    group.bench_function("1.5 % changed", |bencher| {
        let setup = || (bench.reported(), full_report(&changed(offers(0)), 2));
        bencher.iter_batched(setup, |(host, report)| bench.report(host, report), BatchSize::PerIteration);
    });
    let number = Cell::new(1);
    group.bench_function("unchanged, by its digests", |bencher| {
        let offers = offers(0);
        let setup = || digest_report(&offers, number.replace(number.get() + 1) + 1);
        bencher.iter_batched(setup, |report| bench.report(unchanged, report), BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(group, benches);
criterion_main!(group);
