//! The feed and the past: every batch once, in order, for ever; and what the log says of any moment.

use super::{
    CheckResult, Failure, Harness, Lab, ensure, ensure_eq,
    generate::{agent, at, batch_id, enrolment, report_id, report_of},
    lab::{apt, batch_work, pool},
};
use crate::{
    Fleet,
    feed::{FeedEntry, FeedPosition},
    ids::{AgentId, UpdateId},
    past::Moment,
    state::PackageState,
    store::{Mode, Store},
    work::Decision,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{task::JoinSet, time::timeout};

/// After this long a reader that was not woken counts as forgotten. Nothing waits for it to pass but a store that forgets.
const FORGOTTEN: Duration = Duration::from_secs(10);

/// The whole feed, read in slices of `limit`.
pub(super) async fn whole_feed(store: &dyn Store, limit: u32) -> Result<Vec<FeedEntry>, Failure> {
    let mut entries: Vec<FeedEntry> = Vec::new();
    loop {
        let after = entries.last().map_or(FeedPosition::START, |entry| entry.position);
        let more = store.feed(after, limit).await?;
        ensure!(more.len() <= limit as usize, "{} entries where at most {limit} were asked for", more.len());
        let Some(first) = more.first() else { return Ok(entries) };
        ensure_eq!(first.position, FeedPosition(after.0 + 1), "the first position after {after}");
        entries.extend(more);
    }
}

/// Positions without gap, numbers of each agent without gap, records and digests as they are stored.
pub(super) async fn feed_is_sound(store: &dyn Store, entries: &[FeedEntry]) -> CheckResult {
    let mut numbers: BTreeMap<AgentId, u64> = BTreeMap::new();
    for (entry, position) in entries.iter().zip(1..) {
        ensure_eq!(entry.position, FeedPosition(position), "the position of an entry");
        let number = numbers.entry(entry.agent).or_default();
        *number += 1;
        ensure_eq!(entry.number, *number, "the number of the next batch of agent {} at position {position}", entry.agent);
        let Some(record) = &entry.record else { continue };
        ensure_eq!((record.receipt.agent, record.receipt.number), (entry.agent, entry.number), "whose record stands at {position}");
        ensure_eq!(entry.digest, record.feed_digest(), "the digest at position {position}");
        let stored = store.batch(entry.agent, record.receipt.batch).await?;
        ensure_eq!(stored.as_ref(), Some(record), "the batch of position {position}, by its id");
    }
    Ok(())
}

/// Three agents, whose reports, decisions and batches alternate: 12 batches.
async fn three_agents(harness: &dyn Harness) -> Result<Lab, Failure> {
    let lab = Lab::new(harness, 3).await?;
    let (_, offers) = pool(80, "apt", 12);
    for number in 1..4 {
        for host in [2, 0, 1] {
            lab.report_for(host, number, vec![apt(number, &offers[..4 * number as usize])]).await?;
        }
        let (package, offer) = &offers[number as usize];
        let decision = Decision::Approve { offer_digest: offer.digest(package), comment: None };
        lab.decide(batch_id(u64::from(number)), package, decision, at(number)).await?;
    }
    Ok(lab)
}

pub(super) async fn every_batch_stands_in_the_feed_once(harness: &dyn Harness) -> CheckResult {
    let lab = three_agents(harness).await?;
    let entries = whole_feed(lab.store(), 500).await?;
    ensure_eq!(entries.len(), 12, "entries of the feed");
    feed_is_sound(lab.store(), &entries).await?;
    for limit in [1, 5, 12] {
        ensure_eq!(whole_feed(lab.store(), limit).await?, entries, "the feed in slices of {limit}");
    }
    ensure_eq!(lab.store().feed(FeedPosition(7), 2).await?, entries[7..9].to_vec(), "two entries after position 7");
    ensure_eq!(lab.store().feed(FeedPosition(12), 5).await?, Vec::new(), "what comes after the last");
    ensure_eq!(lab.store().feed(FeedPosition(u64::MAX), 5).await?, Vec::new(), "what comes after the end of numbers");
    ensure_eq!(lab.store().feed(FeedPosition::START, 0).await?, Vec::new(), "no entries at all");
    Ok(())
}

pub(super) async fn the_feed_stands_in_commit_order(harness: &dyn Harness) -> CheckResult {
    let lab = three_agents(harness).await?;
    let found: Vec<_> = whole_feed(lab.store(), 500).await?.iter().map(|entry| entry.agent).collect();
    let expected: Vec<_> = [2, 0, 1, 0].repeat(3).into_iter().map(agent).collect();
    ensure_eq!(found, expected, "the agents of batches that were committed one after the other");
    let lab = lab.reopened(harness).await;
    let (_, offers) = pool(81, "apt", 1);
    lab.report_for(1, 9, vec![apt(9, &offers)]).await?;
    let again = whole_feed(lab.store(), 500).await?;
    ensure_eq!(again[..12].iter().map(|entry| entry.agent).collect::<Vec<_>>(), expected, "the same after reopening");
    ensure_eq!(again[12..].iter().map(|entry| entry.agent).collect::<Vec<_>>(), vec![agent(1)], "what came after");
    feed_is_sound(lab.store(), &again).await
}

pub(super) async fn what_writes_no_batch_stands_not_in_the_feed(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 1).await?;
    let (inputs, offers) = pool(82, "apt", 3);
    lab.report(1, vec![apt(1, &offers)]).await?;
    lab.report(2, vec![apt(2, &offers)]).await?;
    let events = super::atomicity::discoveries(83, "dnf", inputs.len(), 1);
    let work = batch_work(agent(0), batch_id(1), events.clone(), at(3))?;
    lab.store().run(&work, Mode::Rehearse).await?;
    lab.submit(batch_id(2), Vec::new(), at(3)).await?;
    ensure_eq!(whole_feed(lab.store(), 500).await?.len(), 1, "entries of one report that said something");
    lab.submit(batch_id(1), events.clone(), at(4)).await?;
    lab.submit(batch_id(1), events, at(5)).await?;
    let entries = whole_feed(lab.store(), 500).await?;
    ensure_eq!(entries.len(), 2, "entries after a batch that came twice");
    feed_is_sound(lab.store(), &entries).await
}

/// The classic fault: positions from a sequence, of which a lower one commits later.
pub(super) async fn nothing_appears_below_a_position_seen(harness: &dyn Harness) -> CheckResult {
    const WRITERS: u32 = 6;
    const BATCHES: u64 = 15;
    let store = harness.fresh().await;
    let fleet = Fleet::shared(Arc::clone(&store));
    for host in 0..WRITERS {
        fleet.enrol(enrolment(host)).await?;
    }
    let mut writers = JoinSet::new();
    for host in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            for number in 1..=BATCHES {
                let size = 1 + (number as usize * 7 + host as usize * 3) % 40;
                let events = super::atomicity::discoveries(u64::from(host) * 100 + number, "apt", size, number * 1_000);
                store.run(&batch_work(agent(host), batch_id(number), events, at(1))?, Mode::Commit).await?;
            }
            Ok::<(), Failure>(())
        });
    }
    let total = u64::from(WRITERS) * BATCHES;
    let mut seen: Vec<FeedEntry> = Vec::new();
    while (seen.len() as u64) < total {
        let after = seen.last().map_or(FeedPosition::START, |entry| entry.position);
        let newest = timeout(FORGOTTEN, store.feed_grown(after)).await;
        let newest = newest.map_err(|_| Failure::new(format!("nothing came after position {after} of {total}")))??;
        ensure!(newest > after, "the feed was said to have grown from {after} to {newest}");
        seen.extend(store.feed(after, 500).await?);
    }
    for ended in writers.join_all().await {
        ended?;
    }
    ensure_eq!(whole_feed(&*store, 500).await?, seen, "the feed at the end, against what was seen while it grew");
    feed_is_sound(&*store, &seen).await
}

pub(super) async fn a_waiting_reader_is_woken(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 1).await?;
    let (_, offers) = pool(84, "apt", 2);
    let mut subscription = lab.fleet.subscribe(FeedPosition::START);
    for number in 1..4 {
        let waiting = tokio::spawn(async move {
            let entries = subscription.next().await;
            (subscription, entries)
        });
        // So that it is likely to wait already; if it is not, it must find the entry all the same.
        tokio::task::yield_now().await;
        lab.report(number, vec![apt(number, &offers[..(number as usize) % 2 + 1])]).await?;
        let woken = timeout(FORGOTTEN, waiting).await.map_err(|_| Failure::new(format!("report {number} woke nobody")))?;
        let (back, entries) = woken.map_err(|error| Failure::new(format!("the reader panicked: {error}")))?;
        let positions: Vec<_> = entries?.iter().map(|entry| entry.position.0).collect();
        ensure_eq!(positions, vec![u64::from(number)], "what the reader got");
        ensure_eq!(back.position(), FeedPosition(u64::from(number)), "where the reader stands");
        subscription = back;
    }
    Ok(())
}

pub(super) async fn batches_of_an_agent_are_found_by_number_and_position(harness: &dyn Harness) -> CheckResult {
    let lab = three_agents(harness).await?;
    let entries = whole_feed(lab.store(), 500).await?;
    for host in 0..3 {
        let of_host: Vec<_> = entries.iter().filter(|entry| entry.agent == agent(host)).collect();
        let records: Vec<_> = of_host.iter().filter_map(|entry| entry.record.clone()).collect();
        ensure_eq!(lab.store().agent_batches(agent(host), 0, 500).await?, records, "all batches of agent {host}");
        ensure_eq!(lab.store().agent_batches(agent(host), 1, 1).await?, records[1..2].to_vec(), "the batch after number 1");
        ensure_eq!(lab.store().agent_batches(agent(host), u64::MAX, 1).await?, Vec::new(), "batches after the end of numbers");
        for position in [0, 1, 2, 3, 4, 7, 12, 13, u64::MAX] {
            let expected = of_host.iter().filter(|entry| entry.position.0 <= position).count() as u64;
            let found = lab.store().batches_until(agent(host), FeedPosition(position)).await?;
            ensure_eq!(found, expected, "batches of agent {host} up to position {position}");
        }
        let mut sequence = 0;
        for record in &records {
            let events = lab.fleet.events_of(record).await?;
            let sequences: Vec<_> = events.iter().map(|event| event.sequence).collect();
            let expected: Vec<_> = (1..=u64::from(record.receipt.accepted)).map(|place| sequence + place).collect();
            ensure_eq!(sequences, expected, "the events of batch {} of agent {host}", record.receipt.number);
            ensure!(events.iter().all(|event| event.batch == record.receipt.batch), "events of another batch: {events:?}");
            sequence += expected.len() as u64;
        }
    }
    ensure_eq!(lab.store().batches_until(agent(77), FeedPosition(5)).await?, 0, "batches of an agent nobody knows");
    Ok(())
}

pub(super) async fn the_past_reads_as_it_was(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 2).await?;
    let (_, offers) = pool(85, "apt", 8);
    let (_, newer) = pool(86, "apt", 8);
    // What was, after each unit of work: position of the feed, sequence of the agent, states.
    let mut was: Vec<(FeedPosition, u64, Vec<PackageState>)> = vec![(FeedPosition::START, 0, Vec::new())];
    for number in 1..6 {
        lab.report_for(1, number, vec![apt(number, &newer[..number as usize])]).await?;
        let source = if number % 2 == 0 { &newer } else { &offers };
        lab.report(number, vec![apt(number, &source[number as usize / 2..])]).await?;
        let derived = lab.store().derived(agent(0)).await?.unwrap_or_default();
        let position = whole_feed(lab.store(), 500).await?.last().map_or(FeedPosition::START, |entry| entry.position);
        was.push((position, derived.sequence, derived.states));
    }
    let lab = lab.reopened(harness).await;
    for (position, sequence, states) in &was {
        for moment in [Moment::Sequence(*sequence), Moment::Position(*position)] {
            ensure_eq!(lab.fleet.states_at(agent(0), moment).await?, *states, "the states at {moment:?}");
        }
        let package = offers[6].0.clone();
        let one = lab.fleet.state_at(&UpdateId { agent: agent(0), package: package.clone() }, Moment::Sequence(*sequence)).await?;
        ensure_eq!(one.as_ref(), states.iter().find(|state| state.package == package), "one state at {sequence}");
    }
    ensure_eq!(lab.fleet.states_at(agent(9), Moment::Sequence(1)).await?, Vec::new(), "states of an agent nobody knows");
    // A report of agent 1 lies between two of agent 0.
    let between = Moment::Position(FeedPosition(was[2].0.0 + 1));
    ensure_eq!(lab.fleet.states_at(agent(0), between).await?, was[2].2, "the states while another agent reported");
    let report = report_of(report_id(99), 99, Vec::new());
    lab.fleet.record_report(agent(0), report, at(99)).await?;
    ensure_eq!(lab.fleet.states_at(agent(0), Moment::Position(FeedPosition(u64::MAX))).await?, was[5].2, "the states at the end");
    Ok(())
}
