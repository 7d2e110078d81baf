//! Lists: their shape, their pages and their counts, at the size that broke the first system.

use crate::support::{Harness, Session, TestAgent, offer, report, scope};
use axum::http::StatusCode;
use redflag_server::Role;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const SEVERITIES: [&str; 5] = ["critical", "important", "moderate", "low", "none"];

/// 3,772 updates of three managers, as the report that the first system accepted and never showed.
pub(crate) fn fleet_report() -> Value {
    let of = |count: usize, offset: usize, name: &dyn Fn(usize) -> String, versions: (&str, &str)| -> Vec<Value> {
        (0..count).map(|at| offer(&name(at), versions.0, versions.1, SEVERITIES[(at + offset) % 5])).collect()
    };
    let dnf = of(3_488, 0, &|at| format!("python3-lab{at:05}"), ("1.0-1.fc43", "1.1-1.fc43"));
    let apt = of(276, 1, &|at| format!("lib{at}"), ("1:2.0-1", "1:2.0-2"));
    let docker = of(8, 2, &|at| format!("registry.example/app{at}:latest@web"), ("sha256:aa", "sha256:bb"));
    report(1, &[scope("dnf", &dnf), scope("apt", &apt), scope("docker", &docker)])
}

async fn large() -> (Harness, Session, TestAgent) {
    let harness = Harness::new();
    let session = harness.operator(Role::Admin).await;
    let agent = harness.agent("big").await;
    let answer = harness.report(&agent, &fleet_report()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert_eq!((&answer.json()["recorded"], &answer.json()["batches"]), (&json!(3_772), &json!(38)));
    (harness, session, agent)
}

/// Regressions 11 and 13, and the docker updates that were missing: every row once, at every page size, under every sort.
#[tokio::test]
async fn regression_11_13_pages_and_totals_agree_at_every_size_under_every_sort() {
    let (harness, session, _) = large().await;
    for sort in ["severity", "-severity", "name", "-name", "agent", "-agent", "last-change", "-last-change"] {
        for size in [50, 100, 200, 500] {
            let mut seen = BTreeSet::new();
            let mut docker = 0;
            for page in 1.. {
                let list = harness.get(&session, &format!("/api/v1/updates?sort={sort}&page_size={size}&page={page}")).await.json();
                assert_eq!((&list["total"], &list["page"], &list["page_size"]), (&json!(3_772), &json!(page), &json!(size)));
                assert_eq!(list["stats"]["by_package_type"], json!({"apt": 276, "dnf": 3_488, "docker": 8}));
                let rows = list["updates"].as_array().unwrap();
                if rows.is_empty() {
                    assert_eq!(page, 3_772_u64.div_ceil(size) + 1, "{sort} {size}");
                    break;
                }
                docker += rows.iter().filter(|row| row["package_type"] == "docker").count();
                seen.extend(rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()));
            }
            assert_eq!((seen.len(), docker), (3_772, 8), "sort={sort} page_size={size}");
        }
    }
}

#[tokio::test]
async fn walking_by_cursor_sees_every_row_once_while_others_are_decided() {
    let (harness, session, _) = large().await;
    let mut seen = Vec::new();
    let mut path = "/api/v1/updates?status=any&sort=name&page_size=500".to_owned();
    loop {
        let list = harness.get(&session, &path).await.json();
        let rows = list["updates"].as_array().unwrap();
        seen.extend(rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()));
        let (id, digest) = (rows[0]["id"].as_str().unwrap(), &rows[0]["offer_digest"]);
        let approved = harness.post(&session, &format!("/api/v1/updates/{id}/approve"), &json!({"offer_digest": digest})).await;
        assert_eq!(approved.status, StatusCode::OK, "{}", approved.text());
        let Some(next) = list["next"].as_str() else { break };
        path = format!("/api/v1/updates?status=any&sort=name&page_size=500&after={next}");
    }
    let unique: BTreeSet<_> = seen.iter().collect();
    assert_eq!((seen.len(), unique.len()), (3_772, 3_772));
}

#[tokio::test]
async fn every_filter_narrows_exactly_and_its_count_is_that_of_its_list() {
    let (harness, session, agent) = large().await;
    let everything = harness.get(&session, "/api/v1/stats").await.json();
    assert_eq!((&everything["updates"]["total"], &everything["agents"]), (&json!(3_772), &json!(1)));
    let other = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3";
    for (filter, total) in [
        ("package_type=docker".to_owned(), 8),
        ("severity=critical".to_owned(), 754),
        ("severity=unknown".to_owned(), 754),
        (format!("agent_id={}", agent.id), 3_772),
        (format!("agent_id={other}"), 0),
        ("search=LAB0000".to_owned(), 10),
        ("search=%25".to_owned(), 0),
        ("search=_".to_owned(), 0),
        ("search=';+DROP+TABLE--".to_owned(), 0),
        ("availability=held".to_owned(), 0),
        ("security=true".to_owned(), 0),
        ("status=approved".to_owned(), 0),
        ("package_type=apt&severity=critical&search=lib1".to_owned(), 22),
    ] {
        let list = harness.get(&session, &format!("/api/v1/updates?{filter}")).await.json();
        let stats = harness.get(&session, &format!("/api/v1/stats?{filter}")).await.json();
        assert_eq!(list["total"], total, "{filter}");
        assert_eq!(list["stats"], stats["updates"], "{filter}");
        assert_eq!(list["updates"].as_array().unwrap().len(), total.min(50), "{filter}");
    }
}

/// Regression 12: filters were ignored, unknown values gave empty lists, page 0 gave a 500, page size was unbounded.
#[tokio::test]
async fn regression_12_a_parameter_that_means_nothing_is_an_error_that_names_it() {
    let harness = Harness::new();
    let session = harness.operator(Role::Viewer).await;
    for (path, parameter) in [
        ("/api/v1/updates?page=0", "page"),
        ("/api/v1/updates?page=-1", "page"),
        ("/api/v1/updates?page_size=0", "page_size"),
        ("/api/v1/updates?page_size=501", "page_size"),
        ("/api/v1/updates?page_size=1000000000", "page_size"),
        ("/api/v1/updates?status=updated", "status"),
        ("/api/v1/updates?severity=none", "severity"),
        ("/api/v1/updates?sort=name;--", "sort"),
        ("/api/v1/updates?after=forged", "after"),
        ("/api/v1/updates?colour=red", "colour"),
        ("/api/v1/updates?page=1&page=1", "page"),
        ("/api/v1/updates?search=%00", "search"),
        ("/api/v1/updates?search=%ff", "search"),
        ("/api/v1/stats?page=2", "page"),
        ("/api/v1/agents?page=0", "page"),
        ("/api/v1/agents?sort=severity", "sort"),
        ("/api/v1/agents?status=online", "status"),
        ("/api/v1/batches?with_rejections=maybe", "with_rejections"),
        ("/api/v1/batches?agent_id=x", "agent_id"),
        ("/api/v1/session?x=1", "x"),
    ] {
        let answer = harness.get(&session, path).await;
        assert_eq!(answer.problem(), (400, "bad_parameter".to_owned()), "{path}");
        assert_eq!(answer.json()["parameter"], parameter, "{path}");
    }
    for path in ["/api/v1/updates/nothing", "/api/v1/agents/nothing", "/api/v1/batches/x/y", "/api/v1/updates/%ff", "/api/v1/agents/%00"] {
        assert_eq!(harness.get(&session, path).await.problem(), (404, "not_found".to_owned()), "{path}");
    }
    let list = harness.get(&session, "/api/v1/updates?sort=name").await.json();
    assert_eq!((&list["total"], &list["updates"]), (&json!(0), &json!([])));
}

#[tokio::test]
async fn a_cursor_of_another_list_is_refused() {
    let (harness, session, _) = large().await;
    let next = harness.get(&session, "/api/v1/updates?sort=name").await.json()["next"].as_str().unwrap().to_owned();
    let answer = harness.get(&session, &format!("/api/v1/updates?sort=agent&after={next}")).await;
    assert_eq!((answer.problem().0, &answer.json()["parameter"]), (400, &json!("after")));
}

/// The shape that existing clients know, and what was added to it.
#[tokio::test]
async fn the_listing_has_the_shape_clients_know() {
    let harness = Harness::new();
    let session = harness.operator(Role::Viewer).await;
    let agent = harness.agent("web-1").await;
    let mut bash = offer("bash", "5.1-1.fc43", "5.1-2.fc43", "Important");
    bash["cve_list"] = json!(["CVE-2026-1"]);
    bash["security"] = json!(true);
    bash["availability"] = json!("held");
    bash["availability_reason"] = json!("versionlock");
    harness.reported(&agent, 1, "dnf", &[bash]).await;
    let mut list = harness.get(&session, "/api/v1/updates").await.json();
    let row = &mut list["updates"][0];
    for volatile in ["id", "agent_id", "last_discovered_at", "last_updated_at"] {
        assert!(row[volatile].is_string(), "{volatile}");
        row[volatile] = json!("…");
    }
    insta::assert_json_snapshot!(list);
}
