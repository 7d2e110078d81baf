//! The follower: gives batches their positions in the feed (clauses F1, F2 and F4).
//!
//! Units of work of different agents commit in any order and never wait for each other, so none of them can number its batches
//! itself: a number taken before the commit would come to light after higher ones. Each leaves a ticket instead, in its own
//! transaction, and a follower numbers the tickets that it sees. Followers follow each other, by a lock that lasts until the commit,
//! and each looks for tickets in a statement of its own after it has the lock: it sees everything that the one before it did.
//! Whatever commits later is numbered later, higher.
//!
//! Every store has a follower, woken by its own commits; readers of the feed number first what nobody has numbered yet, so that a
//! follower that was killed delays nothing. Only followers NOTIFY: it makes commits of a database wait for each other.

use crate::{error::Failure, feed::tell, mirror, transaction::Transactions};
use sqlx::Row as _;
use std::{error::Error, sync::Arc};
use tokio::{
    sync::{Notify, watch},
    task::AbortHandle,
};

/// The channel on which new positions are told, of the schema in `$1`, or of the current one.
macro_rules! channel {
    ($schema:literal) => {
        concat!("'redflag_feed_' || to_hex(hashtextextended(", $schema, ", 0))")
    };
}
pub(crate) use channel;

/// One pass, sent as one message, so that its lock goes with it whatever becomes of the process that sent it.
const PASS: &str = concat!(
    "SELECT pg_advisory_xact_lock(hashtextextended('redflag feed ' || current_schema(), 0));
     WITH seen AS (
         DELETE FROM feed_tickets RETURNING ticket, agent_ref, first_number, batches
     ), numbered AS (
         INSERT INTO feed (first_position, agent_ref, first_number, batches)
         SELECT COALESCE((SELECT f.first_position + f.batches FROM feed AS f ORDER BY f.first_position DESC LIMIT 1), 1)
                    + SUM(s.batches) OVER (ORDER BY s.ticket) - s.batches,
                s.agent_ref, s.first_number, s.batches
         FROM seen AS s
         RETURNING first_position + batches - 1 AS position
     )
     SELECT n.position, pg_notify(",
    channel!("current_schema()"),
    ", n.position::text)
     FROM (SELECT MAX(position) AS position FROM numbered) AS n
     WHERE n.position IS NOT NULL"
);

/// Numbers every ticket that is there; answers the newest position, when there was any.
pub(crate) async fn number(transactions: &Transactions) -> Result<Option<u64>, Failure> {
    let rows = transactions.message(PASS).await?;
    // The lock's row comes first.
    let Some(row) = rows.get(1) else { return Ok(None) };
    let position: i64 = row.try_get(0)?;
    u64::try_from(position).map(Some).map_err(|_| Failure::corrupt(format!("position {position} of the feed")))
}

/// Passes between two looks at what can be pruned.
const PASSES_BETWEEN_PRUNING: u32 = 64;

/// The follower of one store; ends with it.
#[derive(Debug)]
pub(crate) struct Follower {
    wake: Arc<Notify>,
    task: AbortHandle,
}

impl Follower {
    /// Starts one, which tells positions to `newest`.
    pub(crate) fn start(transactions: Transactions, newest: watch::Sender<u64>) -> Self {
        let wake = Arc::new(Notify::new());
        let woken = Arc::clone(&wake);
        let task = tokio::spawn(async move {
            for pass in 1_u32.. {
                woken.notified().await;
                // What this pass could not do, the next one does, or the next reader of the feed.
                match number(&transactions).await {
                    Ok(Some(position)) => tell(&newest, position),
                    Ok(None) => {}
                    Err(error) => tracing::warn!(error = &error as &dyn Error, "batches wait to be numbered"),
                }
                if pass.is_multiple_of(PASSES_BETWEEN_PRUNING)
                    && let Err(error) = mirror::prune(&transactions).await
                {
                    tracing::warn!(error = &error as &dyn Error, "old notes of changed states wait to be pruned");
                }
            }
        });
        Self { wake, task: task.abort_handle() }
    }

    /// To be called after a commit that left a ticket; several calls become one pass.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    pub(crate) fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop();
    }
}
