//! Goals of answers over the whole fleet: packages by hosts, and open updates by day.

use crate::{
    Size,
    cost::{Cost, Started},
    lists::{counts_row, plain_filters},
    table::Row,
};
use redflag_core::{
    conformance::generate::agent,
    query::{PackageQuery, PackageSortKey, PageNumber, PageSize, TrendQuery, UpdateFilter},
    store::StateStore,
    time::{Day, Timestamp},
};
use redflag_store_sqlite::SqliteStore;

pub(crate) async fn measure(store: &SqliteStore, size: Size) -> Vec<Row> {
    let (agent_packages, fleet_packages): (Vec<_>, Vec<_>) =
        plain_filters(size.hosts).into_iter().map(|(_, filter)| filter).partition(|filter| filter.agent.is_some());
    let everything = std::iter::once(UpdateFilter::default()).chain(fleet_packages).collect::<Vec<_>>();
    let mut rows = Vec::new();
    for (goal, filters) in
        [("packages by hosts, every plain filter, page 1 and last", everything), ("packages of one agent, page 1 and last", agent_packages)]
    {
        let mut times = Vec::new();
        for filter in filters {
            for sort in [PackageSortKey::Hosts, PackageSortKey::Name] {
                pages(store, &filter, sort, size.reads, &mut times).await;
            }
        }
        rows.push(counts_row(goal.to_owned(), &times, 15.0));
    }
    for (goal, only) in
        [("trend of the fleet, 30 and 400 days", None), ("trend of one agent, 30 and 400 days", Some(agent(size.hosts / 2)))]
    {
        let mut times = Vec::new();
        for days in [30, 400] {
            let query = TrendQuery::new(only, Day::of(Timestamp::MAX), days).expect("so many days are allowed");
            for _ in 0..size.reads {
                let started = Started::now();
                let points = store.trend(&query).await.expect("a trend");
                times.push(started.cost());
                let open = store.stats(&UpdateFilter { agent: only, ..UpdateFilter::default() }).await.expect("stats").by_severity;
                assert_eq!(points.last().map(|point| &point.open), Some(&open), "the trend ends with the counts of now");
            }
        }
        rows.push(counts_row(goal.to_owned(), &times, 15.0));
    }
    rows
}

async fn pages(store: &SqliteStore, filter: &UpdateFilter, sort: PackageSortKey, reads: usize, times: &mut Vec<Cost>) {
    let mut query = PackageQuery {
        filter: filter.clone(),
        sort,
        reverse: false,
        page: PageNumber::default(),
        size: PageSize::new(100).expect("a size"),
    };
    let total = store.packages(&query).await.expect("a page").total;
    let last = u32::try_from(total.div_ceil(100)).expect("pages are few").max(1);
    for number in [1, last] {
        query.page = PageNumber::new(number).expect("a number");
        for _ in 0..reads {
            let started = Started::now();
            let page = store.packages(&query).await.expect("a page");
            times.push(started.cost());
            assert_eq!(page.total, total);
        }
    }
}
