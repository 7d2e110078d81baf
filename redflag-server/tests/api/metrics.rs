//! What the server counts of itself, read as Prometheus reads it.

use crate::support::{Harness, offer};
use axum::{
    body::Body,
    http::{Request, header},
};
use redflag_server::{Role, access::Scope};
use std::collections::{BTreeMap, BTreeSet};

/// Every series with its value; each family must have been announced before, with a kind.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let (mut kinds, mut series) = (BTreeMap::new(), BTreeMap::new());
    assert!(text.ends_with('\n'), "the last line ends too");
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind) && kinds.insert(name, kind).is_none(), "{line}");
        } else if !line.starts_with("# HELP ") {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let bare = name.split('{').next().unwrap();
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| bare.strip_suffix(suffix)).unwrap_or(bare);
            assert!(kinds.contains_key(family), "{line}: nobody said what this is");
            assert!(bare.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{line}");
            assert!(series.insert(name.to_owned(), value.parse().unwrap()).is_none(), "{line}: twice");
        }
    }
    series
}

#[tokio::test]
async fn the_fleet_and_the_answers_are_counted() {
    let harness = Harness::new();
    let (agent, _) = (harness.agent("a").await, harness.agent("b").await);
    harness.reported(&agent, 1, "dnf", &[offer("bash", "1", "2", "low"), offer("curl", "1", "2", "low")]).await;
    let token = harness.api_token(Role::Viewer, &[Scope::Read]).await;
    let get = |path: &str, token: Option<&str>| {
        let request = Request::get(path);
        let request = token.into_iter().fold(request, |request, token| request.header(header::AUTHORIZATION, format!("Bearer {token}")));
        harness.send(request.body(Body::empty()).unwrap())
    };
    assert_eq!(get("/metrics", None).await.problem(), (401, "unauthorized".to_owned()));
    let other = harness.api_token(Role::Admin, &[Scope::Enrol]).await;
    assert_eq!(get("/metrics", Some(&other)).await.status, 403, "a token that is for something else");
    // What a stranger writes becomes no label.
    for path in ["/api/v1/nonsense", "/api/v1/agents/nonsense"] {
        get(path, Some(&token)).await;
    }
    let answer = get("/metrics", Some(&token)).await;
    assert_eq!(answer.headers[header::CONTENT_TYPE], "text/plain; version=0.0.4; charset=utf-8");
    let series = parse(&answer.text());
    let value = |name: &str| series.get(name).copied().unwrap_or_else(|| panic!("{name} in {series:#?}"));
    assert_eq!((value("redflag_agents"), value("redflag_updates_open"), value("redflag_agents_quarantined")), (2.0, 2.0, 0.0));
    assert_eq!(value("redflag_answers_total{by=\"agent\",status=\"200\"}"), 1.0);
    assert_eq!(value("redflag_answers_total{by=\"anybody\",status=\"201\"}"), 2.0);
    assert_eq!(value("redflag_answers_total{by=\"operator\",status=\"401\"}"), 1.0);
    assert_eq!(value("redflag_answer_seconds_count{by=\"agent\"}"), 1.0);
    assert_eq!(value("redflag_answer_seconds_bucket{by=\"agent\",le=\"+Inf\"}"), 1.0);
    assert!(value("process_resident_memory_bytes") > 1_000_000.0);
    let labels = series.keys().filter_map(|name| name.split_once('{')).flat_map(|(_, labels)| labels.trim_end_matches('}').split(','));
    let names: BTreeSet<&str> = labels.filter_map(|label| label.split('=').next()).collect();
    assert_eq!(names, BTreeSet::from(["by", "le", "status", "version"]));
    assert!(series.keys().all(|name| !name.contains("nonsense")));
}
