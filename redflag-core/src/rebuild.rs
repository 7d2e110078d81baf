//! Holding what follows from the log against the log, and mending it from there (clause S1).

use crate::{
    Fleet,
    agent::Pruned,
    command::lifecycle::CommandState,
    counters::{CounterChanges, CounterKey, OpenChange},
    ids::AgentId,
    limits,
    names::PackageKey,
    past::{Fold, fold_log, stopped},
    query::{PackageQuery, PackageSortKey, PageNumber, PageSize, StatusFilter, UpdateFilter, UpdateStats},
    state::{PackageState, Standing, VersionChange},
    store::{StoreError, StoreErrorKind},
    work::{Answer, Changes, Decided, Loaded, Needs, Refusal, UnitOfWork, known_agent},
};
use serde::Serialize;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
};

/// Everything kept of one agent that follows from its log, of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Derived {
    /// Events in the agent's stream at that moment.
    pub sequence: u64,
    /// How much of the stream retention had taken by then.
    pub pruned: Pruned,
    /// Every state, in key order.
    pub states: Vec<PackageState>,
    /// The whole version history, by ascending sequence.
    pub history: Vec<VersionChange>,
    /// The counters that are not zero, in key order.
    pub counters: Vec<(CounterKey, i64)>,
    /// The differences of open updates that are not zero, by day and severity.
    pub open_changes: Vec<OpenChange>,
}

impl Derived {
    /// What follows from a fold; `kept` is the history of events that retention took.
    fn of(fold: &Fold, pruned: Pruned, kept: impl IntoIterator<Item = VersionChange>) -> Self {
        let states = fold.states();
        let counters = CounterChanges::of_states(&states).iter().map(|(key, count)| (key.clone(), count)).collect();
        let history = kept.into_iter().chain(fold.history().iter().cloned()).collect();
        Self { sequence: fold.sequence(), pruned, history, counters, open_changes: fold.open_changes(), states }
    }
}

/// One value that is not what the log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The agent; none for totals of the fleet.
    pub agent: Option<AgentId>,
    /// What differs, in words.
    pub what: String,
    /// What is stored, as JSON: of an object, only the fields that differ. `null` where there is nothing.
    pub stored: String,
    /// What follows from the log, likewise.
    pub expected: String,
}

/// Replaces what is kept of an agent by what follows from its log.
#[derive(Clone, Debug)]
pub struct Rebuild {
    /// The agent.
    pub agent: AgentId,
    /// What is to be kept; refused when the stream has grown or was pruned since.
    pub derived: Derived,
}

impl Rebuild {
    pub(crate) fn needs(&self) -> Needs {
        Needs::head(self.agent)
    }

    pub(crate) fn decide(&self, loaded: &Loaded) -> Result<Decided, Refusal> {
        let head = known_agent(self.agent, loaded)?;
        if (head.events, head.pruned) != (self.derived.sequence, self.derived.pruned) {
            return Err(Refusal::AgentMoved { agent: self.agent });
        }
        let changes = Changes { derived: Some(self.derived.clone()), ..Changes::default() };
        Ok(Decided { changes, answer: Answer::Rebuilt })
    }
}

impl Fleet {
    /// Compares what is kept of an agent with what follows from its log, and its updates with its commands; changes nothing. Empty when
    /// all is well.
    ///
    /// # Errors
    /// When the agent is unknown, its log is damaged, or the store fails.
    pub async fn check(&self, agent: AgentId) -> Result<Vec<Difference>, StoreError> {
        for _ in 0..limits::ATTEMPTS_MAX {
            match self.stored_and_expected(agent).await {
                Ok((stored, expected)) => {
                    let mut found = differences(agent, &stored, &expected);
                    let queue = self.queue_differences(agent, &stored).await?;
                    let moved = self.store().agent(agent).await?.is_none_or(|head| head.events != stored.sequence);
                    if !queue.is_empty() && moved {
                        continue;
                    }
                    found.extend(queue);
                    return Ok(found);
                }
                Err(error) if *error.kind() == StoreErrorKind::Pruned => {}
                Err(error) => return Err(error),
            }
        }
        Err(stopped(agent))
    }

    /// Replaces what is kept of an agent by what follows from its log, if that differs; answers what differed.
    ///
    /// # Errors
    /// As [`Fleet::check`], or when the agent keeps reporting faster than its log can be read.
    pub async fn rebuild(&self, agent: AgentId) -> Result<Vec<Difference>, StoreError> {
        for _ in 0..limits::ATTEMPTS_MAX {
            let (stored, expected) = match self.stored_and_expected(agent).await {
                Err(error) if *error.kind() == StoreErrorKind::Pruned => continue,
                read => read?,
            };
            let found = differences(agent, &stored, &expected);
            if found.is_empty() {
                return Ok(found);
            }
            match self.run(UnitOfWork::Rebuild(Rebuild { agent, derived: expected })).await {
                Ok(_) => return Ok(found),
                Err(error) if matches!(error.kind(), StoreErrorKind::Refused(Refusal::AgentMoved { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Err(stopped(agent))
    }

    /// Compares the totals of the fleet (counts of all updates, hosts by package) with a recount over the states of `agents`, which
    /// must be all of them. Only meaningful while nothing is written.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn check_totals(&self, agents: &[AgentId]) -> Result<Vec<Difference>, StoreError> {
        let any = || UpdateFilter { status: StatusFilter::Any, ..UpdateFilter::default() };
        let (mut stats, mut hosts) = (UpdateStats::default(), BTreeMap::<PackageKey, u64>::new());
        for agent in agents {
            let derived = self.store().derived(*agent).await?.unwrap_or_default();
            for state in derived.states {
                stats.add(&CounterKey::of(&state), 1);
                *hosts.entry(state.package).or_default() += 1;
            }
        }
        let mut found = Vec::new();
        compare(&mut found, None, "counts of all updates", &self.store().stats(&any()).await?, &stats);
        let mut listed = BTreeMap::new();
        let size = PageSize::MAX;
        for page in 1.. {
            let page = PageNumber::new(page)?;
            let query = PackageQuery { filter: any(), sort: PackageSortKey::Name, reverse: false, page, size };
            let rows = self.store().packages(&query).await?.items;
            if rows.is_empty() {
                break;
            }
            listed.extend(rows.into_iter().map(|row| (row.package, row.hosts)));
        }
        compare_maps(&mut found, None, "hosts of", &listed, &hosts);
        Ok(found)
    }

    /// Updates that wait for a command, or are being installed by one, which says something else itself. No rebuild mends these: they
    /// are written together, and do not follow from each other.
    async fn queue_differences(&self, agent: AgentId, stored: &Derived) -> Result<Vec<Difference>, StoreError> {
        let mut found = Vec::new();
        for state in &stored.states {
            let (command, expected): (_, &[CommandState]) = match &state.standing {
                Standing::Queued(dispatch) => {
                    (dispatch.command, &[CommandState::AwaitingSignature, CommandState::Queued, CommandState::Leased])
                }
                Standing::Installing(dispatch) => (dispatch.command, &[CommandState::Started, CommandState::Succeeded]),
                _ => continue,
            };
            let is = self.store().command(agent, command).await?.map(|record| record.state);
            if !is.is_some_and(|is| expected.contains(&is)) {
                compare(&mut found, Some(agent), &format!("command of {}", state.package), &json!(is), &json!(expected));
            }
        }
        Ok(found)
    }

    /// Ends in [`StoreErrorKind::Pruned`] when retention went on between the reads.
    async fn stored_and_expected(&self, agent: AgentId) -> Result<(Derived, Derived), StoreError> {
        let unknown = || StoreError::from(Refusal::UnknownAgent { agent });
        let stored = self.store().derived(agent).await?.ok_or_else(unknown)?;
        let fold = fold_log(self.store(), agent, &stored.pruned, stored.sequence).await?;
        let kept = stored.history.iter().filter(|change| change.sequence <= stored.pruned.events).cloned();
        let expected = Derived::of(&fold, stored.pruned, kept);
        Ok((stored, expected))
    }
}

fn differences(agent: AgentId, stored: &Derived, expected: &Derived) -> Vec<Difference> {
    fn states(derived: &Derived) -> BTreeMap<&PackageKey, &PackageState> {
        derived.states.iter().map(|state| (&state.package, state)).collect()
    }
    fn history(derived: &Derived) -> BTreeMap<u64, &VersionChange> {
        derived.history.iter().map(|change| (change.sequence, change)).collect()
    }
    fn counters(derived: &Derived) -> BTreeMap<&CounterKey, i64> {
        derived.counters.iter().map(|(key, count)| (key, *count)).collect()
    }
    fn open(derived: &Derived) -> BTreeMap<String, i64> {
        let named = |change: &OpenChange| (format!("{} by severity {}", change.day, change.severity), change.difference);
        derived.open_changes.iter().map(named).collect()
    }
    let mut found = Vec::new();
    let agent = Some(agent);
    compare_maps(&mut found, agent, "state of", &states(stored), &states(expected));
    compare_maps(&mut found, agent, "version history of event", &history(stored), &history(expected));
    compare_maps(&mut found, agent, "counter", &counters(stored), &counters(expected));
    compare_maps(&mut found, agent, "change of open updates on", &open(stored), &open(expected));
    found
}

fn compare_maps<K: Ord + Display, V: PartialEq + Serialize>(
    found: &mut Vec<Difference>,
    agent: Option<AgentId>,
    what: &str,
    stored: &BTreeMap<K, V>,
    expected: &BTreeMap<K, V>,
) {
    let keys: BTreeSet<&K> = stored.keys().chain(expected.keys()).collect();
    for key in keys {
        compare(found, agent, &format!("{what} {key}"), &stored.get(key), &expected.get(key));
    }
}

fn compare<V: PartialEq + Serialize>(found: &mut Vec<Difference>, agent: Option<AgentId>, what: &str, stored: &V, expected: &V) {
    if stored == expected {
        return;
    }
    let json = |value: &V| serde_json::to_value(value).expect("what follows from a log always serialises");
    let (mut stored, mut expected) = (json(stored), json(expected));
    if let (Value::Object(stored), Value::Object(expected)) = (&mut stored, &mut expected) {
        let same: Vec<_> = stored.keys().filter(|field| stored.get(*field) == expected.get(*field)).cloned().collect();
        for field in same {
            stored.remove(&field);
            expected.remove(&field);
        }
    }
    let (what, stored, expected) = (what.to_owned(), stored.to_string(), expected.to_string());
    found.push(Difference { agent, what, stored, expected });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_shows_what_differs_and_nothing_else() {
        let mut found = Vec::new();
        let counts = |total| UpdateStats { total, security: 1, ..UpdateStats::default() };
        compare(&mut found, None, "same", &counts(1), &counts(1));
        compare(&mut found, None, "counts", &counts(1), &counts(2));
        compare(&mut found, None, "state", &Some(1), &None);
        let shown: Vec<_> = found.iter().map(|found| (found.what.as_str(), found.stored.as_str(), found.expected.as_str())).collect();
        assert_eq!(shown, [("counts", r#"{"total":1}"#, r#"{"total":2}"#), ("state", "1", "null")]);
    }
}
