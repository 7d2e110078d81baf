//! Agents in a life: what they poll, begin, carry out and tell, and how they die.

use super::{CheckResult, Failure, Heard, World, ensure, ensure_eq};
use crate::{
    command::{
        lifecycle::CommandState,
        payload::{Action, Order},
        plan::{Change, Item, Plan},
        record::{Claim, CommandRecord, Failure as FailedClaim, Success},
        refusal::{CommandRefusal, RefusalCode},
        step::Step,
    },
    conformance::generate::{agent, checked, report_id, report_of, scope_of, text},
    ids::{AgentId, CommandId},
    limits,
    names::{PackageKey, Version},
    offer::{Offer, OfferInput},
    query::CommandFilter,
    time::Timestamp,
    work::{Answer, RecordReport, UnitOfWork, Withheld},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// A host with its agent and its executor.
pub(super) struct Host {
    pub(super) agent: AgentId,
    sequence: u64,
    packages: Vec<Package>,
    /// By how many seconds its clock is ahead.
    ahead: u64,
    /// What it was given and has not begun; lost when it dies.
    inbox: BTreeMap<u64, CommandRecord>,
    /// What it has to tell; kept when it dies.
    outbox: Vec<(CommandId, Claim)>,
    /// The highest counter seen; kept when it dies.
    floor: u64,
    /// What was begun, with how it ended; kept when it dies.
    journal: BTreeMap<CommandId, Option<Claim>>,
    /// How often each command changed the host.
    pub(super) effects: BTreeMap<CommandId, u32>,
    /// Commands it never gets round to.
    neglected: BTreeSet<CommandId>,
}

struct Package {
    key: PackageKey,
    installed: u32,
    offered: u32,
    reported: Option<u32>,
}

/// The agent died.
struct Died;

impl Host {
    pub(super) fn new(number: u32, packages: usize) -> Self {
        let package = |place: usize| Package {
            key: PackageKey::parse("apt", &format!("package{place}"), Some("amd64")).expect("a valid key"),
            installed: 1,
            offered: 2,
            reported: None,
        };
        Self {
            agent: agent(number),
            sequence: 0,
            packages: (0..packages.max(1)).map(package).collect(),
            ahead: 0,
            inbox: BTreeMap::new(),
            outbox: Vec::new(),
            floor: 0,
            journal: BTreeMap::new(),
            effects: BTreeMap::new(),
            neglected: BTreeSet::new(),
        }
    }

    /// What a dry run would show: some versions need a package more.
    fn plan(&self, items: &[Item]) -> Plan {
        let mut changes = Vec::new();
        for item in items {
            let Some(package) = self.packages.iter().find(|package| package.key == item.package) else { continue };
            if package.offered > package.installed {
                let (from, to) = (Some(version(package.installed)), Some(version(package.offered)));
                changes.push(Change { package: package.key.clone(), from, to, origin: None });
            }
            if package.offered % 4 == 3 {
                let extra = PackageKey::parse("apt", &format!("{}-data", package.key.name), Some("amd64")).expect("a valid key");
                changes.push(Change { package: extra, from: None, to: Some(version(package.offered)), origin: None });
            }
        }
        Plan::of(changes)
    }
}

fn version(number: u32) -> Version {
    Version::parse(&format!("{number}.0-1")).expect("a valid version")
}

fn refused(code: RefusalCode) -> Claim {
    Claim::Refused(CommandRefusal::new(code, "by the host"))
}

fn failed(reason: &str) -> FailedClaim {
    FailedClaim { reason: text(reason), rolled_back: false, output: String::new() }
}

impl World {
    /// Something new is published.
    pub(super) fn publish(&mut self, place: usize) -> CheckResult {
        let package = self.rng.below(self.hosts[place].packages.len());
        self.hosts[place].packages[package].offered += 1;
        Ok(())
    }

    pub(super) async fn report(&mut self, place: usize) -> CheckResult {
        let number = self.number();
        let host = &mut self.hosts[place];
        host.sequence += 1;
        let (mut offers, mut gone): (Vec<(PackageKey, Offer)>, Vec<_>) = (Vec::new(), Vec::new());
        for package in &mut host.packages {
            if package.offered > package.installed {
                let input = OfferInput {
                    package_name: package.key.name.as_str().to_owned(),
                    arch: Some("amd64".to_owned()),
                    current_version: Some(version(package.installed).to_string()),
                    available_version: version(package.offered).to_string(),
                    ..OfferInput::default()
                };
                offers.extend(checked("apt", &[input]));
                package.reported = Some(package.offered);
            } else if package.reported.take().is_some() {
                gone.push((package.key.clone(), Some(version(package.installed))));
            }
        }
        let scope = scope_of("apt", self.clock, &offers, &gone);
        let report = report_of(report_id(number), host.sequence, vec![scope]).into();
        let work = RecordReport { agent: host.agent, report, received_at: self.clock, batch_events: 100, withheld: Withheld::default() };
        self.submit(&UnitOfWork::RecordReport(work)).await?.map_err(|refusal| Failure::new(refusal.to_string()))?;
        Ok(())
    }

    pub(super) async fn poll(&mut self, place: usize) -> CheckResult {
        let agent = self.hosts[place].agent;
        let limit = u32::try_from(self.rng.below(3)).unwrap_or(0);
        let (heard, now) = (self.send(agent, Step::Lease { limit }).await?, self.clock);
        let Heard::Answer(Answer::Commands(given)) = heard else { return Ok(()) };
        self.check_lease(agent, &given, limit, now).await?;
        for record in given {
            let neglects = self.rng.chance(4);
            let host = &mut self.hosts[place];
            if neglects {
                host.neglected.insert(record.id);
            }
            host.inbox.insert(record.counter.unwrap_or(0), record);
        }
        Ok(())
    }

    /// All that is with the agent was answered, in order, and nothing it does not get round to keeps anything else from it (clauses C1
    /// and C5).
    async fn check_lease(&self, agent: AgentId, given: &[CommandRecord], limit: u32, now: Timestamp) -> CheckResult {
        ensure!(given.is_sorted_by_key(|record| record.counter), "not in the order of their counters: {given:?}");
        let open = self.commands(Some(agent), CommandFilter::Open).await?;
        let leased: BTreeSet<_> = open.iter().filter(|record| record.state == CommandState::Leased).map(|record| record.id).collect();
        ensure_eq!(given.iter().map(|record| record.id).collect::<BTreeSet<_>>(), leased, "what was answered, and what is leased");
        let waits = |record: &&CommandRecord| record.state == CommandState::Queued && record.not_before <= now;
        let waiting = open.iter().filter(waits).count();
        let new = given.iter().filter(|record| record.attempts == 1).count();
        ensure!(waiting == 0 || new >= limit as usize, "{waiting} wait although {limit} could be given: {open:?}");
        for record in given {
            ensure!(record.audience.agent == agent && record.payload().is_some(), "not to be delivered: {record:?}");
            ensure!(record.leased_until.is_some_and(|until| until > now), "a lease that is over: {record:?}");
            ensure!(record.attempts <= limits::COMMAND_ATTEMPTS_MAX, "handed out too often: {record:?}");
        }
        Ok(())
    }

    /// The agent takes the next command of its inbox, or dies.
    pub(super) async fn work(&mut self, place: usize) -> CheckResult {
        if self.rng.chance(2) {
            self.hosts[place].ahead = self.rng.below(3) as u64 * 1_800;
        }
        let host = &self.hosts[place];
        let next = host.inbox.iter().find(|(_, record)| !host.neglected.contains(&record.id));
        let Some((counter, record)) = next.map(|(counter, record)| (*counter, record.clone())) else { return Ok(()) };
        // Of what was begun before, the journal tells.
        if !host.journal.contains_key(&record.id) {
            match self.send(host.agent, Step::Start { command: record.id }).await? {
                Heard::Answer(Answer::Commands(answered)) if answered[0].state == CommandState::Started => {}
                Heard::Lost => return Ok(()),
                Heard::Answer(_) | Heard::Refused(_) => {
                    self.hosts[place].inbox.remove(&counter);
                    return Ok(());
                }
            }
        }
        match self.execute(place, &record) {
            Ok(claim) => {
                let host = &mut self.hosts[place];
                host.inbox.remove(&counter);
                host.outbox.push((record.id, claim));
            }
            Err(Died) => {
                self.deaths += 1;
                self.hosts[place].inbox.clear();
            }
        }
        if self.rng.chance(70) { self.send_results(place).await } else { Ok(()) }
    }

    /// The executor's part.
    fn execute(&mut self, place: usize, record: &CommandRecord) -> Result<Claim, Died> {
        let (now, rng) = (self.clock, &mut self.rng);
        let host = &mut self.hosts[place];
        match host.journal.get(&record.id) {
            Some(Some(claim)) => return Ok(claim.clone()),
            Some(None) => {
                let claim = Claim::Failed(failed("interrupted"));
                host.journal.insert(record.id, Some(claim.clone()));
                return Ok(claim);
            }
            None => {}
        }
        let counter = record.counter.unwrap_or(0);
        if counter <= host.floor {
            return Ok(refused(RefusalCode::Replayed));
        }
        if now.saturating_add(Duration::from_secs(host.ahead)) >= record.expires_at {
            return Ok(refused(RefusalCode::Expired));
        }
        host.floor = counter;
        dies(rng)?;
        host.journal.insert(record.id, None);
        dies(rng)?;
        let claim = host.act(rng, record);
        dies(rng)?;
        host.journal.insert(record.id, Some(claim.clone()));
        dies(rng)?;
        Ok(claim)
    }

    pub(super) async fn send_results(&mut self, place: usize) -> CheckResult {
        for (command, claim) in std::mem::take(&mut self.hosts[place].outbox) {
            let agent = self.hosts[place].agent;
            match self.send(agent, Step::Finish { command, claim: claim.clone() }).await? {
                Heard::Answer(_) => {}
                Heard::Lost => self.hosts[place].outbox.push((command, claim)),
                Heard::Refused(refusal) => return Err(Failure::new(format!("the end of {command} was refused: {refusal}"))),
            }
        }
        Ok(())
    }
}

fn dies(rng: &mut crate::conformance::generate::Rng) -> Result<(), Died> {
    if rng.chance(4) { Err(Died) } else { Ok(()) }
}

impl Host {
    fn act(&mut self, rng: &mut crate::conformance::generate::Rng, record: &CommandRecord) -> Claim {
        if rng.chance(8) {
            return Claim::Failed(FailedClaim { rolled_back: rng.chance(40), ..failed("no space left on device") });
        }
        match &record.action {
            Action::Plan { items } => Claim::Succeeded(Success { plan: Some(self.plan(items)), ..Success::default() }),
            Action::Install(Order { items, plan_digest, .. }) => {
                if self.plan(items).digest() != *plan_digest {
                    return refused(RefusalCode::PlanChanged);
                }
                for item in items {
                    let package = self.packages.iter_mut().find(|package| package.key == item.package);
                    if let Some(package) = package {
                        package.installed = package.offered;
                    }
                }
                *self.effects.entry(record.id).or_default() += 1;
                Claim::Succeeded(Success { output: "Setting up…\n".to_owned(), ..Success::default() })
            }
            _ => {
                *self.effects.entry(record.id).or_default() += 1;
                Claim::Succeeded(Success::default())
            }
        }
    }
}
