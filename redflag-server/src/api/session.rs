//! The session of the caller, so that scripts learn their CSRF token.

use crate::{
    access::Operator,
    listing,
    problem::{Problem, ProblemBody},
};
use axum::{Json, http::Uri};
use serde::Serialize;
use utoipa::ToSchema;

/// A session.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionView {
    /// The operator's name, as decisions record it.
    operator: String,
    /// `viewer`, `approver` or `admin`.
    role: String,
    /// What the header `x-csrf-token` of every POST and DELETE must hold.
    csrf: String,
    /// When the session ends at the latest; one that nobody uses ends after an hour.
    expires_at: String,
}

/// Who is signed in.
#[utoipa::path(get, path = "/api/v1/session", tag = "meta",
    responses((status = 200, body = SessionView), (status = 401, body = ProblemBody)))]
pub(super) async fn show(operator: Operator, uri: Uri) -> Result<Json<SessionView>, Problem> {
    listing::no_parameters(&uri)?;
    let Operator { name, role, csrf, expires_at, .. } = operator;
    Ok(Json(SessionView {
        operator: name.to_string(),
        role: role.to_string(),
        csrf: csrf.unwrap_or_default(),
        expires_at: expires_at.to_string(),
    }))
}
