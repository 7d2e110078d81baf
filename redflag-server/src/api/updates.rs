//! Updates: the list, one update, its version history and its events.

use super::{
    id::Id,
    views::{EventView, StatsView, UpdateDetailView, UpdateView, VersionChangeView},
};
use crate::{
    app::AppState,
    listing::{self, Listing},
    problem::{Problem, ProblemBody},
};
use axum::{Json, extract::State, http::Uri};
use redflag_core::{
    ids::UpdateId,
    query::{PageStart, UpdateQuery, UpdateRow},
};
use serde::Serialize;
use utoipa::ToSchema;

/// Which updates; an empty value counts as absent.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "states the parameters for the OpenAPI document; `crate::listing` reads them")]
pub(super) struct UpdateFilterParameters {
    /// Only of this agent.
    #[param(format = Uuid)]
    agent_id: Option<String>,
    /// A status, `open` (if absent) or `any`.
    status: Option<String>,
    /// Only of this severity.
    severity: Option<String>,
    /// Only of this manager.
    #[param(pattern = "^[a-z][a-z0-9._-]*$", max_length = 32)]
    package_type: Option<String>,
    /// Only of this availability.
    availability: Option<String>,
    /// Only security updates (`true`) or only others (`false`).
    security: Option<bool>,
    /// A text in the package's name, taken literally; at most 128 bytes.
    #[param(max_length = 128, pattern = "^([^\\x00]*[^\\x00\\s][^\\x00]*)?$")]
    search: Option<String>,
}

/// Which part of a list of updates, in which order; an empty value counts as absent.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "states the parameters for the OpenAPI document; `crate::listing` reads them")]
pub(super) struct UpdateListParameters {
    /// The page, from 1; excludes `after`.
    #[param(minimum = 1, maximum = 4_294_967_295_u64)]
    page: Option<u64>,
    /// Rows on a page, 1 to 500; 50 if absent.
    #[param(minimum = 1, maximum = 500)]
    page_size: Option<u32>,
    /// `severity` (if absent), `name`, `agent` or `last-change`; with `-` before it wholly reversed.
    #[param(pattern = "^-?(severity|name|agent|last-change)$")]
    sort: Option<String>,
    /// Right after the row that this cursor names; from `next` of a page of the same list.
    after: Option<String>,
}

/// A page of updates.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UpdateListView {
    /// The rows.
    updates: Vec<UpdateView>,
    /// Rows of the whole list.
    total: u64,
    /// The page asked for; 1 where a cursor was.
    page: u32,
    /// Rows a page holds.
    page_size: u32,
    /// Counts over the whole list.
    stats: StatsView,
    /// The cursor of the next page; none on the last.
    next: Option<String>,
}

/// The counts of a fleet.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FleetStatsView {
    /// Counts over the updates that pass the filter.
    updates: StatsView,
    /// Enrolled agents.
    agents: u64,
}

/// A page of updates with the counts of the whole list, of one moment.
#[utoipa::path(get, path = "/api/v1/updates", tag = "updates", params(UpdateFilterParameters, UpdateListParameters),
    responses((status = 200, body = UpdateListView), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody)))]
pub(super) async fn list(State(app): State<AppState>, uri: Uri) -> Result<Json<UpdateListView>, Problem> {
    let query = UpdateQuery::from_uri(&uri)?;
    let page = app.fleet.store().updates(&query).await?;
    let number = match query.start {
        PageStart::Number(number) => number.get(),
        PageStart::After(_) => 1,
    };
    Ok(Json(UpdateListView {
        updates: page.items.iter().map(UpdateView::from).collect(),
        total: page.stats.total,
        page: number,
        page_size: query.size.get(),
        stats: (&page.stats).into(),
        next: page.next.map(|cursor| cursor.as_str().to_owned()),
    }))
}

/// The counts alone.
#[utoipa::path(get, path = "/api/v1/stats", tag = "updates", params(UpdateFilterParameters),
    responses((status = 200, body = FleetStatsView), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody)))]
pub(super) async fn stats(State(app): State<AppState>, uri: Uri) -> Result<Json<FleetStatsView>, Problem> {
    let filter = listing::filter_from_uri(&uri)?;
    let store = app.fleet.store();
    let updates = (&store.stats(&filter).await?).into();
    let agents = store.agents(&redflag_core::query::AgentQuery::default()).await?.total;
    Ok(Json(FleetStatsView { updates, agents }))
}

/// One update, with who decided what.
#[utoipa::path(get, path = "/api/v1/updates/{id}", tag = "updates", params(("id" = String, Path)),
    responses((status = 200, body = UpdateDetailView), (status = 401, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub(super) async fn one(State(app): State<AppState>, Id(id): Id<UpdateId>, uri: Uri) -> Result<Json<UpdateDetailView>, Problem> {
    listing::no_parameters(&uri)?;
    known(&app, &id).await.map(|row| Json((&row).into()))
}

/// The versions that were installed, oldest first.
#[utoipa::path(get, path = "/api/v1/updates/{id}/history", tag = "updates", params(("id" = String, Path)),
    responses((status = 200, body = Vec<VersionChangeView>), (status = 401, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub(super) async fn history(State(app): State<AppState>, Id(id): Id<UpdateId>, uri: Uri) -> Result<Json<Vec<VersionChangeView>>, Problem> {
    listing::no_parameters(&uri)?;
    known(&app, &id).await?;
    let history = app.fleet.store().history(&id).await?;
    Ok(Json(history.iter().map(VersionChangeView::from).collect()))
}

/// Everything that happened to the update, oldest first.
#[utoipa::path(get, path = "/api/v1/updates/{id}/events", tag = "updates", params(("id" = String, Path)),
    responses((status = 200, body = Vec<EventView>), (status = 401, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub(super) async fn events(State(app): State<AppState>, Id(id): Id<UpdateId>, uri: Uri) -> Result<Json<Vec<EventView>>, Problem> {
    listing::no_parameters(&uri)?;
    known(&app, &id).await?;
    let events = app.fleet.store().events(&id).await?;
    Ok(Json(events.iter().map(EventView::from).collect()))
}

/// The update of this id, or a 404 problem.
pub(super) async fn known(app: &AppState, id: &UpdateId) -> Result<UpdateRow, Problem> {
    app.fleet.store().update(id).await?.ok_or_else(|| Problem::not_found(format!("no update {id}")))
}
