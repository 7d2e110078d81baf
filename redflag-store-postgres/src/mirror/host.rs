//! The states of one agent, by when they changed.

use super::{
    class::{Class, Counts, Passing},
    roster::Slot,
};

/// A state, among those of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) package: Slot,
    pub(crate) class: Class,
}

/// A time at which states of an agent last changed, in microseconds, and where those end.
#[derive(Clone, Copy, Debug)]
struct Moment {
    at: i64,
    end: u32,
}

/// The states of one agent.
#[derive(Debug, Default)]
pub(crate) struct Host {
    /// By when they changed, then by package.
    cells: Vec<Cell>,
    moments: Vec<Moment>,
    counts: Counts,
}

impl Host {
    pub(crate) fn of(mut states: Vec<(i64, Cell)>) -> Self {
        states.sort_unstable_by_key(|(at, cell)| (*at, cell.package));
        let mut host = Self { cells: Vec::with_capacity(states.len()), ..Self::default() };
        for run in states.chunk_by(|(a, _), (b, _)| a == b) {
            host.cells.extend(run.iter().map(|(_, cell)| cell));
            let end = u32::try_from(host.cells.len()).expect("an agent has at most one state of a package");
            host.moments.push(Moment { at: run[0].0, end });
        }
        let mut classes: Vec<_> = host.cells.iter().map(|cell| cell.class).collect();
        classes.sort_unstable();
        classes.chunk_by(|a, b| a == b).for_each(|run| host.counts.add(run[0], run.len() as u64));
        host
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(crate) fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// The times at which states changed, ascending, each with those states.
    pub(crate) fn moments(&self) -> impl DoubleEndedIterator<Item = (i64, &[Cell])> {
        (0..self.moments.len()).map(|place| (self.moments[place].at, self.slice(place)))
    }

    /// The states that changed at a time.
    pub(crate) fn changed_at(&self, at: i64) -> &[Cell] {
        self.moments.binary_search_by_key(&at, |moment| moment.at).map_or(&[], |place| self.slice(place))
    }

    fn slice(&self, place: usize) -> &[Cell] {
        let start = place.checked_sub(1).map_or(0, |before| self.moments[before].end);
        &self.cells[start as usize..self.moments[place].end as usize]
    }
}

/// Which states pass a filter.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) classes: Passing,
    /// Packages by slot, when a text is looked for.
    pub(crate) packages: Option<Vec<bool>>,
}

impl Wanted {
    pub(crate) fn package(&self, package: Slot) -> bool {
        self.packages.as_ref().is_none_or(|packages| packages[package as usize])
    }

    pub(crate) fn has(&self, cell: Cell) -> bool {
        self.classes.has(cell.class) && self.package(cell.package)
    }

    pub(crate) fn count(&self, cells: &[Cell]) -> u64 {
        cells.iter().filter(|cell| self.has(**cell)).count() as u64
    }
}
