//! A batch is judged event by event and stored as one.

use super::{
    CheckResult, Failure, Harness, Lab, ensure, ensure_eq,
    generate::{Rng, agent, at, batch_id, checked, discovered, event_id, hostile_offer, offers},
    lab::pool,
};
use crate::{
    batch::{Batch, Outcome},
    event::{Actor, ChangeInput, EventInput},
    ids::UpdateId,
    query::{StatusFilter, UpdateFilter},
    state::{Context, PackageState, apply},
    store::Mode,
    work::{Answer, SubmitBatch, UnitOfWork, Withheld},
};
use std::collections::HashMap;

const SIZE: usize = 7;

/// The same seven events, those at `bad` replaced by hostile ones.
fn events(bad: &[usize]) -> Vec<EventInput> {
    let (inputs, _) = pool(5, "apt", SIZE);
    let mut rng = Rng::new(6);
    let offer = |(index, good): (usize, crate::offer::OfferInput)| if bad.contains(&index) { hostile_offer(&mut rng, "apt") } else { good };
    inputs.into_iter().enumerate().map(offer).zip(1..).map(|(offer, number)| discovered(event_id(number), "apt", offer)).collect()
}

pub(super) async fn one_bad_event_harms_no_other(harness: &dyn Harness) -> CheckResult {
    for bad in [vec![0], vec![3], vec![SIZE - 1], vec![0, 1, 2], vec![2, 4], vec![0, SIZE - 1]] {
        let lab = Lab::new(harness, 1).await?;
        let receipt = lab.submit(batch_id(1), events(&bad), at(1)).await?;
        let rejected: Vec<usize> = receipt.rejections().map(|(index, _)| index as usize).collect();
        ensure_eq!(rejected, bad, "indexes of the rejected events");
        ensure_eq!((receipt.accepted, receipt.duplicate), ((SIZE - bad.len()) as u32, 0), "accepted events with {bad:?} bad");
        let (_, offers) = pool(5, "apt", SIZE);
        let all = UpdateFilter { status: StatusFilter::Any, ..UpdateFilter::default() };
        ensure_eq!(lab.all(all).await?.len(), SIZE - bad.len(), "stored updates with {bad:?} bad");
        for (index, (package, offer)) in offers.iter().enumerate().filter(|(index, _)| !bad.contains(index)) {
            ensure_eq!(lab.update(package).await?.state.offer, *offer, "the update of good event {index} with {bad:?} bad");
        }
        kept_as_answered(&lab, &receipt).await?;
        lab.counts_agree().await?;
    }
    Ok(())
}

async fn kept_as_answered(lab: &Lab, receipt: &crate::batch::Receipt) -> CheckResult {
    let stored = lab.store().batch(receipt.agent, receipt.batch).await?;
    ensure_eq!(stored.map(|record| record.receipt), Some(receipt.clone()), "the stored receipt");
    let kept = lab.store().rejections(receipt.agent, receipt.batch).await?;
    let found: Vec<_> = kept.iter().map(|item| (item.index, &item.rejection)).collect();
    ensure_eq!(found, receipt.rejections().collect::<Vec<_>>(), "the kept rejections");
    ensure!(kept.iter().all(|item| !item.excerpt.is_empty()), "every rejection keeps the start of its event: {kept:?}");
    Ok(())
}

pub(super) async fn a_batch_of_bad_events_keeps_every_reason(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 1).await?;
    let all: Vec<usize> = (0..SIZE).collect();
    let receipt = lab.submit(batch_id(1), events(&all), at(1)).await?;
    ensure_eq!((receipt.submitted, receipt.rejected, receipt.number), (SIZE as u32, SIZE as u32, 1), "a batch of bad events");
    ensure_eq!(receipt.outcomes().count(), SIZE, "outcomes are dense");
    ensure!(receipt.outcomes().all(|outcome| matches!(outcome, Outcome::Rejected(_))), "every outcome is a rejection: {receipt:?}");
    ensure_eq!(lab.store().replay(agent(0), 0, 10).await?.len(), 0, "events in the log");
    kept_as_answered(&lab, &receipt).await
}

pub(super) async fn every_event_sees_the_ones_before_it(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 1).await?;
    let (inputs, offers) = pool(8, "apt", 1);
    let (package, offer) = &offers[0];
    let input = |number: u64, change: ChangeInput| EventInput {
        event_id: event_id(number),
        package_type: "apt".to_owned(),
        change,
        observed_at: None,
    };
    let (package_name, arch) = (inputs[0].package_name.clone(), inputs[0].arch.clone());
    let closed = ChangeInput::InstalledObserved { package_name, arch, version: offer.candidate.version.as_str().to_owned() };
    let events = vec![
        input(1, closed.clone()),
        input(2, ChangeInput::Discovered(inputs[0].clone())),
        input(3, ChangeInput::Discovered(inputs[0].clone())),
        input(4, closed),
        input(5, ChangeInput::Discovered(inputs[0].clone())),
        input(2, ChangeInput::Discovered(inputs[0].clone())),
    ];
    let receipt = lab.submit(batch_id(1), events, at(1)).await?;
    let kinds: Vec<_> = receipt.outcomes().map(|outcome| outcome.kind().as_str()).collect();
    ensure_eq!(kinds, ["rejected", "accepted", "rejected", "accepted", "accepted", "duplicate"], "outcomes of events about one package");
    ensure_eq!(receipt.exceptions.last(), Some(&(5, Outcome::Duplicate { batch: batch_id(1), index: 1 })), "the duplicate's origin");
    let stored = lab.store().events(&UpdateId { agent: agent(0), package: package.clone() }).await?;
    let numbers: Vec<_> = stored.iter().map(|event| (event.sequence, event.revision, event.index)).collect();
    ensure_eq!(numbers, [(1, 1, 1), (2, 2, 3), (3, 3, 4)], "sequence, revision and index of the stored events");
    Ok(())
}

pub(super) async fn an_empty_batch_writes_nothing(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 1).await?;
    let receipt = lab.submit(batch_id(1), Vec::new(), at(1)).await?;
    ensure_eq!((receipt.submitted, receipt.number), (0, 0), "the receipt of an empty batch");
    ensure_eq!(lab.store().batch(agent(0), batch_id(1)).await?, None, "an empty batch");
    let receipt = lab.submit(batch_id(1), events(&[]), at(2)).await?;
    ensure_eq!(receipt.number, 1, "the number of the first batch that was written");
    Ok(())
}

pub(super) async fn rehearsing_changes_nothing_and_answers_the_same(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 2).await?;
    lab.submit(batch_id(1), events(&[1]), at(1)).await?;
    let (inputs, _) = pool(7, "dnf", 5);
    let events = (100..).zip(inputs).map(|(number, offer)| discovered(event_id(number), "dnf", offer)).collect();
    let batch = Batch::new(agent(0), batch_id(2), Actor::Agent, events).map_err(|error| Failure::new(error.to_string()))?;
    let work = UnitOfWork::SubmitBatch(SubmitBatch { batch, received_at: at(2), withheld: Withheld::default() });
    let agents = [agent(0), agent(1)];
    let before = super::transcript(lab.store(), &agents).await?;
    let rehearsed = lab.store().run(&work, Mode::Rehearse).await?;
    ensure_eq!(super::transcript(lab.store(), &agents).await?, before, "what can be read after a rehearsal");
    let again = lab.store().run(&work, Mode::Rehearse).await?;
    ensure_eq!(again, rehearsed, "a second rehearsal's answer");
    ensure_eq!(lab.store().run(&work, Mode::Commit).await?, rehearsed, "the commit's answer after rehearsals");
    ensure!(matches!(rehearsed, Answer::Batch(receipt) if receipt.accepted == 5), "the rehearsal judges like the commit");
    Ok(())
}

pub(super) async fn counters_equal_a_recount(harness: &dyn Harness) -> CheckResult {
    for seed in 0..3 {
        let lab = Lab::new(harness, 0).await?;
        for (step, work) in super::history(seed, super::Shape { steps: 24, ..super::Shape::default() }).iter().enumerate() {
            // Refusals are part of a history; what they may not do is change a count.
            drop(lab.store().run(work, Mode::Commit).await);
            if step % 6 == 5 {
                lab.counts_agree().await.map_err(|failure| Failure::new(format!("history seed {seed}, step {step}: {failure}")))?;
            }
        }
        for row in lab.store().agents(&crate::query::AgentQuery::default()).await?.items {
            let filter = UpdateFilter { agent: Some(row.head.agent), ..UpdateFilter::default() };
            ensure_eq!(row.open, lab.store().stats(&filter).await?, "open counts of {} in the agent list", row.head.name);
        }
    }
    Ok(())
}

pub(super) async fn the_state_is_the_fold_of_the_log(harness: &dyn Harness) -> CheckResult {
    for seed in 20..23 {
        let lab = Lab::new(harness, 0).await?;
        for work in super::history(seed, super::Shape::default()) {
            drop(lab.store().run(&work, Mode::Commit).await);
        }
        for host in 0..super::Shape::default().agents {
            let mut states: HashMap<_, PackageState> = HashMap::new();
            for (recorded, sequence) in lab.store().replay(agent(host), 0, 1_000_000).await?.iter().zip(1..) {
                ensure_eq!(recorded.sequence, sequence, "sequence of the log of agent {host}, history seed {seed}");
                let context = Context { actor: recorded.actor.clone(), received_at: recorded.received_at };
                let after = apply(states.get(&recorded.event.package), &recorded.event, &context)
                    .map_err(|rejection| Failure::new(format!("a stored event cannot be folded: {rejection} in {recorded:?}")))?;
                ensure_eq!(after.revision, recorded.revision, "revision of {recorded:?}");
                states.insert(after.package.clone(), after);
            }
            let filter = UpdateFilter { agent: Some(agent(host)), status: StatusFilter::Any, ..UpdateFilter::default() };
            let stored = lab.all(filter).await?;
            ensure_eq!(stored.len(), states.len(), "states of agent {host}, history seed {seed}");
            for row in stored {
                ensure_eq!(Some(&row.state), states.get(&row.state.package), "the state against the fold, history seed {seed}");
            }
        }
    }
    Ok(())
}

/// Offers of a manager as events with ids from `first`.
pub(super) fn discoveries(seed: u64, manager: &str, count: usize, first: u64) -> Vec<EventInput> {
    let inputs = offers(&mut Rng::new(seed), manager, count);
    debug_assert_eq!(checked(manager, &inputs).len(), count);
    (first..).zip(inputs).map(|(number, offer)| discovered(event_id(number), manager, offer)).collect()
}
