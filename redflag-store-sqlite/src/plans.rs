//! How SQLite answers the reads that must stay fast however much is stored (clause Q4): by search, never by scan.

use crate::{derived, feed, lists, log, maintenance, pivot, records, removed, rows, schema, trend};
use redflag_core::{
    conformance::generate::agent,
    query::{Sort, SortKey, TrendQuery, UpdateFilter, UpdateQuery},
    time::Day,
    words::Severity,
};
use rusqlite::Connection;

fn empty_fleet() -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    schema::migrate(&mut connection).unwrap();
    connection
}

/// The steps of the plan, one a line.
fn plan(sql: &str) -> Vec<String> {
    let connection = empty_fleet();
    let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let nulls = vec![None::<i64>; explain.parameter_count()];
    let steps = explain.query_map(rusqlite::params_from_iter(nulls), |row| row.get::<_, String>(3)).unwrap();
    steps.map(Result::unwrap).collect()
}

#[test]
fn reads_by_key_search_and_never_scan_nor_sort() {
    let trend = |agent| trend::sums(&TrendQuery::new(agent, Day::default(), 30).unwrap()).sql().to_owned();
    let (fleet_trend, agent_trend) = (trend(None), trend(Some(agent(1))));
    let by_key = [rows::UPDATE, rows::BATCH, log::EVENTS, log::HISTORY, log::REPLAY];
    let of_agent = [log::BATCHES_AFTER, log::BASES, derived::STATES, derived::COUNTERS, trend::OF_AGENT, trend::TAKEN_FROM_FLEET];
    let of_feed = [feed::RUNS, feed::RECORDS, feed::TOMBSTONES, feed::UNTIL, removed::FIND, removed::PAGE, records::NEXT_NAMESPACE];
    let pruning = [maintenance::PRUNED_BATCHES, maintenance::PRUNED_EVENTS].concat();
    for sql in by_key.into_iter().chain(of_agent).chain(of_feed).chain(pruning).chain([maintenance::PRUNED_REPORTS]) {
        for step in plan(sql) {
            let searches = step.starts_with("SEARCH ") && step.ends_with(')') || step.ends_with(") LEFT-JOIN");
            let around = ["SCALAR SUBQUERY 1", "LIST SUBQUERY 1", "CREATE BLOOM FILTER"].contains(&step.as_str());
            assert!(searches || around, "{step:?} in the plan of: {sql}");
        }
    }
    // Sums are gathered in the order of the key, or sorted when they are few.
    for sql in [fleet_trend, agent_trend] {
        let grouped = "USE TEMP B-TREE FOR GROUP BY";
        assert!(plan(&sql).iter().all(|step| !step.starts_with("SCAN") || step == grouped), "{:?}", plan(&sql));
    }
    let newest = plan(feed::NEWEST);
    assert_eq!(newest, ["SCAN feed"], "from its end, and ended by the first row");
}

#[test]
fn packages_of_one_agent_read_the_states_of_that_agent_alone() {
    let filter = UpdateFilter { agent: Some(agent(1)), ..UpdateFilter::default() };
    let steps = plan(pivot::states_statement(&filter).sql());
    assert!(steps[0].starts_with("SEARCH a USING") && steps[0].ends_with("(agent_id=?)"), "{steps:?}");
    assert_eq!(steps[1..], ["SEARCH s USING PRIMARY KEY (agent_ref=?)", "SEARCH p USING INTEGER PRIMARY KEY (rowid=?)"]);
}

#[test]
fn a_page_of_one_agent_reads_the_states_of_that_agent_alone() {
    for key in [SortKey::Name, SortKey::Severity, SortKey::LastChange, SortKey::Agent] {
        let filter = UpdateFilter { agent: Some(agent(1)), ..UpdateFilter::default() };
        let query = UpdateQuery { filter, sort: Sort { key, reverse: false }, ..UpdateQuery::default() };
        let steps = plan(lists::key_statement(&query, None, 0).sql());
        assert!(steps[0].starts_with("SEARCH a USING") && steps[0].ends_with("(agent_id=?)"), "{steps:?}");
        assert_eq!(steps[1], "SEARCH s USING PRIMARY KEY (agent_ref=?)");
        assert_eq!(steps[2], "SEARCH p USING INTEGER PRIMARY KEY (rowid=?)");
    }
}

/// By agent, the agents before the page cost a sum of counters each, and nothing is sorted.
#[test]
fn agents_before_a_page_are_passed_over_by_their_counters() {
    let filter = UpdateFilter { severity: Some(Severity::Low), manager: Some("apt".parse().unwrap()), ..UpdateFilter::default() };
    for filter in [UpdateFilter::default(), filter] {
        for reverse in [false, true] {
            let query = UpdateQuery { filter: filter.clone(), sort: Sort { key: SortKey::Agent, reverse }, ..UpdateQuery::default() };
            let steps = plan(lists::agents_statement(&query, None).sql());
            assert_eq!(steps[..2], ["SCAN a USING COVERING INDEX agents_by_name", "CORRELATED SCALAR SUBQUERY 1"]);
            assert!(steps[2].starts_with("SEARCH s USING PRIMARY KEY (agent_ref=?"), "{steps:?}");
            assert_eq!(steps.len(), 3, "{steps:?}");
        }
    }
}
