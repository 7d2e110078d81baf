//! Counts over updates.

use crate::{
    counters::CounterKey,
    names::Manager,
    words::{AvailabilityKind, Severity, Status},
};
use serde::Serialize;
use std::collections::BTreeMap;

/// Counts over the updates that pass a filter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UpdateStats {
    /// All of them.
    pub total: u64,
    /// Open ones that can be installed now.
    pub installable: u64,
    /// Open security updates.
    pub security: u64,
    /// By status; words with none are absent.
    pub by_status: BTreeMap<Status, u64>,
    /// By severity.
    pub by_severity: BTreeMap<Severity, u64>,
    /// By manager.
    pub by_manager: BTreeMap<Manager, u64>,
    /// By availability.
    pub by_availability: BTreeMap<AvailabilityKind, u64>,
}

impl UpdateStats {
    /// Counts `count` states of one kind.
    pub fn add(&mut self, key: &CounterKey, count: u64) {
        if count == 0 {
            return;
        }
        self.total += count;
        let open = key.status.open();
        if open && key.availability == AvailabilityKind::Installable {
            self.installable += count;
        }
        if open && key.security {
            self.security += count;
        }
        *self.by_status.entry(key.status).or_default() += count;
        *self.by_severity.entry(key.severity).or_default() += count;
        *self.by_manager.entry(key.manager.clone()).or_default() += count;
        *self.by_availability.entry(key.availability).or_default() += count;
    }
}
