//! Refuses a signed request that was already seen.
//!
//! Kept in memory for as long as a signature is fresh. After a restart, or in another server process, a captured request could
//! pass once more within that time; every agent request is idempotent, so it would change nothing.

use redflag_core::{ids::AgentId, signing::SignatureParameters};
use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
};

/// Most requests of one agent within the time a signature is fresh.
const REQUESTS_MAX: usize = 4_096;

/// The (created, counter) pairs of fresh signatures, per agent. Only verified signatures of enrolled agents get here, so its
/// size is bounded by the fleet.
#[derive(Debug, Default)]
pub(crate) struct ReplayGuard {
    seen: Mutex<HashMap<AgentId, HashSet<(i64, u64)>>>,
}

/// What became of a request at the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sighting {
    /// Never seen.
    First,
    /// Seen before.
    Replayed,
    /// More requests than one agent can need.
    TooMany,
}

impl ReplayGuard {
    /// Notes a verified signature; those created before `fresh_from` are forgotten, because their time refuses them already.
    pub(crate) fn note(&self, signature: &SignatureParameters, fresh_from: i64) -> Sighting {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let of_agent = seen.entry(signature.agent).or_default();
        of_agent.retain(|(created, _)| *created >= fresh_from);
        if of_agent.len() >= REQUESTS_MAX {
            return Sighting::TooMany;
        }
        if of_agent.insert((signature.created, signature.counter)) { Sighting::First } else { Sighting::Replayed }
    }

    /// Forgets an agent that was removed.
    pub(crate) fn forget(&self, agent: AgentId) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(&agent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pair_passes_once_and_old_ones_are_forgotten() {
        let guard = ReplayGuard::default();
        let agent = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3".parse().unwrap();
        let at = |created, counter| SignatureParameters { created, agent, counter };
        assert_eq!(guard.note(&at(100, 1), 0), Sighting::First);
        assert_eq!(guard.note(&at(100, 1), 0), Sighting::Replayed);
        assert_eq!(guard.note(&at(100, 2), 0), Sighting::First, "the counter tells requests of one second apart");
        assert_eq!(guard.note(&at(101, 1), 0), Sighting::First, "requests may overtake each other");
        for counter in 0..REQUESTS_MAX as u64 {
            guard.note(&at(200, counter), 200);
        }
        assert_eq!(guard.note(&at(200, 9_999), 200), Sighting::TooMany);
        assert_eq!(guard.note(&at(300, 9_999), 300), Sighting::First);
        guard.forget(agent);
        assert!(guard.seen.lock().unwrap().is_empty(), "nothing of a removed agent stays");
    }
}
