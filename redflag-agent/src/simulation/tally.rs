//! What a simulation counts and measures while it runs.

use super::SimulationSummary;
use redflag_core::{report::ReportStatus, wire::ReportAnswerBody};
use serde::Serialize;
use std::{collections::BTreeMap, time::Duration};

/// Wrong answers that are told word for word; all are counted.
const WRONG_SHOWN: usize = 10;

/// Kinds of requests that are measured apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Enrolments.
    Enrol,
    /// First reports.
    First,
    /// Reports of unchanged hosts.
    Idle,
    /// Reports of hosts that may have changed.
    Change,
    /// Reports sent again after a lost answer.
    Again,
    /// Reports that must be refused.
    Refused,
}

/// How long requests of one kind took, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// Requests measured.
    pub count: u64,
    /// The median.
    pub p50_ms: f64,
    /// Nine of ten took no longer.
    pub p90_ms: f64,
    /// 99 of a hundred took no longer.
    pub p99_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

/// Counts and times of any part of a simulation.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) summary: SimulationSummary,
    times: BTreeMap<Kind, Vec<Duration>>,
}

impl Tally {
    pub(super) fn took(&mut self, kind: Kind, time: Duration) {
        self.times.entry(kind).or_default().push(time);
    }

    pub(super) fn answered(&mut self, answer: &ReportAnswerBody, bytes: usize) {
        let summary = &mut self.summary;
        summary.reports += 1;
        summary.bytes += bytes as u64;
        summary.batches += u64::from(answer.batches);
        summary.events += u64::from(answer.events);
        summary.recorded += answer.recorded;
        summary.unchanged += answer.unchanged;
        summary.rejected += answer.rejected;
        match answer.status {
            ReportStatus::Recorded => summary.reports_recorded += 1,
            ReportStatus::Unchanged => summary.reports_unchanged += 1,
            ReportStatus::Stale => summary.reports_stale += 1,
        }
    }

    /// Notes an answer that no server may give.
    pub(super) fn wrong(&mut self, what: String) {
        self.summary.wrong += 1;
        if self.summary.wrong_answers.len() < WRONG_SHOWN {
            self.summary.wrong_answers.push(what);
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        let (sum, part) = (&mut self.summary, other.summary);
        sum.reports += part.reports;
        sum.bytes += part.bytes;
        sum.batches += part.batches;
        sum.events += part.events;
        sum.recorded += part.recorded;
        sum.unchanged += part.unchanged;
        sum.rejected += part.rejected;
        sum.failed_scans += part.failed_scans;
        sum.partial_scans += part.partial_scans;
        sum.reports_recorded += part.reports_recorded;
        sum.reports_unchanged += part.reports_unchanged;
        sum.reports_stale += part.reports_stale;
        sum.refused += part.refused;
        sum.wrong += part.wrong;
        let room = WRONG_SHOWN - sum.wrong_answers.len();
        sum.wrong_answers.extend(part.wrong_answers.into_iter().take(room));
        for (kind, times) in other.times {
            self.times.entry(kind).or_default().extend(times);
        }
    }

    /// The summary of it all, which took `elapsed`.
    pub(super) fn finish(mut self, elapsed: Duration) -> SimulationSummary {
        self.summary.latencies = self.times.iter_mut().map(|(kind, times)| (*kind, latency(times))).collect();
        self.summary.seconds = elapsed.as_secs_f64();
        self.summary.reports_per_second = self.summary.reports as f64 / elapsed.as_secs_f64().max(f64::EPSILON);
        self.summary
    }
}

/// Percentiles by nearest rank.
fn latency(times: &mut [Duration]) -> Latency {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() * percent).div_ceil(100).saturating_sub(1)].as_secs_f64() * 1_000.0;
    Latency { count: times.len() as u64, p50_ms: at(50), p90_ms: at(90), p99_ms: at(99), max_ms: at(100) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        let mut times: Vec<_> = (1..=200).rev().map(Duration::from_millis).collect();
        let expected = Latency { count: 200, p50_ms: 100.0, p90_ms: 180.0, p99_ms: 198.0, max_ms: 200.0 };
        assert_eq!(latency(&mut times), expected);
        let one = latency(&mut [Duration::from_millis(7)]);
        assert_eq!((one.p50_ms, one.p99_ms, one.max_ms), (7.0, 7.0, 7.0));
    }

    #[test]
    fn every_wrong_answer_is_counted_and_the_first_ones_are_told() {
        let mut tally = Tally::default();
        for round in 0..3 {
            let mut part = Tally::default();
            (0..6).for_each(|number| part.wrong(format!("{round}.{number}")));
            tally.add(part);
        }
        assert_eq!((tally.summary.wrong, tally.summary.wrong_answers.len()), (18, WRONG_SHOWN));
    }
}
