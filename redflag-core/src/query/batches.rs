//! Pages of batches.

use super::{PageNumber, PageSize};
use crate::{batch::BatchRecord, ids::AgentId, names::Text};

/// A page of batches, newest first: by receive time, then agent id, then number, all descending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchQuery {
    /// Of one agent.
    pub agent: Option<AgentId>,
    /// Only those with rejected events.
    pub with_rejections: bool,
    /// Which page.
    pub page: PageNumber,
    /// How many.
    pub size: PageSize,
}

/// One batch in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchRow {
    /// The name of the batch's agent.
    pub agent_name: Text,
    /// The batch.
    pub record: BatchRecord,
}

/// One page of batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchPage {
    /// The rows.
    pub items: Vec<BatchRow>,
    /// All batches that pass.
    pub total: u64,
}
