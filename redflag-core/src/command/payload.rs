//! The payload of a command: to whom, what, until when, and which approvals and plan it rests on.
//!
//! The format is strict: one schema number, one form of JSON, no unknown fields, a closed set of actions, everything bounded. What a
//! [`Command`] says was checked by [`Command::read`]; whether it may be carried out is judged by [`super::verify`].

use super::{
    plan::Item,
    refusal::{CommandRefusal, RefusalCode},
};
use crate::{
    ids::{AgentId, CommandId, Digest},
    limits,
    names::{DOCKER, Manager, PackageKey, Text, Version},
    strict_json,
    time::Timestamp,
    version_order,
    words::words,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A signed order to one agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The version of the format.
    pub schema: Schema,
    /// Its id.
    pub id: CommandId,
    /// To whom it is.
    pub audience: Audience,
    /// Grows from command to command of an agent (clause C2).
    pub counter: u64,
    /// From when on it may be carried out.
    pub not_before: Timestamp,
    /// From when on it may not be carried out any more.
    pub expires_at: Timestamp,
    /// Whose signature it carries.
    pub mode: SigningMode,
    /// What is to be done.
    pub action: Action,
    /// Who approved it.
    pub approvals: Vec<CommandApproval>,
}

/// The version of the payload's format; every other number is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schema;

impl Schema {
    /// Its number.
    pub const NUMBER: u32 = 1;
}

impl Serialize for Schema {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(Self::NUMBER)
    }
}

impl<'de> Deserialize<'de> for Schema {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            Self::NUMBER => Ok(Self),
            other => Err(serde::de::Error::custom(format!("schema {other} is not {}", Self::NUMBER))),
        }
    }
}

/// One agent, under one key: an agent that was enrolled anew is another audience.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audience {
    /// The agent.
    pub agent: AgentId,
    /// The [`crate::signing::key_id`] of its public key.
    pub key_id: Digest,
}

/// Somebody's consent, as the signer states it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandApproval {
    /// Who.
    pub actor: Text,
    /// When.
    pub at: Timestamp,
}

words! {
    /// Whose keys sign commands.
    "mode" SigningMode {
        /// The server's own: whoever holds the server can act.
        ServerSigns = "server-signs",
        /// Those of people, kept off the server: whoever holds the server can only relay.
        OperatorSigns = "operator-signs",
    }
}

words! {
    /// What can be ordered. There is no action that runs a given program, and none that goes back to an older version.
    "action" ActionKind {
        /// Scan and report now.
        Rescan = "rescan",
        /// Fetch what the package sources offer now.
        RefreshMetadata = "refresh-metadata",
        /// Show what an installation would change.
        Plan = "plan",
        /// Install exact versions.
        Install = "install",
        /// Pull images by digest and recreate the containers that run older ones.
        Recreate = "recreate",
        /// Restart the host.
        Reboot = "reboot",
        /// Do not carry out an earlier command.
        Cancel = "cancel",
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Action {
    /// [`ActionKind::Rescan`].
    Rescan,
    /// [`ActionKind::RefreshMetadata`].
    RefreshMetadata {
        /// Whose sources are asked.
        manager: Manager,
    },
    /// [`ActionKind::Plan`].
    Plan {
        /// What would be installed: all of one manager, sorted by package and each once.
        items: Vec<Item>,
    },
    /// [`ActionKind::Install`].
    Install(Order),
    /// [`ActionKind::Recreate`].
    Recreate(Order),
    /// [`ActionKind::Reboot`].
    Reboot,
    /// [`ActionKind::Cancel`].
    Cancel {
        /// The command that must not be carried out.
        command: CommandId,
    },
}

impl Action {
    /// Its word.
    #[must_use]
    pub const fn kind(&self) -> ActionKind {
        match self {
            Self::Rescan => ActionKind::Rescan,
            Self::RefreshMetadata { .. } => ActionKind::RefreshMetadata,
            Self::Plan { .. } => ActionKind::Plan,
            Self::Install(_) => ActionKind::Install,
            Self::Recreate(_) => ActionKind::Recreate,
            Self::Reboot => ActionKind::Reboot,
            Self::Cancel { .. } => ActionKind::Cancel,
        }
    }

    /// The manager it is about; none for an action on the host itself.
    #[must_use]
    pub fn manager(&self) -> Option<&Manager> {
        match self {
            Self::RefreshMetadata { manager } => Some(manager),
            _ => self.items().first().map(|item| &item.package.manager),
        }
    }

    /// The packages it is about; none for an action on the host itself.
    #[must_use]
    pub fn items(&self) -> &[Item] {
        match self {
            Self::Plan { items } | Self::Install(Order { items, .. }) | Self::Recreate(Order { items, .. }) => items,
            Self::Rescan | Self::RefreshMetadata { .. } | Self::Reboot | Self::Cancel { .. } => &[],
        }
    }
}

/// Items to install, and how far the transaction may go beyond them (clause A1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// What to install: all of one manager, sorted by package and each once.
    pub items: Vec<Item>,
    /// What else may change.
    pub side_effects: BTreeSet<SideEffect>,
    /// The [`super::plan::Plan::digest`] of the plan that was approved.
    pub plan_digest: Digest,
}

words! {
    /// What a transaction may change beyond its items.
    "side effect" SideEffect {
        /// Packages are installed that were not.
        NewPackage = "new-package",
        /// Other installed packages change their versions.
        OtherPackage = "other-package",
        /// Packages are removed.
        Removal = "removal",
    }
}

impl Command {
    /// Its bytes, as they are signed.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        strict_json::write(self)
    }

    /// Reads a payload whose signature was verified, and checks everything that needs no knowledge of the host.
    ///
    /// # Errors
    /// A refusal with one of the codes `malformed`, `unsupported-schema`, `unknown-action`, `out-of-grammar`, `downgrade` and
    /// `lifetime-too-long`.
    pub fn read(bytes: &[u8]) -> Result<Self, CommandRefusal> {
        let head: Head = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
        if head.schema != Schema::NUMBER {
            let message = format!("schema {} is not read, only {}", head.schema, Schema::NUMBER);
            return Err(CommandRefusal::new(RefusalCode::UnsupportedSchema, message));
        }
        let unknown = |error: crate::words::UnknownWord| CommandRefusal::new(RefusalCode::UnknownAction, error.to_string());
        head.action.kind.parse::<ActionKind>().map_err(unknown)?;
        let command: Self = strict_json::read(bytes).map_err(malformed)?;
        command.check()?;
        Ok(command)
    }

    /// Checks what [`Command::read`] checks beyond the form, for a command about to be signed.
    ///
    /// # Errors
    /// As [`Command::read`].
    pub fn check(&self) -> Result<(), CommandRefusal> {
        if !(1..=limits::COMMAND_COUNTER_MAX).contains(&self.counter) {
            return Err(malformed(format!("the counter {} is not within 1 to {}", self.counter, limits::COMMAND_COUNTER_MAX)));
        }
        if self.approvals.len() > limits::COMMAND_APPROVALS_MAX {
            return Err(malformed(format!("{} approvals, and {} is the limit", self.approvals.len(), limits::COMMAND_APPROVALS_MAX)));
        }
        if self.expires_at <= self.not_before {
            return Err(malformed("it expires before it begins to be valid"));
        }
        if self.expires_at.since(self.not_before) > limits::COMMAND_LIFETIME_MAX {
            let days = limits::COMMAND_LIFETIME_MAX.as_secs() / 86_400;
            return Err(CommandRefusal::new(RefusalCode::LifetimeTooLong, format!("it is valid for more than {days} days")));
        }
        match &self.action {
            Action::Plan { items } => check_items(items),
            Action::Install(Order { items, .. }) => check_items(items).and_then(|()| check_containers(items, Containers::Refused)),
            Action::Recreate(Order { items, .. }) => check_items(items).and_then(|()| check_containers(items, Containers::Only)),
            Action::Rescan | Action::RefreshMetadata { .. } | Action::Reboot | Action::Cancel { .. } => Ok(()),
        }
    }
}

/// What is read first, so that a command of a later version is told from a broken one.
#[derive(Deserialize)]
struct Head {
    schema: u32,
    action: HeadOfAction,
}

#[derive(Deserialize)]
struct HeadOfAction {
    kind: String,
}

fn malformed(message: impl Into<String>) -> CommandRefusal {
    CommandRefusal::new(RefusalCode::Malformed, message)
}

fn check_items(items: &[Item]) -> Result<(), CommandRefusal> {
    if !(1..=limits::COMMAND_ITEMS_MAX).contains(&items.len()) {
        return Err(malformed(format!("{} items, and a command has 1 to {}", items.len(), limits::COMMAND_ITEMS_MAX)));
    }
    if items.iter().any(|item| item.package.manager != items[0].package.manager) {
        return Err(malformed("items of several managers"));
    }
    if !items.is_sorted_by(|a, b| a.package < b.package) {
        return Err(malformed("items are not sorted by package, each once"));
    }
    items.iter().try_for_each(check_item)
}

/// Whether a command can be about an item: names and versions in the grammar, and the version newer.
pub(super) fn check_item(item: &Item) -> Result<(), CommandRefusal> {
    let Item { package, from, to, origin: _ } = item;
    let manager = &package.manager;
    let out_of_grammar = |rejection: crate::rejection::Rejection| CommandRefusal::new(RefusalCode::OutOfGrammar, rejection.to_string());
    PackageKey::parse(manager.as_str(), package.name.as_str(), package.arch.as_ref().map(AsRef::as_ref)).map_err(out_of_grammar)?;
    Version::parse_for(manager, "from", from.as_str()).map_err(out_of_grammar)?;
    Version::parse_for(manager, "to", to.as_str()).map_err(out_of_grammar)?;
    let order = version_order::compare(version_order::of_manager(manager), to, from);
    if from == to || order.is_some_and(std::cmp::Ordering::is_le) {
        return Err(CommandRefusal::new(RefusalCode::Downgrade, format!("{package} would go from {from} to {to}, which is not newer")));
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Containers {
    Refused,
    Only,
}

fn check_containers(items: &[Item], containers: Containers) -> Result<(), CommandRefusal> {
    let of_containers = items[0].package.manager.as_str() == DOCKER;
    match containers {
        Containers::Refused if of_containers => Err(malformed("containers are not installed but recreated")),
        Containers::Only if !of_containers => Err(malformed("only containers are recreated")),
        Containers::Only => items.iter().try_for_each(pinned),
        Containers::Refused => Ok(()),
    }
}

/// A tag can be moved after the approval; a digest cannot.
fn pinned(item: &Item) -> Result<(), CommandRefusal> {
    let digest = item.to.as_str().rsplit_once("sha256:").map(|(_, digest)| digest.parse::<Digest>());
    if matches!(digest, Some(Ok(_))) {
        return Ok(());
    }
    let message = format!("{} would be recreated from {}, which is no image's digest", item.package, item.to);
    Err(CommandRefusal::new(RefusalCode::OutOfGrammar, message))
}
