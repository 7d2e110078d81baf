//! A host with a stand-in for its executor, at a server that hands out commands.

use crate::{
    stand_in::StandIn,
    support::{Lab, TestServer, home},
};
use redflag_agent::{
    Agent, CommandOptions, Retries, RunOptions, Silent, clock,
    commands::inbox::{Inbox, Kept, Step},
    status::{CommandStatus, Status},
};
use redflag_core::{
    command::{
        lifecycle::CommandState,
        payload::Action,
        record::{Claim, Success},
        refusal::RefusalCode,
        step as queue,
    },
    event::Actor,
    ids::CommandId,
    names::{Manager, Text},
};
use std::{task::Poll, time::Duration};
use tokio_util::sync::CancellationToken;

const BASH: (&str, &str, &str) = ("bash", "5.1-1", "5.2-1");

/// A host with an executor, at a server that hands out commands.
pub(crate) struct Host {
    pub(crate) lab: Lab,
    pub(crate) executor: StandIn,
}

impl Host {
    pub(crate) async fn new() -> Self {
        let lab = Lab::at(TestServer::commanding().await).await;
        let executor = StandIn::start(lab.directory.path(), &lab.apt);
        Self { lab, executor }
    }

    /// With one update that was reported and approved.
    pub(crate) async fn approved() -> Self {
        let host = Self::new().await;
        host.lab.apt.offers(&[BASH], &[]);
        host.lab.agent().report(&mut Silent).await.unwrap();
        host.server().approve_all(host.lab.identity.agent).await;
        host
    }

    pub(crate) fn server(&self) -> &TestServer {
        &self.lab.server
    }

    pub(crate) async fn order(&self, action: Action) -> CommandId {
        self.server().order(self.lab.identity.agent, action).await
    }

    pub(crate) async fn state(&self, command: CommandId) -> CommandState {
        self.server().record(self.lab.identity.agent, command).await.state
    }

    pub(crate) fn status(&self) -> CommandStatus {
        Status::read(&home(&self.lab.directory)).commands
    }

    pub(crate) fn inbox(&self) -> Vec<Kept> {
        Inbox::look(&home(&self.lab.directory)).unwrap()
    }

    pub(crate) fn options(&self) -> RunOptions {
        options(&self.executor)
    }

    /// What the agent has written when it has taken a command that the server asks for now, and done nothing yet.
    pub(crate) async fn taken(&self, action: Action) -> Kept {
        let (id, kind) = (self.order(action.clone()).await, action.kind());
        let leased = self.server().fleet().command(self.lab.identity.agent, queue::Step::Lease { limit: 1 }, clock::now()).await.unwrap();
        let record = leased.iter().find(|record| record.id == id).expect("it is handed out");
        let envelope = self.server().desk.sign(record).envelope;
        Kept { id, action: Some(kind), received_at: clock::now(), step: Step::Received, envelope }
    }

    pub(crate) async fn keep(&self, kept: &Kept) {
        Inbox::open(&home(&self.lab.directory)).unwrap().keep(kept).unwrap();
    }

    /// Lets the server hear that a command begins.
    pub(crate) async fn start(&self, id: CommandId) {
        let step = queue::Step::Start { command: id };
        assert_eq!(
            self.server().fleet().command(self.lab.identity.agent, step, clock::now()).await.unwrap()[0].state,
            CommandState::Started
        );
    }

    pub(crate) async fn cancel(&self, id: CommandId) {
        let step = queue::Step::Cancel { command: id, by: Actor::Operator(Text::lossy("ada")), reason: None };
        self.server().fleet().command(self.lab.identity.agent, step, clock::now()).await.unwrap();
    }

    /// What was claimed of a command, which must be one thing however often it was said.
    pub(crate) fn claimed(&self, id: CommandId) -> Claim {
        let claims: Vec<_> = self.server().results().into_iter().filter(|(about, _)| *about == id).map(|(_, claim)| claim).collect();
        assert!(!claims.is_empty() && claims.iter().all(|claim| *claim == claims[0]), "{claims:?}");
        claims[0].clone()
    }

    pub(crate) fn times_done(&self, id: CommandId) -> usize {
        self.executor.done().iter().filter(|done| **done == id).count()
    }

    pub(crate) async fn settled(&self, id: CommandId) -> bool {
        !self.state(id).await.open() && self.inbox().is_empty()
    }

    /// Runs the agent, as a start of its process does, until `done`.
    pub(crate) async fn run_until(&self, done: impl AsyncFnMut() -> bool) {
        run_until(self.lab.agent(), &self.options(), done).await;
    }
}

fn options(executor: &StandIn) -> RunOptions {
    let patience = Retries { first: Duration::from_millis(1), longest: Duration::from_millis(2), limit: Some(3) };
    let pause = Duration::from_millis(5);
    let commands = CommandOptions { patience, pause, ..CommandOptions::through(&executor.socket) };
    RunOptions { commands: Some(commands), ..RunOptions::default() }
}

pub(crate) async fn run_until(mut agent: Agent, options: &RunOptions, mut done: impl AsyncFnMut() -> bool) {
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

/// Lets the agent run for so many polls, and drops it where it stands.
pub(crate) async fn poll_and_kill(mut agent: Agent, options: &RunOptions, polls: u32) {
    let mut running = std::pin::pin!(agent.run(options, CancellationToken::new()));
    let mut polled = 0;
    std::future::poll_fn(|context| {
        polled += 1;
        if polled > polls { Poll::Ready(()) } else { running.as_mut().poll(context).map(|ended| panic!("{ended:?}")) }
    })
    .await;
}

pub(crate) const SUCCEEDED: Claim = Claim::Succeeded(Success { plan: None, reboot_required: None, output: String::new() });

pub(crate) fn refresh() -> Action {
    Action::RefreshMetadata { manager: Manager::parse("apt").unwrap() }
}

pub(crate) fn refused(claim: &Claim) -> RefusalCode {
    match claim {
        Claim::Refused(refusal) => refusal.code,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

pub(crate) fn reason(claim: &Claim) -> &str {
    match claim {
        Claim::Failed(failure) => failure.reason.as_str(),
        other => panic!("expected a failure, got {other:?}"),
    }
}
