//! Restoring: putting a log that was exported into a store, piece by piece, each a unit of work.
//!
//! An agent comes first, with what stands for the part of its log that retention took; then its log is appended in slices, in the order
//! of the feed. A slice is accepted only right after what is there, so none is lost, doubled or swapped. States, history, counters
//! and ids follow from the events here as they did when the events first came.

use crate::{
    agent::AgentHead,
    batch::{BatchRecord, RejectedItem},
    command::record::CommandRecord,
    counters::CounterChanges,
    event::{RecordedEvent, Source},
    feed::Tombstone,
    ids::AgentId,
    past::Fold,
    removal::RemovedAgent,
    report::StoredReport,
    state::{PackageState, VersionChange},
    work::{Answer, Changes, ChosenEventId, CommandNeeds, Decided, Loaded, Needs, Pruning, Refusal, StateNeeds, known_agent},
};
use std::collections::BTreeSet;

/// One piece of an exported fleet.
#[derive(Clone, Debug)]
pub struct Restore {
    /// The agent.
    pub agent: AgentId,
    /// The piece.
    pub piece: Piece,
}

/// What can be restored of an agent, in this order.
#[derive(Clone, Debug)]
pub enum Piece {
    /// An agent that was removed; tombstones of its batches may follow.
    Removed(RemovedAgent),
    /// The agent as it was at the end, with what stands for the part of its log that retention took: base states and the history of
    /// that part.
    Agent {
        /// Its head.
        head: Box<AgentHead>,
        /// Its base states.
        bases: Vec<PackageState>,
        /// History rows of events that were pruned.
        history: Vec<VersionChange>,
    },
    /// Feed entries of batches whose records are gone.
    Tombstones(Vec<Tombstone>),
    /// Batches of the log.
    Log(LogSlice),
    /// Stored reports, oldest first.
    Reports(Vec<StoredReport>),
    /// Commands, each once.
    Commands(Vec<CommandRecord>),
}

/// Batches that follow each other in an agent's stream, with all that belongs to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogSlice {
    /// The batches.
    pub batches: Vec<BatchRecord>,
    /// Their events.
    pub events: Vec<RecordedEvent>,
    /// Their rejections.
    pub rejections: Vec<RejectedItem>,
}

impl Restore {
    pub(crate) fn needs(&self) -> Needs {
        let states = match &self.piece {
            Piece::Log(slice) => {
                let mut packages: Vec<_> = slice.events.iter().map(|event| event.event.package.clone()).collect();
                packages.sort();
                packages.dedup();
                StateNeeds::Packages(packages)
            }
            Piece::Removed(_) | Piece::Agent { .. } | Piece::Tombstones(_) | Piece::Reports(_) | Piece::Commands(_) => StateNeeds::None,
        };
        let commands = match &self.piece {
            Piece::Commands(commands) => CommandNeeds { open: false, ids: commands.iter().map(|command| command.id).collect() },
            _ => CommandNeeds::default(),
        };
        Needs { states, commands, ..Needs::head(self.agent) }
    }

    pub(crate) fn decide(&self, loaded: &Loaded) -> Result<Decided, Refusal> {
        let changes = match &self.piece {
            Piece::Removed(removed) => self.removed(removed, loaded)?,
            Piece::Agent { head, bases, history } => self.new_agent(head, bases, history, loaded)?,
            Piece::Tombstones(tombstones) => self.tombstones(tombstones, loaded)?,
            Piece::Log(slice) => self.log(slice, loaded)?,
            Piece::Reports(reports) => {
                known_agent(self.agent, loaded)?;
                Changes { reports: reports.clone(), ..Changes::default() }
            }
            Piece::Commands(commands) => self.commands(commands, loaded)?,
        };
        Ok(Decided { changes, answer: Answer::Restored })
    }

    fn broken(&self, what: String) -> Refusal {
        Refusal::BrokenLog { agent: self.agent, what }
    }

    fn unknown(&self, loaded: &Loaded) -> Result<(), Refusal> {
        let known = loaded.head.is_some() || loaded.removed.is_some();
        if known { Err(Refusal::AgentExists { agent: self.agent }) } else { Ok(()) }
    }

    fn removed(&self, removed: &RemovedAgent, loaded: &Loaded) -> Result<Changes, Refusal> {
        self.unknown(loaded)?;
        Ok(Changes { removed: Some(removed.clone()), ..Changes::default() })
    }

    /// The head counts what of the log is there; the slices bring it to where it was.
    fn new_agent(&self, head: &AgentHead, bases: &[PackageState], history: &[VersionChange], loaded: &Loaded) -> Result<Changes, Refusal> {
        self.unknown(loaded)?;
        let mut states = bases.to_vec();
        states.sort_unstable_by(|a, b| a.package.cmp(&b.package));
        let counters = CounterChanges::of_states(&states);
        let reports_before = head.enrolled_at;
        Ok(Changes {
            head: Some(AgentHead { batches: 0, events: head.pruned.events, ..head.clone() }),
            open_changes: counters.open_changes(head.pruned.day),
            pruning: (!states.is_empty()).then(|| Pruning { reports_before, bases: states.clone() }),
            history: history.to_vec(),
            counters,
            states,
            ..Changes::default()
        })
    }

    fn tombstones(&self, tombstones: &[Tombstone], loaded: &Loaded) -> Result<Changes, Refusal> {
        let tombstones = tombstones.to_vec();
        if loaded.removed.is_some() {
            return Ok(Changes { tombstones, ..Changes::default() });
        }
        let head = known_agent(self.agent, loaded)?;
        let mut next = head.batches;
        for tombstone in &tombstones {
            next += 1;
            if tombstone.number != next || next > head.pruned.batches {
                return Err(self.broken(format!("a tombstone of batch {} where {next} follows", tombstone.number)));
            }
        }
        Ok(Changes { head: Some(AgentHead { batches: next, ..head.clone() }), tombstones, ..Changes::default() })
    }

    fn commands(&self, commands: &[CommandRecord], loaded: &Loaded) -> Result<Changes, Refusal> {
        let head = known_agent(self.agent, loaded)?;
        let mut ids = BTreeSet::new();
        for command in commands {
            if command.audience.agent != self.agent || loaded.commands.contains_key(&command.id) || !ids.insert(command.id) {
                return Err(self.broken(format!("command {} of {} where it cannot be", command.id, command.audience.agent)));
            }
            if command.delivered() && command.counter.is_none_or(|counter| counter > head.commands) {
                return Err(self.broken(format!("command {} was delivered with a counter that was never given", command.id)));
            }
        }
        let mut commands = commands.to_vec();
        commands.sort_by_key(|command| command.id);
        Ok(Changes { commands, ..Changes::default() })
    }

    fn log(&self, slice: &LogSlice, loaded: &Loaded) -> Result<Changes, Refusal> {
        let head = known_agent(self.agent, loaded)?;
        let mut head = head.clone();
        let LogSlice { batches, events, rejections } = slice;
        for record in batches {
            head.batches += 1;
            let receipt = &record.receipt;
            let sums = u64::from(receipt.accepted) + u64::from(receipt.duplicate) + u64::from(receipt.rejected);
            if receipt.agent != self.agent || receipt.number != head.batches || record.first_sequence != head.events + 1 {
                return Err(self.broken(format!("batch {} where {} follows", receipt.number, head.batches)));
            }
            if sums != u64::from(receipt.submitted) || receipt.submitted == 0 {
                return Err(self.broken(format!("batch {} whose counts do not add up", receipt.number)));
            }
            head.events += u64::from(receipt.accepted);
        }
        let mut fold = Fold::over(loaded.states.clone(), known_agent(self.agent, loaded)?.events);
        for event in events {
            fold.add_event(event).map_err(|damage| self.broken(damage.to_string()))?;
        }
        if fold.sequence() != head.events {
            return Err(self.broken(format!("{} events where the batches have {}", fold.sequence(), head.events)));
        }
        let states = fold.changed_states();
        let mut counters = CounterChanges::default();
        states.iter().for_each(|after| counters.record(loaded.states.get(&after.package), Some(after)));
        let submitted = events.iter().filter(|event| event.source == Source::Submitted);
        Ok(Changes {
            head: Some(head),
            batches: batches.clone(),
            events: events.clone(),
            rejections: rejections.clone(),
            open_changes: fold.open_changes(),
            history: fold.history().to_vec(),
            chosen_ids: submitted.map(chosen_id).collect(),
            states,
            counters,
            ..Changes::default()
        })
    }
}

fn chosen_id(recorded: &RecordedEvent) -> ChosenEventId {
    ChosenEventId {
        event: recorded.event.id,
        sequence: recorded.sequence,
        digest: recorded.event.digest(),
        batch: recorded.batch,
        index: recorded.index,
    }
}
