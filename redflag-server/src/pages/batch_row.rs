//! One batch as a row: the view that the list of batches, an agent's page and the batch's own page share.

use super::text::{self, When};
use redflag_core::{
    batch::BatchRecord,
    ids::{AgentId, BatchId},
    names::Text,
    time::Timestamp,
};

/// A batch as templates show it.
#[derive(Clone, Debug)]
pub(crate) struct BatchView {
    pub(crate) id: BatchId,
    pub(crate) href: String,
    pub(crate) agent: Text,
    pub(crate) number: u64,
    /// The status word.
    pub(crate) status: &'static str,
    /// Its colour.
    pub(crate) tone: &'static str,
    pub(crate) source: &'static str,
    pub(crate) actor: String,
    pub(crate) submitted: u64,
    pub(crate) accepted: u64,
    pub(crate) duplicate: u64,
    pub(crate) rejected: u64,
    pub(crate) received: When,
    pub(crate) agent_href: String,
}

impl BatchView {
    /// `record` of the agent called `agent`, as seen from `now`.
    pub(crate) fn new(agent: &Text, record: &BatchRecord, now: Timestamp) -> Self {
        let receipt = &record.receipt;
        let (status, tone) = status(record);
        Self {
            id: receipt.batch,
            href: batch_href(receipt.agent, receipt.batch),
            agent: agent.clone(),
            number: receipt.number,
            status,
            tone,
            source: super::life::source(record.source),
            actor: text::actor(&record.actor),
            submitted: receipt.submitted.into(),
            accepted: receipt.accepted.into(),
            duplicate: receipt.duplicate.into(),
            rejected: receipt.rejected.into(),
            received: When::seen_from(now, receipt.received_at),
            agent_href: super::update_row::agent_href(receipt.agent),
        }
    }
}

/// Where a batch's page is.
pub(crate) fn batch_href(agent: AgentId, batch: BatchId) -> String {
    format!("/batches/{agent}/{batch}")
}

/// What became of the batch, in words and as a colour.
fn status(record: &BatchRecord) -> (&'static str, &'static str) {
    let receipt = &record.receipt;
    match (receipt.accepted, receipt.duplicate, receipt.rejected) {
        (0, 0, _) => ("rejected", "rejected"),
        (0, _, 0) => ("duplicate", "duplicate"),
        (_, _, 0) => ("accepted", "accepted"),
        _ => ("partly rejected", "partial"),
    }
}
