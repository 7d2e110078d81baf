//! Health: whether the process lives, and whether it can serve.

use crate::{app::AppState, listing, problem::Problem};
use axum::{extract::State, http::Uri};

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
