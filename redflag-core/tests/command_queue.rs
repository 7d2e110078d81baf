//! The queue of commands, case by case: its limits, its terms, signatures that were overtaken, and what a check of it sees.
#![cfg(feature = "conformance")]
#![expect(clippy::unwrap_used, reason = "what fails in a test's helper fails the test")]

mod support;

use ed25519_dalek::{Signer as _, SigningKey};
use redflag_core::{
    Fleet, MemoryStore,
    command::{
        envelope::Envelope,
        lifecycle::{CommandEvent, CommandState},
        payload::{Action, CommandApproval, SigningMode},
        people::People,
        plan::{Change, Plan},
        record::{Claim, CommandRecord, Ending, Failure, Success, Terms},
        refusal::RefusalCode,
        step::{Confirm, Request, Retry, Sign, Step, Wanted},
    },
    conformance::{
        Lab,
        generate::{agent, at, batch_id, checked, command_id, enrolment, rescan, scope_of, text},
    },
    event::Actor,
    export::{Exporter, Importer},
    limits,
    names::{PackageKey, Version},
    offer::{Offer, OfferInput},
    signing,
    state::Standing,
    store::StoreErrorKind,
    words::Status,
    work::{Decision, Refusal},
};
use std::sync::Arc;
use support::now;

fn fleet() -> Fleet {
    let fleet = Fleet::new(MemoryStore::new());
    now(fleet.enrol(enrolment(0))).unwrap();
    fleet
}

fn step(fleet: &Fleet, step: Step, second: u32) -> Vec<CommandRecord> {
    now(fleet.command(agent(0), step, at(second))).unwrap()
}

fn refused(fleet: &Fleet, step: Step, second: u32) -> Refusal {
    let error = now(fleet.command(agent(0), step, at(second))).unwrap_err();
    match error.kind() {
        StoreErrorKind::Refused(refusal) => refusal.clone(),
        other => panic!("{other:?}"),
    }
}

fn request(number: u64, wanted: Wanted, terms: Terms) -> Step {
    Step::Request(Request { command: command_id(number), by: Actor::Operator(text("ada")), wanted, terms })
}

fn reboot(number: u64, terms: Terms) -> Step {
    request(number, Wanted::Host(Action::Reboot), terms)
}

fn failed(output: &str) -> Claim {
    Claim::Failed(Failure { reason: text("no"), rolled_back: false, output: output.to_owned() })
}

/// A fleet whose agent has two approved updates.
fn approved() -> (Fleet, Vec<(PackageKey, Offer)>) {
    let lab = Lab::over(Arc::new(MemoryStore::new()));
    now(lab.fleet.enrol(enrolment(0))).unwrap();
    let offer = |name: &str| OfferInput {
        package_name: name.to_owned(),
        current_version: Some("1".to_owned()),
        available_version: "2".to_owned(),
        ..OfferInput::default()
    };
    let updates = checked("apt", &["bash", "curl"].map(offer));
    now(lab.report(1, vec![scope_of("apt", at(1), &updates, &[])])).unwrap();
    for (number, (package, offer)) in (1..).zip(&updates) {
        let decision = Decision::Approve { offer_digest: offer.digest(package), comment: None };
        now(lab.decide(batch_id(number), package, decision, at(2))).unwrap();
    }
    (lab.fleet.clone(), updates)
}

fn planning(number: u64, updates: &[(PackageKey, Offer)]) -> Step {
    request(number, Wanted::Updates(updates.iter().map(|(package, _)| package.clone()).collect()), Terms::default())
}

fn exactly(updates: &[(PackageKey, Offer)]) -> Plan {
    let version = |text: &str| Some(Version::parse(text).unwrap());
    let change =
        |(package, _): &(PackageKey, Offer)| Change { package: package.clone(), from: version("1"), to: version("2"), origin: None };
    Plan::of(updates.iter().map(change))
}

fn carry_out(fleet: &Fleet, number: u64, claim: Claim, second: u32) -> Vec<CommandRecord> {
    step(fleet, Step::Lease { limit: 16 }, second);
    assert_eq!(step(fleet, Step::Start { command: command_id(number) }, second)[0].state, CommandState::Started);
    step(fleet, Step::Finish { command: command_id(number), claim }, second)
}

fn status(fleet: &Fleet, package: &PackageKey) -> Status {
    let id = redflag_core::ids::UpdateId { agent: agent(0), package: package.clone() };
    now(fleet.store().update(&id)).unwrap().unwrap().state.status()
}

#[test]
fn an_agent_has_so_many_open_commands_and_is_given_so_many_at_once() {
    let fleet = fleet();
    for number in 0..limits::COMMANDS_OPEN_MAX as u64 {
        step(&fleet, rescan(number), 1);
    }
    assert_eq!(refused(&fleet, rescan(999), 1), Refusal::TooManyCommands { agent: agent(0) });
    let given = step(&fleet, Step::Lease { limit: u32::MAX }, 2);
    assert_eq!(given.len(), limits::COMMANDS_LEASED_MAX as usize);
    step(&fleet, Step::Cancel { command: command_id(0), by: Actor::Agent, reason: None }, 3);
    step(&fleet, rescan(999), 4);
}

#[test]
fn what_is_approved_is_planned_once_whoever_asks() {
    let (fleet, updates) = approved();
    let requested = |second| now(fleet.request_approved(agent(0), &Terms::default(), at(second))).unwrap();
    let first = requested(3);
    let [plan] = first.commands.as_slice() else { panic!("{first:?}") };
    let packages: Vec<_> = plan.action.items().iter().map(|item| item.package.clone()).collect();
    assert_eq!(packages, updates.iter().map(|(package, _)| package.clone()).collect::<Vec<_>>(), "together, in one transaction");
    assert_eq!((requested(4).commands.len(), requested(4).refused.len()), (0, 0), "it is under way");
    let cancel = Step::Cancel { command: plan.id, by: Actor::Operator(text("ada")), reason: None };
    step(&fleet, cancel, 5);
    assert_eq!(status(&fleet, &updates[0].0), Status::NeedsReview);
    assert!(requested(6).commands.is_empty(), "what is in review is not approved");
    let error = now(fleet.request_approved(agent(9), &Terms::default(), at(7)));
    assert!(error.unwrap().commands.is_empty(), "nothing is approved of an agent that is not there");
}

#[test]
fn an_update_that_cannot_be_installed_now_is_planned_alone() {
    let lab = Lab::over(Arc::new(MemoryStore::new()));
    now(lab.fleet.enrol(enrolment(0))).unwrap();
    let offer = |(name, held): (&str, bool)| OfferInput {
        package_name: name.to_owned(),
        current_version: Some("1".to_owned()),
        available_version: "2".to_owned(),
        availability: held.then(|| "held".to_owned()),
        ..OfferInput::default()
    };
    let updates = checked("apt", &[("bash", false), ("curl", true), ("dash", false), ("ed", true)].map(offer));
    now(lab.report(1, vec![scope_of("apt", at(1), &updates, &[])])).unwrap();
    for (number, (package, offer)) in (1..).zip(&updates) {
        let decision = Decision::Approve { offer_digest: offer.digest(package), comment: None };
        now(lab.decide(batch_id(number), package, decision, at(2))).unwrap();
    }
    let requested = now(lab.fleet.request_approved(agent(0), &Terms::default(), at(3))).unwrap().commands;
    let names =
        |record: &CommandRecord| record.action.items().iter().map(|item| item.package.name.to_string()).collect::<Vec<_>>().join(" ");
    assert_eq!(requested.iter().map(names).collect::<Vec<_>>(), ["bash dash", "curl", "ed"]);
}

#[test]
fn an_update_that_no_command_can_be_about_goes_to_review_and_holds_no_other_up() {
    let lab = Lab::over(Arc::new(MemoryStore::new()));
    now(lab.fleet.enrol(enrolment(0))).unwrap();
    let offer = |(name, from, to): (&str, Option<&str>, &str)| OfferInput {
        package_name: name.to_owned(),
        current_version: from.map(str::to_owned),
        available_version: to.to_owned(),
        ..OfferInput::default()
    };
    let offers = [("bash", Some("1"), "2"), ("curl", Some("2"), "1"), ("ed", None, "1")];
    let updates = checked("apt", &offers.map(offer));
    now(lab.report(1, vec![scope_of("apt", at(1), &updates, &[])])).unwrap();
    for (number, (package, offer)) in (1..).zip(&updates) {
        let decision = Decision::Approve { offer_digest: offer.digest(package), comment: None };
        now(lab.decide(batch_id(number), package, decision, at(2))).unwrap();
    }
    let requested = |second| now(lab.fleet.request_approved(agent(0), &Terms::default(), at(second))).unwrap();
    let first = requested(3);
    let [plan] = first.commands.as_slice() else { panic!("{first:?}") };
    assert_eq!(plan.action.items().iter().map(|item| item.package.name.as_str()).collect::<Vec<_>>(), ["bash"]);
    for (index, words) in [(1, "would go from 2 to 1, which is not newer"), (2, "no installed version is replaced")] {
        let id = redflag_core::ids::UpdateId { agent: agent(0), package: updates[index].0.clone() };
        let standing = now(lab.fleet.store().update(&id)).unwrap().unwrap().state.standing;
        let Standing::NeedsReview { reason, .. } = &standing else { panic!("{standing:?}") };
        assert!(reason.as_str().contains(words), "{reason}");
    }
    let again = requested(4);
    assert!(again.commands.is_empty() && again.refused.is_empty(), "{again:?}");
    assert_eq!(now(lab.fleet.check(agent(0))).unwrap(), []);
}

#[test]
fn what_was_asked_for_by_a_clock_that_is_ahead_is_handed_out_at_once() {
    let fleet = fleet();
    step(&fleet, reboot(1, Terms::default()), 100);
    step(&fleet, reboot(2, Terms { not_before: Some(at(50)), ..Terms::default() }), 1);
    let given = |second| step(&fleet, Step::Lease { limit: 16 }, second).iter().map(|record| record.id).collect::<Vec<_>>();
    assert_eq!(given(40), [command_id(1)], "the other one waits for its time");
    assert_eq!(given(50), [command_id(1), command_id(2)]);
}

#[test]
fn terms_are_within_their_limits() {
    let seconds = |duration: std::time::Duration| u32::try_from(duration.as_secs()).unwrap();
    let (lifetime, run) = (seconds(limits::COMMAND_LIFETIME_MAX), seconds(limits::COMMAND_RUN_MAX));
    let signed = |mode, signatures_min| Terms { mode, signatures_min, ..Terms::default() };
    let keys = u32::try_from(limits::COMMAND_SIGNATURES_MAX).unwrap();
    let good = [
        Terms { lifetime_seconds: lifetime, run_seconds: run, ..Terms::default() },
        Terms { lifetime_seconds: 1, run_seconds: 1, ..Terms::default() },
        signed(SigningMode::OperatorSigns, 1),
        signed(SigningMode::OperatorSigns, keys),
    ];
    for (number, terms) in (1..).zip(good) {
        step(&fleet(), reboot(number, terms), 1);
    }
    for terms in [
        Terms { lifetime_seconds: lifetime + 1, ..Terms::default() },
        Terms { lifetime_seconds: 0, ..Terms::default() },
        Terms { run_seconds: run + 1, ..Terms::default() },
        Terms { run_seconds: 0, ..Terms::default() },
        signed(SigningMode::OperatorSigns, 0),
        signed(SigningMode::OperatorSigns, keys + 1),
        signed(SigningMode::ServerSigns, 1),
    ] {
        assert!(matches!(refused(&fleet(), reboot(1, terms.clone()), 1), Refusal::InvalidCommand(_)), "{terms:?}");
    }
}

#[test]
fn results_are_kept_within_their_limits() {
    let fleet = fleet();
    step(&fleet, rescan(1), 1);
    let long = format!("é{}", "x".repeat(limits::COMMAND_OUTPUT_BYTES_MAX));
    let ended = carry_out(&fleet, 1, failed(&long), 2).remove(0);
    let Some(Ending::Failed(Failure { output, .. })) = ended.end.map(|end| end.how) else { panic!("it failed") };
    assert_eq!(output, long[2..], "the end of it, from a whole character on");
    for number in 0..limits::COMMAND_LATE_RESULTS_MAX + 2 {
        let claim = failed(&number.to_string());
        let record = step(&fleet, Step::Finish { command: command_id(1), claim }, 3).remove(0);
        assert_eq!(record.late.len(), (number + 1).min(limits::COMMAND_LATE_RESULTS_MAX));
    }
}

#[test]
fn a_plan_that_cannot_be_looked_at_is_none() {
    let (fleet, updates) = approved();
    step(&fleet, planning(1, &updates), 3);
    let change = |number: usize| Change {
        package: PackageKey::parse("apt", &format!("p{number}"), None).unwrap(),
        from: None,
        to: Some(Version::parse("1").unwrap()),
        origin: None,
    };
    let plan = Plan::of((0..=limits::PLAN_CHANGES_MAX).map(change));
    let ended = carry_out(&fleet, 1, Claim::Succeeded(Success { plan: Some(plan), ..Success::default() }), 4);
    assert_eq!((ended.len(), ended[0].state), (1, CommandState::Failed));
    assert_eq!(status(&fleet, &updates[0].0), Status::NeedsReview);
}

#[test]
fn a_window_holds_back_what_changes_the_host_and_nothing_else() {
    let fleet = fleet();
    let terms = Terms { not_before: Some(at(1_000)), ..Terms::default() };
    let held = step(&fleet, reboot(1, terms.clone()), 1).remove(0);
    assert_eq!((held.not_before, held.expires_at), (at(1_000), at(87_400)));
    assert_eq!(held.approvals, [CommandApproval { actor: text("ada"), at: at(1) }], "who asks for a reboot consents to it");
    step(&fleet, request(2, Wanted::Host(Action::Rescan), terms), 1);
    let counters = |given: Vec<CommandRecord>| given.iter().map(|record| (record.id, record.counter.unwrap())).collect::<Vec<_>>();
    assert_eq!(counters(step(&fleet, Step::Lease { limit: 16 }, 2)), [(command_id(2), 1)]);
    carry_out(&fleet, 2, Claim::Succeeded(Success::default()), 3);
    assert_eq!(counters(step(&fleet, Step::Lease { limit: 16 }, 1_000)), [(command_id(1), 2)], "later, and behind what came before");
}

#[test]
fn a_signature_that_was_overtaken_has_to_be_given_anew() {
    let fleet = fleet();
    let terms = Terms { mode: SigningMode::OperatorSigns, signatures_min: 1, not_before: Some(at(1_000)), ..Terms::default() };
    let record = step(&fleet, reboot(1, terms), 1).remove(0);
    let signed = |counter: u64| {
        let secret = SigningKey::from_bytes(&[1; 32]);
        let signature = secret.sign(&Envelope::around(&record.payload_with(counter)).bytes_to_sign()).to_bytes();
        let public_key = secret.verifying_key().to_bytes();
        let people = People::default().with(text("ada"), &public_key).unwrap();
        Sign { command: record.id, counter, person: text("ada"), key_id: signing::key_id(&public_key), signature, people }
    };
    let other = Sign { signature: signed(2).signature, ..signed(1) };
    let wrong = refused(&fleet, Step::Sign(other), 2);
    assert!(matches!(&wrong, Refusal::InvalidCommand(refusal) if refusal.code == RefusalCode::BadSignature), "{wrong:?}");
    assert_eq!(step(&fleet, Step::Sign(signed(1)), 2)[0].state, CommandState::Queued);
    step(&fleet, rescan(2), 3);
    step(&fleet, Step::Lease { limit: 16 }, 4);
    let overtaken = now(fleet.store().command(agent(0), record.id)).unwrap().unwrap();
    assert_eq!((overtaken.state, overtaken.counter, overtaken.signatures.len()), (CommandState::AwaitingSignature, None, 0));
    assert_eq!(refused(&fleet, Step::Sign(signed(2)), 5), Refusal::CounterMoved { command: record.id, next: 3 });
    assert_eq!(step(&fleet, Step::Sign(signed(3)), 6)[0].counter, Some(3));
}

const ADA: (&str, u8) = ("ada", 1);
/// Another key of the same person.
const ADA_TOO: (&str, u8) = ("ada", 2);
const GRACE: (&str, u8) = ("grace", 3);

fn public((_, seed): (&str, u8)) -> [u8; 32] {
    SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes()
}

fn people(signers: &[(&str, u8)]) -> People {
    signers.iter().fold(People::default(), |people, signer| people.with(text(signer.0), &public(*signer)).unwrap())
}

/// A signature of a listed person.
fn sign(record: &CommandRecord, counter: u64, signer: (&str, u8)) -> Sign {
    let secret = SigningKey::from_bytes(&[signer.1; 32]);
    let signature = secret.sign(&Envelope::around(&record.payload_with(counter)).bytes_to_sign()).to_bytes();
    let (person, key_id, people) = (text(signer.0), signing::key_id(&public(signer)), people(&[ADA, ADA_TOO, GRACE]));
    Sign { command: record.id, counter, person, key_id, signature, people }
}

fn by_two() -> Terms {
    Terms { mode: SigningMode::OperatorSigns, signatures_min: 2, ..Terms::default() }
}

#[test]
fn people_are_counted_and_not_their_keys() {
    let fleet = fleet();
    let record = step(&fleet, reboot(1, by_two()), 1).remove(0);
    for (signer, number) in [(ADA, 1), (ADA_TOO, 1), (ADA, 1)] {
        let signed = step(&fleet, Step::Sign(sign(&record, 1, signer)), 2).remove(0);
        assert_eq!((signed.state, signed.signatures.len()), (CommandState::AwaitingSignature, number), "{signer:?}");
        assert!(signed.signatures.contains_key(&signing::key_id(&public(signer))), "the newest signature of a person is kept");
    }
    let both = step(&fleet, Step::Sign(sign(&record, 1, GRACE)), 3).remove(0);
    assert_eq!((both.state, both.signatures.len()), (CommandState::Queued, 2));
    assert_eq!(people(&[ADA, ADA_TOO, GRACE]).signers(&both).into_iter().collect::<Vec<_>>(), [&text("ada"), &text("grace")]);
}

#[test]
fn only_listed_keys_of_the_person_who_signs_are_taken() {
    let fleet = fleet();
    let record = step(&fleet, reboot(1, by_two()), 1).remove(0);
    let good = sign(&record, 1, ADA);
    for (wrong, what) in [
        (Sign { person: text("grace"), ..good.clone() }, "another person's key"),
        (Sign { people: people(&[GRACE]), ..good.clone() }, "a key that is not listed, or was revoked"),
        (Sign { key_id: signing::key_id(&[9; 32]), ..good.clone() }, "no key at all"),
    ] {
        let refusal = refused(&fleet, Step::Sign(wrong), 2);
        assert!(matches!(&refusal, Refusal::InvalidCommand(refusal) if refusal.code == RefusalCode::UnknownKey), "{what}: {refusal:?}");
    }
    // What a key signed that was revoked since does not count beside a new signature.
    step(&fleet, Step::Sign(good), 3);
    let signed = step(&fleet, Step::Sign(Sign { people: people(&[GRACE]), ..sign(&record, 1, GRACE) }), 4).remove(0);
    assert_eq!((signed.state, signed.signatures.len()), (CommandState::AwaitingSignature, 1));
}

/// Each person signs all that waits, one after the other; nobody has to come back.
#[test]
fn several_people_sign_several_commands_of_an_agent_in_one_round_each() {
    let fleet = fleet();
    let records: Vec<_> = (1..=3).map(|number| step(&fleet, reboot(number, by_two()), 1).remove(0)).collect();
    for (signer, state) in [(ADA, CommandState::AwaitingSignature), (GRACE, CommandState::Queued)] {
        for (counter, record) in (1..).zip(&records) {
            let signed = step(&fleet, Step::Sign(sign(record, counter, signer)), 2).remove(0);
            assert_eq!((signed.state, signed.counter), (state, Some(counter)), "{signer:?}");
        }
    }
    let given = step(&fleet, Step::Lease { limit: 16 }, 3);
    assert_eq!(given.iter().map(|record| record.counter.unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn half_a_signature_that_was_overtaken_has_to_be_given_anew() {
    let fleet = fleet();
    let records: Vec<_> = (1..=2).map(|number| step(&fleet, reboot(number, by_two()), 1).remove(0)).collect();
    step(&fleet, Step::Sign(sign(&records[0], 1, ADA)), 2);
    for signer in [ADA, GRACE] {
        step(&fleet, Step::Sign(sign(&records[1], 2, signer)), 2);
    }
    assert_eq!(step(&fleet, Step::Lease { limit: 16 }, 3).len(), 1);
    let overtaken = now(fleet.store().command(agent(0), records[0].id)).unwrap().unwrap();
    assert_eq!((overtaken.state, overtaken.counter, overtaken.signatures.len()), (CommandState::AwaitingSignature, None, 0));
    let moved = refused(&fleet, Step::Sign(sign(&records[0], 1, GRACE)), 4);
    assert_eq!(moved, Refusal::CounterMoved { command: records[0].id, next: 3 });
}

#[test]
fn what_a_revoked_key_signed_waits_again_or_is_called_off_and_what_has_begun_goes_on() {
    let fleet = fleet();
    let signed = |number: u64| {
        let terms = Terms { signatures_min: 1, ..by_two() };
        let record = step(&fleet, reboot(number, terms), 1).remove(0);
        step(&fleet, Step::Sign(sign(&record, number, ADA)), 2).remove(0)
    };
    let found = |number: u64| now(fleet.store().command(agent(0), command_id(number))).unwrap().unwrap();
    for number in 1..=2 {
        signed(number);
    }
    assert_eq!(step(&fleet, Step::Lease { limit: 16 }, 3).len(), 2);
    step(&fleet, Step::Start { command: command_id(1) }, 4);
    let waiting = signed(3);
    let all = people(&[ADA, ADA_TOO, GRACE]);
    assert!(all.suffice(&waiting) && step(&fleet, Step::Recall { people: all }, 5).is_empty(), "nothing was revoked");
    assert!(!people(&[ADA_TOO, GRACE]).suffice(&waiting));
    let recalled = step(&fleet, Step::Recall { people: people(&[ADA_TOO, GRACE]) }, 5);
    assert_eq!(recalled.iter().map(|record| record.id).collect::<Vec<_>>(), [command_id(2), command_id(3)]);
    let states = [CommandState::Started, CommandState::Cancelled, CommandState::AwaitingSignature];
    assert_eq!([1, 2, 3].map(|number| found(number).state), states);
    assert_eq!((found(3).signatures.len(), found(3).counter), (0, Some(3)), "its counter was never delivered");
    assert_eq!(step(&fleet, Step::Start { command: command_id(2) }, 6)[0].state, CommandState::Cancelled, "it is never begun");
    let again = step(&fleet, Step::Sign(sign(&waiting, 3, ADA_TOO)), 7);
    assert_eq!(again[0].state, CommandState::Queued);
}

#[test]
fn what_failed_is_asked_for_again_under_the_same_approval() {
    let (fleet, updates) = approved();
    step(&fleet, planning(1, &updates), 3);
    let retry = |command, failed| Step::Retry(Retry { command: command_id(command), failed, operator: text("grace") });
    let open = Refusal::IllegalStep { command: command_id(1), event: CommandEvent::Retry, state: CommandState::Queued };
    assert_eq!(refused(&fleet, retry(9, command_id(1)), 4), open);
    carry_out(&fleet, 1, failed(""), 4);
    assert_eq!(status(&fleet, &updates[0].0), Status::NeedsReview, "a plan that came to nothing");
    let again = step(&fleet, retry(2, command_id(1)), 5).remove(0);
    assert_eq!((again.follows, again.counter), (Some(command_id(1)), None));
    assert_eq!(status(&fleet, &updates[0].0), Status::Approved);
    let plan = Claim::Succeeded(Success { plan: Some(exactly(&updates)), ..Success::default() });
    let installation = carry_out(&fleet, 2, plan, 6).remove(1);
    step(&fleet, Step::Cancel { command: installation.id, by: Actor::Operator(text("ada")), reason: None }, 7);
    assert_eq!(status(&fleet, &updates[0].0), Status::Failed);
    let again = step(&fleet, retry(3, installation.id), 8).remove(0);
    assert_eq!((again.action, again.approvals), (installation.action, installation.approvals));
    assert_eq!(status(&fleet, &updates[1].0), Status::Queued);
}

#[test]
fn a_plan_that_does_not_bring_what_was_approved_cannot_be_confirmed() {
    let (fleet, updates) = approved();
    step(&fleet, planning(1, &updates), 3);
    let plan = exactly(&updates[..1]);
    carry_out(&fleet, 1, Claim::Succeeded(Success { plan: Some(plan.clone()), ..Success::default() }), 4);
    let (command, digest) = (command_id(2), plan.digest());
    let confirm = Confirm { command, plan: command_id(1), digest, operator: text("grace"), comment: None };
    let refusal = refused(&fleet, Step::Confirm(confirm), 5);
    assert!(matches!(refusal, Refusal::InvalidCommand(_)), "{refusal:?}");
}

/// The commands of a fleet are lost on its way to another store.
#[test]
fn a_check_sees_an_update_whose_command_is_not_there() {
    let (fleet, updates) = approved();
    step(&fleet, planning(1, &updates), 3);
    carry_out(&fleet, 1, Claim::Succeeded(Success { plan: Some(exactly(&updates)), ..Success::default() }), 4);
    assert_eq!(now(fleet.check(agent(0))).unwrap(), []);
    let bare = Fleet::new(MemoryStore::new());
    let (mut exporter, mut importer) = (Exporter::new(&fleet), now(Importer::new(&bare)).unwrap());
    while let Some(line) = now(exporter.next_line()).unwrap() {
        if line.starts_with("{\"command\"") {
            break;
        }
        now(importer.line(&line)).unwrap();
    }
    let found = now(bare.check(agent(0))).unwrap();
    assert_eq!(found.len(), updates.len(), "{found:?}");
    assert!(found[0].what.starts_with("command of apt"), "{found:?}");
}
