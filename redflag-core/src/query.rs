//! Queries: filters, sorts, pages and cursors, with a reference evaluator (clauses Q1 to Q4).
//!
//! The evaluator works over any iterator of states, so that a small backend is complete without writing SQL; what it answers is
//! what every backend must answer.

mod agents;
mod batches;
mod commands;
mod filter;
mod order;
mod packages;
mod page;
mod stats;
mod trend;
mod updates;

pub use agents::{AgentPage, AgentQuery, AgentRow, AgentSortKey, evaluate_agents};
pub use batches::{BatchPage, BatchQuery, BatchRow};
pub use commands::{CommandFilter, CommandPage, CommandPosition, CommandQuery, CommandRow, evaluate_commands};
pub use filter::{Search, StatusFilter, UpdateFilter};
pub use order::{Position, Sort, SortKey};
pub use packages::{PackagePage, PackageQuery, PackageRow, PackageSortKey, evaluate_packages};
pub use page::{PageNumber, PageSize};
pub use stats::UpdateStats;
pub use trend::{TrendPoint, TrendQuery, evaluate_trend};
pub use updates::{Cursor, PageStart, UpdatePage, UpdateQuery, UpdateRow, evaluate};

/// A query that cannot be answered as asked (clause Q3).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{parameter}: {message}")]
pub struct QueryError {
    /// The parameter at fault.
    pub parameter: &'static str,
    /// A sentence fragment for people.
    pub message: String,
}

impl QueryError {
    /// An error of `parameter`.
    pub fn new(parameter: &'static str, message: impl Into<String>) -> Self {
        Self { parameter, message: message.into() }
    }
}
