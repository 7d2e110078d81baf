//! Commands as JSON.

use super::{openapi::wire::commands as shapes, views::text};
use crate::{
    dispatch::Output,
    second_look::{Difference, SecondLook},
};
use redflag_core::{
    command::{
        payload::{Action, CommandApproval},
        plan::{Change, Excess},
        record::{CommandRecord, End, Terms},
    },
    names::Text,
};
use serde::Serialize;
use utoipa::ToSchema;

/// One command in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CommandView {
    /// Its id, unique within its agent.
    id: String,
    /// Its agent.
    agent_id: String,
    /// The agent's name.
    agent_name: String,
    /// `rescan`, `refresh-metadata`, `plan`, `install`, `recreate`, `reboot` or `cancel`.
    action: &'static str,
    /// The manager it is about, where it is about one.
    package_type: Option<String>,
    /// How many packages it is about.
    packages: usize,
    /// Whose keys sign it: `server-signs` or `operator-signs`.
    mode: &'static str,
    /// `awaiting-signature`, `queued`, `leased`, `started`, `succeeded`, `failed`, `refused`, `expired` or `cancelled`.
    state: &'static str,
    /// Whether it has still to end.
    open: bool,
    /// Why it came to nothing, where it did.
    reason: Option<String>,
    /// Who asked for it.
    requested_by: String,
    /// When.
    requested_at: String,
    /// When its agent was told to begin.
    started_at: Option<String>,
    /// When it ended.
    ended_at: Option<String>,
    /// The command it rests on: the plan it carries out, or the one it repeats.
    follows: Option<String>,
    /// How often it was handed out.
    attempts: u32,
    /// Until when its agent has it, while it is handed out.
    leased_until: Option<String>,
    /// From when on it may not be begun any more.
    expires_at: String,
}

/// One command with everything that happened to it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CommandDetailView {
    /// The command as lists show it.
    #[serde(flatten)]
    command: CommandView,
    /// What exactly is to be done.
    #[schema(value_type = shapes::Action)]
    order: Action,
    /// On whose consent it rests.
    #[schema(value_type = Vec<shapes::CommandApproval>)]
    approvals: Vec<CommandApproval>,
    /// On which terms.
    #[schema(value_type = shapes::Terms)]
    terms: Terms,
    /// From when on it may be carried out.
    not_before: String,
    /// Its place among the agent's commands; none before it was handed out or signed.
    counter: Option<u64>,
    /// The ids of the keys of people that signed it.
    signed_by: Vec<String>,
    /// How it ended.
    #[schema(value_type = Option<shapes::End>)]
    end: Option<End>,
    /// What its agent said after its end, oldest first; none of it changed anything.
    #[schema(value_type = Vec<shapes::End>)]
    late: Vec<End>,
    /// The plan it brought, held against what was approved.
    plan: Option<PlanView>,
    /// The ids of the commands that rest on it, oldest first.
    led_to: Vec<String>,
    /// What its tools have printed so far; once it has told its result, that is in `end`.
    output: Option<OutputView>,
    /// Grows with every change.
    revision: u64,
}

/// A plan, and how it differs from what was approved.
#[derive(Debug, Serialize, ToSchema)]
struct PlanView {
    /// Names the plan exactly; a confirmation must bring it.
    plan_digest: String,
    /// Every package it touches.
    #[schema(value_type = Vec<shapes::Change>)]
    changes: Vec<Change>,
    /// What has to be downloaded, in bytes, where the manager tells.
    download_bytes: Option<u64>,
    /// Whether the host will ask for a reboot, where that is known.
    reboot_required: Option<bool>,
    /// Where it goes beyond what was approved, or leaves it out.
    excess: Vec<DifferenceView>,
    /// Whether a person can accept it: it brings what was approved, whatever else it does.
    confirmable: bool,
}

/// One way in which a plan differs from what was approved.
#[derive(Debug, Serialize, ToSchema)]
struct DifferenceView {
    /// In words.
    words: String,
    /// `new-package`, `other-package` or `removal`; null when it is about a package that was approved, which nothing can allow.
    side_effect: Option<&'static str>,
    /// Whether the terms allow it without a second look.
    allowed: bool,
    /// What the plan does, with the kind `new-package`, `removal`, `other-package`, `other-version`, `other-origin` or `missing`.
    #[schema(value_type = shapes::Excess)]
    difference: Excess,
}

/// What a command has printed so far.
#[derive(Debug, Serialize, ToSchema)]
struct OutputView {
    /// Bytes printed, also those that are not kept.
    sent: u64,
    /// The end of them.
    text: String,
}

impl CommandView {
    /// A command of the agent of this name.
    pub(super) fn new(agent_name: &Text, record: &CommandRecord) -> Self {
        Self {
            id: record.id.to_string(),
            agent_id: record.audience.agent.to_string(),
            agent_name: agent_name.to_string(),
            action: record.action.kind().as_str(),
            package_type: text(record.action.manager()),
            packages: record.action.items().len(),
            mode: record.terms.mode.as_str(),
            state: record.state.as_str(),
            open: record.state.open(),
            reason: record.end.as_ref().and_then(|end| text(end.how.reason().as_ref())),
            requested_by: record.request.by.to_string(),
            requested_at: record.request.at.to_string(),
            started_at: text(record.started_at.as_ref()),
            ended_at: record.end.as_ref().map(|end| end.at.to_string()),
            follows: text(record.follows.as_ref()),
            attempts: record.attempts,
            leased_until: text(record.leased_until.as_ref()),
            expires_at: record.expires_at.to_string(),
        }
    }
}

impl CommandDetailView {
    /// A command of the agent of this name, with what rests on it and what it prints.
    pub(super) fn new(agent_name: &Text, record: &CommandRecord, led_to: &[CommandRecord], output: Option<Output>) -> Self {
        Self {
            command: CommandView::new(agent_name, record),
            order: record.action.clone(),
            approvals: record.approvals.clone(),
            terms: record.terms.clone(),
            not_before: record.not_before.to_string(),
            counter: record.counter,
            signed_by: record.signatures.keys().map(ToString::to_string).collect(),
            end: record.end.clone(),
            late: record.late.clone(),
            plan: SecondLook::of(record).map(PlanView::from),
            led_to: led_to.iter().map(|other| other.id.to_string()).collect(),
            output: output.map(|output| OutputView { sent: output.sent, text: output.text }),
            revision: record.revision,
        }
    }
}

impl From<SecondLook> for PlanView {
    fn from(look: SecondLook) -> Self {
        Self {
            confirmable: look.confirmable(),
            plan_digest: look.digest.to_string(),
            download_bytes: look.plan.download_bytes,
            reboot_required: look.plan.reboot_required,
            changes: look.plan.changes,
            excess: look.differences.into_iter().map(DifferenceView::from).collect(),
        }
    }
}

impl From<Difference> for DifferenceView {
    fn from(difference: Difference) -> Self {
        let Difference { excess, side_effect, allowed } = difference;
        Self { words: excess.to_string(), side_effect: side_effect.map(|effect| effect.as_str()), allowed, difference: excess }
    }
}
