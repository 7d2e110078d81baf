//! What was wrong with the first system, one test a line; numbers are those of the list in `docs`.

use crate::support::{Harness, Session, TestAgent, offer, report, scope};
use axum::http::{Method, StatusCode};
use redflag_core::words::{AvailabilityKind, Severity, Status};
use redflag_server::Role;
use serde_json::{Value, json};

async fn fleet() -> (Harness, Session, TestAgent) {
    let harness = Harness::new();
    let session = harness.operator(Role::Admin).await;
    let agent = harness.agent("host").await;
    (harness, session, agent)
}

fn bash(version: &str) -> Value {
    offer("bash", "5.1-1", version, "important")
}

async fn approve(harness: &Harness, session: &Session, update: &Value) {
    let path = format!("/api/v1/updates/{}/approve", update["id"].as_str().unwrap());
    let answer = harness.post(session, &path, &json!({"offer_digest": update["offer_digest"]})).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
}

/// One bad event lost the whole report, and every retry of it. Here 500 of 3,772 facts are hostile, each in its own way.
#[tokio::test]
async fn regression_01_hostile_facts_are_rejected_alone_and_shown_with_code_and_index() {
    let (harness, session, agent) = fleet().await;
    let hostile = |at: usize| match at % 8 {
        0 => offer(&format!("-oAPT::x{at}"), "1-1", "1-2", "low"),
        1 => offer(&format!("nul{at}\u{0}"), "1-1", "1-2", "low"),
        2 => offer(&format!("оpenssl{at}"), "1-1", "1-2", "low"),
        3 => offer(&"x".repeat(300), "1-1", &format!("1-{at}"), "low"),
        4 => offer(&format!("version{at}"), "1-1", "-1", "low"),
        5 => json!({"package_name": format!("extra{at}"), "available_version": "1-2", "is_admin": true}),
        6 => json!(["not", "an", "object", at]),
        _ => json!({"package_name": format!("missing{at}")}),
    };
    let mut bad = 0;
    let facts: Vec<Value> = (0..3_772)
        .map(|at| {
            if at % 7 == 3 && bad < 500 {
                bad += 1;
                hostile(bad)
            } else {
                offer(&format!("good{at}"), "1-1", "1-2", "low")
            }
        })
        .collect();
    assert_eq!(bad, 500);
    let answer = harness.report(&agent, &report(1, &[scope("dnf", &facts)])).await.json();
    assert_eq!((&answer["recorded"], &answer["rejected"]), (&json!(3_272), &json!(500)));
    let outcomes = answer["outcomes"].as_array().unwrap();
    assert_eq!((outcomes.len(), &outcomes[3]["outcome"], &outcomes[4]["outcome"]), (3_772, &json!("rejected"), &json!("recorded")));
    assert_eq!(harness.get(&session, "/api/v1/updates").await.json()["total"], 3_272);

    let (mut rejections, mut page) = (0, 1);
    loop {
        let list = harness.get(&session, &format!("/api/v1/batches?agent_id={}&with_rejections=true&page={page}", agent.id)).await.json();
        let batches = list["batches"].as_array().unwrap();
        if batches.is_empty() {
            break;
        }
        for batch in batches {
            let path = format!("/api/v1/batches/{}/{}", agent.id, batch["batch_id"].as_str().unwrap());
            let detail = harness.get(&session, &path).await.json();
            let outcomes = detail["outcomes"].as_array().unwrap();
            assert_eq!(outcomes.len() as u64, batch["submitted"].as_u64().unwrap());
            for rejection in detail["rejections"].as_array().unwrap() {
                let index = usize::try_from(rejection["index"].as_u64().unwrap()).unwrap();
                assert_eq!((&outcomes[index]["outcome"], &outcomes[index]["code"]), (&json!("rejected"), &rejection["code"]));
                assert!(!rejection["message"].as_str().unwrap().is_empty() && !rejection["field"].as_str().unwrap().is_empty());
                rejections += 1;
            }
        }
        page += 1;
    }
    assert_eq!(rejections, 500);
    let status = harness.get(&session, &format!("/api/v1/agents/{}", agent.id)).await.json();
    assert_eq!(status["status"], "degraded", "facts whose package cannot be read make the scan partial, visibly");
}

/// Only discoveries were events; approvals were updates in place.
#[tokio::test]
async fn regression_02_everything_that_happens_to_an_update_is_an_event_with_its_actor() {
    let (harness, session, agent) = fleet().await;
    harness.reported(&agent, 1, "dnf", &[bash("5.1-2")]).await;
    let update = harness.only(&session, "/api/v1/updates").await;
    approve(&harness, &session, &update).await;
    harness.reported(&agent, 2, "dnf", &[bash("5.1-3")]).await;
    harness.reported(&agent, 3, "dnf", &[]).await;
    let path = format!("/api/v1/updates/{}/events", update["id"].as_str().unwrap());
    let events = harness.get(&session, &path).await.json();
    let told = |event: &Value| format!("{} by {}", event["change"]["kind"].as_str().unwrap(), event["actor"].as_str().unwrap());
    let story: Vec<_> = events.as_array().unwrap().iter().map(told).collect();
    assert_eq!(story, ["discovered by agent", "approved by operator Ada", "revised by agent", "withdrawn by agent"]);
    let revisions: Vec<_> = events.as_array().unwrap().iter().map(|event| event["revision"].as_u64().unwrap()).collect();
    assert_eq!(revisions, [1, 2, 3, 4]);
}

/// Every scan logged every pending package again.
#[tokio::test]
async fn regression_03_an_unchanged_scan_adds_no_event() {
    let (harness, session, agent) = fleet().await;
    let offers = [bash("5.1-2"), offer("curl", "8-1", "8-2", "low")];
    for sequence in 1..=5 {
        let answer = harness.reported(&agent, sequence, "dnf", &offers).await;
        assert_eq!(answer["events"], if sequence == 1 { 2 } else { 0 });
    }
    let head = harness.get(&session, &format!("/api/v1/agents/{}", agent.id)).await.json();
    assert_eq!((&head["events"], &head["batches"]), (&json!(2), &json!(1)));
}

/// An unchanged scan reset approved packages to pending.
#[tokio::test]
async fn regression_04_a_scan_leaves_decisions_alone() {
    let (harness, session, agent) = fleet().await;
    harness.reported(&agent, 1, "dnf", &[bash("5.1-2")]).await;
    approve(&harness, &session, &harness.only(&session, "/api/v1/updates").await).await;
    harness.reported(&agent, 2, "dnf", &[bash("5.1-2")]).await;
    assert_eq!(harness.only(&session, "/api/v1/updates").await["status"], "approved");
}

/// A package once installed or ignored stayed so for every later version.
#[tokio::test]
async fn regression_05_a_newer_version_asks_again_after_install_and_after_ignore() {
    let (harness, session, agent) = fleet().await;
    harness.reported(&agent, 1, "dnf", &[bash("5.1-2")]).await;
    let update = harness.only(&session, "/api/v1/updates").await;
    let id = update["id"].as_str().unwrap();
    harness.post(&session, &format!("/api/v1/updates/{id}/ignore"), &json!({"offer_digest": update["offer_digest"]})).await;
    assert_eq!(harness.only(&session, "/api/v1/updates").await["status"], "ignored");
    harness.reported(&agent, 2, "dnf", &[bash("5.1-3")]).await;
    assert_eq!(harness.only(&session, "/api/v1/updates").await["status"], "pending");

    let mut installed = scope("dnf", &[]);
    installed["gone"] = json!([{"package_name": "bash", "arch": "x86_64", "installed_version": "5.1-3"}]);
    assert_eq!(harness.report(&agent, &report(3, &[installed])).await.status, StatusCode::OK);
    assert_eq!(harness.only(&session, "/api/v1/updates?status=any").await["status"], "installed");
    let history = harness.get(&session, &format!("/api/v1/updates/{id}/history")).await.json();
    assert_eq!(
        (&history[0]["from_version"], &history[0]["to_version"], &history[0]["outcome"]),
        (&json!("5.1-1"), &json!("5.1-3"), &json!("installed"))
    );
    harness.reported(&agent, 4, "dnf", &[offer("bash", "5.1-3", "5.1-4", "low")]).await;
    assert_eq!(harness.only(&session, "/api/v1/updates").await["status"], "pending");
}

/// What was no longer offered was never closed; later, an empty "successful" scan closed everything.
#[tokio::test]
async fn regression_06_absence_closes_after_a_complete_scan_only() {
    let (harness, session, agent) = fleet().await;
    let total = async || harness.get(&session, "/api/v1/updates").await.json()["total"].as_u64().unwrap();
    let offers: Vec<_> = (0..60).map(|at| offer(&format!("p{at}"), "1-1", "1-2", "low")).collect();
    harness.reported(&agent, 1, "dnf", &offers).await;
    for (sequence, result) in [(2, "failed"), (3, "partial")] {
        let mut broken = scope("dnf", &[]);
        broken["result"] = json!(result);
        broken["error"] = json!("the lock is held");
        if result == "failed" {
            let fields = broken.as_object_mut().unwrap();
            fields.remove("offers");
            fields.remove("gone");
        }
        let answer = harness.report(&agent, &report(sequence, &[broken])).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        assert_eq!(total().await, 60, "a {result} scan closes nothing");
    }
    let empty = harness.reported(&agent, 4, "dnf", &[]).await;
    assert_eq!((&empty["quarantined"], total().await), (&json!(["dnf"]), 60), "a sudden emptiness waits for a second scan");
    harness.reported(&agent, 5, "dnf", &offers[..10]).await;
    assert_eq!(total().await, 10, "a complete scan closes what it does not offer");
}

/// A retried report tripled the events; a late, older one overwrote newer state.
#[tokio::test]
async fn regression_07_a_retry_gets_the_same_answer_and_a_late_report_overwrites_nothing() {
    let (harness, session, agent) = fleet().await;
    let older = report(1, &[scope("dnf", &[bash("5.1-2")])]);
    let newer = report(2, &[scope("dnf", &[bash("5.1-3")])]);
    let first = harness.report(&agent, &newer).await;
    for _ in 0..3 {
        assert_eq!(harness.report(&agent, &newer).await.bytes, first.bytes);
    }
    assert_eq!(harness.report(&agent, &older).await.json()["status"], "stale");
    let update = harness.only(&session, "/api/v1/updates").await;
    assert_eq!(update["available_version"], "5.1-3");
    assert_eq!(harness.get(&session, &format!("/api/v1/agents/{}", agent.id)).await.json()["events"], 1);
    let mut other = newer.clone();
    other["host"]["hostname"] = json!("other");
    assert_eq!(harness.report(&agent, &other).await.problem(), (409, "report_id_reused".to_owned()));
}

/// The agent's clock was trusted and decided the order.
#[tokio::test]
async fn regression_08_the_agents_clock_is_data_and_decides_nothing() {
    let (harness, session, agent) = fleet().await;
    for (sequence, clock, version) in [(1, "2031-01-01T00:00:00Z", "5.1-2"), (2, "0001-01-01T00:00:00Z", "5.1-3")] {
        let mut scope = scope("dnf", &[bash(version)]);
        scope["scanned_at"] = json!(clock);
        let mut report = report(sequence, &[scope]);
        report["sent_at"] = json!(clock);
        assert_eq!(harness.report(&agent, &report).await.status, StatusCode::OK);
    }
    assert_eq!(harness.only(&session, "/api/v1/updates").await["available_version"], "5.1-3");
    let head = harness.get(&session, &format!("/api/v1/agents/{}", agent.id)).await.json();
    assert_eq!((&head["status"], &head["scopes"]["dnf"]["scanned_at"]), (&json!("online"), &json!("0001-01-01T00:00:00Z")));
    assert!(head["last_scan_at"].as_str().unwrap() > "2026", "by the server's clock: {head}");
}

/// Architecture was not part of a package's identity.
#[tokio::test]
async fn regression_09_architectures_of_one_package_are_two_updates() {
    let (harness, session, agent) = fleet().await;
    let mut other = bash("5.1-2");
    other["arch"] = json!("i686");
    harness.reported(&agent, 1, "dnf", &[bash("5.1-2"), other]).await;
    let list = harness.get(&session, "/api/v1/updates?sort=name").await.json();
    assert_eq!((&list["total"], &list["updates"][0]["arch"], &list["updates"][1]["arch"]), (&json!(2), &json!("i686"), &json!("x86_64")));
}

/// Approve answered 200 for unknown ids, and the approver's name was dropped.
#[tokio::test]
async fn regression_14_an_approval_of_nothing_is_404_and_the_approver_is_kept() {
    let (harness, session, agent) = fleet().await;
    harness.reported(&agent, 1, "dnf", &[bash("5.1-2")]).await;
    let update = harness.only(&session, "/api/v1/updates").await;
    let key = |name: &str| redflag_core::names::PackageKey::parse("dnf", name, Some("x86_64")).unwrap();
    let unknown = redflag_core::ids::UpdateId { agent: agent.id, package: key("nothing") };
    let elsewhere = redflag_core::ids::UpdateId { agent: TestAgent::new().id, package: key("bash") };
    for id in [unknown.to_string(), elsewhere.to_string(), "x".to_owned()] {
        let answer =
            harness.post(&session, &format!("/api/v1/updates/{id}/approve"), &json!({"offer_digest": update["offer_digest"]})).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{id}: {}", answer.text());
    }
    approve(&harness, &session, &update).await;
    let detail = harness.get(&session, &format!("/api/v1/updates/{}", update["id"].as_str().unwrap())).await.json();
    assert_eq!(detail["standing"]["actor"]["name"], "Ada", "{detail}");
}

/// Package names went to `apt-get install` unchecked.
#[tokio::test]
async fn regression_18_a_name_that_a_package_manager_takes_for_something_else_is_rejected() {
    let (harness, _, agent) = fleet().await;
    for (manager, name) in [
        ("apt", "-oAPT::Update::Pre-Invoke::=x"),
        ("apt", "--allow-downgrades"),
        ("apt", "wget-"),
        ("apt", "pkg=1"),
        ("apt", "./x.deb"),
        ("apt", "a; reboot"),
        ("dnf", "@core"),
        ("dnf", "*"),
        ("dnf", "https://h/x.rpm"),
        ("dnf", "$(id)"),
    ] {
        let sequence = u64::try_from(redflag_server::clock::now().as_micros()).unwrap();
        let answer = harness.report(&agent, &report(sequence, &[scope(manager, &[offer(name, "1", "2", "low")])])).await.json();
        assert_eq!(
            (&answer["rejected"], &answer["outcomes"][0]["field"]),
            (&json!(1), &json!("package_name")),
            "{manager} {name}: {answer}"
        );
    }
}

/// Severity was guessed from name fragments.
#[tokio::test]
async fn regression_19_severity_is_the_sources_word_or_unknown() {
    let (harness, session, agent) = fleet().await;
    let words = [("kernel-security", "low"), ("a", "CRITICAL"), ("b", "high"), ("c", "Medium"), ("d", "none"), ("e", "低")];
    let offers: Vec<_> = words.iter().map(|(name, word)| offer(name, "1-1", "1-2", word)).collect();
    harness.reported(&agent, 1, "dnf", &offers).await;
    let list = harness.get(&session, "/api/v1/updates?sort=name").await.json();
    let severities: Vec<_> = list["updates"].as_array().unwrap().iter().map(|update| update["severity"].as_str().unwrap()).collect();
    assert_eq!(severities, ["critical", "important", "moderate", "unknown", "unknown", "low"]);
}

/// A failed metadata refresh was reported as "no updates".
#[tokio::test]
async fn regression_20_a_failed_refresh_is_shown_and_hides_nothing() {
    let (harness, session, agent) = fleet().await;
    harness.reported(&agent, 1, "dnf", &[bash("5.1-2")]).await;
    let mut stale = scope("dnf", &[bash("5.1-2")]);
    stale["refresh_error"] = json!("no mirror answers");
    assert_eq!(harness.report(&agent, &report(2, &[stale])).await.status, StatusCode::OK);
    let head = harness.get(&session, &format!("/api/v1/agents/{}", agent.id)).await.json();
    assert_eq!((&head["status"], &head["updates"]["total"]), (&json!("degraded"), &json!(1)));
    assert!(head["status_reason"].as_str().unwrap().contains("no mirror answers"), "{head}");
}

/// Words drifted between SQL, code, API and UI.
#[tokio::test]
async fn regression_21_every_word_code_can_write_is_a_word_the_api_reads() {
    let (harness, session, _) = fleet().await;
    let words = Status::ALL.iter().map(|word| ("status", word.as_str()));
    let words = words.chain(Severity::ALL.iter().map(|word| ("severity", word.as_str())));
    let words = words.chain(AvailabilityKind::ALL.iter().map(|word| ("availability", word.as_str())));
    for (parameter, word) in words {
        let answer = harness.get(&session, &format!("/api/v1/updates?{parameter}={word}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{parameter}={word}");
    }
    for word in ["success", "updated", "rejected", "Installed"] {
        assert_eq!(harness.get(&session, &format!("/api/v1/updates?status={word}")).await.status, StatusCode::BAD_REQUEST, "{word}");
    }
}

/// "Last scan" said "never" after a scan, was found by walking events, and an agent was shown offline while online.
#[tokio::test]
async fn regression_22_the_agents_list_knows_the_last_scan_even_of_a_scan_without_events() {
    let (harness, session, agent) = fleet().await;
    harness.reported(&agent, 1, "apt", &[]).await;
    let row = harness.get(&session, "/api/v1/agents").await.json()["agents"][0].clone();
    assert_eq!((&row["status"], &row["events"]), (&json!("online"), &json!(0)));
    assert!(row["last_scan_at"].is_string() && row["last_contact_at"].is_string(), "{row}");
    let other_path = format!("/api/v1/agents/{}/updates", agent.id);
    let seen = harness.send(agent.signed(Method::POST, &other_path, r#"{"updates":[]}"#)).await;
    assert_eq!(seen.status, StatusCode::OK, "a report without updates is contact too");
}
