//! One command as a row: the view that the list of commands, an agent's page and the command's own page share.

use super::{
    text::{self, When, counted},
    update_row::agent_href,
};
use redflag_core::{
    command::{
        lifecycle::CommandState,
        payload::{Action, ActionKind},
        record::{CommandRecord, Ending},
    },
    ids::{AgentId, CommandId},
    names::{Manager, Text},
    query::CommandQuery,
    time::Timestamp,
};

/// Where the commands are listed.
pub(super) const PATH: &str = "/commands";

/// A command as templates show it.
#[derive(Clone, Debug)]
pub(crate) struct CommandView {
    pub(crate) id: CommandId,
    pub(crate) href: String,
    pub(crate) title: String,
    pub(crate) manager: Option<Manager>,
    pub(crate) agent: Text,
    pub(crate) agent_href: String,
    pub(crate) state: CommandState,
    /// Why it came to nothing, or why it waits, in few words.
    pub(crate) why: Option<String>,
    pub(crate) asked_by: String,
    pub(crate) asked: When,
    pub(crate) attempts: u32,
    pub(crate) ended: Option<When>,
}

impl CommandView {
    /// `record` of the agent of this name, as seen from `now`.
    pub(crate) fn new(agent_name: &Text, record: &CommandRecord, now: Timestamp) -> Self {
        let agent = record.audience.agent;
        Self {
            id: record.id,
            href: command_href(agent, record.id),
            title: title(&record.action),
            manager: record.action.manager().cloned(),
            agent: agent_name.clone(),
            agent_href: agent_href(agent),
            state: record.state,
            why: why(record, now),
            asked_by: text::actor(&record.request.by),
            asked: When::seen_from(now, record.request.at),
            attempts: record.attempts,
            ended: record.end.as_ref().map(|end| When::seen_from(now, end.at)),
        }
    }
}

/// Where a command's page is.
pub(super) fn command_href(agent: AgentId, command: CommandId) -> String {
    format!("{PATH}/{agent}/{command}")
}

/// The newest commands of one agent.
pub(super) fn of_agent(agent: AgentId) -> CommandQuery {
    CommandQuery { agent: Some(agent), ..CommandQuery::default() }
}

/// What is to be done, in words.
pub(super) fn title(action: &Action) -> String {
    let kind = match action.kind() {
        ActionKind::Plan => "Plan",
        ActionKind::Install => "Install",
        ActionKind::Recreate => "Recreate",
        ActionKind::RefreshMetadata => "Refresh metadata",
        ActionKind::Rescan => "Scan and report",
        ActionKind::Reboot => "Restart the host",
        ActionKind::Cancel => "Do not carry out another command",
    };
    match action.items() {
        [] => kind.to_owned(),
        [item] => format!("{kind} {}", item.package.name),
        items => format!("{kind} {}", counted(items.len() as u64, "package", "packages")),
    }
}

fn why(record: &CommandRecord, now: Timestamp) -> Option<String> {
    let seen = |at| When::seen_from(now, at).ago;
    match record.state {
        CommandState::AwaitingSignature => {
            let wanted = counted(record.terms.signatures_min.into(), "person has", "people have");
            Some(format!("{} of {wanted} signed", record.signatures.len()))
        }
        CommandState::Queued if record.not_before > now => Some(format!("not before {}", seen(record.not_before))),
        CommandState::Leased => record.leased_until.map(|until| format!("to be begun {}", seen(until))),
        CommandState::Started => record.started_at.map(|at| format!("since {}", seen(at))),
        _ => record.end.as_ref().and_then(|end| reason(&end.how)),
    }
}

/// Why it came to nothing, without the word that stands beside it.
fn reason(how: &Ending) -> Option<String> {
    match how {
        Ending::Cancelled { reason } => reason.as_ref().map(ToString::to_string),
        Ending::Refused(refusal) => Some(refusal.to_string()),
        Ending::Succeeded(_) | Ending::Failed(_) | Ending::Expired { .. } => how.reason().map(|reason| reason.to_string()),
    }
}
