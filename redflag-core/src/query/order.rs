//! In which order: a total one, so that every row has exactly one place.

use super::{QueryError, UpdateRow};
use crate::{
    ids::AgentId,
    names::{PackageKey, Text},
    rejection::quoted,
    time::Timestamp,
    words::Severity,
};
use serde::{Deserialize, Serialize};
use std::{cmp::Ordering, str::FromStr};

/// What a list is ordered by. Equal rows are ordered by package name, manager, architecture and agent id, so the order is total.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SortKey {
    /// Most serious first.
    #[default]
    Severity,
    /// By package name, in byte order.
    Name,
    /// By the agent's name, in byte order.
    Agent,
    /// Oldest change first.
    LastChange,
}

/// An order of a list: its key, forwards or wholly reversed. In text: `severity`, `name`, `agent` or `last-change`, with `-`
/// before it for the reverse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sort {
    /// The key.
    pub key: SortKey,
    /// Whether the whole order is reversed.
    pub reverse: bool,
}

impl FromStr for Sort {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, QueryError> {
        let (reverse, word) = text.strip_prefix('-').map_or((false, text), |word| (true, word));
        let key = match word {
            "severity" => SortKey::Severity,
            "name" => SortKey::Name,
            "agent" => SortKey::Agent,
            "last-change" => SortKey::LastChange,
            _ => {
                let message = format!(
                    "unknown sort {}; known are: severity, name, agent, last-change, each with or without a leading '-'",
                    quoted(text)
                );
                return Err(QueryError::new("sort", message));
            }
        };
        Ok(Self { key, reverse })
    }
}

impl std::fmt::Display for Sort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = match self.key {
            SortKey::Severity => "severity",
            SortKey::Name => "name",
            SortKey::Agent => "agent",
            SortKey::LastChange => "last-change",
        };
        write!(f, "{}{word}", if self.reverse { "-" } else { "" })
    }
}

/// Everything a row can be ordered by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The severity.
    pub severity: Severity,
    /// When it last changed.
    pub changed_at: Timestamp,
    /// The agent's name.
    pub agent_name: Text,
    /// The agent.
    pub agent: AgentId,
    /// The package.
    pub package: PackageKey,
}

impl Position {
    /// The position of a row.
    #[must_use]
    pub fn of(row: &UpdateRow) -> Self {
        Self {
            severity: row.state.offer.candidate.severity,
            changed_at: row.state.changed_at,
            agent_name: row.agent_name.clone(),
            agent: row.agent,
            package: row.state.package.clone(),
        }
    }

    /// The order of two rows under `sort`; equal only for the same row.
    #[must_use]
    pub fn compare(&self, other: &Self, sort: Sort) -> Ordering {
        let by_package = || self.package.list_order(&other.package);
        let by_agent = || self.agent.cmp(&other.agent);
        let order = match sort.key {
            SortKey::Severity => self.severity.cmp(&other.severity).then_with(by_package).then_with(by_agent),
            SortKey::Name => by_package().then_with(by_agent),
            SortKey::Agent => self.agent_name.cmp(&other.agent_name).then_with(by_agent).then_with(by_package),
            SortKey::LastChange => self.changed_at.cmp(&other.changed_at).then_with(by_package).then_with(by_agent),
        };
        if sort.reverse { order.reverse() } else { order }
    }
}
