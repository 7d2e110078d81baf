//! Reports: what a scan says, stored whole, derived once, visible at once.

use super::{
    CheckResult, Harness, Lab, ensure, ensure_eq,
    generate::{agent, at, invalid_fact, manager, report_id, report_of, scope_of, text},
    lab::{apt, pool, report_work},
};
use crate::{
    ids::UpdateId,
    limits,
    names::PackageKey,
    offer::Offer,
    query::{StatusFilter, UpdateFilter},
    report::{FactOutcome, ReportStatus, Scope, ScopeContent, scope_digest},
    store::Mode,
    words::{ScanResult, Status},
};

async fn open(lab: &Lab) -> Result<usize, super::Failure> {
    Ok(lab.all(UpdateFilter::default()).await?.len())
}

pub(super) async fn a_report_is_stored_whole_and_visible_at_once(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 1).await?;
    let (_, offers) = pool(1, "apt", 230);
    let answer = lab.report(1, vec![apt(1, &offers)]).await?;
    ensure_eq!((answer.events, answer.batches, answer.outcomes.counts()), (230, 3, (230, 0, 0)), "a report of 230 offers");
    for (package, offer) in &offers {
        ensure_eq!(lab.update(package).await?.state.offer, *offer, "the update of {package}");
    }
    let head = lab.store().agent(agent(0)).await?;
    let scan = head.as_ref().and_then(|head| head.scopes.get(&manager("apt")));
    ensure_eq!(scan.map(|scan| (scan.result, scan.offers, scan.received_at)), Some((ScanResult::Complete, 230, at(1))), "the scan's facts");
    ensure_eq!(head.and_then(|head| head.last_contact_at), Some(at(1)), "the last contact");
    let stored = lab.store().reports(agent(0), 10).await?;
    ensure_eq!(stored.first().map(|report| &report.answer), Some(&answer), "the stored answer");
    lab.counts_agree().await
}

pub(super) async fn an_unchanged_report_writes_no_event(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 1).await?;
    let (_, offers) = pool(2, "apt", 40);
    lab.report(1, vec![apt(1, &offers)]).await?;
    let by_digest = Scope {
        content: ScopeContent::Digest(scope_digest(&manager("apt"), offers.iter().map(|(package, offer)| (package, offer)))),
        ..apt(3, &[])
    };
    for (number, scope) in [(2, apt(2, &offers)), (3, by_digest)] {
        let answer = lab.report(number, vec![scope]).await?;
        ensure_eq!((answer.status, answer.events, answer.batches), (ReportStatus::Unchanged, 0, 0), "unchanged report {number}");
        ensure!(answer.full_required.is_empty(), "the digest is shared: {answer:?}");
        let head = lab.store().agent(agent(0)).await?;
        ensure_eq!(head.as_ref().and_then(|head| head.last_scan_at()), Some(at(number)), "the last scan after report {number}");
        ensure_eq!(head.map(|head| (head.events, head.batches)), Some((40, 1)), "events and batches after report {number}");
    }
    let other = Scope { content: ScopeContent::Digest(scope_digest(&manager("apt"), [])), ..apt(4, &[]) };
    let answer = lab.report(4, vec![other]).await?;
    ensure_eq!(answer.full_required, [manager("apt")], "a digest the server does not share asks for the packages");
    ensure_eq!(open(&lab).await?, 40, "open updates after a foreign digest");
    Ok(())
}

pub(super) async fn gone_packages_close_by_what_is_installed_now(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 1).await?;
    let (_, mut offers) = pool(3, "apt", 5);
    for (_, offer) in &mut offers {
        offer.installed = Some(crate::names::Version::parse("0.1-1").map_err(|error| super::Failure::new(error.to_string()))?);
    }
    lab.report(1, vec![apt(1, &offers)]).await?;
    let key = |index: usize| offers[index].0.clone();
    let gone = [(key(0), Some(offers[0].1.candidate.version.clone())), (key(1), offers[1].1.installed.clone()), (key(2), None)];
    let answer = lab.report(2, vec![scope_of("apt", at(2), &offers[4..], &gone)]).await?;
    ensure_eq!((answer.events, answer.outcomes.counts()), (4, (3, 1, 0)), "three gone entries, one plain absence, one offer unchanged");
    let expected = [Status::Installed, Status::Withdrawn, Status::Withdrawn, Status::Withdrawn, Status::Pending];
    for (index, status) in expected.into_iter().enumerate() {
        ensure_eq!(lab.update(&key(index)).await?.state.status(), status, "the status of package {index}");
    }
    let history = lab.store().history(&UpdateId { agent: agent(0), package: key(0) }).await?;
    let versions: Vec<_> = history.iter().map(|change| (&change.to_version, change.from_version.as_ref())).collect();
    ensure_eq!(versions, [(&offers[0].1.candidate.version, offers[0].1.installed.as_ref())], "the version history of the installed one");
    lab.counts_agree().await
}

pub(super) async fn partial_and_failed_scans_close_nothing(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 1).await?;
    let (_, offers) = pool(4, "apt", 10);
    lab.report(1, vec![apt(1, &offers)]).await?;
    let partial = Scope { result: ScanResult::Partial, ..apt(2, &offers[..2]) };
    let failed = Scope { result: ScanResult::Failed, error: Some(text("no network")), ..apt(3, &[]) };
    let elsewhere = scope_of("dnf", at(4), &[], &[]);
    for (number, scope) in [(2, partial), (3, failed), (4, elsewhere)] {
        let result = (scope.manager.clone(), scope.result);
        lab.report(number, vec![scope]).await?;
        ensure_eq!(open(&lab).await?, 10, "open updates after a scan {result:?}");
        let head = lab.store().agent(agent(0)).await?;
        let shown = head.and_then(|head| head.scopes.get(&result.0).map(|scan| scan.result));
        ensure_eq!(shown, Some(result.1), "the scan is shown as it ended");
    }
    Ok(())
}

pub(super) async fn a_rejected_fact_shields_its_package(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 1).await?;
    let (_, offers) = pool(5, "apt", 6);
    lab.report(1, vec![apt(1, &offers)]).await?;
    let mut scope = apt(2, &offers[..4]);
    if let ScopeContent::Facts { offers: facts, .. } = &mut scope.content {
        facts.insert(0, invalid_fact(Some(offers[4].0.clone())));
    }
    let answer = lab.report(2, vec![scope]).await?;
    ensure!(matches!(answer.outcomes.iter().next(), Some(FactOutcome::Rejected(_))), "the first fact is rejected: {answer:?}");
    ensure_eq!(answer.outcomes.counts(), (0, 4, 1), "outcomes of a report with a bad fact first");
    ensure_eq!(lab.update(&offers[4].0).await?.state.status(), Status::Pending, "the shielded package");
    ensure_eq!(lab.update(&offers[5].0).await?.state.status(), Status::Withdrawn, "the package that is absent");
    let batch = crate::ids::BatchId::of_report(agent(0), report_id(2), 0);
    let kept = lab.store().rejections(agent(0), batch).await?;
    ensure_eq!(kept.first().and_then(|item| item.package.clone()), Some(offers[4].0.clone()), "the kept rejection names its package");
    Ok(())
}

pub(super) async fn a_stale_report_overwrites_nothing(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 1).await?;
    let (_, offers) = pool(6, "apt", 8);
    lab.report(5, vec![apt(5, &offers)]).await?;
    let states = lab.all(UpdateFilter { status: StatusFilter::Any, ..UpdateFilter::default() }).await?;
    let stale = report_of(report_id(90), 4, vec![apt(4, &offers[..1])]);
    let answer = lab.fleet.record_report(agent(0), stale.clone(), at(9)).await?;
    ensure_eq!((answer.status, answer.events), (ReportStatus::Stale, 0), "an older report that comes late");
    let now = lab.all(UpdateFilter { status: StatusFilter::Any, ..UpdateFilter::default() }).await?;
    ensure_eq!(now, states, "states after the late report");
    let newest = lab.store().reports(agent(0), 1).await?;
    ensure_eq!(newest.first().map(|report| report.report_id), Some(report_id(90)), "the late report is noted");
    ensure_eq!(lab.fleet.record_report(agent(0), stale, at(10)).await?, answer, "the late report again");
    let head = lab.store().agent(agent(0)).await?;
    ensure_eq!(head.and_then(|head| head.last_report).map(|report| report.sequence), Some(5), "the newest sequence");
    Ok(())
}

pub(super) async fn a_collapse_waits_for_a_second_scan(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 1).await?;
    let count = limits::COLLAPSE_OFFERS_MIN as usize;
    let (_, offers) = pool(7, "apt", count);
    lab.report(1, vec![apt(1, &offers)]).await?;
    let answer = lab.report(2, vec![apt(2, &[])]).await?;
    ensure_eq!((answer.quarantined, answer.events), (vec![manager("apt")], 0), "a sudden emptiness");
    ensure_eq!(open(&lab).await?, count, "open updates while the emptiness waits");
    let lab = lab.reopened(harness).await;
    let head = lab.store().agent(agent(0)).await?;
    let quarantined = head.and_then(|head| head.scopes.get(&manager("apt")).and_then(|scan| scan.quarantined_at));
    ensure_eq!(quarantined, Some(at(2)), "the waiting emptiness is kept");
    let answer = lab.report(3, vec![apt(3, &[])]).await?;
    ensure_eq!((answer.events as usize, open(&lab).await?), (count, 0), "withdrawals and open updates after the second scan");
    lab.counts_agree().await
}

pub(super) async fn how_a_report_is_cut_is_unobservable(harness: &dyn Harness) -> CheckResult {
    let (_, offers) = pool(8, "apt", 60);
    let first: Vec<(PackageKey, Offer)> = offers[..50].to_vec();
    let mut expected = None;
    for batch_events in [1, 7, 100, limits::BATCH_EVENTS_MAX] {
        let lab = Lab::new(harness, 1).await?;
        let mut scope = apt(2, &offers[20..]);
        if let ScopeContent::Facts { offers: facts, .. } = &mut scope.content {
            facts[5] = invalid_fact(Some(offers[25].0.clone()));
        }
        let mut outcomes = Vec::new();
        for (second, scope) in [(1, apt(1, &first)), (2, scope)] {
            let report = report_of(report_id(u64::from(second)), u64::from(second), vec![scope]);
            match lab.store().run(&report_work(agent(0), report, at(second), batch_events), Mode::Commit).await? {
                crate::work::Answer::Report(answer) => outcomes.push((answer.events, answer.outcomes)),
                other => return Err(super::Failure::new(format!("a report was answered as {other:?}"))),
            }
        }
        let states = lab.all(UpdateFilter { status: StatusFilter::Any, ..UpdateFilter::default() }).await?;
        let log = lab.store().replay(agent(0), 0, 1_000).await?;
        let log: Vec<_> = log.into_iter().map(|recorded| (recorded.event, recorded.sequence, recorded.revision)).collect();
        let found = (outcomes, states, log);
        let expected = expected.get_or_insert_with(|| found.clone());
        ensure_eq!(found, *expected, "outcomes, states and log of a report in batches of {batch_events}");
    }
    Ok(())
}

pub(super) async fn a_large_report_of_three_managers_arrives_whole(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 1).await?;
    let counts = [("apt", 1_500), ("dnf", 2_200), ("docker", 72)];
    let scopes: Vec<Scope> = counts.iter().map(|(word, count)| scope_of(word, at(1), &pool(9, word, *count).1, &[])).collect();
    let answer = lab.report(1, scopes).await?;
    ensure_eq!((answer.events, answer.batches, answer.outcomes.counts()), (3_772, 38, (3_772, 0, 0)), "a report of 3,772 updates");
    let stats = lab.store().stats(&UpdateFilter::default()).await?;
    ensure_eq!(stats.total, 3_772, "open updates");
    for (word, count) in counts {
        ensure_eq!(stats.by_manager.get(&manager(word)).copied(), Some(count as u64), "open updates of {word}");
    }
    ensure_eq!(open(&lab).await?, 3_772, "rows of the list");
    Ok(())
}
