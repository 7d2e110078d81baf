//! The feed with real writers, followers and listeners: gapless, in commit order, never behind what was seen (clause F).

use crate::server::{Server, into_schema};
use redflag_core::{
    Fleet,
    batch::{Batch, BatchRecord},
    conformance::{
        dropped_after,
        generate::{Rng, agent, at, batch_id, discovered, enrolment, event_id, offer, text},
    },
    event::Actor,
    feed::{FeedEntry, FeedPosition},
    store::{BatchStore as _, EventStore as _, Mode},
    work::{SubmitBatch, UnitOfWork, Withheld},
};
use redflag_store_postgres::{Options, Pooling, PostgresStore};
use sqlx::{AssertSqlSafe, Executor as _, PgConnection, Row as _};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};
use tokio::task::JoinSet;

async fn enrolled(store: &PostgresStore, agents: u32) {
    for number in 0..agents {
        Fleet::new(store.clone()).enrol(enrolment(number)).await.expect("the agent is enrolled");
    }
}

/// A batch of one event; `number` makes its ids.
fn unit(of: u32, number: u64) -> UnitOfWork {
    let offer = offer(&mut Rng::new(number), "apt", usize::try_from(number).expect("small"));
    let event = discovered(event_id(number), "apt", offer);
    let batch = Batch::new(agent(of), batch_id(number), Actor::System(text("test")), vec![event]).expect("one event is not too many");
    UnitOfWork::SubmitBatch(SubmitBatch { batch, received_at: at(1), withheld: Withheld::default() })
}

async fn submit(store: &PostgresStore, of: u32, number: u64) {
    store.run(&unit(of, number), Mode::Commit).await.expect("the batch is taken");
}

/// Reads the feed from `after` to where it ends now; checks that positions follow each other (F1).
async fn rest(store: &PostgresStore, after: FeedPosition) -> Vec<FeedEntry> {
    let mut entries: Vec<FeedEntry> = Vec::new();
    loop {
        let position = entries.last().map_or(after, |entry| entry.position);
        let more = store.feed(position, 7).await.expect("the feed is read");
        if more.is_empty() {
            return entries;
        }
        for (entry, place) in more.iter().zip(position.0 + 1..) {
            assert_eq!(entry.position, FeedPosition(place), "positions are gapless");
            assert_eq!(entry.record.as_ref().map(BatchRecord::feed_digest), Some(entry.digest));
        }
        entries.extend(more);
    }
}

/// Every agent's batches stand in the feed once, by number (F4).
fn assert_in_commit_order(entries: &[FeedEntry]) {
    let mut newest = BTreeMap::new();
    for entry in entries {
        let newest = newest.entry(entry.agent).or_insert(0);
        assert_eq!(entry.number, *newest + 1, "the batches of {} at {}", entry.agent, entry.position);
        *newest = entry.number;
    }
}

const WRITERS: u32 = 10;
const BATCHES: u64 = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_are_gapless_and_final_while_ten_write_through_two_stores() {
    let (server, options) = (Server::shared(), Server::options());
    let stores = [server.open(&options).await, server.open(&options).await];
    enrolled(&stores[0], WRITERS / 2).await;
    let done = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for store in stores.clone() {
        let done = Arc::clone(&done);
        readers.spawn(async move {
            let mut seen = Vec::new();
            loop {
                let last = done.load(Ordering::SeqCst);
                let position = seen.last().map_or(FeedPosition::START, |entry: &FeedEntry| entry.position);
                seen.extend(rest(&store, position).await);
                if last {
                    return (store, seen);
                }
            }
        });
    }
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        // Two writers an agent, each through another store.
        let store = stores[writer as usize % 2].clone();
        writers.spawn(async move {
            for number in 0..BATCHES {
                submit(&store, writer / 2, u64::from(writer) * BATCHES + number).await;
            }
        });
    }
    writers.join_all().await;
    done.store(true, Ordering::SeqCst);
    for (store, seen) in readers.join_all().await {
        assert_eq!(seen.len() as u64, u64::from(WRITERS) * BATCHES);
        assert_in_commit_order(&seen);
        assert!(rest(&store, FeedPosition::START).await == seen, "what was seen stays (F2)");
        for entry in [&seen[0], &seen[seen.len() / 2]] {
            assert_eq!(store.batches_until(entry.agent, entry.position).await.unwrap(), entry.number);
            let before = FeedPosition(entry.position.0 - 1);
            assert_eq!(store.batches_until(entry.agent, before).await.unwrap(), entry.number - 1);
        }
    }
}

/// Makes the commit of every batch of agent `of` wait for a lock that `connection` has from now on.
pub(crate) async fn stall(connection: &mut PgConnection, options: &Options, of: u32) {
    let (lock, agent) = (format!("hashtext('{}')", options.schema), agent(of));
    let trigger = format!(
        "SELECT pg_advisory_lock({lock});
         CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF NEW.agent_ref = (SELECT agent_ref FROM {}.agents WHERE agent_id = '{agent}') THEN
                 PERFORM pg_advisory_xact_lock({lock});
             END IF;
             RETURN NULL;
         END $$;
         CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON update_batches DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait()",
        options.schema
    );
    connection.execute(AssertSqlSafe(trigger)).await.expect("the trigger is made");
}

pub(crate) async fn release(connection: &mut PgConnection, options: &Options) {
    let unlock = format!("SELECT pg_advisory_unlock(hashtext('{}'))", options.schema);
    connection.execute(AssertSqlSafe(unlock)).await.expect("the lock is given back");
}

/// Waits until a server process waits for `connection`.
pub(crate) async fn awaited(connection: &mut PgConnection) -> i32 {
    loop {
        let select = "SELECT pid FROM pg_stat_activity WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))";
        if let Some(row) = connection.fetch_optional(select).await.expect("the server answers") {
            return row.get(0);
        }
    }
}

/// Clause F2, with the mistake beside it that everybody makes: numbers taken before the commit. A writer is stalled at its commit
/// while another one commits and is read.
#[tokio::test]
async fn a_batch_that_commits_late_comes_after_what_was_read() {
    let (server, options) = (Server::shared(), Server::options());
    let store = server.open(&options).await;
    enrolled(&store, 2).await;
    let mut other = into_schema(&server, &options).await;
    let mistaken = format!(
        "CREATE TABLE mistaken (position bigint GENERATED ALWAYS AS IDENTITY, agent_ref integer);
         CREATE FUNCTION mistake() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO {}.mistaken (agent_ref) VALUES (NEW.agent_ref); RETURN NULL; END $$;
         CREATE TRIGGER mistake AFTER INSERT ON update_batches FOR EACH ROW EXECUTE FUNCTION mistake()",
        options.schema
    );
    other.execute(AssertSqlSafe(mistaken)).await.unwrap();
    let mut mistaken_cursor = 0_i64;
    let mut mistaken_seen = 0;
    let mut read_mistaken = async |connection: &mut PgConnection| {
        let rows = sqlx::query("SELECT position FROM mistaken WHERE position > $1 ORDER BY position").bind(mistaken_cursor);
        let rows = rows.fetch_all(connection).await.unwrap();
        mistaken_seen += rows.len();
        mistaken_cursor = rows.last().map_or(mistaken_cursor, |row| row.get(0));
        mistaken_seen
    };

    stall(&mut other, &options, 0).await;
    let late = tokio::spawn({
        let store = store.clone();
        async move { submit(&store, 0, 1).await }
    });
    awaited(&mut other).await;
    submit(&store, 1, 2).await;
    let seen = rest(&store, FeedPosition::START).await;
    assert_eq!(seen.iter().map(|entry| entry.agent).collect::<Vec<_>>(), [agent(1)]);
    read_mistaken(&mut other).await;
    release(&mut other, &options).await;
    late.await.unwrap();
    let later = rest(&store, seen[0].position).await;
    assert_eq!(later.iter().map(|entry| entry.agent).collect::<Vec<_>>(), [agent(0)], "the late batch comes later");
    assert_eq!(rest(&store, FeedPosition::START).await[..1], seen, "what was seen stays");
    assert_eq!(read_mistaken(&mut other).await, 1, "numbers taken before the commit lose the late batch, so this test can tell");
}

#[tokio::test]
async fn a_follower_that_is_killed_delays_nothing() {
    let (server, options) = (Server::shared(), Server::options());
    let (store, other_store) = (server.open(&options).await, server.open(&options).await);
    enrolled(&store, 1).await;
    let mut other = into_schema(&server, &options).await;
    let lock = "SELECT pg_advisory_lock(hashtextextended('redflag feed ' || current_schema(), 0))";
    other.execute(lock).await.unwrap();
    submit(&store, 0, 1).await;
    let follower = awaited(&mut other).await;
    sqlx::query("SELECT pg_terminate_backend($1)").bind(follower).execute(&mut other).await.unwrap();
    while sqlx::query("SELECT 1 FROM pg_stat_activity WHERE pid = $1").bind(follower).fetch_optional(&mut other).await.unwrap().is_some() {}
    other.execute("SELECT pg_advisory_unlock_all()").await.unwrap();
    assert_eq!(other.fetch_one("SELECT COUNT(*) FROM feed_tickets").await.unwrap().get::<i64, _>(0), 1, "nobody has numbered it");
    assert_eq!(rest(&other_store, FeedPosition::START).await.len(), 1);
    submit(&store, 0, 2).await;
    assert_eq!(rest(&store, FeedPosition::START).await.len(), 2);
}

/// Whoever waits is woken by what another process writes, at once and not at the next look at the database (every second).
#[tokio::test]
async fn a_reader_is_woken_by_what_another_store_writes() {
    const WAKES: u32 = 20;
    let (server, options) = (Server::shared(), Server::options());
    let (writer, reader) = (server.open(&options).await, server.open(&options).await);
    enrolled(&writer, 1).await;
    let mut position = FeedPosition::START;
    let begun = Instant::now();
    for number in 1..=u64::from(WAKES) {
        let waiting = tokio::spawn({
            let reader = reader.clone();
            async move { reader.feed_grown(position).await }
        });
        submit(&writer, 0, number).await;
        position = waiting.await.unwrap().expect("the feed goes on");
        assert_eq!(position, FeedPosition(number));
    }
    let elapsed = begun.elapsed();
    assert!(elapsed.as_secs() < u64::from(WAKES) / 2, "{WAKES} wakes took {elapsed:?}: no better than looking every second");
}

#[tokio::test]
async fn a_reader_is_woken_without_a_listening_connection() {
    let (server, options) = (Server::shared(), Server::options());
    let writer = server.open(&options).await;
    enrolled(&writer, 1).await;
    // Behind a pooler by transactions nothing can listen.
    let pooled = server.open(&Options { pooling: Pooling::Transaction, ..options.clone() }).await;
    let waiting = tokio::spawn(async move { pooled.feed_grown(FeedPosition::START).await });
    submit(&writer, 0, 1).await;
    assert_eq!(waiting.await.unwrap().unwrap(), FeedPosition(1));
    // A listening connection is lost.
    let reader = server.open(&options).await;
    let waiting = tokio::spawn({
        let reader = reader.clone();
        async move { reader.feed_grown(FeedPosition(1)).await }
    });
    let mut other = into_schema(&server, &options).await;
    let listening = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN %' AND pid <> pg_backend_pid()";
    while other.fetch_optional(listening).await.unwrap().is_none() {}
    submit(&writer, 0, 2).await;
    assert_eq!(waiting.await.unwrap().unwrap(), FeedPosition(2));
}

#[tokio::test]
async fn readers_that_give_up_harm_nobody() {
    let (server, options) = (Server::shared(), Server::options());
    let store = server.open(&options).await;
    enrolled(&store, 1).await;
    for polls in 1..=12 {
        submit(&store, 0, polls).await;
        let polls = u32::try_from(polls).unwrap();
        drop(dropped_after(store.feed(FeedPosition::START, 10), polls).await);
        drop(dropped_after(store.feed_grown(FeedPosition::START), polls).await);
    }
    assert_eq!(rest(&store, FeedPosition::START).await.len(), 12);
    assert_eq!(store.feed_grown(FeedPosition::START).await.unwrap(), FeedPosition(12));
}

#[tokio::test]
async fn what_is_not_committed_is_not_in_the_feed() {
    let (server, options) = (Server::shared(), Server::options());
    let store = server.open(&options).await;
    enrolled(&store, 1).await;
    store.run(&unit(0, 1), Mode::Rehearse).await.unwrap();
    submit(&store, 0, 2).await;
    submit(&store, 0, 2).await;
    assert_eq!(rest(&store, FeedPosition::START).await.len(), 1);
}

/// Tasks and connections go with the last handle.
#[tokio::test]
async fn a_store_that_is_dropped_leaves_nothing_running() {
    let server = Server::own();
    let options = Server::options();
    let store = server.open(&options).await;
    enrolled(&store, 1).await;
    submit(&store, 0, 1).await;
    store.feed_grown(FeedPosition::START).await.unwrap();
    assert_eq!(dropped_after(store.feed_grown(FeedPosition(1)), 1).await.map(Result::unwrap), None);
    let mut other = into_schema(&server, &options).await;
    let mut connections = async || {
        other.fetch_one("SELECT COUNT(*) FROM pg_stat_activity WHERE application_name = 'redflag'").await.unwrap().get::<i64, _>(0)
    };
    assert!(connections().await > 0);
    drop(store);
    while connections().await > 0 {
        tokio::task::yield_now().await;
    }
}
