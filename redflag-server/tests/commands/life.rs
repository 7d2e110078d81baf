//! Rebuild, retention and removal from the command line.

use crate::fleet::{AGENTS, Place, Serving};
use redflag_core::{
    agent::Enrolment,
    ids::AgentId,
    names::Text,
    query::{AgentQuery, UpdateFilter},
    wire::read_report,
};
use redflag_server::{clock, ids};
use serde_json::json;
use std::{process::Command, time::Duration};

async fn first_agent(place: &Place) -> AgentId {
    place.fleet("fleet.db").store().agents(&AgentQuery::default()).await.unwrap().items[0].head.agent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_state_is_found_and_mended_from_the_log() {
    let place = Place::served().await;
    let whole = place.run("fleet.db", &["rebuild", "--check"]).success();
    let said = String::from_utf8(whole.get_output().stdout.clone()).unwrap();
    assert_eq!(said, format!("{AGENTS} agents: everything is what the log says\n"));
    let stats = place.fleet("fleet.db").store().stats(&UpdateFilter::default()).await.unwrap();

    // By hand, as no command would: a revision is another, a state is missing, counts are wrong.
    let damage = rusqlite::Connection::open(place.path("fleet.db")).unwrap();
    for statement in [
        "UPDATE current_package_state SET revision = revision + 7 WHERE agent_ref = 1 AND package_ref = 1",
        "DELETE FROM current_package_state WHERE agent_ref = 1 AND package_ref = 2",
        "UPDATE update_counters SET count = count + 1 WHERE agent_ref = 1",
    ] {
        assert!(damage.execute(statement, []).unwrap() > 0, "{statement}");
    }
    drop(damage);

    let check = place.run("fleet.db", &["rebuild", "--check"]).code(1);
    let said = String::from_utf8(check.get_output().stdout.clone()).unwrap();
    assert!(said.contains("state of") && said.contains("counter") && said.contains("which rebuild without --check mends"), "{said}");
    let found = place.command("fleet.db").args(["rebuild", "--check", "--json"]).assert().code(1);
    let found: serde_json::Value = serde_json::from_slice(&found.get_output().stdout).unwrap();
    let differences = found["differences"].as_array().unwrap();
    assert_eq!(said.matches("\n  expected ").count(), differences.len(), "each difference is told: {said}");
    assert!(differences.iter().all(|difference| difference["stored"] != difference["expected"]), "{found}");
    assert_eq!(found["mended"], false);

    let mended = place.json("fleet.db", &["rebuild"]);
    assert_eq!(mended["mended"], true, "{mended}");
    place.run("fleet.db", &["rebuild", "--check"]).success();
    assert_eq!(place.fleet("fleet.db").store().stats(&UpdateFilter::default()).await.unwrap(), stats);
    assert_eq!(place.json("fleet.db", &["rebuild"])["mended"], false, "nothing is left to mend");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_agent_is_checked_alone_and_a_damaged_log_stops_no_other() {
    let place = Place::served().await;
    let agent = first_agent(&place).await;
    assert_eq!(place.json("fleet.db", &["rebuild", "--check", "--agent", &agent.to_string()])["agents"], 1);
    let damage = rusqlite::Connection::open(place.path("fleet.db")).unwrap();
    damage.execute_batch("DROP TRIGGER update_events_stay; DELETE FROM update_events WHERE agent_ref = 1 AND sequence = 5").unwrap();
    drop(damage);
    let checked = place.command("fleet.db").args(["rebuild", "--json"]).assert().code(1);
    let checked: serde_json::Value = serde_json::from_slice(&checked.get_output().stdout).unwrap();
    assert_eq!((&checked["agents"], checked["damaged"].as_array().unwrap().len()), (&json!(AGENTS), 1), "{checked}");
    assert!(checked["damaged"][0]["cause"].as_str().unwrap().contains("stands after event 4"), "{checked}");
    let said = place.fails("fleet.db", &["rebuild", "--agent", "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3"], 1);
    assert!(said.contains("no agent 0192f0c1"), "{said}");
    let said = place.fails("fleet.db", &["rebuild", "--agent", "web-01"], 2);
    assert!(said.contains("web-01"), "{said}");
    let said = place.fails("nothing.db", &["rebuild"], 1);
    assert!(said.contains("no database at nothing.db") && !place.names().contains(&"nothing.db".to_owned()), "{said}");
}

/// An agent with a batch `old` days ago and one today.
async fn aged(place: &Place, old: u64) -> AgentId {
    let fleet = place.fleet("old.db");
    let agent: AgentId = ids::batch_id().to_string().parse().unwrap();
    let now = clock::now();
    let then = now.saturating_sub(Duration::from_secs(old * 86_400));
    let enrolment = Enrolment { agent, name: Text::lossy("old-01"), public_key: [7; 32], tags: Vec::new(), enrolled_at: then };
    fleet.enrol(enrolment).await.unwrap();
    for (sequence, at, version) in [(1, then, "1-2"), (2, now, "1-3")] {
        let offer = |name: &str| json!({"package_name": name, "arch": "amd64", "current_version": "1-1", "available_version": version, "severity": "low"});
        let scope = json!({"package_type": "apt", "version_order": "dpkg", "result": "complete", "scanned_at": at,
            "offers": [offer("bash"), offer("curl")], "gone": []});
        let body = json!({"schema": 1, "report_id": ids::batch_id(), "sequence": sequence, "sent_at": at, "host": {}, "scopes": [scope]});
        fleet.record_report(agent, read_report(body.to_string().as_bytes()).unwrap(), at).await.unwrap();
    }
    agent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_takes_what_the_dry_run_says() {
    let place = Place { directory: tempfile::tempdir().unwrap() };
    let (agent, young) = (aged(&place, 401).await, aged(&place, 399).await);
    let dry = place.json("old.db", &["prune", "--older-than", "400d", "--dry-run"]);
    assert_eq!((&dry["batches"], &dry["events"], &dry["dry_run"]), (&json!(1), &json!(2), &json!(true)));
    assert_eq!(dry["agents"], json!([{"agent": agent, "name": "old-01", "batches": 1, "events": 2}]));
    let of_young = place.json("old.db", &["prune", "--older-than", "400d", "--dry-run", "--agent", &young.to_string()]);
    assert_eq!(of_young["batches"], 0);
    let pruned = |head: Option<redflag_core::agent::AgentHead>| head.unwrap().pruned.batches;
    assert_eq!(pruned(place.fleet("old.db").store().agent(agent).await.unwrap()), 0, "a dry run takes nothing");

    let said = place.run("old.db", &["prune", "--older-than", "400d"]).success();
    let said = String::from_utf8(said.get_output().stdout.clone()).unwrap();
    assert!(said.contains(&format!("old-01 ({agent}): 1 batches with 2 events went")), "{said}");
    assert_eq!(pruned(place.fleet("old.db").store().agent(agent).await.unwrap()), 1);
    assert_eq!(place.json("old.db", &["prune", "--older-than", "400d"])["batches"], 0, "the same again finds nothing");
    place.run("old.db", &["rebuild", "--check"]).success();

    for (window, words) in [("29d", "at least 30 days"), ("400", "number of days with d after it"), ("10h", "number of days")] {
        let said = place.fails("old.db", &["prune", "--older-than", window], 2);
        assert!(said.contains(words), "{window}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_wants_a_yes_and_its_agent_is_refused_from_then_on() {
    let place = Place::served().await;
    let agent = first_agent(&place).await;
    let id = agent.to_string();
    let said = place.fails("fleet.db", &["remove-agent", &id, "--reason", "scrapped"], 2);
    assert!(said.contains("give --yes"), "{said}");
    let said = place.fails("fleet.db", &["remove-agent", &id, "--yes"], 2);
    assert!(said.contains("--reason"), "{said}");
    assert!(place.fleet("fleet.db").store().agent(agent).await.unwrap().is_some(), "nothing was removed by mistake");

    // At a terminal it asks.
    let at_terminal = |answer: &str| {
        let command = format!("{} remove-agent {id} --reason scrapped", env!("CARGO_BIN_EXE_redflag-server"));
        let mut script = assert_cmd::Command::new("script");
        script.current_dir(&place.directory).env("REDFLAG_DATABASE", "fleet.db").env("REDFLAG_LOG", "warn");
        script.args(["--quiet", "--return", "--command", &command, "/dev/null"]).write_stdin(format!("{answer}\n")).assert()
    };
    let refused = at_terminal("n").code(1);
    let said = String::from_utf8_lossy(&refused.get_output().stdout).into_owned();
    assert!(said.contains("for good? [y/N]") && said.contains("nothing was removed"), "{said}");
    assert!(place.fleet("fleet.db").store().agent(agent).await.unwrap().is_some());
    at_terminal("y").success();
    assert!(place.fleet("fleet.db").store().agent(agent).await.unwrap().is_none());

    // Beside a running server, and again.
    let mut server = Serving::start(&place.path("fleet.db"));
    let again = place.json("fleet.db", &["remove-agent", &id, "--reason", "other words", "--name", "ada", "--yes"]);
    assert_eq!((&again["reason"], &again["agent"]), (&json!("scrapped"), &json!(id)), "what was removed stays as it was removed");
    let second = first_agent(&place).await;
    place.run("fleet.db", &["remove-agent", &second.to_string(), "--reason", "x", "--yes"]).success();
    let stopped = Command::new("kill").args(["-TERM", &server.child.id().to_string()]).status().unwrap();
    assert!(stopped.success() && server.child.wait().unwrap().success());
    let unknown = place.fails("fleet.db", &["remove-agent", "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3", "--reason", "x", "--yes"], 1);
    assert!(unknown.contains("no agent 0192f0c1"), "{unknown}");
    let summary = place.summary("fleet.db").await;
    assert_eq!(summary.agents, u64::from(AGENTS) - 2);
    place.run("fleet.db", &["rebuild", "--check"]).success();
}
