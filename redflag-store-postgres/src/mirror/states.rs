//! The mirror itself: the states of one moment, as far as lists need them.
//!
//! It is made anew for every moment that differs, and shares with the one before whatever did not change.

use super::{
    class::{Class, Classes, Counts, Kind},
    host::{Cell, Host},
    roster::{Agents, Packages, Slot},
    timeline::{Timeline, Unit},
};
use crate::error::Failure;
use redflag_core::{
    ids::AgentId,
    names::{PackageKey, Text},
};
use std::sync::Arc;

/// Neighbours in a roster's order whose counts are added up; few in tests, so that there are many shelves.
pub(crate) const SHELF: usize = if cfg!(test) { 3 } else { 128 };

/// Which agents have a state of a package.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entry {
    /// By class, in no order; no list is empty.
    pub(crate) lists: Vec<(Class, Vec<Slot>)>,
}

impl Entry {
    fn add(&mut self, class: Class, agent: Slot) {
        match self.lists.iter_mut().find(|(known, _)| *known == class) {
            Some((_, agents)) => agents.push(agent),
            None => self.lists.push((class, vec![agent])),
        }
    }

    fn take(&mut self, class: Class, agent: Slot) {
        let Some(list) = self.lists.iter().position(|(known, _)| *known == class) else { return };
        let agents = &mut self.lists[list].1;
        if let Some(place) = agents.iter().position(|known| *known == agent) {
            agents.swap_remove(place);
        }
        if agents.is_empty() {
            self.lists.swap_remove(list);
        }
    }
}

/// What an agent's states became.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) agent_ref: i32,
    /// None once the agent was removed.
    pub(crate) agent: Option<(AgentId, Text)>,
    /// Whether these are all states of the agent, not only those that changed.
    pub(crate) whole: bool,
    pub(crate) states: Vec<ChangedState>,
}

/// A state as it is after a change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChangedState {
    pub(crate) package_ref: i32,
    pub(crate) kind: Kind,
    /// When it changed, in microseconds.
    pub(crate) at: i64,
}

/// The states of one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mirror {
    pub(super) classes: Arc<Classes>,
    pub(super) packages: Arc<Packages>,
    pub(super) agents: Arc<Agents>,
    /// By package.
    pub(super) entries: Vec<Arc<Entry>>,
    /// By agent.
    pub(super) hosts: Vec<Arc<Host>>,
    pub(super) timeline: Timeline,
    /// Of all states.
    pub(super) counts: Counts,
    /// Of [`SHELF`] packages in list order each.
    pub(super) package_shelves: Vec<Counts>,
    /// Of [`SHELF`] agents in list order each.
    pub(super) agent_shelves: Vec<Counts>,
}

impl Mirror {
    /// The same after `changes`, in their order. Packages they name must be known or stand in `packages`.
    pub(crate) fn after(&self, packages: Vec<(i32, PackageKey)>, changes: &[Change]) -> Result<Self, Failure> {
        let mut mirror = self.clone();
        if !packages.is_empty() {
            mirror.meet_packages(packages);
            mirror.shelve_packages();
        }
        let agents = changes.iter().filter_map(|change| change.agent.clone().map(|(id, name)| (change.agent_ref, id, name)));
        if Arc::make_mut(&mut mirror.agents).add(agents) {
            mirror.hosts.resize_with(mirror.agents.len(), Arc::default);
            mirror.shelve_agents();
        }
        for change in changes {
            mirror.apply(change)?;
        }
        mirror.timeline.settle(&mirror.hosts);
        Ok(mirror)
    }

    /// The packages that `changes` name and that are not known.
    pub(crate) fn unknown_packages(&self, changes: &[Change]) -> Vec<i32> {
        let states = changes.iter().flat_map(|change| &change.states);
        let mut unknown: Vec<_> =
            states.map(|state| state.package_ref).filter(|package_ref| self.packages.slot(*package_ref).is_none()).collect();
        unknown.sort_unstable();
        unknown.dedup();
        unknown
    }

    fn meet_packages(&mut self, packages: Vec<(i32, PackageKey)>) {
        Arc::make_mut(&mut self.packages).add(packages);
        self.entries.resize_with(self.packages.len(), Arc::default);
    }

    fn shelve_packages(&mut self) {
        let counts = |shelf: &[Slot]| {
            let mut counts = Counts::default();
            let lists = shelf.iter().flat_map(|package| &self.entries[*package as usize].lists);
            lists.for_each(|(class, agents)| counts.add(*class, agents.len() as u64));
            counts
        };
        self.package_shelves = self.packages.order().chunks(SHELF).map(counts).collect();
    }

    fn shelve_agents(&mut self) {
        let counts = |shelf: &[Slot]| {
            let mut counts = Counts::default();
            shelf.iter().for_each(|agent| counts.add_all(self.hosts[*agent as usize].counts()));
            counts
        };
        self.agent_shelves = self.agents.order().chunks(SHELF).map(counts).collect();
    }

    /// These states by package.
    fn cells(&mut self, states: &[ChangedState]) -> Result<Vec<(i64, Cell)>, Failure> {
        let packages = Arc::clone(&self.packages);
        let mut cell = |state: &ChangedState| {
            let unknown = || Failure::corrupt(format!("a state of package {}, which is not there", state.package_ref));
            let package = packages.slot(state.package_ref).ok_or_else(unknown)?;
            let manager = &packages.get(package).key.manager;
            let class = match self.classes.find(manager, state.kind) {
                Some(class) => class,
                None => Arc::make_mut(&mut self.classes).meet(manager, state.kind)?,
            };
            Ok((state.at, Cell { package, class }))
        };
        let mut cells = states.iter().map(&mut cell).collect::<Result<Vec<_>, Failure>>()?;
        cells.sort_unstable_by_key(|(_, cell)| cell.package);
        Ok(cells)
    }

    fn apply(&mut self, change: &Change) -> Result<(), Failure> {
        let coming = self.cells(&change.states)?;
        let Some(agent) = self.agents.slot(change.agent_ref) else {
            // It came and went before it was ever seen.
            return Ok(());
        };
        let before = Arc::clone(&self.hosts[agent as usize]);
        let replaced = |cell: &Cell| change.whole || coming.binary_search_by_key(&cell.package, |(_, cell)| cell.package).is_ok();
        let states = before.moments().flat_map(|(at, cells)| cells.iter().map(move |cell| (at, *cell)));
        let (leaving, mut staying): (Vec<_>, Vec<_>) = states.partition(|(_, cell)| replaced(cell));
        staying.extend(&coming);
        let after = Host::of(staying);
        // A time stands in the timeline for as long as states of it are counted there.
        for (at, _) in after.moments() {
            if before.changed_at(at).is_empty() {
                self.timeline.join(Unit { at, agent });
            }
        }
        leaving.into_iter().for_each(|(at, cell)| self.take(agent, at, cell));
        coming.into_iter().for_each(|(at, cell)| self.add(agent, at, cell));
        for (at, _) in before.moments() {
            if after.changed_at(at).is_empty() {
                self.timeline.leave(Unit { at, agent });
            }
        }
        self.hosts[agent as usize] = Arc::new(after);
        Ok(())
    }

    fn add(&mut self, agent: Slot, at: i64, Cell { package, class }: Cell) {
        Arc::make_mut(&mut self.entries[package as usize]).add(class, agent);
        self.timeline.add(at, class);
        self.counts.add(class, 1);
        self.package_shelves[self.packages.rank(package) as usize / SHELF].add(class, 1);
        self.agent_shelves[self.agents.rank(agent) as usize / SHELF].add(class, 1);
    }

    fn take(&mut self, agent: Slot, at: i64, Cell { package, class }: Cell) {
        Arc::make_mut(&mut self.entries[package as usize]).take(class, agent);
        self.timeline.take(at, class);
        self.counts.take(class);
        self.package_shelves[self.packages.rank(package) as usize / SHELF].take(class);
        self.agent_shelves[self.agents.rank(agent) as usize / SHELF].take(class);
    }
}

/// A mirror that is filled with every state there is, agent by agent, and counted at the end.
#[derive(Debug)]
pub(crate) struct Filling(Mirror);

impl Filling {
    pub(crate) fn new(packages: Vec<(i32, PackageKey)>, agents: Vec<(i32, AgentId, Text)>) -> Self {
        let mut mirror = Mirror::default();
        mirror.meet_packages(packages);
        Arc::make_mut(&mut mirror.agents).add(agents);
        mirror.hosts.resize_with(mirror.agents.len(), Arc::default);
        Self(mirror)
    }

    /// Takes in all states of an agent.
    pub(crate) fn agent(&mut self, agent_ref: i32, states: &[ChangedState]) -> Result<(), Failure> {
        let Self(mirror) = self;
        let cells = mirror.cells(states)?;
        let agent = mirror.agents.slot(agent_ref).ok_or_else(|| Failure::corrupt("states of an agent that is not there"))?;
        for (_, cell) in &cells {
            Arc::make_mut(&mut mirror.entries[cell.package as usize]).add(cell.class, agent);
        }
        mirror.hosts[agent as usize] = Arc::new(Host::of(cells));
        Ok(())
    }

    pub(crate) fn finish(self) -> Mirror {
        let Self(mut mirror) = self;
        for entry in &mut mirror.entries {
            Arc::make_mut(entry).lists.iter_mut().for_each(|(_, agents)| agents.shrink_to_fit());
        }
        mirror.hosts.iter().for_each(|host| mirror.counts.add_all(host.counts()));
        mirror.timeline = Timeline::of(&mirror.hosts);
        mirror.shelve_packages();
        mirror.shelve_agents();
        mirror
    }
}
