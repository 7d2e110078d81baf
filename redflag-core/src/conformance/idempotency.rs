//! The same thing twice has one effect, whichever way it comes.

use super::{
    CheckResult, Harness, Lab,
    atomicity::discoveries,
    ensure, ensure_eq,
    generate::{Rng, agent, at, batch_id, discovered, event_id, hostile_offer, report_id, report_of},
    lab::{apt, pool},
};
use crate::{batch::Outcome, event::EventInput, rejection::RejectionCode, store::StoreErrorKind, work::Refusal};

fn mixed() -> Vec<EventInput> {
    let mut events = discoveries(31, "apt", 4, 1);
    events.insert(2, discovered(event_id(50), "apt", hostile_offer(&mut Rng::new(9), "apt")));
    events
}

pub(super) async fn a_batch_again_has_one_effect_and_one_receipt(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 1).await?;
    let first = lab.submit(batch_id(1), mixed(), at(1)).await?;
    let before = super::transcript(lab.store(), &[agent(0)]).await?;
    for second in 2..6 {
        ensure_eq!(lab.submit(batch_id(1), mixed(), at(second)).await?, first, "the receipt of the same batch again");
    }
    ensure_eq!(super::transcript(lab.store(), &[agent(0)]).await?, before, "what can be read after retries");
    Ok(())
}

pub(super) async fn a_batch_again_after_reopening_is_found(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 1).await?;
    let first = lab.submit(batch_id(1), mixed(), at(1)).await?;
    let lab = lab.reopened(harness).await;
    ensure_eq!(lab.submit(batch_id(1), mixed(), at(2)).await?, first, "the receipt after reopening");
    ensure_eq!(lab.store().replay(agent(0), 0, 100).await?.len(), 4, "events after a retry over a reopened store");
    let receipt = lab.submit(batch_id(2), mixed(), at(3)).await?;
    ensure_eq!((receipt.accepted, receipt.duplicate, receipt.rejected), (0, 4, 1), "the same events in another batch after reopening");
    Ok(())
}

pub(super) async fn a_batch_id_with_other_content_is_refused(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 1).await?;
    lab.submit(batch_id(1), mixed(), at(1)).await?;
    let before = super::transcript(lab.store(), &[agent(0)]).await?;
    let mut shorter = mixed();
    shorter.pop();
    for other in [shorter, discoveries(77, "dnf", 2, 900), Vec::new()] {
        let batch =
            crate::batch::Batch::new(agent(0), batch_id(1), crate::event::Actor::Agent, other).map_err(crate::store::StoreError::from)?;
        let kind = lab.fleet.submit(batch, at(2)).await.err().map(|error| error.kind().clone());
        ensure_eq!(kind, Some(StoreErrorKind::Refused(Refusal::BatchIdReused { batch: batch_id(1) })), "a batch id with other content");
    }
    ensure_eq!(super::transcript(lab.store(), &[agent(0)]).await?, before, "what can be read after the refusals");
    Ok(())
}

pub(super) async fn a_batch_id_is_scoped_to_its_agent(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 2).await?;
    let first = lab.submit_for(agent(0), batch_id(1), mixed(), at(1)).await?;
    let other = lab.submit_for(agent(1), batch_id(1), discoveries(4, "dnf", 3, 1), at(2)).await?;
    ensure_eq!((other.agent, other.number, other.accepted), (agent(1), 1, 3), "the same ids under another agent");
    ensure_eq!(lab.store().batch(agent(0), batch_id(1)).await?.map(|record| record.receipt), Some(first), "the first agent's receipt");
    ensure_eq!(lab.store().rejections(agent(1), batch_id(1)).await?, Vec::new(), "rejections of the second agent's batch");
    Ok(())
}

pub(super) async fn event_ids_are_known_across_batches(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 1).await?;
    lab.submit(batch_id(1), discoveries(31, "apt", 4, 1), at(1)).await?;
    let mut events = discoveries(31, "apt", 4, 1);
    events.push(EventInput { event_id: event_id(3), ..events[0].clone() });
    events.extend(discoveries(32, "dnf", 1, 60));
    let receipt = lab.submit(batch_id(2), events, at(2)).await?;
    ensure_eq!((receipt.accepted, receipt.duplicate, receipt.rejected), (1, 4, 1), "known ids, a reused one and a new one");
    for (index, outcome) in receipt.exceptions.iter().filter(|(index, _)| *index < 4) {
        ensure_eq!(*outcome, Outcome::Duplicate { batch: batch_id(1), index: *index }, "the duplicate's original place");
    }
    let codes: Vec<_> = receipt.rejections().map(|(index, rejection)| (index, rejection.code)).collect();
    ensure_eq!(codes, [(4, RejectionCode::EventIdReused)], "an event id with other content");
    let kept = lab.store().rejections(agent(0), batch_id(2)).await?;
    ensure!(kept.len() == 1 && kept[0].package.is_some(), "the reused id is kept as a rejection with its package: {kept:?}");
    Ok(())
}

pub(super) async fn a_report_again_gets_the_stored_answer(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 1).await?;
    let (_, offers) = pool(12, "apt", 25);
    let first = lab.report(1, vec![apt(1, &offers[..20])]).await?;
    lab.report(2, vec![apt(2, &offers[3..])]).await?;
    let before = super::transcript(lab.store(), &[agent(0)]).await?;
    ensure_eq!(lab.report(1, vec![apt(1, &offers[..20])]).await?, first, "the answer to a report sent again after a newer one");
    let lab = lab.reopened(harness).await;
    ensure_eq!(lab.report(1, vec![apt(1, &offers[..20])]).await?, first, "the answer to a report sent again after reopening");
    ensure_eq!(super::transcript(lab.store(), &[agent(0)]).await?, before, "what can be read after retries");
    Ok(())
}

pub(super) async fn a_report_id_with_other_content_is_refused(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 1).await?;
    let (_, offers) = pool(12, "apt", 3);
    lab.report(1, vec![apt(1, &offers)]).await?;
    let before = super::transcript(lab.store(), &[agent(0)]).await?;
    let other = report_of(report_id(1), 9, vec![apt(1, &offers[1..])]);
    let kind = lab.fleet.record_report(agent(0), other, at(5)).await.err().map(|error| error.kind().clone());
    ensure_eq!(kind, Some(StoreErrorKind::Refused(Refusal::ReportIdReused { report: report_id(1) })), "a report id with other content");
    ensure_eq!(super::transcript(lab.store(), &[agent(0)]).await?, before, "what can be read after the refusal");
    Ok(())
}
