//! Refuses a signed request that was already seen, and tells when two hosts sign with one key.
//!
//! Kept in memory for as long as a signature can be fresh. After a restart, or at another server, a captured request could pass once more
//! within that time; every agent request is idempotent, so it would change nothing. Servers that share a database tell each other what they
//! saw now and then, so that two hosts are found out although each comes to a server of its own ([`super::shared_replays`]).
//!
//! # Two hosts of one key
//!
//! An agent puts each number it signs with on disk before it uses it, and signs everything it sends anew, retries included. So one agent
//! never uses a number twice, and none that is lower than what was seen ten minutes ago: a signature is fresh for five minutes either
//! way. Clocks that jump, lost answers and reports from an outbox do not change that. A request that breaks this rule is *behind*: its
//! numbers come from a copy of the agent's files.
//!
//! A copy alone proves nothing: a machine that is rolled back to a snapshot goes on from an old number, is behind until it has passed the
//! newest, and nobody uses the newer line any more. Two hosts *take turns*: one goes on from behind ([`STEP_MAX`] at most from where it
//! was), after the other has used a number that was new. [`TURNS`] of those in a row, none of which began anew further back, are taken for
//! two hosts. A machine would have to be rolled back that often in a row, each time to a moment shortly after the one before.

use super::{buckets::Stopwatch, shared_replays};
use crate::{app::App, settings::SignaturesSeen};
use redflag_core::{ids::AgentId, signing::SignatureParameters, store::StoreError, time::Timestamp};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Most requests of one agent within the time they are kept.
const REQUESTS_MAX: usize = 4_096;
/// How long a request is kept: a signature is fresh for five minutes either way.
const KEPT_MICROS: i64 = 600 * SECOND_MICROS;
pub(super) const SECOND_MICROS: i64 = 1_000_000;
/// How far a line of numbers goes on at once, at most: an agent has few requests under way.
const STEP_MAX: u64 = 64;
/// Requests of an agent after which the other servers are told at once.
const UNTOLD_MAX: usize = 256;
/// Turns of two lines of numbers that are taken for two hosts.
pub(crate) const TURNS: u32 = 8;

/// The signatures of each agent within the time they are fresh. Only verified signatures of enrolled agents get here, so its size is
/// bounded by the fleet.
#[derive(Debug, Default)]
pub(crate) struct ReplayGuard {
    started: Stopwatch,
    agents: Mutex<HashMap<AgentId, Seen>>,
}

/// What was seen of one agent.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The (counter, created) pairs that are kept.
    pairs: BTreeSet<(u64, i64)>,
    /// When each came, oldest first.
    pub(super) order: VecDeque<(i64, (u64, i64))>,
    /// The highest counter of those that are not kept any more; none yet when 0.
    pub(super) past: u64,
    pub(super) behind: Behind,
    /// What the other servers were not told yet, oldest first, and when they were told last. For servers that share a database.
    untold: Vec<Request>,
    told_at: Option<i64>,
}

/// A request as its signature tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// When it came, by the clock of whoever notes it, in microseconds.
    pub(super) at: i64,
    pub(super) counter: u64,
    pub(super) created: i64,
}

/// The line of numbers that is behind.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Behind {
    /// Its newest number; none yet when 0.
    at: u64,
    /// Whether the other line went on since.
    overtaken: bool,
    turns: u32,
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
    /// Two hosts sign with the key; told once, and then after as many turns again.
    TwoHosts,
}

/// Notes a verified signature that is fresh; and tells the servers that share the database, when it is time to.
///
/// # Errors
/// When the store fails, or other servers tell of this agent all the time.
pub(super) async fn note(app: &App, signature: &SignatureParameters) -> Result<Sighting, StoreError> {
    let here = app.replays.note(signature);
    let SignaturesSeen::Shared { every } = app.settings.signatures_seen else { return Ok(here) };
    if here != Sighting::First {
        return Ok(here);
    }
    let requests = app.replays.to_tell(signature, every, app.now());
    if requests.is_empty() { Ok(here) } else { shared_replays::tell(app.fleet.store(), signature.agent, &requests).await }
}

impl ReplayGuard {
    /// Notes a verified signature that is fresh.
    fn note(&self, signature: &SignatureParameters) -> Sighting {
        self.note_at(signature, self.started.now())
    }

    fn note_at(&self, signature: &SignatureParameters, now: i64) -> Sighting {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        agents.entry(signature.agent).or_default().note(signature.counter, signature.created, now)
    }

    /// What is to be told the other servers with this request, if they were told nothing for so long; by the clock `wall`, which they have
    /// too.
    fn to_tell(&self, signature: &SignatureParameters, every: Duration, wall: Timestamp) -> Vec<Request> {
        self.to_tell_at(signature, every, wall, self.started.now())
    }

    fn to_tell_at(&self, signature: &SignatureParameters, every: Duration, wall: Timestamp, now: i64) -> Vec<Request> {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(seen) = agents.get_mut(&signature.agent) else { return Vec::new() };
        seen.untold.push(Request { at: now, counter: signature.counter, created: signature.created });
        let every = i64::try_from(every.as_micros()).unwrap_or(i64::MAX);
        if seen.told_at.is_some_and(|told_at| now - told_at < every) && seen.untold.len() < UNTOLD_MAX {
            return Vec::new();
        }
        seen.told_at = Some(now);
        let came = |request: Request| Request { at: wall.as_micros() - (now - request.at), ..request };
        std::mem::take(&mut seen.untold).into_iter().map(came).collect()
    }

    /// Forgets an agent that was removed.
    pub(crate) fn forget(&self, agent: AgentId) {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner).remove(&agent);
    }
}

impl Seen {
    /// Of what was kept elsewhere.
    pub(super) fn kept(order: VecDeque<(i64, (u64, i64))>, past: u64, behind: Behind) -> Self {
        Self { pairs: order.iter().map(|(_, pair)| *pair).collect(), order, past, behind, ..Self::default() }
    }

    pub(super) fn note(&mut self, counter: u64, created: i64, now: i64) -> Sighting {
        while let Some((_, pair)) = self.order.pop_front_if(|(at, _)| *at + KEPT_MICROS < now) {
            self.pairs.remove(&pair);
            self.past = self.past.max(pair.0);
        }
        if self.order.len() >= REQUESTS_MAX {
            return Sighting::TooMany;
        }
        let behind = counter <= self.past || self.pairs.range((counter, i64::MIN)..=(counter, i64::MAX)).next().is_some();
        if !self.pairs.insert((counter, created)) {
            return Sighting::Replayed;
        }
        self.order.push_back((now, (counter, created)));
        if self.behind.note(counter, behind) { Sighting::TwoHosts } else { Sighting::First }
    }
}

impl Behind {
    /// Notes a number that came first, or from behind; whether that makes two hosts.
    fn note(&mut self, counter: u64, behind: bool) -> bool {
        if !behind {
            self.overtaken = self.at != 0;
            return false;
        }
        let goes_on = self.at != 0 && counter > self.at && counter - self.at <= STEP_MAX;
        let turns = match (goes_on, self.overtaken) {
            (true, true) => self.turns + 1,
            (true, false) => self.turns,
            // It began anew: a copy that was made earlier, or at another time.
            (false, _) => 0,
        };
        *self = Self { at: counter, overtaken: false, turns };
        let two = turns >= TURNS;
        if two {
            *self = Self::default();
        }
        two
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = SECOND_MICROS;

    /// An agent whose requests come at times of the test's choosing.
    struct Line<'a> {
        guard: &'a ReplayGuard,
        counter: u64,
    }

    impl Line<'_> {
        fn next(&mut self, second: i64) -> Sighting {
            self.counter += 1;
            at(self.guard, self.counter, second, second)
        }
    }

    fn at(guard: &ReplayGuard, counter: u64, created: i64, second: i64) -> Sighting {
        let agent = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3".parse().unwrap();
        guard.note_at(&SignatureParameters { created, agent, counter }, second * SECOND)
    }

    #[test]
    fn the_others_are_told_everything_once_now_and_then() {
        let (guard, every) = (ReplayGuard::default(), Duration::from_secs(300));
        let noon: Timestamp = "2026-11-26T12:00:00Z".parse().unwrap();
        let comes = |counter: u64, second: i64| {
            let agent = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3".parse().unwrap();
            let signature = SignatureParameters { created: second, agent, counter };
            assert_eq!(guard.note_at(&signature, second * SECOND), Sighting::First);
            let wall = noon.saturating_add(Duration::from_secs(second.unsigned_abs()));
            let told = guard.to_tell_at(&signature, every, wall, second * SECOND);
            told.iter().map(|request| (request.counter, (request.at - noon.as_micros()) / SECOND)).collect::<Vec<_>>()
        };
        assert_eq!(comes(1, 10), [(1, 10)], "the first request at once");
        assert_eq!((comes(2, 60), comes(3, 309)), (vec![], vec![]));
        assert_eq!(comes(4, 310), [(2, 60), (3, 309), (4, 310)], "each with when it came, by the clock of the others");
        let many: Vec<_> = (0..UNTOLD_MAX as u64).flat_map(|number| comes(10 + number, 311)).collect();
        assert_eq!(many.len(), UNTOLD_MAX, "and at once where many come");
    }

    #[test]
    fn each_pair_passes_once_and_old_ones_are_forgotten() {
        let guard = ReplayGuard::default();
        assert_eq!(at(&guard, 1, 100, 100), Sighting::First);
        assert_eq!(at(&guard, 1, 100, 100), Sighting::Replayed);
        assert_eq!(at(&guard, 1, 100, 700), Sighting::Replayed, "for as long as it could be fresh");
        assert_eq!(at(&guard, 3, 100, 700), Sighting::First, "the counter tells requests of one second apart");
        assert_eq!(at(&guard, 2, 101, 700), Sighting::First, "requests may overtake each other");
        for counter in 10..10 + REQUESTS_MAX as u64 {
            at(&guard, counter, 2_000, 2_000);
        }
        assert_eq!(at(&guard, 9_999, 2_000, 2_000), Sighting::TooMany);
        assert_eq!(at(&guard, 9_999, 2_601, 2_601), Sighting::First);
        guard.forget("0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3".parse().unwrap());
        assert!(guard.agents.lock().unwrap().is_empty(), "nothing of a removed agent stays");
    }

    /// Retries, requests that overtake each other, a clock that jumps, and numbers that were lost on the way: one host, for a year.
    #[test]
    fn one_host_is_never_taken_for_two() {
        let guard = ReplayGuard::default();
        let mut counter = 0;
        for (round, now) in (0..365 * 24 * 3_600).step_by(907).enumerate() {
            let clock = now + [0, 250, -250, 3, -280][round % 5];
            let lost = [0, 1, 17, 300][round % 4];
            counter += lost + 3;
            for overtaking in [counter, counter - 2, counter - 1] {
                assert_eq!(at(&guard, overtaking, clock, now), Sighting::First, "round {round}");
            }
        }
    }

    #[test]
    fn two_hosts_of_one_key_are_found_however_far_apart_their_numbers_are() {
        for (apart, every) in [(0, 50), (3, 50), (7, 900), (500, 50), (100_000, 50), (100_000, 86_400)] {
            let guard = ReplayGuard::default();
            let mut original = Line { guard: &guard, counter: 10 + apart };
            let mut copy = Line { guard: &guard, counter: 10 };
            for round in 0..=i64::from(apart == 100_000) {
                assert_eq!(original.next(round * 700), Sighting::First, "before the copy is started");
            }
            let found = (2..100).find(|round| {
                let now = round * every + 1_400;
                [original.next(now), copy.next(now + every / 3)].contains(&Sighting::TwoHosts)
            });
            assert!(found.is_some_and(|round| round <= 20), "{apart} apart, each {every} s: {found:?}");
        }
    }

    /// A machine that is rolled back goes on from old numbers, alone: it is one host, now and when it is rolled back again.
    #[test]
    fn a_machine_that_is_rolled_back_is_one_host() {
        let guard = ReplayGuard::default();
        let mut line = Line { guard: &guard, counter: 0 };
        let mut now = 0;
        let mut run = |line: &mut Line<'_>, requests: u32| {
            for _ in 0..requests {
                now += 53;
                assert_eq!(line.next(now), Sighting::First, "number {}", line.counter);
            }
        };
        run(&mut line, 500);
        // To one snapshot, day after day.
        for _ in 0..30 {
            line.counter = 400;
            run(&mut line, 200);
        }
        // To snapshots that are a day old each.
        for _ in 0..30 {
            line.counter -= 50;
            run(&mut line, 1_600);
        }
        // Within ten minutes, at once after it ran.
        for _ in 0..5 {
            line.counter -= 4;
            run(&mut line, 5);
        }
    }
}
