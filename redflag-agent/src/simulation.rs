//! A simulated fleet: many agents in one process that speak the real protocol, for trying out and loading a server.
//!
//! Enrolment, report building, signing, delivery and memory are those of a real agent; only the hosts are invented, from a seed.
//! Each run enrols new agents with new keys, tagged `simulated`.

mod catalogue;
mod host;
pub(crate) mod random;

use crate::{
    clock,
    delivery::{self, Link, Retries, Verdict},
    enrolment::{EnrolOptions, register},
    error::{Error, Result},
    identity::Identity,
    ledger::Ledger,
    outbox::Waiting,
    progress::{Progress, Silent, Stage},
    report::{self, Envelope},
    server::{PlainHttp, Server, ServerUrl},
};
use catalogue::Catalogue;
use host::SimulatedHost;
use redflag_core::{wire, wire::ReportAnswerBody, words::ScanResult};
use serde::Serialize;
use std::sync::Arc;
use tokio::task::JoinSet;

/// The word that marks simulated agents.
pub const TAG: &str = "simulated";
/// Most agents of one simulation.
pub const AGENTS_MAX: u32 = 100_000;

/// What to simulate.
#[derive(Clone, Debug)]
pub struct SimulationOptions {
    /// The server's address.
    pub server: String,
    /// An enrolment token with a seat for every agent.
    pub token: String,
    /// How many agents, at most [`AGENTS_MAX`].
    pub agents: u32,
    /// What the hosts are made from: the same seed makes the same fleet.
    pub seed: u64,
    /// Updates of the first host.
    pub first_updates: u32,
    /// Rounds of change after the first reports.
    pub rounds: u32,
    /// Agents that work at the same time.
    pub concurrency: u32,
    /// Where plain HTTP may be used.
    pub plain_http: PlainHttp,
}

impl Default for SimulationOptions {
    fn default() -> Self {
        Self {
            server: String::new(),
            token: String::new(),
            agents: 10,
            seed: 1,
            first_updates: 3_772,
            rounds: 0,
            concurrency: 8,
            plain_http: PlainHttp::LoopbackOnly,
        }
    }
}

/// What a simulation did, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SimulationSummary {
    /// Agents enrolled.
    pub agents: u64,
    /// Those of them that reported; of five or more agents the last never does.
    pub reporting: u64,
    /// Reports the server took.
    pub reports: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Updates open at the end, over all hosts and managers, as the hosts see it.
    pub updates: u64,
    /// Batches written.
    pub batches: u64,
    /// Events written.
    pub events: u64,
    /// Facts that became events.
    pub recorded: u64,
    /// Facts that were known.
    pub unchanged: u64,
    /// Facts rejected.
    pub rejected: u64,
    /// Scans that failed.
    pub failed_scans: u64,
    /// Scans that were partial.
    pub partial_scans: u64,
}

/// A simulated fleet, ready to run.
#[derive(Clone, Debug)]
pub struct Simulation {
    options: SimulationOptions,
}

impl Simulation {
    /// A simulation with these options.
    #[must_use]
    pub const fn new(options: SimulationOptions) -> Self {
        Self { options }
    }

    /// Enrols every agent, lets it report, then lives through the rounds.
    ///
    /// # Errors
    /// The first failure of any agent: an unreachable server, a token without enough seats, a report refused.
    pub async fn run(&self, progress: &mut dyn Progress) -> Result<SimulationSummary> {
        let options = &self.options;
        if options.agents == 0 || options.agents > AGENTS_MAX {
            return Err(Error::invalid(format!("{} agents; a simulation has 1 to {AGENTS_MAX}", options.agents)));
        }
        let catalogues = Arc::new(Catalogue::all(options.seed));
        let mut agents = self.enrol(&catalogues, progress).await?;
        let mut summary = SimulationSummary { agents: agents.len() as u64, ..SimulationSummary::default() };
        if agents.len() >= 5 {
            agents.pop();
        }
        summary.reporting = agents.len() as u64;
        for round in 0..=options.rounds {
            agents = self.round(agents, round, &catalogues, &mut summary, progress).await?;
        }
        summary.updates = agents.iter().flat_map(|agent| agent.host.scans()).map(|scan| scan.offers.len() as u64).sum();
        Ok(summary)
    }

    async fn enrol(&self, catalogues: &Arc<Vec<Catalogue>>, progress: &mut dyn Progress) -> Result<Vec<SimulatedAgent>> {
        let url = ServerUrl::parse(&self.options.server, self.options.plain_http)?;
        let enrol = EnrolOptions {
            server: self.options.server.clone(),
            token: self.options.token.clone(),
            name: None,
            tags: vec![TAG.to_owned()],
            plain_http: self.options.plain_http,
        };
        let (seed, first_updates, of) = (self.options.seed, self.options.first_updates, u64::from(self.options.agents));
        let start = |index: u64| {
            let (url, enrol, catalogues) = (url.clone(), enrol.clone(), Arc::clone(catalogues));
            async move {
                let host = SimulatedHost::new(seed, index, first_updates, &catalogues);
                let mut identity = Identity::new(url, host.name.clone());
                let server = register(&mut identity, &enrol).await?;
                Ok(SimulatedAgent { host, identity, server, ledger: Ledger::default(), counter: 0, sequence: 0 })
            }
        };
        let mut agents = Vec::new();
        in_parallel((0..of).map(start), self.options.concurrency, |agent| {
            agents.push(agent);
            progress.stage(&Stage::Enrolled { agents: agents.len() as u64, of });
        })
        .await?;
        agents.sort_unstable_by_key(|agent: &SimulatedAgent| agent.host.index);
        Ok(agents)
    }

    async fn round(
        &self,
        agents: Vec<SimulatedAgent>,
        round: u32,
        catalogues: &Arc<Vec<Catalogue>>,
        summary: &mut SimulationSummary,
        progress: &mut dyn Progress,
    ) -> Result<Vec<SimulatedAgent>> {
        let of = agents.len() as u64;
        let start = |mut agent: SimulatedAgent| {
            let catalogues = Arc::clone(catalogues);
            async move {
                if round > 0 {
                    agent.host.live(round, &catalogues);
                }
                let taken = agent.report().await?;
                Ok((agent, taken))
            }
        };
        let mut done = Vec::new();
        in_parallel(agents.into_iter().map(start), self.options.concurrency, |(agent, taken): (SimulatedAgent, SimulationSummary)| {
            summary.add(&taken);
            done.push(agent);
            progress.stage(&Stage::Reported { agents: done.len() as u64, of, round });
        })
        .await?;
        done.sort_unstable_by_key(|agent| agent.host.index);
        Ok(done)
    }
}

impl SimulationSummary {
    fn add(&mut self, taken: &Self) {
        self.reports += taken.reports;
        self.bytes += taken.bytes;
        self.batches += taken.batches;
        self.events += taken.events;
        self.recorded += taken.recorded;
        self.unchanged += taken.unchanged;
        self.rejected += taken.rejected;
        self.failed_scans += taken.failed_scans;
        self.partial_scans += taken.partial_scans;
    }

    fn answered(&mut self, answer: &ReportAnswerBody, bytes: usize) {
        self.reports += 1;
        self.bytes += bytes as u64;
        self.batches += u64::from(answer.batches);
        self.events += u64::from(answer.events);
        self.recorded += answer.recorded;
        self.unchanged += answer.unchanged;
        self.rejected += answer.rejected;
    }
}

/// An agent that keeps in memory what a real one keeps on disk.
#[derive(Debug)]
struct SimulatedAgent {
    host: SimulatedHost,
    identity: Identity,
    server: Server,
    ledger: Ledger,
    counter: u64,
    sequence: u64,
}

impl SimulatedAgent {
    /// Reports, and once more in full if the server asks for it.
    async fn report(&mut self) -> Result<SimulationSummary> {
        let scans = self.host.scans();
        let mut taken = SimulationSummary {
            failed_scans: scans.iter().filter(|scan| scan.result == ScanResult::Failed).count() as u64,
            partial_scans: scans.iter().filter(|scan| scan.result == ScanResult::Partial).count() as u64,
            ..SimulationSummary::default()
        };
        for _ in 0..2 {
            self.sequence += 1;
            let (report_id, sent_at, host) = (clock::new_report_id(), clock::now(), self.host.facts.clone());
            let envelope = Envelope { report_id, sequence: self.sequence, sent_at, host };
            let report = Waiting { report_id, body: report::build(&envelope, &scans, &self.ledger)?.body };
            let answer = self.send(&report).await?;
            let parsed = wire::read_report(&report.body)
                .map_err(|error| Error::invalid(format!("the report of {} is not readable: {error}", self.host.name)))?;
            self.ledger.acknowledge(&parsed, &answer);
            taken.answered(&answer, report.body.len());
            if answer.full_required.is_empty() {
                break;
            }
        }
        Ok(taken)
    }

    async fn send(&mut self, report: &Waiting) -> Result<ReportAnswerBody> {
        let counter = &mut self.counter;
        let mut next_counter = || {
            *counter += 1;
            Ok(*counter)
        };
        let mut link = Link { server: &self.server, identity: &self.identity, next_counter: &mut next_counter };
        match delivery::send(&mut link, report, 0, &Retries::default(), &mut Silent).await? {
            Verdict::Taken(answer) => Ok(answer),
            Verdict::Refused(error) => Err(error),
        }
    }
}

/// Runs `tasks`, at most `limit` at a time, and hands each result to `done`; the first error ends it all.
async fn in_parallel<F, T>(tasks: impl Iterator<Item = F>, limit: u32, mut done: impl FnMut(T)) -> Result<()>
where
    F: Future<Output = Result<T>> + Send + 'static,
    T: Send + 'static,
{
    let (mut tasks, mut running) = (tasks, JoinSet::new());
    loop {
        while running.len() < limit.max(1) as usize
            && let Some(task) = tasks.next()
        {
            running.spawn(task);
        }
        match running.join_next().await {
            Some(Ok(result)) => done(result?),
            Some(Err(error)) => return Err(Error::invalid(format!("a simulated agent stopped: {error}"))),
            None => return Ok(()),
        }
    }
}
