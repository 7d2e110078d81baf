//! Lists, pages, cursors, filters and searches, compared with the reference evaluator.

use super::{
    CheckResult, Failure, Harness, Lab, Shape,
    atomicity::discoveries,
    ensure, ensure_eq,
    generate::{agent, at, batch_id, discovered, event_id, manager},
    history,
    lab::{apt, pool},
};
use crate::{
    MemoryStore,
    offer::OfferInput,
    query::{
        AgentQuery, AgentSortKey, BatchQuery, PageNumber, PageSize, PageStart, QueryError, Search, Sort, SortKey, StatusFilter,
        UpdateFilter, UpdateQuery, UpdateRow, evaluate,
    },
    store::{BatchStore, Mode, StateStore, StoreErrorKind},
    words::{AvailabilityKind, Severity, Status},
};
use std::collections::BTreeSet;

pub(super) const SORTS: [SortKey; 4] = [SortKey::Severity, SortKey::Name, SortKey::Agent, SortKey::LastChange];

pub(super) fn any() -> UpdateFilter {
    UpdateFilter { status: StatusFilter::Any, ..UpdateFilter::default() }
}

pub(super) fn asked<T>(query: Result<T, QueryError>) -> Result<T, Failure> {
    query.map_err(|error| Failure::new(error.to_string()))
}

/// Three agents with the same packages at the same moments: nothing but the tie-breaker tells many rows apart.
async fn crowded(harness: &dyn Harness) -> Result<Lab, Failure> {
    let lab = Lab::new(harness, 3).await?;
    let (_, offers) = pool(40, "apt", 37);
    for host in 0..3 {
        lab.report_for(host, 1, vec![apt(1, &offers)]).await?;
        lab.submit_for(agent(host), batch_id(7), discoveries(41, "dnf", 11, 500), at(1)).await?;
    }
    Ok(lab)
}

pub(super) async fn every_row_stands_on_exactly_one_page(harness: &dyn Harness) -> CheckResult {
    every_order_is_the_reference(&crowded(harness).await?, &[1, 7, 50, 144, 500]).await
}

/// Walks the 144 open rows of a lab in every order, by cursor and by number, with pages of `sizes` rows.
pub(super) async fn every_order_is_the_reference(lab: &Lab, sizes: &[u32]) -> CheckResult {
    for key in SORTS {
        for reverse in [false, true] {
            for rows in sizes.iter().copied() {
                let query = UpdateQuery { sort: Sort { key, reverse }, size: asked(PageSize::new(rows))?, ..UpdateQuery::default() };
                let by_cursor = walk_by_cursor(lab, query.clone()).await?;
                let by_number = walk_by_number(lab, query.clone()).await?;
                ensure_eq!(by_cursor.len(), 144, "rows by cursor, sorted by {}, {rows} a page", query.sort);
                let distinct: BTreeSet<_> = by_cursor.iter().map(UpdateRow::id).collect();
                ensure_eq!(distinct.len(), 144, "distinct rows by cursor, sorted by {}, {rows} a page", query.sort);
                ensure!(by_cursor == by_number, "pages by cursor and by number differ, sorted by {}, {rows} a page", query.sort);
                let page = asked(evaluate(
                    by_cursor.iter().map(|row| (row.agent, &row.agent_name, &row.state)),
                    &UpdateQuery { size: asked(PageSize::new(500))?, ..query.clone() },
                ))?;
                ensure!(page.items == by_cursor, "rows stand in another order than the reference, sorted by {}", query.sort);
            }
        }
    }
    Ok(())
}

async fn walk_by_cursor(lab: &Lab, mut query: UpdateQuery) -> Result<Vec<UpdateRow>, Failure> {
    let mut rows = Vec::new();
    loop {
        let page = lab.store().updates(&query).await?;
        ensure_eq!(page.stats.total, 144, "the total on every page");
        rows.extend(page.items);
        ensure!(rows.len() <= 144, "pages by cursor never end");
        match page.next {
            Some(next) => query.start = PageStart::After(next),
            None => return Ok(rows),
        }
    }
}

async fn walk_by_number(lab: &Lab, mut query: UpdateQuery) -> Result<Vec<UpdateRow>, Failure> {
    let mut rows = Vec::new();
    for number in 1.. {
        query.start = PageStart::Number(asked(PageNumber::new(number))?);
        let page = lab.store().updates(&query).await?;
        if page.items.is_empty() {
            break;
        }
        ensure_eq!(page.next.is_some(), rows.len() + page.items.len() < 144, "whether a page follows page {number}");
        rows.extend(page.items);
    }
    Ok(rows)
}

/// Every part of a filter alone, and a few mixes.
fn filters() -> Result<Vec<UpdateFilter>, QueryError> {
    let mut filters: Vec<_> = Status::ALL.iter().map(|status| UpdateFilter { status: StatusFilter::Is(*status), ..any() }).collect();
    filters.extend(Severity::ALL.iter().map(|severity| UpdateFilter { severity: Some(*severity), ..UpdateFilter::default() }));
    filters.extend(AvailabilityKind::ALL.iter().map(|kind| UpdateFilter { availability: Some(*kind), ..UpdateFilter::default() }));
    filters.extend(["apt", "dnf", "docker", "snap"].map(|word| UpdateFilter { manager: Some(manager(word)), ..any() }));
    filters.extend([0, 1, 2, 9].map(|number| UpdateFilter { agent: Some(agent(number)), ..any() }));
    filters.extend([true, false].map(|security| UpdateFilter { security: Some(security), ..any() }));
    filters.push(UpdateFilter { search: Some(Search::new("lib")?), ..any() });
    filters.push(UpdateFilter {
        search: Some(Search::new("S")?),
        severity: Some(Severity::Important),
        manager: Some(manager("apt")),
        agent: Some(agent(1)),
        security: Some(false),
        availability: Some(AvailabilityKind::Installable),
        ..UpdateFilter::default()
    });
    Ok(filters)
}

pub(super) async fn every_filter_agrees_with_the_reference(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 0).await?;
    let memory = MemoryStore::new();
    for work in history(77, Shape { steps: 60, packages: 20, ..Shape::default() }) {
        drop(lab.store().run(&work, Mode::Commit).await);
        drop(memory.run(&work, Mode::Commit).await);
    }
    for filter in asked(filters())? {
        let query = UpdateQuery { filter, size: asked(PageSize::new(9))?, ..UpdateQuery::default() };
        let found = lab.store().updates(&query).await?;
        ensure_eq!(found, memory.updates(&query).await?, "the first page of {:?}", query.filter);
        ensure_eq!(lab.store().stats(&query.filter).await?, found.stats, "stats and list of {:?}", query.filter);
    }
    Ok(())
}

pub(super) async fn a_search_is_literal(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 1).await?;
    let names = ["100%", "a_b", "axb", r"back\slash", r"back\\slash", "it's", "\"q\"", "UPPER", "[a-z]*", "a.b", "100x"];
    let offer = |name: &str| OfferInput { package_name: name.to_owned(), available_version: "1".to_owned(), ..OfferInput::default() };
    let events = (1..).zip(names).map(|(number, name)| discovered(event_id(number), "tool", offer(name))).collect();
    let receipt = lab.submit(batch_id(1), events, at(1)).await?;
    ensure_eq!(receipt.accepted as usize, names.len(), "odd names are storable");
    for text in ["%", "_", r"\", r"\\", "'", "\"", "0%", "a_b", "upper", "UPP", "*", ".", "a", "$1", "[a", "100", "%%", "''"] {
        let search = asked(Search::new(text))?;
        let expected: BTreeSet<&str> = names.into_iter().filter(|name| search.matches(name)).collect();
        let filter = UpdateFilter { search: Some(search), ..UpdateFilter::default() };
        let rows = lab.all(filter.clone()).await?;
        let found: BTreeSet<&str> = rows.iter().map(|row| row.state.package.name.as_str()).collect();
        ensure_eq!(found, expected, "names that hold {text:?}");
        ensure_eq!(lab.store().stats(&filter).await?.total, expected.len() as u64, "the count of names that hold {text:?}");
    }
    Ok(())
}

pub(super) async fn a_cursor_serves_only_its_query(harness: &dyn Harness) -> CheckResult {
    let lab = crowded(harness).await?;
    let query = UpdateQuery { size: asked(PageSize::new(5))?, ..UpdateQuery::default() };
    let Some(cursor) = lab.store().updates(&query).await?.next else { return Err(Failure::new("144 rows fit a page of 5")) };
    let start = || PageStart::After(cursor.clone());
    let other_sort = UpdateQuery { sort: Sort { key: SortKey::Name, reverse: false }, start: start(), ..query.clone() };
    let other_filter = UpdateQuery { filter: any(), start: start(), ..query.clone() };
    let forged = UpdateQuery { start: PageStart::After(asked("bm90IGEgY3Vyc29y".parse())?), ..query.clone() };
    for other in [other_sort, other_filter, forged] {
        let kind = lab.store().updates(&other).await.err().map(|error| error.kind().clone());
        ensure!(matches!(kind, Some(StoreErrorKind::Query(_))), "a cursor of another query was answered with {kind:?}");
    }
    let same = UpdateQuery { start: start(), size: asked(PageSize::new(500))?, ..query };
    ensure_eq!(lab.store().updates(&same).await?.items.len(), 139, "rows after the first five");
    Ok(())
}

pub(super) async fn pages_by_cursor_survive_writes(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 1).await?;
    let (_, offers) = pool(50, "apt", 36);
    lab.report(1, vec![apt(1, &offers[..30])]).await?;
    let mut query =
        UpdateQuery { sort: Sort { key: SortKey::Name, reverse: false }, size: asked(PageSize::new(4))?, ..UpdateQuery::default() };
    let mut seen = Vec::new();
    for number in 2.. {
        let page = lab.store().updates(&query).await?;
        seen.extend(page.items.into_iter().map(|row| row.state.package));
        let Some(next) = page.next else { break };
        query.start = PageStart::After(next);
        // Between pages one row goes and one comes.
        let from = (number as usize - 1).min(6);
        lab.report(number, vec![apt(number, &offers[from..30 + from])]).await?;
    }
    for (package, _) in &offers[6..30] {
        let times = seen.iter().filter(|other| *other == package).count();
        ensure_eq!(times, 1, "how often {package}, which never changed, was seen");
    }
    Ok(())
}

pub(super) async fn agents_are_listed_in_every_order(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 12).await?;
    let memory = MemoryStore::new();
    let other = Lab::over(std::sync::Arc::new(memory));
    for number in 0..12 {
        other.fleet.enrol(super::generate::enrolment(number)).await?;
    }
    let (_, offers) = pool(60, "apt", 9);
    for lab in [&lab, &other] {
        for host in [3, 5, 8, 9] {
            lab.report_for(host, 10 - host, vec![apt(1, &offers[..host as usize])]).await?;
        }
    }
    for sort in [AgentSortKey::Name, AgentSortKey::LastContact, AgentSortKey::Updates] {
        for (reverse, search) in [(false, None), (true, None), (false, Some("HOST-1")), (true, Some("%"))] {
            let search = asked(search.map(Search::new).transpose())?;
            let mut query = AgentQuery { sort, reverse, search, size: asked(PageSize::new(5))?, ..AgentQuery::default() };
            for number in 1..4 {
                query.page = asked(PageNumber::new(number))?;
                ensure_eq!(lab.store().agents(&query).await?, other.store().agents(&query).await?, "agents by {query:?}");
            }
        }
    }
    Ok(())
}

pub(super) async fn batches_are_listed_newest_first(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 2).await?;
    for number in 0..7_u32 {
        let mut events = discoveries(u64::from(number), &format!("tool{number}"), 1, u64::from(number) * 10);
        if number % 3 == 0 {
            events[0].package_type = "not a manager".to_owned();
        }
        lab.submit_for(agent(number % 2), batch_id(u64::from(number)), events, at(number / 2)).await?;
    }
    let query = |page: u32| -> Result<BatchQuery, Failure> {
        Ok(BatchQuery { size: asked(PageSize::new(3))?, page: asked(PageNumber::new(page))?, ..BatchQuery::default() })
    };
    let mut ids = Vec::new();
    for page in 1..4 {
        let page = lab.store().batches(&query(page)?).await?;
        ensure_eq!(page.total, 7, "all batches");
        ids.extend(page.items.into_iter().map(|row| row.record.receipt.batch));
    }
    ensure_eq!(ids, [6, 5, 4, 3, 2, 1, 0].map(batch_id), "batches of the fleet, newest first");
    let rejected = lab.store().batches(&BatchQuery { with_rejections: true, ..query(1)? }).await?;
    let found: Vec<_> = rejected.items.iter().map(|row| row.record.receipt.batch).collect();
    ensure_eq!((found, rejected.total), (vec![batch_id(6), batch_id(3), batch_id(0)], 3), "batches with rejected events");
    let of_one = lab.store().batches(&BatchQuery { agent: Some(agent(1)), ..query(1)? }).await?;
    let found: Vec<_> = of_one.items.iter().map(|row| (row.record.receipt.batch, row.agent_name.as_str())).collect();
    ensure_eq!(found, [(batch_id(5), "host-1"), (batch_id(3), "host-1"), (batch_id(1), "host-1")], "batches of one agent");
    Ok(())
}

pub(super) async fn the_log_is_read_in_slices(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 2).await?;
    for number in 0..4_u64 {
        lab.submit(batch_id(number), discoveries(number, ["apt", "dnf", "docker", "snap"][number as usize], 4, number * 10 + 1), at(1))
            .await?;
    }
    let whole = lab.store().replay(agent(0), 0, 1_000).await?;
    ensure_eq!(whole.iter().map(|event| event.sequence).collect::<Vec<_>>(), (1..=16).collect::<Vec<_>>(), "sequences of the log");
    let mut slices = Vec::new();
    while let Some(slice) = Some(lab.store().replay(agent(0), slices.len() as u64, 5).await?).filter(|slice| !slice.is_empty()) {
        ensure!(slice.len() <= 5, "a slice holds more than asked for: {}", slice.len());
        slices.extend(slice);
    }
    ensure_eq!(slices, whole, "the log in slices of five");
    Ok(())
}
