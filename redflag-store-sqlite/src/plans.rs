//! How SQLite answers the reads that must stay fast however much is stored (clause Q4): by search, never by scan.

use crate::{lists, log, rows, schema};
use redflag_core::{
    conformance::generate::agent,
    query::{Sort, SortKey, UpdateFilter, UpdateQuery},
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
    for sql in [rows::UPDATE, rows::BATCH, log::EVENTS, log::HISTORY, log::REPLAY] {
        for step in plan(sql) {
            assert!(step.starts_with("SEARCH "), "{step:?} in the plan of: {sql}");
        }
    }
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
