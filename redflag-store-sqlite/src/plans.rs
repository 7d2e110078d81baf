//! How SQLite answers (clause Q4): by search, never by a walk over a table that grows, but for the statements named here with their
//! reasons. What is looked at is every statement that runs while whole histories are written and all that they left is read, not a
//! list of those that came to mind.

use crate::SqliteStore;
use redflag_core::{
    Fleet,
    command::{
        lifecycle::CommandState,
        step::{CommandStep, Step},
    },
    conformance::{
        Shape,
        generate::{agent, at, command_id, rescan},
        history, transcript,
    },
    event::Actor,
    ids::AgentId,
    query::{BatchQuery, CommandFilter, CommandPosition, CommandQuery},
    retention::RetentionWindow,
    store::{BatchStore, CommandStore, EventStore, Expected, Mode, RecordStore},
    time::Timestamp,
    work::UnitOfWork,
};
use rusqlite::{
    Connection,
    trace::{TraceEvent, TraceEventCodes},
};
use std::{collections::BTreeSet, sync::Mutex};

/// Statements that walk or sort: how they begin, the step, and why it may be.
const WALKS: &[(&str, &str, &str)] = &[
    ("SELECT number FROM generation", "SCAN generation", "one row"),
    ("UPDATE generation", "SCAN generation", "one row"),
    ("SELECT first_position + batches - 1 FROM feed", "SCAN feed", "from its end, and it ends with the first row"),
    ("SELECT agent_ref, agent_id, name FROM agents", "SCAN agents", "once, for the index"),
    ("SELECT package_ref, manager, name, arch FROM packages", "SCAN packages", "once, for the index"),
    ("SELECT package_ref FROM current_package_state", "SCAN current_package_state", "once, for the index"),
    ("SELECT agent_ref, package_ref, status", "SCAN current_package_state", "once, for the index"),
    ("SELECT 1 + MAX(COALESCE(", "SEARCH agents", "its last row"),
    ("SELECT 1 + MAX(COALESCE(", "SEARCH removed_agents", "its last row"),
    ("SELECT COUNT(*) FROM agents", "SCAN agents", "lists of agents are of thousands, not millions"),
    ("SELECT a.agent_ref, a.agent_id, a.name, a.public_key", "SCAN a", "likewise"),
    ("SELECT a.agent_ref, a.agent_id, a.name, a.public_key", "USE TEMP B-TREE FOR ORDER BY", "likewise"),
    ("SELECT COALESCE(SUM(a.batches", "SCAN a", "likewise"),
    ("SELECT MAX(day, ?)", "USE TEMP B-TREE FOR GROUP BY", "a row for each severity and day, of the fleet or of one agent"),
    ("SELECT MIN(namespace) FROM records", "SEARCH records", "from its start, and it ends with the first row"),
    (
        "SELECT COUNT(*) FROM update_batches AS b WHERE b.rejected > 0",
        "SCAN b USING INDEX update_batches_rejected",
        "which holds no others",
    ),
    ("SELECT a.agent_id, a.name, b.batch_id", "SCAN b USING INDEX update_batches_", "from the newest on, and it ends with the page"),
    ("SELECT a.agent_id, a.name, b.batch_id", "USE TEMP B-TREE FOR LAST", "within batches of one time"),
    ("SELECT a.agent_id, a.name, b.batch_id", "USE TEMP B-TREE FOR ORDER BY", "the batches of one agent"),
    ("SELECT COUNT(*) FROM commands AS c", "SCAN c USING COVERING INDEX", "a total is exact, and counted in the narrowest index"),
    ("SELECT a.name, c.record FROM commands", "SCAN c USING INDEX commands_", "from the newest on, and it ends with the page"),
    ("SELECT DISTINCT agent_id FROM commands", "USE TEMP B-TREE FOR", "the agents with a command that is due"),
    ("SELECT p.manager, p.name, p.arch, h.from_version", "USE TEMP B-TREE FOR ORDER BY", "the version history of one agent"),
    ("SELECT package_ref, MAX(sequence)", "USE TEMP B-TREE FOR GROUP BY", "the log of one agent, while it is rebuilt"),
    ("INSERT INTO maintenance", "SCAN maintenance", "the one row of the pass under way"),
    ("DELETE FROM maintenance", "SCAN maintenance", "the one row of the pass under way"),
    ("WITH RECURSIVE of_package", "SCAN o", "the events of one package"),
];

/// Steps that read no table.
const HARMLESS: &[&str] = &[
    "SCAN CONSTANT ROW",
    "SCALAR SUBQUERY",
    "CORRELATED SCALAR SUBQUERY",
    "LIST SUBQUERY",
    "REUSE SUBQUERY",
    "MATERIALIZE",
    "SETUP",
    "RECURSIVE STEP",
    "CREATE BLOOM FILTER",
];

#[tokio::test]
async fn no_statement_walks_a_table_that_grows() {
    let store = SqliteStore::in_memory().unwrap();
    let schema = store.on_writer(|connection| {
        let mut select = connection.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid").unwrap();
        let schema = select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect::<Vec<String>>();
        connection.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(note));
        schema
    });
    let schema = schema.await;
    use_everything(store).await;
    let connection = Connection::open_in_memory().unwrap();
    schema.iter().for_each(|sql| connection.execute_batch(sql).unwrap());
    let ran = std::mem::take(&mut *RAN.lock().unwrap());
    assert!(ran.len() > 80, "{} statements ran", ran.len());
    let mut unused: BTreeSet<_> = WALKS.iter().map(|(begins, step, _)| (begins, step)).collect();
    for sql in ran {
        let sql = sql.split_whitespace().collect::<Vec<_>>().join(" ");
        for step in plan(&connection, &sql) {
            let known = WALKS.iter().find(|(begins, known, _)| sql.starts_with(begins) && step.starts_with(known));
            known.map(|(begins, known, _)| unused.remove(&(begins, known)));
            // A search by no value is a walk.
            let searches = step.starts_with("SEARCH ") && step.trim_end_matches(" LEFT-JOIN").ends_with(')');
            let harmless = searches || HARMLESS.iter().any(|harmless| step.starts_with(harmless));
            assert!(harmless || known.is_some(), "{step:?} in the plan of: {sql}");
        }
    }
    assert_eq!(unused, BTreeSet::new(), "walks that no statement makes any more");
}

/// Writes whole histories, and reads all that they left.
async fn use_everything(store: SqliteStore) {
    let shape = Shape { steps: 400, ..Shape::default() };
    let agents: Vec<_> = (0..shape.agents).map(agent).collect();
    for work in history(7, shape) {
        // Refusals are part of a history.
        let _refused = store.run(&work, Mode::Commit).await;
    }
    transcript(&store, &agents).await.unwrap();
    for with_rejections in [false, true] {
        store.batches(&BatchQuery { with_rejections, ..BatchQuery::default() }).await.unwrap();
    }
    for number in 1..9 {
        let step = UnitOfWork::Command(CommandStep { agent: agents[0], step: rescan(number), at: at(1) });
        store.run(&step, Mode::Commit).await.unwrap();
    }
    let lease = CommandStep { agent: agents[0], step: Step::Lease { limit: 3 }, at: at(2) };
    store.run(&UnitOfWork::Command(lease), Mode::Commit).await.unwrap();
    lists_of_commands(&store, agents[0]).await;
    store.put("n", "k", "v", Expected::Absent).await.unwrap();
    store.list("n", None, 10).await.unwrap();
    store.namespaces(None, 10).await.unwrap();
    store.delete("n", "k", 1).await.unwrap();
    let damage = "-- not a statement of the store\nUPDATE update_counters SET count = count + 1";
    store.on_writer(move |connection| connection.execute(damage, []).unwrap()).await;
    let fleet = Fleet::new(store);
    assert!(!fleet.rebuild(agents[0]).await.unwrap().is_empty(), "there was something to mend");
    fleet.prune(agents[1], RetentionWindow::days(400).unwrap(), Timestamp::MAX).await.unwrap();
    fleet.remove_agent(agents[2], Actor::Agent, None, at(1_000_000)).await.unwrap();
}

/// Each with and without a place to go on behind.
async fn lists_of_commands(store: &SqliteStore, of: AgentId) {
    let after = Some(CommandPosition { requested_at: at(1), agent: of, command: command_id(5) });
    for agent in [None, Some(of)] {
        for state in [CommandFilter::Any, CommandFilter::Open, CommandFilter::Only(CommandState::Queued)] {
            for after in [None, after] {
                let query = CommandQuery { agent, state, after, ..CommandQuery::default() };
                assert!(store.commands(&query).await.unwrap().total > 0);
            }
        }
    }
    store.command(of, command_id(1)).await.unwrap();
    store.due_commands(at(900), None, 10).await.unwrap();
}

/// The text of every statement that ran, without values.
static RAN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

fn note(event: TraceEvent<'_>) {
    // What triggers run comes as a comment, and so does what tests run.
    if let TraceEvent::Stmt(_, sql) = event
        && !sql.starts_with("--")
    {
        RAN.lock().unwrap().insert(sql.to_owned());
    }
}

/// The steps of the plan; none of a statement that has none.
fn plan(connection: &Connection, sql: &str) -> Vec<String> {
    let Ok(mut explain) = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")) else { return Vec::new() };
    let nulls = vec![None::<i64>; explain.parameter_count()];
    let steps = explain.query_map(rusqlite::params_from_iter(nulls), |row| row.get::<_, String>(3)).unwrap();
    steps.map(Result::unwrap).collect()
}
