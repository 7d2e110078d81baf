//! What has gone, and which entries say that it goes: removals of agents, and retention.
//!
//! A deletion is put down before it is begun, so whoever finds something gone finds the entry, too, by reading on from where it read last.
//! Entries are taken as they are written here; that they are good is the verifier's affair, which reads them as well.

use super::{
    AuditLog,
    log::{BLOCKS, BLOCKS_PER_READ},
};
use redflag_core::{
    audit::{
        AuditKind, FactName,
        chain::{Block, key},
        entry::Entry,
    },
    ids::AgentId,
    store::StoreError,
    time::Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};

/// The deletions that a log tells of, as far as it was read for them: not at all before something is found gone.
#[derive(Debug)]
pub(super) struct Deletions {
    /// The key after which the next block is.
    after: String,
    removed: BTreeSet<AgentId>,
    /// Before when retention takes batches: of one agent, or of all.
    pruned: BTreeMap<Option<AgentId>, Timestamp>,
}

impl Default for Deletions {
    fn default() -> Self {
        Self { after: key(0), removed: BTreeSet::new(), pruned: BTreeMap::new() }
    }
}

impl Deletions {
    /// Whether an entry says that what was received then of an agent goes.
    pub(super) async fn explain_batch(&mut self, log: &AuditLog, agent: AgentId, received_at: Timestamp) -> Result<bool, StoreError> {
        Ok(self.takes(agent, received_at) || {
            self.read_on(log).await?;
            self.takes(agent, received_at)
        })
    }

    /// Whether an entry says that all of an agent goes.
    pub(super) async fn explain_command(&mut self, log: &AuditLog, agent: AgentId) -> Result<bool, StoreError> {
        Ok(self.removed.contains(&agent) || {
            self.read_on(log).await?;
            self.removed.contains(&agent)
        })
    }

    fn takes(&self, agent: AgentId, received_at: Timestamp) -> bool {
        let before = |of: &Option<AgentId>| self.pruned.get(of).is_some_and(|before| received_at < *before);
        self.removed.contains(&agent) || before(&Some(agent)) || before(&None)
    }

    async fn read_on(&mut self, log: &AuditLog) -> Result<(), StoreError> {
        loop {
            let records = log.fleet().store().list(BLOCKS, Some(&self.after), BLOCKS_PER_READ).await?;
            let Some((last, _)) = records.last() else { return Ok(()) };
            self.after.clone_from(last);
            // A block that cannot be read is named by who verifies it.
            for block in records.iter().filter_map(|(_, record)| Block::read(&record.value).ok()) {
                block.links.iter().for_each(|link| self.take(&link.entry));
            }
        }
    }

    fn take(&mut self, entry: &Entry) {
        let agent = entry.facts.get(&FactName::Agent).and_then(|agent| agent.as_str().parse().ok());
        match (entry.kind, agent) {
            (AuditKind::AgentRemoval, Some(agent)) => drop(self.removed.insert(agent)),
            (AuditKind::Pruning, of) => {
                let window = entry.facts.get(&FactName::Window).and_then(|window| window.as_str().parse::<Timestamp>().ok());
                if let Some(window) = window {
                    self.pruned.entry(of).and_modify(|before| *before = window.max(*before)).or_insert(window);
                }
            }
            _ => {}
        }
    }
}
