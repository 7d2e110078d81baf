//! What an agent and its server say to each other about commands, as JSON.
//!
//! The agent asks for its commands (`POST /api/v1/commands/lease`, [`LeaseBody`], [`LeaseAnswer`]), and waits there when there are none.
//! Before it does anything for one it says so (`POST /api/v1/commands/{id}/start`, no body, [`StartAnswer`]) and goes on only when it
//! is told that it may; then it says how it ended (`POST /api/v1/commands/{id}/result`, a
//! [`Claim`](super::record::Claim), [`ResultAnswer`]), until it is answered. Meanwhile it may send what its tools print
//! (`POST /api/v1/commands/{id}/output`, [`OutputBody`]), for whoever watches; nothing depends on it.

use super::{lifecycle::CommandState, payload::SigningMode};
use crate::{
    ids::{CommandId, Digest},
    names::Text,
};
use serde::{Deserialize, Serialize};

/// Longest time an agent may ask to wait for commands, in seconds: shorter than proxies wait for an answer.
pub const WAIT_SECONDS_MAX: u32 = 50;

/// An agent asks for its commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseBody {
    /// How many new ones it takes, at most [`crate::limits::COMMANDS_LEASED_MAX`].
    pub limit: u32,
    /// How long it waits for one, at most [`WAIT_SECONDS_MAX`]; 0 for not at all.
    pub wait_seconds: u32,
}

/// The commands of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseAnswer {
    /// What was handed out and not begun, in the order of its counters.
    pub commands: Vec<LeasedCommand>,
    /// Whose key signs here.
    pub signer: SignerBody,
    /// The [`crate::signing::key_id`] of the key that was prepared to take its place: an announcement, which pins nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_key_id: Option<Digest>,
    /// Why nothing is handed out, while commands are halted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halted: Option<Text>,
}

/// One command that was handed out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeasedCommand {
    /// Its id.
    pub id: CommandId,
    /// Its envelope, byte for byte as it was signed.
    pub envelope: String,
}

/// Whose key signs commands, so that an agent notices when it changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignerBody {
    /// Whose keys sign.
    pub mode: SigningMode,
    /// The [`crate::signing::key_id`] of the server's key.
    pub key_id: Digest,
    /// The 32 bytes of the server's public key, in base64.
    pub public_key: String,
}

/// Whether an agent may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartAnswer {
    /// The command.
    pub id: CommandId,
    /// Where it stands. The agent may begin only when it is [`CommandState::Started`].
    pub state: CommandState,
}

/// What an agent's result led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultAnswer {
    /// The command.
    pub id: CommandId,
    /// Where it stands; not what was claimed when it had ended before.
    pub state: CommandState,
}

/// A part of what the tools of a running command print.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputBody {
    /// How many bytes of output were sent before this part.
    pub offset: u64,
    /// The part.
    pub text: String,
}
