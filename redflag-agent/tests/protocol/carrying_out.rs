//! Commands from the server's queue to the executor and back: once, whatever is lost or dies in between.

use crate::{
    desk::{Mishap, STRANGER},
    stand_in::{StandIn, Whim},
    support::{Lab, TestServer, home},
};
use redflag_agent::{
    Agent, CommandOptions, Retries, RunOptions,
    commands::inbox::{Inbox, Kept, Step},
    quarantine::quarantined,
    status::{CommandStatus, Status},
};
use redflag_core::{
    command::{
        lifecycle::CommandState,
        payload::{Action, ActionKind},
        record::{Claim, Success},
        refusal::RefusalCode,
    },
    ids::CommandId,
};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const BASH: (&str, &str, &str) = ("bash", "5.1-1", "5.2-1");

/// A host with an executor, at a server that hands out commands.
struct Host {
    lab: Lab,
    executor: StandIn,
}

impl Host {
    async fn new() -> Self {
        let lab = Lab::at(TestServer::commanding().await).await;
        let executor = StandIn::start(lab.directory.path(), &lab.apt);
        Self { lab, executor }
    }

    /// With one update that was reported and approved.
    async fn approved() -> Self {
        let host = Self::new().await;
        host.lab.apt.offers(&[BASH], &[]);
        host.lab.agent().report(&mut redflag_agent::Silent).await.unwrap();
        host.server().approve_all(host.lab.identity.agent).await;
        host
    }

    fn server(&self) -> &TestServer {
        &self.lab.server
    }

    async fn order(&self, action: Action) -> CommandId {
        self.server().order(self.lab.identity.agent, action).await
    }

    async fn state(&self, command: CommandId) -> CommandState {
        self.server().record(self.lab.identity.agent, command).await.state
    }

    fn status(&self) -> CommandStatus {
        Status::read(&home(&self.lab.directory)).commands
    }

    fn inbox(&self) -> Vec<Kept> {
        Inbox::look(&home(&self.lab.directory)).unwrap()
    }

    fn options(&self) -> RunOptions {
        options(&self.executor)
    }

    /// Runs the agent, as a start of its process does, until `done`.
    async fn run_until(&self, done: impl AsyncFnMut() -> bool) {
        run_until(self.lab.agent(), &self.options(), done).await;
    }
}

fn options(executor: &StandIn) -> RunOptions {
    let patience = Retries { first: Duration::from_millis(1), longest: Duration::from_millis(2), limit: Some(3) };
    let pause = Duration::from_millis(5);
    let commands = CommandOptions { patience, pause, ..CommandOptions::through(&executor.socket) };
    RunOptions { commands: Some(commands), ..RunOptions::default() }
}

async fn run_until(mut agent: Agent, options: &RunOptions, mut done: impl AsyncFnMut() -> bool) {
    let done = async {
        while !done().await {
            tokio::task::yield_now().await;
        }
    };
    let limit = Duration::from_secs(30);
    tokio::select! {
        ended = agent.run(options, CancellationToken::new()) => panic!("the agent has ended: {ended:?}"),
        waited = tokio::time::timeout(limit, done) => waited.expect("what is waited for does not come about"),
    }
}

#[tokio::test]
async fn an_approval_becomes_an_installation_and_its_proof() {
    let host = Host::approved().await;
    host.run_until(async || host.server().open().await.is_empty() && host.inbox().is_empty()).await;
    let results = host.server().results();
    assert!(matches!(&results[0].1, Claim::Succeeded(Success { plan: Some(plan), .. }) if plan.changes.len() == 1), "{results:?}");
    let installed = Claim::Succeeded(Success { plan: None, reboot_required: Some(false), output: "done\n".into() });
    assert_eq!((&results[1].1, results.len()), (&installed, 2));
    assert_eq!(host.executor.done(), [results[0].0, results[1].0]);
    assert_eq!(host.server().arrived().len(), 2, "the report before, and the proof");
    let last = host.status().last.unwrap();
    assert_eq!((last.id, last.action, last.end.as_str()), (results[1].0, Some(ActionKind::Install), "succeeded"));
}
