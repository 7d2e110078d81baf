//! What reads touch, told by PostgreSQL itself: whatever the size of the fleet, the rows of a page and no more (clause Q4).

use crate::server::{Server, into_schema};
use redflag_core::{
    Fleet,
    command::lifecycle::CommandState,
    conformance::generate::{Rng, agent, at, checked, command_id, enrolment, offers, report_id, report_of, rescan, scope_of},
    feed::FeedPosition,
    ids::UpdateId,
    query::{
        AgentQuery, CommandFilter, CommandQuery, PackageQuery, PageNumber, PageSize, PageStart, Search, Sort, SortKey, StatusFilter,
        TrendQuery, UpdateFilter, UpdateQuery,
    },
    store::{CommandStore as _, EventStore as _, StateStore as _},
    time::Day,
};
use redflag_store_postgres::PostgresStore;
use sqlx::{Connection as _, PgConnection, Row as _};
use std::collections::BTreeMap;

const AGENTS: u32 = 30;
const UPDATES: usize = 60;
const COMMANDS: i64 = 20;

/// Rows of each table that statements have read so far, by scans of the table and through indexes.
async fn rows_read(connection: &mut PgConnection, schema: &str) -> BTreeMap<String, (i64, i64)> {
    let select = "SELECT relname, COALESCE(seq_tup_read, 0), COALESCE(idx_tup_fetch, 0) FROM pg_stat_user_tables WHERE schemaname = $1";
    let rows = sqlx::query(select).bind(schema).fetch_all(connection).await.expect("the statistics are read");
    rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect()
}

/// Every page asked for here holds five rows. Server processes tell what they read when they end, so each step has a store of its
/// own, which is closed.
#[tokio::test]
async fn a_page_reads_its_rows_and_no_table_is_scanned() {
    let server = Server::own();
    let options = Server::options();
    let store = server.open(&options).await;
    let fleet = Fleet::new(store.clone());
    let offers = checked("apt", &offers(&mut Rng::new(1), "apt", UPDATES));
    for number in 0..AGENTS {
        fleet.enrol(enrolment(number)).await.unwrap();
        for time in 1..4 {
            let report = report_of(report_id(time.into()), time.into(), vec![scope_of("apt", at(time), &offers[time as usize..], &[])]);
            fleet.record_report(agent(number), report, at(number * 10 + time)).await.unwrap();
        }
    }
    for number in 0..AGENTS {
        for command in 0..COMMANDS as u32 {
            fleet.command(agent(number), rescan(command.into()), at(command)).await.unwrap();
        }
    }
    drop(fleet);
    store.close().await;

    let mut connection = into_schema(&server, &options).await;
    let mut before = settled(&mut connection, &options.schema).await;
    let filling = server.open(&options).await;
    filling.stats(&UpdateFilter::default()).await.unwrap();
    filling.close().await;
    let filled = difference(&before, &settled(&mut connection, &options.schema).await);

    let (filter, size) = (UpdateFilter::default(), PageSize::new(5).unwrap());
    let id = UpdateId { agent: agent(3), package: offers[10].0.clone() };
    let mut reads = 0;
    before = settled(&mut connection, &options.schema).await;
    let store = server.open(&options).await;
    for key in [SortKey::Severity, SortKey::Name, SortKey::Agent, SortKey::LastChange] {
        for filter in [
            filter.clone(),
            UpdateFilter { agent: Some(agent(7)), ..filter.clone() },
            UpdateFilter { status: StatusFilter::Any, ..filter.clone() },
            UpdateFilter { search: Some(Search::new("lib").unwrap()), ..filter.clone() },
        ] {
            for number in [1, 7, 100, 341] {
                let start = PageStart::Number(PageNumber::new(number).unwrap());
                let sort = Sort { key, reverse: number == 7 };
                store.updates(&UpdateQuery { filter: filter.clone(), sort, size, start }).await.unwrap();
                reads += 1;
            }
        }
    }
    one_of_each(&store, &id).await;
    store.close().await;
    let read = difference(&before, &settled(&mut connection, &options.schema).await);
    for (table, (scanned, fetched)) in &read {
        // Filling the mirror reads every state, agent and package once.
        let (scanned, fetched) = (scanned - filled[table].0, fetched - filled[table].1);
        let small = ["agents", "agent_facts", "packages", "pruned_state_changes", "schema_migrations", "update_counters", "feed_tickets"];
        assert!(scanned <= 0 || small.contains(&table.as_str()), "{scanned} rows of {table} were read by scans");
        let enough = match table.as_str() {
            "agents" | "update_counters" => 20_000,
            // Of two lists the total is all of them, counted one by one.
            "commands" => 2 * i64::from(AGENTS) * COMMANDS + 150,
            _ => reads * 5 + 600,
        };
        assert!(fetched <= enough, "{fetched} rows of {table} were read for {reads} pages of 5");
    }
    assert!(read["current_package_state"].1 > reads, "the statistics tell what was read");
}

/// The reads that are no lists of updates.
async fn one_of_each(store: &PostgresStore, id: &UpdateId) {
    store.update(id).await.expect("the store answers");
    store.history(id).await.expect("the store answers");
    store.events(id).await.expect("the store answers");
    store.agent(id.agent).await.expect("the store answers");
    store.agents(&AgentQuery::default()).await.expect("the store answers");
    store.packages(&PackageQuery::default()).await.expect("the store answers");
    store.trend(&TrendQuery::new(None, Day::of(at(0)), 30).expect("a month")).await.expect("the store answers");
    store.replay(id.agent, 50, 10).await.expect("the store answers");
    store.reports(id.agent, 2).await.expect("the store answers");
    store.agent_batches(id.agent, 0, 2).await.expect("the store answers");
    store.feed(FeedPosition(20), 10).await.expect("the store answers");
    store.batches_until(id.agent, FeedPosition(20)).await.expect("the store answers");
    store.command(id.agent, command_id(3)).await.expect("the store answers");
    store.due_commands(at(9), None, 10).await.expect("the store answers");
    let size = PageSize::new(5).expect("five rows");
    for agent in [None, Some(id.agent)] {
        for state in [CommandFilter::Any, CommandFilter::Open, CommandFilter::Only(CommandState::Leased)] {
            store.commands(&CommandQuery { agent, state, after: None, size }).await.expect("the store answers");
        }
    }
}

/// What was read once every process of stores has told it and ended.
async fn settled(connection: &mut PgConnection, schema: &str) -> BTreeMap<String, (i64, i64)> {
    loop {
        let others = "SELECT COUNT(*) FROM pg_stat_activity WHERE application_name = 'redflag'";
        let others: i64 = sqlx::query(others).fetch_one(&mut *connection).await.expect("the server answers").get(0);
        if others == 0 {
            connection.ping().await.expect("the server answers");
            return rows_read(connection, schema).await;
        }
    }
}

fn difference(before: &BTreeMap<String, (i64, i64)>, after: &BTreeMap<String, (i64, i64)>) -> BTreeMap<String, (i64, i64)> {
    let less = |(table, (scanned, fetched)): (&String, &(i64, i64))| {
        let (scanned_before, fetched_before) = before.get(table).copied().unwrap_or_default();
        (table.clone(), (scanned - scanned_before, fetched - fetched_before))
    };
    after.iter().map(less).collect()
}
