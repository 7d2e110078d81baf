//! Which agents have a state of each package, and of which kind, in memory (clauses Q2 and Q4): 8 bytes a state.
//!
//! Lists of the whole fleet are counted and entered by it: which package a page begins with, however deep, follows from adding up
//! the packages before it, of which there are thousands, instead of their states, of which there are millions. An index in the
//! file could do the same, but a report of a new host would then write a page of it for every one of its packages.
//!
//! It is a cache: every tally bears the generation of the states that it counts, a reader uses only the one of the moment it reads,
//! and any can be counted anew from the states.

use crate::{
    error::Failure,
    stored::{get, package_key},
};
use redflag_core::{
    counters::CounterKey,
    ids::AgentId,
    names::{Manager, PackageKey},
    query::{PackagePage, PackageQuery, PackageRow, PackageSortKey, Position, Sort, SortKey, UpdateFilter, UpdateStats},
    state::PackageState,
    words::{AvailabilityKind, Severity, Status},
};
use rusqlite::Connection;
use std::{
    cmp::{Ordering, Reverse},
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Generations that are kept: readers are at most a commit or two behind the writer.
const KEPT: usize = 4;

/// The generation of the states as the connection sees them; it grows with every commit that changes one.
pub(crate) fn generation(connection: &Connection) -> Result<i64, Failure> {
    connection.prepare_cached("SELECT number FROM generation")?.query_one([], |row| Ok(get(row, 0)))?
}

/// Marks the states as changed, and answers their generation from now on.
pub(crate) fn advance(connection: &Connection) -> Result<i64, Failure> {
    connection.prepare_cached("UPDATE generation SET number = number + 1 RETURNING number")?.query_one([], |row| Ok(get(row, 0)))?
}

/// The tallies of the newest generations, shared by the writer and the readers.
#[derive(Debug, Default)]
pub(crate) struct Tallies {
    recent: Mutex<VecDeque<Arc<Tally>>>,
}

impl Tallies {
    fn recent(&self) -> MutexGuard<'_, VecDeque<Arc<Tally>>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn of(&self, generation: i64) -> Option<Arc<Tally>> {
        self.recent().iter().find(|tally| tally.generation == generation).cloned()
    }

    /// Shares the tally of a generation, before the commit that brings it about, so that no reader looks for it in vain.
    pub(crate) fn publish(&self, tally: Tally) {
        let mut recent = self.recent();
        recent.retain(|known| known.generation != tally.generation);
        recent.push_back(Arc::new(tally));
        while recent.len() > KEPT {
            recent.pop_front();
        }
    }

    /// To be called when the commit failed that was to bring a generation about.
    pub(crate) fn withdraw(&self, generation: i64) {
        self.recent().retain(|tally| tally.generation != generation);
    }

    pub(crate) fn forget(&self) {
        self.recent().clear();
    }
}

/// What states of one package are told apart by; severities come first, because lists are ordered by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    severity: Severity,
    status: Status,
    security: bool,
    availability: AvailabilityKind,
}

impl Kind {
    const COUNT: usize = Severity::ALL.len() * Status::ALL.len() * 2 * AvailabilityKind::ALL.len();

    fn of(state: &PackageState) -> Self {
        let candidate = &state.offer.candidate;
        Self {
            severity: candidate.severity,
            status: state.status(),
            security: candidate.security,
            availability: state.offer.availability.kind,
        }
    }

    /// A number below [`Kind::COUNT`], for sums in an array.
    fn place(self) -> usize {
        let place = usize::from(self.severity.code()) * Status::ALL.len() + usize::from(self.status.code());
        (place * 2 + usize::from(self.security)) * AvailabilityKind::ALL.len() + usize::from(self.availability.code())
    }

    /// Whether states of this kind pass; agent, manager and search are settled elsewhere.
    fn passes(self, filter: &UpdateFilter) -> bool {
        filter.status.matches(self.status)
            && filter.severity.is_none_or(|wanted| wanted == self.severity)
            && filter.availability.is_none_or(|wanted| wanted == self.availability)
            && filter.security.is_none_or(|wanted| wanted == self.security)
    }

    fn counter(self, manager: &Manager) -> CounterKey {
        let Self { severity, status, security, availability } = self;
        CounterKey { manager: manager.clone(), status, severity, security, availability }
    }
}

/// A package as lists name and order it.
#[derive(Debug)]
struct Named {
    package_ref: i64,
    package: PackageKey,
    /// What a search looks at.
    lower: String,
}

impl Named {
    fn new(package_ref: i64, package: PackageKey) -> Arc<Self> {
        let lower = package.name.as_str().to_ascii_lowercase();
        Arc::new(Self { package_ref, package, lower })
    }
}

/// The state of one agent, among those of a package.
#[derive(Clone, Copy, Debug)]
struct Posting {
    agent_ref: u32,
    kind: Kind,
}

/// Ids of agents by ref.
#[derive(Clone, Debug, Default)]
struct Agents(Vec<Option<AgentId>>);

impl Agents {
    fn add(&mut self, agent_ref: u32, agent: AgentId) {
        let place = agent_ref as usize;
        if self.0.len() <= place {
            self.0.resize(place + 1, None);
        }
        self.0[place] = Some(agent);
    }

    fn of(&self, posting: &Posting) -> Option<AgentId> {
        self.0.get(posting.agent_ref as usize).copied().flatten()
    }
}

/// The states of one package.
#[derive(Clone, Debug)]
struct Entry {
    named: Arc<Named>,
    /// How many there are of each kind; no count is zero.
    counts: Vec<(Kind, u64)>,
    /// By the agent's id.
    postings: Vec<Posting>,
}

impl Entry {
    fn empty(named: Arc<Named>) -> Self {
        Self { named, counts: Vec::new(), postings: Vec::new() }
    }

    /// Takes in the state of an agent.
    fn set(&mut self, agents: &Agents, posting: Posting) {
        let agent = agents.of(&posting);
        let place = self.postings.partition_point(|known| agents.of(known) < agent);
        match self.postings.get_mut(place) {
            Some(known) if known.agent_ref == posting.agent_ref => {
                let before = std::mem::replace(&mut known.kind, posting.kind);
                self.remove(before);
            }
            _ => self.postings.insert(place, posting),
        }
        self.add(posting.kind);
    }

    fn add(&mut self, kind: Kind) {
        match self.counts.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => self.counts.push((kind, 1)),
        }
    }

    fn remove(&mut self, kind: Kind) {
        if let Some(place) = self.counts.iter().position(|(known, _)| *known == kind) {
            self.counts[place].1 -= 1;
            if self.counts[place].1 == 0 {
                self.counts.swap_remove(place);
            }
        }
    }

    fn matches(&self, filter: &UpdateFilter) -> bool {
        filter.manager.as_ref().is_none_or(|wanted| *wanted == self.named.package.manager)
            && filter.search.as_ref().is_none_or(|search| self.named.lower.contains(search.as_str()))
    }

    /// The package with what of it passes on so many hosts.
    fn row(&self, hosts: u64, filter: &UpdateFilter) -> PackageRow {
        let passing = || self.counts.iter().filter(|(kind, _)| kind.passes(filter));
        PackageRow {
            package: self.named.package.clone(),
            hosts,
            severity: passing().map(|(kind, _)| kind.severity).min().unwrap_or(Severity::Unknown),
            security: passing().filter(|(kind, _)| kind.security).map(|(_, count)| count).sum(),
        }
    }

    /// How many states pass, of one severity where one is named.
    fn count(&self, filter: &UpdateFilter, severity: Option<Severity>) -> u64 {
        let of = |kind: Kind| severity.is_none_or(|severity| severity == kind.severity) && kind.passes(filter);
        self.counts.iter().filter(|(kind, _)| of(*kind)).map(|(_, count)| count).sum()
    }
}

/// Neighbours in a list: the states of one package, of one severity where the list is ordered by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// The place of the package.
    place: usize,
    severity: Option<Severity>,
    /// States that pass the filter; those up to `after` included.
    pub(crate) count: u64,
    /// The agent after which the list goes on.
    after: Option<AgentId>,
}

/// The counts of one generation.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    generation: i64,
    /// In list order.
    entries: Vec<Arc<Entry>>,
    /// Places in `entries` by the package's ref.
    places: Arc<HashMap<i64, usize>>,
    agents: Arc<Agents>,
}

const STATES: &str = "SELECT agent_ref, package_ref, severity, status, security, availability FROM current_package_state";

impl Tally {
    /// Counts all states that the connection sees.
    pub(crate) fn count(connection: &Connection) -> Result<Self, Failure> {
        let mut agents = Agents::default();
        let mut select = connection.prepare_cached("SELECT agent_ref, agent_id FROM agents")?;
        let mut found = select.query([])?;
        while let Some(row) = found.next()? {
            agents.add(get(row, 0)?, get(row, 1)?);
        }
        let mut packages = HashMap::new();
        let mut select = connection.prepare_cached("SELECT package_ref, manager, name, arch FROM packages")?;
        let mut found = select.query([])?;
        while let Some(row) = found.next()? {
            let package_ref = get(row, 0)?;
            packages.insert(package_ref, Entry::empty(Named::new(package_ref, package_key(row, 1)?)));
        }
        let mut select = connection.prepare_cached(STATES)?;
        let mut found = select.query([])?;
        while let Some(row) = found.next()? {
            let kind = Kind { severity: get(row, 2)?, status: get(row, 3)?, security: get(row, 4)?, availability: get(row, 5)? };
            let entry = packages.get_mut(&get(row, 1)?).ok_or_else(|| Failure::corrupt("a state of a package that is not there"))?;
            entry.postings.push(Posting { agent_ref: get(row, 0)?, kind });
            entry.add(kind);
        }
        for entry in packages.values_mut() {
            entry.postings.sort_by_key(|posting| agents.of(posting));
        }
        let entries = packages.into_values().map(Arc::new).collect();
        Ok(Self::sorted(generation(connection)?, entries, Arc::new(agents)))
    }

    fn sorted(generation: i64, mut entries: Vec<Arc<Entry>>, agents: Arc<Agents>) -> Self {
        entries.sort_unstable_by(|a, b| a.named.package.list_order(&b.named.package));
        let places = entries.iter().enumerate().map(|(place, entry)| (entry.named.package_ref, place)).collect();
        Self { generation, entries, places: Arc::new(places), agents }
    }

    /// The next generation, in which an agent has these states, each with its package's ref.
    pub(crate) fn after<'a>(
        &self,
        generation: i64,
        (agent_ref, agent): (i64, AgentId),
        states: impl Iterator<Item = (i64, &'a PackageState)>,
    ) -> Result<Self, Failure> {
        let agent_ref = u32::try_from(agent_ref).map_err(|_| Failure::corrupt(format!("agent {agent} has ref {agent_ref}")))?;
        let mut agents = Arc::clone(&self.agents);
        if agents.0.get(agent_ref as usize) != Some(&Some(agent)) {
            Arc::make_mut(&mut agents).add(agent_ref, agent);
        }
        let mut entries = self.entries.clone();
        for (package_ref, state) in states {
            let place = self.places.get(&package_ref).copied().unwrap_or_else(|| {
                // A state of a package appears once in a unit of work, so this one is not among the new entries yet.
                entries.push(Arc::new(Entry::empty(Named::new(package_ref, state.package.clone()))));
                entries.len() - 1
            });
            Arc::make_mut(&mut entries[place]).set(&agents, Posting { agent_ref, kind: Kind::of(state) });
        }
        if entries.len() > self.entries.len() {
            return Ok(Self::sorted(generation, entries, agents));
        }
        Ok(Self { generation, entries, places: Arc::clone(&self.places), agents })
    }

    /// The same without any state of an agent.
    pub(crate) fn without(&self, agent: AgentId) -> Self {
        let mut entries = self.entries.clone();
        for entry in &mut entries {
            let place = entry.postings.partition_point(|posting| self.agents.of(posting) < Some(agent));
            if entry.postings.get(place).is_some_and(|posting| self.agents.of(posting) == Some(agent)) {
                let entry = Arc::make_mut(entry);
                let posting = entry.postings.remove(place);
                entry.remove(posting.kind);
            }
        }
        Self { generation: self.generation, entries, places: Arc::clone(&self.places), agents: Arc::clone(&self.agents) }
    }

    /// A page of the packages of the whole fleet. Entries stand in list order, so that their places say how packages are ordered,
    /// and only those on the page are looked at closely.
    pub(crate) fn packages(&self, query: &PackageQuery) -> PackagePage {
        let PackageQuery { filter, sort, reverse, page, size } = query;
        let matching = self.entries.iter().enumerate().filter(|(_, entry)| entry.matches(filter));
        let counted = matching.map(|(place, entry)| (entry.count(filter, None), place));
        let mut found: Vec<(u64, usize)> = counted.filter(|(hosts, _)| *hosts > 0).collect();
        match sort {
            PackageSortKey::Hosts => found.sort_unstable_by_key(|(hosts, place)| (Reverse(*hosts), *place)),
            PackageSortKey::Name => {}
        }
        let total = found.len() as u64;
        let skipped = usize::try_from(page.offset(*size)).unwrap_or(usize::MAX);
        let on_page = directed(found, *reverse).into_iter().skip(skipped).take(size.get() as usize);
        PackagePage { items: on_page.map(|(hosts, place)| self.entries[place].row(hosts, filter)).collect(), total }
    }

    /// The counts of a list of the whole fleet.
    pub(crate) fn stats(&self, filter: &UpdateFilter) -> UpdateStats {
        let mut sums: Vec<(&Manager, Vec<u64>)> = Vec::new();
        let mut kinds = vec![None; Kind::COUNT];
        for entry in self.entries.iter().filter(|entry| entry.matches(filter)) {
            let manager = &entry.named.package.manager;
            let known = sums.iter().position(|(known, _)| *known == manager);
            let place = known.unwrap_or_else(|| {
                sums.push((manager, vec![0; Kind::COUNT]));
                sums.len() - 1
            });
            for (kind, count) in &entry.counts {
                if kind.passes(filter) {
                    sums[place].1[kind.place()] += count;
                    kinds[kind.place()] = Some(*kind);
                }
            }
        }
        let mut stats = UpdateStats::default();
        for (manager, sums) in sums {
            for (kind, count) in kinds.iter().zip(sums) {
                if let Some(kind) = kind {
                    stats.add(&kind.counter(manager), count);
                }
            }
        }
        stats
    }

    /// The runs of a list of the whole fleet by severity or name, in its order, from the one that holds `from`; none is empty.
    pub(crate) fn runs<'a>(
        &'a self,
        filter: &'a UpdateFilter,
        sort: Sort,
        from: Option<&'a Position>,
    ) -> impl Iterator<Item = Run> + use<'a> {
        let severities: Vec<Option<Severity>> = match sort.key {
            SortKey::Severity => Severity::ALL.iter().copied().map(Some).collect(),
            SortKey::Name | SortKey::Agent | SortKey::LastChange => vec![None],
        };
        let begins = move |severity: &Option<Severity>| match (severity, from) {
            (Some(severity), Some(from)) if sort.reverse => *severity <= from.severity,
            (Some(severity), Some(from)) => *severity >= from.severity,
            _ => true,
        };
        let wanted = move |severity: &Option<Severity>| severity.is_none() || filter.severity.is_none() || filter.severity == *severity;
        let severities = severities.into_iter().filter(move |severity| begins(severity) && wanted(severity));
        directed(severities.collect(), sort.reverse).into_iter().flat_map(move |severity| {
            let within = from.filter(|from| severity.is_none_or(|severity| severity == from.severity));
            self.runs_of(filter, sort, severity, within)
        })
    }

    fn runs_of<'a>(
        &'a self,
        filter: &'a UpdateFilter,
        sort: Sort,
        severity: Option<Severity>,
        from: Option<&'a Position>,
    ) -> impl Iterator<Item = Run> + use<'a> {
        let split = |keep: fn(Ordering) -> bool| {
            from.map(|from| self.entries.partition_point(|entry| keep(entry.named.package.list_order(&from.package))))
        };
        let places: Box<dyn Iterator<Item = usize>> = if sort.reverse {
            Box::new((0..split(Ordering::is_le).unwrap_or(self.entries.len())).rev())
        } else {
            Box::new(split(Ordering::is_lt).unwrap_or(0)..self.entries.len())
        };
        places.filter(|place| self.entries[*place].matches(filter)).filter_map(move |place| {
            let entry = &self.entries[place];
            let count = entry.count(filter, severity);
            let after = from.filter(|from| from.package == entry.named.package).map(|from| from.agent);
            (count > 0).then_some(Run { place, severity, count, after })
        })
    }

    /// The refs of the rows of a run, agent and package, but for the first `offset`.
    pub(crate) fn keys<'a>(
        &'a self,
        run: &'a Run,
        filter: &'a UpdateFilter,
        sort: Sort,
        offset: usize,
    ) -> impl Iterator<Item = (i64, i64)> + use<'a> {
        let Entry { named, postings, .. } = &*self.entries[run.place];
        let split =
            |keep: fn(Ordering) -> bool| run.after.map(|after| postings.partition_point(|p| keep(self.agents.of(p).cmp(&Some(after)))));
        let within: Box<dyn Iterator<Item = &'a Posting>> = if sort.reverse {
            Box::new(postings[..split(Ordering::is_lt).unwrap_or(postings.len())].iter().rev())
        } else {
            Box::new(postings[split(Ordering::is_le).unwrap_or(0)..].iter())
        };
        let of_run = |kind: Kind| run.severity.is_none_or(|severity| severity == kind.severity) && kind.passes(filter);
        let passing = within.filter(move |posting| of_run(posting.kind)).skip(offset);
        passing.map(|posting| (i64::from(posting.agent_ref), named.package_ref))
    }
}

fn directed<T>(mut all: Vec<T>, reverse: bool) -> Vec<T> {
    if reverse {
        all.reverse();
    }
    all
}
