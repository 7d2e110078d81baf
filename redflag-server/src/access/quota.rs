//! What one agent may cost: a budget of bytes and one of events, each refilled with time.
//!
//! A budget may be overdrawn by one request, and the next waits until that is paid back: no request is too large for any budget, and what
//! was worked on is never thrown away. The wait is told before anything of the next body is read; an agent's outbox keeps what it holds.

use super::buckets::{Bucket, Rate, Stopwatch};
use crate::problem::Problem;
use axum::http::StatusCode;
use redflag_core::ids::AgentId;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// The budget of each agent. The defaults are what no agent needs that reports what its host is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentQuota {
    /// Bytes of bodies that may come at once.
    pub bytes_at_once: u64,
    /// Bytes that are given back in a second.
    pub bytes_per_second: u64,
    /// Events that may be written at once.
    pub events_at_once: u64,
    /// Events that are given back in a second.
    pub events_per_second: u64,
}

impl Default for AgentQuota {
    fn default() -> Self {
        Self { bytes_at_once: 256 * 1024 * 1024, bytes_per_second: 64 * 1024, events_at_once: 200_000, events_per_second: 20 }
    }
}

impl AgentQuota {
    const fn bytes(&self) -> Rate {
        Rate::per_second(self.bytes_at_once, self.bytes_per_second)
    }

    const fn events(&self) -> Rate {
        Rate::per_second(self.events_at_once, self.events_per_second)
    }
}

/// What each agent has spent since this process started. Only agents whose signature held get here, so its size is bounded by the fleet.
#[derive(Debug)]
pub(crate) struct Quotas {
    quota: AgentQuota,
    started: Stopwatch,
    spent: Mutex<HashMap<AgentId, Spent>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    bytes: Bucket,
    events: Bucket,
}

impl Quotas {
    pub(crate) fn new(quota: AgentQuota) -> Self {
        Self { quota, started: Stopwatch::default(), spent: Mutex::default() }
    }

    /// Whether the agent has proved itself since this process started.
    pub(super) fn knows(&self, agent: AgentId) -> bool {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&agent)
    }

    /// Takes a body of `bytes` from the agent's budget.
    ///
    /// # Errors
    /// 429 with the time to wait, while a budget is overdrawn.
    pub(super) fn admit(&self, agent: AgentId, bytes: u64) -> Result<(), Problem> {
        let now = self.started.now();
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let of_agent = spent.entry(agent).or_default();
        let room = of_agent.bytes.room(self.quota.bytes(), now).map_err(|wait| ("bytes", wait));
        let room = room.and_then(|()| of_agent.events.room(self.quota.events(), now).map_err(|wait| ("events", wait)));
        if let Err((what, wait)) = room {
            let detail = format!("this agent has used up its budget of {what}, which refills with time");
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "quota", detail).with_retry_after(wait));
        }
        of_agent.bytes.put(bytes, self.quota.bytes(), now);
        Ok(())
    }

    /// Takes events that were written from the agent's budget.
    pub(crate) fn spend_events(&self, agent: AgentId, events: u64) {
        let now = self.started.now();
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        // An agent that was removed meanwhile has no budget any more.
        if let Some(of_agent) = spent.get_mut(&agent) {
            of_agent.events.put(events, self.quota.events(), now);
        }
    }

    /// Forgets an agent that was removed.
    pub(crate) fn forget(&self, agent: AgentId) {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner).remove(&agent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_the_agents_own_and_nothing_stays_of_who_is_removed() {
        let quotas = Quotas::new(AgentQuota { bytes_at_once: 100, bytes_per_second: 1, events_at_once: 10, events_per_second: 1 });
        let [greedy, modest] =
            ["0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3", "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b4"].map(|id| id.parse().unwrap());
        assert!(!quotas.knows(greedy));
        assert_eq!(quotas.admit(greedy, 1_000_000), Ok(()), "no request is too large for any budget");
        let refused = quotas.admit(greedy, 0).unwrap_err();
        assert_eq!((refused.status(), refused.code()), (StatusCode::TOO_MANY_REQUESTS, "quota"));
        assert!(refused.retry_after_seconds().is_some_and(|seconds| (999_000..=999_900).contains(&seconds)), "{refused:?}");
        assert_eq!(quotas.admit(modest, 99), Ok(()));
        assert_eq!(quotas.admit(modest, 99), Ok(()));
        assert!(quotas.admit(modest, 1).is_err());
        quotas.forget(greedy);
        quotas.spend_events(greedy, 1_000);
        assert!(!quotas.knows(greedy) && quotas.spent.lock().unwrap().len() == 1);
        assert_eq!(quotas.admit(greedy, 0), Ok(()));
        quotas.spend_events(greedy, 11);
        assert!(quotas.admit(greedy, 0).is_err(), "events count too");
    }
}
