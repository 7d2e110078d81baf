//! Removing an agent: a page that says what will go, whose one button does it, and a page that says what went.

use super::{
    frame::{Answer, Frame, Place, page},
    text::{self, When},
    update_row::agent_href,
};
use crate::{access::Operator, api, app::AppState, listing::no_parameters, problem::Problem};
use askama::Template;
use axum::{
    extract::{Form, Path, State},
    http::Uri,
};
use redflag_core::{
    ids::AgentId,
    names::Text,
    query::{StatusFilter, UpdateFilter},
};
use serde::Deserialize;

#[derive(Template)]
#[template(path = "agent_removal.html")]
struct RemovalPage {
    frame: Frame,
    name: Text,
    href: String,
    id: AgentId,
    updates: u64,
    events: u64,
    batches: u64,
    last_contact: Option<When>,
}

#[derive(Template)]
#[template(path = "agent_removed.html")]
struct RemovedPage {
    frame: Frame,
    name: Text,
    id: AgentId,
    events: u64,
    batches: u64,
    by: String,
    at: When,
    reason: Option<Text>,
}

/// Where the page is on which an agent can be removed.
pub(super) fn removal_href(agent: AgentId) -> String {
    format!("{}/remove", agent_href(agent))
}

/// `GET /agents/{id}/remove`: looking at it removes nothing.
pub(super) async fn show(State(app): State<AppState>, operator: Operator, Path(id): Path<String>, uri: Uri) -> Answer {
    no_parameters(&uri)?;
    let agent = read(&id)?;
    let store = app.fleet.store();
    let head = store.agent(agent).await?.ok_or_else(unknown)?;
    let all = UpdateFilter { agent: Some(agent), status: StatusFilter::Any, ..UpdateFilter::default() };
    page(&RemovalPage {
        frame: Frame::within(&app, Place::Agents, &operator).await?,
        href: agent_href(agent),
        id: agent,
        updates: store.stats(&all).await?.total,
        events: head.events,
        batches: head.batches,
        last_contact: head.last_contact_at.map(|at| When::seen_from(app.now(), at)),
        name: head.name,
    })
}

/// What the form sends; the guard has checked the field `csrf`.
#[derive(Debug, Deserialize)]
pub(super) struct RemovalForm {
    reason: String,
}

/// `POST /agents/{id}/remove`.
pub(super) async fn remove(
    State(app): State<AppState>,
    operator: Operator,
    Path(id): Path<String>,
    Form(form): Form<RemovalForm>,
) -> Answer {
    let agent = read(&id)?;
    let reason = Text::parse_as("reason", form.reason.trim()).map_err(|error| Problem::parameter("reason", error.message))?;
    let removed = api::remove(&app, &operator, agent, reason).await?;
    page(&RemovedPage {
        frame: Frame::within(&app, Place::Agents, &operator).await?,
        id: removed.agent,
        events: removed.events,
        batches: removed.batches,
        by: text::actor(&removed.actor),
        at: When::seen_from(app.now(), removed.removed_at),
        name: removed.name,
        reason: removed.reason,
    })
}

fn read(id: &str) -> Result<AgentId, Problem> {
    id.parse().map_err(|_| unknown())
}

fn unknown() -> Problem {
    Problem::not_found("no agent has this address")
}
