//! Batches: the list, and one of them with what became of each event.

use super::{id::Ids, views::text};
use crate::{
    app::AppState,
    listing::{self, Listing},
    problem::{Problem, ProblemBody},
};
use axum::{Json, extract::State, http::Uri};
use redflag_core::{
    batch::{BatchRecord, Outcome, RejectedItem},
    event::Source,
    ids::{AgentId, BatchId},
    query::BatchQuery,
};
use serde::Serialize;
use utoipa::ToSchema;

/// What narrows a list of batches.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "states the parameters for the OpenAPI document; `crate::listing` reads them")]
pub(super) struct BatchListParameters {
    /// The page, from 1.
    #[param(minimum = 1, maximum = 4_294_967_295_u64)]
    page: Option<u64>,
    /// Rows on a page, 1 to 500; 50 if absent.
    #[param(minimum = 1, maximum = 500)]
    page_size: Option<u32>,
    /// Only of this agent.
    #[param(format = Uuid)]
    agent_id: Option<String>,
    /// `true`: only those with rejected events.
    with_rejections: Option<bool>,
}

/// A page of batches, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchListView {
    /// The rows.
    batches: Vec<BatchRowView>,
    /// Batches of the whole list.
    total: u64,
    /// The page asked for.
    page: u32,
    /// Rows a page holds.
    page_size: u32,
}

/// One batch.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchView {
    /// Its id, scoped to its agent.
    batch_id: String,
    /// The agent.
    agent_id: String,
    /// Its number in the agent's stream.
    number: u64,
    /// Who caused it.
    actor: String,
    /// `report`, `decision`, `submitted` or `command`.
    source: &'static str,
    /// The report it is part of.
    report_id: Option<String>,
    /// The command of whose steps it tells.
    command_id: Option<String>,
    /// When the server received it.
    received_at: String,
    /// Events submitted.
    submitted: u32,
    /// Events accepted.
    accepted: u32,
    /// Events that were duplicates.
    duplicate: u32,
    /// Events rejected.
    rejected: u32,
}

/// One batch in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchRowView {
    /// The batch.
    #[serde(flatten)]
    batch: BatchView,
    /// The agent's name.
    agent_name: String,
}

/// One batch with what became of each of its events.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchDetailView {
    /// The batch.
    #[serde(flatten)]
    batch: BatchView,
    /// One outcome per event, dense and index-aligned.
    #[schema(value_type = Vec<super::openapi::wire::reports::Outcome>)]
    outcomes: Vec<Outcome>,
    /// The rejected events with what is left of them.
    rejections: Vec<RejectionView>,
}

/// One rejected event.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RejectionView {
    /// Its index in the batch.
    index: u32,
    /// The stable reason.
    code: &'static str,
    /// The field at fault.
    field: String,
    /// Why, for people.
    message: String,
    /// The package, where it could be read.
    package_type: Option<String>,
    /// Its name.
    package_name: Option<String>,
    /// Its architecture.
    arch: Option<String>,
    /// The start of what was submitted.
    excerpt: String,
}

/// A page of batches, newest first.
#[utoipa::path(get, path = "/api/v1/batches", tag = "batches", params(BatchListParameters),
    responses((status = 200, body = BatchListView), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody)))]
pub(super) async fn list(State(app): State<AppState>, uri: Uri) -> Result<Json<BatchListView>, Problem> {
    let query = BatchQuery::from_uri(&uri)?;
    let page = app.fleet.store().batches(&query).await?;
    let rows = page.items.iter();
    let batches = rows.map(|row| BatchRowView { batch: (&row.record).into(), agent_name: row.agent_name.to_string() }).collect();
    Ok(Json(BatchListView { batches, total: page.total, page: query.page.get(), page_size: query.size.get() }))
}

/// One batch: its receipt with an outcome for every event, and the rejected events.
#[utoipa::path(get, path = "/api/v1/batches/{agent_id}/{batch_id}", tag = "batches",
    params(("agent_id" = String, Path), ("batch_id" = String, Path)),
    responses((status = 200, body = BatchDetailView), (status = 401, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub(super) async fn one(
    State(app): State<AppState>,
    Ids(agent, batch): Ids<AgentId, BatchId>,
    uri: Uri,
) -> Result<Json<BatchDetailView>, Problem> {
    listing::no_parameters(&uri)?;
    let store = app.fleet.store();
    let record = store.batch(agent, batch).await?.ok_or_else(|| Problem::not_found(format!("no batch {batch} of agent {agent}")))?;
    let rejections = store.rejections(agent, batch).await?;
    Ok(Json(BatchDetailView {
        batch: (&record).into(),
        outcomes: record.receipt.outcomes().collect(),
        rejections: rejections.iter().map(RejectionView::from).collect(),
    }))
}

impl From<&BatchRecord> for BatchView {
    fn from(record: &BatchRecord) -> Self {
        let receipt = &record.receipt;
        let (source, report_id, command_id) = match record.source {
            Source::Report { report_id } => ("report", Some(report_id.to_string()), None),
            Source::Decision => ("decision", None, None),
            Source::Submitted => ("submitted", None, None),
            Source::Command { command } => ("command", None, Some(command.to_string())),
        };
        Self {
            batch_id: receipt.batch.to_string(),
            agent_id: receipt.agent.to_string(),
            number: receipt.number,
            actor: record.actor.to_string(),
            source,
            report_id,
            command_id,
            received_at: receipt.received_at.to_string(),
            submitted: receipt.submitted,
            accepted: receipt.accepted,
            duplicate: receipt.duplicate,
            rejected: receipt.rejected,
        }
    }
}

impl From<&RejectedItem> for RejectionView {
    fn from(item: &RejectedItem) -> Self {
        let package = item.package.as_ref();
        Self {
            index: item.index,
            code: item.rejection.code.as_str(),
            field: item.rejection.field.clone(),
            message: item.rejection.message.clone(),
            package_type: package.map(|package| package.manager.to_string()),
            package_name: package.map(|package| package.name.to_string()),
            arch: package.and_then(|package| text(package.arch.as_ref())),
            excerpt: item.excerpt.clone(),
        }
    }
}
