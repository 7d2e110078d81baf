//! The same seeded history in the store under test and in the memory store, compared by everything that can be read.

use super::{
    CheckResult, Failure, Harness, Lab, Life as LifeOfCommands, Shape, ensure,
    generate::{Rng, agent, at, enrolment, text},
    history, live,
};
use crate::{
    Fleet, MemoryStore,
    command::lifecycle::CommandState,
    event::Actor,
    export::{Exporter, Summary},
    feed::FeedPosition,
    ids::{AgentId, UpdateId},
    query::{
        AgentQuery, AgentSortKey, BatchQuery, CommandFilter, CommandQuery, PackageQuery, PackageSortKey, PageNumber, PageSize, PageStart,
        QueryError, Search, Sort, SortKey, StatusFilter, TrendQuery, UpdateFilter, UpdateQuery,
    },
    retention::RetentionWindow,
    store::{Mode, Store, StoreError},
    time::Day,
    words::Severity,
    work::UnitOfWork,
};
use std::{collections::BTreeSet, fmt::Debug, sync::Arc, time::Duration};

/// Seeds of the ordinary run; a store's own tests may take more by [`compare_with_memory`].
const SEEDS: u64 = 6;

pub(super) async fn histories_read_like_the_memory_store(harness: &dyn Harness) -> CheckResult {
    for seed in 0..SEEDS {
        compare_with_memory(harness, seed, Shape::default(), None).await?;
    }
    Ok(())
}

pub(super) async fn histories_survive_reopening_midway(harness: &dyn Harness) -> CheckResult {
    for seed in SEEDS..SEEDS + 3 {
        compare_with_memory(harness, seed, Shape::default(), Some(20)).await?;
    }
    Ok(())
}

/// Runs the history of `seed` in a fresh store of `harness` and in the memory store: every answer, and at the end everything
/// that can be read, must be the same. With `reopen_after`, the store is reopened after that many units of work.
///
/// # Errors
/// The first difference, with the seed that replays it.
pub async fn compare_with_memory(harness: &dyn Harness, seed: u64, shape: Shape, reopen_after: Option<usize>) -> CheckResult {
    let (lab, memory) = run_both(harness, seed, shape, reopen_after).await?;
    let agents: Vec<_> = (0..shape.agents.max(1)).map(agent).collect();
    same(seed, &transcript(lab.store(), &agents).await?, &transcript(&*memory, &agents).await?)
}

/// As [`compare_with_memory`], but at the end the digests of both exports are compared, and what follows from the logs: for histories
/// so long that writing out every list would take most of the time. Answers how many events there were.
///
/// # Errors
/// The first difference, with the seed that replays it.
pub async fn compare_digests_with_memory(harness: &dyn Harness, seed: u64, shape: Shape) -> Result<u64, Failure> {
    let (lab, memory) = run_both(harness, seed, shape, None).await?;
    let (found, expected) = (digest(&lab.fleet).await?, digest(&Fleet::shared(Arc::clone(&memory))).await?);
    ensure!(found == expected, "history seed {seed} {shape:?}: exports differ\n   found: {found:?}\nexpected: {expected:?}");
    let mut events: u64 = memory.removed_agents(None, u32::MAX).await?.iter().map(|removed| removed.events).sum();
    for agent in (0..shape.agents.max(1)).map(agent) {
        let (found, expected) = (lab.store().derived(agent).await?, memory.derived(agent).await?);
        ensure!(found == expected, "history seed {seed} {shape:?}: states, history or counters of agent {agent} differ");
        events += expected.map_or(0, |derived| derived.sequence);
    }
    for filter in filters().map_err(|error| Failure::new(error.to_string()))? {
        let (found, expected) = (lab.store().stats(&filter).await?, memory.stats(&filter).await?);
        ensure!(
            found == expected,
            "history seed {seed} {shape:?}: counts of {filter:?} differ\n   found: {found:?}\nexpected: {expected:?}"
        );
    }
    Ok(events)
}

async fn digest(fleet: &Fleet) -> Result<Summary, Failure> {
    let mut exporter = Exporter::new(fleet);
    while exporter.next_line().await?.is_some() {}
    Ok(exporter.summary())
}

/// Both stores after the history; every answer was the same.
async fn run_both(harness: &dyn Harness, seed: u64, shape: Shape, reopen_after: Option<usize>) -> Result<(Lab, Arc<dyn Store>), Failure> {
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut lab = Lab::new(harness, 0).await?;
    let mut rng = Rng::new(seed);
    for (step, work) in history(seed, shape).iter().enumerate() {
        if reopen_after == Some(step) {
            lab = lab.reopened(harness).await;
        }
        let found = answer(lab.store(), work).await;
        let expected = answer(&*memory, work).await;
        ensure!(
            found == expected,
            "history seed {seed} {shape:?}: unit of work {step} was answered otherwise\n   found: {found}\nexpected: {expected}\n    work: {work:?}"
        );
        if rng.chance(6) {
            let change = Life::any(&mut rng, shape, step);
            let found = change.happen(&lab.fleet).await;
            let expected = change.happen(&Fleet::shared(Arc::clone(&memory))).await;
            ensure!(
                found == expected,
                "history seed {seed} {shape:?}: after {step}, {change:?} ended in\n   found: {found}\nexpected: {expected}"
            );
        }
    }
    Ok((lab, memory))
}

/// What happens to a log between units of work.
#[derive(Debug)]
enum Life {
    Prune { host: u32, second: u32 },
    Remove { host: u32 },
    Check { host: u32 },
}

impl Life {
    fn any(rng: &mut Rng, shape: Shape, step: usize) -> Self {
        let host = u32::try_from(rng.below(shape.agents.max(1) as usize)).unwrap_or(0);
        match rng.below(10) {
            // Times of a history grow by about a second a step.
            0..6 => Self::Prune { host, second: u32::try_from(rng.below(step + 2)).unwrap_or(0) },
            6 => Self::Remove { host },
            _ => Self::Check { host },
        }
    }

    async fn happen(&self, fleet: &Fleet) -> String {
        fn told<T: Debug>(result: Result<T, StoreError>) -> String {
            result.map_or_else(|error| format!("{:?}", error.kind()), |answer| format!("{answer:?}"))
        }
        match self {
            Self::Prune { host, second } => match RetentionWindow::days(30) {
                Ok(window) => {
                    let now = at(*second).saturating_add(Duration::from_secs(30 * 86_400));
                    told(fleet.prune(agent(*host), window, now).await)
                }
                Err(error) => error.to_string(),
            },
            Self::Remove { host } => told(fleet.remove_agent(agent(*host), Actor::Operator(text("ada")), None, at(500)).await),
            Self::Check { host } => told(fleet.check(agent(*host)).await),
        }
    }
}

async fn answer(store: &dyn Store, work: &UnitOfWork) -> String {
    match store.run(work, Mode::Commit).await {
        Ok(answer) => format!("{answer:?}"),
        Err(error) => format!("refused: {:?}", error.kind()),
    }
}

fn same(seed: u64, found: &[String], expected: &[String]) -> CheckResult {
    match difference(found, expected) {
        None => Ok(()),
        Some(difference) => Err(Failure::new(format!("history seed {seed}: {difference}"))),
    }
}

/// Where two lists of lines differ first, if they do.
pub(super) fn difference(found: &[String], expected: &[String]) -> Option<String> {
    let lines = found.len().max(expected.len());
    let line = |lines: &[String], index: usize| lines.get(index).map_or("(nothing)".to_owned(), Clone::clone);
    let index = (0..lines).find(|index| found.get(*index) != expected.get(*index))?;
    Some(format!("line {index} differs\n   found: {}\nexpected: {}", line(found, index), line(expected, index)))
}

/// Everything that can be read of these agents, one line a value: two stores with equal transcripts cannot be told apart.
///
/// # Errors
/// When the store fails.
pub async fn transcript(store: &dyn Store, agents: &[AgentId]) -> Result<Vec<String>, Failure> {
    let mut lines = Lines(Vec::new());
    lists(store, &mut lines).await?;
    summaries(store, &mut lines).await?;
    lines.add_all("feed", &store.feed(FeedPosition::START, u32::MAX).await?);
    lines.add_all("removed", &store.removed_agents(None, u32::MAX).await?);
    commands(store, agents, &mut lines).await?;
    for agent in agents {
        lines.add("agent", &store.agent(*agent).await?);
        lines.add("reports", &store.reports(*agent, 1_000).await?);
        lines.add("derived", &store.derived(*agent).await?);
        lines.add_all("base", &store.bases(*agent).await?);
        lines.add_all("batch by number", &store.agent_batches(*agent, 0, u32::MAX).await?);
        let log = store.replay(*agent, 0, u32::MAX).await?;
        lines.add_all("log", &log);
        let packages: BTreeSet<_> = log.iter().map(|recorded| recorded.event.package.clone()).collect();
        for package in packages {
            let id = UpdateId { agent: *agent, package };
            lines.add("update", &store.update(&id).await?);
            lines.add_all("event", &store.events(&id).await?);
            lines.add_all("history", &store.history(&id).await?);
        }
        batches(store, *agent, &mut lines).await?;
    }
    Ok(lines.0)
}

struct Lines(Vec<String>);

impl Lines {
    fn add(&mut self, what: &str, value: &impl Debug) {
        self.0.push(format!("{what}: {value:?}"));
    }

    fn add_all<T: Debug>(&mut self, what: &str, values: &[T]) {
        values.iter().for_each(|value| self.add(what, value));
    }
}

async fn lists(store: &dyn Store, lines: &mut Lines) -> Result<(), Failure> {
    for filter in filters().map_err(|error| Failure::new(error.to_string()))? {
        lines.add("stats", &store.stats(&filter).await?);
        for key in [SortKey::Severity, SortKey::Name, SortKey::Agent, SortKey::LastChange] {
            for reverse in [false, true] {
                let sort = Sort { key, reverse };
                let mut query = UpdateQuery { filter: filter.clone(), sort, size: PageSize::default(), start: PageStart::default() };
                loop {
                    let page = store.updates(&query).await?;
                    lines.add(&format!("page of {filter:?} by {sort}"), &page);
                    let Some(next) = page.next else { break };
                    query.start = PageStart::After(next);
                }
            }
        }
    }
    for sort in [AgentSortKey::Name, AgentSortKey::LastContact, AgentSortKey::Updates] {
        for reverse in [false, true] {
            lines.add("agents", &store.agents(&AgentQuery { sort, reverse, ..AgentQuery::default() }).await?);
        }
    }
    Ok(())
}

async fn summaries(store: &dyn Store, lines: &mut Lines) -> Result<(), Failure> {
    for filter in filters().map_err(|error| Failure::new(error.to_string()))? {
        for sort in [PackageSortKey::Hosts, PackageSortKey::Name] {
            let query = PackageQuery { filter: filter.clone(), sort, ..PackageQuery::default() };
            lines.add(&format!("packages of {filter:?}"), &store.packages(&query).await?);
        }
    }
    let days = TrendQuery::new(None, Day::of(at(0)), 3).map_err(|error| Failure::new(error.to_string()))?;
    lines.add("trend", &store.trend(&days).await?);
    Ok(())
}

/// Filters that between them use every part.
fn filters() -> Result<Vec<UpdateFilter>, QueryError> {
    let all = || UpdateFilter { status: StatusFilter::Any, ..UpdateFilter::default() };
    Ok(vec![
        UpdateFilter::default(),
        all(),
        UpdateFilter { agent: Some(enrolment(0).agent), ..all() },
        UpdateFilter { severity: Some(Severity::Critical), ..UpdateFilter::default() },
        UpdateFilter { security: Some(true), search: Some(Search::new("LIB")?), ..all() },
    ])
}

/// Every list of commands in pages of three, each command, and what is due when.
async fn commands(store: &dyn Store, agents: &[AgentId], lines: &mut Lines) -> Result<(), Failure> {
    let size = PageSize::new(3).map_err(|error| Failure::new(error.to_string()))?;
    let only = CommandState::ALL.iter().map(|state| CommandFilter::Only(*state));
    for state in [CommandFilter::Any, CommandFilter::Open].into_iter().chain(only) {
        for agent in std::iter::once(None).chain(agents.iter().copied().map(Some)) {
            let mut query = CommandQuery { agent, state, after: None, size };
            loop {
                let page = store.commands(&query).await?;
                lines.add(&format!("commands of {query:?}"), &page);
                let Some(next) = page.next else { break };
                query.after = Some(next);
            }
        }
    }
    let mut query = CommandQuery { size, ..CommandQuery::default() };
    loop {
        let page = store.commands(&query).await?;
        for record in page.items.iter().map(|row| &row.record) {
            lines.add("command", &store.command(record.audience.agent, record.id).await?);
        }
        let Some(next) = page.next else { break };
        query.after = Some(next);
    }
    for second in [0, 60, 3_600, 90_000, 900_000, 9_000_000] {
        lines.add("due", &store.due_commands(at(second), None, 100).await?);
        lines.add("due", &store.due_commands(at(second), Some(enrolment(0).agent), 1).await?);
    }
    Ok(())
}

async fn batches(store: &dyn Store, agent: AgentId, lines: &mut Lines) -> Result<(), Failure> {
    for with_rejections in [false, true] {
        let mut query = BatchQuery { agent: Some(agent), with_rejections, ..BatchQuery::default() };
        loop {
            let page = store.batches(&query).await?;
            if page.items.is_empty() {
                break;
            }
            for row in &page.items {
                lines.add("batch", row);
                lines.add("by id", &store.batch(agent, row.record.receipt.batch).await?);
                lines.add_all("rejected", &store.rejections(agent, row.record.receipt.batch).await?);
            }
            query.page = PageNumber::new(query.page.get() + 1).map_err(|error| Failure::new(error.to_string()))?;
        }
    }
    Ok(())
}

/// Plays the life of `seed` to the memory store and what was submitted there to a fresh store of `harness`: every answer, and at the
/// end everything that can be read, must be the same. With `reopen`, the store is reopened midway.
///
/// # Errors
/// The first difference, or what does not hold in the memory store, with the seed that replays it.
pub async fn compare_life_with_memory(harness: &dyn Harness, seed: u64, life: LifeOfCommands, reopen: Reopen) -> CheckResult {
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let lived = live(Arc::clone(&memory), seed, life).await?;
    let again = MemoryStore::new();
    let mut lab = Lab::new(harness, 0).await?;
    for (step, work) in lived.works.iter().enumerate() {
        if reopen == Reopen::Midway && step == lived.works.len() / 2 {
            lab = lab.reopened(harness).await;
        }
        let (found, expected) = (answer(lab.store(), work).await, answer(&again, work).await);
        ensure!(
            found == expected,
            "life of seed {seed} {life:?}: unit of work {step} was answered otherwise\n   found: {found}\nexpected: {expected}\n    work: {work:?}"
        );
    }
    let agents: Vec<_> = (0..life.agents.max(1)).map(agent).collect();
    same(seed, &transcript(lab.store(), &agents).await?, &transcript(&*memory, &agents).await?)
}

/// Whether a store is closed and opened again while it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reopen {
    /// It is not.
    Never,
    /// After half of what is submitted.
    Midway,
}

/// The memory store as a harness: what the kit itself is tested with.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryHarness;

#[async_trait::async_trait]
impl Harness for MemoryHarness {
    async fn fresh(&self) -> Arc<dyn Store> {
        Arc::new(MemoryStore::new())
    }

    async fn reopen(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        store
    }
}
