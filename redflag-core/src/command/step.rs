//! Steps of the command queue: units of work that lock the agent, see its commands with the states these are about, and write events,
//! states and commands together, so that the queue and the updates never tell different stories.
//!
//! Every step may be repeated: a request is known by its id, and what happened already is answered as it is.
//!
//! The way of an update: its approval is requested to be planned ([`Wanted::Updates`]). The agent leases the plan command, starts it
//! and finishes it with what its package manager would do. A plan within the terms makes the installation in the same step; one
//! beyond them makes the updates `needs-review`, where a second look at exactly this plan is a [`Confirm`]. The installation is leased,
//! started and finished in turn, and the next scan proves it. Whatever ends otherwise leaves the updates failed or in review.

use super::{
    payload::Action,
    people::People,
    queue::Queue,
    record::{Claim, CommandRecord, Ending, Terms},
};
use crate::{
    event::Actor,
    ids::{AgentId, CommandId, Digest},
    names::{PackageKey, Text},
    time::Timestamp,
    work::{Answer, CommandNeeds, Decided, Loaded, Needs, Refusal, StateNeeds},
};
use serde::Serialize;

/// One step of an agent's queue.
#[derive(Clone, Debug)]
pub struct CommandStep {
    /// The agent; for what agents say, from the credential (clause C3).
    pub agent: AgentId,
    /// What happens.
    pub step: Step,
    /// When, by the store's clock.
    pub at: Timestamp,
}

/// What can happen to an agent's commands.
#[derive(Clone, Debug)]
pub enum Step {
    /// Somebody asks for a command.
    Request(Request),
    /// An operator accepts a plan that goes beyond the terms it was made on.
    Confirm(Confirm),
    /// An operator asks for a command again that came to nothing.
    Retry(Retry),
    /// A person signs a command. The last that is needed queues it.
    Sign(Sign),
    /// Keys of people do not count any more: what now lacks signatures waits for new ones, and what was handed out with them is called
    /// off. What has begun goes on.
    Recall {
        /// The keys that count.
        people: People,
    },
    /// The agent asks for its commands. It is answered all that it has been given and has not begun, and up to `limit` new ones, in the
    /// order of their counters: a lost answer is mended by asking again, and what it cannot carry out stops nothing else (clause C5).
    Lease {
        /// How many new ones, at most [`crate::limits::COMMANDS_LEASED_MAX`].
        limit: u32,
    },
    /// The agent is about to begin. It may only when the answer says `started`.
    Start {
        /// The command.
        command: CommandId,
    },
    /// The agent says how it ended.
    Finish {
        /// The command.
        command: CommandId,
        /// How.
        claim: Claim,
    },
    /// Somebody calls a command off. That holds whatever the agent does.
    Cancel {
        /// The command.
        command: CommandId,
        /// Who.
        by: Actor,
        /// Why.
        reason: Option<Text>,
    },
    /// What ran out ends, or is queued again.
    Sweep,
}

/// A command that is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its id, chosen by the caller; the same id and content again has one effect.
    pub command: CommandId,
    /// Who asks.
    pub by: Actor,
    /// What for.
    pub wanted: Wanted,
    /// On which terms.
    pub terms: Terms,
}

/// What a command can be asked for. Nothing is installed that was not planned first.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wanted {
    /// A plan of bringing approved updates of one manager to the versions approved, and their installation when it stays within the
    /// terms.
    Updates(Vec<PackageKey>),
    /// Something done on the host itself, that names no packages.
    Host(Action),
}

/// A second look at a plan (clause A1).
#[derive(Clone, Debug)]
pub struct Confirm {
    /// The id of the installation, chosen by the caller.
    pub command: CommandId,
    /// The plan command.
    pub plan: CommandId,
    /// The digest of the plan that was looked at.
    pub digest: Digest,
    /// Who looked.
    pub operator: Text,
    /// In which words.
    pub comment: Option<Text>,
}

/// A command that is asked for again.
#[derive(Clone, Debug)]
pub struct Retry {
    /// The id of the new one, chosen by the caller.
    pub command: CommandId,
    /// The one that came to nothing.
    pub failed: CommandId,
    /// Who asks.
    pub operator: Text,
}

/// A signature of a person.
#[derive(Clone, Debug)]
pub struct Sign {
    /// The command.
    pub command: CommandId,
    /// The counter in what was signed: the command's own once somebody has signed it, else the agent's next.
    pub counter: u64,
    /// Who signs. Another signature of the same person is replaced.
    pub person: Text,
    /// The id of the key, which must be this person's.
    pub key_id: Digest,
    /// Of the bytes to sign of the envelope around [`CommandRecord::payload_with`] this counter.
    pub signature: [u8; 64],
    /// The keys that count. Signatures of other keys on the command are dropped.
    pub people: People,
}

impl CommandStep {
    pub(crate) fn needs(&self) -> Needs {
        let (commands, packages) = match &self.step {
            Step::Request(request) => (CommandNeeds { open: true, ids: vec![request.command] }, request.wanted.packages()),
            Step::Confirm(confirm) => (CommandNeeds { open: true, ids: vec![confirm.command, confirm.plan] }, Vec::new()),
            Step::Retry(retry) => (CommandNeeds { open: true, ids: vec![retry.command, retry.failed] }, Vec::new()),
            Step::Sign(sign) => (CommandNeeds::one(sign.command), Vec::new()),
            Step::Start { command } | Step::Cancel { command, .. } => (CommandNeeds::one(*command), Vec::new()),
            Step::Finish { command, .. } => {
                (CommandNeeds { open: false, ids: vec![*command, CommandId::of_plan(self.agent, *command)] }, Vec::new())
            }
            Step::Lease { .. } | Step::Recall { .. } | Step::Sweep => (CommandNeeds::open(), Vec::new()),
        };
        Needs { states: StateNeeds::Packages(packages), commands, ..Needs::head(self.agent) }
    }

    pub(crate) fn decide(&self, loaded: &Loaded) -> Result<Decided, Refusal> {
        let withheld = crate::work::Withheld::default();
        let mut queue = Queue::new(self.agent, self.at, loaded, &withheld)?;
        let answered: Vec<CommandRecord> = match &self.step {
            Step::Request(request) => vec![queue.request(request)?],
            Step::Confirm(confirm) => vec![queue.confirm(confirm)?],
            Step::Retry(retry) => vec![queue.retry(retry)?],
            Step::Sign(sign) => vec![queue.sign(sign)?],
            Step::Recall { people } => queue.recall(people),
            Step::Lease { limit } => queue.lease(*limit),
            Step::Start { command } => vec![queue.start(*command)?],
            Step::Finish { command, claim } => queue.finish_command(*command, claim)?,
            Step::Cancel { command, by, reason } => {
                vec![queue.cancel(*command, by.clone(), Ending::Cancelled { reason: reason.clone() })?]
            }
            Step::Sweep => queue.sweep(),
        };
        Ok(Decided { changes: queue.into_changes(), answer: Answer::Commands(answered) })
    }
}

impl Wanted {
    /// The packages, sorted and each once.
    pub(super) fn packages(&self) -> Vec<PackageKey> {
        match self {
            Self::Updates(packages) => {
                let mut packages = packages.clone();
                packages.sort();
                packages.dedup();
                packages
            }
            Self::Host(_) => Vec::new(),
        }
    }
}
