//! Catalogs: what is the same on every agent, kept once under an integer ref.
//!
//! The writer keeps what it resolved in memory, because every report of a fleet names the same packages. Rows of catalogs are
//! never changed, so what is remembered stays true whoever else writes the file; only what a rolled back transaction inserted
//! must be forgotten.

use crate::{
    error::Failure,
    rows::{self, candidate_columns},
    stored::{Stored, get, json, package_key},
};
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use redflag_core::{
    ids::Digest,
    names::{PackageKey, Text, Version},
    offer::{Availability, Candidate, Offer},
    words::AvailabilityKind,
};
use rusqlite::{Connection, OptionalExtension, params};
use std::{
    hash::{BuildHasher as _, Hash},
    sync::Arc,
};

/// Entries of one catalog kept in memory; beyond it, all catalogs are forgotten after the unit of work.
const ENTRIES_MAX: usize = 200_000;

/// The catalogs as far as the writer knows them.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    packages: Packages,
    candidates: Known<Arc<Candidate>>,
    versions: Known<Version>,
    reasons: Known<Text>,
    /// Whether rows were inserted since the last commit.
    inserted: bool,
}

/// A package that the catalog knows; good until the end of the unit of work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Package(usize);

/// An offer in refs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OfferRefs {
    pub(crate) candidate: i64,
    pub(crate) installed: Option<i64>,
    pub(crate) availability: u8,
    pub(crate) reason: Option<i64>,
}

impl Catalog {
    /// To be called after a commit.
    pub(crate) fn committed(&mut self) {
        self.inserted = false;
        let entries = [self.packages.known.len(), self.candidates.refs.len(), self.versions.refs.len(), self.reasons.refs.len()];
        if entries.into_iter().any(|entries| entries > ENTRIES_MAX) {
            *self = Self::default();
        }
    }

    /// To be called after a rollback: refs handed out since the last commit may be given to others.
    pub(crate) fn rolled_back(&mut self) {
        if self.inserted {
            *self = Self::default();
        }
    }

    /// A package, if it has a ref.
    pub(crate) fn find(&mut self, connection: &Connection, package: &PackageKey) -> Result<Option<Package>, Failure> {
        if let Some(known) = self.packages.find(package) {
            return Ok(Some(known));
        }
        let found = rows::package_ref(connection, package)?;
        Ok(found.map(|reference| self.packages.remember(package.clone(), reference)))
    }

    /// A package, which gets a ref now if it had none.
    pub(crate) fn package(&mut self, connection: &Connection, package: &PackageKey) -> Result<Package, Failure> {
        if let Some(known) = self.find(connection, package)? {
            return Ok(known);
        }
        self.inserted = true;
        let mut insert = connection.prepare_cached("INSERT INTO packages (manager, name, arch) VALUES (?1, ?2, ?3)")?;
        let reference = insert.insert(params![package.manager.as_str(), package.name.as_str(), package.arch_text()])?;
        Ok(self.packages.remember(package.clone(), reference))
    }

    /// The package of a ref.
    pub(crate) fn package_of(&mut self, connection: &Connection, reference: i64) -> Result<Package, Failure> {
        if let Some(known) = self.packages.places.get(&reference) {
            return Ok(Package(*known));
        }
        let mut select = connection.prepare_cached("SELECT manager, name, arch FROM packages WHERE package_ref = ?1")?;
        let package = select.query_one([reference], |row| Ok(package_key(row, 0)))??;
        Ok(self.packages.remember(package, reference))
    }

    pub(crate) fn reference(&self, package: Package) -> i64 {
        self.packages.known[package.0].reference
    }

    pub(crate) fn key(&self, package: Package) -> &PackageKey {
        &self.packages.known[package.0].key
    }

    /// The refs of an offer of a package, which its parts get now where they had none.
    pub(crate) fn offer_refs(&mut self, connection: &Connection, package: Package, offer: &Offer) -> Result<OfferRefs, Failure> {
        let Offer { installed, candidate, availability } = offer;
        let reason = match &availability.reason {
            Some(reason) => Some(text_ref(&mut self.reasons, connection, reason, &mut self.inserted)?),
            None => None,
        };
        let installed = match installed {
            Some(version) => Some(self.installed_ref(connection, package, version)?),
            None => None,
        };
        let candidate = self.candidate_ref(connection, package, candidate)?;
        Ok(OfferRefs { candidate, installed, availability: availability.kind.code(), reason })
    }

    fn installed_ref(&mut self, connection: &Connection, package: Package, version: &Version) -> Result<i64, Failure> {
        if let Some((known, reference)) = &self.packages.known[package.0].installed
            && known == version
        {
            return Ok(*reference);
        }
        let reference = text_ref(&mut self.versions, connection, version, &mut self.inserted)?;
        self.packages.known[package.0].installed = Some((version.clone(), reference));
        Ok(reference)
    }

    fn candidate_ref(&mut self, connection: &Connection, package: Package, candidate: &Arc<Candidate>) -> Result<i64, Failure> {
        if let Some((known, reference)) = &self.packages.known[package.0].candidate
            && known == candidate
        {
            return Ok(*reference);
        }
        let reference = match self.candidates.refs.get(candidate) {
            Some(reference) => *reference,
            None => self.stored_candidate_ref(connection, candidate)?,
        };
        self.packages.known[package.0].candidate = Some((Arc::clone(candidate), reference));
        Ok(reference)
    }

    fn stored_candidate_ref(&mut self, connection: &Connection, candidate: &Arc<Candidate>) -> Result<i64, Failure> {
        let content_key = Digest::of("redflag candidate v1", &[json(candidate).as_bytes()]);
        let mut select = connection.prepare_cached("SELECT candidate_ref FROM candidates WHERE content_key = ?1")?;
        let found = select.query_row([content_key.as_bytes()], |row| row.get(0)).optional()?;
        let reference = match found {
            Some(reference) => reference,
            None => {
                self.inserted = true;
                insert_candidate(connection, &content_key, candidate)?
            }
        };
        self.candidates.remember(Arc::clone(candidate), reference);
        Ok(reference)
    }

    /// The offer of refs of a package.
    pub(crate) fn offer(&mut self, connection: &Connection, package: Package, refs: OfferRefs) -> Result<Offer, Failure> {
        let kind = AvailabilityKind::from_code(refs.availability).ok_or_else(|| Failure::corrupt("an unknown availability"))?;
        let reason = refs.reason.map(|reference| text(&mut self.reasons, connection, reference)).transpose()?;
        Ok(Offer {
            installed: refs.installed.map(|reference| self.installed(connection, package, reference)).transpose()?,
            candidate: self.candidate(connection, package, refs.candidate)?,
            availability: Availability { kind, reason },
        })
    }

    fn installed(&mut self, connection: &Connection, package: Package, reference: i64) -> Result<Version, Failure> {
        match &self.packages.known[package.0].installed {
            Some((version, known)) if *known == reference => Ok(version.clone()),
            _ => text(&mut self.versions, connection, reference),
        }
    }

    fn candidate(&mut self, connection: &Connection, package: Package, reference: i64) -> Result<Arc<Candidate>, Failure> {
        if let Some((candidate, known)) = &self.packages.known[package.0].candidate
            && *known == reference
        {
            return Ok(Arc::clone(candidate));
        }
        if let Some(candidate) = self.candidates.values.get(&reference) {
            return Ok(Arc::clone(candidate));
        }
        let mut select =
            connection.prepare_cached(concat!("SELECT ", candidate_columns!(), " FROM candidates AS c WHERE c.candidate_ref = ?1"))?;
        let candidate = Arc::new(select.query_one([reference], |row| Ok(rows::candidate(row, 0)))??);
        self.candidates.remember(Arc::clone(&candidate), reference);
        Ok(candidate)
    }
}

/// Packages both ways, each with what it was last seen with: comparing with that is cheaper than looking it up, and nearly always
/// enough, because the hosts of a fleet are offered the same.
#[derive(Debug, Default)]
struct Packages {
    known: Vec<KnownPackage>,
    /// Places of `known` by key.
    table: HashTable<usize>,
    /// Places of `known` by ref.
    places: HashMap<i64, usize>,
    hasher: DefaultHashBuilder,
}

#[derive(Debug)]
struct KnownPackage {
    key: PackageKey,
    reference: i64,
    candidate: Option<(Arc<Candidate>, i64)>,
    installed: Option<(Version, i64)>,
}

impl Packages {
    fn find(&self, package: &PackageKey) -> Option<Package> {
        let hash = self.hasher.hash_one(package);
        self.table.find(hash, |place| self.known[*place].key == *package).copied().map(Package)
    }

    fn remember(&mut self, key: PackageKey, reference: i64) -> Package {
        let Self { known, table, places, hasher } = self;
        let (hash, place) = (hasher.hash_one(&key), known.len());
        known.push(KnownPackage { key, reference, candidate: None, installed: None });
        table.insert_unique(hash, place, |place| hasher.hash_one(&known[*place].key));
        places.insert(reference, place);
        Package(place)
    }
}

/// One catalog in memory, both ways.
#[derive(Debug)]
struct Known<K> {
    refs: HashMap<K, i64>,
    values: HashMap<i64, K>,
}

impl<K> Default for Known<K> {
    fn default() -> Self {
        Self { refs: HashMap::default(), values: HashMap::default() }
    }
}

impl<K: Clone + Eq + Hash> Known<K> {
    fn remember(&mut self, value: K, reference: i64) {
        self.refs.insert(value.clone(), reference);
        self.values.insert(reference, value);
    }
}

/// The ref of a text, which it gets now if it had none.
fn text_ref<T>(known: &mut Known<T>, connection: &Connection, text: &T, inserted: &mut bool) -> Result<i64, Failure>
where
    T: AsRef<str> + Clone + Eq + Hash,
{
    if let Some(reference) = known.refs.get(text) {
        return Ok(*reference);
    }
    let mut select = connection.prepare_cached("SELECT text_ref FROM texts WHERE text = ?1")?;
    let found = select.query_row([text.as_ref()], |row| row.get(0)).optional()?;
    let reference = match found {
        Some(reference) => reference,
        None => {
            *inserted = true;
            connection.prepare_cached("INSERT INTO texts (text) VALUES (?1)")?.insert([text.as_ref()])?
        }
    };
    known.remember(text.clone(), reference);
    Ok(reference)
}

/// The text of a ref.
fn text<T>(known: &mut Known<T>, connection: &Connection, reference: i64) -> Result<T, Failure>
where
    T: Stored + Clone + Eq + Hash,
{
    if let Some(text) = known.values.get(&reference) {
        return Ok(text.clone());
    }
    let mut select = connection.prepare_cached("SELECT text FROM texts WHERE text_ref = ?1")?;
    let text: T = select.query_one([reference], |row| Ok(get(row, 0)))??;
    known.remember(text.clone(), reference);
    Ok(text)
}

fn insert_candidate(connection: &Connection, content_key: &Digest, candidate: &Candidate) -> Result<i64, Failure> {
    let ids = |ids: &[Text]| (!ids.is_empty()).then(|| json(&ids));
    let mut insert = connection.prepare_cached(
        "INSERT INTO candidates
         (content_key, version, origin, severity, severity_word, security, advisories, cves, size_bytes, description, metadata)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?;
    Ok(insert.insert(params![
        content_key.as_bytes(),
        candidate.version.as_str(),
        candidate.origin.as_ref().map(Text::as_str),
        candidate.severity.code(),
        candidate.severity_word.as_ref().map(Text::as_str),
        candidate.security,
        ids(&candidate.advisories),
        ids(&candidate.cves),
        candidate.size_bytes,
        candidate.description.as_ref().map(Text::as_str),
        candidate.metadata.as_ref().map(|metadata| metadata.as_json()),
    ])?)
}
