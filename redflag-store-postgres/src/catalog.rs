//! Catalogs: what is the same on every agent, kept once under an integer ref.
//!
//! The store keeps the refs it has seen in memory, because every report of a fleet names the same packages. Rows of catalogs are
//! never changed or deleted, and only those of committed transactions are remembered, so what is remembered stays true whoever
//! else writes. New rows are created beforehand, sorted, in a short transaction of their own: units of work of different agents
//! never wait for each other's catalog rows in two orders (clause R5).

use crate::{
    error::Failure,
    stored::{arch, bigint, code, get, json},
    transaction::{Transaction, Transactions},
};
use redflag_core::{
    ids::Digest,
    names::{PackageKey, Text},
    offer::{Candidate, Offer},
    store::{Mode, StoreError, StoreErrorKind},
    work::Changes,
};
use sqlx::postgres::PgRow;
use std::{
    collections::{BTreeSet, HashMap, HashSet},
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
    packages: HashMap<PackageKey, i32>,
    candidates: HashMap<Arc<Candidate>, i32>,
    /// The candidate last seen of each package, by the package's ref: comparing with it is cheaper than hashing, and nearly always
    /// enough, because the hosts of a fleet are offered the same.
    newest: HashMap<i32, (Arc<Candidate>, i32)>,
    texts: HashMap<Arc<str>, i32>,
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
}

/// What the memory does not hold.
#[derive(Debug, Default)]
struct Unknown {
    packages: BTreeSet<PackageKey>,
    candidates: HashSet<Arc<Candidate>>,
    texts: BTreeSet<Arc<str>>,
}

/// What the database does not hold, sorted.
#[derive(Debug, Default)]
pub(crate) struct Absent {
    packages: Vec<PackageKey>,
    candidates: Vec<(Digest, Arc<Candidate>)>,
    texts: Vec<Arc<str>>,
}

fn remember<K: Eq + Hash, V>(known: &mut HashMap<K, V>, key: K, value: V) {
    if known.len() >= ENTRIES_MAX {
        known.clear();
    }
    known.insert(key, value);
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
        Err(StoreError::caused(StoreErrorKind::Unavailable, "the catalogs in memory overflow faster than they are read").into())
    }

    /// Remembers what the database holds of `unknown`; answers the rest.
    async fn look_up(&self, transaction: &mut Transaction, unknown: Unknown) -> Result<Absent, Failure> {
        let digest = |candidate: Arc<Candidate>| (Digest::of("redflag candidate v1", &[json(&candidate).as_bytes()]), candidate);
        let mut candidates: Vec<_> = unknown.candidates.into_iter().map(digest).collect();
        candidates.sort_unstable_by(|(a, _), (b, _)| a.as_bytes().cmp(b.as_bytes()));
        let packages: Vec<_> = unknown.packages.into_iter().collect();
        let texts: Vec<_> = unknown.texts.into_iter().collect();
        let found_packages = find_packages(transaction, &packages).await?;
        let found_candidates = find_candidates(transaction, &candidates).await?;
        let found_texts = find_texts(transaction, &texts).await?;
        let mut known = self.known();
        Ok(Absent {
            packages: part(packages, &found_packages, |package, reference| remember(&mut known.packages, package, reference)),
            candidates: part(candidates, &found_candidates, |(_, candidate), reference| {
                remember(&mut known.candidates, candidate, reference);
            }),
            texts: part(texts, &found_texts, |text, reference| remember(&mut known.texts, text, reference)),
        })
    }
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
        for state in &changes.states {
            let package = self.package(&state.package);
            let offer = self.offer(package, &state.offer);
            refs.states.push((package, offer));
        }
        refs.history = changes.history.iter().map(|change| self.package(&change.package)).collect();
        if self.unknown.is_empty() { Ok(refs) } else { Err(self.unknown) }
    }

    fn package(&mut self, package: &PackageKey) -> i32 {
        self.known.packages.get(package).copied().unwrap_or_else(|| {
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
        let Some(reference) = self.known.candidates.get(candidate).copied() else {
            self.unknown.candidates.insert(Arc::clone(candidate));
            return UNKNOWN;
        };
        if package != UNKNOWN {
            remember(&mut self.known.newest, package, (Arc::clone(candidate), reference));
        }
        reference
    }

    fn text(&mut self, text: &str) -> i32 {
        self.known.texts.get(text).copied().unwrap_or_else(|| {
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
        insert_packages(&mut transaction, &self.packages).await?;
        insert_candidates(&mut transaction, &self.candidates).await?;
        insert_texts(&mut transaction, &self.texts).await?;
        transaction.end(Mode::Commit).await
    }
}

/// Refs by the place of what was looked for, counted from 0.
fn by_place(rows: &[PgRow]) -> Result<HashMap<usize, i32>, Failure> {
    let entry = |row: &PgRow| Ok((get::<u32>(row, 0)? as usize, get(row, 1)?));
    rows.iter().map(entry).collect()
}

async fn find_packages(transaction: &mut Transaction, packages: &[PackageKey]) -> Result<HashMap<usize, i32>, Failure> {
    if packages.is_empty() {
        return Ok(HashMap::new());
    }
    let select = sqlx::query(
        "SELECT (q.place - 1)::integer, p.package_ref
         FROM UNNEST($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS q (manager, name, arch, place)
         JOIN packages AS p ON p.name = q.name AND p.manager = q.manager AND p.arch = q.arch",
    )
    .bind(packages.iter().map(|package| package.manager.as_str()).collect::<Vec<_>>())
    .bind(packages.iter().map(|package| package.name.as_str()).collect::<Vec<_>>())
    .bind(packages.iter().map(arch).collect::<Vec<_>>());
    by_place(&transaction.rows(select).await?)
}

async fn find_candidates(transaction: &mut Transaction, candidates: &[(Digest, Arc<Candidate>)]) -> Result<HashMap<usize, i32>, Failure> {
    if candidates.is_empty() {
        return Ok(HashMap::new());
    }
    let select = sqlx::query(
        "SELECT (q.place - 1)::integer, c.candidate_ref
         FROM UNNEST($1::bytea[]) WITH ORDINALITY AS q (content_key, place)
         JOIN candidates AS c ON c.content_key = q.content_key",
    )
    .bind(candidates.iter().map(|(digest, _)| digest.as_bytes().as_slice()).collect::<Vec<_>>());
    by_place(&transaction.rows(select).await?)
}

async fn find_texts(transaction: &mut Transaction, texts: &[Arc<str>]) -> Result<HashMap<usize, i32>, Failure> {
    if texts.is_empty() {
        return Ok(HashMap::new());
    }
    let select = sqlx::query(
        "SELECT (q.place - 1)::integer, t.text_ref
         FROM UNNEST($1::text[]) WITH ORDINALITY AS q (text, place)
         JOIN texts AS t ON t.text = q.text",
    )
    .bind(texts.iter().map(|text| &**text).collect::<Vec<_>>());
    by_place(&transaction.rows(select).await?)
}

async fn insert_packages(transaction: &mut Transaction, packages: &[PackageKey]) -> Result<(), Failure> {
    if packages.is_empty() {
        return Ok(());
    }
    let insert = sqlx::query(
        "INSERT INTO packages (manager, name, arch)
         SELECT * FROM UNNEST($1::text[], $2::text[], $3::text[]) ON CONFLICT DO NOTHING",
    )
    .bind(packages.iter().map(|package| package.manager.as_str()).collect::<Vec<_>>())
    .bind(packages.iter().map(|package| package.name.as_str()).collect::<Vec<_>>())
    .bind(packages.iter().map(arch).collect::<Vec<_>>());
    transaction.execute(insert).await.map(|_| ())
}

async fn insert_candidates(transaction: &mut Transaction, candidates: &[(Digest, Arc<Candidate>)]) -> Result<(), Failure> {
    if candidates.is_empty() {
        return Ok(());
    }
    fn column<'a, T>(candidates: &'a [(Digest, Arc<Candidate>)], of: impl Fn(&'a Candidate) -> T) -> Vec<T> {
        candidates.iter().map(|(_, candidate)| of(candidate)).collect()
    }
    let ids = |ids: &[Text]| (!ids.is_empty()).then(|| json(&ids));
    let sizes = candidates.iter().map(|(_, candidate)| candidate.size_bytes.map(bigint).transpose());
    let insert = sqlx::query(
        "INSERT INTO candidates
         (content_key, version, origin, severity, severity_word, security, advisories, cves, size_bytes, description, metadata)
         SELECT * FROM UNNEST($1::bytea[], $2::text[], $3::text[], $4::smallint[], $5::text[], $6::boolean[], $7::text[], $8::text[],
             $9::bigint[], $10::text[], $11::text[])
         ON CONFLICT DO NOTHING",
    )
    .bind(candidates.iter().map(|(digest, _)| digest.as_bytes().as_slice()).collect::<Vec<_>>())
    .bind(column(candidates, |candidate| candidate.version.as_str()))
    .bind(column(candidates, |candidate| candidate.origin.as_ref().map(Text::as_str)))
    .bind(column(candidates, |candidate| code(candidate.severity.code())))
    .bind(column(candidates, |candidate| candidate.severity_word.as_ref().map(Text::as_str)))
    .bind(column(candidates, |candidate| candidate.security))
    .bind(column(candidates, |candidate| ids(&candidate.advisories)))
    .bind(column(candidates, |candidate| ids(&candidate.cves)))
    .bind(sizes.collect::<Result<Vec<_>, _>>()?)
    .bind(column(candidates, |candidate| candidate.description.as_ref().map(Text::as_str)))
    .bind(column(candidates, |candidate| candidate.metadata.as_ref().map(|metadata| metadata.as_json())));
    transaction.execute(insert).await.map(|_| ())
}

async fn insert_texts(transaction: &mut Transaction, texts: &[Arc<str>]) -> Result<(), Failure> {
    if texts.is_empty() {
        return Ok(());
    }
    let insert = sqlx::query("INSERT INTO texts (text) SELECT * FROM UNNEST($1::text[]) ON CONFLICT DO NOTHING")
        .bind(texts.iter().map(|text| &**text).collect::<Vec<_>>());
    transaction.execute(insert).await.map(|_| ())
}
