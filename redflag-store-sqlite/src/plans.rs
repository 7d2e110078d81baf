//! How SQLite answers the reads that must stay fast however much is stored (clause Q4): by search, never by scan.

use crate::{
    lists, log, rows, schema,
    tally::{self, Run},
};
use redflag_core::{
    conformance::generate::agent,
    query::{Sort, SortKey, StatusFilter, UpdateFilter, UpdateQuery},
    words::{AvailabilityKind, Severity, Status},
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

/// By severity and name, a page reads the index of the packages it holds, and no state but those of its rows.
#[test]
fn pages_of_the_fleet_search_the_index_of_their_packages() {
    let filters = [
        UpdateFilter::default(),
        UpdateFilter { status: StatusFilter::Is(Status::Failed), security: Some(true), ..UpdateFilter::default() },
        UpdateFilter { availability: Some(AvailabilityKind::Held), severity: Some(Severity::Low), ..UpdateFilter::default() },
    ];
    for filter in filters {
        for (severity, columns) in [(None, "package_ref=?"), (Some(Severity::Critical), "package_ref=? AND severity=?")] {
            let query = UpdateQuery { filter: filter.clone(), ..UpdateQuery::default() };
            for after in [None, Some(agent(1))] {
                let run = Run { package_ref: 1, severity, count: 1, after };
                let steps = plan(lists::run_statement(&query, &run, 51, 0).sql());
                let search = format!("SEARCH s USING COVERING INDEX current_package_state_by_package ({columns}");
                assert!(steps[0].starts_with(&search), "{steps:?}");
                assert_eq!(steps[1..], ["SEARCH a USING INTEGER PRIMARY KEY (rowid=?)", "USE TEMP B-TREE FOR ORDER BY"]);
            }
        }
    }
}

/// Counting anew reads one index, in its order.
#[test]
fn a_tally_is_counted_from_one_index() {
    assert_eq!(plan(tally::COUNT), ["SCAN s USING COVERING INDEX current_package_state_by_package"]);
}
