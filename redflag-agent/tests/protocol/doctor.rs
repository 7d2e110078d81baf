//! The doctor: what it says of a healthy agent, and of one that was broken in each of the ways it knows.

use crate::support::{Lab, home};
use assert_cmd::Command;
use redflag_agent::{
    Delivery, Silent,
    doctor::{Doctor, Finding, Verdict, worst},
};
use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

/// Checks whose result depends on nothing but the agent.
const OF_THE_AGENT: &[&str] =
    &["state directory", "machine", "enrolment", "key", "server", "clock", "last report", "outbox", "quarantine", "package manager"];

struct Patient {
    lab: Lab,
    state: PathBuf,
}

impl Patient {
    /// An agent that has reported.
    async fn new() -> Self {
        let lab = Lab::new().await;
        let summary = lab.agent().report(&mut Silent).await.unwrap();
        assert!(matches!(summary.delivery, Delivery::Delivered(_)), "{:?}", summary.delivery);
        let state = lab.directory.path().join("state");
        Self { lab, state }
    }

    async fn examine(&self) -> Vec<Finding> {
        Doctor::new(&self.state, vec![Box::new(self.lab.apt.clone())]).examine(&mut Silent).await
    }

    /// The finding of `check`, which must be bad and say what to do.
    async fn complains(&self, check: &str, verdict: Verdict) -> String {
        let findings = self.examine().await;
        let finding = findings.iter().find(|finding| finding.check == check).unwrap_or_else(|| panic!("{check} is missing: {findings:?}"));
        assert_eq!(finding.verdict, verdict, "{finding:?}");
        assert!(worst(&findings) >= verdict);
        let remedy = finding.remedy.as_ref().unwrap_or_else(|| panic!("{finding:?} says not what to do"));
        format!("{} -> {remedy}", finding.message)
    }
}

#[tokio::test]
async fn a_healthy_agent_has_no_problem_and_examining_it_changes_nothing() {
    let patient = Patient::new().await;
    let files = || {
        let mut files: Vec<_> =
            fs::read_dir(&patient.state).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
        files.sort();
        files.into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect::<Vec<_>>()
    };
    let before = files();
    let findings = patient.examine().await;
    for check in OF_THE_AGENT {
        let finding = findings.iter().find(|finding| finding.check == *check).unwrap_or_else(|| panic!("{check} is missing: {findings:?}"));
        assert!(finding.verdict == Verdict::Ok && finding.remedy.is_none(), "{finding:?}");
    }
    let process = |findings: &[Finding]| findings.iter().find(|finding| finding.check == "agent process").unwrap().verdict;
    assert_eq!(process(&findings), Verdict::Warning, "nothing runs");
    let _running = patient.lab.agent();
    assert_eq!(process(&patient.examine().await), Verdict::Ok);
    assert_eq!(files(), before);
}

#[tokio::test]
async fn every_fault_of_the_state_directory_is_found_with_its_remedy() {
    let patient = Patient::new().await;
    let file = |name: &str| patient.state.join(name);
    let mode = |path: PathBuf, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();

    mode(patient.state.clone(), 0o755);
    assert!(patient.complains("state directory", Verdict::Problem).await.contains("chmod 700"));
    mode(patient.state.clone(), 0o700);

    mode(file("key"), 0o644);
    assert!(patient.complains("key", Verdict::Problem).await.contains("mode 644"));
    mode(file("key"), 0o600);

    let kept = fs::read(file("agent.json")).unwrap();
    fs::write(file("agent.json"), "{").unwrap();
    assert!(patient.complains("enrolment", Verdict::Problem).await.contains("agent.json"));
    fs::remove_file(file("agent.json")).unwrap();
    assert!(patient.complains("enrolment", Verdict::Problem).await.contains("redflag-agent enrol"));
    fs::write(file("agent.json"), kept).unwrap();

    let kept = fs::read_to_string(file("machine.json")).unwrap();
    let digest = serde_json::from_str::<serde_json::Value>(&kept).unwrap()["digest"].as_str().unwrap().to_owned();
    fs::write(file("machine.json"), kept.replace(&digest, &"ab".repeat(32))).unwrap();
    assert!(patient.complains("machine", Verdict::Problem).await.contains("report --adopt"));
    fs::write(file("machine.json"), kept).unwrap();

    let segment = fs::read_dir(file("outbox")).unwrap().next().unwrap().unwrap().path();
    let kept = fs::read(&segment).unwrap();
    fs::write(&segment, [kept.as_slice(), &[7; 40]].concat()).unwrap();
    assert!(patient.complains("outbox", Verdict::Problem).await.contains("sets the damaged part aside"));
    fs::write(&segment, kept).unwrap();

    fs::write(file("quarantine").join("report-x.json"), "{}").unwrap();
    assert!(patient.complains("quarantine", Verdict::Warning).await.contains("report-x.json"));
    fs::remove_file(file("quarantine").join("report-x.json")).unwrap();

    patient.lab.apt.change(|scan| scan.failed("the lists are locked"));
    assert!(patient.complains("package manager", Verdict::Problem).await.contains("the lists are locked"));
}

#[tokio::test]
async fn a_server_that_is_away_or_lives_in_another_time_is_found() {
    let patient = Patient::new().await;
    patient.lab.server.set_clock_ahead(Duration::from_mins(10));
    let complaint = patient.complains("clock", Verdict::Problem).await;
    assert!(complaint.contains("min behind the server's") && complaint.contains("NTP"), "{complaint}");

    let path = patient.state.join("agent.json");
    let away = fs::read_to_string(&path).unwrap().replace(&patient.lab.server.url, "http://127.0.0.1:9");
    fs::write(&path, away).unwrap();
    assert!(patient.complains("server", Verdict::Problem).await.contains("firewall"));
    for _ in 0..3 {
        patient.lab.agent().report(&mut Silent).await.unwrap();
    }
    assert!(patient.complains("outbox", Verdict::Warning).await.contains("3 reports wait"));
    assert!(patient.complains("last report", Verdict::Warning).await.contains("did not answer"));
}

#[tokio::test]
async fn the_command_says_it_with_its_exit_code_and_as_json() {
    let run = async |state: PathBuf, json: bool| {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("redflag-agent"));
        command.arg("--state-dir").arg(state).arg("doctor").args(json.then_some("--json"));
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    };
    let patient = Patient::new().await;
    let output = run(patient.state.clone(), true).await;
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    // What this machine's managers say is theirs; the exit code follows the verdict.
    let expected = if document["verdict"] == "problem" { 1 } else { 0 };
    assert_eq!(output.status.code(), Some(expected), "{document}");
    let finding = |check| document["findings"].as_array().unwrap().iter().find(|finding| finding["check"] == check).unwrap();
    assert_eq!(finding("server")["verdict"], "ok", "{document}");

    let none = home(&patient.lab.directory).path().join("none");
    let output = run(none.clone(), false).await;
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("PROBLEM  state directory") && said.contains("-> run `redflag-agent enrol --server"), "{said}");
    assert!(!none.exists(), "looking made a directory");
}
