//! When which agent's states changed, in order: what lists by last change walk.
//!
//! A unit is the states of one agent that changed at one time. Units stand in chunks with counts, so that a page however deep is
//! found by adding up chunks.

use super::{
    class::{Class, Counts},
    host::Host,
    roster::Slot,
};
use std::sync::Arc;

/// Units of a chunk before it is split; few in tests, so that there are many chunks.
const UNITS_MAX: usize = if cfg!(test) { 8 } else { 512 };

/// States of a chunk before it is split.
const STATES_MAX: u64 = if cfg!(test) { 30 } else { 16_384 };

/// The states of one agent that changed at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Unit {
    pub(crate) at: i64,
    pub(crate) agent: Slot,
}

/// Neighbouring units; those of one time stand in one chunk.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    units: Vec<Unit>,
    counts: Counts,
}

impl Chunk {
    fn new(units: Vec<Unit>, hosts: &[Arc<Host>]) -> Self {
        let mut counts = Counts::default();
        for unit in &units {
            hosts[unit.agent as usize].changed_at(unit.at).iter().for_each(|cell| counts.add(cell.class, 1));
        }
        Self { units, counts }
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The units, by time.
    pub(crate) fn times(&self) -> impl DoubleEndedIterator<Item = &[Unit]> {
        self.units.chunk_by(|a, b| a.at == b.at)
    }

    /// Whether two such chunks make one that is far from being split.
    fn small(&self) -> bool {
        self.units.len() <= UNITS_MAX / 4 && self.counts.total() <= STATES_MAX / 4
    }

    /// Takes in the units of the next chunk.
    fn append(&mut self, next: &Self) {
        self.units.extend(&next.units);
        self.counts.add_all(&next.counts);
    }

    /// Where it can be split, next to its middle; none while it is not too large.
    fn seam(&self) -> Option<usize> {
        if self.units.len() <= UNITS_MAX && self.counts.total() <= STATES_MAX {
            return None;
        }
        let middle = self.units[self.units.len() / 2].at;
        let before = self.units.partition_point(|unit| unit.at < middle);
        let after = self.units.partition_point(|unit| unit.at <= middle);
        [before, after].into_iter().find(|place| (1..self.units.len()).contains(place))
    }
}

/// All units, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timeline {
    chunks: Vec<Arc<Chunk>>,
}

impl Timeline {
    /// The units of these agents.
    pub(crate) fn of(hosts: &[Arc<Host>]) -> Self {
        let mut units: Vec<_> = (0..).zip(hosts).flat_map(|(agent, host)| host.moments().map(move |(at, _)| Unit { at, agent })).collect();
        units.sort_unstable();
        let states = |unit: &Unit| hosts[unit.agent as usize].changed_at(unit.at).len() as u64;
        let (mut chunks, mut chunk, mut weight) = (Vec::new(), Vec::new(), 0);
        for time in units.chunk_by(|a, b| a.at == b.at) {
            if chunk.len() >= UNITS_MAX / 2 || weight >= STATES_MAX / 2 {
                chunks.push(Arc::new(Chunk::new(std::mem::take(&mut chunk), hosts)));
                weight = 0;
            }
            chunk.extend(time);
            weight += time.iter().map(states).sum::<u64>();
        }
        if !chunk.is_empty() {
            chunks.push(Arc::new(Chunk::new(chunk, hosts)));
        }
        Self { chunks }
    }

    pub(crate) fn chunks(&self) -> &[Arc<Chunk>] {
        &self.chunks
    }

    /// The chunk in which a time stands, or would.
    pub(crate) fn place(&self, at: i64) -> usize {
        self.chunks.partition_point(|chunk| chunk.units[0].at <= at).saturating_sub(1)
    }

    /// Adds a unit, whose states are yet to be counted.
    pub(crate) fn join(&mut self, unit: Unit) {
        if self.chunks.is_empty() {
            self.chunks.push(Arc::new(Chunk { units: vec![unit], counts: Counts::default() }));
            return;
        }
        let place = self.place(unit.at);
        let units = &mut Arc::make_mut(&mut self.chunks[place]).units;
        if let Err(place) = units.binary_search(&unit) {
            units.insert(place, unit);
        }
    }

    /// Counts a state of a unit that has joined.
    pub(crate) fn add(&mut self, at: i64, class: Class) {
        let place = self.place(at);
        Arc::make_mut(&mut self.chunks[place]).counts.add(class, 1);
    }

    /// Takes away a state of a unit that has not left.
    pub(crate) fn take(&mut self, at: i64, class: Class) {
        let place = self.place(at);
        Arc::make_mut(&mut self.chunks[place]).counts.take(class);
    }

    /// Takes a unit out, whose states were taken away before.
    pub(crate) fn leave(&mut self, unit: Unit) {
        let place = self.place(unit.at);
        let units = &mut Arc::make_mut(&mut self.chunks[place]).units;
        if let Ok(place) = units.binary_search(&unit) {
            units.remove(place);
        }
        if units.is_empty() {
            self.chunks.remove(place);
        }
    }

    /// Splits what has become too large, and joins what has become small.
    pub(crate) fn settle(&mut self, hosts: &[Arc<Host>]) {
        let mut place = 0;
        while let Some(chunk) = self.chunks.get(place) {
            if let Some(seam) = chunk.seam() {
                let (left, right) = chunk.units.split_at(seam);
                let halves = [left, right].map(|units| Arc::new(Chunk::new(units.to_vec(), hosts)));
                self.chunks.splice(place..=place, halves);
            } else if let Some(next) = self.chunks.get(place + 1)
                && chunk.small()
                && next.small()
            {
                let next = self.chunks.remove(place + 1);
                Arc::make_mut(&mut self.chunks[place]).append(&next);
            } else {
                place += 1;
            }
        }
    }
}
