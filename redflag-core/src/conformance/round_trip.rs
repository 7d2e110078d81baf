//! Values at their extremes come back exactly as core accepted them.

use super::{
    CheckResult, Failure, Harness, Lab, ensure, ensure_eq,
    generate::{Rng, agent, at, batch_id, checked, discovered, enrolment, event_id, offers},
    lab::{apt, pool},
};
use crate::{
    agent::{AgentHead, Enrolment},
    event::EventInput,
    ids::UpdateId,
    limits,
    names::{PackageKey, Text},
    offer::OfferInput,
    query::{AgentQuery, BatchQuery, UpdateFilter, UpdateQuery},
    store::StoreErrorKind,
    time::Timestamp,
    work::Refusal,
};
use serde_json::value::RawValue;

pub(super) async fn a_fresh_store_is_empty(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 0).await?;
    let page = lab.store().updates(&UpdateQuery::default()).await?;
    ensure!(page.items.is_empty() && page.stats.total == 0 && page.next.is_none(), "a fresh store lists updates: {page:?}");
    ensure_eq!(lab.store().stats(&UpdateFilter::default()).await?, page.stats, "stats of an empty store");
    ensure_eq!(lab.store().agents(&AgentQuery::default()).await?.total, 0, "agents of an empty store");
    ensure_eq!(lab.store().batches(&BatchQuery::default()).await?.total, 0, "batches of an empty store");
    ensure_eq!(lab.store().agent(agent(0)).await?, None, "an agent nobody enrolled");
    ensure_eq!(lab.store().list("any", None, 10).await?, Vec::new(), "records of an empty store");
    Ok(())
}

/// Every field as long, as large and as odd as core lets it be.
fn extreme() -> OfferInput {
    let long = |unit: &str| Some(unit.repeat(limits::TEXT_BYTES_MAX / unit.len()));
    let metadata = format!(r#"{{"a":"{}"}}"#, "x".repeat(limits::METADATA_BYTES_MAX - 8));
    OfferInput {
        package_name: "n".repeat(limits::PACKAGE_NAME_BYTES_MAX),
        arch: Some("a".repeat(limits::ARCH_BYTES_MAX)),
        current_version: Some("1".repeat(limits::VERSION_BYTES_MAX)),
        available_version: "2".repeat(limits::VERSION_BYTES_MAX),
        repository_source: long("😀"),
        severity: long("é"),
        security: true,
        advisories: vec!["A".repeat(64); limits::ADVISORIES_MAX],
        cve_list: vec!["C".repeat(64); limits::ADVISORIES_MAX],
        size_bytes: Some(i64::MAX as u64),
        package_description: long("\u{1}"),
        availability: Some("unknown".to_owned()),
        availability_reason: long("\u{202e}"),
        metadata: RawValue::from_string(metadata).ok(),
    }
}

/// The least core lets pass.
fn minimal() -> OfferInput {
    OfferInput { package_name: "m".to_owned(), available_version: "0".to_owned(), ..OfferInput::default() }
}

/// Quotes, wildcards, escapes and Unicode of every width.
fn odd() -> OfferInput {
    let odd = r#"'; DROP TABLE x; -- "quoted" \back\slash %_$1 {{7*7}} <b> ñ 漢 😀"#.to_owned();
    OfferInput {
        package_name: r#"o'd"d\%_$1;--"#.to_owned(),
        available_version: "1:2.3~rc1+dfsg^git-4%_'".to_owned(),
        repository_source: Some(odd.clone()),
        severity: Some("\t tab\r\n".to_owned()),
        package_description: Some(odd),
        metadata: RawValue::from_string(r#"{"":"","é'\"\\":[[],{},null,true,-9223372036854775808,1e-7]}"#.to_owned()).ok(),
        ..OfferInput::default()
    }
}

pub(super) async fn values_at_their_limits_read_back_exactly(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 1).await?;
    let word = "z".repeat(limits::MANAGER_BYTES_MAX);
    let inputs = [extreme(), minimal(), odd()];
    let event = |(number, offer): (u64, &OfferInput)| EventInput {
        observed_at: Some(if number == 0 { Timestamp::MIN } else { Timestamp::MAX }),
        ..discovered(event_id(number), &word, offer.clone())
    };
    let receipt = lab.submit(batch_id(1), (0..).zip(&inputs).map(event).collect(), Timestamp::MAX).await?;
    ensure_eq!(receipt.accepted, 3, "offers at the limits of core are storable; receipt {receipt:?}");
    for (package, offer) in checked(&word, &inputs) {
        let row = lab.update(&package).await?;
        ensure_eq!(row.state.offer, offer, "the stored offer of {package}");
        ensure_eq!(row.state.changed_at, Timestamp::MAX, "the time of {package}");
        let id = UpdateId { agent: agent(0), package };
        let events = lab.store().events(&id).await?;
        ensure_eq!(events.first().and_then(|event| event.event.kind.offer()), Some(&offer), "the stored event's offer");
        ensure!(events.len() == 1 && events[0].event.observed_at.is_some(), "the event is stored once, with its times: {events:?}");
    }
    Ok(())
}

pub(super) async fn every_field_of_an_offer_reads_back_exactly(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 1).await?;
    for word in ["apt", "dnf", "docker"] {
        let inputs = offers(&mut Rng::new(11), word, 120);
        let number = |index: u64| event_id(u64::from(word.len() as u32) * 1_000_000 + u64::from(word.as_bytes()[0]) * 1_000 + index);
        let events = (0..).zip(&inputs).map(|(index, offer)| discovered(number(index), word, offer.clone())).collect();
        let receipt = lab.submit(batch_id(u64::from(word.as_bytes()[0]) * 2 + word.len() as u64), events, at(1)).await?;
        ensure_eq!(receipt.accepted, 120, "realistic offers of {word} are accepted");
        for (package, offer) in checked(word, &inputs) {
            ensure_eq!(lab.update(&package).await?.state.offer, offer, "the stored offer of {package}");
        }
    }
    lab.counts_agree().await
}

pub(super) async fn what_was_committed_survives_reopening(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 2).await?;
    let (_, offers) = pool(3, "apt", 30);
    lab.report(1, vec![apt(1, &offers)]).await?;
    let agents = [agent(0), agent(1)];
    let before = super::transcript(lab.store(), &agents).await?;
    let lab = lab.reopened(harness).await;
    ensure_eq!(super::transcript(lab.store(), &agents).await?, before, "what can be read after reopening");
    let answer = lab.report(2, vec![apt(2, &offers[..29])]).await?;
    ensure_eq!(answer.events, 1, "the store goes on where it was: one withdrawal");
    Ok(())
}

pub(super) async fn enrolment_is_kept_and_its_retry_changes_nothing(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 0).await?;
    let longest =
        |unit: &str| Text::parse(&unit.repeat(limits::TEXT_BYTES_MAX / unit.len())).map_err(|error| Failure::new(error.to_string()));
    let enrolment = Enrolment { name: longest("é")?, tags: vec![longest("'")?, longest("%")?], ..enrolment(0) };
    lab.fleet.enrol(enrolment.clone()).await?;
    let expected = AgentHead::enrolled(&enrolment);
    ensure_eq!(lab.store().agent(agent(0)).await?, Some(expected.clone()), "the enrolled agent");
    lab.fleet.enrol(Enrolment { enrolled_at: at(99), ..enrolment.clone() }).await?;
    ensure_eq!(lab.store().agent(agent(0)).await?, Some(expected), "the agent after a retry of its enrolment");
    let other = lab.fleet.enrol(Enrolment { public_key: [9; 32], ..enrolment }).await;
    let kind = other.as_ref().err().map(|error| error.kind().clone());
    ensure_eq!(kind, Some(StoreErrorKind::Refused(Refusal::AgentExists { agent: agent(0) })), "an enrolment with another key");
    Ok(())
}

pub(super) async fn an_unknown_agent_is_refused_everywhere(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 1).await?;
    let refused = Some(StoreErrorKind::Refused(Refusal::UnknownAgent { agent: agent(7) }));
    let (_, offers) = pool(1, "apt", 1);
    let report = super::generate::report_of(super::generate::report_id(1), 1, vec![apt(1, &offers)]);
    let answer = lab.fleet.record_report(agent(7), report, at(1)).await;
    ensure_eq!(answer.err().map(|error| error.kind().clone()), refused, "a report of an unknown agent");
    let id = UpdateId { agent: agent(7), package: PackageKey::clone(&offers[0].0) };
    ensure_eq!(lab.store().update(&id).await?, None, "an update of an unknown agent");
    ensure_eq!(lab.store().events(&id).await?, Vec::new(), "events of an unknown agent");
    ensure_eq!(lab.store().history(&id).await?, Vec::new(), "history of an unknown agent");
    ensure_eq!(lab.store().batch(agent(7), batch_id(1)).await?, None, "a batch of an unknown agent");
    ensure_eq!(lab.store().rejections(agent(7), batch_id(1)).await?, Vec::new(), "rejections of an unknown agent");
    ensure_eq!(lab.store().replay(agent(7), 0, 10).await?, Vec::new(), "the log of an unknown agent");
    ensure_eq!(lab.store().reports(agent(7), 10).await?, Vec::new(), "reports of an unknown agent");
    Ok(())
}
