//! The defects of the first system (see the product notes), one test each, as far as core reaches them.
#![cfg(feature = "conformance")]
#![expect(clippy::unwrap_used, reason = "what fails in a test's helper fails the test")]

use redflag_core::{
    Fleet, MemoryStore,
    agent::{AgentStatus, AgentStatusWord},
    batch::Batch,
    conformance::generate::{
        Rng, agent, at, batch_id, checked, discovered, enrolment, event_id, hostile_offer, offers, report_id, report_of, scope_of, text,
    },
    event::Actor,
    ids::UpdateId,
    names::{PackageKey, Version},
    offer::{Candidate, Offer},
    query::{PageNumber, PageSize, PageStart, Search, Sort, StatusFilter, UpdateFilter, UpdateQuery},
    rejection::RejectionCode,
    report::{ReportAnswer, ReportStatus, Scope},
    store::{EventStore, StateStore},
    version_order, wire,
    words::{AvailabilityKind, IgnoreScope, OutcomeKind, ScanResult, Severity, Status, VersionOrder},
    work::Decision,
};
use std::{sync::Arc, time::Duration};

type Offers = Vec<(PackageKey, Offer)>;

struct Host {
    fleet: Fleet,
    store: Arc<MemoryStore>,
}

impl Host {
    async fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        let fleet = Fleet::shared(Arc::clone(&store) as _);
        fleet.enrol(enrolment(0)).await.unwrap();
        Self { fleet, store }
    }

    async fn report(&self, number: u32, scope: Scope) -> ReportAnswer {
        let report = report_of(report_id(u64::from(number)), u64::from(number), vec![scope]);
        self.fleet.record_report(agent(0), report, at(number)).await.unwrap()
    }

    async fn scan(&self, number: u32, offers: &[(PackageKey, Offer)]) -> ReportAnswer {
        self.report(number, scope_of("apt", at(number), offers, &[])).await
    }

    async fn decide(&self, number: u64, package: &PackageKey, decision: Decision) -> redflag_core::batch::Receipt {
        self.fleet.decide(agent(0), batch_id(number), text("ada"), vec![(package.clone(), decision)], at(50)).await.unwrap()
    }

    fn status(&self, package: &PackageKey) -> Status {
        self.store.states(agent(0)).iter().find(|state| state.package == *package).unwrap().status()
    }

    async fn open(&self) -> u64 {
        self.store.stats(&UpdateFilter::default()).await.unwrap().total
    }
}

fn pool(count: usize) -> Offers {
    checked("apt", &offers(&mut Rng::new(42), "apt", count))
}

fn version(text: &str) -> Version {
    Version::parse(text).unwrap()
}

fn at_version(offer: &Offer, to: &str) -> Offer {
    Offer { candidate: Arc::new(Candidate { version: version(to), ..(*offer.candidate).clone() }), ..offer.clone() }
}

fn approve(package: &PackageKey, offer: &Offer) -> Decision {
    Decision::Approve { offer_digest: offer.digest(package), comment: None }
}

#[tokio::test]
async fn regression_01_one_bad_event_harms_no_other() {
    let host = Host::new().await;
    let mut rng = Rng::new(1);
    let mut events: Vec<_> =
        (1..).zip(offers(&mut rng, "apt", 100)).map(|(number, offer)| discovered(event_id(number), "apt", offer)).collect();
    for place in [0, 50, 99] {
        events[place] = discovered(event_id(1_000 + place as u64), "apt", hostile_offer(&mut rng, "apt"));
    }
    let batch = Batch::new(agent(0), batch_id(1), Actor::Agent, events).unwrap();
    let receipt = host.fleet.submit(batch, at(1)).await.unwrap();
    assert_eq!((receipt.accepted, receipt.rejected, host.open().await), (97, 3, 97));
}

#[tokio::test]
async fn regression_02_every_change_is_an_event_and_state_is_their_fold() {
    let host = Host::new().await;
    let offers = pool(3);
    host.scan(1, &offers).await;
    host.decide(1, &offers[0].0, approve(&offers[0].0, &offers[0].1)).await;
    host.scan(2, &offers[..2]).await;
    let log = host.store.replay(agent(0), 0, 100).await.unwrap();
    let kinds: Vec<_> = log.iter().map(|recorded| recorded.event.kind.as_str()).collect();
    assert_eq!(kinds, ["discovered", "discovered", "discovered", "approved", "withdrawn"]);
    assert_eq!(log[3].actor, Actor::Operator(text("ada")), "the approver's name is kept");
}

#[tokio::test]
async fn regression_03_an_unchanged_scan_writes_no_event() {
    let host = Host::new().await;
    let offers = pool(200);
    host.scan(1, &offers).await;
    for number in 2..30 {
        assert_eq!(host.scan(number, &offers).await.status, ReportStatus::Unchanged);
    }
    let head = host.store.agent(agent(0)).await.unwrap().unwrap();
    assert_eq!((head.events, head.batches), (200, 2));
    assert_eq!(host.store.reports(agent(0), 100).await.unwrap().len(), 1, "an unchanged report leaves no row");
}

#[tokio::test]
async fn regression_04_a_scan_of_the_same_offer_touches_no_decision() {
    let host = Host::new().await;
    let offers = pool(2);
    host.scan(1, &offers).await;
    host.decide(1, &offers[0].0, approve(&offers[0].0, &offers[0].1)).await;
    // Severity and availability may change without asking again.
    let mut rescanned = offers.clone();
    let candidate = Candidate { severity: Severity::Critical, ..(*offers[0].1.candidate).clone() };
    rescanned[0].1.candidate = Arc::new(candidate);
    rescanned[0].1.availability.kind = AvailabilityKind::Held;
    host.scan(2, &offers).await;
    host.scan(3, &rescanned).await;
    assert_eq!(host.status(&offers[0].0), Status::Approved);
}

#[tokio::test]
async fn regression_05_a_later_version_is_a_new_question() {
    let host = Host::new().await;
    let (package, offer) = pool(1).remove(0);
    host.scan(1, &[(package.clone(), offer.clone())]).await;
    let ignore = Decision::Ignore { offer_digest: offer.digest(&package), scope: IgnoreScope::Version, until: None, reason: None };
    host.decide(1, &package, ignore).await;
    host.scan(2, &[(package.clone(), at_version(&offer, "90:1"))]).await;
    assert_eq!(host.status(&package), Status::Pending, "an ignored version says nothing of the next");
    let gone = [(package.clone(), Some(version("90:1")))];
    host.report(3, scope_of("apt", at(3), &[], &gone)).await;
    assert_eq!(host.status(&package), Status::Installed);
    host.scan(4, &[(package.clone(), at_version(&offer, "91:1"))]).await;
    assert_eq!(host.status(&package), Status::Pending, "an installed version says nothing of the next");
}

/// What was installed is told even when something newer is offered by the time the next scan looks.
#[tokio::test]
async fn regression_05_an_installed_version_enters_the_history_when_a_newer_one_is_offered_at_once() {
    let host = Host::new().await;
    let (package, offer) = pool(1).remove(0);
    let second = at_version(&offer, "90:1");
    host.scan(1, &[(package.clone(), second.clone())]).await;
    let third = Offer { installed: Some(version("90:1")), ..at_version(&offer, "91:1") };
    host.scan(2, &[(package.clone(), third.clone())]).await;
    assert_eq!(host.status(&package), Status::Pending);
    let id = UpdateId { agent: agent(0), package: package.clone() };
    let history = host.store.history(&id).await.unwrap();
    assert_eq!(history.iter().map(|change| change.to_version.as_str()).collect::<Vec<_>>(), ["90:1"]);
    let words: Vec<_> = host.store.events(&id).await.unwrap().iter().map(|event| event.event.kind.as_str().to_owned()).collect();
    assert_eq!(words, ["discovered", "installed-observed", "discovered"]);
    let moved = Offer { installed: Some(version("90:1.1")), ..third };
    host.scan(3, &[(package.clone(), moved)]).await;
    assert_eq!(host.store.history(&id).await.unwrap().len(), 1, "another installed version short of the offer is no install of it");
}

#[tokio::test]
async fn regression_06_absence_closes_and_an_implausible_emptiness_waits() {
    let host = Host::new().await;
    let offers = pool(60);
    host.scan(1, &offers).await;
    host.scan(2, &offers[..59]).await;
    assert_eq!(host.open().await, 59, "what is offered no more is closed");
    let answer = host.scan(3, &[]).await;
    assert_eq!((answer.quarantined.len(), host.open().await), (1, 59), "an empty success closes nothing at once");
    host.scan(3, &[]).await;
    assert_eq!(host.open().await, 59, "the same report again is no second scan");
    host.report(4, scope_of("apt", at(3), &[], &[])).await;
    assert_eq!(host.open().await, 59, "the same scan in another report is no second scan");
    let failed = Scope { result: ScanResult::Failed, ..scope_of("apt", at(4), &[], &[]) };
    host.report(5, failed).await;
    assert_eq!(host.open().await, 59, "a failed scan confirms nothing");
    host.scan(6, &[]).await;
    assert_eq!(host.open().await, 0, "the second scan confirms it");
}

#[tokio::test]
async fn regression_07_a_retried_report_has_one_effect_and_a_late_one_none() {
    let host = Host::new().await;
    let offers = pool(20);
    let first = host.scan(5, &offers).await;
    for _ in 0..3 {
        assert_eq!(host.scan(5, &offers).await, first);
    }
    assert_eq!(host.store.replay(agent(0), 0, 100).await.unwrap().len(), 20);
    let late = host.scan(4, &offers[..1]).await;
    assert_eq!((late.status, host.open().await), (ReportStatus::Stale, 20));
}

#[tokio::test]
async fn regression_08_the_agents_clock_orders_nothing() {
    let host = Host::new().await;
    let (package, offer) = pool(1).remove(0);
    for (number, year) in [(1, "2031-01-01T00:00:00Z"), (2, "0001-01-01T00:00:00Z")] {
        let offers = [(package.clone(), at_version(&offer, &format!("{number}-1")))];
        let scope = Scope { scanned_at: year.parse().unwrap(), ..scope_of("apt", at(0), &offers, &[]) };
        host.report(number, scope).await;
    }
    let state = host.store.states(agent(0)).remove(0);
    assert_eq!((state.offer.candidate.version.as_str(), state.changed_at), ("2-1", at(2)), "arrival orders, by the store's clock");
}

#[tokio::test]
async fn regression_09_architectures_are_different_packages() {
    let host = Host::new().await;
    let amd64 = PackageKey::parse("apt", "libc6", Some("amd64")).unwrap();
    let i386 = PackageKey::parse("apt", "libc6", Some("i386")).unwrap();
    let offer = pool(1).remove(0).1;
    host.scan(1, &[(amd64.clone(), offer.clone()), (i386.clone(), at_version(&offer, "2-1"))]).await;
    host.decide(1, &amd64, approve(&amd64, &offer)).await;
    assert_eq!((host.open().await, host.status(&amd64), host.status(&i386)), (2, Status::Approved, Status::Pending));
}

#[tokio::test]
async fn regression_11_every_row_of_equal_rows_appears_on_one_page() {
    let host = Host::new().await;
    let mut offers = pool(3_488);
    let same = offers[0].1.clone();
    offers.iter_mut().for_each(|(_, offer)| offer.clone_from(&same));
    host.scan(1, &offers).await;
    let mut seen = std::collections::HashSet::new();
    let mut rows = 0;
    for number in 1..=8 {
        let start = PageStart::Number(PageNumber::new(number).unwrap());
        let query = UpdateQuery { start, size: PageSize::new(500).unwrap(), ..UpdateQuery::default() };
        let page = host.store.updates(&query).await.unwrap();
        rows += page.items.len();
        seen.extend(page.items.into_iter().map(|row| row.state.package));
    }
    assert_eq!((rows, seen.len()), (3_488, 3_488));
}

#[test]
fn regression_12_unknown_filters_and_pages_are_errors() {
    assert!("done".parse::<StatusFilter>().is_err());
    assert!("high".parse::<Severity>().is_err(), "a filter names our words; sources' words are mapped on the way in");
    assert!("name;--".parse::<Sort>().is_err());
    assert!(PageNumber::new(0).is_err());
    assert!(PageSize::new(0).is_err() && PageSize::new(1_000_000_000).is_err());
    assert!(Search::new("").is_err() && Search::new("a\0").is_err());
}

#[tokio::test]
async fn regression_13_counts_stats_and_list_agree_in_one_answer() {
    let host = Host::new().await;
    host.scan(1, &pool(120)).await;
    for status in ["open", "any", "pending", "installed"] {
        let filter = UpdateFilter { status: status.parse().unwrap(), ..UpdateFilter::default() };
        let query = UpdateQuery { filter: filter.clone(), size: PageSize::new(500).unwrap(), ..UpdateQuery::default() };
        let page = host.store.updates(&query).await.unwrap();
        assert_eq!(page.stats, host.store.stats(&filter).await.unwrap());
        assert_eq!(page.stats.total as usize, page.items.len());
        assert_eq!(page.stats.by_status.values().sum::<u64>(), page.stats.total);
        assert_eq!(page.stats.by_severity.values().sum::<u64>(), page.stats.total);
    }
}

#[tokio::test]
async fn regression_14_approving_the_unknown_is_told_and_writes_nothing() {
    let host = Host::new().await;
    let (package, offer) = pool(1).remove(0);
    let receipt = host.decide(1, &package, approve(&package, &offer)).await;
    let codes: Vec<_> = receipt.rejections().map(|(_, rejection)| rejection.code).collect();
    assert_eq!((codes, receipt.number), (vec![RejectionCode::UnknownPackage], 0));
    assert_eq!(host.store.replay(agent(0), 0, 10).await.unwrap(), []);
}

#[test]
fn regression_18_names_that_mean_something_else_to_a_manager_never_pass() {
    for name in ["wget-", "pkg=1", "-oAPT::Update::Pre-Invoke::=x", "--allow-downgrades", "./x.deb", "; reboot", "$(id)", "a b", "`id`"] {
        assert!(PackageKey::parse("apt", name, None).is_err(), "{name}");
    }
    for name in ["@core", "foo*", "(a or b)", "https://h/x.rpm", "../x.rpm"] {
        assert!(PackageKey::parse("dnf", name, None).is_err(), "{name}");
    }
}

#[tokio::test]
async fn regression_19_severities_and_versions_are_read_not_guessed() {
    let host = Host::new().await;
    let body = br#"{"updates":[
        {"package_type":"dnf","package_name":"critical-security-fix","available_version":"1-1"},
        {"package_type":"dnf","package_name":"tzdata","available_version":"1-1","severity":"Important"},
        {"package_type":"dnf","package_name":"swapped","available_version":"updates (testing)"}]}"#;
    let report = wire::read_compatible_report(agent(0), at(1), body).unwrap();
    let answer = host.fleet.record_report(agent(0), report, at(1)).await.unwrap();
    assert_eq!(answer.outcomes.counts(), (2, 0, 1), "a repository in place of a version does not pass");
    let severities: Vec<_> = host.store.states(agent(0)).iter().map(|state| state.offer.candidate.severity).collect();
    assert_eq!(severities, [Severity::Unknown, Severity::Important], "a name says nothing of severity");
    assert!(version_order::reached(VersionOrder::Rpm, &version("1.10-1"), &version("1.9-1")), "versions are not text");
}

#[tokio::test]
async fn regression_20_a_failed_refresh_is_shown_and_is_not_no_updates() {
    let host = Host::new().await;
    let offers = pool(5);
    host.scan(1, &offers).await;
    let failed = Scope { result: ScanResult::Failed, error: Some(text("could not reach the mirror")), ..scope_of("apt", at(2), &[], &[]) };
    host.report(2, failed).await;
    assert_eq!(host.open().await, 5);
    let head = host.store.agent(agent(0)).await.unwrap().unwrap();
    let status = AgentStatus::of(&head, at(3), Duration::from_secs(600));
    assert_eq!(status.status, AgentStatusWord::Degraded);
    assert_eq!(status.reason, "apt scan failed: could not reach the mirror");
}

#[test]
fn regression_21_words_are_defined_once_and_read_back() {
    macro_rules! reads_back {
        ($($set:ident),+) => {$(for word in $set::ALL {
            assert_eq!(word.as_str().parse::<$set>().unwrap(), *word);
            assert_eq!($set::from_code(word.code()), Some(*word));
            assert_eq!(serde_json::from_str::<$set>(&serde_json::to_string(word).unwrap()).unwrap(), *word);
        })+};
    }
    reads_back!(Status, Severity, AvailabilityKind, ScanResult, VersionOrder, IgnoreScope, OutcomeKind);
    assert!("success".parse::<Status>().is_err() && "updated".parse::<Status>().is_err());
}

#[tokio::test]
async fn regression_22_the_last_scan_stands_in_the_agents_own_row() {
    let host = Host::new().await;
    let head = || async { host.store.agent(agent(0)).await.unwrap().unwrap() };
    assert_eq!(head().await.last_scan_at(), None);
    assert_eq!(AgentStatus::of(&head().await, at(1), Duration::from_secs(9)).status, AgentStatusWord::Unknown, "never reported is unknown");
    let offers = pool(2);
    host.scan(1, &offers).await;
    host.scan(2, &offers).await;
    assert_eq!(head().await.last_scan_at(), Some(at(2)), "an unchanged scan is a scan");
    assert_eq!(AgentStatus::of(&head().await, at(3), Duration::from_secs(9)).status, AgentStatusWord::Online);
    let id = UpdateId { agent: agent(0), package: offers[0].0.clone() };
    assert_eq!(host.store.events(&id).await.unwrap().len(), 1);
}
