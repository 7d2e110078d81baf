//! Rosters: which packages and agents there are, and where each stands in the orders of lists.
//!
//! Both get slots: numbers from 0, in the order in which they were met, which index everything else that is kept of them. Neither
//! is ever taken out: a package or agent without states is in no list.

use redflag_core::{
    ids::AgentId,
    names::{PackageKey, Text},
};
use std::{cmp::Ordering, collections::HashMap, sync::Arc};

/// The place of a package or agent in its roster.
pub(crate) type Slot = u32;

/// A package as lists name and search it.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) package_ref: i32,
    pub(crate) key: PackageKey,
    /// What a search looks at.
    lower: String,
}

/// Every package that was met.
#[derive(Clone, Debug, Default)]
pub(crate) struct Packages {
    known: Vec<Arc<Package>>,
    slots: HashMap<i32, Slot>,
    /// Slots in list order.
    order: Vec<Slot>,
    /// Places in `order`, by slot.
    ranks: Vec<u32>,
}

impl Packages {
    pub(crate) fn add(&mut self, packages: impl IntoIterator<Item = (i32, PackageKey)>) {
        for (package_ref, key) in packages {
            let slot = slot(self.known.len());
            if let std::collections::hash_map::Entry::Vacant(vacant) = self.slots.entry(package_ref) {
                vacant.insert(slot);
                self.order.push(slot);
                let lower = key.name.as_str().to_ascii_lowercase();
                self.known.push(Arc::new(Package { package_ref, key, lower }));
            }
        }
        // Stable sorting makes use of the order that most of them stand in already.
        self.order.sort_by(|a, b| self.known[*a as usize].key.list_order(&self.known[*b as usize].key));
        self.ranks = ranks(&self.order, self.known.len());
    }

    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    pub(crate) fn slot(&self, package_ref: i32) -> Option<Slot> {
        self.slots.get(&package_ref).copied()
    }

    pub(crate) fn get(&self, slot: Slot) -> &Package {
        &self.known[slot as usize]
    }

    pub(crate) fn order(&self) -> &[Slot] {
        &self.order
    }

    pub(crate) fn rank(&self, slot: Slot) -> u32 {
        self.ranks[slot as usize]
    }

    pub(crate) fn compare(&self, slot: Slot, key: &PackageKey) -> Ordering {
        self.get(slot).key.list_order(key)
    }

    /// Which packages, by slot, have `text`, in lower case, in their name.
    pub(crate) fn matching(&self, text: &str) -> Vec<bool> {
        self.known.iter().map(|package| package.lower.contains(text)).collect()
    }
}

/// An agent as lists name it.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) agent_ref: i32,
    pub(crate) id: AgentId,
    pub(crate) name: Text,
}

/// Every agent that was met.
#[derive(Clone, Debug, Default)]
pub(crate) struct Agents {
    known: Vec<Arc<Agent>>,
    slots: HashMap<i32, Slot>,
    by_id: HashMap<AgentId, Slot>,
    /// Slots in the order of names, then ids.
    order: Vec<Slot>,
    /// Places in `order`, by slot.
    ranks: Vec<u32>,
    /// Places in the order of ids, by slot.
    id_ranks: Vec<u32>,
}

impl Agents {
    /// Takes in agents that are new or have another name now; answers whether there was any.
    pub(crate) fn add(&mut self, agents: impl IntoIterator<Item = (i32, AgentId, Text)>) -> bool {
        let mut changed = false;
        for (agent_ref, id, name) in agents {
            match self.slots.get(&agent_ref) {
                Some(slot) if self.get(*slot).name == name => {}
                Some(slot) => {
                    self.known[*slot as usize] = Arc::new(Agent { agent_ref, id, name });
                    changed = true;
                }
                None => {
                    let slot = slot(self.known.len());
                    self.slots.insert(agent_ref, slot);
                    self.by_id.insert(id, slot);
                    self.order.push(slot);
                    self.known.push(Arc::new(Agent { agent_ref, id, name }));
                    changed = true;
                }
            }
        }
        if changed {
            let known = |slot: &Slot| &*self.known[*slot as usize];
            let mut by_id = self.order.clone();
            by_id.sort_by_key(|slot| known(slot).id);
            self.id_ranks = ranks(&by_id, self.known.len());
            self.order.sort_by(|a, b| known(a).name.cmp(&known(b).name).then_with(|| known(a).id.cmp(&known(b).id)));
            self.ranks = ranks(&self.order, self.known.len());
        }
        changed
    }

    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    pub(crate) fn slot(&self, agent_ref: i32) -> Option<Slot> {
        self.slots.get(&agent_ref).copied()
    }

    pub(crate) fn find(&self, id: AgentId) -> Option<Slot> {
        self.by_id.get(&id).copied()
    }

    pub(crate) fn get(&self, slot: Slot) -> &Agent {
        &self.known[slot as usize]
    }

    pub(crate) fn order(&self) -> &[Slot] {
        &self.order
    }

    pub(crate) fn rank(&self, slot: Slot) -> u32 {
        self.ranks[slot as usize]
    }

    pub(crate) fn id_rank(&self, slot: Slot) -> u32 {
        self.id_ranks[slot as usize]
    }

    /// The order of lists by agent.
    pub(crate) fn compare(&self, slot: Slot, name: &Text, id: AgentId) -> Ordering {
        let agent = self.get(slot);
        agent.name.cmp(name).then_with(|| agent.id.cmp(&id))
    }
}

fn slot(length: usize) -> Slot {
    Slot::try_from(length).expect("refs are integers of 32 bits, so there are fewer packages and agents")
}

/// The place of every slot in an order of slots.
fn ranks(order: &[Slot], slots: usize) -> Vec<u32> {
    let mut ranks = vec![0; slots];
    for (rank, slot) in (0..).zip(order) {
        ranks[*slot as usize] = rank;
    }
    ranks
}
