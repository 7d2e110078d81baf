//! What the campaigns share: a fleet that is written while something breaks, and its audit.

use redflag_core::{
    conformance::{Findings, Shape, Witness, generate::Rng, history, streams},
    store::{BatchStore, Durability, StoreErrorKind},
};
use redflag_faults::Writing;
use redflag_store_postgres::{Options, PostgresStore};
use std::{sync::Arc, time::Duration};

pub(crate) const SHAPE: Shape = Shape { agents: 3, steps: 120, packages: 20 };

/// A fleet with what was acknowledged of it.
pub(crate) struct Subject {
    pub(crate) store: PostgresStore,
    pub(crate) witness: Witness,
    seed: u64,
}

impl Subject {
    /// An empty fleet in the database at `url`, to be written by the history of `seed`.
    pub(crate) async fn new(url: &str, seed: u64, durability: Durability) -> Self {
        Self::of(SHAPE, url, seed, durability).await
    }

    /// The same, by a history of another shape.
    pub(crate) async fn of(shape: Shape, url: &str, seed: u64, durability: Durability) -> Self {
        Self { store: connected(url, durability).await, witness: Witness::new(streams(history(seed, shape))), seed }
    }

    /// Begins to write, at most so many works of each stream.
    pub(crate) fn begin(&self, most: usize) -> Writing {
        let batches: Arc<dyn BatchStore> = Arc::new(self.store.clone());
        Writing::begin(&batches, &self.witness, most)
    }

    /// Begins to write, at most so many works of each stream, and waits for a moment in the middle of it.
    pub(crate) async fn writing(&self, most: usize, rng: &mut Rng) -> Writing {
        let writing = self.begin(most);
        writing.wait_for(rng.below(15)).await;
        tokio::time::sleep(Duration::from_micros(rng.next() % 5_000)).await;
        writing
    }

    /// Waits for the end of writing, which must have failed only as it may.
    pub(crate) async fn ended(&mut self, writing: Writing) -> Vec<StoreErrorKind> {
        let failures = writing.ended(&mut self.witness).await;
        let allowed = |kind: &StoreErrorKind| matches!(kind, StoreErrorKind::Unavailable | StoreErrorKind::OutcomeUnknown);
        assert!(failures.iter().all(allowed), "seed {}: {failures:?}", self.seed);
        failures
    }

    /// Compares what is there with what was acknowledged. No work may be under way on the server.
    pub(crate) async fn audit(&mut self) {
        self.witness.audit(&self.store).await.unwrap();
        self.witness.audit_feed(&self.store).await.unwrap();
        self.witness.findings().whole().unwrap_or_else(|failure| panic!("seed {}: {failure}", self.seed));
    }

    /// Compares everything that can be asked, at the end.
    pub(crate) async fn settle(self) -> Findings {
        let settled = self.witness.settle(&self.store).await;
        settled.unwrap_or_else(|failure| panic!("seed {}: {failure}", self.seed))
    }
}

pub(crate) async fn connected(url: &str, durability: Durability) -> PostgresStore {
    PostgresStore::connect(url, Options { durability, ..Options::default() }).await.unwrap()
}
