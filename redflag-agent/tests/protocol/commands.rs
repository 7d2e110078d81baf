//! The binary itself: help, exit codes, output.

use crate::{
    desk::{SERVER, public},
    support::{Fault, TestServer},
};
use assert_cmd::Command;
use redflag_core::{ids::Digest, signing};
use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Output, Stdio},
};

const COMMANDS: &[&str] = &["enrol", "report", "run", "status", "trust-server-key", "doctor", "scan", "execute", "simulate"];

async fn agent(state: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("redflag-agent"));
    command.env_remove("RUST_LOG").env_remove("REDFLAG_TOKEN").env("REDFLAG_AGENT_STATE_DIR", state).args(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn every_command_explains_itself_with_examples() {
    let directory = tempfile::tempdir().unwrap();
    let help = text(&agent(directory.path(), &["--help"]).await.stdout);
    assert!(help.contains("Exit codes:"), "{help}");
    for command in COMMANDS {
        assert!(help.contains(command), "{command} is not listed");
        let output = agent(directory.path(), &[command, "--help"]).await;
        assert!(output.status.success() && text(&output.stdout).contains("Examples:"), "{command}");
        // A help text stated in two places hides one of them.
        assert!(command != &"scan" || text(&output.stdout).contains("3 a scan failed, 4 a scan is partial"), "{command}");
    }
}

#[tokio::test]
async fn a_host_that_is_not_enrolled_is_told_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    for command in ["report", "run", "status"] {
        let output = agent(&directory.path().join("none"), &[command]).await;
        assert_eq!(output.status.code(), Some(1), "{command}");
        assert!(text(&output.stderr).contains("redflag-agent enrol --server"), "{}", text(&output.stderr));
        assert!(!directory.path().join("none").exists(), "{command} made a state directory");
    }
    let output = agent(directory.path(), &["fly"]).await;
    assert_eq!(output.status.code(), Some(2));
}

#[tokio::test]
async fn the_commands_work_together() {
    let (server, directory) = (TestServer::start().await, tempfile::tempdir().unwrap());
    let state = directory.path().join("state");
    let enrol = |token| ["enrol", "--server", &server.url, "--token", token, "--name", "web-01"].map(str::to_owned);
    let run = async |arguments: &[String]| agent(&state, &arguments.iter().map(String::as_str).collect::<Vec<_>>()).await;

    let refused = run(&enrol("wrong")).await;
    assert_eq!(refused.status.code(), Some(77), "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains("because of bad_token"), "{}", text(&refused.stderr));
    let enrolled = run(&enrol("good")).await;
    assert!(enrolled.status.success() && text(&enrolled.stdout).starts_with("enrolled as web-01 ("), "{}", text(&enrolled.stdout));

    let status = agent(&state, &["status", "--json"]).await;
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!((&status["name"], &status["outbox"]["reports"]), (&serde_json::json!("web-01"), &serde_json::json!(0)));
    assert!(text(&agent(&state, &["status"]).await.stdout).contains("none yet; run `redflag-agent report`"));
}

#[tokio::test]
async fn enrolling_shows_the_servers_key_and_what_root_adds_for_it() {
    let (server, directory) = (TestServer::commanding().await, tempfile::tempdir().unwrap());
    let state = directory.path().join("state");
    let enrol = ["enrol", "--server", &server.url, "--token", "good", "--name", "web-01"];
    let output = text(&agent(&state, &enrol).await.stdout);
    let signer = server.desk.signer().unwrap();
    let fingerprint = signing::fingerprint(&public(SERVER));
    assert!(output.contains(&format!("server's key: {fingerprint} (server-signs)")), "{output}");
    let public_key = Digest::from_bytes(public(SERVER));
    let block = format!("[[signer]]\nname = \"127.0.0.1\"\nmode = \"server-signs\"\npublic_key = \"{public_key}\"\n");
    assert!(output.contains("/etc/redflag/executor.toml") && output.ends_with(&block), "{output}");
    // Enrolled already: it says the same.
    let json = agent(&state, &[&enrol[..], &["--json"]].concat()).await;
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["signer"]["key_id"], &json["name"]), (&serde_json::json!(signer.key_id), &"web-01".into()));
    assert_eq!(json["signer"]["public_key"], signer.public_key);
}

#[tokio::test]
async fn a_copy_of_a_state_directory_on_another_machine_is_refused_until_it_is_adopted() {
    let (server, directory) = (TestServer::start().await, tempfile::tempdir().unwrap());
    let state = directory.path().join("state");
    let enrol = ["enrol", "--server", &server.url, "--token", "good", "--name", "web-01"];
    assert!(agent(&state, &enrol).await.status.success());
    let path = state.join("machine.json");
    let mut machine: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert!(machine["digest"].is_string(), "this machine has no /etc/machine-id: {machine}");
    machine["digest"] = serde_json::json!("ab".repeat(32));
    std::fs::write(&path, machine.to_string()).unwrap();
    for refused in [&["report"][..], &["run"], &enrol] {
        let output = agent(&state, refused).await;
        assert_eq!(output.status.code(), Some(78), "{refused:?}: {}", text(&output.stderr));
        let message = text(&output.stderr);
        assert!(message.contains("enrolled on another machine") && message.contains("report --adopt"), "{message}");
    }
    assert!(server.arrived().is_empty(), "nothing was reported in the other machine's name");
    let adopted = agent(&state, &["report", "--adopt"]).await;
    assert_eq!(adopted.status.code(), Some(0), "{}", text(&adopted.stderr));
    assert_eq!(agent(&state, &["report"]).await.status.code(), Some(0));
}

#[tokio::test]
async fn a_simulation_says_what_it_did() {
    let (server, directory) = (TestServer::start().await, tempfile::tempdir().unwrap());
    server.fail([Fault::LoseAnswer]);
    let arguments = ["simulate", "--server", &server.url, "--token", "good", "--agents", "2", "--first-updates", "20", "--json"];
    let output = agent(directory.path(), &arguments).await;
    let summary: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)));
    assert_eq!((&summary["agents"], &summary["rejected"]), (&serde_json::json!(2), &serde_json::json!(0)));
}

#[tokio::test]
async fn a_simulation_ends_badly_when_a_server_answers_wrongly() {
    let (server, directory) = (TestServer::start().await, tempfile::tempdir().unwrap());
    let simulate = async |profile| {
        let fixed =
            ["simulate", "--server", &server.url, "--token", "good", "--agents", "2", "--first-updates", "20", "--rounds", "1", "--json"];
        let output = agent(directory.path(), &[&fixed[..], &["--profile", profile]].concat()).await;
        let summary: serde_json::Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)));
        (output.status.code(), summary)
    };
    // This server holds numbers against those used before, and looks at no clock.
    let (code, summary) = simulate("clones").await;
    assert_eq!((code, &summary["wrong"], &summary["refused"]), (Some(0), &serde_json::json!(0), &serde_json::json!(2)), "{summary}");
    let (code, summary) = simulate("skew").await;
    // It takes what was signed an hour ago, and so the good report after it is late: two wrong answers for each agent.
    assert_eq!((code, &summary["wrong"], &summary["refused"]), (Some(1), &serde_json::json!(4), &serde_json::json!(0)), "{summary}");
    assert!(summary["wrong_answers"][0].as_str().unwrap().contains("signed an hour ago"), "{summary}");
    let (code, summary) = simulate("lost-answers").await;
    assert_eq!((code, &summary["latencies"]["again"]["count"]), (Some(0), &serde_json::json!(2)), "{summary}");
}

#[tokio::test]
async fn the_service_ends_cleanly_when_asked() {
    let (server, directory) = (TestServer::start().await, tempfile::tempdir().unwrap());
    let state = directory.path().join("state");
    assert!(agent(&state, &["enrol", "--server", &server.url, "--token", "good"]).await.status.success());
    let ended = tokio::task::spawn_blocking(move || {
        let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin!("redflag-agent"))
            .args(["run", "--state-dir"])
            .arg(&state)
            .env_remove("RUST_LOG")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("started"))).expect("the service says that it has started").unwrap();
        let id = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        let rest: Vec<_> = lines.map(Result::unwrap).collect();
        (child.wait().unwrap(), rest)
    });
    let (status, rest) = ended.await.unwrap();
    assert!(status.success(), "{status}: {rest:?}");
    assert!(rest.iter().any(|line| line.contains("stopped")), "{rest:?}");
}
