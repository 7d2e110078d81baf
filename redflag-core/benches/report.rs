//! What core's part of one report costs: reading it, agreeing on its digest, deciding it. No I/O.
//!
//! `cargo bench -p redflag-core --features conformance --bench report`
#![expect(clippy::unwrap_used, reason = "a bench that fails may stop")]

use criterion::{Criterion, criterion_group, criterion_main};
use redflag_core::{
    conformance::generate::{Rng, agent, at, checked, enrolment, manager, offers, report_id, report_of, scope_of},
    names::PackageKey,
    offer::{Offer, OfferInput},
    report::{Report, scope_digest},
    state::PackageState,
    wire::{ReportBody, ScopeBody, read_report},
    words::{ScanResult, VersionOrder},
    work::{Loaded, RecordReport, UnitOfWork, Withheld},
};
use std::hint::black_box;

/// The report of the founding scene.
const UPDATES: &[(&str, usize)] = &[("apt", 277), ("dnf", 3_488), ("docker", 7)];

/// In the order of names, as package managers list them.
fn scopes() -> Vec<(&'static str, Vec<(PackageKey, Offer)>)> {
    let mut rng = Rng::new(1);
    let of_manager = |(word, count): &(&'static str, usize)| {
        let mut offers = checked(word, &offers(&mut rng, word, *count));
        offers.sort_by(|a, b| a.0.cmp(&b.0));
        (*word, offers)
    };
    UPDATES.iter().map(of_manager).collect()
}

fn report() -> Report {
    report_of(report_id(1), 1, scopes().iter().map(|(word, offers)| scope_of(word, at(1), offers, &[])).collect())
}

fn body() -> Vec<u8> {
    let scope = |(word, offers): &(&str, Vec<(PackageKey, Offer)>)| ScopeBody {
        package_type: manager(word),
        version_order: VersionOrder::None,
        result: ScanResult::Complete,
        error: None,
        scanned_at: at(1),
        metadata_at: None,
        refresh_error: None,
        digest: None,
        offers: Some(offers.iter().map(|(package, offer)| OfferInput::from_offer(package, offer)).collect()),
        gone: None,
    };
    let scopes: Vec<ScopeBody> = scopes().iter().map(scope).collect();
    let body = ReportBody { schema: 1, report_id: report_id(1), sequence: 1, sent_at: at(1), host: Default::default(), scopes };
    serde_json::to_vec(&body).unwrap()
}

fn work(report: Report) -> UnitOfWork {
    let report = report.into();
    UnitOfWork::RecordReport(RecordReport { agent: agent(0), report, received_at: at(2), batch_events: 100, withheld: Withheld::default() })
}

fn loaded(states: Vec<PackageState>) -> Loaded {
    let enrolled = UnitOfWork::EnrolAgent(enrolment(0)).decide(&Loaded::default()).unwrap();
    Loaded { head: enrolled.changes.head, states: states.into_iter().collect(), ..Loaded::default() }
}

fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("a report of 3,772 updates");
    let bytes = body();
    group.bench_function("read from JSON and checked", |bencher| bencher.iter(|| read_report(black_box(&bytes)).unwrap()));
    let scopes = scopes();
    group.bench_function("digests of its scopes", |bencher| {
        let digest = |(word, offers): &(&str, Vec<(PackageKey, Offer)>)| {
            scope_digest(&manager(word), offers.iter().map(|(package, offer)| (package, offer)))
        };
        bencher.iter(|| black_box(&scopes).iter().map(digest).collect::<Vec<_>>());
    });
    let first = work(report());
    let nothing_known = loaded(Vec::new());
    group.bench_function("decided, the first of its agent", |bencher| bencher.iter(|| first.decide(black_box(&nothing_known)).unwrap()));
    let all_known = loaded(first.decide(&nothing_known).unwrap().changes.states);
    group.bench_function("decided, nothing changed", |bencher| bencher.iter(|| first.decide(black_box(&all_known)).unwrap()));
    group.finish();
}

criterion_group!(group, benches);
criterion_main!(group);
