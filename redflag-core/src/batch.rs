//! Batches: many events judged one by one and committed as one (clauses B1 to B7).
//!
//! [`plan`] judges: it works on what was loaded and returns what must be written; it never asks a backend, so a backend cannot
//! judge an event wrongly. Submitted batches, decisions and reports all go through its `Planner`.

use crate::{
    agent::AgentHead,
    counters::CounterChanges,
    event::{self, Actor, Event, EventInput, RecordedEvent, Source},
    ids::{AgentId, BatchId, Digest, EventId},
    limits,
    names::PackageKey,
    rejection::{Rejection, RejectionCode},
    state::{self, Context, PackageState, States},
    time::{Day, Timestamp},
    words::OutcomeKind,
    work::{Changes, ChosenEventId, Loaded, Refusal, Withheld, known_agent},
};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// A batch of events as a caller submits it.
#[derive(Clone, Debug)]
pub struct Batch {
    agent: AgentId,
    id: BatchId,
    actor: Actor,
    events: Vec<EventInput>,
}

impl Batch {
    /// A batch of `events` in the stream of `agent`. The id is the caller's: the same id and content again, any number of
    /// times, has one effect and one receipt (clause B5).
    ///
    /// # Errors
    /// [`Refusal::BatchTooLarge`] above [`limits::BATCH_EVENTS_MAX`] events (clause B10).
    pub fn new(agent: AgentId, id: BatchId, actor: Actor, events: Vec<EventInput>) -> Result<Self, Refusal> {
        match u32::try_from(events.len()) {
            Ok(count) if count <= limits::BATCH_EVENTS_MAX => Ok(Self { agent, id, actor, events }),
            _ => Err(Refusal::BatchTooLarge { events: events.len() as u64 }),
        }
    }

    /// The agent whose stream it belongs to.
    #[must_use]
    pub const fn agent(&self) -> AgentId {
        self.agent
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> BatchId {
        self.id
    }

    /// Who caused it.
    #[must_use]
    pub const fn actor(&self) -> &Actor {
        &self.actor
    }

    /// Its events.
    #[must_use]
    pub fn events(&self) -> &[EventInput] {
        &self.events
    }

    /// The digest that tells equal content under one id from other content (clause B6).
    #[must_use]
    pub fn digest(&self) -> Digest {
        let content = serde_json::to_vec(&(&self.actor, &self.events)).expect("event inputs always serialise");
        Digest::of("redflag batch v1", &[&content])
    }

    pub(crate) fn items(&self) -> Vec<Item> {
        self.events.iter().map(Item::checked).collect()
    }
}

/// What became of one event of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// Stored and applied.
    Accepted,
    /// Already stored with equal content (clause B7).
    Duplicate {
        /// The batch that brought it first.
        batch: BatchId,
        /// Its index there.
        index: u32,
    },
    /// Not applied.
    Rejected(Rejection),
}

impl Outcome {
    /// The word.
    #[must_use]
    pub const fn kind(&self) -> OutcomeKind {
        match self {
            Self::Accepted => OutcomeKind::Accepted,
            Self::Duplicate { .. } => OutcomeKind::Duplicate,
            Self::Rejected(_) => OutcomeKind::Rejected,
        }
    }
}

/// The stored answer to a batch: one outcome per event, dense and index-aligned (clause B4).
///
/// Kept sparse, because nearly every event of nearly every batch is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The agent.
    pub agent: AgentId,
    /// The batch.
    pub batch: BatchId,
    /// Its number in the agent's stream: 1..n without gap. 0 when nothing was written.
    pub number: u64,
    /// When the store received it.
    pub received_at: Timestamp,
    /// Events submitted.
    pub submitted: u32,
    /// Events accepted.
    pub accepted: u32,
    /// Events that were duplicates.
    pub duplicate: u32,
    /// Events rejected.
    pub rejected: u32,
    /// Every outcome that is not [`Outcome::Accepted`], by index, ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exceptions: Vec<(u32, Outcome)>,
}

impl Receipt {
    /// One outcome per event, in order.
    pub fn outcomes(&self) -> impl Iterator<Item = Outcome> {
        let mut exceptions = self.exceptions.iter().peekable();
        (0..self.submitted).map(move |index| match exceptions.next_if(|(at, _)| *at == index) {
            Some((_, outcome)) => outcome.clone(),
            None => Outcome::Accepted,
        })
    }

    /// The rejections, with their indexes.
    pub fn rejections(&self) -> impl Iterator<Item = (u32, &Rejection)> {
        self.exceptions.iter().filter_map(|(index, outcome)| match outcome {
            Outcome::Rejected(rejection) => Some((*index, rejection)),
            _ => None,
        })
    }
}

/// A batch as it is stored: its receipt with where it came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchRecord {
    /// Who caused it.
    pub actor: Actor,
    /// Where it came from.
    pub source: Source,
    /// The digest of its content.
    pub digest: Digest,
    /// The place in the agent's stream from which its accepted events stand, in a row.
    pub first_sequence: u64,
    /// The place of its first event among those of its report, rejected ones included: what ids are computed from (clause B14).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub first_ordinal: u32,
    /// The answer.
    pub receipt: Receipt,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl BatchRecord {
    /// The digest that stands for the batch in the feed, also after the record has gone: over everything that is stored of it.
    #[must_use]
    pub fn feed_digest(&self) -> Digest {
        let record = serde_json::to_vec(self).expect("batch records always serialise");
        Digest::of("redflag batch record v1", &[&record])
    }
}

/// A rejected event with what is left of it for people to read (clause B15).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedItem {
    /// The batch.
    pub batch: BatchId,
    /// Its index there.
    pub index: u32,
    /// Why.
    pub rejection: Rejection,
    /// The package, where it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<PackageKey>,
    /// The start of what was submitted.
    pub excerpt: String,
}

/// One event to judge, or one that did not even pass validation.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) event: Result<Event, Box<Invalid>>,
}

/// What is left of an event that did not pass validation.
#[derive(Clone, Debug)]
pub(crate) struct Invalid {
    pub(crate) rejection: Rejection,
    pub(crate) package: Option<PackageKey>,
    pub(crate) excerpt: String,
}

impl Item {
    pub(crate) const fn valid(event: Event) -> Self {
        Self { event: Ok(event) }
    }

    fn checked(input: &EventInput) -> Self {
        let invalid = |rejection| {
            let raw = serde_json::to_string(input).unwrap_or_default();
            Box::new(Invalid { rejection, package: None, excerpt: event::excerpt(&raw) })
        };
        Self { event: event::validate(input).map_err(invalid) }
    }
}

/// Judges checked events as one batch of a caller, in order: each sees the accepted ones before it and nothing of the others.
///
/// Pure and deterministic. [`UnitOfWork::decide`](crate::work::UnitOfWork::decide) does this for inputs that still have to be
/// validated, and for reports and decisions.
///
/// # Errors
/// [`Refusal::UnknownAgent`] when `loaded` holds no head of `agent`.
pub fn plan(agent: AgentId, batch: BatchId, events: Vec<Event>, loaded: &Loaded, context: Context) -> Result<(Receipt, Changes), Refusal> {
    let head = known_agent(agent, loaded)?;
    let digests: Vec<Digest> = events.iter().map(Event::digest).collect();
    let digests: Vec<&[u8]> = digests.iter().map(|digest| digest.as_bytes().as_slice()).collect();
    let withheld = Withheld::default();
    let mut planner = Planner::new(loaded, &withheld, head, context);
    let digest = Digest::of("redflag planned batch v1", &digests);
    let receipt = planner.batch(batch, Source::Submitted, digest, events.into_iter().map(Item::valid));
    let changes = if receipt.submitted == 0 { Changes::default() } else { planner.finish(|_| ()) };
    Ok((receipt, changes))
}

/// Judges batches of one agent and gathers what must be written.
pub(crate) struct Planner<'a> {
    loaded: &'a Loaded,
    withheld: &'a Withheld,
    context: Context,
    head: AgentHead,
    /// States as they were changed so far.
    working: States,
    /// Ids accepted within this unit of work.
    accepted_ids: HashMap<EventId, (Digest, BatchId, u32)>,
    changes: Changes,
    items_seen: u32,
}

impl<'a> Planner<'a> {
    pub(crate) fn new(loaded: &'a Loaded, withheld: &'a Withheld, head: &AgentHead, context: Context) -> Self {
        Self {
            loaded,
            withheld,
            context,
            head: head.clone(),
            working: States::default(),
            accepted_ids: HashMap::new(),
            changes: Changes::default(),
            items_seen: 0,
        }
    }

    /// Judges what follows as caused by `actor`.
    pub(crate) fn act_as(&mut self, actor: Actor) {
        self.context.actor = actor;
    }

    /// The state of a package after what was accepted so far.
    pub(crate) fn state(&self, package: &PackageKey) -> Option<&PackageState> {
        self.working.get(package).or_else(|| self.loaded.states.get(package))
    }

    /// Makes room for so many events.
    pub(crate) fn expect(&mut self, events: usize) {
        self.changes.events.reserve(events);
        self.working = States::with_capacity(events);
    }

    /// Judges one batch; an empty one leaves no trace (clause B9).
    pub(crate) fn batch(&mut self, id: BatchId, source: Source, digest: Digest, items: impl IntoIterator<Item = Item>) -> Receipt {
        let mut receipt = Receipt {
            agent: self.head.agent,
            batch: id,
            number: 0,
            received_at: self.context.received_at,
            submitted: 0,
            accepted: 0,
            duplicate: 0,
            rejected: 0,
            exceptions: Vec::new(),
        };
        let mut items = items.into_iter().peekable();
        if items.peek().is_none() {
            return receipt;
        }
        self.head.batches += 1;
        receipt.number = self.head.batches;
        let (first_sequence, first_ordinal) = (self.head.events + 1, self.items_seen);
        for item in items {
            let index = receipt.submitted;
            receipt.submitted += 1;
            let outcome = self.item(id, index, source, item);
            match &outcome {
                Outcome::Accepted => receipt.accepted += 1,
                Outcome::Duplicate { .. } => receipt.duplicate += 1,
                Outcome::Rejected(_) => receipt.rejected += 1,
            }
            if outcome != Outcome::Accepted {
                receipt.exceptions.push((index, outcome));
            }
        }
        let record =
            BatchRecord { actor: self.context.actor.clone(), source, digest, first_sequence, first_ordinal, receipt: receipt.clone() };
        self.changes.batches.push(record);
        receipt
    }

    /// Whether no batch was judged.
    pub(crate) const fn has_judged_nothing(&self) -> bool {
        self.changes.batches.is_empty()
    }

    /// What must be written, with the agent's head as it is after `finish`.
    pub(crate) fn finish(mut self, finish: impl FnOnce(&mut AgentHead)) -> Changes {
        finish(&mut self.head);
        let before = |after: &PackageState| self.loaded.states.get(&after.package);
        self.changes.counters = CounterChanges::of_changes(self.working.iter().map(|after| (before(after), Some(after))));
        self.changes.open_changes = self.changes.counters.open_changes(Day::of(self.context.received_at));
        self.changes.states = self.working.into_sorted();
        self.changes.head = Some(self.head);
        self.changes
    }

    fn item(&mut self, batch: BatchId, index: u32, source: Source, item: Item) -> Outcome {
        let withheld = self.withheld.contains(self.items_seen);
        self.items_seen += 1;
        let event = match item.event {
            Ok(event) => event,
            Err(invalid) => {
                let Invalid { rejection, package, excerpt } = *invalid;
                return self.reject(batch, index, rejection, package, excerpt);
            }
        };
        if withheld {
            let rejection = Rejection::new(RejectionCode::StoreRefused, "event", "the database refused this event");
            return self.reject_event(batch, index, rejection, &event);
        }
        let digest = (source == Source::Submitted).then(|| event.digest());
        if let Some(outcome) = digest.and_then(|digest| self.known(&event, digest)) {
            return match outcome {
                Outcome::Rejected(rejection) => self.reject_event(batch, index, rejection, &event),
                other => other,
            };
        }
        let before = self.working.get(&event.package).or_else(|| self.loaded.states.get(&event.package));
        let after = match state::apply(before, &event, &self.context) {
            Ok(after) => after,
            Err(rejection) => return self.reject_event(batch, index, rejection, &event),
        };
        self.head.events += 1;
        let sequence = self.head.events;
        self.changes.history.extend(state::version_change(before, &event, &self.context, sequence));
        if let Some(digest) = digest {
            self.accepted_ids.insert(event.id, (digest, batch, index));
            self.changes.chosen_ids.push(ChosenEventId { event: event.id, sequence, digest, batch, index });
        }
        let revision = after.revision;
        self.working.insert(after);
        let Context { actor, received_at } = self.context.clone();
        self.changes.events.push(RecordedEvent { event, sequence, revision, batch, index, actor, source, received_at });
        Outcome::Accepted
    }

    /// Clause B7.
    fn known(&self, event: &Event, digest: Digest) -> Option<Outcome> {
        let here = self.accepted_ids.get(&event.id).copied();
        let stored = || self.loaded.events.get(&event.id).map(|known| (known.digest, known.batch, known.index));
        let (known_digest, batch, index) = here.or_else(stored)?;
        Some(if known_digest == digest {
            Outcome::Duplicate { batch, index }
        } else {
            let message = format!("{} was used before for an event with other content", event.id);
            Outcome::Rejected(Rejection::new(RejectionCode::EventIdReused, "event_id", message))
        })
    }

    fn reject_event(&mut self, batch: BatchId, index: u32, rejection: Rejection, event: &Event) -> Outcome {
        let excerpt = event::excerpt(&event.kind.to_json());
        self.reject(batch, index, rejection, Some(event.package.clone()), excerpt)
    }

    fn reject(&mut self, batch: BatchId, index: u32, rejection: Rejection, package: Option<PackageKey>, excerpt: String) -> Outcome {
        self.changes.rejections.push(RejectedItem { batch, index, rejection: rejection.clone(), package, excerpt });
        Outcome::Rejected(rejection)
    }
}
