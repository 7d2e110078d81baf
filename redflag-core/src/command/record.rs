//! Commands as the queue keeps them: one record a command, from its request to its end.
//!
//! What is signed follows from the record alone ([`CommandRecord::payload`]), so any process that can read the record delivers the
//! same bytes.

use super::{
    lifecycle::CommandState,
    payload::{Action, Audience, Command, CommandApproval, Schema, SideEffect, SigningMode},
    plan::Plan,
    refusal::CommandRefusal,
};
use crate::{
    event::Actor,
    ids::{CommandId, Digest},
    limits,
    names::Text,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// A command with everything that happened to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandRecord {
    /// Its id.
    pub id: CommandId,
    /// To whom it is.
    pub audience: Audience,
    /// What is to be done.
    pub action: Action,
    /// On whose consent it rests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<CommandApproval>,
    /// On which terms.
    pub terms: Terms,
    /// Who asked for it.
    pub request: Requested,
    /// The command it rests on: the plan it carries out, or the one it repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<CommandId>,
    /// From when on it may be carried out.
    pub not_before: Timestamp,
    /// From when on it may not be begun any more.
    pub expires_at: Timestamp,
    /// Where it stands.
    pub state: CommandState,
    /// Its place among the agent's commands: given once, when it is first delivered, or when the first person signs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counter: Option<u64>,
    /// Signatures of people's keys over the payload with this counter, by key id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub signatures: BTreeMap<Digest, CommandSignature>,
    /// How often it was leased; 0 when it was never delivered.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempts: u32,
    /// Until when its agent has it, while it is leased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leased_until: Option<Timestamp>,
    /// When its agent was told to begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
    /// What its agent said afterwards, oldest first; at most [`limits::COMMAND_LATE_RESULTS_MAX`], all different.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub late: Vec<End>,
    /// Grows with every change, from 1.
    pub revision: u64,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What a command may do and how long it may take. What follows from it (an installation from a plan, a repetition) has the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// Whose keys sign it.
    pub mode: SigningMode,
    /// How many people must sign it, at least one with [`SigningMode::OperatorSigns`]; 0 where the server signs.
    pub signatures_min: u32,
    /// What a transaction may change beyond its items without a second look (clause A1).
    pub side_effects: BTreeSet<SideEffect>,
    /// From when on the host may be changed or restarted; all else is done at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// For how many seconds it may be begun, at most [`limits::COMMAND_LIFETIME_MAX`].
    pub lifetime_seconds: u32,
    /// For how many seconds it may run, at most [`limits::COMMAND_RUN_MAX`].
    pub run_seconds: u32,
}

impl Default for Terms {
    /// Signed by the server, no side effects, one day to begin and one hour to run.
    fn default() -> Self {
        Self {
            mode: SigningMode::ServerSigns,
            signatures_min: 0,
            side_effects: BTreeSet::new(),
            not_before: None,
            lifetime_seconds: 86_400,
            run_seconds: 3_600,
        }
    }
}

/// Who asked for a command, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requested {
    /// Who.
    pub by: Actor,
    /// When the store received it.
    pub at: Timestamp,
    /// The digest of what was asked: the same id again with other content is refused.
    pub digest: Digest,
}

/// An Ed25519 signature; standard base64 in text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandSignature(pub [u8; 64]);

impl Serialize for CommandSignature {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        serializer.serialize_str(&STANDARD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for CommandSignature {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        use serde::de::Error;
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text.as_bytes()).map_err(D::Error::custom)?;
        bytes.try_into().map(Self).map_err(|_| D::Error::custom("a signature has 64 bytes"))
    }
}

/// How a command ended, or what was said of it afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// When the store received it.
    pub at: Timestamp,
    /// Who ended it.
    pub by: Actor,
    /// How.
    pub how: Ending,
}

/// The ways in which a command ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ending {
    /// [`CommandState::Succeeded`]: a claim, which the next scan proves or not (clause C4).
    Succeeded(Success),
    /// [`CommandState::Failed`].
    Failed(Failure),
    /// [`CommandState::Refused`]: nothing was changed.
    Refused(CommandRefusal),
    /// [`CommandState::Expired`].
    Expired {
        /// Which time ran out.
        reason: Text,
    },
    /// [`CommandState::Cancelled`].
    Cancelled {
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Text>,
    },
}

/// What an agent tells of a command that was carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Success {
    /// What an installation would change, where that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// Whether the host asks for a reboot now, where it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reboot_required: Option<bool>,
    /// The end of what the tools printed, at most [`limits::COMMAND_OUTPUT_BYTES_MAX`] bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output: String,
}

/// What an agent tells of a command that could not be carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// Why.
    pub reason: Text,
    /// Whether the old versions were put back and run again.
    pub rolled_back: bool,
    /// The end of what the tools printed, at most [`limits::COMMAND_OUTPUT_BYTES_MAX`] bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output: String,
}

impl CommandRecord {
    /// What is signed; none before it has a counter.
    #[must_use]
    pub fn payload(&self) -> Option<Command> {
        self.counter.map(|counter| self.payload_with(counter))
    }

    /// What is signed when it gets this counter.
    #[must_use]
    pub fn payload_with(&self, counter: u64) -> Command {
        Command {
            schema: Schema,
            id: self.id,
            audience: self.audience,
            counter,
            not_before: self.not_before,
            expires_at: self.expires_at,
            mode: self.terms.mode,
            action: self.action.clone(),
            approvals: self.approvals.clone(),
        }
    }

    /// When it is due to be looked at because nothing else may happen to it before; none once it has ended.
    #[must_use]
    pub fn due_at(&self) -> Option<Timestamp> {
        match self.state {
            CommandState::AwaitingSignature | CommandState::Queued => Some(self.expires_at),
            CommandState::Leased => Some(self.leased_until.map_or(self.expires_at, |until| until.min(self.expires_at))),
            CommandState::Started => Some(self.result_due_at()),
            _ => None,
        }
    }

    /// Until when a result is waited for.
    pub(super) fn result_due_at(&self) -> Timestamp {
        let began = self.started_at.unwrap_or(self.request.at);
        began.saturating_add(Duration::from_secs(self.terms.run_seconds.into()))
    }

    /// Whether its agent may have it.
    #[must_use]
    pub const fn delivered(&self) -> bool {
        self.attempts > 0
    }

    /// Whether it would change packages, which are then about to be installed under its id.
    #[must_use]
    pub const fn installs(&self) -> bool {
        matches!(self.action, Action::Install(_) | Action::Recreate(_))
    }
}

impl Ending {
    /// The state it leads to.
    #[must_use]
    pub const fn state(&self) -> CommandState {
        match self {
            Self::Succeeded(_) => CommandState::Succeeded,
            Self::Failed(_) => CommandState::Failed,
            Self::Refused(_) => CommandState::Refused,
            Self::Expired { .. } => CommandState::Expired,
            Self::Cancelled { .. } => CommandState::Cancelled,
        }
    }

    /// Why it came to nothing, in words for people; none after a success.
    #[must_use]
    pub fn reason(&self) -> Option<Text> {
        match self {
            Self::Succeeded(_) => None,
            Self::Failed(failure) => Some(failure.reason.clone()),
            Self::Refused(refusal) => Some(Text::lossy(&format!("refused: {refusal}"))),
            Self::Expired { reason } => Some(reason.clone()),
            Self::Cancelled { reason: None } => Some(Text::lossy("cancelled")),
            Self::Cancelled { reason: Some(reason) } => Some(Text::lossy(&format!("cancelled: {reason}"))),
        }
    }

    /// The same within its limits: of too much output the end is kept, of too long a message the start.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        match &mut self {
            Self::Succeeded(Success { output, .. }) | Self::Failed(Failure { output, .. }) => {
                let surplus = output.len().saturating_sub(limits::COMMAND_OUTPUT_BYTES_MAX);
                output.drain(..output.ceil_char_boundary(surplus));
            }
            Self::Refused(refusal) => refusal.message = Text::lossy(&refusal.message).to_string(),
            Self::Expired { .. } | Self::Cancelled { .. } => {}
        }
        self
    }
}

/// How an agent says that a command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Claim {
    /// It was carried out.
    Succeeded(Success),
    /// It could not be carried out, or was undone.
    Failed(Failure),
    /// It was refused, and nothing was changed.
    Refused(CommandRefusal),
}

impl From<Claim> for Ending {
    fn from(claim: Claim) -> Self {
        match claim {
            Claim::Succeeded(success) => Self::Succeeded(success),
            Claim::Failed(failure) => Self::Failed(failure),
            Claim::Refused(refusal) => Self::Refused(refusal),
        }
    }
}
