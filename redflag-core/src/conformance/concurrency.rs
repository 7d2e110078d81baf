//! Many connections at once: one effect, one order an agent, no waiting across agents, no deadlock.

use super::{
    CheckResult, Failure, Harness, Lab,
    atomicity::discoveries,
    ensure, ensure_eq,
    generate::{agent, at, batch_id, enrolment, report_id, report_of, text},
    lab::{apt, pool},
};
use crate::{
    Fleet,
    batch::Batch,
    event::Actor,
    ids::{AgentId, BatchId},
    store::Store,
    work::Decision,
};
use std::{collections::BTreeSet, sync::Arc};
use tokio::{sync::Barrier, task::JoinSet};

const CONNECTIONS: usize = 8;

async fn shared(harness: &dyn Harness, agents: u32) -> Result<(Arc<dyn Store>, Fleet), Failure> {
    let store = harness.fresh().await;
    let fleet = Fleet::shared(Arc::clone(&store));
    for number in 0..agents {
        fleet.enrol(enrolment(number)).await?;
    }
    Ok((store, fleet))
}

fn batch(agent: AgentId, id: BatchId, seed: u64, first: u64) -> Result<Batch, Failure> {
    Batch::new(agent, id, Actor::Agent, discoveries(seed, "apt", 20, first)).map_err(|error| Failure::new(error.to_string()))
}

/// Submits `batches`, all at once; answers the receipts in their order.
async fn at_once(fleet: &Fleet, batches: Vec<Batch>) -> Result<Vec<crate::batch::Receipt>, Failure> {
    let start = Arc::new(Barrier::new(batches.len()));
    let mut tasks = JoinSet::new();
    for (place, (batch, second)) in batches.into_iter().zip(1..).enumerate() {
        let (fleet, start) = (fleet.clone(), Arc::clone(&start));
        tasks.spawn(async move {
            start.wait().await;
            (place, fleet.submit(batch, at(second)).await)
        });
    }
    let mut receipts = tasks.join_all().await;
    receipts.sort_unstable_by_key(|(place, _)| *place);
    receipts.into_iter().map(|(_, receipt)| Ok(receipt?)).collect()
}

pub(super) async fn one_batch_from_eight_connections_has_one_effect(harness: &dyn Harness) -> CheckResult {
    let (store, fleet) = shared(harness, 1).await?;
    for round in 0..4 {
        let same = batch(agent(0), batch_id(round), round, round * 100)?;
        let receipts = at_once(&fleet, vec![same; CONNECTIONS]).await?;
        ensure!(receipts.iter().all(|receipt| *receipt == receipts[0]), "receipts of one batch differ: {receipts:?}");
        ensure_eq!(receipts[0].number, round + 1, "the batch's number");
        let stored = store.batch(agent(0), batch_id(round)).await?;
        ensure_eq!(stored.map(|record| record.receipt), Some(receipts[0].clone()), "the stored receipt");
    }
    let head = store.agent(agent(0)).await?;
    let events = store.replay(agent(0), 0, 10_000).await?.len() as u64;
    ensure_eq!(head.map(|head| (head.batches, head.events)), Some((4, events)), "batches and events of the agent");
    Ok(())
}

pub(super) async fn batches_of_one_agent_serialise(harness: &dyn Harness) -> CheckResult {
    let (store, fleet) = shared(harness, 1).await?;
    let batches: Result<Vec<_>, Failure> =
        (0..CONNECTIONS as u64).map(|number| batch(agent(0), batch_id(number), number, number * 100)).collect();
    let receipts = at_once(&fleet, batches?).await?;
    let numbers: BTreeSet<_> = receipts.iter().map(|receipt| receipt.number).collect();
    ensure_eq!(numbers, (1..=CONNECTIONS as u64).collect::<BTreeSet<_>>(), "numbers of batches submitted at once");
    let log = store.replay(agent(0), 0, 10_000).await?;
    let sequences: Vec<_> = log.iter().map(|event| event.sequence).collect();
    ensure_eq!(sequences, (1..=log.len() as u64).collect::<Vec<_>>(), "sequences of the log");
    let accepted: u64 = receipts.iter().map(|receipt| u64::from(receipt.accepted)).sum();
    ensure_eq!(log.len() as u64, accepted, "events in the log against accepted ones");
    // All batches discover the same keys: exactly one of them could.
    ensure_eq!(accepted, 20, "discoveries of twenty packages by {CONNECTIONS} batches");
    Lab::over(store).counts_agree().await
}

pub(super) async fn agents_do_not_disturb_each_other(harness: &dyn Harness) -> CheckResult {
    let (store, fleet) = shared(harness, CONNECTIONS as u32).await?;
    let batches: Result<Vec<_>, Failure> = (0..CONNECTIONS as u32).map(|host| batch(agent(host), batch_id(1), 5, 1)).collect();
    let receipts = at_once(&fleet, batches?).await?;
    for (receipt, host) in receipts.iter().zip(0..) {
        ensure_eq!((receipt.agent, receipt.number, receipt.accepted), (agent(host), 1, 20), "the receipt of agent {host}");
        ensure_eq!(store.replay(agent(host), 0, 100).await?.len(), 20, "the log of agent {host}");
    }
    Lab::over(store).counts_agree().await
}

pub(super) async fn reports_in_opposite_order_and_a_decision_do_not_deadlock(harness: &dyn Harness) -> CheckResult {
    let (store, fleet) = shared(harness, 2).await?;
    let (_, offers) = pool(70, "apt", 40);
    let backwards: Vec<_> = offers.iter().rev().cloned().collect();
    for host in 0..2 {
        fleet.record_report(agent(host), report_of(report_id(1), 1, vec![apt(1, &offers)]), at(1)).await?;
    }
    for round in 1..5_u32 {
        let mut tasks = JoinSet::new();
        for (host, order) in [(0, &offers), (0, &backwards), (1, &backwards), (1, &offers)] {
            let fleet = fleet.clone();
            let number = u64::from(round) * 10 + tasks.len() as u64;
            let scope = apt(round * 10, &order[..30]);
            let report = report_of(report_id(number), number, vec![scope]);
            tasks.spawn(async move { fleet.record_report(agent(host), report, at(round)).await.map(|_| ()) });
        }
        let (package, offer) = offers[20].clone();
        let (fleet, id) = (fleet.clone(), batch_id(u64::from(round)));
        tasks.spawn(async move {
            let decision = Decision::Approve { offer_digest: offer.digest(&package), comment: None };
            fleet.decide(agent(0), id, text("ada"), vec![(package, decision)], at(round)).await.map(|_| ())
        });
        for ended in tasks.join_all().await {
            ended?;
        }
    }
    let lab = Lab::over(store);
    ensure_eq!(lab.update(&offers[20].0).await?.state.status(), crate::words::Status::Approved, "the approval among the reports");
    ensure_eq!(lab.all(crate::query::UpdateFilter::default()).await?.len(), 60, "open updates of both agents");
    lab.counts_agree().await
}
