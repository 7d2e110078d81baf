//! What lists and counts need, answered from a mirror: which rows stand on a page, and how many there are.
//!
//! A list of the fleet is a row of shelves, each with runs: neighbours in the list that a page before or behind passes over as a
//! whole. By name a run is a package, by agent an agent, by last change a time; by severity there are five such lists one after
//! the other. How many rows a shelf or run has, counts say, so a page is found by adding up what stands before it.

use super::{
    class::{Counts, Passing},
    host::{Cell, Wanted},
    roster::{Agent, Package, Slot},
    states::{Mirror, SHELF},
    timeline::Unit,
};
use redflag_core::{
    query::{PackagePage, PackageQuery, PackageRow, PackageSortKey, Position, Sort, SortKey, UpdateFilter, UpdateStats},
    words::Severity,
};
use std::cmp::{Ordering, Reverse};

/// A row of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) agent: Slot,
    pub(crate) package: Slot,
}

/// Where a page begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Start<'a> {
    /// After so many rows.
    Offset(u64),
    /// Right after a position, of a row that need not be there any more.
    After(&'a Position),
}

impl Mirror {
    pub(crate) fn agent(&self, row: Row) -> &Agent {
        self.agents.get(row.agent)
    }

    pub(crate) fn package(&self, row: Row) -> &Package {
        self.packages.get(row.package)
    }

    fn wanted(&self, filter: &UpdateFilter) -> Wanted {
        let packages = filter.search.as_ref().map(|search| self.packages.matching(search.as_str()));
        Wanted { classes: self.classes.passing(filter), packages }
    }

    /// The counts of the states that pass.
    pub(crate) fn stats(&self, filter: &UpdateFilter) -> UpdateStats {
        self.stats_of(filter, &self.wanted(filter))
    }

    fn stats_of(&self, filter: &UpdateFilter, wanted: &Wanted) -> UpdateStats {
        let mut found = Counts::default();
        match (filter.agent, &wanted.packages) {
            (None, None) => return self.classes.stats(&self.counts, &wanted.classes),
            (Some(agent), None) => {
                let Some(agent) = self.agents.find(agent) else { return UpdateStats::default() };
                return self.classes.stats(self.hosts[agent as usize].counts(), &wanted.classes);
            }
            (None, Some(packages)) => {
                let entries = self.entries.iter().zip(packages).filter(|(_, matches)| **matches);
                let lists = entries.flat_map(|(entry, _)| &entry.lists);
                lists.for_each(|(class, agents)| found.add(*class, agents.len() as u64));
            }
            (Some(agent), Some(_)) => {
                let Some(agent) = self.agents.find(agent) else { return UpdateStats::default() };
                let cells = self.hosts[agent as usize].cells().iter().filter(|cell| wanted.package(cell.package));
                cells.for_each(|cell| found.add(cell.class, 1));
            }
        }
        self.classes.stats(&found, &wanted.classes)
    }

    /// The counts of a list, and the `rows` of it from `start`, or as many as there are.
    pub(crate) fn page(&self, filter: &UpdateFilter, sort: Sort, start: Start<'_>, rows: usize) -> (UpdateStats, Vec<Row>) {
        let wanted = self.wanted(filter);
        let stats = self.stats_of(filter, &wanted);
        let Sort { key, reverse } = sort;
        let found = match (filter.agent.map(|agent| self.agents.find(agent)), start) {
            (Some(agent), _) => agent.map_or_else(Vec::new, |agent| self.of_agent(agent, &wanted, sort, start, rows)),
            (None, Start::Offset(offset)) if offset >= stats.total => Vec::new(),
            // From the nearer end.
            (None, Start::Offset(offset)) if offset > stats.total / 2 => {
                let rows = rows.min(usize::try_from(stats.total - offset).unwrap_or(usize::MAX));
                let from_end = Start::Offset(stats.total - offset - rows as u64);
                let mut found = self.of_fleet(&wanted, &stats, Sort { key, reverse: !reverse }, from_end, rows);
                found.reverse();
                found
            }
            (None, _) => self.of_fleet(&wanted, &stats, sort, start, rows),
        };
        (stats, found)
    }

    fn of_fleet(&self, wanted: &Wanted, stats: &UpdateStats, sort: Sort, start: Start<'_>, rows: usize) -> Vec<Row> {
        let mirror = self;
        match sort.key {
            SortKey::Severity => self.by_severity(wanted, stats, sort.reverse, start, rows),
            SortKey::Name => walk(&ByPackage { mirror, wanted, classes: wanted.classes.clone() }, sort.reverse, start, rows),
            SortKey::Agent => walk(&ByAgent { mirror, wanted }, sort.reverse, start, rows),
            SortKey::LastChange => walk(&ByTime { mirror, wanted }, sort.reverse, start, rows),
        }
    }

    /// The lists by name of every severity, one after the other.
    fn by_severity(&self, wanted: &Wanted, stats: &UpdateStats, reverse: bool, start: Start<'_>, rows: usize) -> Vec<Row> {
        let mut found = Vec::new();
        let mut start = start;
        for severity in directed(Severity::ALL.iter().copied(), reverse) {
            let count = stats.by_severity.get(&severity).copied().unwrap_or(0);
            match &mut start {
                Start::Offset(offset) if *offset >= count => {
                    *offset -= count;
                    continue;
                }
                Start::After(after) if directed_order(severity.cmp(&after.severity), reverse).is_lt() => continue,
                _ => {}
            }
            let within = match start {
                Start::After(after) if after.severity != severity => Start::Offset(0),
                start => start,
            };
            let classes = self.classes.of_severity(&wanted.classes, severity);
            let list = ByPackage { mirror: self, wanted, classes };
            found.extend(walk(&list, reverse, within, rows - found.len()));
            if found.len() == rows {
                break;
            }
            if let Start::Offset(offset) = &mut start {
                *offset = 0;
            }
        }
        found
    }

    /// A part of one agent's list, all of which is sorted.
    fn of_agent(&self, agent: Slot, wanted: &Wanted, sort: Sort, start: Start<'_>, rows: usize) -> Vec<Row> {
        let key = |at: i64, cell: Cell| {
            let first = match sort.key {
                SortKey::Severity => i64::from(self.classes.key(cell.class).severity.code()),
                SortKey::Name | SortKey::Agent => 0,
                SortKey::LastChange => at,
            };
            (first, self.packages.rank(cell.package), cell.package)
        };
        let moments = self.hosts[agent as usize].moments();
        let cells = moments.flat_map(|(at, cells)| cells.iter().map(move |cell| (at, *cell)));
        let mut list: Vec<_> = cells.filter(|(_, cell)| wanted.has(*cell)).map(|(at, cell)| key(at, cell)).collect();
        list.sort_unstable();
        let row = |(_, _, package): (i64, u32, Slot)| Row { agent, package };
        let list = directed(list.into_iter(), sort.reverse);
        match start {
            Start::Offset(offset) => list.skip(usize::try_from(offset).unwrap_or(usize::MAX)).take(rows).map(row).collect(),
            Start::After(after) => {
                let first = match sort.key {
                    SortKey::Severity => i64::from(after.severity.code()),
                    SortKey::Name => 0,
                    SortKey::Agent => 0,
                    SortKey::LastChange => after.changed_at.as_micros(),
                };
                let beyond = |(of_row, _, package): &(i64, u32, Slot)| {
                    let order = match sort.key {
                        SortKey::Agent => self.agents.compare(agent, &after.agent_name, after.agent),
                        _ => of_row.cmp(&first),
                    };
                    let order = order.then_with(|| self.packages.compare(*package, &after.package));
                    let order = order.then_with(|| self.agents.get(agent).id.cmp(&after.agent));
                    directed_order(order, sort.reverse).is_gt()
                };
                list.filter(beyond).take(rows).map(row).collect()
            }
        }
    }

    /// A page of packages with how many hosts have a state of each that passes.
    pub(crate) fn packages(&self, query: &PackageQuery) -> PackagePage {
        let found = self.packages_found(&query.filter);
        let total = found.len() as u64;
        let key = |found: &Found| match query.sort {
            PackageSortKey::Hosts => (Reverse(found.hosts), found.rank),
            PackageSortKey::Name => (Reverse(0), found.rank),
        };
        let mut found = found;
        found.sort_unstable_by_key(key);
        let start = usize::try_from(query.page.offset(query.size)).unwrap_or(usize::MAX);
        let page = directed(found.into_iter(), query.reverse).skip(start).take(query.size.get() as usize);
        let row = |Found { package, hosts, severity, security, .. }| PackageRow {
            package: self.packages.get(package).key.clone(),
            hosts,
            severity,
            security,
        };
        PackagePage { items: page.map(row).collect(), total }
    }

    /// The packages of which a state passes.
    fn packages_found(&self, filter: &UpdateFilter) -> Vec<Found> {
        let wanted = self.wanted(filter);
        let found = |package: Slot, lists: &mut dyn Iterator<Item = (u32, u64)>| {
            let mut found: Option<Found> = None;
            for (class, hosts) in lists.filter(|(class, _)| wanted.classes.has(*class)) {
                let key = self.classes.key(class);
                let new = Found { package, rank: self.packages.rank(package), hosts: 0, severity: key.severity, security: 0 };
                let found = found.get_or_insert(new);
                found.hosts += hosts;
                found.severity = found.severity.min(key.severity);
                found.security += if key.security { hosts } else { 0 };
            }
            found
        };
        match filter.agent.map(|agent| self.agents.find(agent)) {
            Some(None) => Vec::new(),
            Some(Some(agent)) => {
                let cells = self.hosts[agent as usize].cells().iter().filter(|cell| wanted.package(cell.package));
                cells.filter_map(|cell| found(cell.package, &mut [(cell.class, 1)].into_iter())).collect()
            }
            None => {
                let entries = (0..).zip(&self.entries).filter(|(package, _)| wanted.package(*package));
                let counted = |(package, entry): (Slot, &std::sync::Arc<super::states::Entry>)| {
                    found(package, &mut entry.lists.iter().map(|(class, agents)| (*class, agents.len() as u64)))
                };
                entries.filter_map(counted).collect()
            }
        }
    }
}

/// A package of which a state passes.
#[derive(Clone, Copy, Debug)]
struct Found {
    package: Slot,
    rank: u32,
    hosts: u64,
    severity: Severity,
    security: u64,
}

fn directed<T>(all: impl DoubleEndedIterator<Item = T>, reverse: bool) -> impl Iterator<Item = T> {
    let (mut forwards, mut backwards) = if reverse { (None, Some(all.rev())) } else { (Some(all), None) };
    std::iter::from_fn(move || match (&mut forwards, &mut backwards) {
        (Some(all), _) => all.next(),
        (None, all) => all.as_mut().and_then(Iterator::next),
    })
}

const fn directed_order(order: Ordering, reverse: bool) -> Ordering {
    if reverse { order.reverse() } else { order }
}

/// Rows in the order of their ranks.
fn sorted<R: Ord + Copy>(mut rows: Vec<(R, Row)>) -> Vec<Row> {
    rows.sort_unstable_by_key(|(rank, _)| *rank);
    rows.into_iter().map(|(_, row)| row).collect()
}

/// An order of the states of a fleet that pass.
trait Order {
    /// Rows that stand together.
    type Run;

    fn shelves(&self) -> usize;

    /// Rows on a shelf, where counts tell.
    fn counted(&self, shelf: usize) -> Option<u64>;

    /// The shelf on which a position stands, or would.
    fn shelf_of(&self, position: &Position) -> usize;

    fn runs(&self, shelf: usize) -> Vec<Self::Run>;

    fn count(&self, run: &Self::Run) -> u64;

    /// The rows of a run, in order.
    fn rows(&self, run: &Self::Run) -> Vec<Row>;

    /// How a run stands to a position: equal when it is the position's own.
    fn compare_run(&self, run: &Self::Run, position: &Position) -> Ordering;

    /// How a row of a position's own run stands to it.
    fn compare_row(&self, row: Row, position: &Position) -> Ordering;
}

/// The `rows` of an order from `start`, or as many as there are.
fn walk<O: Order>(order: &O, reverse: bool, start: Start<'_>, rows: usize) -> Vec<Row> {
    let mut found = Vec::new();
    let (mut skip, after) = match start {
        Start::Offset(offset) => (offset, None),
        Start::After(after) => (0, Some(after)),
    };
    let shelves = match (after.map(|after| order.shelf_of(after)), reverse) {
        (None, _) => 0..order.shelves(),
        (Some(shelf), false) => shelf..order.shelves(),
        (Some(shelf), true) => 0..(shelf + 1).min(order.shelves()),
    };
    for shelf in directed(shelves, reverse) {
        if let Some(count) = order.counted(shelf)
            && count <= skip
        {
            skip -= count;
            continue;
        }
        for run in directed(order.runs(shelf).into_iter(), reverse) {
            let place = after.map_or(Ordering::Greater, |after| directed_order(order.compare_run(&run, after), reverse));
            if place.is_lt() {
                continue;
            }
            if skip > 0 {
                let count = order.count(&run);
                if count <= skip {
                    skip -= count;
                    continue;
                }
            }
            let beyond =
                |row: &Row| place.is_gt() || after.is_some_and(|after| directed_order(order.compare_row(*row, after), reverse).is_gt());
            let of_run = directed(order.rows(&run).into_iter(), reverse).filter(beyond);
            found.extend(of_run.skip(usize::try_from(std::mem::take(&mut skip)).unwrap_or(usize::MAX)).take(rows - found.len()));
            if found.len() == rows {
                return found;
            }
        }
    }
    found
}

/// By package, then agent id.
struct ByPackage<'a> {
    mirror: &'a Mirror,
    wanted: &'a Wanted,
    classes: Passing,
}

impl Order for ByPackage<'_> {
    type Run = Slot;

    fn shelves(&self) -> usize {
        self.mirror.package_shelves.len()
    }

    fn counted(&self, shelf: usize) -> Option<u64> {
        self.wanted.packages.is_none().then(|| self.mirror.package_shelves[shelf].of(&self.classes))
    }

    fn shelf_of(&self, position: &Position) -> usize {
        let packages = &self.mirror.packages;
        packages.order().partition_point(|slot| packages.compare(*slot, &position.package).is_lt()) / SHELF
    }

    fn runs(&self, shelf: usize) -> Vec<Slot> {
        let packages = self.mirror.packages.order().iter().skip(shelf * SHELF).take(SHELF);
        packages.copied().filter(|package| self.wanted.package(*package)).collect()
    }

    fn count(&self, package: &Slot) -> u64 {
        let lists = self.mirror.entries[*package as usize].lists.iter().filter(|(class, _)| self.classes.has(*class));
        lists.map(|(_, agents)| agents.len() as u64).sum()
    }

    fn rows(&self, package: &Slot) -> Vec<Row> {
        let lists = self.mirror.entries[*package as usize].lists.iter().filter(|(class, _)| self.classes.has(*class));
        let row = |agent: &Slot| (self.mirror.agents.id_rank(*agent), Row { agent: *agent, package: *package });
        sorted(lists.flat_map(|(_, agents)| agents).map(row).collect())
    }

    fn compare_run(&self, package: &Slot, position: &Position) -> Ordering {
        self.mirror.packages.compare(*package, &position.package)
    }

    fn compare_row(&self, row: Row, position: &Position) -> Ordering {
        self.mirror.agents.get(row.agent).id.cmp(&position.agent)
    }
}

/// By agent name and id, then package.
struct ByAgent<'a> {
    mirror: &'a Mirror,
    wanted: &'a Wanted,
}

impl Order for ByAgent<'_> {
    type Run = Slot;

    fn shelves(&self) -> usize {
        self.mirror.agent_shelves.len()
    }

    fn counted(&self, shelf: usize) -> Option<u64> {
        self.wanted.packages.is_none().then(|| self.mirror.agent_shelves[shelf].of(&self.wanted.classes))
    }

    fn shelf_of(&self, position: &Position) -> usize {
        let agents = &self.mirror.agents;
        agents.order().partition_point(|slot| agents.compare(*slot, &position.agent_name, position.agent).is_lt()) / SHELF
    }

    fn runs(&self, shelf: usize) -> Vec<Slot> {
        self.mirror.agents.order().iter().skip(shelf * SHELF).take(SHELF).copied().collect()
    }

    fn count(&self, agent: &Slot) -> u64 {
        let host = &self.mirror.hosts[*agent as usize];
        if self.wanted.packages.is_none() { host.counts().of(&self.wanted.classes) } else { self.wanted.count(host.cells()) }
    }

    fn rows(&self, agent: &Slot) -> Vec<Row> {
        let cells = self.mirror.hosts[*agent as usize].cells().iter().filter(|cell| self.wanted.has(**cell));
        sorted(cells.map(|cell| (self.mirror.packages.rank(cell.package), Row { agent: *agent, package: cell.package })).collect())
    }

    fn compare_run(&self, agent: &Slot, position: &Position) -> Ordering {
        self.mirror.agents.compare(*agent, &position.agent_name, position.agent)
    }

    fn compare_row(&self, row: Row, position: &Position) -> Ordering {
        self.mirror.packages.compare(row.package, &position.package)
    }
}

/// By the time of the last change, then package, then agent id.
struct ByTime<'a> {
    mirror: &'a Mirror,
    wanted: &'a Wanted,
}

impl ByTime<'_> {
    fn cells(&self, unit: &Unit) -> &[Cell] {
        self.mirror.hosts[unit.agent as usize].changed_at(unit.at)
    }
}

impl<'a> Order for ByTime<'a> {
    type Run = &'a [Unit];

    fn shelves(&self) -> usize {
        self.mirror.timeline.chunks().len()
    }

    fn counted(&self, shelf: usize) -> Option<u64> {
        self.wanted.packages.is_none().then(|| self.mirror.timeline.chunks()[shelf].counts().of(&self.wanted.classes))
    }

    fn shelf_of(&self, position: &Position) -> usize {
        self.mirror.timeline.place(position.changed_at.as_micros())
    }

    fn runs(&self, shelf: usize) -> Vec<&'a [Unit]> {
        self.mirror.timeline.chunks()[shelf].times().collect()
    }

    fn count(&self, units: &&[Unit]) -> u64 {
        units.iter().map(|unit| self.wanted.count(self.cells(unit))).sum()
    }

    fn rows(&self, units: &&[Unit]) -> Vec<Row> {
        let mut rows = Vec::new();
        for unit in *units {
            let id_rank = self.mirror.agents.id_rank(unit.agent);
            let passing = self.cells(unit).iter().filter(|cell| self.wanted.has(**cell));
            rows.extend(passing.map(|cell| {
                let rank = (self.mirror.packages.rank(cell.package), id_rank);
                (rank, Row { agent: unit.agent, package: cell.package })
            }));
        }
        sorted(rows)
    }

    fn compare_run(&self, units: &&[Unit], position: &Position) -> Ordering {
        units[0].at.cmp(&position.changed_at.as_micros())
    }

    fn compare_row(&self, row: Row, position: &Position) -> Ordering {
        let package = self.mirror.packages.compare(row.package, &position.package);
        package.then_with(|| self.mirror.agents.get(row.agent).id.cmp(&position.agent))
    }
}
