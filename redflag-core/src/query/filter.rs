//! Which updates: by status, agent, manager, severity, availability and a text in the name.

use super::QueryError;
use crate::{
    ids::AgentId,
    limits,
    names::Manager,
    rejection::quoted,
    state::PackageState,
    words::{AvailabilityKind, Severity, Status},
};
use serde::Serialize;
use std::{fmt, str::FromStr};

/// Which updates by status (clause S6: open ones unless something else is asked for).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum StatusFilter {
    /// Those that wait to be installed, whatever was decided.
    #[default]
    Open,
    /// All, closed ones too.
    Any,
    /// Those of one status.
    Is(Status),
}

impl StatusFilter {
    /// Whether `status` passes.
    #[must_use]
    pub fn matches(self, status: Status) -> bool {
        match self {
            Self::Open => status.open(),
            Self::Any => true,
            Self::Is(wanted) => wanted == status,
        }
    }
}

impl fmt::Display for StatusFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("open"),
            Self::Any => f.write_str("any"),
            Self::Is(status) => status.fmt(f),
        }
    }
}

impl FromStr for StatusFilter {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, QueryError> {
        match text {
            "open" => Ok(Self::Open),
            "any" => Ok(Self::Any),
            word => match word.parse() {
                Ok(status) => Ok(Self::Is(status)),
                Err(error) => Err(QueryError::new("status", format!("{error}; or: open, any"))),
            },
        }
    }
}

/// A literal text to look for in package names: ASCII letters match in either case, nothing else has a meaning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Search(String);

impl Search {
    /// A search for `text`; surrounding space is cut off.
    ///
    /// # Errors
    /// When nothing is left, or more than [`limits::SEARCH_BYTES_MAX`] bytes.
    pub fn new(text: &str) -> Result<Self, QueryError> {
        let text = text.trim();
        if text.is_empty() || text.len() > limits::SEARCH_BYTES_MAX || text.contains('\0') {
            let message = format!("must be 1 to {} bytes without NUL: {}", limits::SEARCH_BYTES_MAX, quoted(text));
            return Err(QueryError::new("search", message));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }

    /// The text in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `name` holds it.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        name.to_ascii_lowercase().contains(&self.0)
    }
}

/// Which updates; every part narrows, none given means open updates of the whole fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UpdateFilter {
    /// By status.
    pub status: StatusFilter,
    /// Of one agent.
    pub agent: Option<AgentId>,
    /// Of one manager.
    pub manager: Option<Manager>,
    /// Of one severity.
    pub severity: Option<Severity>,
    /// Of one availability.
    pub availability: Option<AvailabilityKind>,
    /// Security updates (`true`) or others (`false`).
    pub security: Option<bool>,
    /// With a text in the package name.
    pub search: Option<Search>,
}

impl UpdateFilter {
    /// Whether a state passes.
    #[must_use]
    pub fn matches(&self, agent: AgentId, state: &PackageState) -> bool {
        let candidate = &state.offer.candidate;
        self.status.matches(state.status())
            && self.agent.is_none_or(|wanted| wanted == agent)
            && self.manager.as_ref().is_none_or(|wanted| *wanted == state.package.manager)
            && self.severity.is_none_or(|wanted| wanted == candidate.severity)
            && self.availability.is_none_or(|wanted| wanted == state.offer.availability.kind)
            && self.security.is_none_or(|wanted| wanted == candidate.security)
            && self.search.as_ref().is_none_or(|search| search.matches(state.package.name.as_str()))
    }
}
