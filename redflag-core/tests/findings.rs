//! Defects found in core, each with the input that showed it.
#![expect(clippy::unwrap_used, reason = "what fails in a test's helper fails the test")]

use redflag_core::{
    Fleet, MemoryStore,
    agent::{Enrolment, HostFacts},
    event::{ChangeInput, EventInput, EventKind},
    limits,
    metadata::Metadata,
    names::{Text, Version},
    offer::{Candidate, Offer, OfferInput},
    query::{PageSize, Sort, SortKey, UpdateQuery},
    rejection::RejectionCode,
    report::{Fact, FactOutcome, Report, ReportStatus, ScopeContent},
    store::StateStore,
    time::Timestamp,
    wire,
};
use serde_json::json;
use std::sync::Arc;

fn agent() -> redflag_core::ids::AgentId {
    "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3".parse().unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000).unwrap()
}

async fn fleet(name: &str) -> (Fleet, Arc<MemoryStore>) {
    let store = Arc::new(MemoryStore::new());
    let fleet = Fleet::shared(Arc::clone(&store) as _);
    let name = Text::parse(name).unwrap();
    fleet.enrol(Enrolment { agent: agent(), name, public_key: [1; 32], tags: Vec::new(), enrolled_at: at(0) }).await.unwrap();
    (fleet, store)
}

fn body(number: u32, sequence: u64, offers: &[serde_json::Value], gone: &[serde_json::Value]) -> Vec<u8> {
    let report = json!({
        "schema": 1,
        "report_id": format!("00000000-0000-4000-8000-{number:012}"),
        "sequence": sequence,
        "sent_at": "2026-11-23T10:00:00Z",
        "host": {"hostname": "web1"},
        "scopes": [{
            "package_type": "apt", "version_order": "dpkg", "result": "complete", "scanned_at": "2026-11-23T10:00:00Z",
            "offers": offers, "gone": gone,
        }],
    });
    serde_json::to_vec(&report).unwrap()
}

fn offer(name: &str) -> serde_json::Value {
    json!({"package_name": name, "current_version": "1-1", "available_version": "2-1"})
}

/// Found by power cuts of SQLite: the retry of a report that changes nothing and has no number took the next number each time, so that
/// a report of that number, sent meanwhile, came too late.
#[tokio::test]
async fn an_unnumbered_report_that_changes_nothing_keeps_its_number_when_it_is_sent_again() {
    let (fleet, store) = fleet("web1").await;
    let report = |number, sequence, name| wire::read_report(&body(number, sequence, &[offer(name)], &[])).unwrap();
    fleet.record_report(agent(), report(1, 1, "bash"), at(1)).await.unwrap();
    let unnumbered = Report { sequence: None, ..report(2, 9, "bash") };
    for _ in 0..3 {
        let answer = fleet.record_report(agent(), unnumbered.clone(), at(2)).await.unwrap();
        assert_eq!(answer.status, ReportStatus::Unchanged);
        assert_eq!(store.agent(agent()).await.unwrap().unwrap().last_report.unwrap().sequence, 2);
    }
    let next = fleet.record_report(agent(), report(3, 3, "curl"), at(3)).await.unwrap();
    assert_eq!(next.status, ReportStatus::Recorded);
}

#[test]
fn messages_of_rejections_hold_no_control_characters_and_are_bounded() {
    let nul = format!(r#"{{"package_name":"a1","available_version":"2","x\u0000{}":1}}"#, "y".repeat(100_000));
    let number: serde_json::Value = serde_json::from_str(&nul).unwrap();
    let bytes = body(1, 1, &[number, json!({"package_name": "a1", "available_version": "2", "severity": [1]})], &[]);
    let report = wire::read_report(&bytes).unwrap();
    let ScopeContent::Facts { offers, .. } = &report.scopes[0].content else { panic!("facts") };
    for fact in offers {
        let Fact::Invalid { rejection, excerpt, .. } = fact else { panic!("{fact:?}") };
        for text in [&rejection.message, excerpt] {
            assert!(!text.chars().any(char::is_control), "{text:?}");
            assert!(text.len() <= 4 * limits::TEXT_BYTES_MAX, "{} bytes", text.len());
        }
    }
}

#[test]
fn offers_with_metadata_read_back_from_the_log() {
    let candidate = Candidate {
        metadata: Some(Metadata::parse(r#"{"a":[1,0.5,null],"b":{}}"#).unwrap()),
        ..Candidate::new(Version::parse("2").unwrap())
    };
    let offer = Offer { installed: None, candidate: Arc::new(candidate), availability: redflag_core::offer::Availability::INSTALLABLE };
    for kind in [EventKind::Discovered { offer: offer.clone() }, EventKind::Revised { offer }] {
        assert_eq!(EventKind::from_json(&kind.to_json()), kind);
    }
}

#[test]
fn submitted_events_with_metadata_can_be_read_from_json() {
    let json = r#"{"event_id":"00000000-0000-4000-8000-000000000001","package_type":"apt",
        "change":{"kind":"discovered","package_name":"bash","available_version":"2-1","metadata":{"a":1,"a":2}}}"#;
    let input: EventInput = serde_json::from_str(json).unwrap();
    let ChangeInput::Discovered(offer) = &input.change else { panic!("{input:?}") };
    assert_eq!(offer.metadata.as_ref().unwrap().get(), r#"{"a":1,"a":2}"#, "the raw text is kept, so that nothing hides in it");
    assert_eq!(redflag_core::event::validate(&input).unwrap_err().code, RejectionCode::DuplicateField);
    let again: EventInput = serde_json::from_str(&serde_json::to_string(&input).unwrap()).unwrap();
    assert_eq!(serde_json::to_string(&again).unwrap(), serde_json::to_string(&input).unwrap());
    for bad in [
        json.replace("\"kind\":\"discovered\",", ""),
        json.replace("discovered", "teleported"),
        json.replace("\"package_name\"", "\"surprise\":1,\"package_name\""),
        json.replace("\"kind\":\"discovered\",", "\"kind\":\"discovered\",\"kind\":\"revised\","),
    ] {
        assert!(serde_json::from_str::<EventInput>(&bad).is_err(), "{bad}");
    }
}

#[tokio::test]
async fn contradicting_gone_entries_close_nothing() {
    let (fleet, store) = fleet("web1").await;
    let first = wire::read_report(&body(1, 1, &[offer("bash"), offer("curl")], &[])).unwrap();
    fleet.record_report(agent(), first, at(1)).await.unwrap();
    let gone = [
        json!({"package_name": "bash", "installed_version": "2-1"}),
        json!({"package_name": "bash"}),
        json!({"package_name": "curl", "installed_version": "2-1"}),
        json!({"package_name": "curl", "installed_version": "2-1"}),
    ];
    let second = wire::read_report(&body(2, 2, &[], &gone)).unwrap();
    let answer = fleet.record_report(agent(), second, at(2)).await.unwrap();
    let rejected: Vec<_> = answer.outcomes.iter().map(|outcome| matches!(outcome, FactOutcome::Rejected(_))).collect();
    assert_eq!(rejected, [false, true, false, false]);
    let statuses: Vec<_> = store.states(agent()).iter().map(|state| state.status().as_str()).collect();
    assert_eq!(statuses, ["pending", "installed"]);
}

#[tokio::test]
async fn a_report_that_says_nothing_of_its_host_changes_nothing_of_it() {
    let (fleet, store) = fleet("web1").await;
    fleet.record_report(agent(), wire::read_report(&body(1, 1, &[offer("bash")], &[])).unwrap(), at(1)).await.unwrap();
    let compatible = br#"{"updates":[{"package_type":"apt","package_name":"curl","available_version":"2-1"}]}"#;
    let report = wire::read_compatible_report(agent(), at(2), compatible).unwrap();
    fleet.record_report(agent(), report, at(2)).await.unwrap();
    let host = store.agent(agent()).await.unwrap().unwrap().host;
    assert_eq!(host, HostFacts { hostname: Some(Text::parse("web1").unwrap()), ..HostFacts::default() });
}

#[tokio::test]
async fn sequences_stay_within_63_bits() {
    let (fleet, store) = fleet("web1").await;
    let last = wire::read_report(&body(1, i64::MAX as u64, &[offer("bash")], &[])).unwrap();
    fleet.record_report(agent(), last, at(1)).await.unwrap();
    let compatible = br#"{"updates":[{"package_type":"apt","package_name":"curl","available_version":"2-1"}]}"#;
    let report = wire::read_compatible_report(agent(), at(2), compatible).unwrap();
    let answer = fleet.record_report(agent(), report, at(2)).await.unwrap();
    assert_eq!(answer.status, ReportStatus::Recorded);
    let sequence = store.agent(agent()).await.unwrap().unwrap().last_report.unwrap().sequence;
    assert!(i64::try_from(sequence).is_ok(), "{sequence}");
}

#[tokio::test]
async fn the_longest_cursor_is_accepted_back() {
    let (fleet, store) = fleet(&"\u{1}".repeat(limits::TEXT_BYTES_MAX)).await;
    let longest = |tail: &str| format!("{}{tail}", "\"".repeat(limits::PACKAGE_NAME_BYTES_MAX - 1));
    let event = |(number, tail): (u32, &str)| EventInput {
        event_id: format!("00000000-0000-4000-8000-{number:012}").parse().unwrap(),
        package_type: "m".repeat(limits::MANAGER_BYTES_MAX),
        change: ChangeInput::Discovered(OfferInput {
            package_name: longest(tail),
            arch: Some("a".repeat(limits::ARCH_BYTES_MAX)),
            available_version: "1".to_owned(),
            ..OfferInput::default()
        }),
        observed_at: None,
    };
    let id = "00000000-0000-4000-8000-000000000009".parse().unwrap();
    let events = (1..).zip(["a", "b"]).map(event).collect();
    let batch = redflag_core::batch::Batch::new(agent(), id, redflag_core::event::Actor::Agent, events).unwrap();
    assert_eq!(fleet.submit(batch, at(1)).await.unwrap().accepted, 2);
    let sort = Sort { key: SortKey::Agent, reverse: false };
    let page = store.updates(&UpdateQuery { sort, size: PageSize::new(1).unwrap(), ..UpdateQuery::default() }).await.unwrap();
    let next = page.next.unwrap();
    assert_eq!(next.as_str().parse::<redflag_core::query::Cursor>().unwrap(), next);
}
