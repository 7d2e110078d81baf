//! What the executor answers: one typed outcome per envelope, as JSON.
//!
//! What tools printed is data from outside: it leaves the executor cut to a limit and without control characters.

use crate::{
    error::{Error, with_causes},
    install::{InstallError, Installed, OUTPUT_BYTES_MAX},
};
use redflag_core::{
    command::{
        payload::Command,
        plan::{Excess, Plan},
        refusal::{CommandRefusal, RefusalCode},
    },
    ids::{CommandId, Digest},
    names::PackageKey,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// A part of what an installation prints, as the executor sends it before its answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    /// The part, without control characters.
    pub(super) printed: String,
}

impl Part {
    pub(super) fn to_json(text: &str) -> String {
        serde_json::to_string(&Self { printed: clean_text(text) }).expect("text is JSON")
    }
}

/// The answer to one envelope.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    /// The command; none when the envelope could not be trusted to name one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_id: Option<CommandId>,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// What the operator of the host should know beside it, such as damage that was found and set aside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What became of a command.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Outcome {
    /// The items are installed in exactly their versions, as the manager's own records say.
    Installed(Installed),
    /// What an installation would change.
    Planned {
        /// The plan.
        plan: Plan,
        /// Its digest, for the command that carries it out.
        plan_digest: Digest,
        /// What it does beyond the items.
        excess: Vec<Excess>,
    },
    /// The manager's metadata is fresh.
    Refreshed,
    /// The host is going down.
    Rebooting,
    /// The command named will not be carried out.
    Cancelled,
    /// The command named had been carried out before it was cancelled.
    TooLate {
        /// What had become of it.
        earlier: Box<Outcome>,
    },
    /// `check` alone: it would be carried out now.
    WouldRun {
        /// What it would change, where packages are concerned.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        plan: Option<Plan>,
    },
    /// It was begun and failed.
    Failed {
        /// Why, and what of it happened.
        error: InstallError,
    },
    /// It was begun and its end was not seen: the executor was killed, or its time was up. What is installed was looked at instead.
    Interrupted {
        /// Why its end was not seen.
        reason: String,
        /// What was found of it as a whole.
        found: Found,
        /// What was found of each item.
        items: Vec<ItemFound>,
    },
    /// Nothing was begun and nothing has changed.
    Refused(Box<Refused>),
}

/// Why nothing was begun.
#[derive(Debug, Serialize, Deserialize)]
pub struct Refused {
    /// The stable code and the words for people.
    #[serde(flatten)]
    pub refusal: CommandRefusal,
    /// How the dry run differs from what was approved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excess: Vec<Excess>,
    /// Why there is no dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<InstallError>,
    /// What became of this command when it came before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<Box<Outcome>>,
}

/// What was found when the end of an installation was not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Found {
    /// It happened.
    Done,
    /// It did not happen.
    NotDone,
    /// It cannot be told, or only a part of it happened.
    Unknown,
}

/// What was found of one item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemFound {
    /// The package.
    pub package: PackageKey,
    /// Whether it is at the version ordered.
    pub found: Found,
}

impl Answer {
    /// An answer about `command`.
    #[must_use]
    pub fn about(command: &Command, outcome: Outcome) -> Self {
        Self { command_id: Some(command.id), outcome, notes: Vec::new() }
    }

    /// A refusal of something that is not known to be a command.
    #[must_use]
    pub fn refused(code: RefusalCode, message: impl Into<String>) -> Self {
        Self { command_id: None, outcome: CommandRefusal::new(code, message).into(), notes: Vec::new() }
    }

    /// A refusal because the executor itself cannot work; whether it is only busy can be told from the code.
    #[must_use]
    pub fn not_ready(error: &Error) -> Self {
        let code = if matches!(error, Error::Busy { .. }) { RefusalCode::Busy } else { RefusalCode::NotReady };
        Self::refused(code, with_causes(error))
    }

    /// The answer as one line of JSON.
    ///
    /// # Panics
    /// Never: every part of an answer is JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        cleaned(serde_json::to_value(self).expect("an answer is JSON")).to_string()
    }
}

impl Outcome {
    /// The exit code that stands for it: 0 carried out, 1 failed, 3 refused, 4 its end was not seen.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Installed(_) | Self::Planned { .. } | Self::Refreshed | Self::Rebooting | Self::Cancelled | Self::WouldRun { .. } => 0,
            Self::Failed { .. } | Self::TooLate { .. } => 1,
            Self::Refused(_) => 3,
            Self::Interrupted { .. } => 4,
        }
    }

    /// In a few words, for people.
    #[must_use]
    pub fn summary(&self) -> String {
        match self {
            Self::Installed(_) => "installed".to_owned(),
            Self::Planned { plan, excess, .. } => {
                format!("a plan of {} changes, {} of them beyond the items", plan.changes.len(), excess.len())
            }
            Self::Refreshed => "refreshed".to_owned(),
            Self::Rebooting => "the host restarts".to_owned(),
            Self::Cancelled => "cancelled".to_owned(),
            Self::TooLate { earlier } => format!("too late to cancel: {}", earlier.summary()),
            Self::WouldRun { plan: None } => "would be carried out".to_owned(),
            Self::WouldRun { plan: Some(plan) } => format!("would be carried out: {} changes", plan.changes.len()),
            Self::Failed { error } => format!("failed: {error}"),
            Self::Interrupted { reason, found, .. } => format!("{reason}; found: {found}"),
            Self::Refused(refused) => match &refused.earlier {
                None => format!("refused: {}", refused.refusal),
                Some(earlier) => format!("refused: {}; when it came before: {}", refused.refusal, earlier.summary()),
            },
        }
    }

    /// As it is kept and sent: cut to limits and without control characters.
    #[must_use]
    pub fn cleaned(self) -> Self {
        let value = serde_json::to_value(&self).map(cleaned).and_then(serde_json::from_value);
        value.expect("an outcome without control characters is an outcome")
    }
}

impl Refused {
    /// A refusal without further evidence.
    #[must_use]
    pub const fn of(refusal: CommandRefusal) -> Self {
        Self { refusal, excess: Vec::new(), error: None, earlier: None }
    }
}

impl From<CommandRefusal> for Box<Refused> {
    fn from(refusal: CommandRefusal) -> Self {
        Self::new(Refused::of(refusal))
    }
}

impl From<CommandRefusal> for Outcome {
    fn from(refusal: CommandRefusal) -> Self {
        Self::Refused(refusal.into())
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "done",
            Self::NotDone => "not done",
            Self::Unknown => "unknown",
        })
    }
}

impl Found {
    /// Of a whole, from its parts: only what holds for every part holds for the whole.
    pub(super) fn of_all(items: &[ItemFound]) -> Self {
        let first = items.first().map_or(Self::Unknown, |item| item.found);
        if items.iter().all(|item| item.found == first) { first } else { Self::Unknown }
    }
}

fn cleaned(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(clean_text(&text)),
        Value::Array(values) => values.into_iter().map(cleaned).collect(),
        Value::Object(fields) => fields.into_iter().map(|(key, value)| (key, cleaned(value))).collect(),
        other => other,
    }
}

/// The end of a text, with U+FFFD for what a terminal would obey: control characters but line ends and tabs, and marks that reverse
/// the direction of writing (Unicode UAX #9).
fn clean_text(text: &str) -> String {
    let start = text.ceil_char_boundary(text.len().saturating_sub(OUTPUT_BYTES_MAX));
    let cleaned: String = text[start..].replace("\r\n", "\n").chars().map(clean_character).collect();
    let start = cleaned.ceil_char_boundary(cleaned.len().saturating_sub(OUTPUT_BYTES_MAX));
    cleaned[start..].to_owned()
}

const fn clean_character(c: char) -> char {
    match c {
        '\n' | '\t' => c,
        '\r' => '\n',
        '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            '\u{fffd}'
        }
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installed(output: &str) -> Outcome {
        Outcome::Installed(Installed { reboot_required: None, transaction: None, output: output.to_owned() })
    }

    #[test]
    fn what_tools_print_is_cut_and_cannot_command_a_terminal() {
        let hostile = "\u{1b}]0;owned\u{7}fine\tor not\r\n50%\r100%\u{202e}txt.exe\0";
        let answer = Answer { command_id: None, outcome: installed(hostile), notes: vec!["\u{9b}31m".into()] };
        let text = answer.to_json();
        let read: Answer = serde_json::from_str(&text).unwrap();
        let Outcome::Installed(Installed { output, .. }) = read.outcome else { panic!("{text}") };
        assert_eq!(output, "\u{fffd}]0;owned\u{fffd}fine\tor not\n50%\n100%\u{fffd}txt.exe\u{fffd}");
        assert_eq!(read.notes, ["\u{fffd}31m"]);
        for length in [OUTPUT_BYTES_MAX - 1, OUTPUT_BYTES_MAX, OUTPUT_BYTES_MAX + 1] {
            let cut = clean_text(&("a".to_owned() + &"é".repeat(length / 2)));
            assert!(cut.len() <= OUTPUT_BYTES_MAX && cut.ends_with('é'), "{length}");
        }
        assert!(clean_text(&"\0".repeat(OUTPUT_BYTES_MAX)).len() <= OUTPUT_BYTES_MAX, "replacements are longer");
    }

    #[test]
    fn every_outcome_reads_back() {
        let refused = Refused {
            error: Some(InstallError::Locked { reason: "pid 1".into() }),
            earlier: Some(Box::new(installed("x"))),
            ..Refused::of(CommandRefusal::new(RefusalCode::Replayed, "seen"))
        };
        let key = PackageKey::parse("apt", "bash", None).unwrap();
        let items = vec![ItemFound { package: key, found: Found::NotDone }];
        for outcome in [
            installed("x"),
            Outcome::Planned { plan: Plan::default(), plan_digest: Plan::default().digest(), excess: Vec::new() },
            Outcome::TooLate { earlier: Box::new(Outcome::Rebooting) },
            Outcome::WouldRun { plan: None },
            Outcome::Failed { error: InstallError::Failed { reason: "x".into(), done: vec![], rolled_back: false, output: "y".into() } },
            Outcome::Interrupted { reason: "killed".into(), found: Found::of_all(&items), items },
            Outcome::Refused(Box::new(refused)),
        ] {
            let text = Answer { command_id: None, outcome, notes: vec!["note".into()] }.to_json();
            assert_eq!(serde_json::from_str::<Answer>(&text).unwrap().to_json(), text);
        }
    }
}
