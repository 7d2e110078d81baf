//! States by package.

use crate::{names::PackageKey, state::PackageState};
use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher as _;

/// The states of one agent, each found by its package; in the order in which their packages came.
#[derive(Clone, Debug, Default)]
pub struct States {
    states: Vec<PackageState>,
    /// Places in `states`.
    places: HashTable<usize>,
    hasher: DefaultHashBuilder,
}

impl States {
    /// No states yet, with room for so many.
    #[must_use]
    pub fn with_capacity(count: usize) -> Self {
        Self { states: Vec::with_capacity(count), places: HashTable::with_capacity(count), hasher: DefaultHashBuilder::default() }
    }

    /// The state of a package.
    #[must_use]
    pub fn get(&self, package: &PackageKey) -> Option<&PackageState> {
        if self.states.is_empty() {
            return None;
        }
        let found = self.places.find(self.hasher.hash_one(package), |place| self.states[*place].package == *package);
        found.map(|place| &self.states[*place])
    }

    /// Adds a state, or replaces the one of its package.
    pub fn insert(&mut self, state: PackageState) {
        let Self { states, places, hasher } = self;
        let hash = hasher.hash_one(&state.package);
        if let Some(place) = places.find(hash, |place| states[*place].package == state.package) {
            states[*place] = state;
            return;
        }
        states.push(state);
        places.insert_unique(hash, states.len() - 1, |place| hasher.hash_one(&states[*place].package));
    }

    /// The states.
    pub fn iter(&self) -> std::slice::Iter<'_, PackageState> {
        self.states.iter()
    }

    /// The states in key order.
    #[must_use]
    pub fn into_sorted(self) -> Vec<PackageState> {
        let mut states = self.states;
        // They mostly come in key order, manager by manager: a stable sort finds the runs and merges them.
        states.sort_by(|a, b| a.package.cmp(&b.package));
        states
    }
}

impl Extend<PackageState> for States {
    fn extend<T: IntoIterator<Item = PackageState>>(&mut self, states: T) {
        states.into_iter().for_each(|state| self.insert(state));
    }
}

impl FromIterator<PackageState> for States {
    fn from_iter<T: IntoIterator<Item = PackageState>>(states: T) -> Self {
        let mut all = Self::default();
        all.extend(states);
        all
    }
}

impl<'a> IntoIterator for &'a States {
    type Item = &'a PackageState;
    type IntoIter = std::slice::Iter<'a, PackageState>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        names::Version,
        offer::{Availability, Candidate, Offer},
        state::Standing,
        time::Timestamp,
    };
    use std::sync::Arc;

    fn state(name: &str, revision: u64) -> PackageState {
        PackageState {
            package: PackageKey::parse("apt", name, None).unwrap(),
            offer: Offer {
                installed: None,
                candidate: Arc::new(Candidate::new(Version::parse("1").unwrap())),
                availability: Availability::INSTALLABLE,
            },
            standing: Standing::Pending,
            package_ignore: None,
            revision,
            discovered_at: Timestamp::EPOCH,
            changed_at: Timestamp::EPOCH,
        }
    }

    #[test]
    fn the_newest_state_of_a_package_is_found() {
        let names = ["zsh", "bash", "curl"];
        let mut states: States = names.iter().map(|name| state(name, 1)).collect();
        states.insert(state("bash", 2));
        let revision = |name: &str| states.get(&state(name, 0).package).map(|state| state.revision);
        assert_eq!((revision("zsh"), revision("bash"), revision("vim")), (Some(1), Some(2), None));
        assert_eq!(States::default().get(&state("bash", 1).package), None);
        let sorted: Vec<_> = states.into_sorted().into_iter().map(|state| (state.package.name.to_string(), state.revision)).collect();
        assert_eq!(sorted, [("bash".to_owned(), 2), ("curl".to_owned(), 1), ("zsh".to_owned(), 1)]);
    }
}
