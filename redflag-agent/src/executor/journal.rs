//! The journal: what the executor has begun, on disk before it is begun, and what became of it.
//!
//! A command leaves two records in a segment file: its intent, before anything is executed, and its result. An intent without result
//! is a command whose end was not seen; what is installed decides then what became of it (clause C2). The highest counter is also
//! kept in a file of its own, so that damage to either leaves the other; if both are damaged, no command is taken until a person has
//! said where the counter stands.

use super::answer::Outcome;
use crate::{
    durable,
    error::{Error, Result},
    home::AgentHome,
    quarantine::Quarantine,
    segment::{
        PAYLOAD_BYTES_MAX,
        file::{SegmentFile, numbered},
    },
};
use redflag_core::{
    command::payload::{Action, Command},
    ids::CommandId,
    names::Text,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
};

/// The file that holds the highest counter.
const COUNTER: &str = "counter.json";
/// From this size on, a segment is followed by a new one.
const SEGMENT_BYTES: u64 = 1024 * 1024;
/// Segments that are kept: the one that is written, and the one before, so that recent commands are known.
const SEGMENTS_MAX: usize = 2;

/// What the executor has done, open for more.
#[derive(Debug)]
pub(super) struct Journal {
    home: AgentHome,
    directory: PathBuf,
    segments: VecDeque<SegmentFile>,
    /// None when it cannot be told.
    counter: Option<u64>,
    unfinished: Option<Intent>,
    results: VecDeque<(CommandId, Value)>,
}

/// A command that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Intent {
    pub command_id: CommandId,
    pub counter: u64,
    pub action: Action,
    pub begun_at: Timestamp,
    /// Which boot of the host it was begun in, where the kernel tells.
    pub boot: Option<Text>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Record {
    Intent(Intent),
    Result { command_id: CommandId, counter: u64, outcome: Value },
}

/// What [`COUNTER`] holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CounterFile {
    counter: Option<u64>,
}

impl Journal {
    /// Opens the journal in `home`, moving what is damaged to the quarantine. The second value tells of each such move.
    ///
    /// # Errors
    /// When files cannot be read, written or synced. Damaged content is not an error.
    pub(super) fn open(home: AgentHome) -> Result<(Self, Vec<String>)> {
        let (directory, quarantine) = (home.directory("journal")?, Quarantine::of(&home)?);
        let (segments, results) = (VecDeque::new(), VecDeque::new());
        let mut journal = Self { home, directory, segments, counter: None, unfinished: None, results };
        let mut notes = Vec::new();
        let mut highest = 0;
        for (number, path) in numbered(&journal.directory)? {
            let (segment, found) = SegmentFile::open(number, &path, &quarantine)?;
            for range in &found.content.payloads {
                highest = highest.max(journal.replay(&path, &found.bytes[range.clone()])?);
            }
            notes.extend(found.damage);
            journal.segments.push_back(segment);
        }
        let whole = notes.is_empty();
        journal.counter = journal.read_counter(highest, whole, &quarantine, &mut notes)?;
        if journal.segments.is_empty() {
            journal.start_segment()?;
        }
        Ok((journal, notes))
    }

    /// The highest counter of a command that was begun; zero before the first. None when damage has left no way to tell.
    pub(super) const fn counter(&self) -> Option<u64> {
        self.counter
    }

    /// Where a person can say where the counter stands.
    pub(super) fn counter_path(&self) -> PathBuf {
        self.home.file(COUNTER)
    }

    /// The command whose end was not seen.
    pub(super) const fn unfinished(&self) -> Option<&Intent> {
        self.unfinished.as_ref()
    }

    /// What became of a command, as far back as the journal goes.
    pub(super) fn result_of(&self, command: CommandId) -> Option<Outcome> {
        let (_, outcome) = self.results.iter().rev().find(|(id, _)| *id == command)?;
        serde_json::from_value(outcome.clone()).ok()
    }

    /// Notes that `command` is about to be begun; intent and counter are on disk when this returns.
    ///
    /// # Errors
    /// When they could not be made durable. The command must not be begun then.
    pub(super) fn begin(&mut self, command: &Command, begun_at: Timestamp, boot: Option<Text>) -> Result<()> {
        if self.segments.back().is_none_or(|segment| segment.bytes() >= SEGMENT_BYTES) {
            self.start_segment()?;
        }
        let Command { id, counter, action, .. } = command;
        let intent = Intent { command_id: *id, counter: *counter, action: action.clone(), begun_at, boot };
        self.append(&Record::Intent(intent.clone()))?;
        self.unfinished = Some(intent);
        self.counter = self.counter.max(Some(*counter));
        self.write_counter()
    }

    /// Notes what became of the command that was begun last.
    ///
    /// # Errors
    /// When that could not be made durable: the next start will look at what is installed.
    pub(super) fn finish(&mut self, outcome: &Outcome) -> Result<()> {
        let intent = self.unfinished.as_ref().expect("only what was begun is finished");
        let (command_id, counter) = (intent.command_id, intent.counter);
        let outcome = serde_json::to_value(outcome).expect("an outcome is JSON");
        self.append(&Record::Result { command_id, counter, outcome: outcome.clone() })?;
        self.unfinished = None;
        self.results.push_back((command_id, outcome));
        Ok(())
    }

    fn append(&mut self, record: &Record) -> Result<()> {
        let payload = serde_json::to_vec(record).expect("a record is JSON");
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Error::invalid(format!("a record of {} bytes, and {PAYLOAD_BYTES_MAX} is the limit", payload.len())));
        }
        self.segments.back_mut().expect("an open journal has a segment").append(&payload).map(drop)
    }

    fn start_segment(&mut self) -> Result<()> {
        let number = self.segments.back().map_or(1, |segment| segment.number() + 1);
        self.segments.push_back(SegmentFile::create(&self.directory, number)?);
        while self.segments.len() > SEGMENTS_MAX {
            let oldest = self.segments.front().expect("there are more than the limit");
            oldest.remove()?;
            self.segments.pop_front();
        }
        Ok(())
    }

    /// Takes in one record and answers its counter.
    fn replay(&mut self, path: &Path, payload: &[u8]) -> Result<u64> {
        let record = serde_json::from_slice(payload)
            .map_err(|error| Error::damaged(path, format!("a whole record that this version cannot read: {error}")))?;
        match record {
            Record::Intent(intent) => Ok(self.unfinished.insert(intent).counter),
            Record::Result { command_id, counter, outcome } => {
                self.unfinished = self.unfinished.take().filter(|intent| intent.command_id != command_id);
                self.results.push_back((command_id, outcome));
                Ok(counter)
            }
        }
    }

    /// The counter, from its file and from the journal's records, `highest` of which is zero when there are none.
    fn read_counter(&self, highest: u64, whole: bool, quarantine: &Quarantine, notes: &mut Vec<String>) -> Result<Option<u64>> {
        let path = self.counter_path();
        let counter = match durable::read_json::<CounterFile>(&path) {
            Ok(Some(CounterFile { counter })) => return Ok(counter.max(counter.map(|_| highest))),
            // Before the first command there is neither; an intent alone is there when the executor was killed right behind it.
            Ok(None) => whole.then_some(highest),
            Err(Error::Damaged { .. }) => {
                let bytes = std::fs::read(&path).map_err(Error::state("read", &path))?;
                let kept = quarantine.keep(COUNTER, &bytes)?;
                notes.push(format!("{} holds no counter; it is kept in {}", path.display(), kept.display()));
                (whole && highest > 0).then_some(highest)
            }
            Err(error) => return Err(error),
        };
        durable::replace_json(&path, &CounterFile { counter })?;
        Ok(counter)
    }

    fn write_counter(&self) -> Result<()> {
        durable::replace_json(&self.counter_path(), &CounterFile { counter: self.counter })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::answer::Found, *};
    use redflag_core::command::plan::Plan;

    const COMMAND: &str = r#"{"action":{"kind":"reboot"},"approvals":[],"audience":{"agent":"0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3",
        "key_id":"e3aa8f089b4ff59692f2b2f12e2291c49d0f209a255c71ad7dbf2f074c462688"},"counter":1,"expires_at":"2026-11-26T19:00:00Z",
        "id":"0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2c4","mode":"server-signs","not_before":"2026-11-25T19:00:00Z","schema":1}"#;

    #[test]
    fn a_result_too_large_to_be_kept_is_an_error_and_the_command_stays_known() {
        let directory = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(AgentHome::open(directory.path().join("state")).unwrap()).unwrap();
        let command: Command = serde_json::from_str(COMMAND).unwrap();
        journal.begin(&command, Timestamp::EPOCH, None).unwrap();
        let large = Outcome::Interrupted { reason: "x".repeat(PAYLOAD_BYTES_MAX), found: Found::Done, items: vec![] };
        assert!(journal.finish(&large).unwrap_err().to_string().contains("is the limit"));
        assert_eq!(journal.unfinished().map(|intent| intent.command_id), Some(command.id));
        journal.finish(&Outcome::WouldRun { plan: Some(Plan::default()) }).unwrap();
        assert!(journal.unfinished().is_none() && journal.result_of(command.id).is_some());
    }
}
