//! Counters: how many states there are of each kind, kept per agent so that no row is hot (clause Q2).
//!
//! Core computes the differences, stores add them up blindly. Filters that name nothing but what a [`CounterKey`] holds are
//! answered from counters; the rest is counted.

use crate::{
    names::Manager,
    state::PackageState,
    words::{AvailabilityKind, Severity, Status},
};
use std::collections::BTreeMap;

/// What counters tell apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

/// Differences to add to an agent's counters; no entry is zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CounterChanges(BTreeMap<CounterKey, i64>);

impl CounterChanges {
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

    /// The differences, in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&CounterKey, i64)> {
        self.0.iter().map(|(key, difference)| (key, *difference))
    }
}
