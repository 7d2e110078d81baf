//! What lists are made of, in memory: where each state stands in every order, and how many there are of each kind (clauses Q2 and
//! Q4). It keeps 24 bytes a state; with all around them a process grows by about 40.
//!
//! Which rows a page holds, however deep, follows from adding up what comes before it: packages, agents or moments, of which there
//! are thousands, instead of states, of which there are millions. Indexes in the file could do the same, but a report of a new host
//! would then write a page of them for every one of its packages.
//!
//! The index is a cache: it bears the generation of the states that it holds, a reader uses it only for that one, and it can be read
//! anew from the file. The first list after opening has it read, by a reader, so that reports go on; from then on the writer keeps it
//! up to date with every commit.

mod contents;
mod kinds;
mod moments;
mod pages;
#[cfg(test)]
mod tests;

pub(crate) use contents::{Change, Index, StateNow};
pub(crate) use kinds::Traits;
pub(crate) use pages::Listed;

use crate::{error::Failure, stored::get};
use redflag_core::names::PackageKey;
use rusqlite::Connection;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The generation of the states as the connection sees them; it grows with every commit that changes one.
pub(crate) fn generation(connection: &Connection) -> Result<i64, Failure> {
    connection.prepare_cached("SELECT number FROM generation")?.query_one([], |row| Ok(get(row, 0)))?
}

/// Marks the states as changed, and answers their generation from now on.
pub(crate) fn advance(connection: &Connection) -> Result<i64, Failure> {
    connection.prepare_cached("UPDATE generation SET number = number + 1 RETURNING number")?.query_one([], |row| Ok(get(row, 0)))?
}

/// The index, shared by the writer and the readers.
#[derive(Debug, Default)]
pub(crate) struct SharedIndex {
    known: RwLock<Known>,
    /// Held by the writer from before a commit until the index knows of it.
    commits: Mutex<()>,
    /// Whose turn it is to read the file.
    turns: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
enum Known {
    /// Nobody asked yet, or somebody else wrote the file.
    #[default]
    Nothing,
    /// It is being read; what was committed meanwhile waits here, each with its generation.
    Reading(Vec<(i64, Change<PackageKey>)>),
    Index(Box<Index>),
}

/// What a reader finds for its moment.
#[derive(Debug)]
pub(crate) enum Look<T> {
    Found(T),
    /// The index has gone on: a reader of a newer moment will find it.
    Gone,
    /// The file has to be read.
    Unknown,
}

/// The right to read the file, one reader at a time.
#[derive(Debug)]
pub(crate) struct Turn(#[expect(dead_code, reason = "it is held, not read")] tokio::sync::OwnedMutexGuard<()>);

/// A commit under way.
#[derive(Debug)]
pub(crate) struct Commit<'a> {
    shared: &'a SharedIndex,
    generation: i64,
    _commits: MutexGuard<'a, ()>,
}

impl SharedIndex {
    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_mut(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Uses the index for a reader that sees the states of this generation.
    pub(crate) fn look<T>(&self, generation: i64, mut using: impl FnMut(&Index) -> T) -> Look<T> {
        let mut look = || match &*self.known() {
            Known::Index(index) if index.generation() == generation => Some(Look::Found(using(index))),
            Known::Index(index) if index.generation() > generation => Some(Look::Gone),
            Known::Index(_) => None,
            Known::Nothing | Known::Reading(_) => Some(Look::Unknown),
        };
        look().unwrap_or_else(|| {
            // What the reader sees was committed a moment ago, and the index will know of it as soon as the writer is done; if not, it
            // was committed by another process.
            drop(self.commits.lock().unwrap_or_else(PoisonError::into_inner));
            look().unwrap_or(Look::Unknown)
        })
    }

    /// Waits for the right to read the file.
    pub(crate) async fn turn(&self) -> Turn {
        Turn(Arc::clone(&self.turns).lock_owned().await)
    }

    /// Reads the file as the connection sees it, which must not have read anything yet.
    pub(crate) fn read(&self, connection: &Connection, turn: &Turn) -> Result<(), Failure> {
        let Turn(_) = turn;
        // From here on commits are kept, and only then the moment of the connection begins: none is missed.
        drop(std::mem::replace(&mut *self.known_mut(), Known::Reading(Vec::new())));
        let index = generation(connection).and_then(|generation| Index::read(connection, generation));
        let mut known = self.known_mut();
        let Known::Reading(waiting) = std::mem::take(&mut *known) else { return Ok(()) };
        let mut index = index?;
        for (generation, change) in waiting {
            if generation > index.generation() {
                index.apply(generation, &change)?;
            }
        }
        *known = Known::Index(Box::new(index));
        Ok(())
    }

    /// To be called by the writer before it commits states of this generation.
    pub(crate) fn commit(&self, generation: i64) -> Commit<'_> {
        Commit { shared: self, generation, _commits: self.commits.lock().unwrap_or_else(PoisonError::into_inner) }
    }

    /// To be called after something went wrong half-way.
    pub(crate) fn forget(&self) {
        *self.known_mut() = Known::Nothing;
    }
}

impl Commit<'_> {
    /// To be called once it is committed.
    pub(crate) fn done(self, change: Change<&PackageKey>) {
        let mut known = self.shared.known_mut();
        match &mut *known {
            Known::Nothing => {}
            Known::Reading(waiting) => {
                let Change { agent_ref, agent, replaced, states } = change;
                let states = states.into_iter().map(|(state, key)| (state, key.clone())).collect();
                waiting.push((self.generation, Change { agent_ref, agent, replaced, states }));
            }
            Known::Index(index) if index.generation() >= self.generation => {}
            Known::Index(index) => {
                let next = index.generation() + 1 == self.generation;
                if let Err(error) = if next { index.apply(self.generation, &change) } else { Err(Failure::corrupt("another writer")) } {
                    tracing::warn!(%error, "what lists are made of is read anew");
                    *known = Known::Nothing;
                }
            }
        }
    }
}
