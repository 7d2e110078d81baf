//! The feed: every batch of the fleet in commit order, for whoever follows it with one number.

use super::batches::BatchView;
use crate::{
    app::AppState,
    listing::Parameters,
    problem::{Problem, ProblemBody},
};
use axum::{Json, extract::State, http::Uri};
use redflag_core::{
    feed::{FeedEntry, FeedPosition},
    limits,
};
use serde::Serialize;
use std::time::Duration;
use utoipa::ToSchema;

/// Longest wait for the feed to go on, in seconds.
const WAIT_SECONDS_MAX: u64 = 30;

/// Where to go on, and whether to wait.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "states the parameters for the OpenAPI document; `list` reads them")]
pub(super) struct FeedParameters {
    /// Entries after this position; 0 (if absent) is before the first.
    after: Option<u64>,
    /// Most entries, 1 to 500; 500 if absent.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// When there is none: seconds to wait for one, 0 (if absent) to 30, but no longer than half of what a request may take.
    #[param(maximum = 30)]
    wait: Option<u64>,
}

/// A part of the feed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FeedView {
    /// The entries, in order and without gap; none when the feed did not go on in time.
    entries: Vec<FeedEntryView>,
    /// The position to ask for more `after`. Keep it with what was made of the entries.
    position: u64,
}

/// One batch of the feed.
#[derive(Debug, Serialize, ToSchema)]
struct FeedEntryView {
    /// Its place: 1 to n without gap; nothing appears below a position that was seen.
    position: u64,
    /// The agent whose batch it is, or was.
    agent_id: String,
    /// The batch's number in the agent's stream.
    number: u64,
    /// SHA-256 of the batch's record; stays when the record goes.
    digest: String,
    /// The batch; none once retention has taken it or its agent was removed.
    batch: Option<BatchView>,
}

/// The batches after a position, in commit order; can wait for the next.
#[utoipa::path(get, path = "/api/v1/feed", tag = "batches", params(FeedParameters),
    responses((status = 200, body = FeedView), (status = 400, body = ProblemBody), (status = 401, body = ProblemBody)))]
pub(super) async fn list(State(app): State<AppState>, uri: Uri) -> Result<Json<FeedView>, Problem> {
    let mut given = Parameters::read(&uri)?;
    let after = FeedPosition(given.take_number("after", 0..=i64::MAX.unsigned_abs())?.unwrap_or(0));
    let limit = given.take_number("limit", 1..=limits::FEED_ENTRIES_DEFAULT)?.unwrap_or(limits::FEED_ENTRIES_DEFAULT);
    let wait = Duration::from_secs(given.take_number("wait", 0..=WAIT_SECONDS_MAX)?.unwrap_or(0));
    given.finish()?;
    let store = app.fleet.store();
    let mut entries = store.feed(after, limit).await?;
    if entries.is_empty() && !wait.is_zero() {
        tokio::select! {
            grown = store.feed_grown(after) => {
                grown?;
                entries = store.feed(after, limit).await?;
            }
            () = tokio::time::sleep(wait.min(app.settings.limits.request_timeout / 2)) => {}
            () = app.stopping.cancelled() => {}
        }
    }
    let position = entries.last().map_or(after, |last| last.position).0;
    Ok(Json(FeedView { entries: entries.iter().map(FeedEntryView::from).collect(), position }))
}

impl From<&FeedEntry> for FeedEntryView {
    fn from(entry: &FeedEntry) -> Self {
        Self {
            position: entry.position.0,
            agent_id: entry.agent.to_string(),
            number: entry.number,
            digest: entry.digest.to_string(),
            batch: entry.record.as_ref().map(BatchView::from),
        }
    }
}
