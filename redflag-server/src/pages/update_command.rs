//! The command behind an update, and the plan of it that waits for a second look.

use super::{command_row, plan_view::PlanView};
use crate::{
    access::{Operator, Role},
    app::App,
    ids,
};
use redflag_core::{
    command::record::CommandRecord,
    event::{EventKind, RecordedEvent, Source},
    ids::{CommandId, UpdateId},
    query::{CommandFilter, CommandQuery, PageSize},
    state::Standing,
    store::StoreError,
};

/// A plan that waits for a second look.
pub(super) struct Review {
    pub(super) plan: PlanView,
    /// Packages that were planned together with this one.
    pub(super) others: u64,
    /// Whether the operator can accept it.
    pub(super) confirm: bool,
    /// The id that the installation will have, so that a form sent twice has one effect.
    pub(super) next_id: CommandId,
}

/// The command an update is about to be changed by, or was: of one in review the plan, of an approved one its planning, else the one its
/// standing names.
///
/// # Errors
/// When the store fails.
pub(super) async fn find(
    app: &App,
    id: &UpdateId,
    standing: &Standing,
    events: &[RecordedEvent],
) -> Result<Option<CommandRecord>, StoreError> {
    let store = app.fleet.store();
    let command = match standing {
        Standing::NeedsReview { .. } => events.iter().rev().find_map(|recorded| match (&recorded.event.kind, recorded.source) {
            (EventKind::ReviewRequested { .. }, Source::Command { command }) => Some(command),
            _ => None,
        }),
        Standing::Queued(dispatch) | Standing::Installing(dispatch) | Standing::Failed { dispatch, .. } => Some(dispatch.command),
        Standing::RolledBack { command, .. } => Some(*command),
        Standing::Installed { command, .. } => *command,
        Standing::Approved(_) => {
            let open = CommandQuery { state: CommandFilter::Open, size: PageSize::MAX, ..command_row::of_agent(id.agent) };
            let about = |record: &CommandRecord| record.action.items().iter().any(|item| item.package == id.package);
            return Ok(store.commands(&open).await?.items.into_iter().map(|row| row.record).find(about));
        }
        Standing::Pending | Standing::Ignored(_) | Standing::Withdrawn { .. } => None,
    };
    match command {
        Some(command) => store.command(id.agent, command).await,
        None => Ok(None),
    }
}

impl Review {
    /// The plan that a command brought, if it did.
    pub(super) fn of(record: &CommandRecord, operator: &Operator) -> Option<Self> {
        let plan = PlanView::of(record)?;
        let confirm = plan.confirmable && operator.role >= Role::Approver;
        Some(Self { plan, others: record.action.items().len().saturating_sub(1) as u64, confirm, next_id: ids::command_id() })
    }
}
