//! An executor that listens, and the agent that asks it, as processes.

use crate::lab::Lab;
use assert_cmd::cargo::cargo_bin;
use redflag_agent::executor::answer::Answer;
use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
};

/// A user without any rights.
pub(crate) const NOBODY: &str = "65534";

/// An executor that listens, ended when it is dropped.
#[derive(Debug)]
pub(crate) struct Service {
    pub child: Child,
    pub socket: PathBuf,
}

impl Service {
    /// Starts `command`, which says in its first line where it listens.
    pub(crate) fn start(mut command: Command, socket: PathBuf) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap_or_else(|error| panic!("starting {command:?}: {error}"));
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        assert!(first.to_lowercase().contains("listening"), "{first}");
        // It must not be kept from writing.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, socket }
    }

    pub(crate) fn listening(lab: &Lab) -> Self {
        let socket = lab.path().join("socket");
        let mut command = Command::new(cargo_bin!("redflag-executor"));
        command.arg("serve").args(own(lab)).arg("--listen").arg(&socket);
        Self::start(command, socket)
    }

    pub(crate) fn execute(&self, as_user: Option<&str>, envelope: &str, further: &[&str]) -> Output {
        let agent = cargo_bin!("redflag-agent");
        let mut command = match as_user {
            None => Command::new(agent),
            Some(user) => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid", user, "--regid", user, "--clear-groups"]).arg(agent);
                command
            }
        };
        command.args(["execute", envelope, "--socket"]).arg(&self.socket).args(further).output().unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        redflag_faults::signal(self.child.id(), redflag_faults::Signal::KILL);
        self.child.wait().expect("a child can be waited for");
    }
}

pub(crate) fn write(lab: &Lab, envelope: &[u8]) -> String {
    let path = lab.path().join("envelope.json");
    fs::write(&path, envelope).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The options that make an executor that of the lab.
pub(crate) fn own(lab: &Lab) -> [String; 2] {
    let options = lab.options();
    [format!("--policy={}", options.policy.display()), format!("--state-dir={}", options.state_dir.display())]
}

/// What the executor answered, from the output of a program that prints it as JSON.
pub(crate) fn answer(output: &Output) -> Answer {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}
