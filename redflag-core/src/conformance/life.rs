//! The life of a log: agents removed, logs pruned, what follows from them rebuilt, fleets moved.

use super::{
    CheckResult, Failure, Harness, Lab,
    differential::transcript,
    ensure, ensure_eq,
    feed::{feed_is_sound, whole_feed},
    generate::{agent, at, batch_id, command_id, discovered, enrolment, event_id, report_id, report_of, rescan, text},
    lab::{apt, pool},
};
use crate::{
    MemoryStore,
    agent::Pruned,
    command::step::Step,
    event::{Actor, ChangeInput, EventInput},
    export::{Exporter, ImportError, Importer, Summary},
    ids::{EventId, UpdateId},
    names::PackageKey,
    offer::{Offer, OfferInput},
    past::Moment,
    query::{CommandQuery, StatusFilter, UpdateFilter},
    rebuild::Rebuild,
    removal::{RemoveAgent, RemovedAgent},
    retention::RetentionWindow,
    store::{Expected, Mode, Store, StoreError, StoreErrorKind},
    time::Timestamp,
    words::IgnoreScope,
    work::{Decision, Refusal, UnitOfWork},
};
use std::{fmt::Debug, sync::Arc, time::Duration};

/// The time at which a window of 30 days begins at second `second`.
fn thirty_days_after(second: u32) -> Timestamp {
    at(second).saturating_add(Duration::from_secs(30 * 86_400))
}

fn window() -> Result<RetentionWindow, Failure> {
    RetentionWindow::days(30).map_err(|error| Failure::new(error.to_string()))
}

fn refused(result: Result<impl Debug, StoreError>, what: &str) -> Result<Refusal, Failure> {
    match result {
        Err(error) => match error.kind() {
            StoreErrorKind::Refused(refusal) => Ok(refusal.clone()),
            other => Err(Failure::new(format!("{what} ended in {other:?}"))),
        },
        Ok(answer) => Err(Failure::new(format!("{what} was answered {answer:?}"))),
    }
}

/// A fleet of `agents` in which everything happened that leaves a row: reports, decisions, batches with chosen ids, duplicates and
/// rejections, installs seen, ignores of whole packages. At second `n`, report `n` of each agent.
async fn lived(harness: &dyn Harness, agents: u32) -> Result<Lab, Failure> {
    let lab = Lab::new(harness, agents).await?;
    let (_, offers) = pool(90, "apt", 10);
    for host in 0..agents {
        live(&lab, host, &offers).await?;
    }
    lab.store().put("settings", "colour", "green", Expected::Absent).await?;
    lab.store().put("tokens", "a", "1", Expected::Absent).await?;
    Ok(lab)
}

async fn live(lab: &Lab, host: u32, offers: &[(PackageKey, Offer)]) -> CheckResult {
    lab.report_for(host, 1, vec![apt(1, &offers[..8])]).await?;
    let decide = |number: u64, package: &PackageKey, decision: Decision, second: u32| {
        let work = (agent(host), batch_id(number), text("ada"), vec![(package.clone(), decision)], at(second));
        async move {
            let (agent, batch, operator, decisions, received_at) = work;
            lab.fleet.decide(agent, batch, operator, decisions, received_at).await
        }
    };
    let digest = |place: usize| offers[place].1.digest(&offers[place].0);
    decide(1, &offers[0].0, Decision::Approve { offer_digest: digest(0), comment: Some(text("go")) }, 2).await?;
    let ignore = Decision::Ignore { offer_digest: digest(1), scope: IgnoreScope::Package, until: None, reason: None };
    decide(2, &offers[1].0, ignore, 2).await?;
    let seen = |place: usize, number: u64| EventInput {
        event_id: event_id(number),
        package_type: "apt".to_owned(),
        change: ChangeInput::InstalledObserved {
            package_name: offers[place].0.name.as_str().to_owned(),
            arch: offers[place].0.arch.as_ref().map(|arch| arch.as_str().to_owned()),
            version: offers[place].1.candidate.version.as_str().to_owned(),
        },
        observed_at: Some(at(2)),
    };
    // An install, the same id again, an id with other content, and one of a package nobody was offered.
    let unknown = EventInput { event_id: event_id(9), ..seen(9, 9) };
    lab.submit_for(agent(host), batch_id(3), vec![seen(2, 1), seen(2, 1), seen(3, 1), unknown], at(3)).await?;
    lab.report_for(host, 4, vec![apt(4, &offers[3..])]).await?;
    let hostile = discovered(event_id(20), "apt", OfferInput { package_name: "no such name".to_owned(), ..OfferInput::default() });
    lab.submit_for(agent(host), batch_id(5), vec![seen(4, 10), hostile], at(5)).await?;
    lab.report_for(host, 6, vec![apt(6, &offers[5..])]).await?;
    // One command that its agent has, one that ended, one that waits.
    for number in 1..=3 {
        lab.fleet.command(agent(host), rescan(number), at(7)).await?;
    }
    lab.fleet.command(agent(host), Step::Lease { limit: 2 }, at(8)).await?;
    let cancel = Step::Cancel { command: command_id(2), by: Actor::System(text("policy")), reason: None };
    lab.fleet.command(agent(host), cancel, at(9)).await?;
    Ok(())
}

async fn remove(lab: &Lab, host: u32, second: u32) -> Result<RemovedAgent, StoreError> {
    lab.fleet.remove_agent(agent(host), Actor::Operator(text("ada")), Some(text("scrapped")), at(second)).await
}

pub(super) async fn a_removed_agent_leaves_nothing_but_its_tombstones(harness: &dyn Harness) -> CheckResult {
    let lab = lived(harness, 2).await?;
    // So that it has base states, too.
    lab.fleet.prune(agent(1), window()?, thirty_days_after(2)).await?;
    let before = lab.store().agent(agent(1)).await?.ok_or_else(|| Failure::new("agent 1 is not there"))?;
    let other = transcript_of(&lab, 0).await?;
    let log = lab.store().replay(agent(1), 0, 1_000).await?;
    let batches = lab.store().agent_batches(agent(1), 0, 100).await?;
    let feed = whole_feed(lab.store(), 500).await?;
    let removed = remove(&lab, 1, 50).await?;
    let kept = (removed.agent, removed.name.as_str(), removed.batches, removed.events, removed.removed_at);
    ensure_eq!(kept, (agent(1), before.name.as_str(), before.batches, before.events, at(50)), "what is kept of the agent");
    let lab = lab.reopened(harness).await;
    let store = lab.store();
    ensure_eq!(store.agent(agent(1)).await?, None, "the removed agent");
    ensure_eq!(store.agents(&crate::query::AgentQuery::default()).await?.total, 1, "agents that are left");
    ensure_eq!(store.removed_agents(None, 10).await?, vec![removed.clone()], "removed agents");
    ensure_eq!(store.replay(agent(1), 0, 1_000).await?, Vec::new(), "its log");
    ensure_eq!(store.agent_batches(agent(1), 0, 100).await?, Vec::new(), "its batches");
    ensure_eq!(store.reports(agent(1), 100).await?, Vec::new(), "its reports");
    ensure_eq!(store.bases(agent(1)).await?, Vec::new(), "its base states");
    ensure_eq!(store.command(agent(1), command_id(1)).await?, None, "a command of it");
    let commands = store.commands(&CommandQuery::default()).await?;
    ensure!(commands.total == 3 && commands.items.iter().all(|row| row.record.audience.agent == agent(0)), "commands: {commands:?}");
    ensure_eq!(store.due_commands(at(u32::MAX), None, 10).await?, vec![agent(0)], "agents with a command that is due");
    ensure_eq!(store.derived(agent(1)).await?, None, "what followed from its log");
    for batch in &batches {
        ensure_eq!(store.batch(agent(1), batch.receipt.batch).await?, None, "a batch of it");
        ensure_eq!(store.rejections(agent(1), batch.receipt.batch).await?, Vec::new(), "rejections of it");
    }
    for event in &log {
        let id = UpdateId { agent: agent(1), package: event.event.package.clone() };
        ensure_eq!(store.update(&id).await?, None, "an update of it");
        ensure_eq!(store.events(&id).await?, Vec::new(), "events of it");
        ensure_eq!(store.history(&id).await?, Vec::new(), "history of it");
    }
    let any = UpdateFilter { status: StatusFilter::Any, ..UpdateFilter::default() };
    ensure!(lab.all(any).await?.iter().all(|row| row.agent == agent(0)), "a list still holds updates of it");
    lab.counts_agree().await?;
    ensure_eq!(lab.fleet.check_totals(&[agent(0)]).await?, Vec::new(), "totals of the fleet");
    ensure_eq!(transcript_of(&lab, 0).await?, other, "everything of the other agent");
    let now = whole_feed(store, 500).await?;
    feed_is_sound(store, &now).await?;
    ensure_eq!(now.len(), feed.len(), "entries of the feed");
    for (was, is) in feed.iter().zip(&now) {
        ensure_eq!((is.position, is.agent, is.number, is.digest), (was.position, was.agent, was.number, was.digest), "an entry");
        ensure_eq!(is.record.is_some(), is.agent == agent(0), "whether position {} has a record", is.position);
    }
    Ok(())
}

async fn transcript_of(lab: &Lab, host: u32) -> Result<Vec<String>, Failure> {
    let of_agent = |line: &String| {
        !["stats", "page", "agents", "packages", "trend", "feed", "removed", "command", "due"].iter().any(|list| line.starts_with(list))
    };
    Ok(transcript(lab.store(), &[agent(host)]).await?.into_iter().filter(of_agent).collect())
}

pub(super) async fn a_removed_agent_never_comes_back(harness: &dyn Harness) -> CheckResult {
    let lab = lived(harness, 2).await?;
    let first = remove(&lab, 1, 50).await?;
    ensure_eq!(remove(&lab, 1, 60).await?, first, "the same removal again");
    let again = refused(lab.fleet.enrol(enrolment(1)).await, "enrolling a removed agent")?;
    ensure_eq!(again, Refusal::AgentRemoved { agent: agent(1) }, "why its id is refused");
    let (_, offers) = pool(91, "apt", 2);
    let report = report_of(report_id(9), 9, vec![apt(9, &offers)]);
    let report = refused(lab.fleet.record_report(agent(1), report, at(9)).await, "a report of it")?;
    ensure_eq!(report, Refusal::UnknownAgent { agent: agent(1) }, "why its report is refused");
    let nobody = refused(remove(&lab, 7, 50).await, "removing an agent nobody knows")?;
    ensure_eq!(nobody, Refusal::UnknownAgent { agent: agent(7) }, "why that is refused");
    // A host that comes back under the same name is another agent, and inherits nothing.
    lab.fleet.enrol(crate::agent::Enrolment { agent: agent(5), ..enrolment(1) }).await?;
    let head = lab.store().agent(agent(5)).await?.map(|head| (head.events, head.batches, head.last_report));
    ensure_eq!(head, Some((0, 0, None)), "what the newcomer has");
    lab.report_for(5, 1, vec![apt(1, &offers)]).await?;
    ensure_eq!(lab.store().derived(agent(5)).await?.map(|derived| derived.states.len()), Some(2), "states of the newcomer");
    let entries = whole_feed(lab.store(), 500).await?;
    feed_is_sound(lab.store(), &entries).await?;
    let second = remove(&lab, 5, 70).await?;
    ensure_eq!(lab.store().removed_agents(None, 10).await?, vec![first.clone(), second.clone()], "removed agents");
    ensure_eq!(lab.store().removed_agents(None, 1).await?, vec![first], "the first removed agent");
    ensure_eq!(lab.store().removed_agents(Some(agent(1)), 10).await?, vec![second], "removed agents after the first");
    ensure_eq!(lab.store().removed_agents(Some(agent(5)), 10).await?, Vec::new(), "removed agents after the last");
    Ok(())
}

pub(super) async fn work_on_a_stream_that_moved_is_refused(harness: &dyn Harness) -> CheckResult {
    let lab = lived(harness, 1).await?;
    let stale = RemoveAgent { agent: agent(0), actor: Actor::Agent, reason: None, removed_at: at(9), tombstones: Vec::new() };
    let refusal = refused(lab.store().run(&UnitOfWork::RemoveAgent(stale), Mode::Commit).await, "a removal that saw nothing")?;
    ensure_eq!(refusal, Refusal::AgentMoved { agent: agent(0) }, "why it is refused");
    let mut derived = lab.store().derived(agent(0)).await?.unwrap_or_default();
    derived.sequence -= 1;
    let rebuild = UnitOfWork::Rebuild(Rebuild { agent: agent(0), derived });
    let refusal = refused(lab.store().run(&rebuild, Mode::Commit).await, "a rebuild that saw less")?;
    ensure_eq!(refusal, Refusal::AgentMoved { agent: agent(0) }, "why it is refused");
    // What was read before retention went on must not be put back after it.
    let derived = lab.store().derived(agent(0)).await?.unwrap_or_default();
    lab.fleet.prune(agent(0), window()?, thirty_days_after(5)).await?;
    let rebuild = UnitOfWork::Rebuild(Rebuild { agent: agent(0), derived });
    let refusal = refused(lab.store().run(&rebuild, Mode::Commit).await, "a rebuild from before retention")?;
    ensure_eq!(refusal, Refusal::AgentMoved { agent: agent(0) }, "why it is refused");
    ensure_eq!(lab.fleet.check(agent(0)).await?, Vec::new(), "what differs afterwards");
    Ok(())
}

pub(super) async fn retention_takes_the_start_of_a_log_and_nothing_else(harness: &dyn Harness) -> CheckResult {
    let lab = lived(harness, 2).await?;
    let whole = lab.store().derived(agent(0)).await?;
    let other = transcript_of(&lab, 1).await?;
    let lists = lab.all(UpdateFilter { status: StatusFilter::Any, ..UpdateFilter::default() }).await?;
    let log = lab.store().replay(agent(0), 0, 1_000).await?;
    let batches = lab.store().agent_batches(agent(0), 0, 100).await?;
    let feed = whole_feed(lab.store(), 500).await?;
    // Everything received before second 5: reports 1 and 4, two decisions, a batch with chosen ids.
    let foreseen = lab.fleet.prunable(agent(0), window()?, thirty_days_after(5)).await?;
    ensure_eq!(lab.store().agent(agent(0)).await?.map(|head| head.pruned), Some(Pruned::default()), "what is gone before");
    let pruned = lab.fleet.prune(agent(0), window()?, thirty_days_after(5)).await?;
    ensure_eq!(pruned, foreseen, "what was foreseen");
    ensure_eq!(pruned.batches, 5, "batches received before second 5");
    let kept_events: Vec<_> = log.iter().filter(|event| event.received_at >= at(5)).cloned().collect();
    ensure_eq!(pruned.events, log.len() as u64 - kept_events.len() as u64, "events received before second 5");
    let lab = lab.reopened(harness).await;
    let store = lab.store();
    ensure_eq!(store.agent(agent(0)).await?.map(|head| head.pruned), Some(pruned), "what the head says");
    ensure_eq!(store.replay(agent(0), 0, 1_000).await?, kept_events, "what is left of the log");
    ensure_eq!(store.agent_batches(agent(0), 0, 100).await?, batches[5..].to_vec(), "what is left of the batches");
    for batch in &batches[..5] {
        ensure_eq!(store.batch(agent(0), batch.receipt.batch).await?, None, "a batch that was pruned");
        ensure_eq!(store.rejections(agent(0), batch.receipt.batch).await?, Vec::new(), "rejections that were pruned");
    }
    let left: Vec<_> = store.reports(agent(0), 100).await?.iter().map(|report| report.sequence).collect();
    ensure_eq!(left, vec![6], "reports that are left");
    let now = store.derived(agent(0)).await?;
    let untouched = |derived: Option<crate::rebuild::Derived>| derived.map(|derived| (derived.states, derived.history, derived.counters));
    ensure_eq!(untouched(now), untouched(whole), "states, history and counters");
    let any = UpdateFilter { status: StatusFilter::Any, ..UpdateFilter::default() };
    ensure_eq!(lab.all(any).await?, lists, "the list of updates");
    lab.counts_agree().await?;
    ensure_eq!(transcript_of(&lab, 1).await?, other, "everything of the other agent");
    for host in 0..2 {
        ensure_eq!(lab.fleet.check(agent(host)).await?, Vec::new(), "what does not follow from base and log of agent {host}");
    }
    let entries = whole_feed(store, 500).await?;
    feed_is_sound(store, &entries).await?;
    for (was, is) in feed.iter().zip(&entries) {
        ensure_eq!((is.position, is.agent, is.number, is.digest), (was.position, was.agent, was.number, was.digest), "an entry");
        ensure_eq!(is.record.is_none(), is.agent == agent(0) && is.number <= 5, "whether position {} lost its record", is.position);
    }
    // Report 6 came at the very moment at which the window begins now.
    lab.fleet.prune(agent(0), window()?, thirty_days_after(6)).await?;
    let left: Vec<_> = store.reports(agent(0), 100).await?.iter().map(|report| report.sequence).collect();
    ensure_eq!(left, vec![6], "reports of the window's first moment");
    Ok(())
}

pub(super) async fn what_was_pruned_is_forgotten_and_says_so(harness: &dyn Harness) -> CheckResult {
    let lab = lived(harness, 1).await?;
    let (_, offers) = pool(90, "apt", 10);
    let seen = |place: usize, number: u64| discovered_again(&offers[place], number);
    // An id that a caller chose, and that the first event of the first report has by computation.
    let equal = EventInput { event_id: EventId::of_report(agent(0), report_id(1), 0), ..seen(3, 0) };
    lab.submit(batch_id(31), vec![equal.clone()], at(60)).await?;
    let events = lab.store().agent(agent(0)).await?.map_or(0, |head| head.events);
    let states = lab.fleet.states_at(agent(0), Moment::Sequence(events)).await?;
    let pruned = lab.fleet.prune(agent(0), window()?, thirty_days_after(5)).await?;
    let at_base = lab.fleet.states_at(agent(0), Moment::Sequence(pruned.events)).await?;
    ensure_eq!(lab.store().bases(agent(0)).await?, at_base, "the base states");
    ensure_eq!(lab.fleet.states_at(agent(0), Moment::Sequence(events)).await?, states, "the states now");
    match lab.fleet.states_at(agent(0), Moment::Sequence(pruned.events - 1)).await {
        Err(error) if *error.kind() == StoreErrorKind::Pruned => {}
        other => return Err(Failure::new(format!("the past before the base was answered {other:?}"))),
    }
    // Ids within the window are known, those before it are not.
    let receipt = lab.submit(batch_id(32), vec![equal], at(70)).await?;
    ensure_eq!((receipt.duplicate, receipt.submitted), (1, 1), "an id within the window that an event before it has by computation");
    let receipt = lab.submit(batch_id(30), vec![seen(2, 10), seen(2, 1)], at(70)).await?;
    ensure_eq!((receipt.rejected, receipt.accepted), (1, 1), "an id within the window with other content, and one before it");
    // Going on: again nothing to do, and then everything.
    ensure_eq!(lab.fleet.prune(agent(0), window()?, thirty_days_after(5)).await?, pruned, "the same again");
    let all = lab.fleet.prune(agent(0), window()?, thirty_days_after(500)).await?;
    let head = lab.store().agent(agent(0)).await?.map(|head| (head.batches, head.events));
    ensure_eq!(Some((all.batches, all.events)), head, "a log that is pruned to its end");
    ensure_eq!(lab.fleet.check(agent(0)).await?, Vec::new(), "what differs when only base states are left");
    lab.report(90, vec![apt(90, &offers[6..])]).await?;
    ensure_eq!(lab.fleet.check(agent(0)).await?, Vec::new(), "what differs after the next report");
    ensure!(RetentionWindow::days(29).is_err(), "a window of 29 days was allowed");
    Ok(())
}

fn discovered_again((package, offer): &(PackageKey, Offer), number: u64) -> EventInput {
    let input = OfferInput {
        package_name: package.name.as_str().to_owned(),
        arch: package.arch.as_ref().map(|arch| arch.as_str().to_owned()),
        current_version: offer.installed.as_ref().map(|version| version.as_str().to_owned()),
        available_version: "99999:1".to_owned(),
        ..OfferInput::default()
    };
    discovered(event_id(number), "apt", input)
}

pub(super) async fn a_rebuild_mends_what_differs_from_the_log(harness: &dyn Harness) -> CheckResult {
    let lab = lived(harness, 2).await?;
    for host in 0..2 {
        ensure_eq!(lab.fleet.check(agent(host)).await?, Vec::new(), "what differs in a sound store");
    }
    ensure_eq!(lab.fleet.check_totals(&[agent(0), agent(1)]).await?, Vec::new(), "totals of a sound store");
    let sound = transcript(lab.store(), &[agent(0), agent(1)]).await?;
    let right = lab.store().derived(agent(0)).await?.unwrap_or_default();
    // Damage of every kind: a state lost and one doubled under another status, history lost, a counter and a day's difference changed.
    let mut wrong = right.clone();
    let lost = wrong.states.remove(0);
    wrong.states[0].standing = lost.standing.clone();
    wrong.history.clear();
    wrong.counters[0].1 += 3;
    wrong.open_changes[0].difference += 5;
    lab.store().run(&UnitOfWork::Rebuild(Rebuild { agent: agent(0), derived: wrong.clone() }), Mode::Commit).await?;
    ensure_eq!(lab.store().derived(agent(0)).await?, Some(wrong), "what was put in place");
    let found = lab.fleet.check(agent(0)).await?;
    ensure!(found.len() >= 4, "a check of a damaged store found only {found:?}");
    ensure_eq!(lab.fleet.rebuild(agent(0)).await?, found, "what the rebuild mended");
    let lab = lab.reopened(harness).await;
    ensure_eq!(lab.fleet.check(agent(0)).await?, Vec::new(), "what differs after the rebuild");
    ensure_eq!(lab.fleet.rebuild(agent(1)).await?, Vec::new(), "what a rebuild of a sound agent mends");
    ensure_eq!(transcript(lab.store(), &[agent(0), agent(1)]).await?, sound, "everything after the rebuild");
    Ok(())
}

/// Every line of an export.
async fn exported(fleet: &crate::Fleet) -> Result<Vec<String>, Failure> {
    let mut exporter = Exporter::new(fleet);
    let mut lines = Vec::new();
    while let Some(line) = exporter.next_line().await? {
        lines.push(line);
    }
    Ok(lines)
}

async fn imported(store: Arc<dyn Store>, lines: &[String]) -> Result<Summary, ImportError> {
    let fleet = crate::Fleet::shared(store);
    let mut importer = Importer::new(&fleet).await?;
    for line in lines {
        importer.line(line).await?;
    }
    importer.finish()
}

pub(super) async fn an_export_moves_everything(harness: &dyn Harness) -> CheckResult {
    let lab = lived(harness, 4).await?;
    // One more of the first agent, so that the feed is not one agent after the other.
    lab.report(7, vec![apt(7, &pool(93, "apt", 5).1)]).await?;
    remove(&lab, 1, 50).await?;
    lab.fleet.prune(agent(2), window()?, thirty_days_after(5)).await?;
    lab.fleet.prune(agent(3), window()?, thirty_days_after(500)).await?;
    let lines = exported(&lab.fleet).await?;
    let agents: Vec<_> = (0..4).map(agent).collect();
    let before = transcript(lab.store(), &agents).await?;
    // Through the memory store into a new store of the backend: all three read the same.
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let failed = |error: ImportError| Failure::new(format!("the import failed: {error} ({error:?})"));
    let summary = imported(Arc::clone(&memory), &lines).await.map_err(failed)?;
    ensure_eq!((summary.agents, summary.batches, summary.records), (3, 29, 2), "what was moved");
    ensure_eq!(transcript(&*memory, &agents).await?, before, "everything, read from the memory store");
    ensure_eq!(exported(&crate::Fleet::shared(Arc::clone(&memory))).await?, lines, "the export of the memory store");
    let back = harness.fresh().await;
    imported(Arc::clone(&back), &lines).await.map_err(failed)?;
    let back = Lab::over(harness.reopen(back).await);
    ensure_eq!(transcript(back.store(), &agents).await?, before, "everything, moved back");
    ensure_eq!(exported(&back.fleet).await?, lines, "the export of what was moved back");
    for host in [0, 2, 3] {
        ensure_eq!(back.fleet.check(agent(host)).await?, Vec::new(), "what differs of agent {host} after the move");
    }
    let (_, offers) = pool(92, "apt", 3);
    back.report_for(3, 90, vec![apt(90, &offers)]).await?;
    feed_is_sound(back.store(), &whole_feed(back.store(), 500).await?).await
}

pub(super) async fn an_import_takes_nothing_that_does_not_fit(harness: &dyn Harness) -> CheckResult {
    let lab = lived(harness, 1).await?;
    let lines = exported(&lab.fleet).await?;
    let refusal = imported(harness.fresh().await, &lines[..lines.len() - 1]).await;
    ensure!(matches!(refusal, Err(ImportError::CutOff(_))), "an export without its end was answered {refusal:?}");
    let batches: Vec<_> = lines.iter().enumerate().filter(|(_, line)| line.starts_with("{\"batch\":")).collect();
    let [(first, _), (second, _), ..] = batches[..] else { return Err(Failure::new("an export without batches")) };
    let mut swapped = lines.clone();
    swapped.swap(first, second);
    let mut lost = lines.clone();
    lost.remove(first);
    let mut changed = lines.clone();
    changed[second] = changed[second].replacen("\"ada\"", "\"eve\"", 1);
    let mut twice = lines.clone();
    twice.insert(first, lines[first].clone());
    for (what, broken) in [("swapped", swapped), ("lost", lost), ("changed", changed), ("doubled", twice)] {
        let refusal = imported(harness.fresh().await, &broken).await;
        ensure!(refusal.is_err(), "an export with a line {what} was taken: {refusal:?}");
    }
    let refusal = imported(Lab::new(harness, 1).await?.into_store(), &lines).await;
    ensure!(matches!(refusal, Err(ImportError::NotEmpty)), "an import into a fleet that is not empty was answered {refusal:?}");
    Ok(())
}
