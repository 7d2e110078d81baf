//! Decisions bind to what was shown and survive what does not change it.

use super::{
    CheckResult, Failure, Harness, Lab, ensure, ensure_eq,
    generate::{agent, at, batch_id, scope_of, text},
    lab::{apt, pool},
};
use crate::{
    bulk::{BulkDecision, Operation, OperationCounts, Selected},
    event::{Actor, EventKind, Source},
    feed::FeedPosition,
    ids::{OperationId, UpdateId},
    names::{PackageKey, Version},
    offer::{Candidate, Offer},
    query::UpdateFilter,
    rejection::RejectionCode,
    state::Standing,
    words::{IgnoreScope, Status, VersionOutcome},
    work::Decision,
};
use std::sync::Arc;

fn approve(package: &PackageKey, offer: &Offer) -> Decision {
    Decision::Approve { offer_digest: offer.digest(package), comment: Some(text("after the holidays 😀")) }
}

fn version(text: &str) -> Result<Version, Failure> {
    Version::parse(text).map_err(|error| Failure::new(error.to_string()))
}

/// The offer at another version.
fn newer(offer: &Offer) -> Result<Offer, Failure> {
    let candidate = Candidate { version: version("99:1-1")?, ..(*offer.candidate).clone() };
    Ok(Offer { candidate: Arc::new(candidate), ..offer.clone() })
}

async fn status(lab: &Lab, package: &PackageKey) -> Result<Status, Failure> {
    Ok(lab.update(package).await?.state.status())
}

pub(super) async fn a_decision_is_an_event_with_its_operator(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 1).await?;
    let (_, offers) = pool(1, "apt", 3);
    lab.report(1, vec![apt(1, &offers)]).await?;
    let (package, offer) = &offers[1];
    let receipt = lab.decide(batch_id(1), package, approve(package, offer), at(2)).await?;
    ensure_eq!((receipt.accepted, receipt.number), (1, 2), "the approval's receipt");
    let lab = lab.reopened(harness).await;
    let Standing::Approved(approval) = lab.update(package).await?.state.standing else {
        return Err(Failure::new("the approved update is not approved"));
    };
    ensure_eq!((&approval.actor, approval.at), (&Actor::Operator(text("ada")), at(2)), "who approved, and when");
    ensure_eq!(approval.offer_digest, offer.digest(package), "the offer approved");
    let events = lab.store().events(&UpdateId { agent: agent(0), package: package.clone() }).await?;
    let last = events.last().map(|event| (event.actor.clone(), event.source, matches!(event.event.kind, EventKind::Approved { .. })));
    ensure_eq!(last, Some((Actor::Operator(text("ada")), Source::Decision, true)), "the approval's event");
    ensure_eq!(lab.decide(batch_id(1), package, approve(package, offer), at(3)).await?, receipt, "the same decision again");
    lab.counts_agree().await
}

pub(super) async fn a_decision_about_another_offer_is_rejected(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 1).await?;
    let (_, offers) = pool(2, "apt", 2);
    lab.report(1, vec![apt(1, &offers)]).await?;
    let (package, offer) = &offers[0];
    lab.report(2, vec![apt(2, &[(package.clone(), newer(offer)?), offers[1].clone()])]).await?;
    let receipt = lab.decide(batch_id(1), package, approve(package, offer), at(3)).await?;
    let codes: Vec<_> = receipt.rejections().map(|(_, rejection)| rejection.code).collect();
    ensure_eq!(codes, [RejectionCode::OfferChanged], "an approval of an offer that is no more");
    ensure_eq!(status(&lab, package).await?, Status::Pending, "the update that was not approved");
    Ok(())
}

pub(super) async fn decisions_survive_the_same_scan_and_not_a_new_version(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 1).await?;
    let (_, mut offers) = pool(3, "apt", 4);
    lab.report(1, vec![apt(1, &offers)]).await?;
    let ignore = |package: &PackageKey, offer: &Offer| Decision::Ignore {
        offer_digest: offer.digest(package),
        scope: IgnoreScope::Version,
        until: None,
        reason: None,
    };
    lab.decide(batch_id(1), &offers[0].0, approve(&offers[0].0, &offers[0].1), at(2)).await?;
    lab.decide(batch_id(2), &offers[1].0, ignore(&offers[1].0, &offers[1].1), at(3)).await?;
    for number in 4..7 {
        lab.report(number, vec![apt(number, &offers)]).await?;
    }
    ensure_eq!(status(&lab, &offers[0].0).await?, Status::Approved, "an approved update after the same scan");
    ensure_eq!(status(&lab, &offers[1].0).await?, Status::Ignored, "an ignored update after the same scan");
    for (_, offer) in &mut offers {
        *offer = newer(offer)?;
    }
    lab.report(7, vec![apt(7, &offers)]).await?;
    for (package, _) in &offers {
        ensure_eq!(status(&lab, package).await?, Status::Pending, "{package} at a version nobody decided about");
    }
    lab.counts_agree().await
}

pub(super) async fn a_package_ignore_outlives_versions(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 1).await?;
    let (_, offers) = pool(4, "apt", 1);
    let (package, offer) = offers[0].clone();
    lab.report(1, vec![apt(1, &offers)]).await?;
    let ignore = Decision::Ignore {
        offer_digest: offer.digest(&package),
        scope: IgnoreScope::Package,
        until: Some(at(9_999)),
        reason: Some(text("'")),
    };
    lab.decide(batch_id(1), &package, ignore, at(2)).await?;
    lab.report(3, vec![apt(3, &[(package.clone(), newer(&offer)?)])]).await?;
    ensure_eq!(status(&lab, &package).await?, Status::Ignored, "a newer version of an ignored package");
    lab.report(4, vec![apt(4, &[])]).await?;
    let lab = lab.reopened(harness).await;
    lab.report(5, vec![apt(5, &offers)]).await?;
    let state = lab.update(&package).await?.state;
    ensure_eq!(state.status(), Status::Ignored, "an ignored package that went away and came back");
    ensure_eq!(state.package_ignore.and_then(|ignore| ignore.until), Some(at(9_999)), "when the ignore ends");
    lab.decide(batch_id(2), &package, Decision::Reopen { comment: None }, at(6)).await?;
    let state = lab.update(&package).await?.state;
    ensure_eq!((state.status(), state.package_ignore), (Status::Pending, None), "the package after it was reopened");
    Ok(())
}

pub(super) async fn an_ignore_that_ran_out_asks_again(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 1).await?;
    let (_, offers) = pool(6, "apt", 4);
    lab.report(1, vec![apt(1, &offers)]).await?;
    let ignore = |index: usize, scope, until| {
        let (package, offer) = &offers[index];
        (package.clone(), Decision::Ignore { offer_digest: offer.digest(package), scope, until, reason: None })
    };
    let ignores = [(0, IgnoreScope::Version, Some(at(10))), (1, IgnoreScope::Package, Some(at(10))), (2, IgnoreScope::Version, None)];
    for (number, (index, scope, until)) in (1..).zip(ignores) {
        let (package, decision) = ignore(index, scope, until);
        lab.decide(batch_id(number), &package, decision, at(2)).await?;
    }
    ensure_eq!(lab.fleet.end_ignores(at(9)).await?, 0, "ignores that have not run out");
    let lab = lab.reopened(harness).await;
    ensure_eq!(lab.fleet.end_ignores(at(10)).await?, 2, "ignores that have run out");
    ensure_eq!(lab.fleet.end_ignores(at(11)).await?, 0, "the same once more");
    let expected = [Status::Pending, Status::Pending, Status::Ignored, Status::Pending];
    for ((package, _), expected) in offers.iter().zip(expected) {
        let state = lab.update(package).await?.state;
        ensure_eq!((state.status(), state.package_ignore.is_some()), (expected, false), "an update after the ignores ran out");
    }
    let events = lab.store().events(&UpdateId { agent: agent(0), package: offers[0].0.clone() }).await?;
    let last = events.last().map(|event| event.actor.clone());
    ensure_eq!(last, Some(Actor::System(text("ignores"))), "who reopened it");
    lab.counts_agree().await
}

pub(super) async fn a_decision_without_effect_leaves_no_trace(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 1).await?;
    let (_, offers) = pool(5, "apt", 2);
    lab.report(1, vec![apt(1, &offers[..1])]).await?;
    let before = super::transcript(lab.store(), &[agent(0)]).await?;
    for (package, decision) in [
        (&offers[1].0, approve(&offers[1].0, &offers[1].1)),
        (&offers[0].0, Decision::Reopen { comment: None }),
        (&offers[0].0, Decision::WithdrawApproval { comment: None }),
    ] {
        let receipt = lab.decide(batch_id(1), package, decision, at(2)).await?;
        ensure_eq!((receipt.number, receipt.accepted, receipt.rejected), (0, 0, 1), "a decision that is not possible");
    }
    ensure_eq!(super::transcript(lab.store(), &[agent(0)]).await?, before, "what can be read afterwards");
    Ok(())
}

pub(super) async fn installed_versions_are_kept_as_history(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 1).await?;
    let (_, offers) = pool(6, "apt", 1);
    let package = offers[0].0.clone();
    let mut number = 0;
    for (from, to) in [("1-1", "2-1"), ("2-1", "3-1")] {
        let candidate = Candidate { version: version(to)?, ..(*offers[0].1.candidate).clone() };
        let offer = Offer { installed: Some(version(from)?), candidate: Arc::new(candidate), ..offers[0].1.clone() };
        lab.report(number + 1, vec![apt(number + 1, &[(package.clone(), offer)])]).await?;
        lab.report(number + 2, vec![scope_of("apt", at(number + 2), &[], &[(package.clone(), Some(version(to)?))])]).await?;
        number += 2;
    }
    let history = lab.store().history(&UpdateId { agent: agent(0), package }).await?;
    let found: Vec<_> = history.iter().map(|change| (change.from_version.clone(), change.to_version.clone(), change.sequence)).collect();
    let expected = [(Some(version("1-1")?), version("2-1")?, 2), (Some(version("2-1")?), version("3-1")?, 4)];
    ensure_eq!(found, expected, "the version history, oldest first");
    ensure!(history.iter().all(|change| change.outcome == VersionOutcome::Installed), "both were installed: {history:?}");
    Ok(())
}

/// Three agents are shown, one of them changes: what was shown and did not change is decided, whatever was not shown is left alone.
pub(super) async fn a_bulk_decision_is_about_what_was_shown(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 3).await?;
    let (_, offers) = pool(7, "apt", 40);
    for host in 0..3 {
        lab.report_for(host, 1, vec![apt(1, &offers[..30])]).await?;
    }
    let operator_ignores =
        Decision::Ignore { offer_digest: offers[0].1.digest(&offers[0].0), scope: IgnoreScope::Version, until: None, reason: None };
    lab.decide(batch_id(1), &offers[0].0, operator_ignores, at(2)).await?;
    ensure!(lab.store().feed_grown(FeedPosition(3)).await? >= FeedPosition(4), "four batches are numbered");
    let selection = lab.fleet.selection_now(UpdateFilter::default()).await?;
    let decision = BulkDecision::WithdrawApproval { comment: None };
    let selected = lab.fleet.select(&selection, &decision).await?;
    ensure_eq!(selected, Selected { matching: 90, possible: 0, agents: 0 }, "what nobody approved, to be withdrawn");
    let decision = BulkDecision::Approve { comment: Some(text("after the holidays")) };
    let selected = lab.fleet.select(&selection, &decision).await?;
    ensure_eq!(selected, Selected { matching: 90, possible: 89, agents: 3 }, "what is shown, one of it ignored");

    let mut changed = offers.clone();
    for (_, offer) in &mut changed[5..15] {
        *offer = newer(offer)?;
    }
    lab.report_for(1, 2, vec![apt(2, &changed)]).await?;
    ensure_eq!(lab.fleet.select(&selection, &decision).await?, selected, "what was shown, after a report");
    let id = OperationId::from_uuid(batch_id(9).as_uuid()).map_err(|error| Failure::new(error.to_string()))?;
    let operation = Operation { id, operator: text("ada"), selection, decision };
    let counts = lab.fleet.carry_out(&operation, at(3), |_| ()).await?;
    ensure_eq!(counts, OperationCounts { done: 79, changed: 10, failed: 0 }, "what became of it");
    let before = super::transcript(lab.store(), &[agent(0), agent(1), agent(2)]).await?;
    ensure_eq!(lab.fleet.carry_out(&operation, at(4), |_| ()).await?, counts, "the same operation again");
    ensure_eq!(super::transcript(lab.store(), &[agent(0), agent(1), agent(2)]).await?, before, "after the same operation again");
    for (index, (package, _)) in offers.iter().enumerate() {
        let row = lab.store().update(&UpdateId { agent: agent(1), package: package.clone() }).await?;
        let expected = if (5..15).contains(&index) || index >= 30 { Status::Pending } else { Status::Approved };
        ensure_eq!(row.map(|row| row.state.status()), Some(expected), "update {index} of the agent that reported meanwhile");
    }
    lab.counts_agree().await
}
