//! The feed as followers see it: every batch once, in order, and a wait that ends when there is more.

use crate::support::{Harness, offer};
use axum::http::StatusCode;
use redflag_core::Fleet;
use redflag_server::{RequestLimits, Role, Server, Settings};
use redflag_store_sqlite::SqliteStore;
use serde_json::{Value, json};
use std::{io::Read as _, net::Ipv4Addr, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

fn positions(feed: &Value) -> Vec<u64> {
    feed["entries"].as_array().unwrap().iter().map(|entry| entry["position"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn a_follower_reads_every_batch_once_and_in_order() {
    let harness = Harness::new();
    let session = harness.operator(Role::Viewer).await;
    let (a, b) = (harness.agent("a").await, harness.agent("b").await);
    assert_eq!(harness.get(&session, "/api/v1/feed").await.json(), json!({"entries": [], "position": 0}));
    for sequence in 1..=3 {
        for agent in [&a, &b] {
            harness.reported(agent, sequence, "dnf", &[offer("bash", "1-1", &format!("1-{}", sequence + 1), "low")]).await;
        }
    }
    let whole = harness.get(&session, "/api/v1/feed").await.json();
    assert_eq!((positions(&whole), &whole["position"]), ((1..=6).collect(), &json!(6)));
    let last = &whole["entries"][5];
    assert_eq!((&last["agent_id"], &last["number"], &last["batch"]["number"]), (&json!(b.id), &json!(3), &json!(3)));
    assert_eq!((&last["batch"]["accepted"], last["digest"].as_str().unwrap().len()), (&json!(1), 64));

    let mut position = 0;
    let mut entries = Vec::new();
    loop {
        let part = harness.get(&session, &format!("/api/v1/feed?after={position}&limit=4")).await.json();
        let found = part["entries"].as_array().unwrap();
        if found.is_empty() {
            break;
        }
        entries.extend(found.clone());
        position = part["position"].as_u64().unwrap();
    }
    assert_eq!(Value::Array(entries), whole["entries"], "in parts it is the same");

    for (query, parameter) in [
        ("after=-1", "after"),
        ("after=18446744073709551615", "after"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("wait=31", "wait"),
        ("wait=1.5", "wait"),
        ("position=1", "position"),
    ] {
        let answer = harness.get(&session, &format!("/api/v1/feed?{query}")).await;
        assert_eq!((answer.problem(), &answer.json()["parameter"]), ((400, "bad_parameter".to_owned()), &json!(parameter)), "{query}");
    }
    let beyond = harness.get(&session, "/api/v1/feed?after=9223372036854775807").await.json();
    assert_eq!((positions(&beyond), &beyond["position"]), (vec![], &json!(i64::MAX)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_ends_with_the_next_batch() {
    let harness = Harness::new();
    let session = harness.operator(Role::Viewer).await;
    let agent = harness.agent("a").await;
    for sequence in 1..=20 {
        let waiting = {
            let (harness, session) = (harness.clone(), session.clone());
            let path = format!("/api/v1/feed?after={}&wait=30", sequence - 1);
            tokio::spawn(async move { harness.get(&session, &path).await.json() })
        };
        harness.reported(&agent, sequence, "dnf", &[offer("bash", "1-1", &format!("1-{}", sequence + 1), "low")]).await;
        assert_eq!(positions(&waiting.await.unwrap()), [sequence], "before the wait began or during it");
    }
}

#[tokio::test]
async fn a_wait_that_nothing_ends_is_answered_in_time() {
    let limits = RequestLimits { request_timeout: Duration::from_millis(400), ..RequestLimits::default() };
    let harness = Harness::with(Fleet::new(SqliteStore::in_memory().unwrap()), Settings { limits, ..Settings::default() });
    let session = harness.operator(Role::Viewer).await;
    let answer = harness.get(&session, "/api/v1/feed?after=7&wait=30").await;
    assert_eq!((answer.status, answer.json()), (StatusCode::OK, json!({"entries": [], "position": 7})));
}

/// A shutdown does not wait for followers, and they are answered before it ends. (It ends in any case, but then cuts them off.)
#[tokio::test]
async fn a_wait_ends_with_the_server() {
    let settings = Settings { listen: (Ipv4Addr::LOCALHOST, 0).into(), ..Settings::default() };
    let server = Server::bind(settings, Fleet::new(SqliteStore::in_memory().unwrap())).await.unwrap();
    let session = Harness::of(server.app()).operator(Role::Viewer).await;
    let address = server.url().strip_prefix("http://").unwrap().to_owned();
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(server.run(shutdown.clone()));
    let ask = async |path: &str| {
        let mut connection = TcpStream::connect(&address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\ncookie: {}\r\nconnection: close\r\n\r\n", session.cookie);
        connection.write_all(request.as_bytes()).await.unwrap();
        connection
    };
    let follower = ask("/api/v1/feed?wait=30").await;
    // On one thread, what came later is answered only once the follower's request has been read.
    ask("/healthz").await.read_to_end(&mut Vec::new()).await.unwrap();
    shutdown.cancel();
    serving.await.unwrap().unwrap();
    let mut answer = [0; 4_096];
    let length = follower.into_std().unwrap().read(&mut answer).expect("an answer that is there already");
    let answer = String::from_utf8_lossy(&answer[..length]);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(r#"{"entries":[],"position":0}"#), "{answer}");
}
