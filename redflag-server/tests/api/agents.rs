//! What agents send: enrolment, signed reports, and everything that must not pass for them.

use crate::support::{Harness, TestAgent, now, offer, report, scope};
use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use redflag_core::{Fleet, signing};
use redflag_server::{EnrolmentTokenOptions, RequestLimits, Role, Server, Settings, access::issue_token};
use redflag_store_sqlite::SqliteStore;
use serde_json::{Value, json};
use std::{net::Ipv4Addr, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn an_agent_enrols_reports_and_is_seen_online_at_once() {
    let harness = Harness::new();
    let session = harness.operator(Role::Viewer).await;
    let agent = harness.agent("web-1").await;
    let before = harness.get(&session, &format!("/api/v1/agents/{}", agent.id)).await.json();
    assert_eq!((&before["status"], &before["last_scan_at"]), (&json!("unknown"), &Value::Null));
    let answer = harness.reported(&agent, 1, "dnf", &[offer("bash", "5.1-1", "5.1-2", "important")]).await;
    assert_eq!(
        (&answer["status"], &answer["events"], &answer["outcomes"][0]["outcome"]),
        (&json!("recorded"), &json!(1), &json!("recorded"))
    );
    let after = harness.get(&session, &format!("/api/v1/agents/{}", agent.id)).await.json();
    assert_eq!((&after["status"], &after["updates"]["total"]), (&json!("online"), &json!(1)));
    assert!(after["last_scan_at"].is_string() && after["last_contact_at"].is_string(), "{after}");
}

#[tokio::test]
async fn what_an_agent_says_of_its_host_is_shown_and_an_unchanged_report_stays_one() {
    let harness = Harness::new();
    let session = harness.operator(Role::Viewer).await;
    let agent = harness.agent("web-1").await;
    let host = json!({
        "hostname": "web-1", "os": "Debian GNU/Linux 12", "kernel": "6.1.0-38-amd64", "arch": "x86_64", "agent_version": "0.1.0",
        "virtualisation": {"kind": "virtual-machine", "technology": "kvm"}, "booted_at": "2026-11-01T04:00:00Z",
        "reboot_reasons": ["libc6 was updated"], "services_to_restart": [], "machine_digest": "ab".repeat(32),
    });
    for sequence in 1..=2 {
        let mut report = report(sequence, &[scope("apt", &[])]);
        report["host"] = host.clone();
        let answer = harness.report(&agent, &report).await.json();
        assert_eq!((&answer["status"], &answer["events"]), (&json!("unchanged"), &json!(0)), "facts of a host are no events");
    }
    assert_eq!(harness.get(&session, &format!("/api/v1/agents/{}", agent.id)).await.json()["host"], host);
    let page = harness.get(&session, &format!("/agents/{}", agent.id)).await.text();
    for shown in ["a virtual machine (kvm)", "2026-11-01T04:00:00Z", "libc6 was updated", "Services to restart", "abababababababab"] {
        assert!(page.contains(shown), "{shown} is not on the page");
    }
    let mut too_many = report(3, &[scope("apt", &[])]);
    too_many["host"]["services_to_restart"] = json!(vec!["x"; 129]);
    assert_eq!(harness.report(&agent, &too_many).await.problem(), (400, "bad_envelope".to_owned()));
}

#[tokio::test]
async fn a_request_that_is_not_exactly_what_was_signed_is_refused() {
    let harness = Harness::new();
    let agent = harness.agent("a").await;
    let body = || report(1, &[scope("dnf", &[])]).to_string();
    let signed = || agent.signed(Method::POST, "/api/v1/report", body());
    let change = |name: &'static str, value: &str| {
        let mut request = signed();
        request.headers_mut().insert(name, value.parse().unwrap());
        request
    };
    let mut other_path = signed();
    *other_path.uri_mut() = format!("/api/v1/agents/{}/updates", agent.id).parse().unwrap();
    let mut other_query = signed();
    *other_query.uri_mut() = "/api/v1/report?x=1".parse().unwrap();
    let (parts, _) = signed().into_parts();
    let other_body = Request::from_parts(parts, Body::from(body()));
    let (mut parts, _) = signed().into_parts();
    let swapped = body();
    parts.headers.insert(signing::CONTENT_DIGEST, signing::content_digest(swapped.as_bytes()).parse().unwrap());
    let other_body_and_digest = Request::from_parts(parts, Body::from(swapped));
    let mut twice = signed();
    let signature = twice.headers()[signing::SIGNATURE].clone();
    twice.headers_mut().append(signing::SIGNATURE, signature);
    let unknown = TestAgent::new().signed(Method::POST, "/api/v1/report", body());
    let mut foreign_key = agent.clone();
    foreign_key.key = TestAgent::new().key;
    for (what, request) in [
        ("another path", other_path),
        ("another query", other_query),
        ("another body", other_body),
        ("another body with its digest", other_body_and_digest),
        ("another host", change("host", "evil.example")),
        ("no signature of 64 bytes", change(signing::SIGNATURE, "redflag=:AAAA:")),
        ("two signatures", twice),
        ("an unknown agent", unknown),
        ("another key", foreign_key.signed(Method::POST, "/api/v1/report", body())),
        ("an hour ago", agent.signed_at(Method::POST, "/api/v1/report", body(), now() - 3_600)),
        ("in an hour", agent.signed_at(Method::POST, "/api/v1/report", body(), now() + 3_600)),
        ("five minutes and a bit ago", agent.signed_at(Method::POST, "/api/v1/report", body(), now() - 302)),
        ("the largest time", agent.signed_at(Method::POST, "/api/v1/report", body(), i64::MAX)),
        ("the smallest time", agent.signed_at(Method::POST, "/api/v1/report", body(), i64::MIN)),
    ] {
        assert_eq!(harness.send(request).await.problem(), (401, "unauthorized".to_owned()), "{what}");
    }
    assert_eq!(harness.send(signed()).await.status, StatusCode::OK);
    let nearly = agent.signed_at(Method::POST, "/api/v1/report", body(), now() - 290);
    assert_ne!(harness.send(nearly).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_captured_request_passes_once() {
    let harness = Harness::new();
    let agent = harness.agent("a").await;
    let body = report(1, &[scope("dnf", &[])]).to_string();
    let (parts, _) = agent.signed(Method::POST, "/api/v1/report", body.clone()).into_parts();
    let copy = || Request::from_parts(parts.clone(), Body::from(body.clone()));
    assert_eq!(harness.send(copy()).await.status, StatusCode::OK);
    assert_eq!(harness.send(copy()).await.problem(), (401, "unauthorized".to_owned()));
}

#[tokio::test]
async fn bodies_of_another_kind_or_size_are_refused_before_they_are_parsed() {
    let harness = Harness::new();
    let agent = harness.agent("a").await;
    for kind in ["text/plain", "multipart/form-data", "application/json; charset=utf-16", "application/jsonx", ""] {
        let mut request = agent.signed(Method::POST, "/api/v1/report", "{}");
        request.headers_mut().insert(header::CONTENT_TYPE, kind.parse().unwrap());
        assert_eq!(harness.send(request).await.problem(), (415, "content_type".to_owned()), "{kind:?}");
    }
    let mut zipped = agent.signed(Method::POST, "/api/v1/report", "{}");
    zipped.headers_mut().insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
    assert_eq!(harness.send(zipped).await.problem(), (415, "content_encoding".to_owned()));
    let max = redflag_core::limits::REPORT_BYTES_MAX;
    let too_large = agent.signed(Method::POST, "/api/v1/report", vec![b' '; max + 1]);
    assert_eq!(harness.send(too_large).await.problem(), (413, "too_large".to_owned()));
    let exactly = agent.signed(Method::POST, "/api/v1/report", vec![b' '; max]);
    assert_eq!(harness.send(exactly).await.problem(), (400, "bad_envelope".to_owned()));
    let enrol = |length: usize| {
        Request::post("/api/v1/enrol").header(header::CONTENT_TYPE, "application/json").body(Body::from(vec![b' '; length])).unwrap()
    };
    assert_eq!(harness.send(enrol(64 * 1024 + 1)).await.problem(), (413, "too_large".to_owned()));
    assert_eq!(harness.send(enrol(64 * 1024)).await.problem(), (400, "bad_envelope".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_twenty_agents_racing_for_the_last_seat_exactly_one_wins() {
    let harness = Harness::new();
    let token = harness.token(3).await;
    for name in ["a", "b"] {
        assert_eq!(harness.enrol(&token, &TestAgent::new(), name).await.status, StatusCode::CREATED);
    }
    let racing: Vec<_> = (0..20)
        .map(|number| {
            let (harness, token) = (harness.clone(), token.clone());
            tokio::spawn(async move {
                let agent = TestAgent::new();
                let answer = harness.enrol(&token, &agent, &format!("racer-{number}")).await;
                (agent, answer)
            })
        })
        .collect();
    let mut winners = Vec::new();
    for racer in racing {
        let (agent, answer) = racer.await.unwrap();
        match answer.status {
            StatusCode::CREATED => winners.push(agent),
            _ => assert_eq!(answer.problem(), (401, "bad_token".to_owned())),
        }
    }
    assert_eq!(winners.len(), 1);
    let again = harness.enrol(&token, &winners[0], "racer again").await;
    assert_eq!(again.status, StatusCode::CREATED, "a retry of the same agent and key takes no second seat");
}

#[tokio::test]
async fn a_token_that_does_not_hold_enrols_nobody() {
    let harness = Harness::new();
    let expired = EnrolmentTokenOptions { expires_in: Duration::ZERO, ..EnrolmentTokenOptions::default() };
    let expired = issue_token(harness.app.fleet.store(), expired).await.unwrap().0.expose().to_owned();
    for token in ["", "x", &"A".repeat(43), &expired, "../../etc", "\u{0}"] {
        assert_eq!(harness.enrol(token, &TestAgent::new(), "x").await.problem(), (401, "bad_token".to_owned()), "{token:?}");
    }
    let (agent, token) = (TestAgent::new(), harness.token(2).await);
    assert_eq!(harness.enrol(&token, &agent, "first").await.status, StatusCode::CREATED);
    let mut clone = agent.clone();
    clone.key = TestAgent::new().key;
    assert_eq!(harness.enrol(&token, &clone, "clone").await.problem(), (409, "agent_exists".to_owned()));
}

#[tokio::test]
async fn enrolment_reads_strictly() {
    let harness = Harness::new();
    let token = harness.token(50).await;
    let send = async |body: String| {
        let request = Request::post("/api/v1/enrol").header(header::CONTENT_TYPE, "application/json").body(Body::from(body));
        harness.send(request.unwrap()).await
    };
    let with = |name: &str, value: Value| {
        let mut body = TestAgent::new().enrolment(&token, "x");
        body[name] = value;
        body.to_string()
    };
    // The identity of the curve: anybody can sign for it.
    let weak = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    for (body, code) in [
        (with("public_key", json!("AAAA")), "bad_parameter"),
        (with("public_key", json!(weak)), "bad_parameter"),
        (with("name", json!("")), "bad_envelope"),
        (with("name", json!("x".repeat(2_000))), "bad_envelope"),
        (with("name", json!("a\u{0}b")), "bad_envelope"),
        (with("role", json!("admin")), "bad_envelope"),
        (with("agent_id", json!("1")), "bad_envelope"),
        (with("tags", json!(vec!["t"; 33])), "bad_parameter"),
        ("[]".to_owned(), "bad_envelope"),
    ] {
        assert_eq!(send(body.clone()).await.problem(), (400, code.to_owned()), "{body}");
    }
}

#[tokio::test]
async fn the_compatible_shape_is_taken_and_withdraws_nothing() {
    let harness = Harness::new();
    let session = harness.operator(Role::Viewer).await;
    let agent = harness.agent("old").await;
    let path = format!("/api/v1/agents/{}/updates", agent.id);
    let update = |kind: &str, name: &str, severity: &str| {
        json!({"package_type": kind, "package_name": name, "package_description": "d", "current_version": "1.0-1",
            "available_version": "1.0-2", "severity": severity, "cve_list": ["CVE-2026-1"], "kb_id": "", "repository_source": "r",
            "size_bytes": 5, "metadata": {}})
    };
    let body = json!({"command_id": "scan-1", "timestamp": "2026-11-23T10:00:00Z",
        "updates": [update("dnf", "bash", "high"), update("apt", "curl", "CRITICAL"), update("docker", "nginx:latest", "low")]});
    let first = harness.send(agent.signed(Method::POST, &path, body.to_string())).await;
    assert_eq!(first.json()["recorded"], 3, "{}", first.text());
    let again = harness.send(agent.signed(Method::POST, &path, body.to_string())).await;
    assert_eq!(again.bytes, first.bytes, "a retry gets the stored answer");
    let other = json!({"command_id": "scan-1", "updates": []});
    let other = harness.send(agent.signed(Method::POST, &path, other.to_string())).await;
    assert_eq!(other.problem(), (409, "report_id_reused".to_owned()));
    let fewer = json!({"command_id": "scan-2", "updates": [update("dnf", "bash", "high")]});
    assert_eq!(harness.send(agent.signed(Method::POST, &path, fewer.to_string())).await.json()["events"], 0);
    let list = harness.get(&session, "/api/v1/updates").await.json();
    assert_eq!((&list["total"], &list["stats"]["by_severity"]), (&json!(3), &json!({"critical": 1, "important": 1, "low": 1})));
}

#[tokio::test]
async fn a_body_that_never_ends_is_answered_in_time() {
    let limits = RequestLimits { request_timeout: Duration::from_millis(50), ..RequestLimits::default() };
    let settings = Settings { listen: (Ipv4Addr::LOCALHOST, 0).into(), limits, ..Settings::default() };
    let server = Server::bind(settings, Fleet::new(SqliteStore::in_memory().unwrap())).await.unwrap();
    let mut connection = TcpStream::connect(server.url().strip_prefix("http://").unwrap()).await.unwrap();
    tokio::spawn(server.run(CancellationToken::new()));
    let head = "POST /api/v1/enrol HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{";
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4_096];
    let length = tokio::time::timeout(Duration::from_secs(60), connection.read(&mut answer)).await;
    let length = length.expect("the body is waited for without end").unwrap();
    let answer = String::from_utf8_lossy(&answer[..length]);
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("application/problem+json"), "{answer}");
}
