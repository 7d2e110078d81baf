//! A simulated fleet: many agents in one process that speak the real protocol, for trying out and loading a server.
//!
//! A [`Profile`] says what the agents do after their first report; every answer is held against what it must be, and measured.
//! Enrolment, report building, signing, delivery and memory are those of a real agent; only the hosts are invented, from a seed.
//! Each run enrols new agents with new keys, tagged `simulated`.

mod agent;
mod catalogue;
mod host;
mod profile;
pub(crate) mod random;
mod tally;

pub use profile::Profile;
pub use tally::{Kind, Latency};

use crate::{
    enrolment::{EnrolOptions, register},
    error::{Error, Result},
    identity::Identity,
    progress::{Progress, Stage},
    server::{PlainHttp, Server, ServerUrl, TrustedCertificates},
};
use agent::SimulatedAgent;
use catalogue::Catalogue;
use host::SimulatedHost;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tally::Tally;
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
    /// What the agents do after their first report.
    pub profile: Profile,
    /// Rounds after the first reports.
    pub rounds: u32,
    /// Further rounds until this time is over, counted from the first report.
    pub duration: Duration,
    /// Agents that work at the same time.
    pub concurrency: u32,
    /// Where plain HTTP may be used.
    pub plain_http: PlainHttp,
    /// By which certificates the server proves itself; by those this host trusts when none.
    pub trusted_certificates: Option<TrustedCertificates>,
}

impl Default for SimulationOptions {
    fn default() -> Self {
        Self {
            server: String::new(),
            token: String::new(),
            agents: 10,
            seed: 1,
            first_updates: 3_772,
            profile: Profile::default(),
            rounds: 0,
            duration: Duration::ZERO,
            concurrency: 8,
            plain_http: PlainHttp::LoopbackOnly,
            trusted_certificates: None,
        }
    }
}

/// What a simulation did, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
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
    /// Reports answered as recorded.
    pub reports_recorded: u64,
    /// Reports answered as unchanged.
    pub reports_unchanged: u64,
    /// Reports answered as stale.
    pub reports_stale: u64,
    /// Reports that had to be refused, and were.
    pub refused: u64,
    /// Answers that no server may give.
    pub wrong: u64,
    /// The first of them.
    pub wrong_answers: Vec<String>,
    /// How long it all took, enrolment aside.
    pub seconds: f64,
    /// Reports taken a second.
    pub reports_per_second: f64,
    /// How long requests took, by their kind.
    pub latencies: BTreeMap<Kind, Latency>,
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
        let mut tally = Tally::default();
        let mut agents = self.enrol(&catalogues, &mut tally, progress).await?;
        tally.summary.agents = agents.len() as u64;
        if agents.len() >= 5 {
            agents.pop();
        }
        tally.summary.reporting = agents.len() as u64;
        let (started, mut round) = (Instant::now(), 0);
        loop {
            agents = self.round(agents, round, &catalogues, &mut tally, progress).await?;
            let more = round < options.rounds || started.elapsed() < options.duration;
            if options.profile == Profile::First || !more {
                break;
            }
            round += 1;
        }
        let elapsed = started.elapsed();
        tally.summary.updates = agents.iter().flat_map(|agent| agent.host.scans()).map(|scan| scan.offers.len() as u64).sum();
        Ok(tally.finish(elapsed))
    }

    async fn enrol(&self, catalogues: &Arc<Vec<Catalogue>>, tally: &mut Tally, progress: &mut dyn Progress) -> Result<Vec<SimulatedAgent>> {
        let url = ServerUrl::parse(&self.options.server, self.options.plain_http)?.trusting(self.options.trusted_certificates.clone());
        let enrol = EnrolOptions {
            server: self.options.server.clone(),
            token: self.options.token.clone(),
            name: None,
            tags: vec![TAG.to_owned()],
            plain_http: self.options.plain_http,
            trusted_certificates: self.options.trusted_certificates.clone(),
        };
        // One client for all: each would keep the authorities it trusts in memory.
        let server = Server::new(url.clone())?;
        let (seed, first_updates, of) = (self.options.seed, self.options.first_updates, u64::from(self.options.agents));
        let start = |index: u64| {
            let (url, enrol, server, catalogues) = (url.clone(), enrol.clone(), server.clone(), Arc::clone(catalogues));
            async move {
                let host = SimulatedHost::new(seed, index, first_updates, &catalogues);
                let mut identity = Identity::new(url, host.name.clone());
                let started = Instant::now();
                register(&server, &mut identity, &enrol).await?;
                Ok((SimulatedAgent::new(host, identity, server), started.elapsed()))
            }
        };
        let mut agents = Vec::new();
        in_parallel((0..of).map(start), self.options.concurrency, |(agent, took)| {
            tally.took(Kind::Enrol, took);
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
        tally: &mut Tally,
        progress: &mut dyn Progress,
    ) -> Result<Vec<SimulatedAgent>> {
        let of = agents.len() as u64;
        let start = |mut agent: SimulatedAgent| {
            let (catalogues, behaviour) = (Arc::clone(catalogues), self.options.profile.behaviour(agent.host.index));
            async move {
                let taken = match behaviour.filter(|_| round > 0) {
                    Some(behaviour) => agent.live(behaviour, round, &catalogues).await?,
                    None => agent.first().await?,
                };
                Ok((agent, taken))
            }
        };
        let mut done = Vec::new();
        in_parallel(agents.into_iter().map(start), self.options.concurrency, |(agent, taken): (SimulatedAgent, Tally)| {
            tally.add(taken);
            done.push(agent);
            progress.stage(&Stage::Reported { agents: done.len() as u64, of, round });
        })
        .await?;
        done.sort_unstable_by_key(|agent| agent.host.index);
        Ok(done)
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
