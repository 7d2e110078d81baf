//! How agents and their logs end and begin anew: removal, retention, rebuild, import (clauses D1 to D3, S1).

use crate::server::{Server, into_schema};
use redflag_core::{
    Fleet,
    conformance::{
        Shape,
        generate::{Rng, agent, at, batch_id, checked, enrolment, offers, report_id, report_of, rescan, scope_of, text},
        history,
    },
    event::Actor,
    feed::FeedPosition,
    ids::{AgentId, UpdateId},
    names::PackageKey,
    rebuild::Difference,
    removal::RemovedAgent,
    report::Report,
    restore::{Piece, Restore},
    retention::RetentionWindow,
    store::{BatchStore as _, Mode, RecordStore as _, StateStore as _, Store, StoreError, StoreErrorKind},
    time::Timestamp,
    work::{Decision, Refusal, UnitOfWork},
};
use redflag_store_postgres::{Options, PostgresStore};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::task::JoinSet;

/// Tables with a column `agent_ref` whose rows outlive the agent.
const KEPT: &[&str] = &["feed", "feed_tickets", "feed_tombstones", "removed_agents", "state_changes"];

/// Where a window of 30 days begins at `at(seconds)`.
fn thirty_days_after(seconds: u32) -> Timestamp {
    at(seconds).saturating_add(Duration::from_secs(30 * 86_400))
}

fn window() -> RetentionWindow {
    RetentionWindow::days(30).expect("the shortest window")
}

async fn remove(fleet: &Fleet, number: u32) -> Result<RemovedAgent, StoreError> {
    fleet.remove_agent(agent(number), Actor::Operator(text("ada")), Some(text("scrapped")), at(9_000)).await
}

/// Runs a history that leaves rows in every table, refusals included, and prunes its first third.
pub(crate) async fn live(store: &Arc<dyn Store>, seed: u64, agents: u32) {
    let works = history(seed, Shape { agents, steps: 120, packages: 12 });
    for (step, work) in works.iter().enumerate() {
        // Refusals are part of a history.
        let _refused = store.run(work, Mode::Commit).await;
        if step == works.len() / 2 {
            for number in 0..agents {
                let fleet = Fleet::shared(Arc::clone(store));
                fleet.prune(agent(number), window(), thirty_days_after(30)).await.expect("the log is pruned");
                fleet.command(agent(number), rescan(1), at(30)).await.expect("a command is asked for");
            }
        }
    }
}

/// Everything that is stored of these agents, and of removed ones, one line a value.
pub(crate) async fn everything(store: &dyn Store, agents: u32) -> Vec<String> {
    let mut lines = vec![format!("{:?}", store.removed_agents(None, 100).await.expect("the store answers"))];
    for id in (0..agents).map(agent) {
        lines.push(format!("{:?}", store.agent(id).await.expect("the store answers")));
        lines.extend(store.replay(id, 0, u32::MAX).await.expect("the store answers").iter().map(|event| format!("{event:?}")));
        for record in store.agent_batches(id, 0, u32::MAX).await.expect("the store answers") {
            lines.push(format!("{record:?} {:?}", store.rejections(id, record.receipt.batch).await.expect("the store answers")));
        }
        lines.extend(store.reports(id, u32::MAX).await.expect("the store answers").iter().map(|report| format!("{report:?}")));
        lines.extend(store.bases(id).await.expect("the store answers").iter().map(|base| format!("base {base:?}")));
        let derived = store.derived(id).await.expect("the store answers");
        for state in derived.iter().flat_map(|derived| &derived.states) {
            let update = UpdateId { agent: id, package: state.package.clone() };
            lines.extend(store.events(&update).await.expect("the store answers").iter().map(|event| format!("{update:?} {event:?}")));
        }
        lines.push(format!("{derived:?}"));
    }
    lines
}

pub(crate) fn assert_same(found: &[String], expected: &[String]) {
    for (line, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found, expected, "line {line}");
    }
    assert_eq!(found.len(), expected.len());
}

/// Rows of an agent by table, of every table of the schema that has a column `agent_ref`.
async fn rows_of(connection: &mut PgConnection, agent_ref: i32) -> BTreeMap<String, i64> {
    let tables = "SELECT c.relname::text
         FROM pg_class AS c
         JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'agent_ref' AND NOT a.attisdropped
         WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')";
    let mut rows = BTreeMap::new();
    for table in connection.fetch_all(tables).await.expect("the server answers") {
        let table: String = table.get(0);
        let count = AssertSqlSafe(format!("SELECT COUNT(*) FROM {table} WHERE agent_ref = {agent_ref}"));
        rows.insert(table, connection.fetch_one(count).await.expect("the server answers").get(0));
    }
    rows
}

async fn ref_of(connection: &mut PgConnection, id: AgentId) -> i32 {
    let select = sqlx::query("SELECT agent_ref FROM agents WHERE agent_id = $1").bind(id.as_uuid());
    select.fetch_one(connection).await.expect("the agent is there").get(0)
}

/// Rows of an agent that is gone.
async fn rows_left(connection: &mut PgConnection, id: AgentId) -> BTreeMap<String, i64> {
    let select = sqlx::query("SELECT agent_ref FROM removed_agents WHERE agent_id = $1").bind(id.as_uuid());
    let agent_ref: i32 = select.fetch_one(&mut *connection).await.expect("the agent was removed").get(0);
    let mut rows = rows_of(connection, agent_ref).await;
    rows.retain(|table, rows| *rows > 0 && !KEPT.contains(&table.as_str()));
    rows
}

/// Clause D2, held against the catalogue, so that a table that comes later is not forgotten.
#[tokio::test]
async fn a_removed_agent_leaves_no_row_in_any_table() {
    let (server, options) = (Server::shared(), Server::options());
    let store: Arc<dyn Store> = Arc::new(server.open(&options).await);
    live(&store, 7, 2).await;
    // Every ticket has become an entry.
    store.feed(FeedPosition::START, 1).await.unwrap();
    let mut connection = into_schema(&server, &options).await;
    let (gone, stays) = (ref_of(&mut connection, agent(0)).await, ref_of(&mut connection, agent(1)).await);
    let (before, others) = (rows_of(&mut connection, gone).await, rows_of(&mut connection, stays).await);
    for (table, rows) in &before {
        assert!(*rows > 0 || KEPT.contains(&table.as_str()), "the history wrote nothing into {table}");
    }

    let head = store.agent(agent(0)).await.unwrap().unwrap();
    let removed = remove(&Fleet::shared(Arc::clone(&store)), 0).await.unwrap();
    assert_eq!((removed.agent, &removed.name, removed.batches, removed.events), (head.agent, &head.name, head.batches, head.events));

    for (table, rows) in rows_of(&mut connection, gone).await {
        let expected = match table.as_str() {
            "removed_agents" => 1,
            // It tells the mirrors that the agent went.
            "state_changes" => before[&table] + 1,
            "feed_tombstones" => i64::try_from(head.batches).unwrap(),
            _ if KEPT.contains(&table.as_str()) => before[&table],
            _ => 0,
        };
        assert_eq!(rows, expected, "{table}");
    }
    assert_eq!(rows_of(&mut connection, stays).await, others);
}

/// Retention takes what belongs to what it takes, and nothing else.
#[tokio::test]
async fn what_is_pruned_leaves_nothing_behind() {
    let (server, options) = (Server::shared(), Server::options());
    let store: Arc<dyn Store> = Arc::new(server.open(&options).await);
    live(&store, 9, 2).await;
    let fleet = Fleet::shared(Arc::clone(&store));
    let mut connection = into_schema(&server, &options).await;
    let agent_ref = ref_of(&mut connection, agent(0)).await;
    let mut number = async |sql: String| connection.fetch_one(AssertSqlSafe(sql)).await.unwrap().get::<i64, _>(0);
    // The window begins with a report: that one stays.
    let reports = format!("FROM reports WHERE agent_ref = {agent_ref}");
    let begins = number(format!("SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY received_at) {reports}")).await;
    let within = number(format!("SELECT COUNT(*) {reports} AND received_at >= {begins}")).await;
    let seconds = u32::try_from((begins - at(0).as_micros()) / 1_000_000).unwrap();
    let pruned = fleet.prune(agent(0), window(), thirty_days_after(seconds)).await.unwrap();
    assert_eq!(number(format!("SELECT COUNT(*) {reports}")).await, within);
    for (table, column, until) in [
        ("update_batches", "number", pruned.batches),
        ("rejections", "batch_number", pruned.batches),
        ("chosen_event_ids", "batch_number", pruned.batches),
        ("update_events", "sequence", pruned.events),
    ] {
        let of_agent = format!("SELECT COUNT(*) FROM {table} WHERE agent_ref = {agent_ref} AND");
        assert_eq!(number(format!("{of_agent} {column} <= {until}")).await, 0, "{table}");
        assert!(number(format!("{of_agent} {column} > {until}")).await > 0, "the history goes on in {table}");
    }
    // Every batch is in the feed, as record or as tombstone, and never as both.
    let head = store.agent(agent(0)).await.unwrap().unwrap();
    let known = format!(
        "SELECT COUNT(*) FROM (SELECT number FROM update_batches WHERE agent_ref = {agent_ref}
         UNION ALL SELECT number FROM feed_tombstones WHERE agent_ref = {agent_ref}) AS entries"
    );
    assert_eq!(number(known).await, i64::try_from(head.batches).unwrap());
    assert_eq!(fleet.check(agent(0)).await.unwrap(), []);

    // Where nothing is left of the log, base states, the newest of each package, are the states.
    fleet.prune(agent(0), window(), thirty_days_after(10_000)).await.unwrap();
    assert_eq!(store.replay(agent(0), 0, 1).await.unwrap(), []);
    assert_eq!(store.bases(agent(0)).await.unwrap(), store.derived(agent(0)).await.unwrap().unwrap().states);
}

/// Whatever was damaged of what follows from the log, a rebuild tells and mends (clause S1).
#[tokio::test]
async fn a_rebuild_mends_what_was_damaged() {
    let (server, options) = (Server::shared(), Server::options());
    let store: Arc<dyn Store> = Arc::new(server.open(&options).await);
    live(&store, 11, 2).await;
    let fleet = Fleet::shared(Arc::clone(&store));
    let whole = everything(&*store, 2).await;
    let mut connection = into_schema(&server, &options).await;
    let agent_ref = ref_of(&mut connection, agent(0)).await;
    let damage = format!(
        "BEGIN;
         SELECT set_config('redflag.pass', '{agent_ref} ' || pg_current_xact_id(), true);
         DELETE FROM update_version_history WHERE agent_ref = {agent_ref}
             AND sequence > (SELECT pruned_events FROM agents WHERE agent_ref = {agent_ref});
         DELETE FROM current_package_state WHERE agent_ref = {agent_ref}
             AND package_ref = (SELECT MIN(package_ref) FROM current_package_state WHERE agent_ref = {agent_ref});
         UPDATE current_package_state SET revision = revision + 1 WHERE agent_ref = {agent_ref};
         UPDATE update_counters SET count = count + 1 WHERE agent_ref = {agent_ref};
         INSERT INTO open_changes VALUES ({agent_ref}, 7, 0, 5);
         COMMIT"
    );
    connection.execute(AssertSqlSafe(damage)).await.unwrap();
    let told = fleet.rebuild(agent(0)).await.unwrap();
    let of = |what: &str| told.iter().any(|Difference { what: told, .. }| told.starts_with(what));
    for what in ["state of", "version history", "counter", "change of open updates"] {
        assert!(of(what), "{what} is not among {told:?}");
    }
    assert_eq!(fleet.check(agent(0)).await.unwrap(), []);
    assert_same(&everything(&*store, 2).await, &whole);
}

/// Clause D1: the mark of a pass is for one agent and one transaction, and nothing else lets a row go.
#[tokio::test]
async fn rows_of_the_log_go_only_in_a_pass() {
    let (server, options) = (Server::shared(), Server::options());
    let store: Arc<dyn Store> = Arc::new(server.open(&options).await);
    live(&store, 7, 2).await;
    remove(&Fleet::shared(Arc::clone(&store)), 1).await.unwrap();
    let mut connection = into_schema(&server, &options).await;
    let agent_ref = ref_of(&mut connection, agent(0)).await;
    let other = agent_ref + 1;
    let marked =
        |agent_ref: i32, until: &str| format!("BEGIN; SELECT set_config('redflag.pass', '{agent_ref} ' || pg_current_xact_id(), {until});");
    let refused = async |connection: &mut PgConnection, script: String| {
        let result = connection.execute(AssertSqlSafe(script.clone())).await;
        let state = result.err().and_then(|error| Some(error.as_database_error()?.code()?.into_owned()));
        connection.execute("ROLLBACK").await.unwrap();
        assert_eq!(state.as_deref(), Some("23001"), "{script}");
    };
    for table in ["update_events", "update_batches", "update_version_history", "rejections", "chosen_event_ids", "reports"] {
        let delete = format!("DELETE FROM {table} WHERE agent_ref = {agent_ref}");
        refused(&mut connection, format!("BEGIN; {delete}")).await;
        refused(&mut connection, format!("{} {delete}", marked(other, "true"))).await;
        // Left on the connection by an earlier transaction.
        connection.execute(AssertSqlSafe(format!("{} COMMIT", marked(agent_ref, "false")))).await.unwrap();
        refused(&mut connection, format!("BEGIN; {delete}")).await;
        // Not even a pass changes a row or empties a table.
        refused(&mut connection, format!("{} UPDATE {table} SET agent_ref = agent_ref", marked(agent_ref, "true"))).await;
        refused(&mut connection, format!("{} TRUNCATE {table}", marked(agent_ref, "true"))).await;
        let deleted = connection.execute(AssertSqlSafe(format!("{} {delete}; ROLLBACK", marked(agent_ref, "true")))).await;
        deleted.unwrap_or_else(|error| panic!("a pass deletes from {table}: {error}"));
    }
    let removed = "(SELECT agent_ref FROM removed_agents)";
    for table in ["feed_tombstones", "removed_agents"] {
        for change in [format!("DELETE FROM {table}"), format!("UPDATE {table} SET agent_ref = agent_ref"), format!("TRUNCATE {table}")] {
            let mark = format!("BEGIN; SELECT set_config('redflag.pass', {removed} || ' ' || pg_current_xact_id(), true);");
            refused(&mut connection, format!("{mark} {change}")).await;
        }
    }
}

fn report(number: u32) -> Report {
    let offers = checked("apt", &offers(&mut Rng::new(number.into()), "apt", 60));
    report_of(report_id(number.into()), number.into(), vec![scope_of("apt", at(number), &offers, &[])])
}

fn unknown(error: &StoreError) -> bool {
    matches!(error.kind(), StoreErrorKind::Refused(Refusal::UnknownAgent { .. }))
}

async fn until_removed(fleet: Fleet, number: u32) -> RemovedAgent {
    loop {
        match remove(&fleet, number).await {
            Ok(removed) => return removed,
            // It reported again each time its log had been read.
            Err(error) => assert_eq!(error.kind(), &StoreErrorKind::Unavailable, "{error:?}"),
        }
    }
}

/// How often the server had to break a deadlock. Sessions tell when they end, so all others must have ended.
async fn deadlocks(connection: &mut PgConnection) -> i64 {
    let others = "SELECT COUNT(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    while connection.fetch_one(others).await.expect("the server answers").get::<i64, _>(0) > 0 {}
    let select = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    connection.fetch_one(select).await.expect("the server answers").get(0)
}

/// Clauses D2 and R5: either order, never a row left, no deadlock; a report, a decision, retention, a rebuild and other removals of
/// the same agent come at the same time, through several servers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_can_be_removed_while_everything_happens_to_it() {
    let (server, options) = (Server::own(), Server::options());
    let mut stores = Vec::new();
    for _ in 0..3 {
        stores.push(server.open(&Options { connections: 4, ..options.clone() }).await);
    }
    let fleets: Vec<_> = stores.iter().map(|store| Fleet::new(store.clone())).collect();
    let mut recorded = 0;
    for number in 0..8 {
        fleets[0].enrol(enrolment(number)).await.unwrap();
        fleets[0].record_report(agent(number), report(1), at(1)).await.unwrap();
        let package: PackageKey = stores[0].derived(agent(number)).await.unwrap().unwrap().states[0].package.clone();
        let (mut work, mut removals) = (JoinSet::new(), JoinSet::new());
        for (place, fleet) in (0..).zip(&fleets) {
            let (reporter, decider, other) = (fleet.clone(), fleet.clone(), fleet.clone());
            work.spawn(async move { reporter.record_report(agent(number), report(2 + place), at(2 + place)).await.map(|_| ()) });
            let decisions = vec![(package.clone(), Decision::Reopen { comment: None })];
            work.spawn(async move {
                decider.decide(agent(number), batch_id(u64::from(place) + 1), text("ada"), decisions, at(9)).await.map(|_| ())
            });
            work.spawn(async move {
                match place {
                    0 => other.prune(agent(number), window(), thirty_days_after(5)).await.map(|_| ()),
                    _ => other.rebuild(agent(number)).await.map(|_| ()),
                }
            });
            removals.spawn(until_removed(fleet.clone(), number));
        }
        for result in work.join_all().await {
            match result {
                Ok(()) => recorded += 1,
                // Retention and rebuild may also find that the log has moved on, or gone while they read it.
                Err(error) => assert!(
                    unknown(&error)
                        || matches!(error.kind(), StoreErrorKind::Refused(Refusal::AgentMoved { .. }) | StoreErrorKind::Corrupt),
                    "{error:?}"
                ),
            }
        }
        let removals = removals.join_all().await;
        assert!(removals.iter().all(|removed| *removed == removals[0]), "one removal: {removals:?}");
        assert_eq!(stores[1].agent(agent(number)).await.unwrap(), None);
        let mut connection = into_schema(&server, &options).await;
        assert_eq!(rows_left(&mut connection, agent(number)).await, BTreeMap::new());
        let entries: i64 = connection.fetch_one("SELECT COUNT(*) FROM feed_tombstones").await.unwrap().get(0);
        let batches: u64 = stores[2].removed_agents(None, 100).await.unwrap().iter().map(|removed| removed.batches).sum();
        assert_eq!(u64::try_from(entries).unwrap(), batches);
        assert!(unknown(&fleets[2].record_report(agent(number), report(90), at(90)).await.unwrap_err()));
        connection.close().await.unwrap();
    }
    println!("{recorded} pieces of work came before a removal");
    for store in &stores {
        store.close().await;
    }
    let mut connection = PgConnection::connect(&server.url()).await.unwrap();
    assert_eq!(deadlocks(&mut connection).await, 0);
}

/// Clause D2: an id that was removed is never enrolled again, however the two fall together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_id_never_enrolls_again() {
    let (server, options) = (Server::shared(), Server::options());
    let stores = [server.open(&options).await, server.open(&options).await];
    let fleets = stores.each_ref().map(|store| Fleet::new(store.clone()));
    let refused = |error: &StoreError, number: u32| {
        assert_eq!(error.kind(), &StoreErrorKind::Refused(Refusal::AgentRemoved { agent: agent(number) }));
    };
    for number in 0..12 {
        fleets[0].enrol(enrolment(number)).await.unwrap();
        let mut enrolments = JoinSet::new();
        for place in 0..6 {
            let fleet = fleets[place % 2].clone();
            enrolments.spawn(async move { fleet.enrol(enrolment(number)).await });
        }
        let removed = remove(&fleets[1], number).await.unwrap();
        for result in enrolments.join_all().await {
            // Before the removal it is the same enrolment again.
            result.unwrap_or_else(|error| refused(&error, number));
        }
        refused(&fleets[0].enrol(enrolment(number)).await.unwrap_err(), number);
        assert_eq!(stores[0].agent(agent(number)).await.unwrap(), None);
        assert_eq!(stores[0].removed_agents(None, 100).await.unwrap().last(), Some(&removed));
    }
}

/// An agent that is brought back as removed and one that is enrolled under its id: one of them comes first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_is_enrolled_or_removed_and_never_both() {
    let (server, options) = (Server::shared(), Server::options());
    let stores = [server.open(&options).await, server.open(&options).await];
    for number in 0..16 {
        let removed = RemovedAgent {
            agent: agent(number),
            name: text("gone"),
            enrolled_at: at(0),
            removed_at: at(1),
            actor: Actor::Operator(text("ada")),
            reason: None,
            batches: 0,
            events: 0,
        };
        let mut both = JoinSet::new();
        for (store, work) in stores.iter().zip([
            UnitOfWork::EnrolAgent(enrolment(number)),
            UnitOfWork::Restore(Restore { agent: agent(number), piece: Piece::Removed(removed) }),
        ]) {
            let store = store.clone();
            both.spawn(async move { store.run(&work, Mode::Commit).await.map(|_| ()) });
        }
        let ended = both.join_all().await;
        assert_eq!(ended.iter().filter(|result| result.is_ok()).count(), 1, "{ended:?}");
        let enrolled = stores[0].agent(agent(number)).await.unwrap().is_some();
        let known = stores[0].removed_agents(None, 100).await.unwrap().iter().any(|removed| removed.agent == agent(number));
        assert!(enrolled != known);
    }
}

#[tokio::test]
async fn namespaces_are_listed_once_and_in_order() {
    let (server, options) = (Server::shared(), Server::options());
    let store: PostgresStore = server.open(&options).await;
    assert_eq!(store.namespaces(None, 10).await.unwrap(), Vec::<String>::new());
    for (namespace, key) in [("b", "1"), ("b", "2"), ("ä", "1"), ("B", "1"), ("a", "1"), ("ab", "1"), ("a", "2")] {
        store.put(namespace, key, "{}", redflag_core::store::Expected::Absent).await.unwrap();
    }
    assert_eq!(store.namespaces(None, 10).await.unwrap(), ["B", "a", "ab", "b", "ä"]);
    assert_eq!(store.namespaces(Some("a"), 2).await.unwrap(), ["ab", "b"]);
    assert_eq!(store.namespaces(Some("ä"), 2).await.unwrap(), Vec::<String>::new());
}
