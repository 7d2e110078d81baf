//! One agent's queue while a step is decided: the commands, the events they cause, and what must be written of both.

use super::{
    lifecycle::{CommandState, leads},
    payload::{Action, CommandApproval},
    plan::Item,
    record::{CommandRecord, End, Ending, Failure},
};
use crate::{
    agent::AgentHead,
    batch::{self, Planner},
    event::{Actor, Event, EventKind, Source},
    ids::{AgentId, BatchId, CommandId, Digest, EventId},
    limits,
    names::{PackageKey, Text},
    state::{Context, PackageState, Standing},
    time::Timestamp,
    work::{Changes, Loaded, Refusal, Withheld, known_agent},
};
use std::collections::{BTreeMap, BTreeSet};

/// What happens to a package.
pub(super) type Happening = (PackageKey, EventKind);

/// The commands of an agent that a step sees, with what has become of them so far.
pub(crate) struct Queue<'a> {
    pub(super) agent: AgentId,
    pub(super) at: Timestamp,
    pub(super) head: &'a AgentHead,
    loaded: &'a Loaded,
    planner: Planner<'a>,
    /// The highest counter given.
    pub(super) counter: u64,
    changed: BTreeMap<CommandId, CommandRecord>,
}

impl<'a> Queue<'a> {
    pub(crate) fn new(agent: AgentId, at: Timestamp, loaded: &'a Loaded, withheld: &'a Withheld) -> Result<Self, Refusal> {
        let head = known_agent(agent, loaded)?;
        let context = Context { actor: system(), received_at: at };
        Ok(Self::over(Planner::new(loaded, withheld, head, context), at, loaded, head))
    }

    /// The queue of an agent about which `planner` has judged events already.
    pub(crate) fn over(planner: Planner<'a>, at: Timestamp, loaded: &'a Loaded, head: &'a AgentHead) -> Self {
        Self { agent: head.agent, at, head, loaded, planner, counter: head.commands, changed: BTreeMap::new() }
    }

    /// What must be written.
    pub(crate) fn into_changes(self) -> Changes {
        let Self { head, planner, counter, changed, .. } = self;
        let nothing = planner.has_judged_nothing() && counter == head.commands;
        let changes = if nothing { Changes::default() } else { planner.finish(|head| head.commands = counter) };
        Changes { commands: changed.into_values().collect(), ..changes }
    }

    /// A command as it is now.
    pub(super) fn find(&self, id: CommandId) -> Option<&CommandRecord> {
        self.changed.get(&id).or_else(|| self.loaded.commands.get(&id))
    }

    pub(super) fn known(&self, command: CommandId) -> Result<CommandRecord, Refusal> {
        self.find(command).cloned().ok_or(Refusal::UnknownCommand { command })
    }

    /// The commands that have not ended, in the order in which they were asked for.
    pub(super) fn open(&self) -> Vec<CommandRecord> {
        let ids: BTreeSet<_> = self.loaded.commands.keys().chain(self.changed.keys()).copied().collect();
        let mut open: Vec<_> = ids.into_iter().filter_map(|id| self.find(id)).filter(|record| record.state.open()).cloned().collect();
        open.sort_by_key(|record| (record.request.at, record.id));
        open
    }

    /// Keeps a command that changed; however often it does in one step, that is one revision.
    pub(super) fn keep(&mut self, mut record: CommandRecord) -> CommandRecord {
        let possible = |before: &CommandRecord| before.state == record.state || leads(before.state, record.state);
        debug_assert!(self.find(record.id).is_none_or(possible), "{:?} became {record:?}", self.find(record.id));
        record.revision = self.next_revision(record.id);
        self.changed.insert(record.id, record.clone());
        record
    }

    fn next_revision(&self, id: CommandId) -> u64 {
        self.loaded.commands.get(&id).map_or(0, |stored| stored.revision) + 1
    }

    /// The state of a package as it is now.
    pub(super) fn state(&self, package: &PackageKey) -> Option<&PackageState> {
        self.planner.state(package)
    }

    /// The state of an item's update, when it is still about the versions and the origin of the item.
    pub(super) fn update(&self, item: &Item) -> Option<&PackageState> {
        self.state(&item.package).filter(|state| {
            let candidate = &state.offer.candidate;
            state.offer.installed.as_ref() == Some(&item.from) && candidate.version == item.to && candidate.origin == item.origin
        })
    }

    /// The consent to an item that is approved.
    pub(super) fn approval(&self, item: &Item) -> Option<CommandApproval> {
        match &self.update(item)?.standing {
            Standing::Approved(approval) => Some(CommandApproval { actor: name(&approval.actor), at: approval.at }),
            _ => None,
        }
    }

    /// Whether a package is about to be changed by this command.
    fn under_way(&self, package: &PackageKey, id: CommandId) -> bool {
        match self.state(package).map(|state| &state.standing) {
            Some(Standing::Queued(dispatch) | Standing::Installing(dispatch)) => dispatch.command == id,
            _ => false,
        }
    }

    /// Writes events of a command into the agent's stream, as one batch.
    pub(super) fn happen(&mut self, record: &CommandRecord, by: Actor, events: Vec<Happening>) {
        if events.is_empty() {
            return;
        }
        let batch = BatchId::of_command(self.agent, record.id, self.next_revision(record.id));
        let content = serde_json::to_vec(&(&by, &events)).expect("events always serialise");
        let digest = Digest::of("redflag command step v1", &[&content]);
        let event = |(index, (package, kind)): (u32, Happening)| {
            batch::Item::valid(Event { id: EventId::of_batch(self.agent, batch, index), package, kind, observed_at: None })
        };
        self.planner.act_as(by);
        self.planner.batch(batch, Source::Command { command: record.id }, digest, (0..).zip(events).map(event));
    }

    /// Ends a command, with what that means for the updates it is about.
    pub(super) fn end(&mut self, mut record: CommandRecord, by: Actor, how: Ending) -> CommandRecord {
        record.state = how.state();
        record.leased_until = None;
        record.end = Some(End { at: self.at, by: by.clone(), how: how.clone() });
        if record.installs() {
            let events = self.outcome(&record, &how);
            self.happen(&record, by, events);
        } else if let Action::Plan { items } = &record.action {
            let reason = how.reason().map(|reason| Text::lossy(&format!("no plan: {reason}")));
            if let Some(reason) = reason {
                let items = items.clone();
                self.ask_for_review(&record, &items, &reason);
            }
        }
        self.keep(record)
    }

    /// What the end of an installation means for each of its updates that still waits for it.
    fn outcome(&self, record: &CommandRecord, how: &Ending) -> Vec<Happening> {
        let command = record.id;
        let mut events = Vec::new();
        for Item { package, from, .. } in record.action.items().iter().filter(|item| self.under_way(&item.package, command)) {
            let waits = matches!(self.state(package).map(|state| &state.standing), Some(Standing::Queued(_)));
            let mut happened = |kind| events.push((package.clone(), kind));
            match how {
                Ending::Succeeded(_) => {
                    if waits {
                        happened(EventKind::InstallStarted { command });
                    }
                    happened(EventKind::InstallSucceeded { command });
                }
                Ending::Failed(Failure { reason, rolled_back: true, .. }) => {
                    if waits {
                        happened(EventKind::InstallStarted { command });
                    }
                    happened(EventKind::RolledBack { command, version: from.clone(), reason: reason.clone() });
                }
                Ending::Expired { .. } => happened(EventKind::InstallExpired { command }),
                Ending::Failed(_) | Ending::Refused(_) | Ending::Cancelled { .. } => {
                    let reason = how.reason().unwrap_or_else(|| Text::lossy(""));
                    happened(EventKind::InstallFailed { command, reason });
                }
            }
        }
        events
    }

    /// Asks for a second look at those of the items that are still approved.
    pub(super) fn ask_for_review(&mut self, record: &CommandRecord, items: &[Item], reason: &Text) {
        let approved = items.iter().filter(|item| self.approval(item).is_some());
        let events = approved.map(|item| (item.package.clone(), EventKind::ReviewRequested { reason: reason.clone() })).collect();
        self.happen(record, system(), events);
    }

    /// Lets what ran out end, or be queued again. Also ends a command whose updates are not what was approved any more.
    pub(super) fn settle(&mut self, record: CommandRecord) -> CommandRecord {
        let expired = |reason: &str| Ending::Expired { reason: Text::lossy(reason) };
        let record = match record.state {
            CommandState::Started if self.at >= record.result_due_at() => {
                return self.end(record, system(), expired("no result came in time"));
            }
            CommandState::AwaitingSignature if self.at >= record.expires_at => {
                return self.end(record, system(), expired("not signed in time"));
            }
            CommandState::Queued | CommandState::Leased if self.at >= record.expires_at => {
                return self.end(record, system(), expired("not begun in time"));
            }
            CommandState::Leased if record.leased_until.is_none_or(|until| self.at >= until) => {
                if record.attempts >= limits::COMMAND_ATTEMPTS_MAX {
                    return self.end(record, system(), expired("handed out as often as may be, and never begun"));
                }
                self.keep(CommandRecord { state: CommandState::Queued, leased_until: None, ..record })
            }
            _ => record,
        };
        self.cancel_if_stale(record, system())
    }

    fn cancel_if_stale(&mut self, record: CommandRecord, by: Actor) -> CommandRecord {
        match self.stale(&record) {
            Some(package) => {
                let reason = Some(Text::lossy(&format!("{package} is not as it was approved any more")));
                self.end(record, by, Ending::Cancelled { reason })
            }
            None => record,
        }
    }

    /// A package of an installation not yet begun that does not wait for it any more.
    fn stale(&self, record: &CommandRecord) -> Option<PackageKey> {
        let waits = matches!(record.state, CommandState::AwaitingSignature | CommandState::Queued | CommandState::Leased);
        let mut packages = record.action.items().iter().map(|item| &item.package);
        if waits && record.installs() { packages.find(|package| !self.under_way(package, record.id)).cloned() } else { None }
    }

    /// Cancels the commands not yet begun that lost an update to a decision.
    pub(crate) fn cancel_stale(&mut self, by: &Actor) {
        for record in self.open() {
            self.cancel_if_stale(record, by.clone());
        }
    }

    pub(super) fn sweep(&mut self) -> Vec<CommandRecord> {
        for record in self.open() {
            self.settle(record);
        }
        self.changed.values().cloned().collect()
    }
}

/// The queue itself, where nobody else acts.
pub(super) fn system() -> Actor {
    Actor::System(Text::lossy("commands"))
}

/// The name under which somebody consents.
pub(super) fn name(actor: &Actor) -> Text {
    match actor {
        Actor::Operator(name) => name.clone(),
        other => Text::lossy(&other.to_string()),
    }
}
