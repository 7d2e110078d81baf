//! One command: what is to be done for whom, where it stands, its plan and output, what came of it, and what can be done about it.

use super::{
    command_row::{CommandView, command_href},
    frame::{Answer, Frame, Place, page, page_with},
    plan_view::{self, PlanView},
    server_url,
    text::{self, When},
};
use crate::{
    access::{Operator, Role},
    app::{App, AppState},
    ids,
    listing::no_parameters,
    people::{self, ListedKey},
    problem::Problem,
    queue::{self, Accepted},
};
use askama::Template;
use axum::{
    extract::{Form, Path, State},
    http::{StatusCode, Uri},
    response::{IntoResponse as _, Redirect},
};
use redflag_core::{
    command::{
        lifecycle::{CommandEvent, CommandState, Move, moves},
        payload::CommandApproval,
        plan::Item,
        record::{CommandRecord, End, Ending},
    },
    ids::{AgentId, CommandId, Digest, UpdateId},
    names::Text,
    signing,
    time::Timestamp,
};
use serde::Deserialize;

/// Seconds after which the page of a running command looks again, and that of one that waits.
const REFRESH_RUNNING: u32 = 2;
const REFRESH_WAITING: u32 = 10;
/// Packages a page names.
const ITEMS_MAX: usize = 500;

#[derive(Template)]
#[template(path = "command.html")]
struct CommandPage {
    frame: Frame,
    /// Why the last step was not taken.
    conflict: Option<String>,
    row: CommandView,
    facts: Vec<(&'static str, String)>,
    times: Vec<(&'static str, When)>,
    items: Vec<ItemRow>,
    /// Packages that are not shown.
    more: u64,
    plan: Option<PlanView>,
    output: Vec<String>,
    /// What a person runs to sign it, while it waits for that.
    to_sign: Option<String>,
    late: Vec<LateView>,
    follows: Option<CommandView>,
    led_to: Vec<CommandView>,
    steps: Steps,
    /// The id that what comes of a form will have, so that a form sent twice has one effect.
    next_id: CommandId,
    /// Seconds until the page looks again; none at the end.
    refresh: Option<u32>,
}

struct ItemRow {
    item: Item,
    href: String,
}

/// What the agent said after the end.
struct LateView {
    words: String,
    output: Vec<String>,
    at: When,
}

/// What the operator can do about the command now.
struct Steps {
    cancel: bool,
    retry: bool,
    confirm: bool,
}

impl Steps {
    fn of(record: &CommandRecord, plan: Option<&PlanView>, led_to: &[CommandRecord], operator: &Operator) -> Self {
        let approver = operator.role >= Role::Approver;
        let ended_badly = moves(CommandEvent::Retry, record.state) != Move::Forbidden;
        Self {
            cancel: approver && record.state.open(),
            retry: operator.role >= queue::role_for(&record.action) && ended_badly && led_to.is_empty(),
            confirm: approver && led_to.is_empty() && plan.is_some_and(|plan| plan.confirmable),
        }
    }

    fn is_empty(&self) -> bool {
        !(self.cancel || self.retry || self.confirm)
    }
}

type Ids = Path<(String, String)>;

/// `GET /commands/{agent}/{command}`.
pub(super) async fn show(State(app): State<AppState>, operator: Operator, Path(ids): Ids, uri: Uri) -> Answer {
    no_parameters(&uri)?;
    answer(&app, &operator, &find(&app, ids).await?, None).await
}

async fn find(app: &App, (agent, command): (String, String)) -> Result<CommandRecord, Problem> {
    let unknown = || Problem::not_found("no command has this address");
    let agent: AgentId = agent.parse().map_err(|_| unknown())?;
    let command: CommandId = command.parse().map_err(|_| unknown())?;
    app.fleet.store().command(agent, command).await?.ok_or_else(unknown)
}

async fn answer(app: &App, operator: &Operator, record: &CommandRecord, conflict: Option<String>) -> Answer {
    let (store, agent, now) = (app.fleet.store(), record.audience.agent, app.now());
    let head = store.agent(agent).await?.ok_or_else(|| Problem::not_found("no agent has this address"))?;
    let led_to = queue::led_to(store, record).await?;
    let before = match record.follows {
        Some(before) => store.command(agent, before).await?,
        None => None,
    };
    let view = |record: &CommandRecord| CommandView::new(&head.name, record, now);
    let plan = PlanView::of(record);
    let items = record.action.items().iter();
    let href = |item: &Item| format!("/updates/{}", UpdateId { agent, package: item.package.clone() });
    let template = CommandPage {
        frame: Frame::within(app, Place::Commands, operator).await?,
        row: view(record),
        facts: facts(record, &people::keys(store).await?),
        times: times(record, now),
        more: record.action.items().len().saturating_sub(ITEMS_MAX) as u64,
        items: items.take(ITEMS_MAX).map(|item| ItemRow { href: href(item), item: item.clone() }).collect(),
        output: output(app, record),
        to_sign: to_sign(app, record),
        late: record.late.iter().map(|end| late(end, now)).collect(),
        follows: before.as_ref().map(view),
        steps: Steps::of(record, plan.as_ref(), &led_to, operator),
        led_to: led_to.iter().map(view).collect(),
        plan,
        next_id: ids::command_id(),
        refresh: refresh(record.state),
        conflict,
    };
    let status = if template.conflict.is_some() { StatusCode::CONFLICT } else { StatusCode::OK };
    page_with(status, &template)
}

const fn refresh(state: CommandState) -> Option<u32> {
    match state {
        CommandState::Started => Some(REFRESH_RUNNING),
        state if state.open() => Some(REFRESH_WAITING),
        _ => None,
    }
}

fn facts(record: &CommandRecord, keys: &[ListedKey]) -> Vec<(&'static str, String)> {
    let approvals: Vec<_> = approvals(record).map(|approval| approval.actor.to_string()).collect();
    let mut facts = vec![("Asked for by", text::actor(&record.request.by))];
    if !approvals.is_empty() {
        facts.push(("Approved by", approvals.join(", ")));
    }
    if let Some(end) = &record.end {
        facts.push(("Ended by", text::actor(&end.by)));
    }
    if record.attempts > 0 {
        facts.push(("Handed out", text::counted(record.attempts.into(), "time", "times")));
    }
    facts.push(("Mode", plan_view::signing(&record.terms)));
    facts.extend(signed_by(record, keys).map(|signers| ("Signed by", signers)));
    facts.extend(record.counter.map(|counter| ("Counter", text::grouped(counter))));
    facts
}

/// The consents to what it changes; whoever asks for something that changes no package consents by asking.
fn approvals(record: &CommandRecord) -> impl Iterator<Item = &CommandApproval> {
    record.approvals.iter().filter(|_| !record.action.items().is_empty())
}

/// The people who signed it; none where nobody has, or the server signs.
fn signed_by(record: &CommandRecord, keys: &[ListedKey]) -> Option<String> {
    let signer = |key_id: &Digest| match keys.iter().find(|key| key.public_key.id() == *key_id) {
        Some(ListedKey { person, revoked: None, .. }) => person.to_string(),
        Some(ListedKey { person, .. }) => format!("{person} (with a key that was revoked)"),
        None => format!("an unknown key, {}", signing::fingerprint_of(key_id)),
    };
    let signers: Vec<_> = record.signatures.keys().map(signer).collect();
    Some(signers.join(", ")).filter(|signers| !signers.is_empty())
}

fn to_sign(app: &App, record: &CommandRecord) -> Option<String> {
    let waits = record.state == CommandState::AwaitingSignature;
    waits.then(|| format!("redflag-server sign --server {} --agent {} --command {}", server_url(app), record.audience.agent, record.id))
}

fn times(record: &CommandRecord, now: Timestamp) -> Vec<(&'static str, When)> {
    let when = |at: Timestamp| When::seen_from(now, at);
    let mut times = vec![("Asked for", when(record.request.at))];
    times.extend(approvals(record).map(|approval| approval.at).max().map(|at| ("Approved", when(at))));
    if record.not_before > record.request.at {
        times.push(("Not before", when(record.not_before)));
    }
    times.extend(record.leased_until.map(|until| ("To be begun until", when(until))));
    times.extend(record.started_at.map(|at| ("Begun", when(at))));
    match &record.end {
        Some(end) => times.push(("Ended", when(end.at))),
        None => times.push(("Expires", when(record.expires_at))),
    }
    times
}

/// What its tools printed, line by line: kept with the result, or as far as it has come.
fn output(app: &App, record: &CommandRecord) -> Vec<String> {
    match record.end.as_ref().map(|end| printed(&end.how)).filter(|output| !output.is_empty()) {
        Some(kept) => text::printed(kept),
        None => app.outputs.of(record.audience.agent, record.id).map_or_else(Vec::new, |output| text::printed(&output.text)),
    }
}

fn printed(how: &Ending) -> &str {
    match how {
        Ending::Succeeded(success) => &success.output,
        Ending::Failed(failure) => &failure.output,
        Ending::Refused(_) | Ending::Expired { .. } | Ending::Cancelled { .. } => "",
    }
}

fn late(end: &End, now: Timestamp) -> LateView {
    let words =
        end.how.reason().map_or_else(|| "The agent said that it was carried out".to_owned(), |reason| format!("The agent said: {reason}"));
    LateView { words, output: text::printed(printed(&end.how)), at: When::seen_from(now, end.at) }
}

#[derive(Template)]
#[template(path = "command_cancel.html")]
struct CancelPage {
    frame: Frame,
    row: CommandView,
}

/// `GET /commands/{agent}/{command}/cancel`: looking at it calls nothing off. A page of its own, because the command's refreshes itself.
pub(super) async fn ask_cancel(State(app): State<AppState>, operator: Operator, Path(ids): Ids, uri: Uri) -> Answer {
    no_parameters(&uri)?;
    let record = find(&app, ids).await?;
    let agent = record.audience.agent;
    let head = app.fleet.store().agent(agent).await?.ok_or_else(|| Problem::not_found("no agent has this address"))?;
    let frame = Frame::within(&app, Place::Commands, &operator).await?;
    page(&CancelPage { frame, row: CommandView::new(&head.name, &record, app.now()) })
}

/// What the forms of the steps send; the guard has checked the field `csrf`.
#[derive(Debug, Deserialize)]
pub(super) struct StepForm {
    /// The id of what comes of it.
    id: Option<CommandId>,
    /// Of a confirmation: the plan that was shown.
    plan_digest: Option<Digest>,
    #[serde(default)]
    comment: String,
}

impl StepForm {
    fn comment(&self) -> Result<Option<Text>, Problem> {
        let comment = Some(self.comment.trim()).filter(|comment| !comment.is_empty());
        let comment = comment.map(|comment| Text::parse_as("comment", comment)).transpose();
        comment.map_err(|error| Problem::parameter("comment", error.message))
    }
}

/// `POST /commands/{agent}/{command}/cancel`.
pub(super) async fn cancel(State(app): State<AppState>, operator: Operator, Path(ids): Ids, Form(form): Form<StepForm>) -> Answer {
    let record = find(&app, ids).await?;
    let taken = queue::cancel(&app, &operator, record.audience.agent, record.id, form.comment()?).await;
    arrive(&app, &operator, &record, taken).await
}

/// `POST /commands/{agent}/{command}/retry`.
pub(super) async fn retry(State(app): State<AppState>, operator: Operator, Path(ids): Ids, Form(form): Form<StepForm>) -> Answer {
    let record = find(&app, ids).await?;
    let taken = queue::retry(&app, &operator, record.audience.agent, record.id, form.id).await;
    arrive(&app, &operator, &record, taken).await
}

/// `POST /commands/{agent}/{command}/confirm`.
pub(super) async fn confirm(State(app): State<AppState>, operator: Operator, Path(ids): Ids, Form(form): Form<StepForm>) -> Answer {
    let record = find(&app, ids).await?;
    let digest = form.plan_digest.ok_or_else(|| Problem::parameter("plan_digest", "is needed: which plan was looked at"))?;
    let accepted = Accepted { plan: record.id, digest, comment: form.comment()? };
    let taken = queue::confirm(&app, &operator, record.audience.agent, accepted, form.id).await;
    arrive(&app, &operator, &record, taken).await
}

/// The page of the command that a step led to, or why it led nowhere.
async fn arrive(app: &App, operator: &Operator, record: &CommandRecord, taken: Result<CommandRecord, Problem>) -> Answer {
    match taken {
        Ok(taken) => Ok(Redirect::to(&command_href(taken.audience.agent, taken.id)).into_response()),
        Err(problem) if matches!(problem.status(), StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY) => {
            answer(app, operator, record, Some(problem.detail().to_owned())).await
        }
        Err(problem) => Err(problem.into()),
    }
}
