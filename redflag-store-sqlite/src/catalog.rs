//! Catalogs: what is the same on every agent, kept once under an integer ref.
//!
//! The writer keeps what it resolved in memory, because every report of a fleet names the same packages. Rows of catalogs are
//! never changed, so what is remembered stays true whoever else writes the file; only what a rolled back transaction inserted
//! must be forgotten.

use crate::{
    error::Failure,
    rows::{self, candidate_columns},
    stored::{get, json, package_key},
};
use redflag_core::{
    ids::Digest,
    names::{PackageKey, Text, Version},
    offer::{Availability, Candidate, Offer},
    words::AvailabilityKind,
};
use rusqlite::{Connection, OptionalExtension, params};
use std::{collections::HashMap, hash::Hash, sync::Arc};

/// Entries of one catalog kept in memory; beyond it, the catalog starts to remember anew.
const ENTRIES_MAX: usize = 200_000;

/// One catalog in memory, both ways.
#[derive(Debug)]
struct Known<K> {
    refs: HashMap<K, i64>,
    values: HashMap<i64, K>,
}

impl<K: Clone + Eq + Hash> Known<K> {
    fn new() -> Self {
        Self { refs: HashMap::new(), values: HashMap::new() }
    }

    fn remember(&mut self, value: K, reference: i64) {
        if self.refs.len() >= ENTRIES_MAX {
            self.forget();
        }
        self.refs.insert(value.clone(), reference);
        self.values.insert(reference, value);
    }

    fn forget(&mut self) {
        self.refs.clear();
        self.values.clear();
    }
}

/// The catalogs as far as the writer knows them.
#[derive(Debug)]
pub(crate) struct Catalog {
    packages: Known<PackageKey>,
    candidates: Known<Arc<Candidate>>,
    /// The candidate last seen of each package, by the package's ref: comparing with it is cheaper than hashing, and nearly always
    /// enough, because the hosts of a fleet are offered the same.
    newest: HashMap<i64, (Arc<Candidate>, i64)>,
    texts: Known<Arc<str>>,
    /// Whether rows were inserted since the last commit.
    inserted: bool,
}

/// An offer in refs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OfferRefs {
    pub(crate) candidate: i64,
    pub(crate) installed: Option<i64>,
    pub(crate) availability: u8,
    pub(crate) reason: Option<i64>,
}

impl Catalog {
    pub(crate) fn new() -> Self {
        Self { packages: Known::new(), candidates: Known::new(), newest: HashMap::new(), texts: Known::new(), inserted: false }
    }

    /// To be called after a commit.
    pub(crate) const fn committed(&mut self) {
        self.inserted = false;
    }

    /// To be called after a rollback: refs handed out since the last commit may be given to others.
    pub(crate) fn rolled_back(&mut self) {
        if self.inserted {
            *self = Self::new();
        }
    }

    /// The ref of a package, if it has one.
    pub(crate) fn find_package(&mut self, connection: &Connection, package: &PackageKey) -> Result<Option<i64>, Failure> {
        if let Some(reference) = self.packages.refs.get(package) {
            return Ok(Some(*reference));
        }
        let found = rows::package_ref(connection, package)?;
        if let Some(reference) = found {
            self.packages.remember(package.clone(), reference);
        }
        Ok(found)
    }

    /// The ref of a package, which it gets now if it had none.
    pub(crate) fn package_ref(&mut self, connection: &Connection, package: &PackageKey) -> Result<i64, Failure> {
        if let Some(reference) = self.find_package(connection, package)? {
            return Ok(reference);
        }
        self.inserted = true;
        let mut insert = connection.prepare_cached("INSERT INTO packages (manager, name, arch) VALUES (?1, ?2, ?3)")?;
        let reference = insert.insert(params![package.manager.as_str(), package.name.as_str(), package.arch_text()])?;
        self.packages.remember(package.clone(), reference);
        Ok(reference)
    }

    /// The package of a ref.
    pub(crate) fn package(&mut self, connection: &Connection, reference: i64) -> Result<PackageKey, Failure> {
        if let Some(package) = self.packages.values.get(&reference) {
            return Ok(package.clone());
        }
        let mut select = connection.prepare_cached("SELECT manager, name, arch FROM packages WHERE package_ref = ?1")?;
        let package = select.query_one([reference], |row| Ok(package_key(row, 0)))??;
        self.packages.remember(package.clone(), reference);
        Ok(package)
    }

    /// The ref of a candidate of a package, which it gets now if it had none.
    fn candidate_ref(&mut self, connection: &Connection, package_ref: i64, candidate: &Arc<Candidate>) -> Result<i64, Failure> {
        if let Some((newest, reference)) = self.newest.get_mut(&package_ref)
            && newest == candidate
        {
            // The state that follows from an event shares its candidate: the next comparison is one of pointers.
            newest.clone_from(candidate);
            return Ok(*reference);
        }
        let reference = match self.candidates.refs.get(candidate) {
            Some(reference) => *reference,
            None => self.stored_candidate_ref(connection, candidate)?,
        };
        if self.newest.len() >= ENTRIES_MAX {
            self.newest.clear();
        }
        self.newest.insert(package_ref, (Arc::clone(candidate), reference));
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

    /// The candidate of a ref.
    fn candidate(&mut self, connection: &Connection, reference: i64) -> Result<Arc<Candidate>, Failure> {
        if let Some(candidate) = self.candidates.values.get(&reference) {
            return Ok(Arc::clone(candidate));
        }
        let mut select =
            connection.prepare_cached(concat!("SELECT ", candidate_columns!(), " FROM candidates AS c WHERE c.candidate_ref = ?1"))?;
        let candidate = Arc::new(select.query_one([reference], |row| Ok(rows::candidate(row, 0)))??);
        self.candidates.remember(Arc::clone(&candidate), reference);
        Ok(candidate)
    }

    fn text_ref(&mut self, connection: &Connection, text: &str) -> Result<i64, Failure> {
        if let Some(reference) = self.texts.refs.get(text) {
            return Ok(*reference);
        }
        let mut select = connection.prepare_cached("SELECT text_ref FROM texts WHERE text = ?1")?;
        let found = select.query_row([text], |row| row.get(0)).optional()?;
        let reference = match found {
            Some(reference) => reference,
            None => {
                self.inserted = true;
                connection.prepare_cached("INSERT INTO texts (text) VALUES (?1)")?.insert([text])?
            }
        };
        self.texts.remember(text.into(), reference);
        Ok(reference)
    }

    fn text(&mut self, connection: &Connection, reference: i64) -> Result<Arc<str>, Failure> {
        if let Some(text) = self.texts.values.get(&reference) {
            return Ok(Arc::clone(text));
        }
        let mut select = connection.prepare_cached("SELECT text FROM texts WHERE text_ref = ?1")?;
        let text: Arc<str> = select.query_one([reference], |row| Ok(get::<String>(row, 0)))??.into();
        self.texts.remember(Arc::clone(&text), reference);
        Ok(text)
    }

    /// The refs of an offer of a package, which its parts get now where they had none.
    pub(crate) fn offer_refs(&mut self, connection: &Connection, package_ref: i64, offer: &Offer) -> Result<OfferRefs, Failure> {
        let reason = offer.availability.reason.as_ref().map(|reason| self.text_ref(connection, reason.as_str())).transpose()?;
        let installed = offer.installed.as_ref().map(|version| self.text_ref(connection, version.as_str())).transpose()?;
        Ok(OfferRefs {
            candidate: self.candidate_ref(connection, package_ref, &offer.candidate)?,
            installed,
            availability: offer.availability.kind.code(),
            reason,
        })
    }

    /// The offer of refs.
    pub(crate) fn offer(&mut self, connection: &Connection, refs: OfferRefs) -> Result<Offer, Failure> {
        let unreadable = |_| Failure::corrupt("a text that is no version or reason");
        let installed = refs.installed.map(|reference| self.text(connection, reference)).transpose()?;
        let reason = refs.reason.map(|reference| self.text(connection, reference)).transpose()?;
        let kind = AvailabilityKind::from_code(refs.availability).ok_or_else(|| Failure::corrupt("an unknown availability"))?;
        Ok(Offer {
            installed: installed.map(|text| Version::parse(&text)).transpose().map_err(unreadable)?,
            candidate: self.candidate(connection, refs.candidate)?,
            availability: Availability { kind, reason: reason.map(|text| Text::parse(&text)).transpose().map_err(unreadable)? },
        })
    }
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
