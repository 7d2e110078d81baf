//! Passes: the only way rows of the log go (clause D1).
//!
//! A removal, a retention step or a rebuild marks its transaction for one agent; triggers refuse every other deletion. The mark is
//! a setting that holds the agent's ref and the transaction's own id and lasts as long as the transaction, so nothing has to be
//! cleaned up, a mark left on a connection or set for a role means nothing, and a pooler may hand out server processes by
//! transaction.

use crate::{error::Failure, transaction::Transaction};

/// Marks the transaction, and runs `deletions`, each of which deletes rows of the agent `$1`.
pub(crate) async fn delete(transaction: &mut Transaction, agent_ref: i32, deletions: &[&'static str]) -> Result<(), Failure> {
    mark(transaction, agent_ref).await?;
    for deletion in deletions {
        transaction.execute(sqlx::query(*deletion).bind(agent_ref)).await?;
    }
    Ok(())
}

/// Lets rows of the agent go until the transaction ends.
pub(crate) async fn mark(transaction: &mut Transaction, agent_ref: i32) -> Result<(), Failure> {
    let mark = sqlx::query("SELECT set_config('redflag.pass', $1::integer || ' ' || pg_current_xact_id(), true)").bind(agent_ref);
    transaction.execute(mark).await.map(|_| ())
}
