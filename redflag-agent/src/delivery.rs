//! Delivery of waiting reports: the oldest first, the same bytes until the server has answered for them.
//!
//! A lost or failed answer means *unknown*, so the report is sent again with the same id (clause R1a) under a new signature. A
//! report the server refuses for good is set aside, so that it never blocks those behind it.

use crate::{
    clock,
    error::{Error, Result},
    identity::Identity,
    outbox::{Outbox, Waiting},
    progress::{Progress, Stage},
    server::{Server, Signature},
};
use backon::{BackoffBuilder as _, ExponentialBuilder};
use redflag_core::{time::Timestamp, wire::ReportAnswerBody};
use std::time::Duration;

const PATH: &str = "api/v1/report";

/// How often and how patiently an unanswered request is sent again: exponential, with full jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// The longest first wait.
    pub first: Duration,
    /// The longest wait of all; a server that asks for more gets it.
    pub longest: Duration,
    /// How often to send again; none for as long as it takes.
    pub limit: Option<usize>,
}

impl Default for Retries {
    /// Four times within about a quarter of a minute.
    fn default() -> Self {
        Self { first: Duration::from_secs(1), longest: Duration::from_mins(5), limit: Some(4) }
    }
}

impl Retries {
    /// For as long as it takes.
    #[must_use]
    pub const fn endless(self) -> Self {
        Self { limit: None, ..self }
    }

    pub(crate) fn delays(&self) -> impl Iterator<Item = Duration> + Send + use<> {
        let builder = ExponentialBuilder::default().with_min_delay(self.first).with_max_delay(self.longest);
        match self.limit {
            Some(limit) => builder.with_max_times(limit).build(),
            None => builder.without_max_times().build(),
        }
    }
}

/// What the server said to one report.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Taken.
    Taken(ReportAnswerBody),
    /// Refused for good, for this reason.
    Refused(Error),
}

/// Sends `report` until the server answers for it or the retries are used up.
///
/// # Errors
/// [`Error::Unreachable`] with the last reason; [`Error::Unauthorized`] at once; a state error when the counter cannot be kept.
///
/// # Cancel safety
/// The report stays in the outbox; whether the server took it is unknown, and sending it again is safe.
pub(crate) async fn send(
    link: &mut Link<'_>,
    report: &Waiting,
    behind: u64,
    retries: &Retries,
    progress: &mut dyn Progress,
) -> Result<Verdict> {
    let mut delays = retries.delays();
    loop {
        progress.stage(&Stage::Sending { report_id: report.report_id, bytes: report.body.len() as u64, behind });
        let error = match link.send_once(report).await {
            Ok(answer) => return Ok(Verdict::Taken(answer)),
            Err(error @ Error::Refused { .. }) => return Ok(Verdict::Refused(error)),
            Err(error) if error.may_pass() => error,
            Err(error) => return Err(error),
        };
        let Some(delay) = delays.next() else { return Err(error) };
        let Error::Unreachable { retry_after, .. } = &error else { return Err(error) };
        let after = wait(delay, *retry_after);
        progress.stage(&Stage::Retrying { error: error.to_string(), after });
        tracing::warn!(report_id = %report.report_id, after_ms = after.as_millis() as u64, "{error}; sending again");
        tokio::time::sleep(after).await;
    }
}

/// How long to wait before the next try: a random part of `delay` (full jitter), so that a fleet whose server comes back does not
/// arrive together. Never sooner than the server asked, and not all agents at the moment asked for either.
pub(crate) fn wait(delay: Duration, asked: Option<Duration>) -> Duration {
    let asked = asked.map_or(Duration::ZERO, |asked| asked + clock::random_up_to(asked / 4));
    asked.max(clock::random_up_to(delay))
}

/// What sending needs of the agent.
pub(crate) struct Link<'a> {
    pub(crate) server: &'a Server,
    pub(crate) identity: &'a Identity,
    /// Gives a larger number at every call.
    pub(crate) next_counter: &'a mut (dyn FnMut() -> Result<u64> + Send),
}

impl Link<'_> {
    async fn send_once(&mut self, report: &Waiting) -> Result<ReportAnswerBody> {
        let counter = (self.next_counter)()?;
        post(self.server, self.identity, counter, clock::now(), report).await
    }
}

/// Sends a report once, signed at `signed_at`, and checks that the answer is about it.
pub(crate) async fn post(
    server: &Server,
    identity: &Identity,
    counter: u64,
    signed_at: Timestamp,
    report: &Waiting,
) -> Result<ReportAnswerBody> {
    let signature = Signature { agent: identity.agent, key: &identity.key, counter, signed_at };
    let answer = server.post(PATH, report.body.clone(), Some(signature)).await?;
    let answer: ReportAnswerBody =
        serde_json::from_slice(&answer).map_err(|error| server.unreachable(format!("its answer is not readable: {error}"), None))?;
    if answer.report_id != report.report_id {
        return Err(server.unreachable(format!("it answered about report {} instead of {}", answer.report_id, report.report_id), None));
    }
    Ok(answer)
}

/// The oldest waiting report and how many wait behind it.
pub(crate) fn next(outbox: &Outbox) -> Result<Option<(Waiting, u64)>> {
    let behind = outbox.depth().reports.saturating_sub(1);
    Ok(outbox.first()?.map(|report| (report, behind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_up_to_the_longest_and_end_with_the_limit() {
        let retries = Retries { first: Duration::from_secs(1), longest: Duration::from_secs(4), limit: Some(4) };
        assert_eq!(retries.delays().map(|delay| delay.as_secs()).collect::<Vec<_>>(), [1, 2, 4, 4]);
        assert_eq!(retries.endless().delays().take(1_000).count(), 1_000);
    }

    #[test]
    fn a_fleet_whose_server_comes_back_arrives_spread_over_the_longest_wait() {
        const AGENTS: u32 = 10_000;
        let longest = Retries::default().longest;
        let mut arrivals: Vec<Duration> = (0..AGENTS).map(|_| wait(longest, None)).collect();
        arrivals.sort_unstable();
        let second = Duration::from_secs(1);
        let busiest =
            (0..arrivals.len()).map(|first| arrivals[first..].iter().take_while(|at| **at < arrivals[first] + second).count()).max();
        // 33 on average.
        assert!(busiest.unwrap() < 80, "{busiest:?} arrive within a second");
        let asked = Duration::from_secs(400);
        assert!((0..100).map(|_| wait(longest, Some(asked))).all(|wait| (asked..asked * 5 / 4 + second).contains(&wait)));
    }
}
