//! Units of work: the closed set of things that change a fleet, each a pure decision between loading and writing.
//!
//! A backend opens one write transaction, locks the agent, loads what [`UnitOfWork::needs`] names, calls
//! [`UnitOfWork::decide`] (which may run more than once, for example after a serialisation failure), writes [`Changes`] without
//! looking inside, in a number of statements that does not depend on their size, and commits. Nothing else is asked of it.

use crate::{
    agent::{AgentHead, Enrolment, Pruned},
    batch::{Batch, BatchRecord, Item, Planner, Receipt, RejectedItem},
    command::{
        lifecycle::{CommandEvent, CommandState},
        queue::Queue,
        record::CommandRecord,
        refusal::CommandRefusal,
        step::CommandStep,
    },
    counters::{CounterChanges, OpenChange},
    event::{Actor, Event, EventKind, RecordedEvent, Source},
    feed::Tombstone,
    ids::{AgentId, BatchId, CommandId, Digest, EventId, ReportId},
    ignores::EndIgnores,
    limits,
    names::{Manager, PackageKey, Text},
    offer::OfferDigest,
    rebuild::{Derived, Rebuild},
    removal::{RemoveAgent, RemovedAgent},
    report::{Report, ReportAnswer, StoredReport},
    restore::Restore,
    retention::Prune,
    state::{Context, PackageState, States, VersionChange},
    time::Timestamp,
    words::IgnoreScope,
};
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
    sync::Arc,
};

/// Something that changes a fleet.
#[derive(Clone, Debug)]
pub enum UnitOfWork {
    /// A caller submits a batch.
    SubmitBatch(SubmitBatch),
    /// An agent reports.
    RecordReport(RecordReport),
    /// An operator decides.
    Decide(Decide),
    /// An agent is enrolled.
    EnrolAgent(Enrolment),
    /// An agent is removed.
    RemoveAgent(RemoveAgent),
    /// Retention takes the start of an agent's log.
    Prune(Prune),
    /// What follows from an agent's log is replaced by what does.
    Rebuild(Rebuild),
    /// A piece of an exported fleet is put back.
    Restore(Restore),
    /// A step of an agent's queue of commands.
    Command(CommandStep),
    /// Ignores have run out.
    EndIgnores(EndIgnores),
}

/// A batch with when it was received.
#[derive(Clone, Debug)]
pub struct SubmitBatch {
    /// The batch.
    pub batch: Batch,
    /// When.
    pub received_at: Timestamp,
    /// Events the database refused at an earlier try.
    pub withheld: Withheld,
}

/// A report with when it was received and how its events are cut into batches.
#[derive(Clone, Debug)]
pub struct RecordReport {
    /// The agent, from the credential (clause C3).
    pub agent: AgentId,
    /// The report, shared: stores hand it to threads of their own.
    pub report: Arc<Report>,
    /// When.
    pub received_at: Timestamp,
    /// Events per batch, 1 to [`limits::BATCH_EVENTS_MAX`].
    pub batch_events: u32,
    /// Events the database refused at an earlier try.
    pub withheld: Withheld,
}

/// Decisions of one operator about packages of one agent (clause S2).
#[derive(Clone, Debug)]
pub struct Decide {
    /// The agent.
    pub agent: AgentId,
    /// The id of the batch it becomes; the same id and content again has one effect.
    pub batch: BatchId,
    /// Who.
    pub operator: Text,
    /// What, about which package.
    pub decisions: Vec<(PackageKey, Decision)>,
    /// When.
    pub received_at: Timestamp,
}

/// What an operator can decide about an update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "decision", rename_all = "kebab-case")]
pub enum Decision {
    /// Install exactly this offer.
    Approve {
        /// The offer shown.
        offer_digest: OfferDigest,
        /// In which words.
        comment: Option<Text>,
    },
    /// Take an approval back.
    WithdrawApproval {
        /// In which words.
        comment: Option<Text>,
    },
    /// Do not ask.
    Ignore {
        /// The offer shown.
        offer_digest: OfferDigest,
        /// This version or the whole package.
        scope: IgnoreScope,
        /// Until when.
        until: Option<Timestamp>,
        /// In which words.
        reason: Option<Text>,
    },
    /// Ask again.
    Reopen {
        /// In which words.
        comment: Option<Text>,
    },
}

impl Decision {
    fn event(&self) -> EventKind {
        match self.clone() {
            Self::Approve { offer_digest, comment } => EventKind::Approved { offer_digest, comment },
            Self::WithdrawApproval { comment } => EventKind::ApprovalWithdrawn { comment },
            Self::Ignore { offer_digest, scope, until, reason } => EventKind::Ignored { offer_digest, scope, until, reason },
            Self::Reopen { comment } => EventKind::Reopened { comment },
        }
    }
}

/// Indexes of events, over all batches of a unit of work, that are rejected as `store_refused` without being tried
/// (clause B13). Empty but when the facade is looking for what a database refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Withheld(Vec<Range<u32>>);

impl Withheld {
    /// Also withholds `indexes`.
    pub fn add(&mut self, indexes: Range<u32>) {
        self.0.push(indexes);
    }

    /// Whether the event at `index` is withheld.
    #[must_use]
    pub fn contains(&self, index: u32) -> bool {
        self.0.iter().any(|range| range.contains(&index))
    }

    /// How many events are withheld one by one.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is withheld.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What a unit of work must see. The agent's head is always loaded, under a lock that lasts until commit (clause R5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs {
    /// The agent.
    pub agent: AgentId,
    /// Which states of the agent.
    pub states: StateNeeds,
    /// The batch whose receipt may already be stored.
    pub batch: Option<BatchId>,
    /// The report whose answer may already be stored.
    pub report: Option<ReportId>,
    /// Caller-chosen event ids that may already be stored.
    pub events: Vec<EventId>,
    /// Which commands of the agent.
    pub commands: CommandNeeds,
}

/// Which commands of an agent a unit of work must see, each with the states of the packages it is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandNeeds {
    /// Whether all that have not ended.
    pub open: bool,
    /// Those of these ids, ended or not.
    pub ids: Vec<CommandId>,
}

impl CommandNeeds {
    pub(crate) const fn open() -> Self {
        Self { open: true, ids: Vec::new() }
    }

    pub(crate) fn one(id: CommandId) -> Self {
        Self { open: false, ids: vec![id] }
    }

    /// Whether none is asked for.
    #[must_use]
    pub const fn none(&self) -> bool {
        !self.open && self.ids.is_empty()
    }

    /// Whether this one is asked for.
    #[must_use]
    pub fn names(&self, command: &CommandRecord) -> bool {
        self.open && command.state.open() || self.ids.contains(&command.id)
    }
}

/// Which states of an agent a unit of work must see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateNeeds {
    /// None.
    None,
    /// Those of these packages.
    Packages(Vec<PackageKey>),
    /// All of these managers, open and closed.
    Managers(Vec<Manager>),
}

/// What a backend loaded, inside the transaction.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The agent's head; none when the agent is unknown.
    pub head: Option<AgentHead>,
    /// What is kept of the agent when it was removed.
    pub removed: Option<RemovedAgent>,
    /// The states asked for and those of the packages that the commands are about, as far as they exist.
    pub states: States,
    /// The stored batch of the id asked for.
    pub batch: Option<BatchRecord>,
    /// The stored report of the id asked for.
    pub report: Option<StoredReport>,
    /// The stored events of the ids asked for.
    pub events: HashMap<EventId, ChosenEventId>,
    /// The commands asked for, those that exist.
    pub commands: BTreeMap<CommandId, CommandRecord>,
}

/// An event id chosen by a caller, with where the event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChosenEventId {
    /// The id.
    pub event: EventId,
    /// The event's number in the agent's stream.
    pub sequence: u64,
    /// The digest of the event's content.
    pub digest: Digest,
    /// The batch that brought it.
    pub batch: BatchId,
    /// Its index there.
    pub index: u32,
}

/// What must be written, all or nothing. Empty changes write nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The agent's head as it is afterwards; inserted when the agent was unknown.
    pub head: Option<AgentHead>,
    /// New batches, by ascending number.
    pub batches: Vec<BatchRecord>,
    /// New events, by ascending sequence.
    pub events: Vec<RecordedEvent>,
    /// Caller-chosen ids of new events.
    pub chosen_ids: Vec<ChosenEventId>,
    /// New and changed states as they are afterwards, in key order; each at most once.
    pub states: Vec<PackageState>,
    /// New history rows, by ascending sequence.
    pub history: Vec<VersionChange>,
    /// New rejections, in batch and index order.
    pub rejections: Vec<RejectedItem>,
    /// Differences to the agent's counters.
    pub counters: CounterChanges,
    /// Differences of open updates, to be added by day and severity; each day and severity at most once.
    pub open_changes: Vec<OpenChange>,
    /// New stored reports, in the order of their arrival.
    pub reports: Vec<StoredReport>,
    /// New and changed commands as they are afterwards, by ascending id.
    pub commands: Vec<CommandRecord>,
    /// What stands in the feed for batches of the agent that have no record any more, by ascending number: with `removed` or
    /// `pruning`, for the batches that these take away; with neither, as new entries at the feed's end.
    pub tombstones: Vec<Tombstone>,
    /// What retention takes: batches and events up to `head.pruned`, with all that belongs to them.
    pub pruning: Option<Pruning>,
    /// What replaces all states, history, counters and differences of open updates of the agent.
    pub derived: Option<Derived>,
    /// The agent goes, with every row of it but its feed entries; this stays.
    pub removed: Option<RemovedAgent>,
}

/// What retention takes beside batches and events, and what it leaves for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pruning {
    /// Reports received before this go.
    pub reports_before: Timestamp,
    /// Base states, in key order; each replaces the one of its package.
    pub bases: Vec<PackageState>,
}

/// What the caller is told after commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To a submitted batch.
    Batch(Receipt),
    /// To a report.
    Report(ReportAnswer),
    /// To decisions; a receipt with number 0 means that nothing was accepted and nothing written.
    Decision(Receipt),
    /// To an enrolment.
    Enrolled,
    /// To a removal.
    Removed(RemovedAgent),
    /// To retention: how much of the stream is gone.
    Pruned(Pruned),
    /// To a rebuild.
    Rebuilt,
    /// To a piece of an exported fleet.
    Restored,
    /// To a step of the queue: the command it is about and what follows from it, what is handed out, or what a sweep changed.
    Commands(Vec<CommandRecord>),
    /// To the end of ignores: how many updates are asked about again.
    IgnoresEnded(u32),
}

/// Why a unit of work as a whole is refused; nothing changes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No agent of this id.
    #[error("unknown agent {agent}")]
    UnknownAgent {
        /// The id.
        agent: AgentId,
    },
    /// The id is taken by an agent with another key.
    #[error("agent {agent} is already enrolled")]
    AgentExists {
        /// The id.
        agent: AgentId,
    },
    /// The id belonged to an agent that was removed (clause D2).
    #[error("agent {agent} was removed; a host that comes back enrols anew")]
    AgentRemoved {
        /// The id.
        agent: AgentId,
    },
    /// The agent's stream is not as it was when the work was prepared; read it again.
    #[error("the stream of agent {agent} has moved on")]
    AgentMoved {
        /// The agent.
        agent: AgentId,
    },
    /// A piece of a log does not fit what is there.
    #[error("the log of agent {agent} is broken: {what}")]
    BrokenLog {
        /// The agent.
        agent: AgentId,
        /// Where and how.
        what: String,
    },
    /// The batch id was used for other content (clause B6).
    #[error("batch id {batch} was used before for other content")]
    BatchIdReused {
        /// The id.
        batch: BatchId,
    },
    /// The report id was used for other content (clause R1a).
    #[error("report id {report} was used before for other content")]
    ReportIdReused {
        /// The id.
        report: ReportId,
    },
    /// No command of this id is the agent's.
    #[error("unknown command {command}")]
    UnknownCommand {
        /// The id.
        command: CommandId,
    },
    /// The command id was used for something else.
    #[error("command id {command} was used before for something else")]
    CommandIdReused {
        /// The id.
        command: CommandId,
    },
    /// What was asked is not possible where the command stands.
    #[error("command {command} is {state}: {event} is not possible")]
    IllegalStep {
        /// The command.
        command: CommandId,
        /// What was asked.
        event: CommandEvent,
        /// Where it stands.
        state: CommandState,
    },
    /// The agent has as many commands that have not ended as it may have.
    #[error("agent {agent} has {} commands that have not ended, and that is the limit", limits::COMMANDS_OPEN_MAX)]
    TooManyCommands {
        /// The agent.
        agent: AgentId,
    },
    /// Another command is about the same package and has not ended.
    #[error("command {command} is under way for {package}")]
    CommandUnderWay {
        /// The package.
        package: PackageKey,
        /// That command.
        command: CommandId,
    },
    /// The update is not approved, or not as it was when the command was made.
    #[error("{package} is not approved as it is offered now")]
    NotApproved {
        /// The package.
        package: PackageKey,
    },
    /// The plan that was looked at is not the one the command brought.
    #[error("command {command} brought no such plan")]
    OtherPlan {
        /// The plan command.
        command: CommandId,
    },
    /// The counter in what was signed is neither the command's own nor the agent's next; sign it again with that one.
    #[error("command {command} must be signed with counter {next}")]
    CounterMoved {
        /// The command.
        command: CommandId,
        /// The next counter.
        next: u64,
    },
    /// The command would be none that an executor accepts.
    #[error(transparent)]
    InvalidCommand(CommandRefusal),
    /// Too many events (clause B10).
    #[error("{events} events are more than a batch may hold ({})", limits::BATCH_EVENTS_MAX)]
    BatchTooLarge {
        /// How many.
        events: u64,
    },
}

/// A decided unit of work: what to write and what to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// What to write.
    pub changes: Changes,
    /// What to answer once it is committed.
    pub answer: Answer,
}

impl Decided {
    pub(crate) fn nothing(answer: Answer) -> Self {
        Self { changes: Changes::default(), answer }
    }
}

impl UnitOfWork {
    /// What must be loaded before [`UnitOfWork::decide`].
    #[must_use]
    pub fn needs(&self) -> Needs {
        match self {
            Self::SubmitBatch(work) => work.needs(),
            Self::RecordReport(work) => work.needs(),
            Self::Decide(work) => work.needs(),
            Self::EnrolAgent(enrolment) => Needs::head(enrolment.agent),
            Self::RemoveAgent(work) => work.needs(),
            Self::Prune(work) => work.needs(),
            Self::Rebuild(work) => work.needs(),
            Self::Restore(work) => work.needs(),
            Self::Command(step) => step.needs(),
            Self::EndIgnores(work) => work.needs(),
        }
    }

    /// Decides, from what was loaded. Pure: the same input gives the same result, however often it runs.
    ///
    /// # Errors
    /// A refusal of the whole; nothing may be written then.
    pub fn decide(&self, loaded: &Loaded) -> Result<Decided, Refusal> {
        match self {
            Self::SubmitBatch(work) => work.decide(loaded),
            Self::RecordReport(work) => work.decide(loaded),
            Self::Decide(work) => work.decide(loaded),
            Self::EnrolAgent(enrolment) => enrol(enrolment, loaded),
            Self::RemoveAgent(work) => work.decide(loaded),
            Self::Prune(work) => work.decide(loaded),
            Self::Rebuild(work) => work.decide(loaded),
            Self::Restore(work) => work.decide(loaded),
            Self::Command(step) => step.decide(loaded),
            Self::EndIgnores(work) => work.decide(loaded),
        }
    }

    /// The events withheld; none for work that stores no outside text row by row.
    pub fn withheld_mut(&mut self) -> Option<&mut Withheld> {
        match self {
            Self::SubmitBatch(work) => Some(&mut work.withheld),
            Self::RecordReport(work) => Some(&mut work.withheld),
            Self::Decide(_)
            | Self::EnrolAgent(_)
            | Self::RemoveAgent(_)
            | Self::Prune(_)
            | Self::Rebuild(_)
            | Self::Restore(_)
            | Self::Command(_)
            | Self::EndIgnores(_) => None,
        }
    }
}

impl Needs {
    /// Which states to load once the commands are there. Work that asks for commands never asks for the states of whole managers.
    #[must_use]
    pub fn states_about(&self, commands: &BTreeMap<CommandId, CommandRecord>) -> Cow<'_, StateNeeds> {
        let about = commands.values().flat_map(|command| command.action.items()).map(|item| &item.package);
        let asked = match &self.states {
            StateNeeds::Managers(_) => return Cow::Borrowed(&self.states),
            StateNeeds::None => [].as_slice(),
            StateNeeds::Packages(packages) => packages,
        };
        let packages: BTreeSet<_> = asked.iter().chain(about).collect();
        if packages.len() == asked.len() {
            return Cow::Borrowed(&self.states);
        }
        Cow::Owned(StateNeeds::Packages(packages.into_iter().cloned().collect()))
    }

    pub(crate) const fn head(agent: AgentId) -> Self {
        let commands = CommandNeeds { open: false, ids: Vec::new() };
        Self { agent, states: StateNeeds::None, batch: None, report: None, events: Vec::new(), commands }
    }
}

pub(crate) fn known_agent(agent: AgentId, loaded: &Loaded) -> Result<&AgentHead, Refusal> {
    loaded.head.as_ref().ok_or(Refusal::UnknownAgent { agent })
}

/// The stored receipt when the batch is known (clause B5), a refusal when its content differs (clause B6).
fn known_batch(batch: BatchId, digest: Digest, loaded: &Loaded) -> Result<Option<Receipt>, Refusal> {
    match &loaded.batch {
        Some(record) if record.digest == digest => Ok(Some(record.receipt.clone())),
        Some(_) => Err(Refusal::BatchIdReused { batch }),
        None => Ok(None),
    }
}

fn packages(items: &[Item]) -> StateNeeds {
    let mut packages: Vec<_> = items.iter().filter_map(|item| item.event.as_ref().ok()).map(|event| event.package.clone()).collect();
    packages.sort();
    packages.dedup();
    StateNeeds::Packages(packages)
}

impl SubmitBatch {
    fn needs(&self) -> Needs {
        let items = self.batch.items();
        let mut events: Vec<_> = self.batch.events().iter().map(|event| event.event_id).collect();
        events.sort();
        events.dedup();
        Needs { states: packages(&items), batch: Some(self.batch.id()), events, ..Needs::head(self.batch.agent()) }
    }

    fn decide(&self, loaded: &Loaded) -> Result<Decided, Refusal> {
        let head = known_agent(self.batch.agent(), loaded)?;
        let digest = self.batch.digest();
        if let Some(receipt) = known_batch(self.batch.id(), digest, loaded)? {
            return Ok(Decided::nothing(Answer::Batch(receipt)));
        }
        let context = Context { actor: self.batch.actor().clone(), received_at: self.received_at };
        let mut planner = Planner::new(loaded, &self.withheld, head, context);
        let receipt = planner.batch(self.batch.id(), Source::Submitted, digest, self.batch.items());
        if receipt.submitted == 0 {
            return Ok(Decided::nothing(Answer::Batch(receipt)));
        }
        Ok(Decided { changes: planner.finish(|_| ()), answer: Answer::Batch(receipt) })
    }
}

impl Decide {
    fn items(&self) -> Vec<Item> {
        let event = |(index, (package, decision)): (u32, &(PackageKey, Decision))| Event {
            id: EventId::of_batch(self.agent, self.batch, index),
            package: package.clone(),
            kind: decision.event(),
            observed_at: None,
        };
        (0..).zip(&self.decisions).map(event).map(Item::valid).collect()
    }

    fn digest(&self) -> Digest {
        let content = serde_json::to_vec(&(&self.operator, &self.decisions)).expect("decisions always serialise");
        Digest::of("redflag decision v1", &[&content])
    }

    fn needs(&self) -> Needs {
        // What is queued must go when its approval does.
        let withdraws = self.decisions.iter().any(|(_, decision)| matches!(decision, Decision::WithdrawApproval { .. }));
        let commands = if withdraws { CommandNeeds::open() } else { CommandNeeds::default() };
        Needs { states: packages(&self.items()), batch: Some(self.batch), commands, ..Needs::head(self.agent) }
    }

    fn decide(&self, loaded: &Loaded) -> Result<Decided, Refusal> {
        let head = known_agent(self.agent, loaded)?;
        if self.decisions.len() > limits::BATCH_EVENTS_MAX as usize {
            return Err(Refusal::BatchTooLarge { events: self.decisions.len() as u64 });
        }
        let digest = self.digest();
        if let Some(receipt) = known_batch(self.batch, digest, loaded)? {
            return Ok(Decided::nothing(Answer::Decision(receipt)));
        }
        let withheld = Withheld::default();
        let operator = Actor::Operator(self.operator.clone());
        let context = Context { actor: operator.clone(), received_at: self.received_at };
        let mut planner = Planner::new(loaded, &withheld, head, context);
        let mut receipt = planner.batch(self.batch, Source::Decision, digest, self.items());
        if receipt.accepted == 0 {
            // The operator is told why; a decision without effect leaves no trace.
            receipt.number = 0;
            return Ok(Decided::nothing(Answer::Decision(receipt)));
        }
        let mut queue = Queue::over(planner, self.received_at, loaded, head);
        queue.cancel_stale(&operator);
        Ok(Decided { changes: queue.into_changes(), answer: Answer::Decision(receipt) })
    }
}

fn enrol(enrolment: &Enrolment, loaded: &Loaded) -> Result<Decided, Refusal> {
    match &loaded.head {
        // The same key again is a retry of the same enrolment.
        Some(head) if head.public_key == enrolment.public_key => Ok(Decided::nothing(Answer::Enrolled)),
        Some(_) => Err(Refusal::AgentExists { agent: enrolment.agent }),
        None if loaded.removed.is_some() => Err(Refusal::AgentRemoved { agent: enrolment.agent }),
        None => {
            let changes = Changes { head: Some(AgentHead::enrolled(enrolment)), ..Changes::default() };
            Ok(Decided { changes, answer: Answer::Enrolled })
        }
    }
}
