//! States by when they last changed: those of one moment together, moments by hours.
//!
//! What one unit of work changes bears one time, so there are far fewer moments than states; and a page in the middle of a list by
//! last change is found by adding up hours, then the moments of one hour.

use super::kinds::{Counts, Kind};
use redflag_core::time::Timestamp;
use std::collections::BTreeMap;

const HOUR_MICROS: i64 = 3_600_000_000;

/// A moment, as the number under which [`Moments`] knows it while any state bears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MomentRef(u32);

impl MomentRef {
    pub(crate) const fn place(self) -> usize {
        self.0 as usize
    }
}

/// The states that last changed at one time.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    pub(crate) at: Timestamp,
    pub(crate) counts: Counts,
    /// Refs of the agents that have any, with how many; mostly one.
    pub(crate) agents: Vec<(u32, u32)>,
}

/// The moments of one hour.
#[derive(Debug, Default)]
pub(crate) struct Hour {
    pub(crate) counts: Counts,
    pub(crate) moments: BTreeMap<Timestamp, MomentRef>,
}

#[derive(Debug, Default)]
pub(crate) struct Moments {
    /// By their refs; those without states wait to be used again.
    moments: Vec<Moment>,
    free: Vec<MomentRef>,
    hours: BTreeMap<i64, Hour>,
}

impl Moments {
    /// The moment of this time, for states that are added next.
    pub(crate) fn at(&mut self, at: Timestamp) -> MomentRef {
        let Self { moments, free, hours } = self;
        *hours.entry(hour_of(at)).or_default().moments.entry(at).or_insert_with(|| {
            let moment = Moment { at, counts: Counts::default(), agents: Vec::new() };
            match free.pop() {
                Some(known) => {
                    moments[known.place()] = moment;
                    known
                }
                None => {
                    moments.push(moment);
                    MomentRef(u32::try_from(moments.len() - 1).expect("moments are no more than states, which 32 bits count"))
                }
            }
        })
    }

    pub(crate) fn get(&self, moment: MomentRef) -> &Moment {
        &self.moments[moment.place()]
    }

    /// How many there are, those without states included.
    pub(crate) const fn len(&self) -> usize {
        self.moments.len()
    }

    pub(crate) const fn hours(&self) -> &BTreeMap<i64, Hour> {
        &self.hours
    }

    pub(crate) fn add(&mut self, moment: MomentRef, agent_ref: u32, kind: Kind) {
        let Moment { at, counts, agents } = &mut self.moments[moment.place()];
        counts.add(kind, 1);
        // Agents come one after the other, so the last one is nearly always the one looked for.
        match agents.iter_mut().rev().find(|(known, _)| *known == agent_ref) {
            Some((_, count)) => *count += 1,
            None => agents.push((agent_ref, 1)),
        }
        if let Some(hour) = self.hours.get_mut(&hour_of(*at)) {
            hour.counts.add(kind, 1);
        }
    }

    pub(crate) fn remove(&mut self, moment: MomentRef, agent_ref: u32, kind: Kind) {
        let Moment { at, counts, agents } = &mut self.moments[moment.place()];
        counts.remove(kind);
        if let Some(place) = agents.iter().position(|(known, _)| *known == agent_ref) {
            agents[place].1 -= 1;
            if agents[place].1 == 0 {
                agents.swap_remove(place);
            }
        }
        let Some(hour) = self.hours.get_mut(&hour_of(*at)) else { return };
        hour.counts.remove(kind);
        if counts.is_empty() {
            hour.moments.remove(at);
            self.free.push(moment);
            if hour.moments.is_empty() {
                self.hours.remove(&hour_of(*at));
            }
        }
    }
}

pub(crate) const fn hour_of(at: Timestamp) -> i64 {
    at.as_micros().div_euclid(HOUR_MICROS)
}
