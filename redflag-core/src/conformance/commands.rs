//! The queue of commands: what is asked for is kept, handed out once at a time, ends by itself, and tells the story of its updates.

use super::{
    CheckResult, Failure, Harness, Lab, Life, Reopen, compare_life_with_memory, ensure, ensure_eq,
    generate::{agent, at, batch_id, checked, command_id, rescan, scope_of, text},
    lab::apt,
};
use crate::{
    command::{
        envelope::Envelope,
        lifecycle::{CommandEvent, CommandState},
        payload::{Action, CommandApproval, SideEffect, SigningMode},
        people::People,
        plan::{Change, Plan},
        record::{Claim, CommandRecord, Success, Terms},
        step::{Confirm, Request, Retry, Sign, Step, Wanted},
    },
    event::{Actor, EventKind, Source},
    ids::{CommandId, UpdateId},
    limits,
    names::{PackageKey, Version},
    offer::{Offer, OfferInput},
    query::{CommandFilter, CommandQuery, PageSize},
    signing,
    store::StoreErrorKind,
    words::Status,
    work::{Decision, Refusal},
};
use ed25519_dalek::{Signer as _, SigningKey};
use std::collections::BTreeSet;

fn ada() -> Actor {
    Actor::Operator(text("ada"))
}

/// Three updates, each from 1.0-1 to 2.0-1.
fn updates() -> Vec<(PackageKey, Offer)> {
    let offer = |name: &str| OfferInput {
        package_name: name.to_owned(),
        arch: Some("amd64".to_owned()),
        current_version: Some("1.0-1".to_owned()),
        available_version: "2.0-1".to_owned(),
        ..OfferInput::default()
    };
    checked("apt", &["bash", "curl", "vim"].map(offer))
}

/// A fleet whose first agent has three updates, of which ada approved two.
async fn approved(harness: &dyn Harness) -> Result<(Lab, Vec<(PackageKey, Offer)>), Failure> {
    let (lab, updates) = (Lab::new(harness, 2).await?, updates());
    lab.report(1, vec![apt(1, &updates)]).await?;
    for (number, (package, offer)) in (1..).zip(&updates[..2]) {
        let decision = Decision::Approve { offer_digest: offer.digest(package), comment: None };
        lab.decide(batch_id(number), package, decision, at(2)).await?;
    }
    Ok((lab, updates))
}

fn request(number: u64, wanted: Wanted) -> Step {
    Step::Request(Request { command: command_id(number), by: ada(), wanted, terms: Terms::default() })
}

fn plan_of(number: u64, updates: &[(PackageKey, Offer)]) -> Step {
    request(number, Wanted::Updates(updates.iter().map(|(package, _)| package.clone()).collect()))
}

fn version(text: &str) -> Version {
    Version::parse(text).expect("a valid version")
}

/// What a dry run shows of these updates.
fn exactly(updates: &[(PackageKey, Offer)]) -> Plan {
    let change = |(package, offer): &(PackageKey, Offer)| Change {
        package: package.clone(),
        from: offer.installed.clone(),
        to: Some(offer.candidate.version.clone()),
        origin: None,
    };
    Plan::of(updates.iter().map(change))
}

fn succeeded(plan: Option<Plan>) -> Claim {
    Claim::Succeeded(Success { plan, ..Success::default() })
}

impl Lab {
    async fn step(&self, host: u32, step: Step, second: u32) -> Result<Vec<CommandRecord>, Failure> {
        Ok(self.fleet.command(agent(host), step, at(second)).await?)
    }

    /// The command a step is about, of the first agent.
    async fn one(&self, step: Step, second: u32) -> Result<CommandRecord, Failure> {
        let mut answered = self.step(0, step, second).await?;
        if answered.is_empty() { Err(Failure::new("a step was answered with no command")) } else { Ok(answered.remove(0)) }
    }

    async fn refused(&self, host: u32, step: Step, second: u32) -> Result<Refusal, Failure> {
        match self.fleet.command(agent(host), step, at(second)).await {
            Err(error) => match error.kind() {
                StoreErrorKind::Refused(refusal) => Ok(refusal.clone()),
                other => Err(Failure::new(format!("a step that must be refused ended in {other:?}"))),
            },
            Ok(answer) => Err(Failure::new(format!("a step that must be refused was answered {answer:?}"))),
        }
    }

    /// Leases, starts and finishes a command of the first agent.
    async fn carry_out(&self, id: CommandId, claim: Claim, second: u32) -> Result<Vec<CommandRecord>, Failure> {
        self.step(0, Step::Lease { limit: 16 }, second).await?;
        let started = self.one(Step::Start { command: id }, second).await?;
        ensure_eq!(started.state, CommandState::Started, "a command that was leased and begun");
        self.step(0, Step::Finish { command: id, claim }, second).await
    }

    async fn stored(&self, host: u32, id: CommandId) -> Result<CommandRecord, Failure> {
        self.store().command(agent(host), id).await?.ok_or_else(|| Failure::new(format!("command {id} is not there")))
    }

    async fn status(&self, package: &PackageKey) -> Result<Status, Failure> {
        Ok(self.update(package).await?.state.status())
    }

    /// Actor, source and kind of the newest event of a package.
    async fn newest(&self, package: &PackageKey) -> Result<(Actor, Source, EventKind), Failure> {
        let events = self.store().events(&UpdateId { agent: agent(0), package: package.clone() }).await?;
        let last = events.into_iter().last().ok_or_else(|| Failure::new("no event"))?;
        Ok((last.actor, last.source, last.event.kind))
    }
}

pub(super) async fn a_request_is_kept_and_the_same_again_is_the_same(harness: &dyn Harness) -> CheckResult {
    let (lab, updates) = approved(harness).await?;
    let asked = lab.one(plan_of(1, &updates[..2]), 10).await?;
    ensure_eq!((asked.state, asked.revision, asked.attempts), (CommandState::Queued, 1, 0), "a command that was asked for");
    let lab = lab.reopened(harness).await;
    ensure_eq!(lab.stored(0, asked.id).await?, asked, "the command as it is stored");
    ensure_eq!(lab.one(plan_of(1, &updates[..2]), 20).await?, asked, "the same request again");
    let reused = lab.refused(0, rescan(1), 20).await?;
    ensure_eq!(reused, Refusal::CommandIdReused { command: asked.id }, "another request of the same id");
    let under_way = lab.refused(0, plan_of(2, &updates[1..2]), 20).await?;
    let expected = Refusal::CommandUnderWay { package: updates[1].0.clone(), command: asked.id };
    ensure_eq!(under_way, expected, "a request for a package about which a command is under way");
    let unapproved = lab.refused(0, plan_of(3, &updates[2..]), 20).await?;
    ensure_eq!(unapproved, Refusal::NotApproved { package: updates[2].0.clone() }, "a request for an update nobody approved");
    ensure_eq!(lab.store().commands(&CommandQuery::default()).await?.total, 1, "commands that are stored");
    Ok(())
}

pub(super) async fn a_plan_within_its_terms_is_installed(harness: &dyn Harness) -> CheckResult {
    let (lab, updates) = approved(harness).await?;
    let plan = lab.one(plan_of(1, &updates[..2]), 10).await?;
    let answered = lab.carry_out(plan.id, succeeded(Some(exactly(&updates[..2]))), 11).await?;
    ensure_eq!(answered.len(), 2, "the plan, and the installation that follows from it");
    let id = CommandId::of_plan(agent(0), plan.id);
    let lab = lab.reopened(harness).await;
    let installation = lab.stored(0, id).await?;
    ensure_eq!((&installation, installation.state), (&answered[1], CommandState::Queued), "the installation as it is stored");
    ensure_eq!(lab.stored(0, plan.id).await?, answered[0], "the plan as it is stored");
    let consent = CommandApproval { actor: text("ada"), at: at(2) };
    ensure_eq!((installation.follows, &installation.approvals), (Some(plan.id), &vec![consent]), "what the installation rests on");
    let package = &updates[0].0;
    ensure_eq!(lab.status(package).await?, Status::Queued, "an update whose installation is queued");
    let queued = (Actor::System(text("commands")), Source::Command { command: id }, EventKind::InstallQueued { command: id });
    ensure_eq!(lab.newest(package).await?, queued, "the event of it");
    lab.step(0, Step::Lease { limit: 1 }, 20).await?;
    lab.one(Step::Start { command: id }, 21).await?;
    let started = (Actor::Agent, Source::Command { command: id }, EventKind::InstallStarted { command: id });
    ensure_eq!(lab.newest(package).await?, started, "the event of its start");
    ensure_eq!(lab.status(package).await?, Status::Installing, "an update that is being installed");
    let other = CommandId::of_plan(agent(0), command_id(9));
    ensure_eq!(lab.refused(0, Step::Start { command: other }, 21).await?, Refusal::UnknownCommand { command: other }, "a start of nothing");
    lab.counts_agree().await
}

pub(super) async fn a_plan_beyond_its_terms_is_looked_at_twice(harness: &dyn Harness) -> CheckResult {
    let (lab, updates) = approved(harness).await?;
    let plan = lab.one(plan_of(1, &updates[..2]), 10).await?;
    let mut shown = exactly(&updates[..2]);
    let extra = PackageKey::parse("apt", "zsh", Some("amd64")).map_err(|error| Failure::new(error.to_string()))?;
    shown.changes.push(Change { package: extra, from: None, to: Some(version("5.9-1")), origin: None });
    ensure_eq!(lab.carry_out(plan.id, succeeded(Some(shown.clone())), 11).await?.len(), 1, "what follows from a plan that goes too far");
    let package = &updates[0].0;
    ensure_eq!(lab.status(package).await?, Status::NeedsReview, "an update whose plan goes too far");
    let (actor, _, kind) = lab.newest(package).await?;
    let told = matches!(&kind, EventKind::ReviewRequested { reason } if reason.as_str().contains("zsh"));
    ensure!(actor == Actor::System(text("commands")) && told, "the event of it: {actor} {kind:?}");
    let lab = lab.reopened(harness).await;
    let confirm = |command, digest| {
        Step::Confirm(Confirm { command: command_id(command), plan: plan.id, digest, operator: text("grace"), comment: None })
    };
    let other = lab.refused(0, confirm(2, exactly(&updates[..1]).digest()), 20).await?;
    ensure_eq!(other, Refusal::OtherPlan { command: plan.id }, "a second look at another plan");
    let confirmed = lab.one(confirm(2, shown.digest()), 20).await?;
    let Action::Install(order) = &confirmed.action else { return Err(Failure::new("a plan that was confirmed is no installation")) };
    ensure_eq!(order.side_effects, BTreeSet::from([SideEffect::NewPackage]), "what it may change besides");
    ensure_eq!(order.plan_digest, shown.digest(), "the plan it is bound to");
    let consents: Vec<_> = confirmed.approvals.iter().map(|approval| approval.actor.clone()).collect();
    ensure_eq!(consents, [text("ada"), text("grace")], "on whose consent it rests");
    ensure_eq!(lab.status(package).await?, Status::Queued, "an update after the second look");
    let (actor, ..) = lab.newest(package).await?;
    ensure_eq!(actor, Actor::Operator(text("grace")), "who queued it");
    Ok(())
}

pub(super) async fn a_lease_is_answered_again_and_ends_by_itself(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 1).await?;
    lab.one(rescan(1), 1).await?;
    lab.one(rescan(2), 2).await?;
    let first = lab.step(0, Step::Lease { limit: 1 }, 10).await?;
    ensure_eq!(ids(&first), [command_id(1)], "the first of two, by when they were asked for");
    ensure_eq!(lab.step(0, Step::Lease { limit: 0 }, 11).await?, first, "what is with the agent, once more");
    let lab = lab.reopened(harness).await;
    let both = lab.step(0, Step::Lease { limit: 1 }, 12).await?;
    ensure_eq!(ids(&both), [command_id(1), command_id(2)], "the second does not wait for the first");
    ensure_eq!(&both[..1], &first[..], "the one that is not begun");
    let mut second = 12;
    for attempt in 1..=limits::COMMAND_ATTEMPTS_MAX {
        second += 200;
        ensure_eq!(lab.store().due_commands(at(second), None, 10).await?, vec![agent(0)], "agents with a lease that ran out");
        let swept = lab.fleet.sweep_commands(at(second)).await?;
        ensure_eq!(lab.store().due_commands(at(second), None, 10).await?, Vec::new(), "what is due after a sweep");
        ensure_eq!(lab.fleet.sweep_commands(at(second)).await?, Vec::new(), "what a second sweep changes");
        let expected = if attempt < limits::COMMAND_ATTEMPTS_MAX { CommandState::Queued } else { CommandState::Expired };
        for record in &swept {
            ensure_eq!((record.state, record.attempts), (expected, attempt), "a command whose lease ran out");
            ensure_eq!(lab.stored(0, record.id).await?, *record, "the command as it is stored");
        }
        ensure_eq!(swept.len(), 2, "commands whose lease ran out");
        lab.step(0, Step::Lease { limit: 0 }, second).await?;
    }
    ensure_eq!(lab.store().due_commands(at(u32::MAX), None, 10).await?, Vec::new(), "what is due when all have ended");
    Ok(())
}

fn ids(records: &[CommandRecord]) -> Vec<CommandId> {
    records.iter().map(|record| record.id).collect()
}

pub(super) async fn what_comes_late_changes_nothing(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 1).await?;
    let id = lab.one(rescan(1), 1).await?.id;
    lab.step(0, Step::Lease { limit: 1 }, 2).await?;
    lab.one(Step::Start { command: id }, 3).await?;
    let cancel = || Step::Cancel { command: id, by: ada(), reason: Some(text("never mind")) };
    let cancelled = lab.one(cancel(), 4).await?;
    ensure_eq!(cancelled.state, CommandState::Cancelled, "a command that was called off while it ran");
    let lab = lab.reopened(harness).await;
    for second in [5, 6] {
        lab.step(0, Step::Finish { command: id, claim: succeeded(None) }, second).await?;
    }
    let late = lab.stored(0, id).await?;
    ensure_eq!((late.state, &late.end), (CommandState::Cancelled, &cancelled.end), "how the command ended");
    ensure_eq!(late.late.iter().map(|end| end.at).collect::<Vec<_>>(), [at(5)], "what was said afterwards, once");
    ensure_eq!(lab.one(cancel(), 7).await?, late, "called off again");
    ensure_eq!(lab.one(Step::Start { command: id }, 8).await?, late, "begun again");
    let swept = lab.fleet.sweep_commands(at(900_000)).await?;
    ensure_eq!(swept, Vec::new(), "what a sweep changes of it");
    Ok(())
}

pub(super) async fn an_agent_sees_only_its_own_commands(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 2).await?;
    lab.one(rescan(1), 1).await?;
    lab.one(rescan(2), 1).await?;
    // Ids are scoped to the agent.
    lab.step(1, rescan(2), 1).await?;
    let id = command_id(1);
    for step in [
        Step::Start { command: id },
        Step::Finish { command: id, claim: succeeded(None) },
        Step::Cancel { command: id, by: ada(), reason: None },
    ] {
        ensure_eq!(lab.refused(1, step, 2).await?, Refusal::UnknownCommand { command: id }, "a step of another agent's command");
    }
    ensure_eq!(lab.store().command(agent(1), id).await?, None, "the other agent's command");
    ensure_eq!(ids(&lab.step(1, Step::Lease { limit: 16 }, 2).await?), [command_id(2)], "what the second agent is given");
    ensure_eq!(lab.stored(0, command_id(2)).await?.state, CommandState::Queued, "the first agent's command of the same id");
    Ok(())
}

pub(super) async fn an_installation_is_proved_by_the_next_scan(harness: &dyn Harness) -> CheckResult {
    let (lab, updates) = approved(harness).await?;
    let plan = lab.one(plan_of(1, &updates[..1]), 10).await?;
    lab.carry_out(plan.id, succeeded(Some(exactly(&updates[..1]))), 11).await?;
    let id = CommandId::of_plan(agent(0), plan.id);
    lab.carry_out(id, succeeded(None), 12).await?;
    let package = &updates[0].0;
    ensure_eq!(lab.status(package).await?, Status::Installing, "an update whose installation is claimed");
    ensure_eq!(lab.stored(0, id).await?.state, CommandState::Succeeded, "the command that claims it");
    let gone = [(package.clone(), Some(version("2.0-1")))];
    lab.report(20, vec![scope_of("apt", at(20), &updates[1..], &gone)]).await?;
    ensure_eq!(lab.status(package).await?, Status::Installed, "an update that a scan saw installed");
    let history = lab.store().history(&UpdateId { agent: agent(0), package: package.clone() }).await?;
    ensure_eq!(history.iter().map(|change| change.command).collect::<Vec<_>>(), [Some(id)], "which command its history names");
    ensure_eq!(lab.fleet.check(agent(0)).await?, Vec::new(), "what differs from the log");
    Ok(())
}

pub(super) async fn commands_are_listed_newest_first(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 2).await?;
    // Two at one time, and two of the other agent in between.
    let asked = [(0, 1, 5), (0, 2, 5), (1, 3, 6), (0, 4, 7), (1, 5, 5), (0, 6, 9)];
    for (host, number, second) in asked {
        lab.step(host, rescan(number), second).await?;
    }
    lab.step(1, Step::Cancel { command: command_id(3), by: ada(), reason: None }, 10).await?;
    let mut expected = asked.to_vec();
    expected.sort_by_key(|(host, number, second)| std::cmp::Reverse((*second, *host, *number)));
    let size = PageSize::new(2).map_err(|error| Failure::new(error.to_string()))?;
    for of in [None, Some(0), Some(1)] {
        for state in [CommandFilter::Any, CommandFilter::Open, CommandFilter::Only(CommandState::Cancelled)] {
            let passes = |(host, number, _): &&(u32, u64, u32)| {
                let standing = if *number == 3 { CommandState::Cancelled } else { CommandState::Queued };
                of.is_none_or(|of| of == *host) && state.matches(standing)
            };
            let wanted: Vec<_> = expected.iter().filter(passes).map(|(host, number, _)| (agent(*host), command_id(*number))).collect();
            let mut query = CommandQuery { agent: of.map(agent), state, after: None, size };
            let mut found = Vec::new();
            loop {
                let page = lab.store().commands(&query).await?;
                ensure_eq!(page.total, wanted.len() as u64, "all that pass {query:?}");
                ensure!(page.items.iter().all(|row| row.agent_name.as_str().starts_with("host-")), "agents by name: {page:?}");
                found.extend(page.items.iter().map(|row| (row.record.audience.agent, row.record.id)));
                let Some(next) = page.next else { break };
                query.after = Some(next);
            }
            ensure_eq!(found, wanted, "commands of {of:?} that are {state:?}, in pages of two");
        }
    }
    Ok(())
}

pub(super) async fn a_withdrawn_approval_takes_its_command_along(harness: &dyn Harness) -> CheckResult {
    let (lab, updates) = approved(harness).await?;
    let plan = lab.one(plan_of(1, &updates[..2]), 10).await?;
    lab.carry_out(plan.id, succeeded(Some(exactly(&updates[..2]))), 11).await?;
    let id = CommandId::of_plan(agent(0), plan.id);
    let receipt = lab.decide(batch_id(9), &updates[0].0, Decision::WithdrawApproval { comment: None }, at(12)).await?;
    ensure_eq!(receipt.accepted, 1, "the withdrawal");
    let lab = lab.reopened(harness).await;
    let command = lab.stored(0, id).await?;
    ensure_eq!(command.state, CommandState::Cancelled, "the command of an approval that was withdrawn");
    ensure_eq!(command.end.map(|end| end.by), Some(ada()), "who ended it");
    ensure_eq!(lab.status(&updates[0].0).await?, Status::Pending, "the update whose approval was withdrawn");
    ensure_eq!(lab.status(&updates[1].0).await?, Status::Failed, "the one that was to be installed with it");
    ensure_eq!(lab.step(0, Step::Lease { limit: 16 }, 13).await?, Vec::new(), "what the agent is given");
    let retry = Step::Retry(Retry { command: command_id(2), failed: id, operator: text("grace") });
    ensure_eq!(lab.refused(0, retry, 14).await?, Refusal::NotApproved { package: updates[0].0.clone() }, "the same once more");
    let retry = Step::Retry(Retry { command: command_id(3), failed: plan.id, operator: text("grace") });
    let expected = Refusal::IllegalStep { command: plan.id, event: CommandEvent::Retry, state: CommandState::Succeeded };
    ensure_eq!(lab.refused(0, retry, 14).await?, expected, "a plan that came about, once more");
    lab.counts_agree().await
}

pub(super) async fn counters_are_given_once(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 1).await?;
    for number in 1..=3 {
        lab.one(rescan(number), 1).await?;
    }
    let cancelled = lab.one(Step::Cancel { command: command_id(2), by: ada(), reason: None }, 2).await?;
    ensure_eq!(cancelled.counter, None, "the counter of a command that was never delivered");
    let given = |records: &[CommandRecord]| records.iter().map(|record| (record.id, record.counter)).collect::<Vec<_>>();
    let leased = lab.step(0, Step::Lease { limit: 16 }, 3).await?;
    ensure_eq!(given(&leased), [(command_id(1), Some(1)), (command_id(3), Some(2))], "counters, in the order of delivery");
    let lab = lab.reopened(harness).await;
    for id in [command_id(1), command_id(3)] {
        lab.one(Step::Cancel { command: id, by: ada(), reason: None }, 4).await?;
    }
    lab.one(rescan(4), 5).await?;
    ensure_eq!(given(&lab.step(0, Step::Lease { limit: 16 }, 6).await?), [(command_id(4), Some(3))], "the next counter");
    ensure_eq!(lab.store().agent(agent(0)).await?.map(|head| head.commands), Some(3), "the highest counter given");
    Ok(())
}

pub(super) async fn signatures_of_people_are_kept(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 1).await?;
    let terms = Terms { mode: SigningMode::OperatorSigns, signatures_min: 2, ..Terms::default() };
    let wanted = Wanted::Host(Action::Reboot);
    let asked = lab.one(Step::Request(Request { command: command_id(1), by: ada(), wanted, terms }), 1).await?;
    ensure_eq!(asked.state, CommandState::AwaitingSignature, "a command that people sign");
    let person = |seed: u8| text(if seed == 1 { "ada" } else { "grace" });
    let of = |people: People, seed: u8| {
        people.with(person(seed), &SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes()).expect("a sound key")
    };
    let both = of(of(People::default(), 1), 2);
    let signed = |seed: u8, counter: u64| {
        let secret = SigningKey::from_bytes(&[seed; 32]);
        let signature = secret.sign(&Envelope::around(&asked.payload_with(counter)).bytes_to_sign()).to_bytes();
        let key_id = signing::key_id(&secret.verifying_key().to_bytes());
        let (person, people) = (person(seed), both.clone());
        Step::Sign(Sign { command: asked.id, counter, person, key_id, signature, people })
    };
    let moved = lab.refused(0, signed(1, 2), 2).await?;
    ensure_eq!(moved, Refusal::CounterMoved { command: asked.id, next: 1 }, "a signature over another counter");
    ensure_eq!(lab.one(signed(1, 1), 3).await?.state, CommandState::AwaitingSignature, "signed by one of two");
    ensure_eq!(lab.step(0, Step::Lease { limit: 16 }, 4).await?, Vec::new(), "what the agent is given before it is signed");
    let lab = lab.reopened(harness).await;
    let queued = lab.one(signed(2, 1), 5).await?;
    ensure_eq!((queued.state, queued.counter, queued.signatures.len()), (CommandState::Queued, Some(1), 2), "signed by both");
    ensure_eq!(lab.stored(0, asked.id).await?, queued, "the command as it is stored");
    let recalled = lab.one(Step::Recall { people: of(People::default(), 2) }, 5).await?;
    ensure_eq!((recalled.state, recalled.signatures.len()), (CommandState::AwaitingSignature, 1), "one key was revoked");
    ensure_eq!(lab.stored(0, asked.id).await?, recalled, "the recalled command as it is stored");
    ensure_eq!(lab.one(signed(1, 1), 5).await?.state, CommandState::Queued, "signed anew");
    ensure_eq!(lab.step(0, Step::Lease { limit: 16 }, 6).await?[0].payload(), Some(asked.payload_with(1)), "what is delivered");
    Ok(())
}

pub(super) async fn eight_connections_lease_a_command_once(harness: &dyn Harness) -> CheckResult {
    let lab = Lab::new(harness, 1).await?;
    for number in 1..=4 {
        lab.one(rescan(number), 1).await?;
    }
    let mut polls = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let fleet = lab.fleet.clone();
        polls.spawn(async move { fleet.command(agent(0), Step::Lease { limit: 16 }, at(2)).await });
    }
    let mut answers = Vec::new();
    while let Some(answer) = polls.join_next().await {
        answers.push(answer.map_err(|error| Failure::new(error.to_string()))??);
    }
    ensure!(answers.iter().all(|answer| answer == &answers[0]), "eight polls were not answered the same: {answers:?}");
    let counters: Vec<_> = answers[0].iter().filter_map(|record| record.counter).collect();
    ensure_eq!(counters, [1, 2, 3, 4], "the counters given");
    ensure!(answers[0].iter().all(|record| record.attempts == 1), "leased more than once: {answers:?}");
    ensure_eq!(lab.store().agent(agent(0)).await?.map(|head| head.commands), Some(4), "the highest counter given");
    Ok(())
}

pub(super) async fn lives_of_commands_read_like_the_memory_store(harness: &dyn Harness) -> CheckResult {
    for seed in 0..3 {
        compare_life_with_memory(harness, seed, Life { steps: 150, ..Life::default() }, Reopen::Never).await?;
    }
    compare_life_with_memory(harness, 3, Life { steps: 150, ..Life::default() }, Reopen::Midway).await
}
