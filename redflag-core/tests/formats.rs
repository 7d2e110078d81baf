//! The formats others depend on, as they stand: a change here is a change of what is on the wire or in a database.
#![expect(clippy::unwrap_used, reason = "what fails in a test's helper fails the test")]

use insta::assert_snapshot;
use redflag_core::{
    Fleet, MemoryStore,
    agent::{Enrolment, HostFacts, Virtualisation, VirtualisationKind},
    command::{
        payload::Action,
        record::Terms,
        step::{Request, Step, Wanted},
    },
    event::{Actor, EventKind, Source},
    export::Exporter,
    ids::{AgentId, BatchId, CommandId, Digest, ReportId},
    limits,
    metadata::Metadata,
    names::{PackageKey, Text, Version},
    offer::{Availability, Candidate, Offer, OfferDigest, OfferInput},
    rejection::{Rejection, RejectionCode},
    report::{Fact, FactOutcome, FactOutcomes, Report, ReportAnswer, ReportStatus, Scope, ScopeContent, scope_digest},
    retention::RetentionWindow,
    state::{Approval, Dispatch, Ignore, PackageState, Standing},
    store::Expected,
    time::Timestamp,
    wire::{GoneInput, ReportAnswerBody, ReportBody, ScopeBody, read_report},
    words::{AvailabilityKind, IgnoreScope, ScanResult, Severity, VersionOrder, WithdrawalReason},
    work::Decision,
};
use std::{sync::Arc, time::Duration};

/// As `serde_json` writes it: a snapshot by another serialiser would show what no wire carries.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap()
}

fn text(text: &str) -> Text {
    Text::parse(text).unwrap()
}

fn time() -> Timestamp {
    "2026-11-23T10:00:00.5Z".parse().unwrap()
}

fn command() -> CommandId {
    "00000000-0000-4000-8000-00000000000c".parse().unwrap()
}

fn report() -> ReportId {
    "00000000-0000-4000-8000-000000000001".parse().unwrap()
}

fn digest() -> OfferDigest {
    OfferDigest(Digest::from_bytes([0xab; 32]))
}

fn package() -> PackageKey {
    PackageKey::parse("apt", "bash", Some("amd64")).unwrap()
}

fn offer() -> Offer {
    let candidate = Candidate {
        origin: Some(text("bookworm-security")),
        severity: Severity::Important,
        severity_word: Some(text("high")),
        security: true,
        advisories: vec![text("DSA-1-1")],
        cves: vec![text("CVE-2026-1000")],
        size_bytes: Some(1_024),
        description: Some(text("GNU Bourne Again SHell")),
        metadata: Some(Metadata::parse(r#"{"section":"shells"}"#).unwrap()),
        ..Candidate::new(Version::parse("5.2-2").unwrap())
    };
    let availability = Availability::because(AvailabilityKind::Held, text("apt-mark hold"));
    Offer { installed: Some(Version::parse("5.2-1").unwrap()), candidate: Arc::new(candidate), availability }
}

fn body() -> ReportBody {
    let apt = ScopeBody {
        package_type: "apt".parse().unwrap(),
        version_order: VersionOrder::Dpkg,
        result: ScanResult::Complete,
        error: None,
        scanned_at: time(),
        metadata_at: Some(time()),
        refresh_error: None,
        digest: None,
        offers: Some(vec![OfferInput::from_offer(&package(), &offer())]),
        gone: Some(vec![GoneInput { package_name: "curl".into(), arch: None, installed_version: Some("8-1".into()) }]),
    };
    let docker = ScopeBody {
        package_type: "docker".parse().unwrap(),
        version_order: VersionOrder::None,
        result: ScanResult::Failed,
        error: Some(text("no daemon")),
        offers: None,
        gone: None,
        ..apt.clone()
    };
    let host = HostFacts {
        hostname: Some(text("web1")),
        os: Some(text("Debian GNU/Linux 12 (bookworm)")),
        kernel: Some(text("6.1.0-41-amd64")),
        arch: Some(text("x86_64")),
        agent_version: Some(text("0.1.0")),
        virtualisation: Some(Virtualisation { kind: VirtualisationKind::VirtualMachine, technology: Some(text("kvm")) }),
        booted_at: Some("2026-11-01T04:00:00Z".parse().unwrap()),
        reboot_reasons: Some(vec![text("libc6 was updated")]),
        services_to_restart: Some(vec![text("cron.service")]),
        machine_digest: Some(Digest::from_bytes([0xcd; 32])),
    };
    ReportBody { schema: 1, report_id: report(), sequence: 7, sent_at: time(), host, scopes: vec![apt, docker] }
}

#[test]
fn a_report() {
    assert!(read_report(&serde_json::to_vec(&body()).unwrap()).is_ok());
    assert_snapshot!(json(&body()));
}

#[test]
fn what_an_agent_says_of_its_host_reads_back_up_to_its_limits() {
    let of = |reasons: usize, services: usize| HostFacts {
        reboot_reasons: Some(vec![text("because"); reasons]),
        services_to_restart: Some(vec![text("cron.service"); services]),
        ..body().host
    };
    let read = |host: HostFacts| read_report(&serde_json::to_vec(&ReportBody { host, ..body() }).unwrap()).map(|report| report.host);
    let fullest = of(limits::REBOOT_REASONS_MAX, limits::SERVICES_MAX);
    assert_eq!(read(fullest.clone()).unwrap(), fullest);
    assert_eq!(read(of(0, 0)).unwrap(), of(0, 0), "nothing to do is not the same as nothing known");
    assert_eq!(read(HostFacts::default()).unwrap(), HostFacts::default());
    for over in [of(limits::REBOOT_REASONS_MAX + 1, 0), of(0, limits::SERVICES_MAX + 1)] {
        assert!(read(over).unwrap_err().message.contains("more than the limit"));
    }
}

#[test]
fn the_answer_to_a_report() {
    let mut outcomes = FactOutcomes::default();
    outcomes.push(FactOutcome::Recorded);
    outcomes.push(FactOutcome::Unchanged);
    outcomes.push(FactOutcome::Rejected(Rejection::new(RejectionCode::Empty, "package_name", "must not be empty")));
    let answer = ReportAnswer {
        report_id: report(),
        status: ReportStatus::Recorded,
        full_required: vec!["dnf".parse().unwrap()],
        quarantined: Vec::new(),
        batches: 1,
        events: 1,
        outcomes,
    };
    assert_snapshot!("the_answer_on_the_wire", json(&ReportAnswerBody::from(&answer)));
    assert_snapshot!("the_answer_as_stored", json(&answer));
}

#[test]
fn event_kinds() {
    let command = "00000000-0000-4000-8000-00000000000c".parse().unwrap();
    let (reason, version) = (text("disk full"), Version::parse("5.2-1").unwrap());
    let kinds = [
        EventKind::Discovered { offer: offer() },
        EventKind::Revised { offer: offer() },
        EventKind::Withdrawn { reason: WithdrawalReason::NoLongerOffered },
        EventKind::InstalledObserved { version: version.clone() },
        EventKind::Approved { offer_digest: digest(), comment: Some(text("go")) },
        EventKind::ApprovalWithdrawn { comment: None },
        EventKind::Ignored { offer_digest: digest(), scope: IgnoreScope::Package, until: Some(time()), reason: None },
        EventKind::Reopened { comment: None },
        EventKind::ReviewRequested { reason: reason.clone() },
        EventKind::InstallQueued { command },
        EventKind::InstallStarted { command },
        EventKind::InstallSucceeded { command },
        EventKind::InstallFailed { command, reason: reason.clone() },
        EventKind::InstallExpired { command },
        EventKind::RolledBack { command, version, reason },
    ];
    for kind in &kinds {
        assert_eq!(EventKind::from_json(&kind.to_json()), *kind);
    }
    assert_snapshot!(json(&kinds));
}

#[test]
fn the_detail_of_states() {
    let approval = Approval { offer_digest: digest(), actor: Actor::Operator(text("ada")), at: time(), comment: None };
    let command = "00000000-0000-4000-8000-00000000000c".parse().unwrap();
    let dispatch = Box::new(Dispatch { command, approval: approval.clone() });
    let approval = Box::new(approval);
    let ignore =
        Ignore { scope: IgnoreScope::Package, until: Some(time()), actor: Actor::System(text("policy")), at: time(), reason: None };
    let ignore = Box::new(ignore);
    let standings = [
        Standing::Pending,
        Standing::Approved(approval.clone()),
        Standing::Ignored(ignore.clone()),
        Standing::NeedsReview { approval, reason: text("removes nano") },
        Standing::Queued(dispatch.clone()),
        Standing::Installing(dispatch.clone()),
        Standing::Installed { version: Version::parse("5.2-2").unwrap(), command: Some(dispatch.command) },
        Standing::Failed { dispatch: dispatch.clone(), reason: text("disk full") },
        Standing::RolledBack { command: dispatch.command, version: Version::parse("5.2-1").unwrap(), reason: text("health check") },
        Standing::Withdrawn { reason: WithdrawalReason::PackageRemoved },
    ];
    let details = standings.map(|standing| {
        let package_ignore = (standing == Standing::Pending).then(|| ignore.clone());
        let state = PackageState {
            package: package(),
            offer: offer(),
            standing,
            package_ignore,
            revision: 1,
            discovered_at: time(),
            changed_at: time(),
        };
        let json = state.detail_json().unwrap();
        assert_eq!(PackageState::read_detail_json(Some(&json)).unwrap(), (state.standing, state.package_ignore));
        json
    });
    assert_snapshot!(details.join("\n"));
}

#[test]
fn digests_and_ids_that_both_sides_compute() {
    let agent = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3".parse().unwrap();
    let parts = [
        format!("offer {}", offer().digest(&package())),
        format!("scope {}", scope_digest(&"apt".parse().unwrap(), [(&package(), &offer())])),
        format!("empty scope {}", scope_digest(&"apt".parse().unwrap(), [])),
        format!("event of report {}", redflag_core::ids::EventId::of_report(agent, report(), 0)),
        format!("batch of report {}", BatchId::of_report(agent, report(), 0)),
        format!("update {}", redflag_core::ids::UpdateId { agent, package: package() }),
    ];
    assert_snapshot!(parts.join("\n"));
}

#[test]
fn actors_and_sources() {
    assert_snapshot!(json(&(
        [Actor::Agent, Actor::Operator(text("ada")), Actor::System(text("retention"))],
        [Source::Report { report_id: report() }, Source::Decision, Source::Submitted, Source::Command { command: command() }],
    )));
}

/// Every kind of line, of a fleet with an agent that reported, was decided about and pruned, and one that was removed.
#[test]
fn the_lines_of_an_export() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_snapshot!(runtime.block_on(exported()));
}

async fn exported() -> String {
    let fleet = Fleet::new(MemoryStore::new());
    let [kept, gone] = [1, 2].map(|number| AgentId::from_uuid(uuid::Uuid::from_u128(number)).unwrap());
    for (agent, name) in [(kept, "web-1"), (gone, "web-2")] {
        let enrolment = Enrolment { agent, name: text(name), public_key: [7; 32], tags: vec![text("rack-3")], enrolled_at: time() };
        fleet.enrol(enrolment).await.unwrap();
    }
    let scope = |offers: &[(PackageKey, Offer)]| Scope {
        manager: "apt".parse().unwrap(),
        version_order: VersionOrder::Dpkg,
        result: ScanResult::Complete,
        error: None,
        scanned_at: time(),
        metadata_at: Some(time()),
        refresh_error: None,
        content: ScopeContent::Facts {
            offers: offers.iter().map(|(package, offer)| Fact::Valid(package.clone(), offer.clone())).collect(),
            gone: Vec::new(),
        },
    };
    let report = |number: u128, sequence: u64, offers: &[(PackageKey, Offer)]| Report {
        report_id: ReportId::from_uuid(uuid::Uuid::from_u128(number)).unwrap(),
        digest: Digest::from_bytes([number as u8; 32]),
        sequence: Some(sequence),
        host: HostFacts { hostname: Some(text("web")), ..HostFacts::default() },
        scopes: vec![scope(offers)],
    };
    let day = |number: u64| time().saturating_add(Duration::from_secs(number * 86_400));
    let offers = [(package(), offer())];
    fleet.record_report(kept, report(11, 1, &offers), day(0)).await.unwrap();
    fleet.record_report(gone, report(12, 1, &offers), day(0)).await.unwrap();
    fleet.remove_agent(gone, Actor::Operator(text("ada")), Some(text("scrapped")), day(1)).await.unwrap();
    fleet.prune(kept, RetentionWindow::days(30).unwrap(), day(31)).await.unwrap();
    let decision = Decision::Approve { offer_digest: offer().digest(&package()), comment: Some(text("go")) };
    let batch = BatchId::from_uuid(uuid::Uuid::from_u128(21)).unwrap();
    fleet.decide(kept, batch, text("ada"), vec![(package(), decision)], day(32)).await.unwrap();
    fleet.record_report(kept, report(13, 2, &[]), day(33)).await.unwrap();
    let wanted = Wanted::Host(Action::Rescan);
    let request = Request { command: command(), by: Actor::Operator(text("ada")), wanted, terms: Terms::default() };
    fleet.command(kept, Step::Request(request), day(34)).await.unwrap();
    fleet.store().put("settings", "colour", "green", Expected::Absent).await.unwrap();
    let (mut exporter, mut lines) = (Exporter::new(&fleet), Vec::new());
    while let Some(line) = exporter.next_line().await.unwrap() {
        lines.push(line);
    }
    lines.join("\n")
}
