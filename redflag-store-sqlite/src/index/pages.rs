//! Pages, counts and packages of lists, from the index alone.
//!
//! A list is a sequence of runs: packages (of one severity each, where the list is by severity), agents, or moments. Runs before the
//! page are passed over by their counts; only those on it have their states gathered and sorted.

use super::{
    contents::{BLOCK, Index, Package, State},
    kinds::{Counts, Passing},
    moments::hour_of,
};
use redflag_core::{
    ids::AgentId,
    query::{PackagePage, PackageQuery, PackageRow, PackageSortKey, PageStart, Position, SortKey, UpdateFilter, UpdateQuery, UpdateStats},
    words::Severity,
};
use std::cmp::Reverse;

/// Where the rows of a page are, in refs of agent and package; one more than the page holds says that the list goes on.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    pub(crate) rows: Vec<(i64, i64)>,
    pub(crate) stats: UpdateStats,
}

impl Index {
    /// A page of updates with the counts of its whole list.
    pub(crate) fn page(&self, query: &UpdateQuery, after: Option<&Position>) -> Listed {
        let selection = Selection::new(self, &query.filter);
        let stats = selection.stats();
        let rows = if stats.total > 0 { Page::new(&selection, query, after).found() } else { Vec::new() };
        Listed { rows, stats }
    }

    /// The counts of a list.
    pub(crate) fn stats(&self, filter: &UpdateFilter) -> UpdateStats {
        Selection::new(self, filter).stats()
    }

    /// A page of the packages of a list. All are counted, but only those on the page looked at closely.
    pub(crate) fn packages(&self, query: &PackageQuery) -> PackagePage {
        let PackageQuery { filter, sort, reverse, page, size } = query;
        let selection = Selection::new(self, filter);
        let mut found = selection.hosts_by_rank();
        match sort {
            PackageSortKey::Hosts => found.sort_unstable_by_key(|(rank, hosts)| (Reverse(*hosts), *rank)),
            PackageSortKey::Name => found.sort_unstable(),
        }
        let total = found.len() as u64;
        let skipped = usize::try_from(page.offset(*size)).unwrap_or(usize::MAX);
        let on_page = directed(found, *reverse).skip(skipped).take(size.get() as usize);
        PackagePage { items: on_page.map(|(rank, hosts)| selection.row(rank, hosts)).collect(), total }
    }
}

/// The states that a filter lets pass.
struct Selection<'a> {
    index: &'a Index,
    passing: Passing,
    agent: Agent,
    /// By the package's ref, whether a search finds it; none without one.
    matching: Option<Vec<bool>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Agent {
    All,
    One(u32),
    Unknown,
}

impl<'a> Selection<'a> {
    fn new(index: &'a Index, filter: &UpdateFilter) -> Self {
        let agent = filter.agent.map_or(Agent::All, |id| index.agent_ref(id).map_or(Agent::Unknown, Agent::One));
        let matching = filter.search.as_ref().map(|search| {
            let mut matching = Vec::new();
            for package_ref in &index.in_order {
                let place = *package_ref as usize;
                if matching.len() <= place {
                    matching.resize(place + 1, false);
                }
                matching[place] = index.package(*package_ref).lower.contains(search.as_str());
            }
            matching
        });
        Self { index, passing: index.kinds.passing(filter), agent, matching }
    }

    fn matches(&self, package_ref: u32) -> bool {
        self.matching.as_ref().is_none_or(|matching| matching[package_ref as usize])
    }

    /// Whether a state of an agent passes, `of` being the package's ref.
    fn takes(&self, state: &State) -> bool {
        self.passing.has(state.kind) && self.matches(state.of)
    }

    /// Packages that a search finds, all without one, in list order.
    fn packages(&self) -> impl Iterator<Item = &'a Package> {
        self.index.in_order.iter().filter(|package_ref| self.matches(**package_ref)).map(|package_ref| self.index.package(*package_ref))
    }

    /// On how many hosts a package has a state that passes, by its rank; none of those without any.
    fn hosts_by_rank(&self) -> Vec<(u32, u64)> {
        match self.agent {
            Agent::All => {
                let counted = self.packages().map(|package| (package.rank, package.counts.sum(&self.passing)));
                counted.filter(|(_, hosts)| *hosts > 0).collect()
            }
            Agent::One(agent_ref) => {
                let states = self.index.agent(agent_ref).states.iter().filter(|state| self.takes(state));
                states.map(|state| (self.index.package(state.of).rank, 1)).collect()
            }
            Agent::Unknown => Vec::new(),
        }
    }

    /// The package of this rank with what of it passes on so many hosts.
    fn row(&self, rank: u32, hosts: u64) -> PackageRow {
        let package_ref = self.index.in_order[rank as usize];
        let package = self.index.package(package_ref);
        let of_agent = match self.agent {
            Agent::One(agent_ref) => self.index.agent(agent_ref).state_of(package_ref).map(|state| (state.kind, 1)),
            Agent::All | Agent::Unknown => None,
        };
        let of_all = package.counts.iter().filter(|_| of_agent.is_none());
        let passing = of_agent.into_iter().chain(of_all).filter(|(kind, _)| self.passing.has(*kind));
        let passing: Vec<_> = passing.map(|(kind, count)| (self.index.kinds.key(kind), u64::from(count))).collect();
        PackageRow {
            package: package.key.clone(),
            hosts,
            severity: passing.iter().map(|(key, _)| key.severity).min().unwrap_or(Severity::Unknown),
            security: passing.iter().filter(|(key, _)| key.security).map(|(_, count)| count).sum(),
        }
    }

    fn stats(&self) -> UpdateStats {
        let mut sums = Counts::default();
        match (self.agent, &self.matching) {
            (Agent::Unknown, _) => {}
            (Agent::All, None) => sums.add_all(&self.index.counts),
            (Agent::All, Some(_)) => self.packages().for_each(|package| sums.add_all(&package.counts)),
            (Agent::One(agent_ref), None) => sums.add_all(&self.index.agent(agent_ref).counts),
            (Agent::One(agent_ref), Some(_)) => {
                let states = &self.index.agent(agent_ref).states;
                states.iter().filter(|state| self.matches(state.of)).for_each(|state| sums.add(state.kind, 1));
            }
        }
        let mut stats = UpdateStats::default();
        for (kind, count) in sums.iter().filter(|(kind, _)| self.passing.has(*kind)) {
            stats.add(self.index.kinds.key(kind), u64::from(count));
        }
        stats
    }
}

/// Where a state stands in a list: by what the list is ordered by, then by package, then by agent. A package is twice its rank and
/// one, so that a position between two has a number as well.
type Place = (i64, u32, AgentId);

/// A page in the making.
struct Page<'a> {
    selection: &'a Selection<'a>,
    sort: SortKey,
    reverse: bool,
    after: Option<(&'a Position, Place)>,
    /// Rows still to be passed over.
    skip: u64,
    wanted: usize,
    rows: Vec<(i64, i64)>,
}

impl<'a> Page<'a> {
    fn new(selection: &'a Selection<'a>, query: &UpdateQuery, after: Option<&'a Position>) -> Self {
        let skip = match &query.start {
            PageStart::Number(number) => number.offset(query.size),
            PageStart::After(_) => 0,
        };
        let wanted = query.size.get() as usize + 1;
        let mut page = Self {
            selection,
            sort: query.sort.key,
            reverse: query.sort.reverse,
            after: None,
            skip,
            wanted,
            rows: Vec::with_capacity(wanted),
        };
        page.after = after.map(|position| (position, page.place_of(position)));
        page
    }

    fn found(mut self) -> Vec<(i64, i64)> {
        match (self.selection.agent, self.sort) {
            (Agent::Unknown, _) => {}
            (Agent::One(agent_ref), _) => {
                let states = self.of_agent(agent_ref, |_| true);
                self.take(states, self.after.map(|(_, place)| place));
            }
            (Agent::All, SortKey::Severity) => self.by_severity(),
            (Agent::All, SortKey::Name) => self.by_package(&self.selection.passing, None),
            (Agent::All, SortKey::Agent) => self.by_agent(),
            (Agent::All, SortKey::LastChange) => self.by_moment(),
        }
        self.rows
    }

    const fn full(&self) -> bool {
        self.rows.len() >= self.wanted
    }

    /// Whether a run of so many states lies before the page, or is empty.
    fn passes_over(&mut self, states: u64) -> bool {
        let before = states == 0 || self.after.is_none() && self.skip >= states;
        if before && self.after.is_none() {
            self.skip -= states;
        }
        before
    }

    /// Takes what belongs on the page of the next run, which `after` cuts where it stands.
    fn take(&mut self, mut states: Vec<(Place, u32, u32)>, after: Option<Place>) {
        states.sort_unstable_by(|(a, ..), (b, ..)| if self.reverse { b.cmp(a) } else { a.cmp(b) });
        let beyond = |place: &Place| after.is_none_or(|after| if self.reverse { *place < after } else { *place > after });
        let skip = usize::try_from(std::mem::take(&mut self.skip)).unwrap_or(usize::MAX);
        let rows = states.into_iter().filter(|(place, ..)| beyond(place)).skip(skip);
        let wanted = self.wanted - self.rows.len();
        self.rows.extend(rows.take(wanted).map(|(_, agent_ref, package_ref)| (i64::from(agent_ref), i64::from(package_ref))));
    }

    /// What the list is ordered by before it is by package and agent, as far as that differs within a run.
    fn first(&self, state: &State) -> i64 {
        match self.sort {
            SortKey::Severity => i64::from(self.selection.index.kinds.key(state.kind).severity.code()),
            SortKey::LastChange => self.selection.index.moments.get(state.moment).at.as_micros(),
            SortKey::Name | SortKey::Agent => 0,
        }
    }

    fn place_of(&self, position: &Position) -> Place {
        let first = match self.sort {
            SortKey::Severity => i64::from(position.severity.code()),
            SortKey::LastChange => position.changed_at.as_micros(),
            SortKey::Name | SortKey::Agent => 0,
        };
        let index = self.selection.index;
        let found = index.in_order.binary_search_by(|known| index.package(*known).key.list_order(&position.package));
        let package = found.map_or_else(|before| 2 * before, |rank| 2 * rank + 1);
        (first, u32::try_from(package).expect("ranks are refs, which 31 bits hold"), position.agent)
    }

    /// States of an agent that pass, and that are `wanted`.
    fn of_agent(&self, agent_ref: u32, wanted: impl Fn(&State) -> bool) -> Vec<(Place, u32, u32)> {
        let index = self.selection.index;
        let agent = index.agent(agent_ref);
        let states = agent.states.iter().filter(|state| wanted(state) && self.selection.takes(state));
        states.map(|state| ((self.first(state), 2 * index.package(state.of).rank + 1, agent.id), agent_ref, state.of)).collect()
    }

    fn by_severity(&mut self) {
        let Selection { index, passing, .. } = self.selection;
        let after = self.after.map(|(position, _)| position.severity);
        for severity in directed(Severity::ALL.iter().copied(), self.reverse) {
            let begun = after.is_some_and(|after| if self.reverse { severity > after } else { severity < after });
            if !begun && !self.full() {
                self.by_package(&index.kinds.of_severity(passing, severity), Some(severity));
            }
        }
    }

    /// Runs of one package each, of one severity where the list is ordered by it.
    fn by_package(&mut self, passing: &Passing, severity: Option<Severity>) {
        let Selection { index, matching, .. } = self.selection;
        let cut = self.after.filter(|(position, _)| severity.is_none_or(|severity| severity == position.severity)).map(|(_, place)| place);
        let ranks = match cut {
            None => 0..index.in_order.len(),
            Some((_, package, _)) if self.reverse => 0..(package as usize).div_ceil(2),
            Some((_, package, _)) => package as usize / 2..index.in_order.len(),
        };
        for block in directed(ranks.start / BLOCK..ranks.end.div_ceil(BLOCK), self.reverse) {
            if matching.is_none() && self.passes_over(index.blocks[block].sum(passing)) {
                continue;
            }
            for rank in directed(ranks.start.max(block * BLOCK)..ranks.end.min((block + 1) * BLOCK), self.reverse) {
                let package_ref = index.in_order[rank];
                if self.full() || !self.selection.matches(package_ref) {
                    continue;
                }
                let package = index.package(package_ref);
                if !self.passes_over(package.counts.sum(passing)) {
                    let states = package.states.iter().filter(|state| passing.has(state.kind));
                    let place = |state: &State| (self.first(state), 2 * package.rank + 1, index.agent(state.of).id);
                    let states = states.map(|state| (place(state), state.of, package_ref)).collect();
                    self.take(states, cut);
                }
            }
            if self.full() {
                return;
            }
        }
    }

    /// Runs of one agent each.
    fn by_agent(&mut self) {
        let index = self.selection.index;
        let begin = self.after.map(|(position, _)| index.place_by_name(&position.agent_name, position.agent));
        let agents = match begin {
            None => 0..index.by_name.len(),
            Some(Ok(place)) if self.reverse => 0..place + 1,
            Some(Err(place)) if self.reverse => 0..place,
            Some(Ok(place) | Err(place)) => place..index.by_name.len(),
        };
        let found = self.matches_by(|state| state.of as usize);
        for place in directed(agents, self.reverse) {
            let agent_ref = index.by_name[place];
            let count = match &found {
                Some(found) => u64::from(found.get(agent_ref as usize).copied().unwrap_or(0)),
                None => index.agent(agent_ref).counts.sum(&self.selection.passing),
            };
            if !self.passes_over(count) {
                let cut = self.after.map(|(_, place)| place).filter(|_| begin == Some(Ok(place)));
                let states = self.of_agent(agent_ref, |_| true);
                self.take(states, cut);
            }
            if self.full() {
                return;
            }
        }
    }

    /// Runs of one moment each.
    fn by_moment(&mut self) {
        let index = self.selection.index;
        let cut = self.after.map(|(position, place)| (position.changed_at, place));
        let found = self.matches_by(|state| state.moment.place());
        let hours = index.moments.hours();
        let hours = match cut {
            None => hours.range(..),
            Some((at, _)) if self.reverse => hours.range(..=hour_of(at)),
            Some((at, _)) => hours.range(hour_of(at)..),
        };
        for (_, hour) in directed(hours, self.reverse) {
            if found.is_none() && self.passes_over(hour.counts.sum(&self.selection.passing)) {
                continue;
            }
            for (at, moment) in directed(&hour.moments, self.reverse) {
                let before = cut.is_some_and(|(cut, _)| if self.reverse { *at > cut } else { *at < cut });
                let count = match &found {
                    Some(found) => u64::from(found[moment.place()]),
                    None => index.moments.get(*moment).counts.sum(&self.selection.passing),
                };
                if before || self.passes_over(count) {
                    continue;
                }
                let agents = &index.moments.get(*moment).agents;
                let states = agents.iter().flat_map(|(agent_ref, _)| self.of_agent(*agent_ref, |state| state.moment == *moment)).collect();
                self.take(states, cut.filter(|(cut, _)| cut == at).map(|(_, place)| place));
                if self.full() {
                    return;
                }
            }
        }
    }

    /// How many states of the packages that a search finds pass, by a small number of theirs; none without a search.
    fn matches_by(&self, number: impl Fn(&State) -> usize) -> Option<Vec<u32>> {
        let Selection { index, passing, matching, .. } = self.selection;
        matching.as_ref()?;
        let mut found = vec![0; index.moments.len().max(index.agents())];
        for package in self.selection.packages() {
            for state in package.states.iter().filter(|state| passing.has(state.kind)) {
                found[number(state)] += 1;
            }
        }
        Some(found)
    }
}

fn directed<I>(all: I, reverse: bool) -> impl Iterator<Item = I::Item>
where
    I: IntoIterator<IntoIter: DoubleEndedIterator>,
{
    let mut all = all.into_iter();
    std::iter::from_fn(move || if reverse { all.next_back() } else { all.next() })
}
