//! Lives of commands: operators and agents at work on a store, among lost answers, repeated and late messages, agents that die at the
//! worst moment, and clocks that jump.
//!
//! The agents keep the executor's rules and nothing else: begin only what the store says is started, persist the counter before
//! acting, keep a journal, never act on a counter seen before. Everything is a function of the seed; what was submitted is kept, so
//! that the same life can be played to another store.

mod host;
mod operator;

use super::{
    CheckResult, Failure, ensure, ensure_eq,
    generate::{Rng, at, enrolment},
};
use crate::{
    Fleet,
    command::{
        lifecycle::CommandState,
        payload::SigningMode,
        record::{CommandRecord, Ending, Terms},
        step::{CommandStep, Step},
    },
    event::Source,
    ids::{AgentId, CommandId},
    limits,
    query::{CommandFilter, CommandQuery, PageSize, StatusFilter, UpdateFilter, UpdateQuery, UpdateRow},
    state::Standing,
    store::{Mode, Store, StoreErrorKind},
    time::Timestamp,
    work::{Answer, Refusal, UnitOfWork},
};
use host::Host;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// How large a life is.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    /// How many agents take part.
    pub agents: u32,
    /// How many packages each of their hosts has.
    pub packages: usize,
    /// How many things happen before everything is left to end by itself.
    pub steps: usize,
}

impl Default for Life {
    fn default() -> Self {
        Self { agents: 2, packages: 6, steps: 400 }
    }
}

/// What came of a life.
#[derive(Clone, Debug, Default)]
pub struct Lived {
    /// Everything that was submitted, in order.
    pub works: Vec<UnitOfWork>,
    /// How many commands ended in each state.
    pub ends: BTreeMap<CommandState, u64>,
    /// How many commands were told of an end after their end.
    pub late: u64,
    /// How many commands changed a host.
    pub effects: u64,
    /// How often an agent died.
    pub deaths: u64,
}

/// Plays the life of `seed` to an empty store, and checks at every step and at the end what must hold.
///
/// # Errors
/// What does not hold, with the seed that replays it.
pub async fn live(store: Arc<dyn Store>, seed: u64, life: Life) -> Result<Lived, Failure> {
    let lived = World::new(store, seed, life).play(life).await;
    lived.map_err(|failure| Failure::new(format!("life of seed {seed} {life:?}: {failure}")))
}

struct World {
    store: Arc<dyn Store>,
    rng: Rng,
    clock: Timestamp,
    numbers: u64,
    terms: Terms,
    hosts: Vec<Host>,
    works: Vec<UnitOfWork>,
    /// Messages that may come once more, however late.
    old: Vec<UnitOfWork>,
    deaths: u64,
}

/// What became of a message.
enum Heard {
    Answer(Answer),
    Refused(Refusal),
    /// It took effect or not, and nobody was told.
    Lost,
}

impl World {
    fn new(store: Arc<dyn Store>, seed: u64, life: Life) -> Self {
        let mut rng = Rng::new(seed);
        let (mode, signatures_min) =
            if rng.chance(8) { (SigningMode::OperatorSigns, 1 + u32::from(rng.chance(50))) } else { (SigningMode::ServerSigns, 0) };
        let terms = Terms { mode, signatures_min, ..Terms::default() };
        let hosts = (0..life.agents.max(1)).map(|number| Host::new(number, life.packages)).collect();
        Self { store, rng, clock: at(0), numbers: 0, terms, hosts, works: Vec::new(), old: Vec::new(), deaths: 0 }
    }

    async fn play(mut self, life: Life) -> Result<Lived, Failure> {
        for number in 0..life.agents.max(1) {
            drop(self.submit(&UnitOfWork::EnrolAgent(enrolment(number))).await?);
        }
        for place in 0..self.hosts.len() {
            self.report(place).await?;
        }
        for _ in 0..life.steps {
            self.pass_time();
            let place = self.rng.below(self.hosts.len());
            self.happen(place).await?;
        }
        self.end().await
    }

    async fn happen(&mut self, place: usize) -> CheckResult {
        match self.rng.below(100) {
            0..12 => self.approve_and_request(place).await,
            12..14 => self.request_on_host(place).await,
            14..16 => self.withdraw(place).await,
            16..18 => self.cancel(place).await,
            18..21 => self.retry(place).await,
            21..25 => self.confirm(place).await,
            25..28 if self.rng.chance(10) => self.recall(place).await,
            25..28 => self.sign(place).await,
            28..48 => self.poll(place).await,
            48..81 => self.work(place).await,
            81..86 => self.send_results(place).await,
            86..91 => self.report(place).await,
            91..94 => self.publish(place),
            94..97 => self.again().await,
            _ => self.sweep().await,
        }
    }

    /// Mostly a little; now and then a long time, or back.
    fn pass_time(&mut self) {
        let seconds = self.rng.below(40) as u64;
        self.clock = match self.rng.below(100) {
            0 => self.clock.saturating_sub(Duration::from_secs(60 * seconds)),
            1 | 2 => self.clock.saturating_add(Duration::from_secs(90 * seconds)),
            _ => self.clock.saturating_add(Duration::from_secs(seconds)),
        };
    }

    /// Submits work whose answer always comes.
    async fn submit(&mut self, work: &UnitOfWork) -> Result<Result<Answer, Refusal>, Failure> {
        self.works.push(work.clone());
        match self.store.run(work, Mode::Commit).await {
            Ok(answer) => Ok(Ok(answer)),
            Err(error) => match error.kind() {
                StoreErrorKind::Refused(refusal) => Ok(Err(refusal.clone())),
                _ => Err(error.into()),
            },
        }
    }

    /// Sends a step, which may be lost, be heard twice, or be heard and not answered.
    async fn send(&mut self, agent: AgentId, step: Step) -> Result<Heard, Failure> {
        let work = UnitOfWork::Command(CommandStep { agent, step, at: self.clock });
        if self.rng.chance(30) {
            self.old.push(work.clone());
        }
        if self.rng.chance(4) {
            return Ok(Heard::Lost);
        }
        let mut answered = self.submit(&work).await?;
        if self.rng.chance(4) {
            // A delivery that is repeated at once.
            let first = std::mem::replace(&mut answered, self.submit(&work).await?);
            // Whoever asks again is given more.
            if !matches!(&work, UnitOfWork::Command(CommandStep { step: Step::Lease { .. }, .. })) {
                ensure_eq!(answered, first, "the answer to the same step again: {work:?}");
            }
        }
        if self.rng.chance(6) {
            return Ok(Heard::Lost);
        }
        Ok(answered.map_or_else(Heard::Refused, Heard::Answer))
    }

    /// An old message comes once more.
    async fn again(&mut self) -> CheckResult {
        if self.old.is_empty() {
            return Ok(());
        }
        let work = self.rng.pick(&self.old).clone();
        let work = match work {
            UnitOfWork::Command(step) => UnitOfWork::Command(CommandStep { at: self.clock, ..step }),
            other => other,
        };
        let before = self.ended(&work).await?;
        drop(self.submit(&work).await?);
        self.still_ended(&before).await
    }

    /// The commands of the agent that have ended, with how.
    async fn ended(&self, work: &UnitOfWork) -> Result<Vec<CommandRecord>, Failure> {
        let UnitOfWork::Command(CommandStep { agent, .. }) = work else { return Ok(Vec::new()) };
        Ok(self.commands(Some(*agent), CommandFilter::Any).await?.into_iter().filter(|record| !record.state.open()).collect())
    }

    async fn still_ended(&self, before: &[CommandRecord]) -> CheckResult {
        for was in before {
            let now = self.command(was.audience.agent, was.id).await?;
            ensure_eq!((now.state, &now.end), (was.state, &was.end), "how {} had ended", was.id);
        }
        Ok(())
    }

    async fn sweep(&mut self) -> CheckResult {
        for agent in self.store.due_commands(self.clock, None, 100).await? {
            let answered = self.submit(&UnitOfWork::Command(CommandStep { agent, step: Step::Sweep, at: self.clock })).await?;
            let Ok(Answer::Commands(swept)) = answered else { return Err(Failure::new(format!("a sweep was answered {answered:?}"))) };
            ensure!(!swept.is_empty(), "a due sweep of {agent} changed nothing");
        }
        let left = self.store.due_commands(self.clock, None, 100).await?;
        ensure!(left.is_empty(), "due after a sweep at {}: {left:?}", self.clock);
        Ok(())
    }

    async fn command(&self, agent: AgentId, id: CommandId) -> Result<CommandRecord, Failure> {
        self.store.command(agent, id).await?.ok_or_else(|| Failure::new(format!("command {id} of {agent} is gone")))
    }

    /// Every command that passes, walked in pages.
    async fn commands(&self, agent: Option<AgentId>, state: CommandFilter) -> Result<Vec<CommandRecord>, Failure> {
        let size = PageSize::MAX;
        let mut query = CommandQuery { agent, state, after: None, size };
        let mut found = Vec::new();
        loop {
            let page = self.store.commands(&query).await?;
            found.extend(page.items.into_iter().map(|row| row.record));
            match page.next {
                Some(next) => query.after = Some(next),
                None => {
                    ensure_eq!(found.len() as u64, page.total, "commands of {query:?}, and their total");
                    return Ok(found);
                }
            }
        }
    }

    async fn updates(&self, place: usize, status: StatusFilter) -> Result<Vec<UpdateRow>, Failure> {
        let filter = UpdateFilter { status, agent: Some(self.hosts[place].agent), ..UpdateFilter::default() };
        Ok(self.store.updates(&UpdateQuery { filter, ..UpdateQuery::default() }).await?.items)
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn command_id(&mut self) -> CommandId {
        CommandId::from_uuid(self.rng.uuid()).expect("not nil")
    }

    /// Nobody does anything any more: everything ends. What is said afterwards changes nothing.
    async fn end(mut self) -> Result<Lived, Failure> {
        self.clock = self.clock.saturating_add(limits::COMMAND_LIFETIME_MAX + limits::COMMAND_RUN_MAX + Duration::from_secs(36_000));
        self.sweep().await?;
        let open = self.commands(None, CommandFilter::Open).await?;
        ensure!(open.is_empty(), "these never end: {open:?}");
        let ended = self.commands(None, CommandFilter::Any).await?;
        for place in 0..self.hosts.len() {
            self.send_results(place).await?;
            self.poll(place).await?;
        }
        for work in std::mem::take(&mut self.old) {
            // A request that was lost at first would begin anew.
            let asks = |step: &Step| matches!(step, Step::Request(_) | Step::Confirm(_) | Step::Retry(_));
            if !matches!(&work, UnitOfWork::Command(CommandStep { step, .. }) if asks(step)) {
                drop(self.submit(&work).await?);
            }
        }
        self.still_ended(&ended).await?;
        self.audit().await
    }

    async fn audit(&self) -> Result<Lived, Failure> {
        let mut lived = Lived { works: self.works.clone(), deaths: self.deaths, ..Lived::default() };
        for place in 0..self.hosts.len() {
            let host = &self.hosts[place];
            let records = self.commands(Some(host.agent), CommandFilter::Any).await?;
            for record in &records {
                host.check_effect(record)?;
                *lived.ends.entry(record.state).or_default() += 1;
                lived.late += u64::from(!record.late.is_empty());
            }
            self.check_counters(host.agent, &records).await?;
            self.check_updates(place).await?;
            self.check_log(host.agent).await?;
            lived.effects += host.effects.len() as u64;
        }
        for (state, count) in &lived.ends {
            let query = CommandQuery { state: CommandFilter::Only(*state), ..CommandQuery::default() };
            ensure_eq!(self.store.commands(&query).await?.total, *count, "commands that are {state}");
        }
        Ok(lived)
    }

    async fn check_counters(&self, agent: AgentId, records: &[CommandRecord]) -> CheckResult {
        let head = self.store.agent(agent).await?.ok_or_else(|| Failure::new("the agent is gone"))?;
        let given: Vec<u64> = records.iter().filter(|record| record.delivered()).filter_map(|record| record.counter).collect();
        let distinct: BTreeSet<u64> = given.iter().copied().collect();
        ensure_eq!(distinct.len(), given.len(), "counters delivered, each once");
        ensure!(distinct.iter().all(|counter| *counter <= head.commands), "a counter above the highest given, {}", head.commands);
        if self.terms.mode == SigningMode::ServerSigns {
            ensure_eq!(distinct.len() as u64, head.commands, "counters given, which are dense");
        }
        Ok(())
    }

    /// The queue and the updates tell one story.
    async fn check_updates(&self, place: usize) -> CheckResult {
        for row in self.updates(place, StatusFilter::Any).await? {
            match &row.state.standing {
                Standing::Queued(dispatch) => {
                    return Err(Failure::new(format!("{} waits for {}, which has ended", row.state.package, dispatch.command)));
                }
                Standing::Installing(dispatch) => {
                    let record = self.command(row.agent, dispatch.command).await?;
                    ensure_eq!(record.state, CommandState::Succeeded, "the command that installs {}", row.state.package);
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn check_log(&self, agent: AgentId) -> CheckResult {
        for record in self.store.agent_batches(agent, 0, u32::MAX).await? {
            let of_command = matches!(record.source, Source::Command { .. });
            ensure!(!of_command || record.receipt.rejected == 0, "a step of a command brought events that were rejected: {record:?}");
        }
        let differences = Fleet::shared(Arc::clone(&self.store)).check(agent).await?;
        ensure!(differences.is_empty(), "what is kept is not what the log says: {differences:?}");
        Ok(())
    }
}

impl Host {
    /// Effect exactly once (clause C2), and never without a start, nor after a refusal.
    fn check_effect(&self, record: &CommandRecord) -> CheckResult {
        let effects = self.effects.get(&record.id).copied().unwrap_or(0);
        ensure!(effects <= 1, "{effects} effects of {record:?}");
        let acts = !matches!(record.action, crate::command::payload::Action::Plan { .. });
        let claimed = |how: &Ending| matches!(how, Ending::Succeeded(_));
        let succeeded = record.end.iter().chain(&record.late).any(|end| claimed(&end.how));
        if acts && succeeded {
            ensure_eq!(effects, 1, "effects of a command that succeeded: {record:?}");
        }
        if record.started_at.is_none() || record.state == CommandState::Refused {
            ensure_eq!(effects, 0, "effects of a command that was never begun: {record:?}");
        }
        Ok(())
    }
}
