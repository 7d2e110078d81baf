//! The state of an update at a past moment.

use super::{id::Id, views::UpdateDetailView};
use crate::{
    app::AppState,
    listing::Parameters,
    problem::{Problem, ProblemBody},
};
use axum::{Json, extract::State, http::Uri};
use redflag_core::{feed::FeedPosition, ids::UpdateId, past::Moment, query::UpdateRow};

/// Which moment: one of the two.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "states the parameters for the OpenAPI document; `moment` reads them")]
pub(super) struct MomentParameters {
    /// After this event of the agent's stream, by its number.
    sequence: Option<u64>,
    /// After this position of the feed.
    position: Option<u64>,
}

/// One update as it was at a past moment; the agent's name is that of today. Reads the agent's log up to that moment.
#[utoipa::path(get, path = "/api/v1/updates/{id}/past", tag = "updates", params(("id" = String, Path), MomentParameters),
    responses((status = 200, body = UpdateDetailView), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody),
        (status = 404, body = ProblemBody, description = "there was no such update then"),
        (status = 410, body = ProblemBody, description = "retention has taken that part of the log")))]
pub(super) async fn state(State(app): State<AppState>, Id(id): Id<UpdateId>, uri: Uri) -> Result<Json<UpdateDetailView>, Problem> {
    let moment = moment(&uri)?;
    let unknown = || Problem::not_found(format!("no update {id} at that moment"));
    let state = app.fleet.state_at(&id, moment).await?.ok_or_else(unknown)?;
    let head = app.fleet.store().agent(id.agent).await?.ok_or_else(unknown)?;
    Ok(Json((&UpdateRow { agent: id.agent, agent_name: head.name, state }).into()))
}

fn moment(uri: &Uri) -> Result<Moment, Problem> {
    const MOST: u64 = i64::MAX.unsigned_abs();
    let mut given = Parameters::read(uri)?;
    let sequence = given.take_number("sequence", 0..=MOST)?;
    let position = given.take_number("position", 0..=MOST)?;
    given.finish()?;
    match (sequence, position) {
        (Some(sequence), None) => Ok(Moment::Sequence(sequence)),
        (None, Some(position)) => Ok(Moment::Position(FeedPosition(position))),
        _ => Err(Problem::parameter("sequence", "either a sequence or a position is needed")),
    }
}
