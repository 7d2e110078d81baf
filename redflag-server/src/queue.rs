//! What operators do with the queue of commands: ask for one, call one off, ask for one again, look twice at a plan, halt everything.
//!
//! API and pages share this. Every step wakes the agents it is about, because not every step writes an event that the feed tells of.

use crate::{
    access::{Operator, Role},
    app::App,
    halt::{self, Halt},
    ids,
    problem::Problem,
};
use axum::http::StatusCode;
use redflag_core::{
    audit::{AuditKind, FactName, command, entry::Note},
    command::{
        payload::{Action, SigningMode},
        record::CommandRecord,
        step::{Confirm, Request, Retry, Step, Wanted},
    },
    event::Actor,
    ids::{AgentId, CommandId, Digest},
    names::Text,
    query::{CommandPosition, CommandQuery, PageSize},
    store::{Store, StoreError, StoreErrorKind},
};

/// Pages of an agent's commands that are looked through for what rests on one of them.
const PAGES_MAX: u32 = 4;

/// The role it takes to ask for a command, or to ask for it again.
pub(crate) const fn role_for(action: &Action) -> Role {
    match action {
        Action::Reboot | Action::Cancel { .. } => Role::Admin,
        _ => Role::Approver,
    }
}

fn check_role(operator: &Operator, action: &Action) -> Result<(), Problem> {
    let role = role_for(action);
    if operator.role >= role {
        return Ok(());
    }
    Err(Problem::forbidden("role", format!("{} needs the role {role}; {} is a {}", action.kind(), operator.name, operator.role)))
}

/// Asks for something that is done on the host itself; the same id and content again has one effect.
///
/// # Errors
/// 403 for a role that may not; 404 for an unknown agent; 409 when the id was used for something else, the queue is full, or it is a scan
/// and people sign.
pub(crate) async fn request(
    app: &App,
    operator: &Operator,
    agent: AgentId,
    action: Action,
    id: Option<CommandId>,
) -> Result<CommandRecord, Problem> {
    check_role(operator, &action)?;
    if action == Action::Rescan && app.settings.terms.mode == SigningMode::OperatorSigns {
        let detail = "where people sign, no host can be asked to scan: its agent, which would, has none of their keys";
        return Err(Problem::new(StatusCode::CONFLICT, "people_sign", detail));
    }
    let (by, wanted, terms) = (Actor::Operator(operator.name.clone()), Wanted::Host(action), app.settings.terms.clone());
    let command = id.unwrap_or_else(ids::command_id);
    step(app, operator, AuditKind::CommandRequested, agent, Step::Request(Request { command, by, wanted, terms })).await
}

/// Calls a command off. One that has ended stays as it is, and is answered.
///
/// # Errors
/// 404 for an unknown agent or command.
pub(crate) async fn cancel(
    app: &App,
    operator: &Operator,
    agent: AgentId,
    command: CommandId,
    reason: Option<Text>,
) -> Result<CommandRecord, Problem> {
    step(app, operator, AuditKind::CommandCancelled, agent, Step::Cancel { command, by: Actor::Operator(operator.name.clone()), reason })
        .await
}

/// Asks again for a command that came to nothing; answers the new one.
///
/// # Errors
/// 403 for a role that could not have asked for it; 404 for an unknown agent or command; 409 when it came to something, or its updates are
/// not as they were.
pub(crate) async fn retry(
    app: &App,
    operator: &Operator,
    agent: AgentId,
    failed: CommandId,
    id: Option<CommandId>,
) -> Result<CommandRecord, Problem> {
    if let Some(record) = app.fleet.store().command(agent, failed).await? {
        check_role(operator, &record.action)?;
    }
    let command = id.unwrap_or_else(ids::command_id);
    step(app, operator, AuditKind::CommandRetried, agent, Step::Retry(Retry { command, failed, operator: operator.name.clone() })).await
}

/// What was looked at, and accepted.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    /// The command that brought the plan.
    pub(crate) plan: CommandId,
    /// The digest of the plan that was shown.
    pub(crate) digest: Digest,
    /// In which words.
    pub(crate) comment: Option<Text>,
}

/// Accepts a plan that goes beyond its terms (clause A1); answers the installation.
///
/// # Errors
/// 404 for an unknown agent or command; 409 when the plan is another one, or its updates are not as they were; 422 when the plan is not
/// about what was approved.
pub(crate) async fn confirm(
    app: &App,
    operator: &Operator,
    agent: AgentId,
    accepted: Accepted,
    id: Option<CommandId>,
) -> Result<CommandRecord, Problem> {
    let Accepted { plan, digest, comment } = accepted;
    let command = id.unwrap_or_else(ids::command_id);
    step(
        app,
        operator,
        AuditKind::PlanConfirmed,
        agent,
        Step::Confirm(Confirm { command, plan, digest, operator: operator.name.clone(), comment }),
    )
    .await
}

/// Halts all commands; where they are halted already, that stays as it is and is answered.
///
/// # Errors
/// 503 when the store fails.
pub(crate) async fn halt(app: &App, operator: &Operator, reason: Text) -> Result<Halt, Problem> {
    let halt = Halt { by: operator.name.clone(), at: app.now(), reason };
    let halted = halt::halt(app.fleet.store(), halt.clone()).await?;
    if halted == halt {
        app.audit.note(Note::new(AuditKind::Halted, operator.by(), halt.at).with(FactName::Reason, &halt.reason)).await?;
    }
    tracing::warn!(operator = operator.name.as_str(), reason = halted.reason.as_str(), "commands are halted");
    app.wakers.wake_all();
    Ok(halted)
}

/// Lets commands be handed out again.
///
/// # Errors
/// 503 when the store fails.
pub(crate) async fn lift(app: &App, operator: &Operator) -> Result<(), Problem> {
    if halt::lift(app.fleet.store()).await?.is_some() {
        app.audit.note(Note::new(AuditKind::HaltLifted, operator.by(), app.now())).await?;
        tracing::warn!(operator = operator.name.as_str(), "commands are not halted any more");
    }
    app.wakers.wake_all();
    Ok(())
}

/// The commands that rest on this one, oldest first: what a plan led to, or what repeats it. Of an agent that was given thousands of
/// commands since, the newest are looked through.
///
/// # Errors
/// When the store fails.
pub async fn led_to(store: &dyn Store, record: &CommandRecord) -> Result<Vec<CommandRecord>, StoreError> {
    let mut query = CommandQuery { agent: Some(record.audience.agent), size: PageSize::MAX, ..CommandQuery::default() };
    let mut found = Vec::new();
    for _ in 0..PAGES_MAX {
        let page = store.commands(&query).await?;
        let older = |position: &CommandPosition| position.requested_at < record.request.at;
        let last = page.items.last().is_none_or(|row| older(&CommandPosition::of(&row.record)));
        found.extend(page.items.into_iter().map(|row| row.record).filter(|other| other.follows == Some(record.id)));
        match page.next {
            Some(next) if !last => query.after = Some(next),
            _ => break,
        }
    }
    found.reverse();
    Ok(found)
}

/// The command a step was about; what follows from it comes behind.
///
/// # Errors
/// 500 when there is none, which is a defect.
pub(crate) fn first(commands: Vec<CommandRecord>) -> Result<CommandRecord, Problem> {
    let missing = || Problem::internal(&StoreError::caused(StoreErrorKind::Corrupt, "a step of a command answered no command"));
    commands.into_iter().next().ok_or_else(missing)
}

async fn step(app: &App, operator: &Operator, kind: AuditKind, agent: AgentId, step: Step) -> Result<CommandRecord, Problem> {
    app.audit.ready().await?;
    let record = first(app.fleet.command(agent, step, app.now()).await?)?;
    app.audit.note(command::note(kind, operator.by(), &record, app.now())).await?;
    let (action, operator) = (record.action.kind(), operator.name.as_str());
    tracing::info!(%agent, command = %record.id, %action, state = %record.state, operator, "an operator's step of a command");
    app.wakers.wake(agent);
    Ok(record)
}
