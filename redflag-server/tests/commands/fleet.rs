//! A fleet made by a server process from simulated agents, and commands on it.

use assert_cmd::Command;
use redflag_agent::{Silent, Simulation, SimulationOptions};
use redflag_core::{
    Fleet,
    export::{Exporter, Summary},
};
use redflag_store_sqlite::{Options, SqliteStore};
use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

/// Agents of the fleet.
pub(crate) const AGENTS: u32 = 4;

/// A directory with a fleet in it, whose server has ended.
pub(crate) struct Place {
    pub(crate) directory: tempfile::TempDir,
}

impl Place {
    /// Runs a server until simulated agents have reported and changed.
    pub(crate) async fn served() -> Self {
        let place = Self { directory: tempfile::tempdir().unwrap() };
        let mut server = Serving::start(&place.path("fleet.db"));
        let token = place.run("fleet.db", &["enrolment-token", "--seats", &AGENTS.to_string()]).success();
        let token = String::from_utf8(token.get_output().stdout.clone()).unwrap().trim().to_owned();
        let options = SimulationOptions {
            server: server.url.clone(),
            token,
            agents: AGENTS,
            first_updates: 1_500,
            rounds: 3,
            ..SimulationOptions::default()
        };
        let summary = Simulation::new(options).run(&mut Silent).await.unwrap();
        assert_eq!(summary.rejected, 0, "{summary:?}");
        server.child.kill().unwrap();
        server.child.wait().unwrap();
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs a command on the database `name`.
    pub(crate) fn run(&self, name: &str, arguments: &[&str]) -> assert_cmd::assert::Assert {
        self.command(name).args(arguments).assert()
    }

    /// Runs a command on the database `name` that must end well, and reads its JSON document.
    pub(crate) fn json(&self, name: &str, arguments: &[&str]) -> Value {
        let done = self.command(name).args(arguments).arg("--json").assert().success();
        serde_json::from_slice(&done.get_output().stdout).unwrap()
    }

    /// Runs a command on the database `name` that must fail with `code`, and answers what it says.
    pub(crate) fn fails(&self, name: &str, arguments: &[&str], code: i32) -> String {
        let failed = self.run(name, arguments).code(code);
        String::from_utf8(failed.get_output().stderr.clone()).unwrap()
    }

    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_redflag-server"));
        command.current_dir(&self.directory).env("REDFLAG_DATABASE", name).env("REDFLAG_LOG", "warn");
        command
    }

    pub(crate) fn store(&self, name: &str) -> SqliteStore {
        SqliteStore::open(self.path(name), Options::default()).unwrap()
    }

    pub(crate) fn fleet(&self, name: &str) -> Fleet {
        Fleet::new(self.store(name))
    }

    /// What the database holds, as an export sums it up.
    pub(crate) async fn summary(&self, name: &str) -> Summary {
        summary(&self.fleet(name)).await
    }

    /// The names in the directory that are not hidden in plain sight: none of an unfinished file may stay.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.directory).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

pub(crate) async fn summary(fleet: &Fleet) -> Summary {
    let mut exporter = Exporter::new(fleet);
    while exporter.next_line().await.unwrap().is_some() {}
    exporter.summary()
}

/// A server process.
pub(crate) struct Serving {
    pub(crate) child: Child,
    pub(crate) url: String,
}

impl Serving {
    pub(crate) fn start(database: &Path) -> Self {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_redflag-server"))
            .args(["serve", "--listen", "127.0.0.1:0", "--database"])
            .arg(database)
            .env("REDFLAG_LOG", "warn")
            .env_remove("REDFLAG_PUBLIC_URL")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("serving ").expect("the server says where it serves").to_owned();
        // The server goes on talking, and would fail if nobody listened.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Self { child, url }
    }

    /// Ends it as an init system does.
    pub(crate) fn stop(mut self) {
        let asked = std::process::Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(asked.success() && self.child.wait().unwrap().success());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Ended already, unless the test failed.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
