//! Seeded histories: everything a fleet does, in one list of units of work.
//!
//! A history keeps a model of its hosts only to make reports and decisions that mean something; it knows nothing of outcomes.

use super::generate::{
    Rng, agent, at, batch_id, checked, discovered, enrolment, event_id, hostile_offer, invalid_fact, manager, offer, report_id, report_of,
    scope_of, text,
};
use crate::{
    agent::HostFacts,
    batch::Batch,
    event::{Actor, ChangeInput, EventInput},
    names::{APT, DNF, DOCKER, PackageKey, Version},
    offer::Offer,
    report::{Fact, Report, Scope, ScopeContent, scope_digest},
    words::{IgnoreScope, ScanResult},
    work::{Decide, Decision, RecordReport, SubmitBatch, UnitOfWork, Withheld},
};
use std::collections::BTreeMap;

const MANAGERS: &[&str] = &[APT, DNF, DOCKER];

/// How a history is made.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// How many agents take part.
    pub agents: u32,
    /// How many units of work follow the enrolments.
    pub steps: usize,
    /// Most packages of one manager on one host.
    pub packages: usize,
}

impl Default for Shape {
    fn default() -> Self {
        Self { agents: 3, steps: 40, packages: 12 }
    }
}

/// The history of a seed: enrolments, then reports (full, partial, failed, by digest, late, repeated, with hostile facts),
/// batches (with hostile events, reused ids, repeats) and decisions (fresh and outdated), in an order the seed decides.
#[must_use]
pub fn history(seed: u64, shape: Shape) -> Vec<UnitOfWork> {
    let mut hosts: Vec<Host> = (0..shape.agents.max(1)).map(Host::new).collect();
    let mut maker = Maker { rng: Rng::new(seed), numbers: 0, clock: 1, packages: shape.packages.max(1) };
    let mut works: Vec<UnitOfWork> = hosts.iter().map(|host| UnitOfWork::EnrolAgent(enrolment(host.number))).collect();
    while works.len() < shape.steps + hosts.len() {
        let host = maker.rng.below(hosts.len());
        let work = match maker.rng.below(100) {
            0..45 => maker.report(&mut hosts[host]),
            45..65 => maker.batch(&mut hosts[host]),
            65..85 => maker.decide(&hosts[host]),
            85..95 => maker.again(&works),
            _ => maker.other_content(&works),
        };
        works.push(work);
    }
    works
}

struct Host {
    number: u32,
    sequence: u64,
    offers: BTreeMap<&'static str, BTreeMap<PackageKey, Offer>>,
    submitted: Vec<EventInput>,
    reported: BTreeMap<&'static str, BTreeMap<PackageKey, Offer>>,
}

impl Host {
    fn new(number: u32) -> Self {
        Self { number, sequence: 0, offers: BTreeMap::new(), submitted: Vec::new(), reported: BTreeMap::new() }
    }
}

struct Maker {
    rng: Rng,
    numbers: u64,
    clock: u32,
    packages: usize,
}

impl Maker {
    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn now(&mut self) -> crate::time::Timestamp {
        // Two writes may well fall into the same moment.
        self.clock += u32::try_from(self.rng.below(3)).unwrap_or(0);
        at(self.clock)
    }

    /// Some packages get or change an offer, some lose theirs.
    fn live_on(&mut self, host: &mut Host, word: &'static str) {
        let known = host.offers.entry(word).or_default();
        for number in 0..self.packages {
            let change = self.rng.below(10);
            if change < 3 {
                let (package, offer) = checked(word, &[offer(&mut self.rng, word, number)]).remove(0);
                if change == 2 {
                    known.remove(&package)
                } else {
                    known.insert(package, offer)
                };
            }
        }
        if self.rng.chance(4) {
            host.offers.entry(word).or_default().clear();
        }
    }

    fn report(&mut self, host: &mut Host) -> UnitOfWork {
        let mut scopes = Vec::new();
        for word in MANAGERS.iter().copied() {
            if self.rng.chance(60) {
                self.live_on(host, word);
                scopes.push(self.scope(host, word));
            }
        }
        host.sequence += 1;
        let late = self.rng.chance(7);
        let sequence = if late { host.sequence.saturating_sub(3) } else { host.sequence };
        let mut report = report_of(report_id(self.number()), sequence, scopes);
        report.sequence = if self.rng.chance(5) { None } else { report.sequence };
        if self.rng.chance(10) {
            report.host = HostFacts::default();
        }
        self.record(host.number, report)
    }

    fn record(&mut self, host: u32, report: Report) -> UnitOfWork {
        UnitOfWork::RecordReport(RecordReport {
            agent: agent(host),
            report: report.into(),
            received_at: self.now(),
            batch_events: *self.rng.pick(&[1, 2, 7, 100]),
            withheld: Withheld::default(),
        })
    }

    fn scope(&mut self, host: &mut Host, word: &'static str) -> Scope {
        let now = host.offers.get(word).cloned().unwrap_or_default();
        let before = host.reported.insert(word, now.clone()).unwrap_or_default();
        let lost = before.iter().filter(|(package, _)| !now.contains_key(*package));
        let gone: Vec<(PackageKey, Option<Version>)> = lost
            .map(|(package, offer)| {
                let installed = match self.rng.below(3) {
                    0 => None,
                    1 => offer.installed.clone(),
                    _ => Some(offer.candidate.version.clone()),
                };
                (package.clone(), installed)
            })
            .collect();
        let offers: Vec<_> = now.into_iter().collect();
        let scanned_at = at(self.clock);
        let mut scope = scope_of(word, scanned_at, &offers, &gone);
        match self.rng.below(20) {
            0 => scope.result = ScanResult::Partial,
            1 => {
                scope.result = ScanResult::Failed;
                scope.error = Some(text("the metadata could not be read"));
                scope.content = ScopeContent::Facts { offers: Vec::new(), gone: Vec::new() };
            }
            2 | 3 => {
                let digest = scope_digest(&manager(word), offers.iter().map(|(package, offer)| (package, offer)));
                scope.content = ScopeContent::Digest(digest);
            }
            4 | 5 => self.spoil(&mut scope),
            _ => {}
        }
        scope
    }

    /// Makes some facts hostile, repeats one, or contradicts one.
    fn spoil(&mut self, scope: &mut Scope) {
        let ScopeContent::Facts { offers, gone } = &mut scope.content else { return };
        for fact in offers.iter_mut() {
            if let Fact::Valid(package, _) = fact
                && self.rng.chance(15)
            {
                *fact = invalid_fact((!self.rng.chance(20)).then(|| package.clone()));
            }
        }
        if let Some(Fact::Valid(package, offer)) = offers.first().cloned() {
            match self.rng.below(4) {
                0 => offers.push(Fact::Valid(package, offer)),
                1 => offers.push(Fact::Valid(package, Offer { installed: None, ..offer })),
                2 => gone.push(Fact::Valid(package, None)),
                _ => {}
            }
        }
        if let Some(Fact::Valid(package, installed)) = gone.first().cloned() {
            match self.rng.below(4) {
                0 => gone.push(Fact::Valid(package, installed)),
                1 => gone.push(Fact::Valid(package, installed.xor(Version::parse("0").ok()))),
                _ => {}
            }
        }
        if self.rng.chance(10) {
            gone.push(invalid_fact(None));
        }
    }

    fn batch(&mut self, host: &mut Host) -> UnitOfWork {
        let count = *self.rng.pick(&[0, 1, 2, 3, 5, 9]);
        let events: Vec<_> = (0..count).map(|_| self.event(host)).collect();
        host.submitted.extend(events.iter().cloned());
        let actor = if self.rng.chance(50) { Actor::Agent } else { Actor::System(text("import")) };
        let batch = Batch::new(agent(host.number), batch_id(self.number()), actor, events).expect("within the limit");
        UnitOfWork::SubmitBatch(SubmitBatch { batch, received_at: self.now(), withheld: Withheld::default() })
    }

    fn event(&mut self, host: &mut Host) -> EventInput {
        if self.rng.chance(15) && !host.submitted.is_empty() {
            return self.rng.pick(&host.submitted).clone();
        }
        let word = *self.rng.pick(MANAGERS);
        let fresh = event_id(self.number());
        // Ids of earlier events come back now and then, with the same or with other content.
        let id = if self.rng.chance(12) { event_id(self.rng.next() % self.numbers.max(1)) } else { fresh };
        let number = self.rng.below(self.packages);
        let offer = offer(&mut self.rng, word, number);
        let (package_name, arch) = (offer.package_name.clone(), offer.arch.clone());
        let version = offer.available_version.clone();
        let change = match self.rng.below(10) {
            0..3 => ChangeInput::Discovered(offer),
            3 | 4 => ChangeInput::Revised(offer),
            5 => ChangeInput::Withdrawn { package_name, arch, reason: "no-longer-offered".to_owned() },
            6 => ChangeInput::InstalledObserved { package_name, arch, version },
            7 => ChangeInput::Withdrawn { package_name, arch, reason: "boredom".to_owned() },
            _ => return discovered(id, word, hostile_offer(&mut self.rng, word)),
        };
        let observed_at = self.rng.chance(50).then(|| at(host.number));
        EventInput { event_id: id, package_type: word.to_owned(), change, observed_at }
    }

    fn decide(&mut self, host: &Host) -> UnitOfWork {
        let known: Vec<(&PackageKey, &Offer)> = host.offers.values().flatten().collect();
        let mut decisions = Vec::new();
        for _ in 0..self.rng.below(4) {
            if known.is_empty() {
                break;
            }
            let (package, offer) = *self.rng.pick(&known);
            decisions.push((package.clone(), self.decision(package, offer)));
        }
        let operator = text(if self.rng.chance(50) { "ada" } else { "grace" });
        let batch = batch_id(self.number());
        UnitOfWork::Decide(Decide { agent: agent(host.number), batch, operator, decisions, received_at: self.now() })
    }

    fn decision(&mut self, package: &PackageKey, offer: &Offer) -> Decision {
        let offer = if self.rng.chance(10) { Offer { installed: None, ..offer.clone() } } else { offer.clone() };
        let offer_digest = offer.digest(package);
        match self.rng.below(10) {
            0..4 => Decision::Approve { offer_digest, comment: Some(text("go")) },
            4 => Decision::WithdrawApproval { comment: None },
            5 | 6 => Decision::Ignore { offer_digest, scope: IgnoreScope::Version, until: None, reason: None },
            7 => Decision::Ignore { offer_digest, scope: IgnoreScope::Package, until: Some(at(9_999)), reason: Some(text("noise")) },
            _ => Decision::Reopen { comment: None },
        }
    }

    /// An earlier unit of work once more, at a later time.
    fn again(&mut self, works: &[UnitOfWork]) -> UnitOfWork {
        let mut work = self.rng.pick(works).clone();
        let now = self.now();
        match &mut work {
            UnitOfWork::SubmitBatch(work) => work.received_at = now,
            UnitOfWork::RecordReport(work) => work.received_at = now,
            UnitOfWork::Decide(work) => work.received_at = now,
            // Nothing else is made here; what depends on the log as it is stored is made by the facade (see `differential`).
            UnitOfWork::EnrolAgent(_)
            | UnitOfWork::RemoveAgent(_)
            | UnitOfWork::Prune(_)
            | UnitOfWork::Rebuild(_)
            | UnitOfWork::Restore(_)
            | UnitOfWork::Command(_)
            | UnitOfWork::EndIgnores(_) => {}
        }
        work
    }

    /// An id of earlier content, with other content.
    fn other_content(&mut self, works: &[UnitOfWork]) -> UnitOfWork {
        match self.again(works) {
            UnitOfWork::RecordReport(mut work) => {
                // With its own number: a high one would make every later report of the agent a late one.
                work.report = report_of(work.report.report_id, work.report.sequence.unwrap_or(1), Vec::new()).into();
                UnitOfWork::RecordReport(work)
            }
            UnitOfWork::SubmitBatch(mut work) => {
                let actor = Actor::System(text("somebody else"));
                work.batch =
                    Batch::new(work.batch.agent(), work.batch.id(), actor, work.batch.events().to_vec()).expect("within the limit");
                UnitOfWork::SubmitBatch(work)
            }
            UnitOfWork::Decide(work) => UnitOfWork::Decide(Decide { operator: text("somebody else"), ..work }),
            UnitOfWork::EnrolAgent(mut enrolment) => {
                enrolment.public_key[31] = 1;
                UnitOfWork::EnrolAgent(enrolment)
            }
            other => other,
        }
    }
}
