//! The log as lines: of each entry its link, of each checkpoint its envelope behind the last entry it stands for.

use super::{AuditLog, StoredCheckpoint, log::corrupt};
use redflag_core::{audit::chain::key, store::StoreError};
use std::collections::VecDeque;

/// Checkpoints that are read at a time.
const CHECKPOINTS_PER_READ: u32 = 500;

/// Reads the lines of a log, which [`redflag_core::audit::verify::Verifier::line`] verifies.
#[derive(Debug)]
pub struct Lines {
    log: AuditLog,
    /// The key after which the next block is.
    after: String,
    checkpoints: VecDeque<StoredCheckpoint>,
    /// Checkpoints read.
    read: u64,
}

impl AuditLog {
    /// The lines of this log, from the first.
    #[must_use]
    pub fn lines(&self) -> Lines {
        Lines { log: self.clone(), after: key(0), checkpoints: VecDeque::new(), read: 0 }
    }
}

impl Lines {
    /// The next lines; none when there are no more. What was written since the last call is read, too.
    ///
    /// # Errors
    /// When the store fails or what is stored cannot be read; [`AuditLog::verify`] says where.
    ///
    /// # Cancel safety
    /// Cancelled, the lines come again.
    pub async fn next(&mut self) -> Result<Vec<String>, StoreError> {
        let blocks = self.log.blocks(&self.after).await?;
        let Some((last, block)) = blocks.last() else { return Ok(Vec::new()) };
        let (last, size) = (last.clone(), block.place().number);
        self.read_checkpoints(size).await?;
        let mut lines = Vec::new();
        for link in blocks.into_iter().flat_map(|(_, block)| block.links) {
            if link.entry.damage.is_some() {
                // What stands for lost entries comes before the one that goes on behind them.
                while let Some(stored) = self.checkpoints.pop_front_if(|stored| stored.checkpoint.size < link.entry.number) {
                    lines.push(stored.envelope);
                }
            }
            lines.push(text(link.to_bytes())?);
            let stands = |stored: &mut StoredCheckpoint| stored.checkpoint.size <= link.entry.number;
            while let Some(stored) = self.checkpoints.pop_front_if(stands) {
                lines.push(stored.envelope);
            }
        }
        self.after = last;
        Ok(lines)
    }

    /// Reads the checkpoints that stand for entries up to this one.
    async fn read_checkpoints(&mut self, size: u64) -> Result<(), StoreError> {
        while self.checkpoints.back().is_none_or(|last| last.checkpoint.size <= size) {
            let more = self.log.checkpoints_after(self.read, CHECKPOINTS_PER_READ).await?;
            let Some(last) = more.last() else { return Ok(()) };
            self.read = last.checkpoint.number;
            self.checkpoints.extend(more);
        }
        Ok(())
    }
}

fn text(bytes: Vec<u8>) -> Result<String, StoreError> {
    String::from_utf8(bytes).map_err(|error| corrupt(error.to_string()))
}
