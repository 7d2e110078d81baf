//! Numbers that only grow, also across restarts and power cuts: of signatures and of reports.
//!
//! Each is on disk before it is used, so that no crash makes the agent use one twice.

use crate::{
    durable,
    error::{Error, Result},
    home::AgentHome,
};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

const COUNTERS: &str = "counters.json";

/// The counters of one agent.
#[derive(Debug)]
pub struct Counters {
    path: PathBuf,
    last: Last,
}

/// The last numbers given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Last {
    /// Of a signed request.
    pub signature: u64,
    /// Of a report.
    pub sequence: u64,
}

impl Counters {
    /// Reads the counters of `home`; they start at zero.
    ///
    /// # Errors
    /// When the file is damaged: starting again from zero would make the server refuse everything.
    pub fn open(home: &AgentHome) -> Result<Self> {
        let path = home.file(COUNTERS);
        let last = durable::read_json(&path)?.unwrap_or_default();
        Ok(Self { path, last })
    }

    /// The last numbers given out.
    #[must_use]
    pub const fn last(&self) -> Last {
        self.last
    }

    /// A number for the next signed request.
    ///
    /// # Errors
    /// When it could not be made durable; it is not used up then.
    pub fn next_signature(&mut self) -> Result<u64> {
        self.advance(Last { signature: self.last.signature + 1, ..self.last }).map(|last| last.signature)
    }

    /// A number for the next report.
    ///
    /// # Errors
    /// As [`Counters::next_signature`].
    pub fn next_sequence(&mut self) -> Result<u64> {
        self.advance(Last { sequence: self.last.sequence + 1, ..self.last }).map(|last| last.sequence)
    }

    fn advance(&mut self, next: Last) -> Result<Last> {
        if next.signature.max(next.sequence) > i64::MAX as u64 {
            return Err(Error::damaged(&self.path, "a counter has reached its end; enrol anew"));
        }
        durable::replace_json(&self.path, &next)?;
        self.last = next;
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_grow_across_restarts_and_damage_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let home = AgentHome::open(directory.path().join("state")).unwrap();
        let mut counters = Counters::open(&home).unwrap();
        assert_eq!((counters.next_signature().unwrap(), counters.next_signature().unwrap(), counters.next_sequence().unwrap()), (1, 2, 1));
        let mut again = Counters::open(&home).unwrap();
        assert_eq!((again.next_signature().unwrap(), again.next_sequence().unwrap()), (3, 2));
        std::fs::write(home.file(COUNTERS), "{}").unwrap();
        assert!(matches!(Counters::open(&home), Err(Error::Damaged { .. })));
    }
}
