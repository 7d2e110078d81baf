//! What an agent costs between scans: the memory it keeps, and that it does nothing.

use crate::support::TestServer;
use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Most memory of its own (heap and stacks) that an idle agent keeps. What else it occupies are pages of its program, which differ
/// from build to build and belong to the page cache; `docs/performance.md` has the whole of a release build.
const ANONYMOUS_KIB_MAX: u64 = 8 * 1024;
/// Most of all, in a release build.
const RESIDENT_KIB_MAX: u64 = 15 * 1024;
/// How long nothing may happen.
const QUIET: Duration = Duration::from_secs(3);

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Running {
    fn status(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let value =
            status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or_else(|| panic!("{name} in {status}"));
        value.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Processor ticks and switches: whatever it does shows in one of them.
    fn activity(&self) -> (Vec<u64>, u64) {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        let ticks = [11, 12].map(|field: usize| fields[field].parse().unwrap()).to_vec();
        (ticks, self.status("voluntary_ctxt_switches"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "that nothing happens for a while is what is measured")]
async fn between_scans_an_agent_is_small_and_does_nothing() {
    let (server, directory) = (TestServer::start().await, tempfile::tempdir().unwrap());
    let url = server.url.clone();
    let agent = tokio::task::spawn_blocking(move || {
        let command = |arguments: &[&str]| {
            let mut command = Command::new(assert_cmd::cargo::cargo_bin!("redflag-agent"));
            command.env_remove("RUST_LOG").arg("--state-dir").arg(directory.path().join("state")).args(arguments);
            command
        };
        assert!(command(&["enrol", "--server", &url, "--token", "good"]).status().unwrap().success());
        let mut agent = Running(command(&["run"]).stderr(Stdio::piped()).spawn().unwrap());
        let mut said = BufReader::new(agent.0.stderr.take().unwrap()).lines().map(Result::unwrap);
        assert!(said.any(|line| line.contains("reported")), "the agent ended without a report");
        // The end of what follows a report: the activity stands still.
        let mut last = agent.activity();
        let settled = (0..30).any(|_| {
            std::thread::sleep(QUIET);
            let now = agent.activity();
            std::mem::replace(&mut last, now.clone()) == now
        });
        assert!(settled, "an agent between scans keeps doing something");
        (agent.status("RssAnon"), agent.status("VmRSS"), agent.status("Threads"), directory)
    });
    let (anonymous, resident, threads, _directory) = agent.await.unwrap();
    assert_eq!(server.arrived().len(), 1);
    println!("idle: {resident} KiB resident, {anonymous} KiB of them its own, {threads} thread");
    assert!(anonymous <= ANONYMOUS_KIB_MAX, "{anonymous} KiB of its own");
    assert!(cfg!(debug_assertions) || resident <= RESIDENT_KIB_MAX, "{resident} KiB resident");
    assert_eq!(threads, 1);
}
