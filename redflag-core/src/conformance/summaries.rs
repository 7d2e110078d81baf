//! Packages by hosts, and open updates by day: answers over the whole fleet, compared with the reference evaluators.

use super::{
    CheckResult, Failure, Harness, Lab, Shape, ensure_eq,
    generate::{agent, report_id, report_of, text},
    history,
    lab::{apt, pool},
    queries::{any, asked},
};
use crate::{
    counters::{CounterKey, OpenChange},
    ids::UpdateId,
    query::{
        PackageQuery, PackageRow, PackageSortKey, PageNumber, PageSize, Search, TrendQuery, UpdateFilter, evaluate_packages, evaluate_trend,
    },
    state::{Context, PackageState, apply},
    store::Mode,
    time::{Day, Timestamp},
    words::Severity,
};
use std::{collections::HashMap, time::Duration};

/// A fleet with a history in which everything happens.
async fn lived(harness: &dyn Harness) -> Result<Lab, Failure> {
    let lab = Lab::new(harness, 0).await?;
    for work in history(78, Shape { steps: 60, packages: 20, ..Shape::default() }) {
        drop(lab.store().run(&work, Mode::Commit).await);
    }
    Ok(lab)
}

pub(super) async fn packages_are_counted_by_hosts(harness: &dyn Harness) -> CheckResult {
    let lab = lived(harness).await?;
    let rows = lab.all(any()).await?;
    let filters = [
        any(),
        UpdateFilter::default(),
        UpdateFilter { severity: Some(Severity::Important), ..any() },
        UpdateFilter { agent: Some(agent(1)), ..UpdateFilter::default() },
        UpdateFilter { search: Some(asked(Search::new("LIB"))?), security: Some(true), ..any() },
        UpdateFilter { agent: Some(agent(99)), ..any() },
    ];
    for filter in filters {
        for (sort, reverse) in [(PackageSortKey::Hosts, false), (PackageSortKey::Hosts, true), (PackageSortKey::Name, false)] {
            for (number, size) in [(1, 5), (2, 5), (1, 500), (4_000_000_000, 500)] {
                let (page, size) = (asked(PageNumber::new(number))?, asked(PageSize::new(size))?);
                let query = PackageQuery { filter: filter.clone(), sort, reverse, page, size };
                let expected = evaluate_packages(rows.iter().map(|row| (row.agent, &row.state)), &query);
                ensure_eq!(lab.store().packages(&query).await?, expected, "the packages of {query:?}");
            }
        }
    }
    Ok(())
}

/// Counts of the whole list and hosts by package come from the same states.
pub(super) async fn packages_follow_every_change(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 3).await?;
    let (_, offers) = pool(87, "apt", 4);
    for (host, count) in [(0, 4), (1, 2), (2, 1)] {
        lab.report_for(host, 1, vec![apt(1, &offers[..count])]).await?;
    }
    let hosts = async |lab: &Lab| -> Result<Vec<u64>, Failure> {
        let found = lab.store().packages(&PackageQuery::default()).await?.items;
        let of = |place: usize| found.iter().find(|row: &&PackageRow| row.package == offers[place].0).map_or(0, |row| row.hosts);
        Ok((0..4).map(of).collect())
    };
    ensure_eq!(hosts(&lab).await?, vec![3, 2, 1, 1], "hosts of four packages");
    lab.report_for(0, 2, vec![apt(2, &offers[1..3])]).await?;
    ensure_eq!(hosts(&lab).await?, vec![2, 2, 1, 0], "hosts after host 0 lost the first and the last");
    let actor = crate::event::Actor::Operator(text("ada"));
    lab.fleet.remove_agent(agent(1), actor, None, super::generate::at(3)).await?;
    ensure_eq!(hosts(&lab).await?, vec![1, 1, 1, 0], "hosts after host 1 was removed");
    let lab = lab.reopened(harness).await;
    ensure_eq!(hosts(&lab).await?, vec![1, 1, 1, 0], "hosts after reopening");
    Ok(())
}

/// Days of reports: noon of day 10, 11, 13 and 20 after the start.
fn noon(day: u32) -> Timestamp {
    Timestamp::EPOCH.saturating_add(Duration::from_secs(u64::from(20_000 + day) * 86_400 + 43_200))
}

pub(super) async fn the_trend_is_what_was_open_at_the_end_of_each_day(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 2).await?;
    let (_, offers) = pool(88, "apt", 12);
    for (number, day, host, range) in [(1, 10, 0, 0..9), (1, 11, 1, 2..6), (2, 11, 0, 3..12), (2, 13, 1, 0..0), (3, 20, 0, 5..12)] {
        let report = report_of(report_id(number), number, vec![apt(day, &offers[range])]);
        lab.fleet.record_report(agent(host), report, noon(day)).await?;
    }
    let lab = lab.reopened(harness).await;
    for only in [None, Some(agent(0)), Some(agent(1)), Some(agent(9))] {
        let changes = changes_of(&lab, only).await?;
        for (last, days) in [(21, 15), (13, 3), (9, 5), (20, 1), (30, 400)] {
            let query = asked(TrendQuery::new(only, Day::of(noon(last)), days))?;
            let expected = evaluate_trend(changes.iter().copied(), &query);
            ensure_eq!(lab.store().trend(&query).await?, expected, "the trend of {query:?}");
        }
        let today = asked(TrendQuery::new(only, Day::of(noon(20)), 1))?;
        let open = lab.store().stats(&UpdateFilter { agent: only, ..UpdateFilter::default() }).await?.by_severity;
        ensure_eq!(lab.store().trend(&today).await?[0].open, open, "the trend of the last day, against the counts of now");
    }
    Ok(())
}

/// By folding the log, event by event.
async fn changes_of(lab: &Lab, only: Option<crate::ids::AgentId>) -> Result<Vec<OpenChange>, Failure> {
    let mut changes = Vec::new();
    for host in (0..2).map(agent).filter(|host| only.is_none_or(|only| only == *host)) {
        let mut states: HashMap<UpdateId, PackageState> = HashMap::new();
        for recorded in lab.store().replay(host, 0, 10_000).await? {
            let id = UpdateId { agent: host, package: recorded.event.package.clone() };
            let context = Context { actor: recorded.actor.clone(), received_at: recorded.received_at };
            let before = states.get(&id);
            let after = apply(before, &recorded.event, &context).map_err(|rejection| Failure::new(rejection.to_string()))?;
            let day = Day::of(recorded.received_at);
            let open = |state: &PackageState| CounterKey::of(state).status.open();
            let severity = |state: &PackageState| state.offer.candidate.severity;
            let left = before.filter(|state| open(state)).map(|state| OpenChange { day, severity: severity(state), difference: -1 });
            let came = Some(&after).filter(|state| open(state)).map(|state| OpenChange { day, severity: severity(state), difference: 1 });
            changes.extend(left.into_iter().chain(came));
            states.insert(id, after);
        }
    }
    Ok(changes)
}
