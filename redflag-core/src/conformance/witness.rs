//! A witness of a store that crashes: what was acknowledged is kept outside of it and compared with what is there afterwards.
//!
//! The kit lives in one process and cannot kill it; a store's own fault tests can. They cut a history into [`streams`], [`submit`]
//! these, tell the witness what was acknowledged, break what they break, open the store again and let the witness audit it.
//!
//! The works of one agent follow each other and agents do not touch each other. So what a store holds of an agent must be what the
//! memory store holds after every acknowledged work of its stream, or after one more: the one under way when the fault came, whole
//! or absent (clauses B1 and B8). What can be read of the agent is compared, which says at once that the log is gapless and folds to
//! the states, that counters count, and that receipts, rejections and history are there. What was seen once must stay.

use super::{
    CheckResult, Failure,
    differential::{difference, transcript},
    image::Image,
};
use crate::{
    MemoryStore,
    feed::{FeedEntry, FeedPosition},
    ids::{AgentId, BatchId, Digest},
    store::{BatchStore, Mode, StateStore, Store, StoreError, StoreErrorKind},
    work::{Answer, UnitOfWork},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};
use tokio::task::JoinSet;

/// What was submitted to a store and what it acknowledged.
#[derive(Debug, Default)]
pub struct Witness {
    streams: Vec<Stream>,
    /// The feed as it was seen last.
    feed: Vec<FeedEntry>,
    findings: Findings,
}

/// The works of one agent, in order.
#[derive(Debug)]
struct Stream {
    agent: AgentId,
    works: Vec<UnitOfWork>,
    /// How many of them were answered.
    answered: usize,
    /// How many of them are known to be committed: those, or one more that was found although its answer never came.
    committed: usize,
    /// Whether the store said of the next one that nothing changed.
    excluded: bool,
    /// What the store must hold after those committed.
    model: MemoryStore,
}

/// What a witness found so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Units of work known to be committed.
    pub committed: u64,
    /// Events these wrote.
    pub events: u64,
    /// Of the committed ones, those whose answer never came.
    pub unanswered: u64,
    /// Units of work that were acknowledged and are gone.
    pub lost: u64,
    /// Events of these.
    pub lost_events: u64,
    /// Agents of which a store held what no number of their works leaves behind.
    pub torn: u64,
    /// Batches that nobody submitted, or that were there twice.
    pub duplicates: u64,
    /// Answers that were not the ones they must be.
    pub wrong_answers: u64,
    /// Feeds with a position that was missing, or not the one it had been, or without one of the batches.
    pub broken_feeds: u64,
    /// What was found wrong first.
    pub first: Option<String>,
}

/// The works of a history, by agent, each agent's in their order.
#[must_use]
pub fn streams(history: Vec<UnitOfWork>) -> Vec<Vec<UnitOfWork>> {
    let mut streams: BTreeMap<AgentId, Vec<UnitOfWork>> = BTreeMap::new();
    for work in history {
        streams.entry(work.needs().agent).or_default().push(work);
    }
    streams.into_values().collect()
}

/// What stands for an answer: refusals are answers, too. None when the outcome is open or nothing was done.
#[must_use]
pub fn answer_digest(answer: &Result<Answer, StoreError>) -> Option<Digest> {
    let text = match answer {
        Ok(answer) => format!("{answer:?}"),
        Err(error) if matches!(error.kind(), StoreErrorKind::Unavailable | StoreErrorKind::OutcomeUnknown) => return None,
        Err(error) => format!("{:?}", error.kind()),
    };
    Some(Digest::of("conformance answer", &[text.as_bytes()]))
}

/// Submits the works of one stream, one after the other, and tells the digest of each answer; every fourth work is submitted by
/// three callers at once, who must be answered alike. Ends with the works, or at the first one without an answer: then with what
/// the store said instead, [`StoreErrorKind::Unavailable`] only if it said so to every caller.
pub async fn submit(store: &Arc<dyn BatchStore>, works: &[UnitOfWork], mut answered: impl FnMut(Digest)) -> Option<StoreErrorKind> {
    for (place, work) in works.iter().enumerate() {
        let mut callers = JoinSet::new();
        for _ in 0..if place % 4 == 3 { 3 } else { 1 } {
            let (store, work) = (Arc::clone(store), work.clone());
            callers.spawn(async move { store.run(&work, Mode::Commit).await });
        }
        let answers = callers.join_all().await;
        let digests: BTreeSet<Digest> = answers.iter().filter_map(answer_digest).collect();
        let digests: Vec<&[u8]> = digests.iter().map(|digest| &digest.as_bytes()[..]).collect();
        match digests[..] {
            [] => {
                let unknown =
                    |answer: &Result<_, StoreError>| matches!(answer, Err(error) if *error.kind() == StoreErrorKind::OutcomeUnknown);
                let unknown = answers.iter().any(unknown);
                return Some(if unknown { StoreErrorKind::OutcomeUnknown } else { StoreErrorKind::Unavailable });
            }
            [_] => answers.iter().find_map(answer_digest).into_iter().for_each(&mut answered),
            // Callers were answered differently: no right answer has this digest.
            _ => answered(Digest::of("conformance answers", &digests)),
        }
    }
    None
}

impl Witness {
    /// A witness of these streams, of which nothing is submitted yet.
    #[must_use]
    pub fn new(streams: Vec<Vec<UnitOfWork>>) -> Self {
        let mut witness = Self::default();
        for works in streams {
            witness.streams.extend(works.first().map(|first| Stream::new(first.needs().agent)));
            witness.streams.last_mut().into_iter().for_each(|stream| stream.works.extend(works.iter().cloned()));
        }
        witness
    }

    /// What was found so far.
    #[must_use]
    pub const fn findings(&self) -> &Findings {
        &self.findings
    }

    /// How many works of each stream were answered: where its submission goes on.
    #[must_use]
    pub fn positions(&self) -> Vec<usize> {
        self.streams.iter().map(|stream| stream.answered).collect()
    }

    /// The works of a stream that were not answered. The first of them may have been submitted before.
    #[must_use]
    pub fn rest(&self, stream: usize) -> &[UnitOfWork] {
        let stream = &self.streams[stream];
        &stream.works[stream.answered..]
    }

    /// Whether all works of all streams were answered.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.streams.iter().all(|stream| stream.answered == stream.works.len())
    }

    /// Adds a work to the end of a stream.
    pub fn submitted(&mut self, stream: usize, work: UnitOfWork) {
        self.streams[stream].works.push(work);
    }

    /// Gives the reports that are not known to be committed the receive times that `store` gave them, where it has them: for stores
    /// behind a server, whose clock decides.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn date_reports(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        for stream in &mut self.streams {
            let stored = store.reports(stream.agent, u32::MAX).await?;
            for work in &mut stream.works[stream.committed..] {
                let UnitOfWork::RecordReport(record) = work else { continue };
                let report = stored.iter().find(|stored| stored.report_id == record.report.report_id);
                record.received_at = report.map_or(record.received_at, |stored| stored.received_at);
            }
        }
        Ok(())
    }

    /// The next work of a stream was answered, with an answer of this digest.
    ///
    /// # Panics
    /// When the stream has no next work.
    pub async fn acknowledged(&mut self, stream: usize, digest: Digest) {
        let expected = self.answered(stream).await;
        if answer_digest(&expected) != Some(digest) {
            let place = self.streams[stream].answered - 1;
            self.findings.wrong_answers += 1;
            self.findings.note(|| format!("work {place} of stream {stream} was answered otherwise than by {expected:?}"));
        }
    }

    /// The next work of a stream was answered: tells what the answer must have been.
    ///
    /// # Errors
    /// The refusal that it must have been.
    ///
    /// # Panics
    /// When the stream has no next work.
    pub async fn answered(&mut self, stream: usize) -> Result<Answer, StoreError> {
        let place = self.streams[stream].answered;
        self.streams[stream].answered += 1;
        if place == self.streams[stream].committed {
            return self.committed(stream).await;
        }
        // It was found before; asked for again, the store has answered as the model does.
        let stream = &self.streams[stream];
        stream.model.run(&stream.works[place], Mode::Commit).await
    }

    /// One more work of a stream is committed.
    async fn committed(&mut self, stream: usize) -> Result<Answer, StoreError> {
        let stream = &mut self.streams[stream];
        let before = stream.events().await;
        let answer = stream.model.run(&stream.works[stream.committed], Mode::Commit).await;
        stream.committed += 1;
        self.findings.committed += 1;
        self.findings.events += stream.events().await - before;
        answer
    }

    /// The store said of the next work of a stream that it is not available, so that nothing changed: the next audit takes it at
    /// its word.
    pub fn unavailable(&mut self, stream: usize) {
        self.streams[stream].excluded = true;
    }

    /// Compares what `store` holds of every agent with what it must.
    ///
    /// # Errors
    /// When the store cannot be read. What is wrong with it is told by [`Witness::findings`].
    pub async fn audit(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        for place in 0..self.streams.len() {
            let stream = &self.streams[place];
            let found = Image::of(store, stream.agent).await?;
            let expected = Image::of(&stream.model, stream.agent).await?;
            // At most one work may be there without an answer: one that is known already is the one.
            let next = stream.committed == stream.answered && stream.committed < stream.works.len() && !stream.excluded;
            let committed = stream.committed;
            self.streams[place].excluded = false;
            if found == expected {
                continue;
            }
            if next {
                let _answer = self.committed(place).await;
                if found == Image::of(&self.streams[place].model, found.agent).await? {
                    self.findings.unanswered += 1;
                    continue;
                }
            }
            self.classify(place, committed, &found, &expected).await?;
        }
        Ok(())
    }

    /// Compares the feed with the batches, after an [audit](Witness::audit) that found every agent whole: every batch once, at
    /// positions without gap, each agent's in their order, and nothing otherwise than it was seen before (clauses F1, F2 and F4).
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn audit_feed(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        let feed = store.feed(FeedPosition::START, u32::MAX).await?;
        let mut expected: BTreeMap<AgentId, u64> = BTreeMap::new();
        let numbered = feed.iter().zip(1..).all(|(entry, position)| {
            let number = expected.entry(entry.agent).or_default();
            *number += 1;
            (entry.position, entry.number) == (FeedPosition(position), *number)
        });
        let mut complete = true;
        for stream in &self.streams {
            let head = stream.model.agent(stream.agent).await?;
            complete &= head.map_or(0, |head| head.batches) == expected.remove(&stream.agent).unwrap_or(0);
        }
        if !numbered || !complete || !expected.is_empty() || !feed.starts_with(&self.feed) {
            self.findings.broken_feeds += 1;
            let before = &self.feed;
            self.findings.note(|| format!("the feed: {feed:?}\nbefore: {before:?}"));
        }
        self.feed = feed;
        Ok(())
    }

    /// Compares everything that can be asked of the whole fleet, and ends: no work may be under way.
    ///
    /// # Errors
    /// The first difference, or what was found before; or the store cannot be read.
    pub async fn settle(self, store: &dyn Store) -> Result<Findings, Failure> {
        self.findings.whole()?;
        let model = MemoryStore::new();
        let mut rest: BTreeMap<AgentId, _> =
            self.streams.iter().map(|stream| (stream.agent, stream.works[..stream.committed].iter())).collect();
        // Across agents the store has chosen an order: that of its feed.
        for entry in store.feed(FeedPosition::START, u32::MAX).await? {
            while model.agent(entry.agent).await?.map_or(0, |head| head.batches) < entry.number {
                let Some(work) = rest.get_mut(&entry.agent).and_then(Iterator::next) else { break };
                // Refusals are part of a history.
                let _answer = model.run(work, Mode::Commit).await;
            }
        }
        for work in rest.into_values().flatten() {
            let _answer = model.run(work, Mode::Commit).await;
        }
        let agents: Vec<AgentId> = self.streams.iter().map(|stream| stream.agent).collect();
        match difference(&transcript(store, &agents).await?, &transcript(&model, &agents).await?) {
            Some(difference) => Err(Failure::new(difference)),
            None => Ok(self.findings),
        }
    }

    /// Says what is wrong with `found`, which should be `expected`: that after the first `committed` works of a stream.
    async fn classify(&mut self, place: usize, committed: usize, found: &Image, expected: &Image) -> Result<(), StoreError> {
        let stream = &self.streams[place];
        let (stored, known) = (found.batches(), expected.batches());
        // The one under way may be there.
        let submitted = Image::of(&stream.model, stream.agent).await?.batches();
        let missing = |batch: &&(BatchId, u32)| !stored.contains(batch);
        self.findings.lost_events += known.iter().filter(missing).map(|(_, accepted)| u64::from(*accepted)).sum::<u64>();
        let unique: BTreeSet<BatchId> = stored.iter().map(|(batch, _)| *batch).collect();
        let alien = unique.iter().filter(|batch| submitted.iter().all(|(known, _)| known != *batch)).count();
        self.findings.duplicates += (stored.len() - unique.len() + alien) as u64;
        match stream.works_of(found, committed).await? {
            Some(works) => self.findings.lost += (committed - works) as u64,
            None => self.findings.torn += 1,
        }
        let difference = difference(&found.lines(), &expected.lines()).unwrap_or_default();
        self.findings.note(|| format!("after {committed} acknowledged works of stream {place}: {difference}"));
        Ok(())
    }
}

impl Stream {
    fn new(agent: AgentId) -> Self {
        Self { agent, works: Vec::new(), answered: 0, committed: 0, excluded: false, model: MemoryStore::new() }
    }

    async fn events(&self) -> u64 {
        let head = self.model.agent(self.agent).await;
        head.ok().flatten().map_or(0, |head| head.events)
    }

    /// After how many of the first `committed` works an agent looks as `found`.
    async fn works_of(&self, found: &Image, committed: usize) -> Result<Option<usize>, StoreError> {
        let model = MemoryStore::new();
        for (works, work) in self.works[..committed].iter().enumerate() {
            if Image::of(&model, self.agent).await? == *found {
                return Ok(Some(works));
            }
            let _answer = model.run(work, Mode::Commit).await;
        }
        Ok(None)
    }
}

impl Findings {
    /// Whether nothing was found wrong.
    ///
    /// # Errors
    /// What was.
    pub fn whole(&self) -> CheckResult {
        if [self.lost, self.torn, self.duplicates, self.wrong_answers, self.broken_feeds] == [0; 5] {
            return Ok(());
        }
        Err(Failure::new(format!("{self}\n{}", self.first.as_deref().unwrap_or_default())))
    }

    /// Adds what another witness found.
    pub fn add(&mut self, other: &Self) {
        self.committed += other.committed;
        self.events += other.events;
        self.unanswered += other.unanswered;
        self.lost += other.lost;
        self.lost_events += other.lost_events;
        self.torn += other.torn;
        self.duplicates += other.duplicates;
        self.wrong_answers += other.wrong_answers;
        self.broken_feeds += other.broken_feeds;
        self.first = self.first.take().or_else(|| other.first.clone());
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        self.first.get_or_insert_with(what);
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { committed, events, unanswered, lost, lost_events, torn, duplicates, wrong_answers, broken_feeds, first: _ } = self;
        write!(f, "{committed} works with {events} events committed, {unanswered} of them unanswered; ")?;
        write!(f, "{lost} works with {lost_events} events lost, {torn} torn, {duplicates} duplicates, {wrong_answers} wrong answers, ")?;
        write!(f, "{broken_feeds} broken feeds")
    }
}
