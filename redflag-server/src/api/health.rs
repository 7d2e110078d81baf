//! Health: whether the process lives, whether it can serve, and what it counts.

use crate::{
    app::AppState,
    listing, metrics,
    problem::{Problem, ProblemBody},
};
use axum::{
    extract::State,
    http::{Uri, header},
    response::IntoResponse,
};

/// The process lives.
pub(super) async fn live(uri: Uri) -> Result<&'static str, Problem> {
    listing::no_parameters(&uri)?;
    Ok("ok\n")
}

/// The database answers.
pub(super) async fn ready(State(app): State<AppState>, uri: Uri) -> Result<&'static str, Problem> {
    listing::no_parameters(&uri)?;
    app.fleet.store().get("settings", "ready").await?;
    Ok("ready\n")
}

/// What the server counts, in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "meta",
    responses((status = 200, body = String, content_type = "text/plain", description = "counters and gauges, version 0.0.4 of the format"),
        (status = 400, body = ProblemBody), (status = 401, body = ProblemBody)))]
pub(super) async fn metrics(State(app): State<AppState>, uri: Uri) -> Result<impl IntoResponse, Problem> {
    listing::no_parameters(&uri)?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics::text(&app).await?))
}
