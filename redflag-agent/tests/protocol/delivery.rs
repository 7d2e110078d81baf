//! Delivery under faults: nothing is lost, nothing is counted twice, nothing blocks.

use crate::support::{Fault, Lab, home};
use redflag_agent::{Agent, Delivery, Error, RunOptions, Silent, outbox::Outbox, quarantine::quarantined, status::Status};
use std::{collections::BTreeSet, time::Duration};
use tokio_util::sync::CancellationToken;

const BASH: (&str, &str, &str) = ("bash", "5.1-1", "5.2-1");
const CURL: (&str, &str, &str) = ("curl", "7.8-1", "7.9-1");

fn delivered(delivery: &Delivery) -> &redflag_agent::Counts {
    match delivery {
        Delivery::Delivered(counts) => counts,
        other => panic!("expected everything to be delivered, got {other:?}"),
    }
}

#[tokio::test]
async fn a_report_arrives_and_an_unchanged_one_is_only_a_digest() {
    let lab = Lab::new().await;
    let mut agent = lab.agent();
    lab.apt.offers(&[BASH, CURL], &[]);
    let first = agent.report(&mut Silent).await.unwrap();
    assert_eq!((delivered(&first.delivery).events, delivered(&first.delivery).recorded), (2, 2));
    assert_eq!((first.scopes[0].updates, first.scopes[0].installable), (2, 2));

    let second = agent.report(&mut Silent).await.unwrap();
    assert_eq!((delivered(&second.delivery).events, delivered(&second.delivery).reports), (0, 1));
    let scope = &lab.server.last_report()["scopes"][0];
    assert!(scope["digest"].is_string() && scope.get("offers").is_none() && scope.get("gone").is_none(), "{scope}");
    assert_eq!(lab.server.open().await.len(), 2);
}

#[tokio::test]
async fn a_lost_answer_makes_the_same_report_arrive_twice_and_count_once() {
    let lab = Lab::new().await;
    lab.apt.offers(&[BASH], &[]);
    lab.server.fail([Fault::LoseAnswer]);
    let summary = lab.agent().report(&mut Silent).await.unwrap();
    assert_eq!(delivered(&summary.delivery).events, 1);

    let arrived = lab.server.arrived();
    assert_eq!(arrived.len(), 2);
    assert_eq!((arrived[0].report_id, &arrived[0].body), (arrived[1].report_id, &arrived[1].body));
    assert!(arrived[0].counter < arrived[1].counter);
    let events = lab.server.fleet().store().replay(lab.identity.agent, 0, 100).await.unwrap();
    assert_eq!(events.len(), 1);
}

#[tokio::test]
async fn an_unwell_server_is_asked_again_until_it_answers() {
    let lab = Lab::new().await;
    lab.apt.offers(&[BASH], &[]);
    let busy = |status| Fault::Answer { status, code: "busy", retry_after: Some(0) };
    lab.server.fail([busy(503), Fault::LoseRequest, busy(429)]);
    delivered(&lab.agent().report(&mut Silent).await.unwrap().delivery);
    assert_eq!(lab.server.arrived().len(), 1);
}

#[tokio::test]
async fn the_server_decides_how_long_to_wait() {
    let lab = Lab::new().await;
    lab.server.fail([Fault::Answer { status: 503, code: "busy", retry_after: Some(1) }]);
    let mut waits = Vec::new();
    let mut progress = |stage: &redflag_agent::Stage| {
        if let redflag_agent::Stage::Retrying { after, .. } = stage {
            waits.push(*after);
        }
    };
    lab.agent().report(&mut progress).await.unwrap();
    assert_eq!(waits.len(), 1);
    assert!(waits[0] >= Duration::from_secs(1), "{waits:?}");
}

#[tokio::test]
async fn an_answer_about_another_report_drops_nothing() {
    let lab = Lab::new().await;
    lab.server.fail([Fault::AnswerAboutAnother]);
    delivered(&lab.agent().report(&mut Silent).await.unwrap().delivery);
    let arrived = lab.server.arrived();
    assert_eq!((arrived.len(), arrived[0].report_id), (2, arrived[1].report_id));
}

#[tokio::test]
async fn a_refused_report_is_set_aside_and_blocks_nothing() {
    let lab = Lab::new().await;
    let mut agent = lab.agent();
    lab.apt.offers(&[BASH], &[]);
    lab.server.fail(std::iter::repeat_n(Fault::LoseRequest, 4));
    assert!(matches!(agent.report(&mut Silent).await.unwrap().delivery, Delivery::Waiting { .. }));
    lab.server.fail([Fault::Answer { status: 422, code: "too_odd", retry_after: None }]);
    lab.apt.offers(&[BASH, CURL], &[]);
    let summary = agent.report(&mut Silent).await.unwrap();
    assert_eq!(delivered(&summary.delivery).reports, 1);
    assert_eq!(agent.outbox_depth().reports, 0);
    assert_eq!(lab.server.open().await.len(), 2, "what the refused report said is said by the next one");
    let kept = quarantined(&home(&lab.directory)).unwrap();
    assert_eq!(kept.len(), 2, "{kept:?}");
}

#[tokio::test]
async fn a_newest_report_that_is_refused_is_said_to_be() {
    let lab = Lab::new().await;
    lab.server.fail([Fault::Answer { status: 409, code: "report_id_reused", retry_after: None }]);
    let summary = lab.agent().report(&mut Silent).await.unwrap();
    let Delivery::SetAside { reason } = summary.delivery else { panic!("{:?}", summary.delivery) };
    assert!(reason.contains("report_id_reused"), "{reason}");
    assert!(Status::read(&home(&lab.directory)).trouble.unwrap().message.contains("report_id_reused"));
}

#[tokio::test]
async fn what_waited_when_the_process_ended_is_delivered_in_order_by_the_next() {
    let lab = Lab::new().await;
    lab.server.fail(std::iter::repeat_n(Fault::LoseRequest, 8));
    for offers in [&[BASH][..], &[BASH, CURL]] {
        lab.apt.offers(offers, &[]);
        let summary = lab.agent().report(&mut Silent).await.unwrap();
        assert!(matches!(summary.delivery, Delivery::Waiting { .. }), "{:?}", summary.delivery);
    }
    assert_eq!(Outbox::depth_of(&home(&lab.directory)).unwrap().reports, 2);

    lab.apt.offers(&[CURL], &[("bash", "5.2-1")]);
    let summary = lab.agent().report(&mut Silent).await.unwrap();
    assert_eq!(delivered(&summary.delivery).reports, 3);
    let sequences: Vec<_> = lab.server.arrived().iter().map(|report| sequence(&report.body)).collect();
    assert_eq!(sequences, [1, 2, 3]);
    assert_eq!(lab.server.open().await.into_keys().collect::<Vec<_>>(), ["curl"]);
    assert_eq!(kinds(&lab).await, ["discovered", "discovered", "installed-observed"], "bash was offered in a report that waited");
}

/// A process killed at any point of its work, also between the server's answer and its own notes.
#[tokio::test]
async fn an_agent_stopped_at_any_moment_loses_and_repeats_nothing() {
    let lab = Lab::new().await;
    lab.apt.offers(&[BASH, CURL], &[]);
    let mut stops = BTreeSet::new();
    for stop in 0..200_u32 {
        let mut agent = lab.agent();
        let (mut polls, mut progress) = (0, Silent);
        let report = agent.report(&mut progress);
        tokio::pin!(report);
        let outcome = std::future::poll_fn(|context| {
            polls += 1;
            if polls > stop { std::task::Poll::Ready(None) } else { report.as_mut().poll(context).map(Some) }
        })
        .await;
        match outcome {
            None => stops.insert(stop),
            Some(outcome) => {
                delivered(&outcome.unwrap().delivery);
                break;
            }
        };
    }
    assert!(!stops.is_empty(), "the agent was never stopped");
    let ids: BTreeSet<_> = lab.server.arrived().iter().map(|report| report.report_id).collect();
    let bodies: BTreeSet<_> = lab.server.arrived().into_iter().map(|report| report.body).collect();
    assert_eq!(ids.len(), bodies.len(), "one report id, one content");
    assert_eq!(lab.server.open().await.len(), 2);
    assert_eq!(kinds(&lab).await, ["discovered", "discovered"]);
}

#[tokio::test]
async fn an_agent_the_server_forgot_stops_and_keeps_its_report() {
    let lab = Lab::new().await;
    lab.server.forget(lab.identity.agent);
    let mut agent = lab.agent();
    let error = agent.run(&RunOptions::default(), CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    assert_eq!(agent.outbox_depth().reports, 1);
    assert!(Status::read(&home(&lab.directory)).trouble.unwrap().message.contains("unknown_agent"));
}

#[tokio::test]
async fn a_damaged_outbox_is_set_aside_loudly_and_the_rest_is_delivered() {
    let lab = Lab::new().await;
    lab.server.fail(std::iter::repeat_n(Fault::LoseRequest, 8));
    for _ in 0..2 {
        lab.agent().report(&mut Silent).await.unwrap();
    }
    let segment = home(&lab.directory).path().join("outbox/0000000000000001.segment");
    let mut bytes = std::fs::read(&segment).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&segment, bytes).unwrap();

    let mut agent = lab.agent();
    assert_eq!(agent.outbox_depth().reports, 1);
    assert!(Status::read(&home(&lab.directory)).trouble.unwrap().message.contains("does not match its checksum"));
    assert_eq!(quarantined(&home(&lab.directory)).unwrap().len(), 1);
    assert_eq!(delivered(&agent.report(&mut Silent).await.unwrap().delivery).reports, 2);
    drop(agent);
    assert!(lab.agent().outbox_depth().reports == 0 && quarantined(&home(&lab.directory)).unwrap().len() == 1, "damage is found once");
}

#[tokio::test]
async fn a_full_outbox_is_superseded_by_one_full_report() {
    let lab = Lab::new().await;
    let retries = redflag_agent::Retries { limit: Some(0), ..redflag_agent::Retries::default() };
    let mut agent = lab.agent().with_retries(retries);
    lab.apt.offers(&[BASH], &[]);
    lab.server.fail([Fault::LoseAnswer]);
    lab.server.fail(std::iter::repeat_n(Fault::LoseRequest, redflag_agent::outbox::REPORTS_MAX));
    for _ in 0..=redflag_agent::outbox::REPORTS_MAX {
        lab.apt.change(|scan| scan);
        agent.report(&mut Silent).await.unwrap();
    }
    assert_eq!(agent.outbox_depth().reports, 1);
    lab.apt.offers(&[CURL], &[("bash", "5.2-1")]);
    delivered(&agent.report(&mut Silent).await.unwrap().delivery);
    assert_eq!(kinds(&lab).await, ["discovered", "discovered", "installed-observed"], "what was superseded may have arrived");
}

#[tokio::test]
async fn the_loop_reports_at_once_and_ends_when_asked() {
    let lab = Lab::new().await;
    let mut agent = lab.agent();
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let server = lab.server.clone();
    let stopper = tokio::spawn(async move {
        while server.arrived().is_empty() {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    });
    agent.run(&RunOptions::default(), shutdown).await.unwrap();
    stopper.await.unwrap();
    assert_eq!(lab.server.arrived().len(), 1);
}

#[tokio::test]
async fn two_processes_never_work_in_one_directory() {
    let lab = Lab::new().await;
    let _agent = lab.agent();
    assert!(matches!(Agent::open(home(&lab.directory), Vec::new()), Err(Error::Busy { .. })));
}

fn sequence(body: &[u8]) -> u64 {
    serde_json::from_slice::<serde_json::Value>(body).unwrap()["sequence"].as_u64().unwrap()
}

async fn kinds(lab: &Lab) -> Vec<String> {
    let events = lab.server.fleet().store().replay(lab.identity.agent, 0, 1_000).await.unwrap();
    let mut kinds: Vec<_> = events.iter().map(|recorded| recorded.event.kind.word().unwrap().to_string()).collect();
    kinds.sort();
    kinds
}
