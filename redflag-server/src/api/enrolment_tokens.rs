//! The tokens with which agents enrol.

use crate::{
    access::{EnrolmentTokenOptions, Operator, SEATS_MAX, administration},
    app::AppState,
    body::JsonBody,
    problem::{Problem, ProblemBody},
};
use axum::{Json, extract::State, http::StatusCode};
use redflag_core::names::Text;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;

/// Most hours for which an enrolment token can be asked.
const ENROLMENT_HOURS_MAX: u32 = 24 * 366;

/// What a new enrolment token allows.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EnrolmentTokenBody {
    /// How many agents it enrols, 1 to 2,000.
    #[schema(minimum = 1, maximum = 2000)]
    seats: u32,
    /// For how many hours, 1 to 8,784.
    #[schema(minimum = 1, maximum = 8784)]
    expires_in_hours: u32,
    /// What it is for.
    #[schema(value_type = Option<String>, min_length = 1, pattern = "^[^\\x00]+$")]
    label: Option<Text>,
}

/// An enrolment token just made.
#[derive(Serialize, ToSchema)]
pub(super) struct EnrolmentTokenView {
    /// The token; it is here and nowhere else.
    token: String,
    /// How many agents it enrols.
    seats: u32,
    /// When it ends.
    expires_at: String,
}

/// Makes a token with which agents enrol.
#[utoipa::path(post, path = "/api/v1/enrolment-tokens", tag = "agents", request_body = EnrolmentTokenBody,
    responses((status = 201, body = EnrolmentTokenView), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 403, body = ProblemBody)))]
pub(super) async fn make(
    State(app): State<AppState>,
    operator: Operator,
    JsonBody(body): JsonBody<EnrolmentTokenBody>,
) -> Result<(StatusCode, Json<EnrolmentTokenView>), Problem> {
    let EnrolmentTokenBody { seats, expires_in_hours: hours, label } = body;
    if !(1..=SEATS_MAX).contains(&seats) {
        return Err(Problem::parameter("seats", format!("must be 1 to {SEATS_MAX}")));
    }
    if !(1..=ENROLMENT_HOURS_MAX).contains(&hours) {
        return Err(Problem::parameter("expires_in_hours", format!("must be 1 to {ENROLMENT_HOURS_MAX}")));
    }
    let options = EnrolmentTokenOptions { seats, expires_in: Duration::from_secs(u64::from(hours) * 60 * 60), label };
    let (token, expires_at) = administration::make_enrolment_token(&app, &operator, options).await?;
    let view = EnrolmentTokenView { token: token.expose().to_owned(), seats, expires_at: expires_at.to_string() };
    Ok((StatusCode::CREATED, Json(view)))
}
