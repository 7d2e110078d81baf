//! What an account may do, and what of it an API token may: two closed sets, which the policy of a route names both.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// What an operator may do; each role may do all that those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// See.
    Viewer,
    /// Also decide about updates.
    Approver,
    /// Everything.
    Admin,
}

impl Role {
    /// Every role, the least first.
    pub const ALL: &'static [Self] = &[Self::Viewer, Self::Approver, Self::Admin];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Approver => "approver",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().find(|role| role.as_str() == text).copied();
        known.ok_or_else(|| format!("unknown role {text:?}; known are: viewer, approver, admin"))
    }
}

/// What an API token may do of what its account's role allows. None includes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// See: every list, every object, the feed.
    Read,
    /// Decide about updates, one by one or many.
    Decide,
    /// Ask commands of hosts, call them off, accept plans, halt everything.
    Command,
    /// Make enrolment tokens.
    Enrol,
    /// Change accounts, and remove agents.
    Administer,
}

impl Scope {
    /// Every scope.
    pub const ALL: &'static [Self] = &[Self::Read, Self::Decide, Self::Command, Self::Enrol, Self::Administer];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Decide => "decide",
            Self::Command => "command",
            Self::Enrol => "enrol",
            Self::Administer => "administer",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().find(|scope| scope.as_str() == text).copied();
        known.ok_or_else(|| format!("unknown scope {text:?}; known are: read, decide, command, enrol, administer"))
    }
}
