//! The units that keep the agent running, and the executor that installs for it.

use super::Finding;
use crate::{
    error::with_causes,
    executor::{
        policy::{DEFAULT_POLICY, Policy},
        service::DEFAULT_SOCKET,
    },
    tool::Tool,
};
use std::{io::ErrorKind, path::Path, time::Duration};
use tokio::net::UnixStream;

const UNIT: &str = "redflag-agent.service";

pub(super) async fn executor(root: &Path) -> Finding {
    const CHECK: &str = "executor";
    let of = |path: &str| root.join(path.trim_start_matches('/'));
    let (policy, socket) = (of(DEFAULT_POLICY), of(DEFAULT_SOCKET));
    let listening = UnixStream::connect(&socket).await;
    let kind = listening.as_ref().err().map(std::io::Error::kind);
    match (policy.exists(), listening) {
        (false, Err(_)) if kind == Some(ErrorKind::NotFound) => {
            Finding::skipped(CHECK, "not set up: this agent reports, and installs nothing")
        }
        (false, _) => Finding::problem(CHECK, format!("{} is there, but {} is not", socket.display(), policy.display()))
            .remedy("write the policy: without it every command is refused"),
        (true, Err(_)) if kind == Some(ErrorKind::PermissionDenied) => {
            Finding::problem(CHECK, format!("this user may not use {}", socket.display()))
                .remedy("run the doctor as the agent's user or as root")
        }
        (true, Err(error)) => Finding::problem(CHECK, format!("does not listen at {}: {error}", socket.display()))
            .remedy("run `systemctl enable --now redflag-executor.socket`"),
        // Who is not root may be unable to read the policy, and need not be able to.
        (true, Ok(_)) => match Policy::read(&policy) {
            Err(error) if rustix::process::geteuid().is_root() => {
                Finding::problem(CHECK, with_causes(&error)).remedy("mend the policy: until then every command is refused")
            }
            _ => Finding::ok(CHECK, format!("listens at {}, bound by {}", socket.display(), policy.display())),
        },
    }
}

pub(super) async fn unit(root: &Path) -> Finding {
    const CHECK: &str = "systemd unit";
    const TIME_MAX: Duration = Duration::from_secs(10);
    if !root.join("run/systemd/system").is_dir() {
        return Finding::skipped(CHECK, "systemd does not run on this host");
    }
    let show = Tool::new("systemctl").with(["show", "--property=LoadState,ActiveState,SubState,Result,NRestarts", UNIT]);
    match tokio::time::timeout(TIME_MAX, show.run()).await {
        Ok(Ok(output)) => judge(&output.stdout),
        Ok(Err(error)) => Finding::warning(CHECK, format!("systemd does not tell about {UNIT}: {error}")),
        Err(_) => Finding::warning(CHECK, format!("systemd does not tell about {UNIT} within {} s", TIME_MAX.as_secs())),
    }
}

/// Judges the properties of a unit, one `NAME=VALUE` a line.
fn judge(properties: &str) -> Finding {
    const CHECK: &str = "systemd unit";
    let of = |name: &str| properties.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default();
    let restarts = match of("NRestarts") {
        "" | "0" => String::new(),
        restarts => format!(", restarted {restarts} times"),
    };
    match (of("LoadState"), of("ActiveState")) {
        ("loaded", "active") if restarts.is_empty() => Finding::ok(CHECK, format!("{UNIT} is active")),
        ("loaded", "active") => {
            Finding::warning(CHECK, format!("{UNIT} is active{restarts}")).remedy(format!("read `journalctl -u {UNIT}` for the reason"))
        }
        ("loaded", state) => Finding::problem(CHECK, format!("{UNIT} is {state} ({}, {}){restarts}", of("SubState"), of("Result")))
            .remedy(format!("read `journalctl -u {UNIT}`, then `systemctl enable --now {UNIT}`")),
        _ => {
            Finding::warning(CHECK, format!("there is no {UNIT}")).remedy("install the unit, or have `redflag-agent report` run by a timer")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Verdict, *};

    #[test]
    fn a_unit_is_judged_by_its_properties() {
        let judged = |load: &str, active: &str, restarts: u32| {
            judge(&format!("Result=exit-code\nNRestarts={restarts}\nLoadState={load}\nActiveState={active}\nSubState=x\n"))
        };
        assert_eq!(judged("loaded", "active", 0).verdict, Verdict::Ok);
        assert_eq!(judged("loaded", "active", 3).verdict, Verdict::Warning);
        let failed = judged("loaded", "failed", 0);
        assert!(failed.verdict == Verdict::Problem && failed.remedy.unwrap().contains("journalctl"), "{}", failed.message);
        assert_eq!(judged("not-found", "inactive", 0).verdict, Verdict::Warning);
        assert_eq!(judge("").verdict, Verdict::Warning);
    }

    #[tokio::test]
    async fn an_executor_that_is_not_set_up_is_no_fault() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(executor(root.path()).await.verdict, Verdict::Skipped);
        let path = |path: &str| root.path().join(path.trim_start_matches('/'));
        let (policy, socket) = (path(DEFAULT_POLICY), path(DEFAULT_SOCKET));
        std::fs::create_dir_all(policy.parent().unwrap()).unwrap();
        std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
        let finding = async |expected, part: &str| {
            let finding = executor(root.path()).await;
            assert!(finding.verdict == expected && finding.message.contains(part), "{finding:?}");
        };
        std::fs::write(&policy, "").unwrap();
        finding(Verdict::Problem, "does not listen").await;
        let _listening = tokio::net::UnixListener::bind(&socket).unwrap();
        finding(Verdict::Problem, "executor.toml").await;
        let example = include_str!("../../systemd/executor.toml").replace("users = [\"redflag-agent\"]", "users = [\"root\"]");
        std::fs::write(&policy, example).unwrap();
        finding(Verdict::Ok, "bound by").await;
        std::fs::remove_file(&policy).unwrap();
        finding(Verdict::Problem, "is not").await;
        assert_eq!(unit(root.path()).await.verdict, Verdict::Skipped);
    }
}
