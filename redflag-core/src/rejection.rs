//! Why one fact or one event was not applied: a code, the field and a message (clause B4).
//!
//! A rejection is data, not an `Err`: it never stops the rest of its batch.

use crate::limits;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The stable reason of a rejection, for machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectionCode {
    /// Not a JSON object of the expected shape.
    Malformed,
    /// A field the schema does not know.
    UnknownField,
    /// The same field twice.
    DuplicateField,
    /// A required field is missing.
    MissingField,
    /// An empty value where one is needed.
    Empty,
    /// Longer than the limit.
    TooLong,
    /// More entries than the limit.
    TooMany,
    /// Nested deeper than the limit.
    TooDeep,
    /// A control character where none may be.
    ControlCharacter,
    /// A character outside printable ASCII in a name or version.
    NotAscii,
    /// A name outside the manager's grammar.
    NameGrammar,
    /// A version outside the manager's grammar.
    VersionGrammar,
    /// A word outside its closed set.
    UnknownWord,
    /// A number outside its range.
    NumberRange,
    /// Two different facts about one package in one report.
    ConflictingFact,
    /// An event kind this version does not know.
    UnknownKind,
    /// An event id already used for other content.
    EventIdReused,
    /// No state for this package.
    UnknownPackage,
    /// The transition table forbids the event in this state (clause S3).
    IllegalTransition,
    /// The decision names another offer than the one now open (clause A1).
    OfferChanged,
    /// The command named is not the one under way.
    CommandMismatch,
    /// The database refused what core had accepted: a defect, counted as such (clause B13).
    StoreRefused,
}

impl RejectionCode {
    /// The code as it stands in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownField => "unknown_field",
            Self::DuplicateField => "duplicate_field",
            Self::MissingField => "missing_field",
            Self::Empty => "empty",
            Self::TooLong => "too_long",
            Self::TooMany => "too_many",
            Self::TooDeep => "too_deep",
            Self::ControlCharacter => "control_character",
            Self::NotAscii => "not_ascii",
            Self::NameGrammar => "name_grammar",
            Self::VersionGrammar => "version_grammar",
            Self::UnknownWord => "unknown_word",
            Self::NumberRange => "number_range",
            Self::ConflictingFact => "conflicting_fact",
            Self::UnknownKind => "unknown_kind",
            Self::EventIdReused => "event_id_reused",
            Self::UnknownPackage => "unknown_package",
            Self::IllegalTransition => "illegal_transition",
            Self::OfferChanged => "offer_changed",
            Self::CommandMismatch => "command_mismatch",
            Self::StoreRefused => "store_refused",
        }
    }
}

impl fmt::Display for RejectionCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why one fact or event was rejected.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[error("{field}: {message}")]
pub struct Rejection {
    /// The stable reason.
    pub code: RejectionCode,
    /// The field at fault, as it is called in the report; `event` when it is the whole.
    pub field: String,
    /// A sentence fragment for people; outside values are quoted, escaped and cut.
    pub message: String,
}

impl Rejection {
    /// A rejection of `field`.
    pub fn new(code: RejectionCode, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code, field: field.into(), message: inert(message.into()) }
    }
}

/// The message with control characters escaped, cut to [`limits::TEXT_BYTES_MAX`]: outside texts also reach messages through
/// the errors of parsers, and what no database would store must not stand in the reason of a rejection (clause B13).
fn inert(message: String) -> String {
    if message.len() <= limits::TEXT_BYTES_MAX && !message.contains(char::is_control) {
        return message;
    }
    let cut = &message[..message.floor_char_boundary(limits::TEXT_BYTES_MAX)];
    let mut kept = String::with_capacity(cut.len());
    for c in cut.chars() {
        if c.is_control() { kept.extend(c.escape_default()) } else { kept.push(c) }
    }
    if kept.len() > limits::TEXT_BYTES_MAX || cut.len() < message.len() {
        kept.truncate(kept.floor_char_boundary(limits::TEXT_BYTES_MAX - '…'.len_utf8()));
        kept.push('…');
    }
    kept
}

/// `value` quoted, with control and invisible characters escaped, cut to what a message can carry.
#[must_use]
pub fn quoted(value: &str) -> String {
    const SHOWN_CHARS: usize = 80;
    let shown: String = value.chars().take(SHOWN_CHARS).collect();
    if shown.len() < value.len() { format!("{shown:?}… ({} bytes)", value.len()) } else { format!("{shown:?}") }
}
