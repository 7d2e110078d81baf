//! The audit log from the command line: verified, exported, and altered.

use crate::fleet::Place;
use serde_json::Value;

fn said(place: &Place, arguments: &[&str]) -> String {
    let done = place.run("fleet.db", arguments).success();
    String::from_utf8(done.get_output().stdout.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_verified_exported_and_verified_without_its_database() {
    let place = Place::served().await;
    let failed = place.fails("fleet.db", &["audit", "verify", "--audit-key", "no.key"], 2);
    assert!(failed.contains("no.key") && failed.contains("--public-key"), "{failed}");
    assert!(place.fails("memory:", &["audit", "verify"], 2).contains("memory"));
    // The server was killed: what it had not sealed by then is sealed by the next.
    let restarted = crate::fleet::Serving::start(&place.path("fleet.db"));
    restarted.stop();
    let verified = place.json("fleet.db", &["audit", "verify"]);
    assert_eq!(verified["verified"], true, "{verified}");
    let log = &verified["found"]["log"];
    assert!(log["entries"].as_u64() > Some(10) && log["covered"] == log["entries"], "{verified}");
    assert_eq!(verified["found"]["unsealed"], false, "{verified}");
    assert!(verified["found"]["batches"].as_u64() > Some(10), "{verified}");

    let shown = place.json("fleet.db", &["audit", "show"]);
    assert_eq!((&shown["entries"], &shown["head"]), (&log["entries"], &log["head"]));
    assert!(said(&place, &["audit", "show"]).contains(shown["public_key"].as_str().unwrap()));
    let key = shown["public_key"].as_str().unwrap();

    assert!(shown["listed"].is_null(), "{shown}");
    let starts = place.json("fleet.db", &["audit", "show", "--kind", "server-started", "--by", "server"]);
    let listed = starts["listed"].as_array().unwrap();
    assert!(!listed.is_empty() && listed.iter().all(|link| link["entry"]["kind"] == "server-started"), "{starts}");
    let some = place.json("fleet.db", &["audit", "show", "--entries", "3", "--before", "9"]);
    let numbers: Vec<_> = some["listed"].as_array().unwrap().iter().map(|link| link["entry"]["number"].as_u64().unwrap()).collect();
    assert_eq!((numbers, some["next_before"].as_u64()), (vec![8, 7, 6], Some(6)));
    assert!(said(&place, &["audit", "show", "--kind", "agent-enrolled"]).contains("agent-enrolled"));
    assert_eq!(place.json("fleet.db", &["audit", "show", "--by", "nobody"])["listed"], serde_json::json!([]));
    place.fails("fleet.db", &["audit", "show", "--kind", "nonsense"], 2);

    place.run("fleet.db", &["audit", "export", "--output", "audit.jsonl"]).success();
    let lines = std::fs::read_to_string(place.path("audit.jsonl")).unwrap();
    assert_eq!(lines, said(&place, &["audit", "export"]), "standard output is the same");
    let offline = ["audit", "verify", "--input", "audit.jsonl", "--public-key", key];
    assert_eq!(place.json("none", &offline)["found"]["log"], *log);
    assert!(place.fails("none", &["audit", "verify", "--input", "audit.jsonl"], 2).contains("--public-key"));

    std::fs::write(place.path("audit.jsonl"), lines.replacen("agent-enrolled", "agent-enrolleb", 1)).unwrap();
    let failed = place.run("none", &[&offline[..], &["--json"]].concat()).code(1);
    let told: Value = serde_json::from_slice(&failed.get_output().stdout).unwrap();
    assert_eq!(told["verified"], false);
    let place_of =
        lines.lines().filter(|line| line.starts_with("{\"digest")).position(|line| line.contains("agent-enrolled")).unwrap() as u64;
    assert_eq!(told["first_bad"]["entry"].as_u64(), Some(place_of + 1), "{told}");

    let damage = rusqlite::Connection::open(place.path("fleet.db")).unwrap();
    assert!(damage.execute("UPDATE packages SET name = name || 'x' WHERE package_ref = 2", []).unwrap() > 0);
    drop(damage);
    let failed = place.run("fleet.db", &["audit", "verify"]).code(1);
    let told = String::from_utf8(failed.get_output().stdout.clone()).unwrap();
    assert!(told.starts_with("ALTERED OR DAMAGED\nfirst bad is entry "), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_line_leaves_its_entries() {
    let place = Place::served().await;
    let agents = place.fleet("fleet.db").store().agents(&redflag_core::query::AgentQuery::default()).await.unwrap().items;
    let agent = agents[0].head.agent.to_string();
    place.run("fleet.db", &["halt", "--reason", "a drill", "--name", "Ada"]).success();
    place.run("fleet.db", &["halt", "--reason", "again", "--name", "Bob"]).success();
    place.run("fleet.db", &["halt", "--lift", "--name", "Ada"]).success();
    place.run("fleet.db", &["prune", "--older-than", "30d", "--dry-run"]).success();
    place.run("fleet.db", &["prune", "--older-than", "30d"]).success();
    place.run("fleet.db", &["remove-agent", &agent, "--reason", "scrapped", "--yes", "--name", "Ada"]).success();
    place.run("fleet.db", &["decide", "approve", "--search", "a", "--yes", "--name", "Ada"]).success();
    place.run("fleet.db", &["sign-in-link", "--name", "Ada", "--role", "viewer"]).success();
    let log = redflag_server::audit::AuditLog::new(place.fleet("fleet.db"));
    let entries = log.entries(1..=u64::MAX).await.unwrap();
    let kinds: Vec<&str> = entries.iter().map(|link| link.entry.kind.as_str()).filter(|kind| *kind != "batch").collect();
    assert_eq!(&kinds[..4], &["log-begun", "sign-in-link-made", "server-started", "enrolment-token-made"]);
    let last = ["halted", "halt-lifted", "pruning", "agent-removal", "bulk-decision", "sign-in-link-made"];
    assert_eq!(&kinds[kinds.len() - last.len()..], &last, "{kinds:?}");
}

/// What an operator sees when the last block cannot be read, and does about it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_end_is_told_with_its_remedy_and_gone_on_behind() {
    let place = Place::served().await;
    crate::fleet::Serving::start(&place.path("fleet.db")).stop();
    let refused = place.fails("fleet.db", &["audit", "continue", "--reason", "a drill"], 1);
    assert!(refused.contains("can be read"), "{refused}");
    let damage = rusqlite::Connection::open(place.path("fleet.db")).unwrap();
    let rotten =
        "UPDATE records SET value = 'rotten' WHERE namespace = 'audit' AND key = (SELECT max(key) FROM records WHERE namespace = 'audit')";
    assert_eq!(damage.execute(rotten, []).unwrap(), 1);
    drop(damage);

    let listen = ["serve", "--listen", "127.0.0.1:0"];
    for stopped in [place.fails("fleet.db", &listen, 1), place.fails("fleet.db", &["halt", "--reason", "a drill"], 1)] {
        for told in ["its end cannot be read", "redflag-server audit verify", "redflag-server audit continue", "docs/operations.md"] {
            assert!(stopped.contains(told), "{told}: {stopped}");
        }
    }
    place.run("fleet.db", &["audit", "verify"]).code(1);
    let continued = place.json("fleet.db", &["audit", "continue", "--reason", "a disk failed", "--name", "Ada"]);
    assert_eq!(continued["signed"], true, "{continued}");
    place.run("fleet.db", &["halt", "--lift"]).success();
    crate::fleet::Serving::start(&place.path("fleet.db")).stop();

    let gap = continued["gap"].as_str().unwrap();
    let failed = place.run("fleet.db", &["audit", "verify"]).code(1);
    let told = String::from_utf8(failed.get_output().stdout.clone()).unwrap();
    assert!(
        told.starts_with("DAMAGED, AND CONTINUED") && told.contains(&format!("continued at entry {}", continued["continued"])),
        "{told}"
    );
    assert!(told.contains(gap), "{told}");
    place.run("fleet.db", &["audit", "verify", "--known-gap", &"0".repeat(64)]).code(1);
    let known = place.json("fleet.db", &["audit", "verify", "--known-gap", gap]);
    assert_eq!((&known["verified"], &known["unknown_gaps"]), (&Value::Bool(true), &serde_json::json!([])), "{known}");
    assert_eq!(known["found"]["log"]["gaps"][0]["continued"], continued["continued"], "for ever: {known}");
}
