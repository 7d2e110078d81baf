//! The trend: open updates at the end of each of the last days, with the reference evaluator.

use super::QueryError;
use crate::{counters::OpenChange, ids::AgentId, limits, time::Day, words::Severity};
use serde::Serialize;
use std::collections::BTreeMap;

/// Open updates day by day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrendQuery {
    agent: Option<AgentId>,
    last: Day,
    days: u32,
}

impl TrendQuery {
    /// The `days` days up to `last`, of one agent or of all agents that are there.
    ///
    /// # Errors
    /// Outside 1 to [`limits::TREND_DAYS_MAX`] days.
    pub fn new(agent: Option<AgentId>, last: Day, days: u32) -> Result<Self, QueryError> {
        if (1..=limits::TREND_DAYS_MAX).contains(&days) {
            Ok(Self { agent, last, days })
        } else {
            Err(QueryError::new("days", format!("must be 1 to {}, not {days}", limits::TREND_DAYS_MAX)))
        }
    }

    /// The agent, where only one is asked for.
    #[must_use]
    pub const fn agent(&self) -> Option<AgentId> {
        self.agent
    }

    /// The first day.
    #[must_use]
    pub fn first(&self) -> Day {
        self.last.before(self.days - 1)
    }

    /// The last day.
    #[must_use]
    pub const fn last(&self) -> Day {
        self.last
    }
}

/// Open updates at the end of one day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TrendPoint {
    /// The day, in UTC, by the store's clock when it received what changed them.
    pub day: Day,
    /// How many were open, by severity; words with none are absent.
    pub open: BTreeMap<Severity, u64>,
}

/// Answers a query from the differences of all days up to its last, in any order; those of one day and severity may come in parts.
/// Where a backend sums up what was before the first day, it gives that as a difference of an earlier day.
#[must_use]
pub fn evaluate_trend(changes: impl IntoIterator<Item = OpenChange>, query: &TrendQuery) -> Vec<TrendPoint> {
    let mut sums: BTreeMap<(Day, Severity), i64> = BTreeMap::new();
    for change in changes.into_iter().filter(|change| change.day <= query.last) {
        *sums.entry((change.day.max(query.first()), change.severity)).or_default() += change.difference;
    }
    let mut open: BTreeMap<Severity, i64> = BTreeMap::new();
    let mut sums = sums.into_iter().peekable();
    let days = query.first().number()..=query.last.number();
    let point = |day: Day| {
        while let Some(((_, severity), difference)) = sums.next_if(|((at, _), _)| *at <= day) {
            *open.entry(severity).or_default() += difference;
        }
        let counted = open.iter().filter_map(|(severity, count)| Some((*severity, u64::try_from(*count).ok().filter(|count| *count > 0)?)));
        TrendPoint { day, open: counted.collect() }
    };
    days.filter_map(|number| Day::from_number(number).ok()).map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_without_a_change_keep_the_count_of_the_day_before() {
        let day = |number: i32| Day::from_number(number).unwrap();
        let change = |number, difference| OpenChange { day: day(number), severity: Severity::Critical, difference };
        let query = TrendQuery::new(None, day(10), 4).unwrap();
        let points = evaluate_trend([change(9, -5), change(3, 4), change(8, 3), change(2, 1), change(11, 7)], &query);
        let counts: Vec<_> = points.iter().map(|point| (point.day.number(), point.open.values().sum::<u64>())).collect();
        assert_eq!(counts, [(7, 5), (8, 8), (9, 3), (10, 3)]);
        assert!(TrendQuery::new(None, day(10), 0).is_err());
        assert!(TrendQuery::new(None, day(10), limits::TREND_DAYS_MAX).is_ok());
        assert!(TrendQuery::new(None, day(10), limits::TREND_DAYS_MAX + 1).is_err());
    }
}
