//! Writers in the test's own process: one task a stream, until a fault or a limit stops them.

use redflag_core::{
    conformance::{Witness, submit},
    ids::Digest,
    store::{BatchStore, StoreErrorKind},
};
use std::sync::Arc;
use tokio::{sync::Semaphore, task::JoinSet};

/// More than any stream has works.
const ALL: usize = 1 << 20;

/// Streams that are being submitted, side by side.
#[derive(Debug)]
pub struct Writing {
    streams: JoinSet<Ended>,
    acknowledged: Arc<Semaphore>,
}

#[derive(Debug)]
struct Ended {
    stream: usize,
    answers: Vec<Digest>,
    failed: Option<StoreErrorKind>,
}

impl Writing {
    /// Begins to submit to `store` what `witness` says is left of each stream, at most so many works of each.
    #[must_use]
    pub fn begin(store: &Arc<dyn BatchStore>, witness: &Witness, most: usize) -> Self {
        let acknowledged = Arc::new(Semaphore::new(0));
        let mut streams = JoinSet::new();
        for stream in 0..witness.positions().len() {
            let works: Vec<_> = witness.rest(stream).iter().take(most).cloned().collect();
            let (store, one_more) = (Arc::clone(store), Arc::clone(&acknowledged));
            streams.spawn(async move {
                let mut answers = Vec::new();
                let answered = |digest| {
                    answers.push(digest);
                    one_more.add_permits(1);
                };
                let failed = submit(&store, &works, answered).await;
                // Whoever waits for more than there will be goes on.
                one_more.add_permits(ALL);
                Ended { stream, answers, failed }
            });
        }
        Self { streams, acknowledged }
    }

    /// Waits until so many works are acknowledged, or a stream has ended.
    pub async fn wait_for(&self, acknowledgements: usize) {
        let acknowledgements = u32::try_from(acknowledgements).expect("few acknowledgements");
        drop(self.acknowledged.acquire_many(acknowledgements).await);
    }

    /// Waits until every stream has ended and tells the witness; answers how those ended that did not get to their limit.
    pub async fn ended(self, witness: &mut Witness) -> Vec<StoreErrorKind> {
        let mut failures = Vec::new();
        for Ended { stream, answers, failed } in self.streams.join_all().await {
            for answer in answers {
                witness.acknowledged(stream, answer).await;
            }
            if failed == Some(StoreErrorKind::Unavailable) {
                witness.unavailable(stream);
            }
            failures.extend(failed);
        }
        failures
    }
}
