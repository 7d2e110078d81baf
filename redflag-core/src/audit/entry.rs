//! One entry of the audit log.

use super::{
    batch::SealedBatch,
    damage::Damage,
    kind::{AuditKind, FactName},
};
use crate::{
    ids::{AgentId, Digest},
    limits,
    names::Text,
    strict_json,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// What happened, by whom and when: one link of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its place: 1..n without gap.
    pub number: u64,
    /// When it happened, by the clock of the server. Times never order anything.
    pub at: Timestamp,
    /// By whom.
    pub by: By,
    /// What.
    pub kind: AuditKind,
    /// The batch, of an [`AuditKind::Batch`] and no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<SealedBatch>,
    /// The damaged end, of an [`AuditKind::ContinuedAfterDamage`] and no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<Damage>,
    /// What else is told.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<FactName, Text>,
}

impl Entry {
    /// Its bytes in the one form, of which digests are made.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        strict_json::write(self)
    }

    /// The digest that stands for this entry and all before it: over the digest `before` and its bytes.
    #[must_use]
    pub fn digest(&self, before: &Digest) -> Digest {
        Digest::of("redflag audit entry v1", &[before.as_bytes(), &self.to_bytes()])
    }
}

/// Who did something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "who", rename_all = "kebab-case", deny_unknown_fields)]
pub enum By {
    /// A signed-in operator.
    Operator {
        /// The account.
        name: Text,
    },
    /// Somebody at the command line of a server, under the name they gave.
    CommandLine {
        /// The name; nobody has proved it.
        name: Text,
    },
    /// An agent.
    Agent {
        /// Which.
        agent: AgentId,
    },
    /// The server by itself.
    Server,
    /// Somebody who proved nothing.
    Stranger,
}

impl By {
    /// Whether this is who is meant: the name of an account or of somebody at a command line, the id of an agent, `server` or `stranger`.
    #[must_use]
    pub fn is(&self, who: &str) -> bool {
        match self {
            Self::Operator { name } | Self::CommandLine { name } => name.as_str().eq_ignore_ascii_case(who),
            Self::Agent { agent } => agent.to_string().eq_ignore_ascii_case(who),
            Self::Server => who.eq_ignore_ascii_case("server"),
            Self::Stranger => who.eq_ignore_ascii_case("stranger"),
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator { name } => f.write_str(name.as_str()),
            Self::CommandLine { name } => write!(f, "{name} (command line)"),
            Self::Agent { agent } => write!(f, "agent {agent}"),
            Self::Server => f.write_str("the server"),
            Self::Stranger => f.write_str("a stranger"),
        }
    }
}

/// Something to be put down in the log; its number follows from the place it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    kind: AuditKind,
    by: By,
    at: Timestamp,
    batch: Option<SealedBatch>,
    damage: Option<Damage>,
    facts: BTreeMap<FactName, Text>,
}

impl Note {
    /// That `by` did this, at a time by the clock of the server.
    #[must_use]
    pub fn new(kind: AuditKind, by: By, at: Timestamp) -> Self {
        Self { kind, by, at, batch: None, damage: None, facts: BTreeMap::new() }
    }

    /// That a batch came to the feed.
    #[must_use]
    pub fn of_batch(batch: SealedBatch, by: By, at: Timestamp) -> Self {
        Self { batch: Some(batch), ..Self::new(AuditKind::Batch, by, at) }
    }

    /// That the log goes on behind a damaged end.
    #[must_use]
    pub fn of_damage(damage: Damage, by: By, at: Timestamp) -> Self {
        Self { damage: Some(damage), ..Self::new(AuditKind::ContinuedAfterDamage, by, at) }
    }

    /// With one more fact; what is longer than [`limits::AUDIT_FACT_BYTES_MAX`] bytes is cut there. There are fewer names of facts than
    /// would make an entry too large for a record.
    #[must_use]
    pub fn with(mut self, name: FactName, value: impl fmt::Display) -> Self {
        let value = value.to_string();
        let cut = value.floor_char_boundary(limits::AUDIT_FACT_BYTES_MAX);
        self.facts.insert(name, Text::lossy(&value[..cut]));
        self
    }

    /// The same where there is a value.
    #[must_use]
    pub fn with_some(self, name: FactName, value: Option<impl fmt::Display>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// What is told under this name.
    #[must_use]
    pub fn fact(&self, name: FactName) -> Option<&Text> {
        self.facts.get(&name)
    }

    /// The entry at a place.
    #[must_use]
    pub fn at_place(self, number: u64) -> Entry {
        let Self { kind, by, at, batch, damage, facts } = self;
        Entry { number, at, by, kind, batch, damage, facts }
    }
}
