//! Catalogs: what is the same on every agent, kept once under an integer ref.
//!
//! The store keeps the refs it has seen in memory, both ways, because every report of a fleet names the same packages. Rows of
//! catalogs are never changed or deleted, and only those of committed transactions are remembered, so what is remembered stays true
//! whoever else writes. New rows are created beforehand, sorted, in a short transaction of their own: units of work of different
//! agents never wait for each other's catalog rows in two orders (clause R5).

mod rows;

use crate::{
    error::Failure,
    stored::{code, json},
    transaction::{Transaction, Transactions},
};
use hashbrown::{HashMap, HashSet};
use redflag_core::{
    ids::Digest,
    names::{PackageKey, Text, Version},
    offer::{Candidate, Offer},
    state::{PackageState, VersionChange},
    store::{Mode, StoreError, StoreErrorKind},
    work::Changes,
};
use std::{
    collections::BTreeSet,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Entries of one catalog kept in memory; beyond it, the catalog starts to remember anew.
const ENTRIES_MAX: usize = 200_000;

/// How often refs are looked up for one unit of work before giving up: more than once only when the memory of a catalog
/// overflows meanwhile.
const LOOKUPS_MAX: u32 = 5;

/// The catalogs as far as they are known.
#[derive(Debug, Default)]
pub(crate) struct Catalog(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    packages: Entries<PackageKey>,
    candidates: Entries<Arc<Candidate>>,
    texts: Entries<Arc<str>>,
    /// Those of the texts that can be versions, by ref.
    versions: HashMap<i32, Version>,
    /// The candidate last seen of each package, by the package's ref: comparing with it is cheaper than hashing, and nearly always
    /// enough, because the hosts of a fleet are offered the same.
    newest: HashMap<i32, (Arc<Candidate>, i32)>,
}

/// Entries of one catalog, both ways.
#[derive(Debug)]
struct Entries<T> {
    refs: HashMap<T, i32>,
    values: HashMap<i32, T>,
}

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self { refs: HashMap::new(), values: HashMap::new() }
    }
}

impl<T: Clone + Eq + Hash> Entries<T> {
    fn remember(&mut self, value: T, reference: i32) {
        if self.refs.len() >= ENTRIES_MAX {
            *self = Self::default();
        }
        self.refs.insert(value.clone(), reference);
        self.values.insert(reference, value);
    }
}

/// An offer in refs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OfferRefs {
    pub(crate) candidate: i32,
    pub(crate) installed: Option<i32>,
    pub(crate) availability: i16,
    pub(crate) reason: Option<i32>,
}

/// The refs of everything that changes name, in their order.
#[derive(Debug, Default)]
pub(crate) struct Refs {
    pub(crate) events: Vec<(i32, Option<OfferRefs>)>,
    pub(crate) states: Vec<(i32, OfferRefs)>,
    pub(crate) history: Vec<i32>,
    pub(crate) bases: Vec<(i32, OfferRefs)>,
    pub(crate) derived_states: Vec<(i32, OfferRefs)>,
    pub(crate) derived_history: Vec<i32>,
}

/// What a stored state names by refs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StateRefs {
    pub(crate) package: i32,
    pub(crate) candidate: i32,
    pub(crate) installed: Option<i32>,
    pub(crate) reason: Option<i32>,
}

/// What a stored state names.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) package: PackageKey,
    pub(crate) candidate: Arc<Candidate>,
    pub(crate) installed: Option<Version>,
    pub(crate) reason: Option<Text>,
}

/// What the memory does not hold.
#[derive(Debug, Default)]
struct Unknown {
    packages: BTreeSet<PackageKey>,
    candidates: HashSet<Arc<Candidate>>,
    texts: BTreeSet<Arc<str>>,
}

/// Refs that the memory does not hold.
#[derive(Debug, Default)]
struct UnknownRefs {
    packages: Vec<i32>,
    candidates: Vec<i32>,
    texts: Vec<i32>,
}

/// What the database does not hold, sorted.
#[derive(Debug, Default)]
pub(crate) struct Absent {
    packages: Vec<PackageKey>,
    candidates: Vec<(Digest, Arc<Candidate>)>,
    texts: Vec<Arc<str>>,
}

impl Catalog {
    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing panics between taking the lock and giving it back with an entry half written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The refs that `changes` need, or what must be created first.
    pub(crate) async fn refs(&self, transaction: &mut Transaction, changes: &Changes) -> Result<Result<Refs, Absent>, Failure> {
        for _ in 0..LOOKUPS_MAX {
            let resolved = Resolver { known: &mut self.known(), unknown: Unknown::default() }.resolve(changes);
            let unknown = match resolved {
                Ok(refs) => return Ok(Ok(refs)),
                Err(unknown) => unknown,
            };
            let absent = self.look_up(transaction, unknown).await?;
            if !absent.is_empty() {
                return Ok(Err(absent));
            }
        }
        Err(overflow())
    }

    /// The refs of those of `packages` that the database holds, in no order.
    pub(crate) async fn package_refs(&self, transaction: &mut Transaction, packages: &[PackageKey]) -> Result<Vec<i32>, Failure> {
        let (mut refs, mut unknown) = (Vec::with_capacity(packages.len()), Unknown::default());
        {
            let known = self.known();
            for package in packages {
                match known.packages.refs.get(package) {
                    Some(reference) => refs.push(*reference),
                    None => {
                        unknown.packages.insert(package.clone());
                    }
                }
            }
        }
        let packages: Vec<_> = unknown.packages.into_iter().collect();
        let found = rows::find_packages(transaction, &packages).await?;
        refs.extend(found.values());
        let mut known = self.known();
        part(packages, &found, |package, reference| known.packages.remember(package, reference));
        Ok(refs)
    }

    /// What `states` name, in their order.
    pub(crate) async fn named(&self, transaction: &mut Transaction, states: &[StateRefs]) -> Result<Vec<Named>, Failure> {
        for _ in 0..LOOKUPS_MAX {
            let unknown = match self.known().named(states)? {
                Ok(named) => return Ok(named),
                Err(unknown) => unknown,
            };
            self.read(transaction, unknown).await?;
        }
        Err(overflow())
    }

    /// Remembers what the database holds of `unknown`; answers the rest.
    async fn look_up(&self, transaction: &mut Transaction, unknown: Unknown) -> Result<Absent, Failure> {
        let digest = |candidate: Arc<Candidate>| (Digest::of("redflag candidate v1", &[json(&candidate).as_bytes()]), candidate);
        let mut candidates: Vec<_> = unknown.candidates.into_iter().map(digest).collect();
        candidates.sort_unstable_by(|(a, _), (b, _)| a.as_bytes().cmp(b.as_bytes()));
        let packages: Vec<_> = unknown.packages.into_iter().collect();
        let texts: Vec<_> = unknown.texts.into_iter().collect();
        let found_packages = rows::find_packages(transaction, &packages).await?;
        let found_candidates = rows::find_candidates(transaction, &candidates).await?;
        let found_texts = rows::find_texts(transaction, &texts).await?;
        let mut known = self.known();
        Ok(Absent {
            packages: part(packages, &found_packages, |package, reference| known.packages.remember(package, reference)),
            candidates: part(candidates, &found_candidates, |(_, candidate), reference| {
                known.candidates.remember(candidate, reference);
            }),
            texts: part(texts, &found_texts, |text, reference| known.remember_text(text, reference)),
        })
    }

    /// Remembers the rows that `unknown` names, which must be there.
    async fn read(&self, transaction: &mut Transaction, unknown: UnknownRefs) -> Result<(), Failure> {
        let packages = rows::read_packages(transaction, &unknown.packages).await?;
        let candidates = rows::read_candidates(transaction, &unknown.candidates).await?;
        let texts = rows::read_texts(transaction, &unknown.texts).await?;
        if (packages.len(), candidates.len(), texts.len()) != (unknown.packages.len(), unknown.candidates.len(), unknown.texts.len()) {
            return Err(Failure::corrupt("a state whose package, candidate or text is missing"));
        }
        let mut known = self.known();
        packages.into_iter().for_each(|(reference, package)| known.packages.remember(package, reference));
        candidates.into_iter().for_each(|(reference, candidate)| known.candidates.remember(candidate, reference));
        texts.into_iter().for_each(|(reference, text)| known.remember_text(text, reference));
        Ok(())
    }
}

fn overflow() -> Failure {
    StoreError::caused(StoreErrorKind::Unavailable, "the catalogs in memory overflow faster than they are read").into()
}

/// Gives every value that has a ref to `found`; answers the others, in order.
fn part<T>(values: Vec<T>, refs: &HashMap<usize, i32>, mut found: impl FnMut(T, i32)) -> Vec<T> {
    let mut others = Vec::new();
    for (place, value) in values.into_iter().enumerate() {
        match refs.get(&place) {
            Some(reference) => found(value, *reference),
            None => others.push(value),
        }
    }
    others
}

impl Known {
    fn remember_text(&mut self, text: Arc<str>, reference: i32) {
        if self.versions.len() >= ENTRIES_MAX {
            self.versions.clear();
        }
        if let Ok(version) = Version::parse(&text) {
            self.versions.insert(reference, version);
        }
        self.texts.remember(text, reference);
    }

    /// What `states` name, or the refs that are not known.
    fn named(&self, states: &[StateRefs]) -> Result<Result<Vec<Named>, UnknownRefs>, Failure> {
        let mut named = Vec::with_capacity(states.len());
        for state in states {
            let (package, candidate) = (self.packages.values.get(&state.package), self.candidates.values.get(&state.candidate));
            let (Some(package), Some(candidate), Some(installed), Some(reason)) =
                (package, candidate, self.version(state.installed)?, self.reason(state.reason)?)
            else {
                return Ok(Err(self.unknown(states)));
            };
            named.push(Named { package: package.clone(), candidate: Arc::clone(candidate), installed, reason });
        }
        Ok(Ok(named))
    }

    /// The version that a ref names, if it names any; none where the ref is not known.
    fn version(&self, reference: Option<i32>) -> Result<Option<Option<Version>>, Failure> {
        let Some(reference) = reference else { return Ok(Some(None)) };
        if let Some(version) = self.versions.get(&reference) {
            return Ok(Some(Some(version.clone())));
        }
        // The versions may have overflowed before the texts.
        let version = self.texts.values.get(&reference).map(|text| Version::parse(text)).transpose();
        let version = version.map_err(|error| Failure::corrupt(format!("an installed version: {error}")))?;
        Ok(version.map(Some))
    }

    /// The reason that a ref names, if it names any; none where the ref is not known.
    fn reason(&self, reference: Option<i32>) -> Result<Option<Option<Text>>, Failure> {
        let Some(reference) = reference else { return Ok(Some(None)) };
        let text = self.texts.values.get(&reference).map(|text| Text::parse(text)).transpose();
        let text = text.map_err(|error| Failure::corrupt(format!("a reason of availability: {error}")))?;
        Ok(text.map(Some))
    }

    fn unknown(&self, states: &[StateRefs]) -> UnknownRefs {
        let texts = states.iter().flat_map(|state| [state.installed, state.reason]).flatten();
        UnknownRefs {
            packages: others(&self.packages.values, states.iter().map(|state| state.package)),
            candidates: others(&self.candidates.values, states.iter().map(|state| state.candidate)),
            texts: others(&self.texts.values, texts),
        }
    }
}

/// Those of `refs` that are not known, each once.
fn others<T>(known: &HashMap<i32, T>, refs: impl Iterator<Item = i32>) -> Vec<i32> {
    let mut others: Vec<i32> = refs.filter(|reference| !known.contains_key(reference)).collect();
    others.sort_unstable();
    others.dedup();
    others
}

/// Turns changes into refs, noting what is not known.
struct Resolver<'a> {
    known: &'a mut Known,
    unknown: Unknown,
}

impl Resolver<'_> {
    fn resolve(mut self, changes: &Changes) -> Result<Refs, Unknown> {
        let mut refs = Refs::default();
        for event in &changes.events {
            let package = self.package(&event.event.package);
            let offer = event.event.kind.offer().map(|offer| self.offer(package, offer));
            refs.events.push((package, offer));
        }
        refs.states = self.states(&changes.states);
        refs.history = self.history(&changes.history);
        if let Some(pruning) = &changes.pruning {
            refs.bases = self.states(&pruning.bases);
        }
        if let Some(derived) = &changes.derived {
            refs.derived_states = self.states(&derived.states);
            refs.derived_history = self.history(&derived.history);
        }
        if self.unknown.is_empty() { Ok(refs) } else { Err(self.unknown) }
    }

    fn states(&mut self, states: &[PackageState]) -> Vec<(i32, OfferRefs)> {
        let state = |state: &PackageState| {
            let package = self.package(&state.package);
            (package, self.offer(package, &state.offer))
        };
        states.iter().map(state).collect()
    }

    fn history(&mut self, history: &[VersionChange]) -> Vec<i32> {
        history.iter().map(|change| self.package(&change.package)).collect()
    }

    fn package(&mut self, package: &PackageKey) -> i32 {
        self.known.packages.refs.get(package).copied().unwrap_or_else(|| {
            self.unknown.packages.insert(package.clone());
            UNKNOWN
        })
    }

    fn offer(&mut self, package: i32, offer: &Offer) -> OfferRefs {
        OfferRefs {
            candidate: self.candidate(package, &offer.candidate),
            installed: offer.installed.as_ref().map(|version| self.text(version.as_str())),
            availability: code(offer.availability.kind.code()),
            reason: offer.availability.reason.as_ref().map(|reason| self.text(reason.as_str())),
        }
    }

    fn candidate(&mut self, package: i32, candidate: &Arc<Candidate>) -> i32 {
        if let Some((newest, reference)) = self.known.newest.get(&package)
            && newest == candidate
        {
            return *reference;
        }
        let Some(reference) = self.known.candidates.refs.get(candidate).copied() else {
            self.unknown.candidates.insert(Arc::clone(candidate));
            return UNKNOWN;
        };
        if package != UNKNOWN {
            if self.known.newest.len() >= ENTRIES_MAX {
                self.known.newest.clear();
            }
            self.known.newest.insert(package, (Arc::clone(candidate), reference));
        }
        reference
    }

    fn text(&mut self, text: &str) -> i32 {
        self.known.texts.refs.get(text).copied().unwrap_or_else(|| {
            self.unknown.texts.insert(text.into());
            UNKNOWN
        })
    }
}

/// Stands for a ref that is not known; refs start at 1. What holds it is never written.
const UNKNOWN: i32 = 0;

impl Unknown {
    fn is_empty(&self) -> bool {
        self.packages.is_empty() && self.candidates.is_empty() && self.texts.is_empty()
    }
}

impl Absent {
    fn is_empty(&self) -> bool {
        self.packages.is_empty() && self.candidates.is_empty() && self.texts.is_empty()
    }

    /// Creates what is absent, in the order of its keys; what others created meanwhile is left as it is.
    pub(crate) async fn create(&self, transactions: &Transactions) -> Result<(), StoreError> {
        let mut transaction = transactions.write().await?;
        rows::insert_packages(&mut transaction, &self.packages).await?;
        rows::insert_candidates(&mut transaction, &self.candidates).await?;
        rows::insert_texts(&mut transaction, &self.texts).await?;
        transaction.end(Mode::Commit).await
    }
}
