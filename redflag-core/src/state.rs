//! State: the fold of one package key's events, one event at a time (clause S1).

use crate::{
    event::{Actor, Event, EventKind, EventWord, unknown_kind},
    ids::CommandId,
    names::{PackageKey, Text, Version},
    offer::{Offer, OfferDigest},
    rejection::{Rejection, RejectionCode},
    time::Timestamp,
    transition::{Transition, transition},
    words::{IgnoreScope, Status, VersionOutcome, WithdrawalReason},
};
use serde::{Deserialize, Serialize};

pub use crate::states::States;

/// What is known of one package on one agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageState {
    /// The package.
    pub package: PackageKey,
    /// The newest offer seen; kept after the update closed.
    pub offer: Offer,
    /// Where the update stands, with what belongs to it.
    pub standing: Standing,
    /// An ignore of the whole package, which outlives versions (clause S4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package_ignore: Option<Box<Ignore>>,
    /// How many events were folded (clause F3).
    pub revision: u64,
    /// When the store received the event that opened the update.
    pub discovered_at: Timestamp,
    /// When the store received the last event.
    pub changed_at: Timestamp,
}

/// Where an update stands; one variant a status word. What few updates have is boxed, because states are moved by the thousand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "kebab-case")]
pub enum Standing {
    /// Nobody has decided.
    Pending,
    /// Approved.
    Approved(Box<Approval>),
    /// Ignored.
    Ignored(Box<Ignore>),
    /// A second look is needed.
    NeedsReview {
        /// What was approved.
        approval: Box<Approval>,
        /// What the plan would do beyond it.
        reason: Text,
    },
    /// A command waits.
    Queued(Box<Dispatch>),
    /// A command runs, or claims to have succeeded.
    Installing(Box<Dispatch>),
    /// Seen installed.
    Installed {
        /// The version seen.
        version: Version,
        /// The command that did it; none when it was installed outside RedFlag.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        command: Option<CommandId>,
    },
    /// The last attempt failed or expired.
    Failed {
        /// The attempt.
        dispatch: Box<Dispatch>,
        /// Why.
        reason: Text,
    },
    /// The last attempt was undone.
    RolledBack {
        /// The command.
        command: CommandId,
        /// The version that runs again.
        version: Version,
        /// Why.
        reason: Text,
    },
    /// No longer offered.
    Withdrawn {
        /// Why.
        reason: WithdrawalReason,
    },
}

/// Who approved which offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// The offer.
    pub offer_digest: OfferDigest,
    /// Who.
    pub actor: Actor,
    /// When the store received it.
    pub at: Timestamp,
    /// In which words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<Text>,
}

/// Who ignored what, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ignore {
    /// The version or the whole package.
    pub scope: IgnoreScope,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Who.
    pub actor: Actor,
    /// When the store received it.
    pub at: Timestamp,
    /// In which words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
}

/// A command under way and the approval it rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispatch {
    /// The command.
    pub command: CommandId,
    /// The approval.
    pub approval: Approval,
}

impl Standing {
    /// The status word; the only place it is derived.
    #[must_use]
    pub const fn status(&self) -> Status {
        match self {
            Self::Pending => Status::Pending,
            Self::Approved(_) => Status::Approved,
            Self::Ignored(_) => Status::Ignored,
            Self::NeedsReview { .. } => Status::NeedsReview,
            Self::Queued(_) => Status::Queued,
            Self::Installing(_) => Status::Installing,
            Self::Installed { .. } => Status::Installed,
            Self::Failed { .. } => Status::Failed,
            Self::RolledBack { .. } => Status::RolledBack,
            Self::Withdrawn { .. } => Status::Withdrawn,
        }
    }

    fn dispatch(&self) -> Option<&Dispatch> {
        match self {
            Self::Queued(dispatch) | Self::Installing(dispatch) | Self::Failed { dispatch, .. } => Some(dispatch),
            _ => None,
        }
    }
}

/// What stores keep of a state beside its columns: see [`PackageState::detail_json`].
#[derive(Serialize, Deserialize)]
struct Detail {
    standing: Standing,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    package_ignore: Option<Box<Ignore>>,
}

impl PackageState {
    /// The status word.
    #[must_use]
    pub const fn status(&self) -> Status {
        self.standing.status()
    }

    /// The digest a decision about this state's offer must name.
    #[must_use]
    pub fn offer_digest(&self) -> OfferDigest {
        self.offer.digest(&self.package)
    }

    /// Standing and package-wide ignore as JSON; none for a plain pending update, which is what most rows are.
    #[must_use]
    pub fn detail_json(&self) -> Option<String> {
        if self.standing == Standing::Pending && self.package_ignore.is_none() {
            return None;
        }
        let detail = Detail { standing: self.standing.clone(), package_ignore: self.package_ignore.clone() };
        Some(serde_json::to_string(&detail).expect("standings always serialise"))
    }

    /// Reads what [`PackageState::detail_json`] wrote.
    ///
    /// # Errors
    /// When the text was not written by it.
    pub fn read_detail_json(json: Option<&str>) -> Result<(Standing, Option<Box<Ignore>>), serde_json::Error> {
        let Some(json) = json else { return Ok((Standing::Pending, None)) };
        serde_json::from_str(json).map(|detail: Detail| (detail.standing, detail.package_ignore))
    }
}

/// Who caused an event, and when the store received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// Who.
    pub actor: Actor,
    /// When.
    pub received_at: Timestamp,
}

/// The state after `event`.
///
/// # Errors
/// A rejection when the transition table forbids the event, a decision names another offer than the open one, or a result
/// names another command than the one under way. Nothing changes then.
pub fn apply(before: Option<&PackageState>, event: &Event, context: &Context) -> Result<PackageState, Rejection> {
    let Some(word) = event.kind.word() else { return Err(unknown_kind(event.kind.as_str())) };
    let cell = transition(word, before.map(PackageState::status));
    if cell == Transition::Forbidden {
        return Err(forbidden(before, word, &event.package));
    }
    match (before, event.kind.offer()) {
        (before, Some(offer)) => Ok(with_offer(before, offer, cell, event, context)),
        (Some(before), None) => with_standing(before, event, context),
        (None, None) => Err(forbidden(None, word, &event.package)),
    }
}

fn forbidden(before: Option<&PackageState>, word: EventWord, package: &PackageKey) -> Rejection {
    match before {
        None => Rejection::new(RejectionCode::UnknownPackage, "package_name", format!("{word}: no update is known for {package}")),
        Some(state) => {
            let message = format!("{word} is not possible while {package} is {}", state.status());
            Rejection::new(RejectionCode::IllegalTransition, "kind", message)
        }
    }
}

/// `discovered` and `revised`: the offer is the new one, the standing follows the cell.
fn with_offer(before: Option<&PackageState>, offer: &Offer, cell: Transition, event: &Event, context: &Context) -> PackageState {
    let kept = before.filter(|state| match cell {
        Transition::Keeps => true,
        Transition::KeepsSameOffer => state.offer_digest() == offer.digest(&event.package),
        _ => false,
    });
    let package_ignore = before.and_then(|state| state.package_ignore.clone());
    let opened = || package_ignore.clone().map_or(Standing::Pending, Standing::Ignored);
    PackageState {
        package: event.package.clone(),
        offer: offer.clone(),
        standing: kept.map_or_else(opened, |state| state.standing.clone()),
        discovered_at: kept.map_or(context.received_at, |state| state.discovered_at),
        changed_at: context.received_at,
        revision: before.map_or(0, |state| state.revision) + 1,
        package_ignore,
    }
}

/// Every other kind: the offer stays, the standing is a new one.
fn with_standing(before: &PackageState, event: &Event, context: &Context) -> Result<PackageState, Rejection> {
    let mut after = before.clone();
    after.revision += 1;
    after.changed_at = context.received_at;
    after.standing = match &event.kind {
        EventKind::Withdrawn { reason } => Standing::Withdrawn { reason: *reason },
        EventKind::InstalledObserved { version } => {
            // A queued command has not run, so what is installed was installed by somebody else.
            let command = match &before.standing {
                Standing::Installing(dispatch) | Standing::Failed { dispatch, .. } => Some(dispatch.command),
                _ => None,
            };
            Standing::Installed { version: version.clone(), command }
        }
        EventKind::Approved { offer_digest, comment } => {
            let offer_digest = shown(before, *offer_digest)?;
            let Context { actor, received_at } = context.clone();
            Standing::Approved(Box::new(Approval { offer_digest, actor, at: received_at, comment: comment.clone() }))
        }
        EventKind::Ignored { offer_digest, scope, until, reason } => {
            shown(before, *offer_digest)?;
            let Context { actor, received_at } = context.clone();
            let ignore = Box::new(Ignore { scope: *scope, until: *until, actor, at: received_at, reason: reason.clone() });
            after.package_ignore = (*scope == IgnoreScope::Package).then(|| ignore.clone());
            Standing::Ignored(ignore)
        }
        EventKind::ApprovalWithdrawn { .. } => Standing::Pending,
        EventKind::Reopened { .. } => {
            after.package_ignore = None;
            Standing::Pending
        }
        EventKind::ReviewRequested { reason } => {
            let Standing::Approved(approval) = before.standing.clone() else { return Err(mismatch("approval")) };
            Standing::NeedsReview { approval, reason: reason.clone() }
        }
        EventKind::InstallQueued { command } => {
            let approval = match &before.standing {
                Standing::Approved(approval) => Approval::clone(approval),
                Standing::Failed { dispatch, .. } => dispatch.approval.clone(),
                _ => return Err(mismatch("approval")),
            };
            shown(before, approval.offer_digest)?;
            Standing::Queued(Box::new(Dispatch { command: *command, approval }))
        }
        EventKind::InstallStarted { command } | EventKind::InstallSucceeded { command } => {
            Standing::Installing(Box::new(under_way(before, *command)?.clone()))
        }
        EventKind::InstallFailed { command, reason } => {
            Standing::Failed { dispatch: Box::new(under_way(before, *command)?.clone()), reason: reason.clone() }
        }
        EventKind::InstallExpired { command } => {
            Standing::Failed { dispatch: Box::new(under_way(before, *command)?.clone()), reason: Text::lossy("the command expired") }
        }
        EventKind::RolledBack { command, version, reason } => {
            under_way(before, *command)?;
            Standing::RolledBack { command: *command, version: version.clone(), reason: reason.clone() }
        }
        EventKind::Discovered { .. } | EventKind::Revised { .. } | EventKind::Unknown { .. } => {
            return Err(unknown_kind(event.kind.as_str()));
        }
    };
    Ok(after)
}

/// Clause A1: a decision counts only for the offer it was made on.
fn shown(before: &PackageState, decided: OfferDigest) -> Result<OfferDigest, Rejection> {
    if decided == before.offer_digest() {
        return Ok(decided);
    }
    let now = before.offer.candidate.version.as_str();
    let message = format!("the offer changed since it was shown; {} is now offered at {now}", before.package);
    Err(Rejection::new(RejectionCode::OfferChanged, "offer_digest", message))
}

fn under_way(before: &PackageState, command: CommandId) -> Result<&Dispatch, Rejection> {
    before.standing.dispatch().filter(|dispatch| dispatch.command == command).ok_or_else(|| mismatch("command"))
}

fn mismatch(field: &str) -> Rejection {
    Rejection::new(RejectionCode::CommandMismatch, field, "not the one under way")
}

/// One row of version history: a version that was installed, failed to install, or was taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionChange {
    /// The package.
    pub package: PackageKey,
    /// The version before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_version: Option<Version>,
    /// The version meant.
    pub to_version: Version,
    /// What happened.
    pub outcome: VersionOutcome,
    /// The command that caused it; none when it happened outside RedFlag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandId>,
    /// Why it failed or was undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
    /// When the store received it.
    pub at: Timestamp,
    /// The event it comes from, by its number in the agent's stream.
    pub sequence: u64,
}

/// The history row that `event` adds, if any.
#[must_use]
pub fn version_change(before: Option<&PackageState>, event: &Event, context: &Context, sequence: u64) -> Option<VersionChange> {
    let before = before?;
    let offered = &before.offer.candidate.version;
    let (to_version, outcome, command, reason) = match &event.kind {
        EventKind::InstalledObserved { version } => {
            let command = match &before.standing {
                Standing::Installing(dispatch) | Standing::Failed { dispatch, .. } => Some(dispatch.command),
                _ => None,
            };
            (version, VersionOutcome::Installed, command, None)
        }
        EventKind::InstallFailed { command, reason } => (offered, VersionOutcome::Failed, Some(*command), Some(reason.clone())),
        EventKind::RolledBack { command, version, reason } => (version, VersionOutcome::RolledBack, Some(*command), Some(reason.clone())),
        _ => return None,
    };
    Some(VersionChange {
        package: event.package.clone(),
        from_version: before.offer.installed.clone(),
        to_version: to_version.clone(),
        outcome,
        command,
        reason,
        at: context.received_at,
        sequence,
    })
}
