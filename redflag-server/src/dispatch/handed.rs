//! Which deliveries this process has put down in the audit log. A delivery that could not be put down is not answered, and is put down when
//! the agent asks again; so is one that another process answered, once more.

use redflag_core::{
    command::record::CommandRecord,
    ids::{AgentId, CommandId},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
};

/// Of each agent what it has and has not begun, with how often that was handed out.
#[derive(Debug, Default)]
pub(crate) struct Handed(Mutex<HashMap<AgentId, BTreeMap<CommandId, u32>>>);

impl Handed {
    /// Those of the commands an agent is given whose delivery is not put down yet.
    pub(super) fn not_noted<'a>(&self, agent: AgentId, given: &'a [CommandRecord]) -> Vec<&'a CommandRecord> {
        let handed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |record: &CommandRecord| handed.get(&agent).and_then(|of| of.get(&record.id)) == Some(&record.attempts);
        given.iter().filter(|record| !known(record)).collect()
    }

    /// All that an agent is given is put down.
    pub(super) fn noted(&self, agent: AgentId, given: &[CommandRecord]) {
        let mut handed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if given.is_empty() {
            handed.remove(&agent);
        } else {
            handed.insert(agent, given.iter().map(|record| (record.id, record.attempts)).collect());
        }
    }
}
