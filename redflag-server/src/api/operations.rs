//! Bulk decisions: how many updates one would be about, beginning one, and how far it has come.

use super::{id::Id, updates::UpdateFilterParameters};
use crate::{
    access::Operator,
    app::AppState,
    body::JsonBody,
    ids,
    listing::{self, Parameters},
    operations::{self, Confirmed, Kept},
    problem::{Problem, ProblemBody},
};
use axum::{
    Json,
    extract::State,
    http::{StatusCode, Uri},
};
use redflag_core::{bulk::BulkDecision, feed::FeedPosition, ids::OperationId, names::Text, time::Timestamp, words::IgnoreScope};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What would be decided.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "states the parameters for the OpenAPI document; `select` reads them")]
pub(super) struct SelectionParameters {
    /// `approve`, `withdraw-approval`, `ignore` or `reopen`.
    #[param(pattern = "^(approve|withdraw-approval|ignore|reopen)$")]
    decision: String,
}

/// How many updates match now, and what to confirm to decide about exactly these.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SelectionView {
    /// The filter in one form, for the field of the same name of an operation.
    filter: String,
    /// The position of the feed that these counts are of.
    as_of: u64,
    /// Updates that match.
    matching: u64,
    /// Those of them about which the decision can be made.
    possible: u64,
    /// Agents that have at least one of these.
    agents: u64,
}

/// A bulk decision about what was shown.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OperationBody {
    /// `approve`, `withdraw-approval`, `ignore` or `reopen`.
    #[schema(pattern = "^(approve|withdraw-approval|ignore|reopen)$")]
    decision: String,
    /// Which updates, as the query string of `GET /api/v1/updates` without order and page: `severity=critical&package_type=apt`.
    filter: String,
    /// `as_of` of the selection that was shown.
    as_of: u64,
    /// `possible` of the selection that was shown.
    possible: u64,
    /// In which words.
    #[schema(value_type = Option<String>, min_length = 1, pattern = "^[^\\x00]+$")]
    comment: Option<Text>,
    /// Of an ignore: `version` (if absent) or `package`.
    #[schema(value_type = Option<String>, pattern = "^(version|package)$")]
    scope: Option<IgnoreScope>,
    /// Of an ignore: until when.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// The client's id of this operation: the same again has one effect. Made by the server if absent.
    #[schema(value_type = Option<String>, format = Uuid)]
    operation_id: Option<OperationId>,
}

/// A bulk decision as it stands. At its end `done`, `changed` and `failed` add up to `possible`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OperationView {
    /// Its id.
    operation_id: String,
    /// `running`, `finished` or `failed`.
    status: &'static str,
    /// What is decided.
    decision: &'static str,
    /// Who decided it.
    operator: String,
    /// Which updates.
    filter: String,
    /// As of which position of the feed.
    as_of: u64,
    /// Updates that matched.
    matching: u64,
    /// Those of them that it is about.
    possible: u64,
    /// Agents that have at least one of these.
    agents: u64,
    /// Updates decided about.
    done: u64,
    /// Updates skipped because they changed since they were shown.
    changed: u64,
    /// Updates not decided about for another reason, as that their agent was removed.
    failed: u64,
    /// When it began.
    started_at: String,
    /// When it ended.
    finished_at: Option<String>,
    /// Why it ended before its end.
    failure: Option<String>,
}

/// Counts what a bulk decision would be about now.
#[utoipa::path(get, path = "/api/v1/selection", tag = "decisions", params(UpdateFilterParameters, SelectionParameters),
    responses((status = 200, body = SelectionView), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody)))]
pub(super) async fn select(State(app): State<AppState>, uri: Uri) -> Result<Json<SelectionView>, Problem> {
    let mut given = Parameters::read(&uri)?;
    let filter = listing::take_filter(&mut given)?;
    let decision: Option<String> = given.take("decision")?;
    given.finish()?;
    let decision = decision.ok_or_else(|| Problem::parameter("decision", "is needed: what would be decided"))?;
    let decision = operations::decision(&decision, None, None, None)?;
    let selection = app.fleet.selection_now(filter).await?;
    let selected = app.fleet.select(&selection, &decision).await?;
    Ok(Json(SelectionView {
        filter: listing::filter_query(&selection.filter),
        as_of: selection.as_of.0,
        matching: selected.matching,
        possible: selected.possible,
        agents: selected.agents,
    }))
}

/// Begins a bulk decision about exactly what was shown; it goes on after the answer. What changes meanwhile is skipped and counted.
#[utoipa::path(post, path = "/api/v1/operations", tag = "decisions", request_body = OperationBody,
    responses((status = 202, body = OperationView), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(super) async fn start(
    State(app): State<AppState>,
    operator: Operator,
    JsonBody(body): JsonBody<OperationBody>,
) -> Result<(StatusCode, Json<OperationView>), Problem> {
    let OperationBody { decision, filter, as_of, possible, comment, scope, until, operation_id } = body;
    let id = operation_id.unwrap_or_else(ids::operation_id);
    let confirmed = Confirmed {
        operator: operator.name,
        decision: operations::decision(&decision, comment, scope, until)?,
        filter: listing::filter_query(&operations::filter_of(&filter)?),
        as_of: FeedPosition(as_of),
        possible,
    };
    let kept = operations::start(&app, id, confirmed).await?;
    Ok((StatusCode::ACCEPTED, Json(OperationView::new(id, &kept))))
}

/// A bulk decision as it stands.
#[utoipa::path(get, path = "/api/v1/operations/{id}", tag = "decisions", params(("id" = String, Path)),
    responses((status = 200, body = OperationView), (status = 401, body = ProblemBody), (status = 404, body = ProblemBody)))]
pub(super) async fn one(State(app): State<AppState>, Id(id): Id<OperationId>, uri: Uri) -> Result<Json<OperationView>, Problem> {
    listing::no_parameters(&uri)?;
    Ok(Json(OperationView::new(id, &operations::find(&app, id).await?)))
}

impl OperationView {
    fn new(id: OperationId, kept: &Kept) -> Self {
        let Kept { confirmed, selected, started_at, counts, finished_at, failure } = kept;
        Self {
            operation_id: id.to_string(),
            status: kept.status(),
            decision: word(&confirmed.decision),
            operator: confirmed.operator.to_string(),
            filter: confirmed.filter.clone(),
            as_of: confirmed.as_of.0,
            matching: selected.matching,
            possible: selected.possible,
            agents: selected.agents,
            done: counts.done,
            changed: counts.changed,
            failed: counts.failed,
            started_at: started_at.to_string(),
            finished_at: finished_at.map(|at| at.to_string()),
            failure: failure.clone(),
        }
    }
}

const fn word(decision: &BulkDecision) -> &'static str {
    match decision {
        BulkDecision::Approve { .. } => "approve",
        BulkDecision::WithdrawApproval { .. } => "withdraw-approval",
        BulkDecision::Ignore { .. } => "ignore",
        BulkDecision::Reopen { .. } => "reopen",
    }
}
