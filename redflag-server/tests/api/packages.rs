//! The pivot by package and the trend: both equal what the list of updates says.

use crate::support::{Harness, Session, offer};
use redflag_server::Role;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Three hosts with packages in common, one of them in two architectures.
async fn fleet() -> (Harness, Session) {
    let harness = Harness::new();
    let session = harness.operator(Role::Approver).await;
    for (name, offers) in [
        ("a", vec![offer("bash", "1-1", "1-2", "low"), offer("curl", "2-1", "2-2", "critical")]),
        ("b", vec![offer("bash", "1-1", "1-2", "important"), offer("bash-completion", "1-1", "1-3", "low")]),
        ("c", vec![offer("bash", "1-1", "1-2", "moderate")]),
    ] {
        let agent = harness.agent(name).await;
        harness.reported(&agent, 1, "dnf", &offers).await;
    }
    (harness, session)
}

async fn rows(harness: &Harness, session: &Session, path: &str) -> Vec<(String, u64, String)> {
    let list = harness.get(session, path).await.json();
    let row = |row: &Value| {
        let text = |field: &str| row[field].as_str().unwrap().to_owned();
        (text("package_name"), row["hosts"].as_u64().unwrap(), text("severity"))
    };
    list["packages"].as_array().unwrap_or_else(|| panic!("{path}: {list}")).iter().map(row).collect()
}

#[tokio::test]
async fn packages_are_counted_by_host_and_filtered_like_updates() {
    let (harness, session) = fleet().await;
    let rows = async |query: &str| rows(&harness, &session, &format!("/api/v1/packages?{query}")).await;
    let row = |name: &str, hosts, severity: &str| (name.to_owned(), hosts, severity.to_owned());
    let (bash, completion, curl) = (row("bash", 3, "important"), row("bash-completion", 1, "low"), row("curl", 1, "critical"));
    assert_eq!(rows("").await, [bash.clone(), completion.clone(), curl.clone()], "most hosts first, then by name");
    assert_eq!(rows("sort=-hosts").await, [curl.clone(), completion.clone(), bash.clone()]);
    assert_eq!(rows("sort=-name").await, [curl.clone(), completion.clone(), bash.clone()]);
    assert_eq!(rows("sort=name&page_size=2&page=2").await, [row("curl", 1, "critical")]);
    assert_eq!(rows("search=BASH").await, [bash, completion]);
    assert_eq!(rows("severity=low").await, [row("bash", 1, "low"), row("bash-completion", 1, "low")]);
    assert_eq!(rows("status=approved").await, []);
    let list = harness.get(&session, "/api/v1/packages?page_size=2").await.json();
    assert_eq!((&list["total"], &list["page"], &list["page_size"]), (&json!(3), &json!(1), &json!(2)));

    // Each row against the list of updates.
    let list = harness.get(&session, "/api/v1/packages").await.json();
    for package in list["packages"].as_array().unwrap() {
        let updates = harness.get(&session, &format!("/api/v1/updates?search={}", package["package_name"].as_str().unwrap())).await.json();
        let of_package = |update: &&Value| update["package_name"] == package["package_name"] && update["arch"] == package["arch"];
        let hosts = updates["updates"].as_array().unwrap().iter().filter(of_package).count();
        assert_eq!(package["hosts"], json!(hosts), "{package}");
    }
    for (query, parameter) in [("sort=agent", "sort"), ("after=x", "after"), ("page=0", "page"), ("severity=high", "severity")] {
        let answer = harness.get(&session, &format!("/api/v1/packages?{query}")).await;
        assert_eq!((answer.problem(), &answer.json()["parameter"]), ((400, "bad_parameter".to_owned()), &json!(parameter)), "{query}");
    }
}

#[tokio::test]
async fn the_trend_ends_with_what_is_open_now() {
    let (harness, session) = fleet().await;
    let agent = harness.agent("old").await;
    harness.reported_ago(&agent, 3, 1, "dnf", &[offer("vim", "1-1", "1-2", "low"), offer("zsh", "1-1", "1-2", "critical")]).await;
    harness.reported_ago(&agent, 1, 2, "dnf", &[offer("zsh", "1-1", "1-2", "critical")]).await;
    let days = async |query: &str| harness.get(&session, &format!("/api/v1/trend?{query}")).await.json()["days"].clone();
    let open = |days: &Value| days.as_array().unwrap().iter().map(|day| day["open"].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(open(&days("days=5").await), [0, 2, 2, 1, 6]);
    assert_eq!(open(&days(&format!("days=4&agent_id={}", agent.id)).await), [2, 2, 1, 1]);
    let month = days("").await;
    assert_eq!(open(&month).len(), 30);
    let stats = harness.get(&session, "/api/v1/stats").await.json()["updates"].clone();
    let today = &month[29];
    assert_eq!((&today["open"], &today["by_severity"]), (&stats["total"], &stats["by_severity"]));
    let dates: BTreeMap<_, _> = month.as_array().unwrap().iter().map(|day| (day["day"].as_str().unwrap().to_owned(), ())).collect();
    assert_eq!(dates.len(), 30, "each day once");
    assert_eq!(open(&days("days=2&agent_id=0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3").await), [0, 0], "nobody has nothing open");
    for (query, parameter) in [("days=0", "days"), ("days=401", "days"), ("agent_id=x", "agent_id"), ("day=1", "day")] {
        let answer = harness.get(&session, &format!("/api/v1/trend?{query}")).await;
        assert_eq!((answer.problem(), &answer.json()["parameter"]), ((400, "bad_parameter".to_owned()), &json!(parameter)), "{query}");
    }
}
