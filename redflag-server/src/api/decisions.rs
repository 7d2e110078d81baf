//! Decisions of operators about one update: approve, withdraw the approval, ignore, reopen.
//!
//! [`decide`] is shared with the pages.

use super::{id::Id, updates, views::UpdateDetailView};
use crate::{
    access::Operator,
    app::AppState,
    body::JsonBody,
    ids,
    problem::{Problem, ProblemBody},
};
use axum::{Json, extract::State};
use redflag_core::{
    ids::{BatchId, UpdateId},
    names::Text,
    offer::OfferDigest,
    time::Timestamp,
    words::IgnoreScope,
    work::Decision,
};
use serde::Deserialize;
use utoipa::ToSchema;

/// An approval.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ApproveBody {
    /// The offer the operator saw: `offer_digest` of the update.
    #[schema(value_type = String, pattern = "^[0-9a-f]{64}$")]
    offer_digest: OfferDigest,
    /// In which words.
    #[schema(value_type = Option<String>, min_length = 1, pattern = "^[^\\x00]+$")]
    comment: Option<Text>,
    /// The client's id of this decision: the same again has one effect. Made by the server if absent.
    #[schema(value_type = Option<String>, format = Uuid)]
    decision_id: Option<BatchId>,
}

/// An ignore.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct IgnoreBody {
    /// The offer the operator saw: `offer_digest` of the update.
    #[schema(value_type = String, pattern = "^[0-9a-f]{64}$")]
    offer_digest: OfferDigest,
    /// `version` (if absent): a newer version asks again; `package`: none does.
    #[schema(value_type = Option<String>, pattern = "^(version|package)$")]
    scope: Option<IgnoreScope>,
    /// Until when.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// In which words.
    #[schema(value_type = Option<String>, min_length = 1, pattern = "^[^\\x00]+$")]
    reason: Option<Text>,
    /// The client's id of this decision.
    #[schema(value_type = Option<String>, format = Uuid)]
    decision_id: Option<BatchId>,
}

/// A decision that needs no offer.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CommentBody {
    /// In which words.
    #[schema(value_type = Option<String>, min_length = 1, pattern = "^[^\\x00]+$")]
    comment: Option<Text>,
    /// The client's id of this decision.
    #[schema(value_type = Option<String>, format = Uuid)]
    decision_id: Option<BatchId>,
}

type Decided = Result<Json<UpdateDetailView>, Problem>;

/// Approves exactly the offer shown.
#[utoipa::path(post, path = "/api/v1/updates/{id}/approve", tag = "decisions", params(("id" = String, Path)), request_body = ApproveBody,
    responses((status = 200, body = UpdateDetailView), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(super) async fn approve(
    State(app): State<AppState>,
    operator: Operator,
    Id(id): Id<UpdateId>,
    JsonBody(body): JsonBody<ApproveBody>,
) -> Decided {
    let decision = Decision::Approve { offer_digest: body.offer_digest, comment: body.comment };
    answer(&app, &operator, &id, decision, body.decision_id).await
}

/// Takes an approval back.
#[utoipa::path(post, path = "/api/v1/updates/{id}/withdraw-approval", tag = "decisions", params(("id" = String, Path)),
    request_body = CommentBody,
    responses((status = 200, body = UpdateDetailView), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(super) async fn withdraw_approval(
    State(app): State<AppState>,
    operator: Operator,
    Id(id): Id<UpdateId>,
    JsonBody(body): JsonBody<CommentBody>,
) -> Decided {
    answer(&app, &operator, &id, Decision::WithdrawApproval { comment: body.comment }, body.decision_id).await
}

/// Ignores the version shown, or the whole package.
#[utoipa::path(post, path = "/api/v1/updates/{id}/ignore", tag = "decisions", params(("id" = String, Path)), request_body = IgnoreBody,
    responses((status = 200, body = UpdateDetailView), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(super) async fn ignore(
    State(app): State<AppState>,
    operator: Operator,
    Id(id): Id<UpdateId>,
    JsonBody(body): JsonBody<IgnoreBody>,
) -> Decided {
    let IgnoreBody { offer_digest, scope, until, reason, decision_id } = body;
    let decision = Decision::Ignore { offer_digest, scope: scope.unwrap_or(IgnoreScope::Version), until, reason };
    answer(&app, &operator, &id, decision, decision_id).await
}

/// Puts an ignore, a failure or a review back to pending.
#[utoipa::path(post, path = "/api/v1/updates/{id}/reopen", tag = "decisions", params(("id" = String, Path)), request_body = CommentBody,
    responses((status = 200, body = UpdateDetailView), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody)))]
pub(super) async fn reopen(
    State(app): State<AppState>,
    operator: Operator,
    Id(id): Id<UpdateId>,
    JsonBody(body): JsonBody<CommentBody>,
) -> Decided {
    answer(&app, &operator, &id, Decision::Reopen { comment: body.comment }, body.decision_id).await
}

async fn answer(app: &AppState, operator: &Operator, id: &UpdateId, decision: Decision, decision_id: Option<BatchId>) -> Decided {
    decide(app, operator, id, decision, decision_id).await?;
    updates::known(app, id).await.map(|row| Json((&row).into()))
}

/// Records one decision of an operator about one update.
///
/// # Errors
/// 404 for an unknown update; 409 when the offer changed since it was shown or its state does not allow the decision.
pub async fn decide(
    app: &AppState,
    operator: &Operator,
    id: &UpdateId,
    decision: Decision,
    decision_id: Option<BatchId>,
) -> Result<(), Problem> {
    let batch = decision_id.unwrap_or_else(ids::batch_id);
    let decisions = vec![(id.package.clone(), decision)];
    let receipt = app.fleet.decide(id.agent, batch, operator.name.clone(), decisions, app.now()).await?;
    match receipt.rejections().next() {
        Some((_, rejection)) => Err(rejection.into()),
        None => Ok(()),
    }
}
