//! Classes: what counters tell apart ([`CounterKey`]), as small numbers, and how many states there are of each.

use crate::error::Failure;
use redflag_core::{
    counters::CounterKey,
    names::Manager,
    query::{UpdateFilter, UpdateStats},
    state::PackageState,
    words::{AvailabilityKind, Severity, Status},
};
use std::collections::HashMap;

/// The number of a [`CounterKey`]; it means the same in a mirror and in all that follow from it.
pub(crate) type Class = u32;

/// What tells states of one package apart, in one number: severity in bits 0 to 3, status in 4 to 8, availability in 9 to 13,
/// security in 14.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Kind(pub(crate) i16);

/// The [`Kind`] of a row of `current_package_state AS s`.
macro_rules! kind_column {
    () => {
        "(s.severity | (s.status << 4) | (s.availability << 9) | (s.security::integer << 14))::smallint"
    };
}
pub(crate) use kind_column;

impl Kind {
    pub(crate) fn of(state: &PackageState) -> Self {
        let candidate = &state.offer.candidate;
        let [severity, status, availability] =
            [candidate.severity.code(), state.status().code(), state.offer.availability.kind.code()].map(i16::from);
        Self(severity | status << 4 | availability << 9 | i16::from(candidate.security) << 14)
    }

    /// None for a number that no state has.
    fn key(self, manager: &Manager) -> Option<CounterKey> {
        let bits = |from: u32, mask: i16| u8::try_from(self.0 >> from & mask).ok();
        Some(CounterKey {
            manager: manager.clone(),
            status: Status::from_code(bits(4, 31)?)?,
            severity: Severity::from_code(bits(0, 15)?)?,
            security: bits(14, 1)? == 1,
            availability: AvailabilityKind::from_code(bits(9, 31)?)?,
        })
    }
}

/// The classes that have been met.
#[derive(Clone, Debug, Default)]
pub(crate) struct Classes {
    keys: Vec<CounterKey>,
    known: HashMap<Manager, HashMap<Kind, Class>>,
}

impl Classes {
    /// The class of states of a kind and manager, if it has been met.
    pub(crate) fn find(&self, manager: &Manager, kind: Kind) -> Option<Class> {
        self.known.get(manager)?.get(&kind).copied()
    }

    /// The class of states of a kind and manager, new or met.
    pub(crate) fn meet(&mut self, manager: &Manager, kind: Kind) -> Result<Class, Failure> {
        if let Some(class) = self.find(manager, kind) {
            return Ok(class);
        }
        let key = kind.key(manager).ok_or_else(|| Failure::corrupt(format!("states of kind {}", kind.0)))?;
        let class = Class::try_from(self.keys.len()).map_err(|_| Failure::corrupt("more kinds of states than there are"))?;
        self.keys.push(key);
        self.known.entry(manager.clone()).or_default().insert(kind, class);
        Ok(class)
    }

    pub(crate) fn key(&self, class: Class) -> &CounterKey {
        &self.keys[class as usize]
    }

    /// Which classes pass; agent and search are settled elsewhere.
    pub(crate) fn passing(&self, filter: &UpdateFilter) -> Passing {
        let UpdateFilter { status, agent: _, manager, severity, availability, security, search: _ } = filter;
        let passes = |key: &CounterKey| {
            status.matches(key.status)
                && manager.as_ref().is_none_or(|wanted| *wanted == key.manager)
                && severity.is_none_or(|wanted| wanted == key.severity)
                && availability.is_none_or(|wanted| wanted == key.availability)
                && security.is_none_or(|wanted| wanted == key.security)
        };
        Passing(self.keys.iter().map(passes).collect())
    }

    /// Those of `passing` that are of one severity.
    pub(crate) fn of_severity(&self, passing: &Passing, severity: Severity) -> Passing {
        Passing(self.keys.iter().zip(&passing.0).map(|(key, passes)| *passes && key.severity == severity).collect())
    }

    /// The sums of these counts, of classes that pass.
    pub(crate) fn stats(&self, counts: &Counts, passing: &Passing) -> UpdateStats {
        let mut stats = UpdateStats::default();
        for (class, count) in counts.iter().filter(|(class, _)| passing.has(*class)) {
            stats.add(self.key(class), count);
        }
        stats
    }
}

/// A set of classes.
#[derive(Clone, Debug)]
pub(crate) struct Passing(Vec<bool>);

impl Passing {
    pub(crate) fn has(&self, class: Class) -> bool {
        self.0[class as usize]
    }
}

/// How many states there are of each class, of which there is any; ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts(Vec<(Class, u64)>);

impl Counts {
    pub(crate) fn add(&mut self, class: Class, count: u64) {
        match self.0.binary_search_by_key(&class, |(class, _)| *class) {
            Ok(place) => self.0[place].1 += count,
            Err(_) if count == 0 => {}
            Err(place) => self.0.insert(place, (class, count)),
        }
    }

    pub(crate) fn add_all(&mut self, other: &Self) {
        other.iter().for_each(|(class, count)| self.add(class, count));
    }

    /// Takes one state away, which was added before.
    pub(crate) fn take(&mut self, class: Class) {
        if let Ok(place) = self.0.binary_search_by_key(&class, |(class, _)| *class) {
            self.0[place].1 -= 1;
            if self.0[place].1 == 0 {
                self.0.remove(place);
            }
        }
    }

    pub(crate) fn of(&self, passing: &Passing) -> u64 {
        self.iter().filter(|(class, _)| passing.has(*class)).map(|(_, count)| count).sum()
    }

    pub(crate) fn total(&self) -> u64 {
        self.iter().map(|(_, count)| count).sum()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Class, u64)> {
        self.0.iter().copied()
    }
}
