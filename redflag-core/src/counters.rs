//! Counters: how many states there are of each kind, kept per agent so that no row is hot (clause Q2).
//!
//! Core computes the differences, stores add them up blindly. Filters that name nothing but what a [`CounterKey`] holds are
//! answered from counters; the rest is counted.

use crate::{
    names::Manager,
    offer::Candidate,
    state::PackageState,
    time::Day,
    words::{AvailabilityKind, Severity, Status},
};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// What counters tell apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CounterKey {
    /// The manager.
    pub manager: Manager,
    /// The status.
    pub status: Status,
    /// The severity.
    pub severity: Severity,
    /// Whether it is a security update.
    pub security: bool,
    /// The availability.
    pub availability: AvailabilityKind,
}

impl fmt::Display for CounterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { manager, status, severity, security, availability } = self;
        let security = if *security { ", security" } else { "" };
        write!(f, "{manager}, {status}, severity {severity}{security}, {availability}")
    }
}

impl CounterKey {
    /// The counter that counts `state`.
    #[must_use]
    pub fn of(state: &PackageState) -> Self {
        Self {
            manager: state.package.manager.clone(),
            status: state.status(),
            severity: state.offer.candidate.severity,
            security: state.offer.candidate.security,
            availability: state.offer.availability.kind,
        }
    }
}

/// By how much the open updates of one severity grew or shrank on one day, on one agent. Differences, so that any number of reports
/// of a day add up to one row, and the trend of a fleet is a sum (see [`crate::query::TrendQuery`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenChange {
    /// The day the store received what changed them, in UTC.
    pub day: Day,
    /// The severity.
    pub severity: Severity,
    /// The difference; never zero.
    pub difference: i64,
}

/// Sums of [`OpenChange`]s by day and severity.
#[derive(Clone, Debug, Default)]
pub struct OpenChanges(BTreeMap<(Day, Severity), i64>);

impl OpenChanges {
    /// Adds differences.
    pub fn add(&mut self, changes: &[OpenChange]) {
        changes.iter().for_each(|change| *self.0.entry((change.day, change.severity)).or_default() += change.difference);
    }

    /// Takes differences away.
    pub fn subtract(&mut self, changes: &[OpenChange]) {
        changes.iter().for_each(|change| *self.0.entry((change.day, change.severity)).or_default() -= change.difference);
    }

    /// The sums that are not zero, by day and severity.
    #[must_use]
    pub fn sums(&self) -> Vec<OpenChange> {
        let sums = self.0.iter().filter(|(_, difference)| **difference != 0);
        sums.map(|((day, severity), difference)| OpenChange { day: *day, severity: *severity, difference: *difference }).collect()
    }
}

/// Differences to add to an agent's counters; no entry is zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CounterChanges(BTreeMap<CounterKey, i64>);

impl CounterChanges {
    /// Counters from nothing: what a rebuild starts from.
    #[must_use]
    pub fn of_states<'a>(states: impl IntoIterator<Item = &'a PackageState>) -> Self {
        Self::of_changes(states.into_iter().map(|state| (None, Some(state))))
    }

    /// Counts states that went from the first of each pair to the second.
    pub(crate) fn of_changes<'a>(changes: impl Iterator<Item = (Option<&'a PackageState>, Option<&'a PackageState>)>) -> Self {
        let mut sums: HashMap<_, i64> = HashMap::new();
        for (before, after) in changes {
            for (state, difference) in [(before, -1), (after, 1)] {
                let Some(PackageState { package, offer, standing, .. }) = state else { continue };
                let Candidate { severity, security, .. } = &*offer.candidate;
                *sums.entry((&package.manager, standing.status(), *severity, *security, offer.availability.kind)).or_default() +=
                    difference;
            }
        }
        let counter = |((manager, status, severity, security, availability), sum): ((&Manager, _, _, _, _), _)| {
            (CounterKey { manager: manager.clone(), status, severity, security, availability }, sum)
        };
        Self(sums.into_iter().filter(|(_, sum)| *sum != 0).map(counter).collect())
    }

    /// Counts a state that went from `before` to `after`.
    pub fn record(&mut self, before: Option<&PackageState>, after: Option<&PackageState>) {
        self.add(before, -1);
        self.add(after, 1);
    }

    fn add(&mut self, state: Option<&PackageState>, difference: i64) {
        let Some(state) = state else { return };
        let sum = self.0.entry(CounterKey::of(state)).or_default();
        *sum += difference;
        if *sum == 0 {
            self.0.remove(&CounterKey::of(state));
        }
    }

    /// What these differences mean for the open updates of `day`, by severity.
    #[must_use]
    pub fn open_changes(&self, day: Day) -> Vec<OpenChange> {
        let mut sums: BTreeMap<Severity, i64> = BTreeMap::new();
        for (key, difference) in self.iter().filter(|(key, _)| key.status.open()) {
            *sums.entry(key.severity).or_default() += difference;
        }
        let changed = sums.into_iter().filter(|(_, difference)| *difference != 0);
        changed.map(|(severity, difference)| OpenChange { day, severity, difference }).collect()
    }

    /// The differences, in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&CounterKey, i64)> {
        self.0.iter().map(|(key, difference)| (key, *difference))
    }
}
