//! What the log tells of requests that were refused.
//!
//! A stranger can make any number of them and must not be able to fill the log: there is a limit of lines for each who. The metric
//! `redflag_answers_total` counts them all.

use super::{
    buckets::{Rate, Stopwatch, Table},
    client::{ClientAddress, subscriber},
};
use crate::problem::Problem;
use axum::http::StatusCode;
use redflag_core::audit::entry::By;
use std::sync::{Mutex, PoisonError};

/// Thirty lines at once, and then one in ten seconds.
const LINES: Rate = Rate::one_in(30, 10);

/// Lines about each operator and agent, and about each address of strangers, in memory of fixed size.
#[derive(Debug)]
pub(crate) struct Told {
    started: Stopwatch,
    lines: Mutex<Table>,
}

impl Default for Told {
    fn default() -> Self {
        Self { started: Stopwatch::default(), lines: Mutex::new(Table::new(LINES)) }
    }
}

impl Told {
    /// Tells of a refusal: from where and by whom, as far as a credential proved that, and what it was about. Failures of the server are
    /// told where they happen.
    pub(super) fn refusal(&self, client: ClientAddress, by: &By, route: &str, problem: &Problem) {
        let status = problem.status();
        if !status.is_client_error() || !self.has_room(client, by) {
            return;
        }
        // What is wrong with a body or a query may quote it, and a password may stand there.
        let content = matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY);
        let why = if content { problem.named().unwrap_or_default() } else { problem.why() };
        let (status, code) = (status.as_u16(), problem.code());
        tracing::warn!(%client, by = by.to_string(), route, status, code, why, "a request was refused");
    }

    fn has_room(&self, client: ClientAddress, by: &By) -> bool {
        let address = matches!(by, By::Stranger).then(|| subscriber(client.0));
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.take(&(by.to_string(), address), self.started.now()).is_ok()
    }
}
