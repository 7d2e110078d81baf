//! Exports, imports, moves and backups: the same digest everywhere, and nothing half that could be taken for whole.

use crate::fleet::{AGENTS, Place, Serving};
use redflag_core::{event::Actor, names::Text, query::AgentQuery};
use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
};

/// A served fleet of which one agent was removed, so that there are tombstones.
async fn lived() -> Place {
    let place = Place::served().await;
    let fleet = place.fleet("fleet.db");
    let agent = fleet.store().agents(&AgentQuery::default()).await.unwrap().items[0].head.agent;
    let actor = Actor::Operator(Text::lossy("Ada"));
    fleet.remove_agent(agent, actor, None, redflag_server::clock::now()).await.unwrap();
    place
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_comes_back_the_same_through_a_file_and_through_a_pipe() {
    let place = lived().await;
    let summary = place.summary("fleet.db").await;
    let digest = summary.digest.to_string();
    let exported = place.json("fleet.db", &["export", "--output", "fleet.jsonl"]);
    assert_eq!((exported["digest"].as_str(), exported["agents"].as_u64()), (Some(&*digest), Some(u64::from(AGENTS) - 1)));
    assert!(exported["events"].as_u64().unwrap() > 300, "{exported}");
    let file = place.path("fleet.jsonl");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "it is as confidential as the database");
    let lines = fs::read_to_string(&file).unwrap();
    assert_eq!(lines.lines().count() as u64, summary.lines + 1);
    assert!(lines.lines().last().unwrap().contains(&digest), "the last line bears the digest");

    let piped = place.run("fleet.db", &["export"]).success();
    assert!(piped.get_output().stdout == lines.as_bytes(), "the same bytes on standard output");
    let aside = String::from_utf8(piped.get_output().stderr.clone()).unwrap();
    assert!(aside.contains(&digest), "the summary stands beside them: {aside}");

    let imported = place.json("file.db", &["import", "--input", "fleet.jsonl"]);
    assert_eq!(imported, exported);
    let imported = place.command("pipe.db").args(["import", "--json"]).write_stdin(lines.clone()).assert().success();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&imported.get_output().stdout).unwrap(), exported);
    for copy in ["file.db", "pipe.db"] {
        assert_eq!(place.summary(copy).await, summary, "{copy}");
        place.run(copy, &["rebuild", "--check"]).success();
    }

    // A name that is taken is kept, on both ends.
    let said = place.fails("fleet.db", &["export", "--output", "fleet.jsonl"], 1);
    assert!(said.contains("fleet.jsonl exists already"), "{said}");
    assert_eq!(fs::read_to_string(&file).unwrap(), lines);
    let said = place.fails("file.db", &["import", "--input", "fleet.jsonl"], 1);
    assert!(said.contains("file.db is not empty") && said.contains("delete the file"), "{said}");
    assert_eq!(place.summary("file.db").await, summary);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_moves_between_files_with_equal_digests_and_goes_on() {
    let place = lived().await;
    let summary = place.summary("fleet.db").await;
    let moved = place.json("none", &["migrate-store", "--from", "fleet.db", "--to", "moved.db"]);
    let digest = summary.digest.to_string();
    assert_eq!((moved["digests"]["from"].as_str(), moved["digests"]["to"].as_str()), (Some(&*digest), Some(&*digest)));
    assert_eq!((moved["moved"]["events"].as_u64(), place.summary("moved.db").await), (Some(summary.events), summary));
    let said = place.run("none", &["migrate-store", "--from", "fleet.db", "--to", "again.db"]).success();
    let said = String::from_utf8(said.get_output().stdout.clone()).unwrap();
    assert_eq!(said.matches(&digest).count(), 2, "both digests are shown: {said}");
    assert!(!place.names().contains(&"none".to_owned()), "no other database was made");

    // The fleet goes on in its new place.
    let mut server = Serving::start(&place.path("moved.db"));
    let token = place.json("moved.db", &["enrolment-token"]);
    assert_eq!(token["seats"], 1);
    server.child.kill().unwrap();
    server.child.wait().unwrap();

    fs::hard_link(place.path("fleet.db"), place.path("linked.db")).unwrap();
    for (from, to, code, words) in [
        ("fleet.db", "fleet.db", 2, "same database"),
        ("fleet.db", "./fleet.db", 2, "same database"),
        ("fleet.db", "sqlite:fleet.db", 2, "same database"),
        ("fleet.db", "linked.db", 2, "same database"),
        ("fleet.db", "again.db", 1, "again.db is not empty"),
        ("fleet.db", "memory:", 2, "a fleet in memory"),
        ("memory:", "new.db", 2, "a fleet in memory"),
        ("nothing.db", "new.db", 1, "no database at nothing.db"),
        ("fleet.db", "nowhere/new.db", 1, "opening the database nowhere/new.db"),
        ("fleet.db", "mysql://x", 1, "unknown database"),
    ] {
        let said = place.fails("none", &["migrate-store", "--from", from, "--to", to], code);
        assert!(said.contains(words), "{from} to {to}: {said}");
    }
    assert!(!place.names().contains(&"new.db".to_owned()) && !place.names().contains(&"nothing.db".to_owned()));
    let said = place.fails("none", &["migrate-store", "--from", "fleet.db"], 2);
    assert!(said.contains("--to"), "{said}");
    drop(redflag_store_sqlite::SqliteStore::open(place.path("empty.db"), redflag_store_sqlite::Options::default()).unwrap());
    let said = place.fails("none", &["migrate-store", "--from", "empty.db", "--to", "new.db"], 1);
    assert!(said.contains("there is no fleet in empty.db"), "{said}");
    place.run("none", &["migrate-store", "--from", "fleet.db", "--to", "empty.db"]).success();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_or_broken_file_leaves_nothing_behind() {
    let place = lived().await;
    place.run("fleet.db", &["export", "--output", "whole.jsonl"]).success();
    let whole = fs::read_to_string(place.path("whole.jsonl")).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let without = |at: usize| [&lines[..at], &lines[at + 1..]].concat().join("\n");
    let half = whole.len() / 2;
    for (name, content, words) in [
        ("empty", String::new(), "cut off after line 0"),
        ("without its end", lines[..lines.len() - 1].join("\n"), "cut off"),
        ("cut in a line", whole[..half].to_owned(), "line "),
        ("without a batch", without(lines.len() / 2), "line "),
        ("changed", whole.replacen("simulated", "simulateD", 1), "of digest"),
        ("with more after its end", format!("{whole}{}\n", lines[0]), "nothing may follow the end"),
        ("not an export", "hello\n".to_owned(), "line 1"),
    ] {
        fs::write(place.path("broken.jsonl"), &content).unwrap();
        let said = place.fails("target.db", &["import", "--input", "broken.jsonl"], 1);
        assert!(said.contains(words) && said.contains("nothing was kept of target.db"), "{name}: {said}");
        assert!(place.names().iter().all(|file| !file.starts_with("target.db")), "{name}: {:?}", place.names());
    }
    // A database that was there is not deleted, and says what to do.
    drop(place.store("empty.db"));
    let said = place.fails("empty.db", &["import", "--input", "broken.jsonl"], 1);
    assert!(said.contains("may hold a part of a fleet now; before another try, delete the file"), "{said}");
    assert!(place.path("empty.db").exists());
}

/// Starts a command and lets it work until it has written something to `target`, then sends it `signal`.
fn stopped_midway(place: &Place, arguments: &[&str], signal: &str, target: impl Fn() -> bool) -> std::process::Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_redflag-server"))
        .args(arguments)
        .current_dir(&place.directory)
        .env("REDFLAG_LOG", "warn")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while !target() {
        assert!(child.try_wait().unwrap().is_none(), "the command ended before it had begun");
    }
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
    child.wait_with_output().unwrap()
}

/// Whether the database has agents already: the move is midway.
fn has_agents(path: &Path) -> bool {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let Ok(connection) = rusqlite::Connection::open_with_flags(path, flags) else { return false };
    connection.query_row("SELECT count(*) > 0 FROM agents", [], |row| row.get(0)).unwrap_or(false)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_move_leaves_the_source_as_it_was_and_a_target_that_is_refused() {
    let place = lived().await;
    let summary = place.summary("fleet.db").await;
    let arguments = ["migrate-store", "--from", "fleet.db", "--to", "target.db"];
    let target = place.path("target.db");
    let killed = stopped_midway(&place, &arguments, "-KILL", || has_agents(&target));
    assert!(!killed.status.success(), "it was killed before it was done");
    assert_eq!(place.summary("fleet.db").await, summary, "the source is untouched");
    let said = place.fails("none", &arguments, 1);
    assert!(said.contains("target.db is not empty") && said.contains("a killed import left") && said.contains("delete the file"), "{said}");
    for name in ["target.db", "target.db-wal", "target.db-shm"] {
        drop(fs::remove_file(place.path(name)));
    }
    place.run("none", &arguments).success();
    assert_eq!(place.summary("target.db").await, summary, "after doing as it said, the move succeeds");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_move_deletes_the_file_it_made() {
    let place = lived().await;
    let summary = place.summary("fleet.db").await;
    let target = place.path("target.db");
    for signal in ["-INT", "-TERM"] {
        let stopped = stopped_midway(&place, &["migrate-store", "--from", "fleet.db", "--to", "target.db"], signal, || has_agents(&target));
        let said = String::from_utf8(stopped.stderr).unwrap();
        assert_eq!(stopped.status.code(), Some(1), "{said}");
        assert!(said.contains("nothing was kept of target.db"), "{said}");
        assert!(place.names().iter().all(|name| !name.starts_with("target.db")), "{:?}", place.names());
    }
    assert_eq!(place.summary("fleet.db").await, summary);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_that_ends_early_has_no_name() {
    let place = lived().await;
    // Documents of 60 MB, so that no export is done before it is stopped.
    let documents = "INSERT INTO records (namespace, key, value, revision)
        WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 1000)
        SELECT 'padding', n, hex(zeroblob(30000)), 1 FROM numbers";
    rusqlite::Connection::open(place.path("fleet.db")).unwrap().execute(documents, []).unwrap();
    let before = place.names();
    // A reader that goes away.
    let mut child = place_command(&place, &["export"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut start = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut start).unwrap();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(1), "half an export is no export");
    // An interrupted export takes its unfinished file away; a killed one cannot, but nothing has its name.
    let unfinished = || place.names().into_iter().find(|name| name.ends_with(".partial"));
    let begun = || unfinished().is_some_and(|name| fs::metadata(place.path(&name)).is_ok_and(|file| file.len() > 0));
    for signal in ["-INT", "-TERM", "-KILL"] {
        let stopped = stopped_midway(&place, &["export", "--database", "fleet.db", "--output", "fleet.jsonl"], signal, begun);
        assert!(!stopped.status.success(), "{stopped:?}");
        assert!(!place.path("fleet.jsonl").exists(), "{signal}");
        assert_eq!(unfinished().is_some(), signal == "-KILL", "{signal}");
    }
    fs::remove_file(place.path(&unfinished().unwrap())).unwrap();
    // An export to a directory that is not there.
    let said = place.fails("fleet.db", &["export", "--output", "nowhere/fleet.jsonl"], 1);
    assert!(said.contains("nowhere"), "{said}");
    // An import whose input stays open is given up at once.
    let mut waiting = place_command(&place, &["import"])
        .env("REDFLAG_DATABASE", "waiting.db")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = waiting.stdin.take().unwrap();
    let whole = place.run("fleet.db", &["export"]).success().get_output().stdout.clone();
    input.write_all(&whole[..whole.len() / 2]).unwrap();
    while !has_agents(&place.path("waiting.db")) {
        assert!(waiting.try_wait().unwrap().is_none(), "the import ended before it had begun");
    }
    assert!(Command::new("kill").args(["-INT", &waiting.id().to_string()]).status().unwrap().success());
    let stopped = waiting.wait_with_output().unwrap();
    drop(input);
    let said = String::from_utf8(stopped.stderr).unwrap();
    assert!(said.contains("nothing was kept of waiting.db"), "{said}");
    assert_eq!(place.names(), before, "nothing was left by any of them");
}

fn place_command(place: &Place, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redflag-server"));
    command.args(arguments).current_dir(&place.directory).env("REDFLAG_DATABASE", "fleet.db").env("REDFLAG_LOG", "warn");
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_the_fleet_while_it_is_served() {
    let place = lived().await;
    let summary = place.summary("fleet.db").await;
    let mut server = Serving::start(&place.path("fleet.db"));
    let done = place.json("fleet.db", &["backup", "copy.db"]);
    assert_eq!(done["bytes"].as_u64().unwrap(), fs::metadata(place.path("copy.db")).unwrap().len());
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let copy = place.summary("copy.db").await;
    // The server noted its address anew: the log is the same, the documents need not be.
    assert_eq!((copy.agents, copy.batches, copy.events), (summary.agents, summary.batches, summary.events));
    place.run("copy.db", &["rebuild", "--check"]).success();
    let said = place.fails("fleet.db", &["backup", "copy.db"], 1);
    assert!(said.contains("copy.db exists already"), "{said}");
    let said = place.fails("nothing.db", &["backup", "new.db"], 1);
    assert!(said.contains("no database at nothing.db"), "{said}");
    let said = place.fails("postgres://redflag:secret@db.example/redflag", &["backup", "new.db"], 1);
    assert!(said.contains("docs/backup.md") && !said.contains("secret"), "{said}");
    assert!(place.names().iter().all(|name| !name.contains("partial") && !name.starts_with("new.db")), "{:?}", place.names());
}
