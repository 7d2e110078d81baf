//! How agents get their commands, and say what became of them.

use super::{
    commands::Plan,
    fields::{any_u32, any_u64, command_state, refusal_code, signing_mode, text},
};
use utoipa::ToSchema;

/// An agent asks for its commands.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct LeaseBody {
    /// How many new ones it takes; more than 16 are never given.
    #[schema(schema_with = any_u32)]
    limit: u32,
    /// How many seconds it waits for one; longer than 50 is never waited.
    #[schema(schema_with = any_u32)]
    wait_seconds: u32,
}

/// The commands of an agent.
#[derive(ToSchema)]
pub(in crate::api) struct LeaseAnswer {
    /// What was handed out and not begun, in the order of its counters.
    commands: Vec<LeasedCommand>,
    signer: Signer,
    /// The id of the key that was prepared to take the signer's place.
    next_key_id: Option<String>,
    /// Why nothing is handed out, while commands are halted.
    halted: Option<String>,
}

/// One command that was handed out.
#[derive(ToSchema)]
pub(in crate::api) struct LeasedCommand {
    id: String,
    /// The DSSE envelope, byte for byte as it was signed.
    envelope: String,
}

/// Whose key signs commands.
#[derive(ToSchema)]
pub(in crate::api) struct Signer {
    #[schema(schema_with = signing_mode)]
    mode: String,
    key_id: String,
    /// 32 bytes in base64.
    public_key: String,
}

/// Where a command stands. An agent may begin only when it is `started`.
#[derive(ToSchema)]
pub(in crate::api) struct CommandStanding {
    id: String,
    #[schema(schema_with = command_state)]
    state: String,
}

/// A part of what the tools of a running command print.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct OutputBody {
    /// How many bytes of output were sent before this part.
    #[schema(schema_with = any_u64)]
    offset: u64,
    /// The part, at most 64 KiB.
    text: String,
}

/// How an agent says that a command ended.
#[derive(ToSchema)]
#[serde(untagged)]
pub(in crate::api) enum ClaimBody {
    Succeeded(SucceededBody),
    Failed(FailedBody),
    Refused(RefusedBody),
}

/// It was carried out.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct SucceededBody {
    #[schema(pattern = "^succeeded$")]
    kind: String,
    plan: Option<Plan>,
    /// Whether the host asks for a reboot now.
    reboot_required: Option<bool>,
    /// The end of what the tools printed.
    #[schema(required = false)]
    output: String,
}

/// It could not be carried out, or was undone.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct FailedBody {
    #[schema(pattern = "^failed$")]
    kind: String,
    #[schema(schema_with = text)]
    reason: String,
    /// Whether the old versions were put back and run again.
    rolled_back: bool,
    /// The end of what the tools printed.
    #[schema(required = false)]
    output: String,
}

/// It was refused, and nothing was changed.
#[derive(ToSchema)]
pub(in crate::api) struct RefusedBody {
    #[schema(pattern = "^refused$")]
    kind: String,
    #[schema(schema_with = refusal_code)]
    code: String,
    /// What was wrong, in one line.
    message: String,
}
