//! Everything at its limit at once, and one beyond.

use super::{
    CheckResult, Failure, Harness, Lab,
    atomicity::discoveries,
    ensure, ensure_eq,
    generate::{agent, at, batch_id, discovered, enrolment, event_id, report_id, report_of, scope_of, text},
    lab::{apt, batch_work, pool, report_work},
    queries::asked,
};
use crate::{
    MemoryStore,
    agent::{Enrolment, HostFacts, Virtualisation, VirtualisationKind},
    batch::Batch,
    event::{Actor, EventInput},
    ids::Digest,
    limits,
    names::{PackageKey, Text, Version},
    offer::{Availability, Candidate, Offer},
    query::{BatchQuery, PageNumber, PageSize},
    rejection::{Rejection, RejectionCode},
    report::{Fact, Report, Scope, ScopeContent},
    store::{BatchStore, Expected, Mode, Record, StoreErrorKind},
    time::Timestamp,
    words::{AvailabilityKind, IgnoreScope, ScanResult, Severity, VersionOrder},
    work::{Answer, Decide, Decision, Refusal, UnitOfWork},
};
use std::sync::Arc;

/// Runs `works` here and in the memory store, reopens, and compares every answer and everything that can be read.
async fn like_the_memory_store(harness: &dyn Harness, hosts: u32, works: &[UnitOfWork]) -> CheckResult {
    let (lab, memory) = (Lab::new(harness, 0).await?, MemoryStore::new());
    for (step, work) in works.iter().enumerate() {
        let expected = memory.run(work, Mode::Commit).await?;
        ensure_eq!(lab.store().run(work, Mode::Commit).await?, expected, "the answer to unit of work {step}");
    }
    let agents: Vec<_> = (0..hosts).map(agent).collect();
    let expected = super::transcript(&memory, &agents).await?;
    ensure_eq!(super::transcript(lab.store(), &agents).await?, expected, "what can be read");
    let lab = lab.reopened(harness).await;
    ensure_eq!(super::transcript(lab.store(), &agents).await?, expected, "what can be read after reopening");
    lab.counts_agree().await
}

fn parsed<T>(result: Result<T, Rejection>) -> Result<T, Failure> {
    result.map_err(|error| Failure::new(error.to_string()))
}

fn longest(unit: &str) -> Result<Text, Failure> {
    parsed(Text::parse(&unit.repeat(limits::TEXT_BYTES_MAX / unit.len())))
}

fn longest_version(digit: &str) -> Result<Version, Failure> {
    parsed(Version::parse(&digit.repeat(limits::VERSION_BYTES_MAX)))
}

/// A package and an offer of it with every field as long as core lets it be.
fn longest_offer(word: &str, number: usize) -> Result<(PackageKey, Offer), Failure> {
    let name = format!("{number:0>width$}", width = limits::PACKAGE_NAME_BYTES_MAX);
    let package = parsed(PackageKey::parse(word, &name, Some(&"a".repeat(limits::ARCH_BYTES_MAX))))?;
    let metadata = format!(r#"{{"a":"{}"}}"#, "é".repeat(limits::METADATA_BYTES_MAX / 2 - 4));
    let candidate = Candidate {
        origin: Some(longest("😀")?),
        severity_word: Some(longest("'")?),
        security: true,
        advisories: (0..limits::ADVISORIES_MAX).map(|number| text(&format!("DSA-{number}"))).collect(),
        cves: (0..limits::ADVISORIES_MAX).map(|number| text(&format!("CVE-{number}"))).collect(),
        size_bytes: Some(i64::MAX as u64),
        description: Some(longest("\u{7f}")?),
        metadata: Some(parsed(crate::metadata::Metadata::parse(&metadata))?),
        ..Candidate::new(longest_version("2")?)
    };
    let availability = Availability::because(AvailabilityKind::Unknown, longest("\u{10ffff}")?);
    Ok((package, Offer { installed: Some(longest_version("1")?), candidate: Arc::new(candidate), availability }))
}

pub(super) async fn a_report_with_every_field_at_its_limit_reads_back(harness: &dyn Harness) -> CheckResult {
    let enrolment = Enrolment { name: longest("é")?, tags: vec![longest("a")?, longest("b")?], ..enrolment(0) };
    let words: Vec<String> =
        (0..limits::REPORT_SCOPES_MAX).map(|number| format!("{:z<width$}{number:02}", "", width = limits::MANAGER_BYTES_MAX - 2)).collect();
    let mut scopes = Vec::new();
    for (number, word) in words.iter().enumerate() {
        // As many scopes as a report may have; a few of them with offers are enough, and quickly compared.
        let offers = if number < 3 { vec![longest_offer(word, 1)?, longest_offer(word, 2)?] } else { Vec::new() };
        let mut scope = scope_of(word, Timestamp::MAX, &offers, &[]);
        (scope.error, scope.refresh_error) = (Some(longest("\\")?), Some(longest("\"")?));
        if let ScopeContent::Facts { offers, .. } = &mut scope.content {
            let package = Some(longest_offer(word, 3)?.0);
            let rejection = Rejection::new(RejectionCode::TooLong, "available_version", "é".repeat(200));
            offers.push(Fact::Invalid { package, rejection, excerpt: "😀".repeat(limits::REJECTED_EXCERPT_BYTES_MAX / 4) });
        }
        scopes.push(scope);
    }
    let every = || longest("%").map(Some);
    let host = HostFacts {
        hostname: every()?,
        os: every()?,
        kernel: every()?,
        arch: every()?,
        agent_version: every()?,
        virtualisation: Some(Virtualisation { kind: VirtualisationKind::Container, technology: every()? }),
        booted_at: Some(Timestamp::MIN),
        reboot_reasons: Some(vec![longest("é")?; limits::REBOOT_REASONS_MAX]),
        services_to_restart: Some(vec![longest("\"")?; limits::SERVICES_MAX]),
        machine_digest: Some(Digest::from_bytes([0xff; 32])),
    };
    let first = Report { host, ..report_of(report_id(1), 1, scopes) };
    let gone = [(longest_offer(&words[0], 1)?.0, Some(longest_version("3")?)), (longest_offer(&words[0], 2)?.0, None)];
    let second = report_of(report_id(2), 2, vec![scope_of(&words[0], Timestamp::MIN, &[], &gone)]);
    let (package, offer) = longest_offer(&words[1], 1)?;
    let (other, other_offer) = longest_offer(&words[1], 2)?;
    let decisions = vec![
        (package.clone(), Decision::Approve { offer_digest: offer.digest(&package), comment: every()? }),
        (
            other.clone(),
            Decision::Ignore {
                offer_digest: other_offer.digest(&other),
                scope: IgnoreScope::Package,
                until: Some(Timestamp::MAX),
                reason: every()?,
            },
        ),
    ];
    let works = [
        UnitOfWork::EnrolAgent(enrolment),
        report_work(agent(0), first, at(1), 100),
        UnitOfWork::Decide(Decide { agent: agent(0), batch: batch_id(1), operator: longest("漢")?, decisions, received_at: at(2) }),
        report_work(agent(0), second, at(3), 100),
    ];
    like_the_memory_store(harness, 1, &works).await
}

pub(super) async fn times_are_data_and_order_nothing(harness: &dyn Harness) -> CheckResult {
    let (_, offers) = pool(81, "apt", 8);
    let mut works = Vec::new();
    let ends = [Timestamp::MAX, Timestamp::MIN, Timestamp::EPOCH, at(1), Timestamp::MIN];
    for (host, enrolled_at) in (0..2).zip([Timestamp::MIN, Timestamp::MAX]) {
        works.push(UnitOfWork::EnrolAgent(Enrolment { enrolled_at, ..enrolment(host) }));
        // The clocks of host and store run backwards; the log goes on.
        for (number, time) in (1..).zip(ends) {
            let mut scope = apt(1, &offers[number as usize - 1..]);
            (scope.scanned_at, scope.metadata_at) = (time, Some(if host == 0 { time } else { Timestamp::MAX }));
            works.push(report_work(agent(host), report_of(report_id(number), number, vec![scope]), time, 3));
            let observed = |event| EventInput { observed_at: Some(time), ..event };
            let events = discoveries(number, &format!("tool{number}"), 2, number * 10).into_iter().map(observed).collect();
            works.push(batch_work(agent(host), batch_id(number), events, time)?);
        }
    }
    like_the_memory_store(harness, 2, &works).await?;
    let lab = Lab::new(harness, 0).await?;
    for work in &works {
        lab.store().run(work, Mode::Commit).await?;
    }
    let log = lab.store().replay(agent(0), 0, 1_000).await?;
    let mut times: Vec<_> = log.iter().map(|event| event.received_at).collect();
    times.dedup();
    ensure_eq!(times, ends, "times of the log, in the order of its commits");
    Ok(())
}

pub(super) async fn report_sequences_reach_their_end(harness: &dyn Harness) -> CheckResult {
    let end = i64::MAX as u64;
    let (_, offers) = pool(82, "apt", 8);
    let mut works = vec![UnitOfWork::EnrolAgent(enrolment(0))];
    let sequences = [Some(1 << 53), Some((1 << 53) + 1), Some(end - 1), Some(1 << 53), Some(end), Some(end - 1), None, None];
    for (number, sequence) in (1..).zip(sequences) {
        let report = report_of(report_id(number), number, vec![apt(number as u32, &offers[number as usize - 1..])]);
        works.push(report_work(agent(0), Report { sequence, ..report }, at(number as u32), 100));
    }
    like_the_memory_store(harness, 1, &works).await
}

pub(super) async fn a_batch_of_the_largest_size_is_one(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 1).await?;
    let count = limits::BATCH_EVENTS_MAX as usize;
    let mut events = discoveries(83, "tool", count, 1);
    let bad = [0, count / 2, count - 1];
    for index in bad {
        events[index].package_type = "not a manager".to_owned();
    }
    let one_more = [events.clone(), events[1..2].to_vec()].concat();
    let refused = Batch::new(agent(0), batch_id(1), Actor::Agent, one_more).err();
    ensure_eq!(refused, Some(Refusal::BatchTooLarge { events: count as u64 + 1 }), "a batch of one event too many");
    let receipt = lab.submit(batch_id(1), events.clone(), at(1)).await?;
    ensure_eq!((receipt.accepted as usize, receipt.rejected), (count - 3, 3), "the largest batch with three bad events");
    ensure_eq!(receipt.rejections().map(|(index, _)| index as usize).collect::<Vec<_>>(), bad, "indexes of the bad events");
    ensure_eq!(lab.submit(batch_id(1), events, at(2)).await?, receipt, "the largest batch again");
    let log = lab.store().replay(agent(0), 0, u32::MAX).await?;
    let places: Vec<_> = log.iter().map(|event| (event.sequence, event.index as usize)).collect();
    let expected: Vec<_> = (1..).zip((0..count).filter(|index| !bad.contains(index))).collect();
    ensure!(places == expected, "the log of the largest batch has other places than its accepted events");
    ensure_eq!(lab.store().rejections(agent(0), batch_id(1)).await?.len(), 3, "kept rejections");
    let stats = lab.store().stats(&crate::query::UpdateFilter::default()).await?;
    ensure_eq!(stats.total as usize, count - 3, "open updates");
    Ok(())
}

pub(super) async fn too_many_decisions_are_refused_whole(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 1).await?;
    let (_, offers) = pool(84, "apt", 1);
    lab.report(1, vec![apt(1, &offers)]).await?;
    let before = super::transcript(lab.store(), &[agent(0)]).await?;
    let (package, offer) = &offers[0];
    let decision = (package.clone(), Decision::Approve { offer_digest: offer.digest(package), comment: None });
    let too_many = vec![decision; limits::BATCH_EVENTS_MAX as usize + 1];
    let events = too_many.len() as u64;
    let answer = lab.fleet.decide(agent(0), batch_id(1), text("ada"), too_many, at(2)).await;
    let kind = answer.err().map(|error| error.kind().clone());
    ensure_eq!(kind, Some(StoreErrorKind::Refused(Refusal::BatchTooLarge { events })), "one decision too many");
    ensure_eq!(super::transcript(lab.store(), &[agent(0)]).await?, before, "what can be read after the refusal");
    Ok(())
}

pub(super) async fn a_report_of_two_thousand_batches_is_one(harness: &dyn Harness) -> CheckResult {
    const FACTS: usize = 2_000;
    let lab = Lab::new(harness, 1).await?;
    let (_, offers) = pool(85, "apt", FACTS);
    let work = report_work(agent(0), report_of(report_id(1), 1, vec![apt(1, &offers)]), at(1), 1);
    let answer = lab.store().run(&work, Mode::Commit).await?;
    ensure!(
        matches!(&answer, Answer::Report(answer) if (answer.batches as usize, answer.events as usize) == (FACTS, FACTS)),
        "{FACTS} facts in batches of one were answered with {answer:?}"
    );
    ensure_eq!(lab.store().run(&work, Mode::Commit).await?, answer, "the same report again");
    let head = lab.store().agent(agent(0)).await?;
    ensure_eq!(head.map(|head| (head.batches, head.events)), Some((FACTS as u64, FACTS as u64)), "batches and events of the agent");
    let mut numbers = Vec::new();
    for page in 1..=4 {
        let query = BatchQuery { size: asked(PageSize::new(500))?, page: asked(PageNumber::new(page))?, ..BatchQuery::default() };
        let page = lab.store().batches(&query).await?;
        ensure_eq!(page.total, FACTS as u64, "batches of the fleet");
        numbers.extend(page.items.into_iter().map(|row| row.record.receipt.number));
    }
    ensure!(numbers.iter().copied().eq((1..=FACTS as u64).rev()), "the numbers of {FACTS} batches, newest first, have a gap");
    let log = lab.store().replay(agent(0), FACTS as u64 - 2, 10).await?;
    ensure_eq!(
        log.iter().map(|event| (event.sequence, event.index)).collect::<Vec<_>>(),
        [(FACTS as u64 - 1, 0), (FACTS as u64, 0)],
        "the end of the log"
    );
    let stats = lab.store().stats(&crate::query::UpdateFilter::default()).await?;
    ensure_eq!(stats.total, FACTS as u64, "open updates");
    Ok(())
}

pub(super) async fn records_of_every_size_replace_each_other(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 0).await?;
    let sizes = [limits::RECORD_BYTES_MAX, 0, limits::RECORD_BYTES_MAX - 1, 1, limits::RECORD_BYTES_MAX];
    let mut revision = None;
    for (size, fill) in sizes.into_iter().zip(["x", "x", "é", "'", "😀"]) {
        let value = format!("{}{}", fill.repeat(size / fill.len()), "y".repeat(size % fill.len()));
        let expected = revision.map_or(Expected::Absent, Expected::Revision);
        revision = lab.store().put("sizes", "k", &value, expected).await?;
        let Some(written) = revision else { return Err(Failure::new(format!("a record of {size} bytes was not written"))) };
        let record = lab.store().get("sizes", "k").await?;
        ensure!(record == Some(Record { value, revision: written }), "a record of {size} bytes reads back as another");
        let oversized = "x".repeat(limits::RECORD_BYTES_MAX + 1);
        let refused = lab.store().put("sizes", "k", &oversized, Expected::Revision(written)).await;
        ensure!(refused.is_err(), "an oversized record replaced one of {size} bytes: {refused:?}");
        ensure_eq!(lab.store().get("sizes", "k").await?.map(|record| record.revision), Some(written), "the revision after a refused write");
    }
    ensure_eq!(revision, Some(5), "the revision after five writes");
    Ok(())
}

pub(super) async fn every_word_is_accepted_by_the_schema(harness: &dyn Harness) -> CheckResult {
    let (_, base) = pool(86, "tool", Severity::ALL.len() * AvailabilityKind::ALL.len());
    let kinds = Severity::ALL.iter().flat_map(|severity| AvailabilityKind::ALL.iter().map(move |kind| (*severity, *kind)));
    let offers = base.into_iter().zip(kinds).map(|((package, offer), (severity, kind))| {
        let candidate = Candidate { severity, ..(*offer.candidate).clone() };
        (package, Offer { candidate: Arc::new(candidate), availability: Availability { kind, reason: None }, ..offer })
    });
    let offers: Vec<_> = offers.collect();
    let mut scopes = Vec::new();
    for (number, order) in VersionOrder::ALL.iter().enumerate() {
        for result in ScanResult::ALL {
            let word = format!("tool{number}-{result}");
            let facts = if *result == ScanResult::Failed { Vec::new() } else { pool(87, &word, 3).1 };
            scopes.push(Scope { version_order: *order, result: *result, ..scope_of(&word, at(1), &facts, &[]) });
        }
    }
    scopes.push(scope_of("tool", at(1), &offers, &[]));
    let gone = [(offers[0].0.clone(), None), (offers[1].0.clone(), Some(offers[1].1.candidate.version.clone()))];
    let gone = scope_of("tool", at(2), &offers[3..], &gone);
    let system = Batch::new(
        agent(0),
        batch_id(1),
        Actor::System(text("import")),
        vec![discovered(event_id(1), "snap", pool(88, "snap", 1).0.remove(0))],
    )
    .map_err(|refusal| Failure::new(refusal.to_string()))?;
    let works = [
        UnitOfWork::EnrolAgent(enrolment(0)),
        report_work(agent(0), report_of(report_id(1), 1, scopes), at(1), 100),
        report_work(agent(0), report_of(report_id(2), 2, vec![gone]), at(2), 100),
        UnitOfWork::SubmitBatch(crate::work::SubmitBatch { batch: system, received_at: at(3), withheld: Default::default() }),
    ];
    like_the_memory_store(harness, 1, &works).await
}
