//! A whole fleet as JSON Lines: out of one store, into another, and proof that both hold the same.
//!
//! The lines, in this order: one `fleet`; one `removed` for each agent that was removed and one `agent` for each that is there, by
//! id; one `batch` or `tombstone` for each position of the feed; one `report` for each stored report, by agent and arrival; one
//! `command` for each command, by agent, newest first; one `record` for each document; one `end`, which counts the lines before it and bears the SHA-256 of them, each with its line feed.
//! Two stores with the same content export the same bytes, so comparing the last lines compares the stores.
//!
//! Nothing is read or written here but through the ports: callers move the lines. States, counters and trend are not exported, because
//! they follow from the log, and the importing side folds them itself. Revisions of records begin anew.

use crate::{
    Fleet,
    agent::AgentHead,
    batch::{BatchRecord, RejectedItem},
    command::record::CommandRecord,
    event::RecordedEvent,
    feed::{FeedPosition, Tombstone},
    ids::{AgentId, Digest},
    limits,
    query::{AgentQuery, CommandPosition, CommandQuery, PageNumber, PageSize},
    removal::RemovedAgent,
    report::StoredReport,
    restore::{LogSlice, Piece, Restore},
    state::{PackageState, VersionChange},
    store::{Expected, StoreError, StoreErrorKind},
    work::UnitOfWork,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
};

/// The version of the form written here; others are refused.
pub const VERSION: u32 = 1;

/// One line: an object of one field, whose name says what it is. (Tags inside would make serde buffer the line, and the raw text of
/// events would be lost.)
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Line {
    Fleet {
        version: u32,
    },
    Removed {
        agent: RemovedAgent,
    },
    Agent {
        head: Box<AgentHead>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        bases: Vec<PackageState>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pruned_history: Vec<VersionChange>,
    },
    Tombstone {
        agent: AgentId,
        number: u64,
        digest: Digest,
    },
    Batch {
        record: Box<BatchRecord>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        events: Vec<RecordedEvent>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        rejections: Vec<RejectedItem>,
    },
    Report {
        agent: AgentId,
        report: StoredReport,
    },
    Command {
        record: Box<CommandRecord>,
    },
    Record {
        namespace: String,
        key: String,
        value: String,
    },
    End {
        lines: u64,
        digest: Digest,
    },
}

/// What an export or import has moved, and the digest that stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Lines before the last.
    pub lines: u64,
    /// Agents that are there.
    pub agents: u64,
    /// Positions of the feed.
    pub batches: u64,
    /// Events.
    pub events: u64,
    /// Documents.
    pub records: u64,
    /// SHA-256 over every line before the last; equal for stores with the same content.
    pub digest: Digest,
}

/// Counts and digests lines as they pass.
#[derive(Debug, Default)]
struct Passing {
    hash: Sha256,
    lines: u64,
    agents: u64,
    batches: u64,
    events: u64,
    records: u64,
}

impl Passing {
    fn pass(&mut self, text: &str, line: &Line) {
        self.hash.update(text.as_bytes());
        self.hash.update(b"\n");
        self.lines += 1;
        match line {
            Line::Agent { .. } => self.agents += 1,
            Line::Tombstone { .. } => self.batches += 1,
            Line::Batch { events, .. } => {
                self.batches += 1;
                self.events += events.len() as u64;
            }
            Line::Record { .. } => self.records += 1,
            Line::Fleet { .. } | Line::Removed { .. } | Line::Report { .. } | Line::Command { .. } | Line::End { .. } => {}
        }
    }

    fn summary(&self) -> Summary {
        let digest = Digest::from_bytes(self.hash.clone().finalize().into());
        let Self { hash: _, lines, agents, batches, events, records } = *self;
        Summary { lines, agents, batches, events, records, digest }
    }
}

/// What is exported next.
#[derive(Debug)]
enum Stage {
    Fleet,
    Removed(Option<AgentId>),
    Agents(u32),
    Feed(FeedPosition),
    Reports(Option<AgentId>),
    Commands { agent: Option<AgentId>, after: Option<CommandPosition> },
    Records { namespace: Option<String>, key: Option<String> },
    End,
    Done,
}

/// Writes a fleet line by line. Nothing may be written to the fleet meanwhile: an export that finds a batch it did not see an agent
/// with ends in an error, and so does one that finds an agent grown or gone.
#[derive(Debug)]
pub struct Exporter {
    fleet: Fleet,
    stage: Stage,
    ready: VecDeque<Line>,
    passing: Passing,
    /// The agents exported, with the batches of their streams that are still to come.
    agents: BTreeMap<AgentId, u64>,
}

impl Exporter {
    /// An export of `fleet`.
    #[must_use]
    pub fn new(fleet: &Fleet) -> Self {
        let agents = BTreeMap::new();
        Self { fleet: fleet.clone(), stage: Stage::Fleet, ready: VecDeque::new(), passing: Passing::default(), agents }
    }

    /// The next line, without its line feed; none after the last.
    ///
    /// # Errors
    /// When the fleet changes under the export, or the store fails.
    pub async fn next_line(&mut self) -> Result<Option<String>, StoreError> {
        while self.ready.is_empty() {
            if matches!(self.stage, Stage::Done) {
                return Ok(None);
            }
            self.advance().await?;
        }
        let Some(line) = self.ready.pop_front() else { return Ok(None) };
        let text = serde_json::to_string(&line).map_err(|error| StoreError::caused(StoreErrorKind::Corrupt, error))?;
        if !matches!(line, Line::End { .. }) {
            self.passing.pass(&text, &line);
        }
        Ok(Some(text))
    }

    /// What has been exported so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.passing.summary()
    }

    async fn advance(&mut self) -> Result<(), StoreError> {
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Fleet => {
                self.ready.push_back(Line::Fleet { version: VERSION });
                self.stage = Stage::Removed(None);
            }
            Stage::Removed(after) => self.removed(after).await?,
            Stage::Agents(page) => self.agents(page).await?,
            Stage::Feed(after) => self.feed(after).await?,
            Stage::Reports(after) => self.reports(after).await?,
            Stage::Commands { agent, after } => self.commands(agent, after).await?,
            Stage::Records { namespace, key } => self.records(namespace, key).await?,
            Stage::End => {
                let Summary { lines, digest, .. } = self.passing.summary();
                self.ready.push_back(Line::End { lines, digest });
            }
            Stage::Done => {}
        }
        Ok(())
    }

    async fn removed(&mut self, after: Option<AgentId>) -> Result<(), StoreError> {
        let removed = self.fleet.store().removed_agents(after, limits::PAGE_SIZE_MAX).await?;
        self.stage = removed.last().map_or(Stage::Agents(1), |last| Stage::Removed(Some(last.agent)));
        for agent in removed {
            self.agents.insert(agent.agent, agent.batches);
            self.ready.push_back(Line::Removed { agent });
        }
        Ok(())
    }

    /// Agents are listed by name, and exported by id: ids are all that is kept of a page.
    async fn agents(&mut self, page: u32) -> Result<(), StoreError> {
        let store = self.fleet.store();
        let size = PageSize::MAX;
        let mut ids = Vec::new();
        for number in page.. {
            let query = AgentQuery { page: PageNumber::new(number)?, size, ..AgentQuery::default() };
            let found = store.agents(&query).await?.items;
            if found.is_empty() {
                break;
            }
            ids.extend(found.into_iter().map(|row| row.head.agent));
        }
        ids.sort_unstable();
        for agent in ids {
            let head = store.agent(agent).await?.ok_or_else(|| changed(agent))?;
            let (bases, pruned_history) = if head.pruned.nothing() {
                (Vec::new(), Vec::new())
            } else {
                let history = store.derived(agent).await?.ok_or_else(|| changed(agent))?.history;
                let pruned = history.into_iter().filter(|change| change.sequence <= head.pruned.events);
                (store.bases(agent).await?, pruned.collect())
            };
            self.agents.insert(agent, head.batches);
            self.ready.push_back(Line::Agent { head: Box::new(head), bases, pruned_history });
        }
        self.stage = Stage::Feed(FeedPosition::START);
        Ok(())
    }

    async fn feed(&mut self, after: FeedPosition) -> Result<(), StoreError> {
        /// A batch can be large, and a line holds it whole.
        const ENTRIES: u32 = 50;
        let entries = self.fleet.store().feed(after, ENTRIES).await?;
        let Some(last) = entries.last() else {
            return match self.agents.iter().find(|(_, left)| **left > 0) {
                Some((agent, _)) => Err(changed(*agent)),
                None => {
                    self.stage = Stage::Reports(None);
                    Ok(())
                }
            };
        };
        self.stage = Stage::Feed(last.position);
        for entry in entries {
            let left = self.agents.get_mut(&entry.agent).filter(|left| **left > 0).ok_or_else(|| changed(entry.agent))?;
            *left -= 1;
            let line = match entry.record {
                None => Line::Tombstone { agent: entry.agent, number: entry.number, digest: entry.digest },
                Some(record) => {
                    let events = self.fleet.events_of(&record).await?;
                    let rejections = match record.receipt.rejected {
                        0 => Vec::new(),
                        _ => self.fleet.store().rejections(entry.agent, record.receipt.batch).await?,
                    };
                    Line::Batch { record: Box::new(record), events, rejections }
                }
            };
            self.ready.push_back(line);
        }
        Ok(())
    }

    async fn reports(&mut self, after: Option<AgentId>) -> Result<(), StoreError> {
        let Some(agent) = self.agent_after(after) else {
            self.stage = Stage::Commands { agent: self.agent_after(None), after: None };
            return Ok(());
        };
        self.stage = Stage::Reports(Some(agent));
        let reports = self.fleet.store().reports(agent, u32::MAX).await?;
        self.ready.extend(reports.into_iter().rev().map(|report| Line::Report { agent, report }));
        Ok(())
    }

    fn agent_after(&self, after: Option<AgentId>) -> Option<AgentId> {
        self.agents.keys().find(|agent| after.is_none_or(|after| **agent > after)).copied()
    }

    async fn commands(&mut self, agent: Option<AgentId>, after: Option<CommandPosition>) -> Result<(), StoreError> {
        /// A command can be large.
        const COMMANDS: u32 = 50;
        let Some(of) = agent else {
            self.stage = Stage::Records { namespace: None, key: None };
            return Ok(());
        };
        let query = CommandQuery { agent, after, size: PageSize::new(COMMANDS)?, ..CommandQuery::default() };
        let page = self.fleet.store().commands(&query).await?;
        self.stage = match page.next {
            Some(next) => Stage::Commands { agent, after: Some(next) },
            None => Stage::Commands { agent: self.agent_after(Some(of)), after: None },
        };
        self.ready.extend(page.items.into_iter().map(|row| Line::Command { record: Box::new(row.record) }));
        Ok(())
    }

    async fn records(&mut self, namespace: Option<String>, key: Option<String>) -> Result<(), StoreError> {
        let store = self.fleet.store();
        let Some(namespace) = namespace else {
            self.stage = match store.namespaces(None, 1).await?.pop() {
                Some(first) => Stage::Records { namespace: Some(first), key: None },
                None => Stage::End,
            };
            return Ok(());
        };
        let found = store.list(&namespace, key.as_deref(), limits::PAGE_SIZE_MAX).await?;
        self.stage = match found.last() {
            Some((last, _)) => Stage::Records { namespace: Some(namespace.clone()), key: Some(last.clone()) },
            None => match store.namespaces(Some(&namespace), 1).await?.pop() {
                Some(next) => Stage::Records { namespace: Some(next), key: None },
                None => Stage::End,
            },
        };
        let line = |(key, record): (String, crate::store::Record)| Line::Record { namespace: namespace.clone(), key, value: record.value };
        self.ready.extend(found.into_iter().map(line));
        Ok(())
    }
}

fn changed(agent: AgentId) -> StoreError {
    let message = format!("agent {agent} changed while the fleet was exported; stop what writes to it, or export a backup");
    StoreError::caused(StoreErrorKind::Unavailable, message)
}

/// Why lines could not be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A line that is none of this form, or stands where it may not.
    #[error("line {line}: {what}")]
    Line {
        /// Its number, from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The store to import into holds something already.
    #[error("the fleet to import into is not empty")]
    NotEmpty,
    /// The lines ended before their `end`.
    #[error("the export is cut off after line {0}")]
    CutOff(u64),
    /// The store failed.
    #[error("line {line} could not be stored")]
    Store {
        /// The line's number.
        line: u64,
        /// Why.
        source: StoreError,
    },
}

/// Reads a fleet line by line into an empty store.
///
/// Lines are checked as they come and stored in slices; an import that ends in an error leaves a part of a fleet, which no later import
/// continues: begin again with an empty store.
#[derive(Debug)]
pub struct Importer {
    fleet: Fleet,
    passing: Passing,
    /// Pieces of one agent that wait to be stored together.
    slice: Option<(AgentId, Piece)>,
    end: bool,
}

impl Importer {
    /// An import into `fleet`.
    ///
    /// # Errors
    /// When it is not empty, or the store fails.
    pub async fn new(fleet: &Fleet) -> Result<Self, ImportError> {
        let store = fleet.store();
        let failed = |source| ImportError::Store { line: 0, source };
        let agents = store.agents(&AgentQuery::default()).await.map_err(failed)?.total;
        let removed = store.removed_agents(None, 1).await.map_err(failed)?;
        let documents = store.namespaces(None, 1).await.map_err(failed)?;
        if agents > 0 || !removed.is_empty() || !documents.is_empty() {
            return Err(ImportError::NotEmpty);
        }
        Ok(Self { fleet: fleet.clone(), passing: Passing::default(), slice: None, end: false })
    }

    /// Takes the next line, without its line feed.
    ///
    /// # Errors
    /// When the line is not what can come next, or cannot be stored.
    pub async fn line(&mut self, text: &str) -> Result<(), ImportError> {
        let line: Line = serde_json::from_str(text).map_err(|error| self.wrong(error.to_string()))?;
        if self.end {
            return Err(self.wrong("nothing may follow the end".to_owned()));
        }
        if let Line::End { lines, digest } = line {
            let passed = self.passing.summary();
            if (lines, digest) != (passed.lines, passed.digest) {
                let what = format!("{lines} lines of digest {digest} were written, {} of {} came", passed.lines, passed.digest);
                return Err(self.wrong(what));
            }
            self.end = true;
            return self.flush().await;
        }
        if matches!(line, Line::Fleet { .. }) != (self.passing.lines == 0) {
            return Err(self.wrong("an export begins with its only line `fleet`".to_owned()));
        }
        self.passing.pass(text, &line);
        self.take(line).await
    }

    /// Ends the import.
    ///
    /// # Errors
    /// When the lines were cut off.
    pub fn finish(self) -> Result<Summary, ImportError> {
        if self.end { Ok(self.passing.summary()) } else { Err(ImportError::CutOff(self.passing.lines)) }
    }

    /// What has been imported so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.passing.summary()
    }

    fn wrong(&self, what: impl fmt::Display) -> ImportError {
        ImportError::Line { line: self.passing.lines + 1, what: what.to_string() }
    }

    async fn take(&mut self, line: Line) -> Result<(), ImportError> {
        match line {
            Line::Fleet { version: VERSION } => Ok(()),
            Line::Fleet { version } => Err(ImportError::Line { line: 1, what: format!("version {version} where {VERSION} is read") }),
            Line::Removed { agent } => self.store(agent.agent, Piece::Removed(agent)).await,
            Line::Agent { head, bases, pruned_history } => {
                let agent = head.agent;
                self.store(agent, Piece::Agent { head, bases, history: pruned_history }).await
            }
            Line::Tombstone { agent, number, digest } => self.gather(agent, Piece::Tombstones(vec![Tombstone { number, digest }])).await,
            Line::Batch { record, events, rejections } => {
                let slice = LogSlice { batches: vec![*record], events, rejections };
                self.gather(slice.batches[0].receipt.agent, Piece::Log(slice)).await
            }
            Line::Report { agent, report } => self.gather(agent, Piece::Reports(vec![report])).await,
            Line::Command { record } => self.gather(record.audience.agent, Piece::Commands(vec![*record])).await,
            Line::Record { namespace, key, value } => {
                self.flush().await?;
                let stored = self.fleet.store().put(&namespace, &key, &value, Expected::Absent).await;
                match stored.map_err(|source| ImportError::Store { line: self.passing.lines, source })? {
                    Some(_) => Ok(()),
                    None => Err(ImportError::Line { line: self.passing.lines, what: format!("record {namespace}/{key} came twice") }),
                }
            }
            Line::End { .. } => Ok(()),
        }
    }

    /// Puts a piece to those of the same kind and agent before it, while they are few.
    async fn gather(&mut self, agent: AgentId, piece: Piece) -> Result<(), ImportError> {
        let left = match (&mut self.slice, piece) {
            (Some((of, Piece::Log(slice))), Piece::Log(mut more))
                if *of == agent && slice.events.len() + more.events.len() <= limits::LOG_SLICE_EVENTS as usize =>
            {
                slice.batches.append(&mut more.batches);
                slice.events.append(&mut more.events);
                slice.rejections.append(&mut more.rejections);
                None
            }
            (Some((of, Piece::Tombstones(slice))), Piece::Tombstones(mut more)) if *of == agent => {
                slice.append(&mut more);
                None
            }
            (Some((of, Piece::Reports(slice))), Piece::Reports(mut more))
                if *of == agent && slice.len() < limits::FEED_ENTRIES_DEFAULT as usize =>
            {
                slice.append(&mut more);
                None
            }
            (Some((of, Piece::Commands(slice))), Piece::Commands(mut more))
                if *of == agent && slice.len() < limits::FEED_ENTRIES_DEFAULT as usize =>
            {
                slice.append(&mut more);
                None
            }
            (_, piece) => Some(piece),
        };
        if let Some(piece) = left {
            self.flush().await?;
            self.slice = Some((agent, piece));
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), ImportError> {
        match self.slice.take() {
            Some((agent, piece)) => self.run(agent, piece).await,
            None => Ok(()),
        }
    }

    async fn store(&mut self, agent: AgentId, piece: Piece) -> Result<(), ImportError> {
        self.flush().await?;
        self.run(agent, piece).await
    }

    async fn run(&self, agent: AgentId, piece: Piece) -> Result<(), ImportError> {
        let stored = self.fleet.run(UnitOfWork::Restore(Restore { agent, piece })).await;
        stored.map(|_| ()).map_err(|source| ImportError::Store { line: self.passing.lines, source })
    }
}
