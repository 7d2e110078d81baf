//! What the index holds: every state of the fleet by package, by agent and by the moment of its last change, with counts of each.

use super::{
    kinds::{Counts, Kind, Kinds, Traits},
    moments::{MomentRef, Moments},
};
use crate::{
    error::Failure,
    stored::{get, package_key},
};
use redflag_core::{
    ids::AgentId,
    names::{PackageKey, Text},
    time::Timestamp,
};
use rusqlite::Connection;
use std::borrow::Borrow;

/// So many packages that follow each other in lists are counted together, so that a page deep in a list passes over thousands.
pub(super) const BLOCK: usize = 64;

/// What one unit of work changed, in refs.
#[derive(Debug)]
pub(crate) struct Change<K> {
    pub(crate) agent_ref: i64,
    /// Who the agent is now; none when it is gone.
    pub(crate) agent: Option<(AgentId, Text)>,
    /// Whether the states are all that the agent has now.
    pub(crate) replaced: bool,
    /// By ascending ref, each with the key of its package.
    pub(crate) states: Vec<(StateNow, K)>,
}

/// A state as it is now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StateNow {
    pub(crate) package_ref: i64,
    pub(crate) traits: Traits,
    pub(crate) changed_at: Timestamp,
}

/// What is kept of a state, twice: with its package, where `of` is the agent's ref, and with its agent, where it is the package's.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    pub(super) of: u32,
    pub(super) kind: Kind,
    pub(super) moment: MomentRef,
}

#[derive(Debug)]
pub(super) struct Package {
    pub(super) key: PackageKey,
    /// What a search looks at.
    pub(super) lower: String,
    manager: u32,
    /// The place in the order of lists.
    pub(super) rank: u32,
    pub(super) counts: Counts,
    /// By ascending ref of the agent.
    pub(super) states: Vec<State>,
}

#[derive(Debug)]
pub(super) struct Agent {
    pub(super) id: AgentId,
    pub(super) name: Text,
    pub(super) counts: Counts,
    /// By ascending ref of the package.
    pub(super) states: Vec<State>,
}

/// Everything that lists are found by, of one generation of states.
#[derive(Debug, Default)]
pub(crate) struct Index {
    generation: i64,
    pub(super) kinds: Kinds,
    pub(super) counts: Counts,
    pub(super) moments: Moments,
    /// By ref.
    packages: Vec<Option<Package>>,
    /// Refs in the order of lists, and the counts of every `BLOCK` of them.
    pub(super) in_order: Vec<u32>,
    pub(super) blocks: Vec<Counts>,
    /// By ref.
    agents: Vec<Option<Agent>>,
    /// Refs by name, then id.
    pub(super) by_name: Vec<u32>,
}

const AGENTS: &str = "SELECT agent_ref, agent_id, name FROM agents";
const PACKAGES: &str = "SELECT package_ref, manager, name, arch FROM packages";
const PACKAGES_OF_STATES: &str = "SELECT package_ref FROM current_package_state";
const STATES: &str = "
    SELECT agent_ref, package_ref, status, severity, security, availability, changed_at
    FROM current_package_state
    ORDER BY state_key";

impl Index {
    /// Reads all states that the connection sees, which are of this generation.
    pub(crate) fn read(connection: &Connection, generation: i64) -> Result<Self, Failure> {
        let mut index = Self { generation, ..Self::default() };
        let mut select = connection.prepare_cached(AGENTS)?;
        let mut found = select.query([])?;
        while let Some(row) = found.next()? {
            index.name_agent(small(get(row, 0)?)?, get(row, 1)?, &get(row, 2)?);
        }
        let mut select = connection.prepare_cached(PACKAGES)?;
        let mut found = select.query([])?;
        while let Some(row) = found.next()? {
            index.name_package(small(get(row, 0)?)?, package_key(row, 1)?);
        }
        index.order_packages();
        index.make_room(connection)?;
        let mut select = connection.prepare_cached(STATES)?;
        let mut found = select.query([])?;
        let (mut agent_ref, mut states) = (0, Vec::new());
        while let Some(row) = found.next()? {
            let of = get(row, 0)?;
            if of != agent_ref {
                index.set_states(small(agent_ref)?, states.drain(..))?;
                agent_ref = of;
            }
            let traits = Traits { status: get(row, 2)?, severity: get(row, 3)?, security: get(row, 4)?, availability: get(row, 5)? };
            states.push(StateNow { package_ref: get(row, 1)?, traits, changed_at: get(row, 6)? });
        }
        index.set_states(small(agent_ref)?, states.drain(..))?;
        Ok(index)
    }

    /// Gives every package room for its states: thousands of lists that grow side by side would leave as much memory unused.
    fn make_room(&mut self, connection: &Connection) -> Result<(), Failure> {
        let mut counts = vec![0; self.packages.len()];
        let mut select = connection.prepare_cached(PACKAGES_OF_STATES)?;
        let mut found = select.query([])?;
        while let Some(row) = found.next()? {
            counts.get_mut(small(get(row, 0)?)? as usize).into_iter().for_each(|count| *count += 1);
        }
        for (package, count) in self.packages.iter_mut().zip(counts) {
            package.iter_mut().for_each(|package| package.states.reserve_exact(with_spare(count)));
        }
        Ok(())
    }

    /// Goes on to the next generation, in which this has changed.
    pub(crate) fn apply<K: Borrow<PackageKey>>(&mut self, generation: i64, change: &Change<K>) -> Result<(), Failure> {
        let agent_ref = small(change.agent_ref)?;
        let named = self.in_order.len();
        for (state, key) in &change.states {
            let package_ref = small(state.package_ref)?;
            if self.packages.get(package_ref as usize).is_none_or(Option::is_none) {
                self.name_package(package_ref, key.borrow().clone());
            }
        }
        if self.in_order.len() > named {
            self.order_packages();
        }
        if change.replaced {
            self.clear_states(agent_ref);
        }
        match &change.agent {
            Some((id, name)) => self.name_agent(agent_ref, *id, name),
            None => drop(self.take_agent(agent_ref)),
        }
        self.set_states(agent_ref, change.states.iter().map(|(state, _)| *state))?;
        self.generation = generation;
        Ok(())
    }

    pub(crate) const fn generation(&self) -> i64 {
        self.generation
    }

    pub(super) fn package(&self, package_ref: u32) -> &Package {
        self.packages[package_ref as usize].as_ref().expect("a package is named before it has states")
    }

    pub(super) fn agent(&self, agent_ref: u32) -> &Agent {
        self.agents[agent_ref as usize].as_ref().expect("an agent is named before it has states")
    }

    /// More than any ref of an agent.
    pub(super) const fn agents(&self) -> usize {
        self.agents.len()
    }

    /// The ref of an agent.
    pub(super) fn agent_ref(&self, id: AgentId) -> Option<u32> {
        (0..).zip(&self.agents).find(|(_, agent)| agent.as_ref().is_some_and(|agent| agent.id == id)).map(|(agent_ref, _)| agent_ref)
    }

    /// Where an agent of this name and id stands among all, or would.
    pub(super) fn place_by_name(&self, name: &Text, id: AgentId) -> Result<usize, usize> {
        self.by_name.binary_search_by(|known| {
            let known = self.agent(*known);
            known.name.cmp(name).then_with(|| known.id.cmp(&id))
        })
    }

    fn name_agent(&mut self, agent_ref: u32, id: AgentId, name: &Text) {
        let place = agent_ref as usize;
        if self.agents.len() <= place {
            self.agents.resize_with(place + 1, || None);
        }
        if self.agents[place].as_ref().is_some_and(|known| known.name == *name) {
            return;
        }
        let known = self.take_agent(agent_ref);
        if let Err(among) = self.place_by_name(name, id) {
            self.by_name.insert(among, agent_ref);
        }
        let (counts, states) = known.map_or_else(Default::default, |known| (known.counts, known.states));
        self.agents[place] = Some(Agent { id, name: name.clone(), counts, states });
    }

    /// Takes an agent, states and all, out of the order of names.
    fn take_agent(&mut self, agent_ref: u32) -> Option<Agent> {
        let known = self.agents.get(agent_ref as usize)?.as_ref()?;
        if let Ok(among) = self.place_by_name(&known.name, known.id) {
            self.by_name.remove(among);
        }
        self.agents[agent_ref as usize].take()
    }

    fn name_package(&mut self, package_ref: u32, key: PackageKey) {
        let place = package_ref as usize;
        if self.packages.len() <= place {
            self.packages.resize_with(place + 1, || None);
        }
        let (manager, lower) = (self.kinds.manager(&key.manager), key.name.as_str().to_ascii_lowercase());
        self.packages[place] = Some(Package { key, lower, manager, rank: 0, counts: Counts::default(), states: Vec::new() });
        self.in_order.push(package_ref);
    }

    /// Gives every package its place in lists, after some were named.
    fn order_packages(&mut self) {
        let mut in_order = std::mem::take(&mut self.in_order);
        // All but the new ones are in order already, which a stable sort finds.
        in_order.sort_by(|a, b| self.package(*a).key.list_order(&self.package(*b).key));
        self.blocks = vec![Counts::default(); in_order.len().div_ceil(BLOCK)];
        for (rank, package_ref) in (0..).zip(&in_order) {
            if let Some(package) = &mut self.packages[*package_ref as usize] {
                package.rank = rank;
                self.blocks[rank as usize / BLOCK].add_all(&package.counts);
            }
        }
        self.in_order = in_order;
    }

    /// Sets states of an agent, by ascending ref of their packages.
    fn set_states(&mut self, agent_ref: u32, states: impl ExactSizeIterator<Item = StateNow>) -> Result<(), Failure> {
        let Self { kinds, counts, moments, packages, blocks, agents, .. } = self;
        let Some(agent) = agents.get_mut(agent_ref as usize).and_then(Option::as_mut) else { return Ok(()) };
        let mut after = Vec::with_capacity(agent.states.len() + states.len());
        let mut before = std::mem::take(&mut agent.states).into_iter().peekable();
        let mut last = None;
        for StateNow { package_ref, traits, changed_at } in states {
            let package_ref = small(package_ref)?;
            let package = packages.get_mut(package_ref as usize).and_then(Option::as_mut);
            let package = package.ok_or_else(|| Failure::corrupt(format!("a state of package {package_ref}, which is not there")))?;
            let block = &mut blocks[package.rank as usize / BLOCK];
            let moment = match last {
                Some((at, moment)) if at == changed_at => moment,
                _ => moments.at(changed_at),
            };
            last = Some((changed_at, moment));
            let kind = kinds.kind(package.manager, traits);
            for counts in [&mut package.counts, block, &mut agent.counts, counts] {
                counts.add(kind, 1);
            }
            moments.add(moment, agent_ref, kind);
            package.set(State { of: agent_ref, kind, moment });
            while let Some(state) = before.next_if(|state| state.of < package_ref) {
                after.push(state);
            }
            if let Some(was) = before.next_if(|state| state.of == package_ref) {
                let block = &mut blocks[package.rank as usize / BLOCK];
                for counts in [&mut package.counts, block, &mut agent.counts, counts] {
                    counts.remove(was.kind);
                }
                moments.remove(was.moment, agent_ref, was.kind);
            }
            after.push(State { of: package_ref, kind, moment });
        }
        after.extend(before);
        after.shrink_to_fit();
        agent.states = after;
        Ok(())
    }

    /// Takes all states of an agent away.
    fn clear_states(&mut self, agent_ref: u32) {
        let Self { counts, moments, packages, blocks, agents, .. } = self;
        let Some(agent) = agents.get_mut(agent_ref as usize).and_then(Option::as_mut) else { return };
        agent.counts = Counts::default();
        for State { of, kind, moment } in std::mem::take(&mut agent.states) {
            if let Some(package) = &mut packages[of as usize] {
                package.counts.remove(kind);
                package.clear(agent_ref);
                blocks[package.rank as usize / BLOCK].remove(kind);
            }
            counts.remove(kind);
            moments.remove(moment, agent_ref, kind);
        }
    }
}

impl Agent {
    /// The state of a package.
    pub(super) fn state_of(&self, package_ref: u32) -> Option<&State> {
        let found = self.states.binary_search_by_key(&package_ref, |known| known.of);
        found.ok().map(|place| &self.states[place])
    }
}

impl Package {
    /// Puts the state of an agent in its place.
    fn set(&mut self, state: State) {
        let states = &mut self.states;
        if states.len() == states.capacity() {
            states.reserve_exact(with_spare(states.len()) - states.len());
        }
        match states.last() {
            Some(last) if last.of >= state.of => match states.binary_search_by_key(&state.of, |known| known.of) {
                Ok(place) => states[place] = state,
                Err(place) => states.insert(place, state),
            },
            _ => states.push(state),
        }
    }

    /// Takes the state of an agent away.
    fn clear(&mut self, agent_ref: u32) {
        if let Ok(place) = self.states.binary_search_by_key(&agent_ref, |known| known.of) {
            self.states.remove(place);
        }
    }
}

/// Room for so many states and a few more; doubling would leave half of the memory unused.
const fn with_spare(states: usize) -> usize {
    states + states / 8 + 1
}

/// Refs count up from 1, so 32 bits are more than enough for agents and packages.
fn small(reference: i64) -> Result<u32, Failure> {
    u32::try_from(reference).map_err(|_| Failure::corrupt(format!("{reference} as the ref of an agent or a package")))
}
