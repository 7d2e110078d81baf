//! The witness of crashes tells what is lost, torn, doubled and answered wrongly from what is whole, so that its zeros count.
#![cfg(feature = "conformance")]
#![expect(clippy::unwrap_used, reason = "what fails in a test's helper fails the test")]

mod support;

use async_trait::async_trait;
use redflag_core::{
    MemoryStore,
    batch::{Batch, RejectedItem},
    conformance::{
        Findings, Shape, Witness, answer_digest,
        generate::{Rng, agent, at, batch_id, discovered, event_id, offer},
        history, streams, submit,
    },
    event::{Actor, RecordedEvent},
    query::{UpdatePage, UpdateQuery, UpdateStats},
    state::VersionChange,
    store::{BatchStore, Mode, Store, StoreError, StoreErrorKind},
    work::{SubmitBatch, UnitOfWork, Withheld},
};
use std::sync::Arc;
use support::wrapped::{Twist, Wrapped};

const SHAPE: Shape = Shape { agents: 2, steps: 60, packages: 12 };
/// So many that the two newest works of both streams left a trace.
const WORKS: usize = 22;

/// Runs the first works of every stream in `store` and tells the witness, but for the newest `untold` of each.
async fn crash(store: &dyn Store, works: usize, untold: usize) -> Witness {
    let streams = streams(history(1, SHAPE));
    let mut witness = Witness::new(streams.clone());
    for (stream, all) in streams.iter().enumerate() {
        for (place, work) in all[..works].iter().enumerate() {
            let answer = store.run(work, Mode::Commit).await;
            if place + untold < works {
                witness.acknowledged(stream, answer_digest(&answer).unwrap()).await;
            }
        }
    }
    witness
}

/// What a witness of `works` acknowledged works finds in `store`.
async fn audited(mut witness: Witness, store: &dyn Store) -> Findings {
    witness.audit(store).await.unwrap();
    witness.findings().clone()
}

#[tokio::test]
async fn what_is_whole_is_told_as_whole() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let batches: Arc<dyn BatchStore> = store.clone();
    let mut witness = Witness::new(streams(history(1, SHAPE)));
    for stream in 0..SHAPE.agents as usize {
        let mut answers = Vec::new();
        assert_eq!(submit(&batches, witness.rest(stream), |digest| answers.push(digest)).await, None);
        for answer in answers {
            witness.acknowledged(stream, answer).await;
        }
        assert!(witness.rest(stream).is_empty());
    }
    witness.audit(&*store).await.unwrap();
    witness.audit_feed(&*store).await.unwrap();
    let findings = witness.settle(&*store).await.unwrap();
    assert_eq!((findings.committed, findings.unanswered), (62, 0));
    assert!(findings.events > 100, "{findings}");
}

#[tokio::test]
async fn one_work_an_agent_may_be_there_without_an_answer() {
    let store = MemoryStore::new();
    let findings = audited(crash(&store, WORKS, 1).await, &store).await;
    findings.whole().unwrap();
    assert_eq!((findings.unanswered, findings.committed), (2, 2 * WORKS as u64));
}

#[tokio::test]
async fn asked_for_again_it_must_be_answered_as_it_was() {
    let store = MemoryStore::new();
    let mut witness = crash(&store, WORKS, 1).await;
    witness.audit(&store).await.unwrap();
    let work = witness.rest(0)[0].clone();
    let again = store.run(&work, Mode::Commit).await;
    witness.acknowledged(0, answer_digest(&again).unwrap()).await;
    witness.audit(&store).await.unwrap();
    witness.findings().whole().unwrap();
    assert_eq!((witness.findings().committed, witness.positions()), (2 * WORKS as u64, vec![WORKS, WORKS - 1]));
    witness.acknowledged(1, answer_digest(&again).unwrap()).await;
    assert_eq!(witness.findings().wrong_answers, 1, "that is the answer to another one");
}

#[tokio::test]
async fn works_without_an_answer_may_be_absent() {
    let store = MemoryStore::new();
    let findings = audited(crash(&store, WORKS, 0).await, &store).await;
    findings.whole().unwrap();
    assert_eq!((findings.unanswered, findings.committed), (0, 2 * WORKS as u64));
}

#[tokio::test]
async fn the_harness_sees_acknowledged_works_that_are_gone() {
    let (store, behind) = (MemoryStore::new(), MemoryStore::new());
    let witness = crash(&store, WORKS, 0).await;
    crash(&behind, WORKS - 2, 0).await;
    let findings = audited(witness, &behind).await;
    assert_eq!((findings.torn, findings.duplicates), (0, 0), "{findings:?}");
    assert!(findings.lost > 0 && findings.lost_events > 0, "{findings:?}");
    let lost = findings.whole().unwrap_err().to_string();
    assert!(lost.contains("works with") && lost.contains("after 22 acknowledged works of stream 0"), "{lost}");
}

#[tokio::test]
async fn the_harness_sees_a_fleet_that_is_gone_as_a_whole() {
    let findings = audited(crash(&MemoryStore::new(), 3, 0).await, &MemoryStore::new()).await;
    assert_eq!((findings.lost, findings.torn), (6, 0), "{findings:?}");
}

#[tokio::test]
async fn the_harness_sees_what_nobody_acknowledged_twice() {
    let store = MemoryStore::new();
    let findings = audited(crash(&store, WORKS, 2).await, &store).await;
    assert!(findings.whole().is_err(), "two works an agent were not acknowledged, and at most one was under way: {findings:?}");
}

#[tokio::test]
async fn the_harness_sees_a_batch_that_nobody_submitted() {
    let store = MemoryStore::new();
    let witness = crash(&store, WORKS, 0).await;
    let events = vec![discovered(event_id(9_999), "pacman", offer(&mut Rng::new(1), "pacman", 1))];
    let batch = Batch::new(agent(0), batch_id(9_999), Actor::Agent, events).unwrap();
    let work = UnitOfWork::SubmitBatch(SubmitBatch { batch, received_at: at(1), withheld: Withheld::default() });
    store.run(&work, Mode::Commit).await.unwrap();
    let findings = audited(witness, &store).await;
    assert_eq!((findings.lost, findings.torn, findings.duplicates), (0, 1, 1), "{findings:?}");
}

#[tokio::test]
async fn the_harness_sees_that_something_changed_although_the_store_said_not() {
    let store = MemoryStore::new();
    let mut witness = crash(&store, WORKS, 1).await;
    witness.unavailable(0);
    let findings = audited(witness, &store).await;
    assert!(findings.whole().is_err(), "{findings:?}");
}

#[tokio::test]
async fn the_harness_sees_another_answer() {
    let store = MemoryStore::new();
    let mut witness = crash(&store, WORKS, 1).await;
    let other = witness.rest(0)[0].clone();
    let elsewhere = MemoryStore::new().run(&other, Mode::Commit).await;
    witness.acknowledged(0, answer_digest(&elsewhere).unwrap()).await;
    assert_eq!(witness.findings().wrong_answers, 1, "{:?}", witness.findings());
}

#[tokio::test]
async fn an_error_that_leaves_everything_open_is_no_answer() {
    let error = |kind| answer_digest(&Err(StoreError::new(kind)));
    assert_eq!(error(StoreErrorKind::Unavailable), None);
    assert_eq!(error(StoreErrorKind::OutcomeUnknown), None);
    assert!(error(StoreErrorKind::DataRefused).is_some(), "it is wrong where a model was not refused");
}

#[tokio::test]
async fn the_harness_sees_a_feed_that_is_renumbered_and_one_that_lacks_a_batch() {
    let store = MemoryStore::new();
    let mut witness = crash(&store, WORKS, 0).await;
    witness.audit_feed(&store).await.unwrap();
    witness.findings().whole().unwrap();
    // The same batches, committed in another order.
    let other = MemoryStore::new();
    for works in streams(history(1, SHAPE)).iter().rev() {
        for work in &works[..WORKS] {
            let _refused = other.run(work, Mode::Commit).await;
        }
    }
    witness.audit_feed(&other).await.unwrap();
    assert_eq!(witness.findings().broken_feeds, 1);
    let mut witness = crash(&store, WORKS, 0).await;
    let behind = MemoryStore::new();
    crash(&behind, WORKS - 2, 0).await;
    witness.audit_feed(&behind).await.unwrap();
    assert_eq!(witness.findings().broken_feeds, 1);
}

macro_rules! torn {
    ($($test:ident, $name:ident, { $($body:tt)* })+) => {$(
        #[derive(Debug)]
        struct $name;

        #[async_trait]
        impl Twist for $name { $($body)* }

        #[tokio::test]
        async fn $test() {
            let store = Wrapped::new($name);
            let findings = audited(crash(&store, WORKS, 0).await, &store).await;
            assert!(findings.torn > 0, "{findings:?}");
        }
    )+};
}

torn! {
    the_harness_sees_a_log_without_its_last_event, DropsAnEvent, {
        fn log(&self, mut found: Vec<RecordedEvent>) -> Vec<RecordedEvent> { found.pop(); found }
    }
    the_harness_sees_a_state_without_its_events, DropsAState, {
        fn updates(&self, mut found: UpdatePage, _: &UpdateQuery) -> UpdatePage { found.items.pop(); found }
    }
    the_harness_sees_history_that_is_gone, DropsHistory, {
        fn history(&self, _: Vec<VersionChange>) -> Vec<VersionChange> { Vec::new() }
    }
    the_harness_sees_counters_that_do_not_count, Miscounts, {
        fn stats(&self, mut found: UpdateStats) -> UpdateStats { found.total += 1; found }
    }
    the_harness_sees_rejections_that_are_gone, DropsRejections, {
        fn rejections(&self, _: Vec<RejectedItem>) -> Vec<RejectedItem> { Vec::new() }
    }
}
