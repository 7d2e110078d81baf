//! The queue of commands: the list, whose key signs, and the emergency halt.

use super::{
    command_row::{CommandView, PATH},
    frame::{Answer, Frame, Place, page},
    list::{Chip, Choice, Walk, carried},
    text::spaced,
};
use crate::{
    access::{Operator, Role},
    app::{App, AppState},
    listing::Listing as _,
    problem::Problem,
    queue,
};
use askama::Template;
use axum::{
    extract::{Form, State},
    http::Uri,
    response::{IntoResponse as _, Redirect},
};
use redflag_core::{
    command::{lifecycle::CommandState, payload::SigningMode},
    ids::Digest,
    names::Text,
    query::{CommandFilter, CommandQuery},
    store::StoreError,
};
use serde::Deserialize;

#[derive(Template)]
#[template(path = "commands.html")]
struct CommandsPage {
    frame: Frame,
    total: u64,
    lead: String,
    states: Vec<Choice>,
    hidden: Vec<(&'static str, String)>,
    chips: Vec<Chip>,
    rows: Vec<CommandView>,
    walk: Walk,
    signer: SignerView,
    /// Whether the operator may halt all commands.
    halts: bool,
}

/// Whose key signs commands.
#[derive(Clone, Debug)]
pub(super) struct SignerView {
    pub(super) mode: SigningMode,
    /// How many people must sign a command; 0 where the server signs.
    pub(super) people: u32,
    pub(super) fingerprint: String,
    pub(super) key_id: Digest,
    /// The fingerprint of the key that was prepared to follow.
    pub(super) next: Option<String>,
}

impl SignerView {
    /// The key of this server.
    pub(super) fn of(app: &App) -> Self {
        let (key, next) = (&app.signing_key, app.next_signing_key());
        let (mode, people) = (app.settings.terms.mode, app.settings.terms.signatures_min);
        Self { mode, people, fingerprint: key.fingerprint(), key_id: key.id(), next: next.map(|key| key.fingerprint()) }
    }
}

/// `GET /commands`.
pub(super) async fn list(State(app): State<AppState>, operator: Operator, uri: Uri) -> Answer {
    let query = CommandQuery::from_uri(&uri)?;
    let found = app.fleet.store().commands(&query).await?;
    let now = app.now();
    page(&CommandsPage {
        frame: Frame::of(&app, Place::Commands, &operator).await?,
        total: found.total,
        lead: lead(query.state),
        states: states(query.state),
        hidden: carried(&query, &["agent_id", "page_size"]),
        chips: chips(&app, &query).await?,
        rows: found.items.iter().map(|row| CommandView::new(&row.agent_name, &row.record, now)).collect(),
        walk: walk(&query, found.items.len(), found.total, found.next),
        signer: SignerView::of(&app),
        halts: operator.role >= Role::Admin,
    })
}

fn lead(state: CommandFilter) -> String {
    match state {
        CommandFilter::Any => "in all, newest first".to_owned(),
        CommandFilter::Open => "that have not ended, newest first".to_owned(),
        CommandFilter::Only(state) => format!("{}, newest first", spaced(state.as_str())),
    }
}

fn states(chosen: CommandFilter) -> Vec<Choice> {
    let words = std::iter::once("open").chain(CommandState::ALL.iter().map(|state| state.as_str()));
    let chosen = chosen.to_string();
    Choice::of_words("all", Some(chosen.as_str()).filter(|word| *word != "any"), words)
}

async fn chips(app: &App, query: &CommandQuery) -> Result<Vec<Chip>, StoreError> {
    let first = CommandQuery { after: None, ..*query };
    let mut chips = Vec::new();
    if let Some(agent) = query.agent {
        let name = app.fleet.store().agent(agent).await?.map_or_else(|| agent.to_string(), |head| head.name.to_string());
        chips.push(Chip { title: format!("of {name}"), href: CommandQuery { agent: None, ..first }.href(PATH) });
    }
    if query.state != CommandFilter::Any {
        let href = CommandQuery { state: CommandFilter::Any, ..first }.href(PATH);
        chips.push(Chip { title: spaced(&query.state.to_string()), href });
    }
    Ok(chips)
}

fn walk(query: &CommandQuery, shown: usize, total: u64, next: Option<redflag_core::query::CommandPosition>) -> Walk {
    let first = CommandQuery { after: None, ..*query };
    let next = next.map(|next| CommandQuery { after: Some(next), ..*query }.href(PATH));
    let newest = query.after.is_some().then(|| first.href(PATH));
    Walk::new(shown, total, newest, next, query.size, |size| CommandQuery { size, ..first }.href(PATH))
}

/// What the form sends; the guard has checked the field `csrf`.
#[derive(Debug, Deserialize)]
pub(super) struct HaltForm {
    reason: String,
}

/// `POST /commands/halt`.
pub(super) async fn halt(State(app): State<AppState>, operator: Operator, Form(form): Form<HaltForm>) -> Answer {
    let reason = Text::parse_as("reason", form.reason.trim()).map_err(|error| Problem::parameter("reason", error.message))?;
    queue::halt(&app, &operator, reason).await?;
    Ok(Redirect::to(PATH).into_response())
}

/// `POST /commands/lift`.
pub(super) async fn lift(State(app): State<AppState>, operator: Operator) -> Answer {
    queue::lift(&app, &operator).await?;
    Ok(Redirect::to(PATH).into_response())
}
