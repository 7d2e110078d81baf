//! The trend: open updates at the end of each of the last days.

use crate::{
    app::AppState,
    listing::Parameters,
    problem::{Problem, ProblemBody},
};
use axum::{Json, extract::State, http::Uri};
use redflag_core::{
    limits,
    query::{TrendPoint, TrendQuery},
    time::Day,
};
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Days when nothing else is asked for.
const DAYS_DEFAULT: u32 = 30;

/// Which days, and of whom.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "states the parameters for the OpenAPI document; `show` reads them")]
pub(super) struct TrendParameters {
    /// How many days up to today, 1 to 400; 30 if absent.
    #[param(minimum = 1, maximum = 400)]
    days: Option<u32>,
    /// Only of this agent.
    #[param(format = Uuid)]
    agent_id: Option<String>,
}

/// Open updates day by day, oldest day first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TrendView {
    /// The days; the last is today and not over yet.
    days: Vec<DayView>,
}

/// Open updates at the end of one day.
#[derive(Debug, Serialize, ToSchema)]
struct DayView {
    /// The day in UTC, by the server's clock when it received what changed them.
    day: String,
    /// All of them.
    open: u64,
    /// By severity; words with none are absent.
    by_severity: BTreeMap<&'static str, u64>,
}

/// Open updates at the end of each of the last days, of the agents that are there now.
#[utoipa::path(get, path = "/api/v1/trend", tag = "updates", params(TrendParameters),
    responses((status = 200, body = TrendView), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody)))]
pub(super) async fn show(State(app): State<AppState>, uri: Uri) -> Result<Json<TrendView>, Problem> {
    let mut given = Parameters::read(&uri)?;
    let days = given.take_number("days", 1..=limits::TREND_DAYS_MAX)?.unwrap_or(DAYS_DEFAULT);
    let agent = given.take("agent_id")?;
    given.finish()?;
    let query = TrendQuery::new(agent, Day::of(app.now()), days)?;
    let points = app.fleet.store().trend(&query).await?;
    Ok(Json(TrendView { days: points.iter().map(DayView::from).collect() }))
}

impl From<&TrendPoint> for DayView {
    fn from(point: &TrendPoint) -> Self {
        Self {
            day: point.day.to_string(),
            open: point.open.values().sum(),
            by_severity: point.open.iter().map(|(word, count)| (word.as_str(), *count)).collect(),
        }
    }
}
