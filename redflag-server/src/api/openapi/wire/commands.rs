//! What a command says, and how it ended.

use super::{
    fields::{manager, optional_text, optional_u64, optional_version, side_effects, signing_mode},
    updates::Actor,
};
use utoipa::ToSchema;

/// What an installation would change.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Plan {
    /// Every package it touches, sorted and each once.
    #[schema(max_items = 20_000)]
    changes: Vec<Change>,
    /// What has to be downloaded, where the manager tells.
    #[schema(schema_with = optional_u64)]
    download_bytes: Option<u64>,
    /// Whether the host will ask for a reboot, where that is known.
    reboot_required: Option<bool>,
}

/// One package that a plan touches.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Change {
    package: PackageKey,
    /// The version before; none for a new package.
    #[schema(schema_with = optional_version)]
    from: Option<String>,
    /// The version afterwards; none for a removal.
    #[schema(schema_with = optional_version)]
    to: Option<String>,
    /// Where it comes from, in the manager's words.
    #[schema(schema_with = optional_text)]
    origin: Option<String>,
}

/// What identifies a package on one agent.
#[derive(ToSchema)]
pub(in crate::api) struct PackageKey {
    #[schema(schema_with = manager)]
    package_type: String,
    #[schema(min_length = 1, max_length = 255, pattern = "^[!-,.-~][!-~]*$")]
    package_name: String,
    #[schema(min_length = 1, max_length = 32, pattern = "^[A-Za-z0-9_][A-Za-z0-9_-]*$")]
    arch: Option<String>,
}

/// One update to be installed.
#[derive(ToSchema)]
pub(in crate::api) struct Item {
    package: PackageKey,
    /// The version installed when it was approved.
    from: String,
    /// The version to install.
    to: String,
    /// Where it comes from, in the manager's words.
    origin: Option<String>,
}

/// What exactly a command does.
#[derive(ToSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(in crate::api) enum Action {
    Rescan,
    RefreshMetadata {
        /// Whose sources are asked.
        manager: String,
    },
    Plan {
        /// What would be installed.
        items: Vec<Item>,
    },
    Install {
        items: Vec<Item>,
        /// What else may change.
        #[schema(schema_with = side_effects)]
        side_effects: Vec<String>,
        /// The digest of the plan that was approved.
        plan_digest: String,
    },
    Recreate {
        items: Vec<Item>,
        /// What else may change.
        #[schema(schema_with = side_effects)]
        side_effects: Vec<String>,
        /// The digest of the plan that was approved.
        plan_digest: String,
    },
    Reboot,
    Cancel {
        /// The command that must not be carried out.
        command: String,
    },
}

/// On whose consent a command rests.
#[derive(ToSchema)]
pub(in crate::api) struct CommandApproval {
    actor: String,
    #[schema(format = DateTime)]
    at: String,
}

/// On which terms a command is carried out.
#[derive(ToSchema)]
pub(in crate::api) struct Terms {
    #[schema(schema_with = signing_mode)]
    mode: String,
    /// How many keys of people must sign it; 0 where the server signs.
    signatures_min: u32,
    /// What a transaction may change beyond its items without a second look.
    #[schema(schema_with = side_effects)]
    side_effects: Vec<String>,
    /// From when on the host may be changed.
    #[schema(format = DateTime)]
    not_before: Option<String>,
    /// For how many seconds it may be begun.
    lifetime_seconds: u32,
    /// For how many seconds it may run.
    run_seconds: u32,
}

/// How a command ended.
#[derive(ToSchema)]
pub(in crate::api) struct End {
    #[schema(format = DateTime)]
    at: String,
    by: Actor,
    how: Ending,
}

/// How a command ended; what else stands there belongs to the kind.
#[derive(ToSchema)]
pub(in crate::api) struct Ending {
    #[schema(pattern = "^(succeeded|failed|refused|expired|cancelled)$")]
    kind: String,
    reason: Option<String>,
    rolled_back: Option<bool>,
    plan: Option<Plan>,
    reboot_required: Option<bool>,
    output: Option<String>,
    code: Option<String>,
    message: Option<String>,
}

/// What a plan does beyond what was approved.
#[derive(ToSchema)]
pub(in crate::api) struct Excess {
    #[schema(pattern = "^(new-package|removal|other-package|other-version|other-origin|missing)$")]
    kind: String,
    change: Change,
}
