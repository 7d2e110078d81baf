//! Kinds of states, and how many states there are of each.

use hashbrown::HashMap;
use redflag_core::{
    counters::CounterKey,
    names::Manager,
    query::UpdateFilter,
    state::PackageState,
    words::{AvailabilityKind, Severity, Status},
};

/// What tells states of one package apart in lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Traits {
    pub(crate) status: Status,
    pub(crate) severity: Severity,
    pub(crate) security: bool,
    pub(crate) availability: AvailabilityKind,
}

impl Traits {
    pub(crate) fn of(state: &PackageState) -> Self {
        let candidate = &state.offer.candidate;
        Self {
            status: state.status(),
            severity: candidate.severity,
            security: candidate.security,
            availability: state.offer.availability.kind,
        }
    }
}

/// Traits and manager, as the small number under which [`Kinds`] knows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind(u32);

/// Every kind that was ever seen.
#[derive(Debug, Default)]
pub(crate) struct Kinds {
    keys: Vec<CounterKey>,
    managers: Vec<Manager>,
    kinds: HashMap<(u32, Traits), Kind>,
}

impl Kinds {
    /// The number of a manager.
    pub(crate) fn manager(&mut self, manager: &Manager) -> u32 {
        let known = self.managers.iter().position(|known| known == manager);
        let place = known.unwrap_or_else(|| {
            self.managers.push(manager.clone());
            self.managers.len() - 1
        });
        u32::try_from(place).expect("managers are far fewer than agents")
    }

    pub(crate) fn kind(&mut self, manager: u32, traits: Traits) -> Kind {
        let Self { keys, managers, kinds } = self;
        *kinds.entry((manager, traits)).or_insert_with(|| {
            let Traits { status, severity, security, availability } = traits;
            keys.push(CounterKey { manager: managers[manager as usize].clone(), status, severity, security, availability });
            Kind(u32::try_from(keys.len() - 1).expect("kinds are far fewer than states"))
        })
    }

    pub(crate) fn key(&self, kind: Kind) -> &CounterKey {
        &self.keys[kind.0 as usize]
    }

    /// The kinds of states that pass; agent and search are settled elsewhere.
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

    /// Those that are of this severity too.
    pub(crate) fn of_severity(&self, Passing(passing): &Passing, severity: Severity) -> Passing {
        Passing(self.keys.iter().zip(passing).map(|(key, passes)| *passes && key.severity == severity).collect())
    }
}

/// Some of the kinds.
#[derive(Clone, Debug)]
pub(crate) struct Passing(Vec<bool>);

impl Passing {
    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.0[kind.0 as usize]
    }
}

/// How many states there are of each kind; no count is zero.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts(Vec<(Kind, u32)>);

impl Counts {
    pub(crate) fn add(&mut self, kind: Kind, count: u32) {
        match self.0.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, sum)) => *sum += count,
            None => self.0.push((kind, count)),
        }
    }

    pub(crate) fn add_all(&mut self, other: &Self) {
        other.iter().for_each(|(kind, count)| self.add(kind, count));
    }

    pub(crate) fn remove(&mut self, kind: Kind) {
        if let Some(place) = self.0.iter().position(|(known, _)| *known == kind) {
            self.0[place].1 -= 1;
            if self.0[place].1 == 0 {
                self.0.swap_remove(place);
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Kind, u32)> {
        self.0.iter().copied()
    }

    pub(crate) fn sum(&self, passing: &Passing) -> u64 {
        self.iter().filter(|(kind, _)| passing.has(*kind)).map(|(_, count)| u64::from(count)).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
