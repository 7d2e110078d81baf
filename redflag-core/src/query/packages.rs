//! Pages of packages: how many hosts have an update of each, with the reference evaluator.

use super::{PageNumber, PageSize, UpdateFilter};
use crate::{ids::AgentId, names::PackageKey, state::PackageState, words::Severity};
use std::{cmp::Reverse, collections::HashMap};

/// What a list of packages is ordered by; equal rows by name, manager and architecture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PackageSortKey {
    /// Most hosts first.
    #[default]
    Hosts,
    /// By name, in byte order.
    Name,
}

/// A page of packages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackageQuery {
    /// Which updates count.
    pub filter: UpdateFilter,
    /// Ordered by.
    pub sort: PackageSortKey,
    /// Whether the whole order is reversed.
    pub reverse: bool,
    /// Which page.
    pub page: PageNumber,
    /// How many.
    pub size: PageSize,
}

/// One package in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageRow {
    /// The package.
    pub package: PackageKey,
    /// Hosts with an update of it that passes.
    pub hosts: u64,
    /// The most serious of these updates.
    pub severity: Severity,
    /// How many of them are security updates.
    pub security: u64,
}

/// One page of packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackagePage {
    /// The rows.
    pub items: Vec<PackageRow>,
    /// All packages with an update that passes.
    pub total: u64,
}

impl PackageQuery {
    /// The page of these rows, which are all that pass, in any order.
    #[must_use]
    fn cut(&self, mut rows: Vec<PackageRow>) -> PackagePage {
        rows.sort_unstable_by(|a, b| {
            let order = match self.sort {
                PackageSortKey::Hosts => Reverse(a.hosts).cmp(&Reverse(b.hosts)),
                PackageSortKey::Name => std::cmp::Ordering::Equal,
            };
            let order = order.then_with(|| a.package.list_order(&b.package));
            if self.reverse { order.reverse() } else { order }
        });
        let total = rows.len() as u64;
        let start = usize::try_from(self.page.offset(self.size)).unwrap_or(usize::MAX);
        PackagePage { items: rows.into_iter().skip(start).take(self.size.get() as usize).collect(), total }
    }
}

/// Answers a query over all states: the reference every backend is compared with.
#[must_use]
pub fn evaluate_packages<'a>(states: impl IntoIterator<Item = (AgentId, &'a PackageState)>, query: &PackageQuery) -> PackagePage {
    let mut rows: HashMap<&PackageKey, PackageRow> = HashMap::new();
    for (agent, state) in states {
        if !query.filter.matches(agent, state) {
            continue;
        }
        let candidate = &state.offer.candidate;
        let new = || PackageRow { package: state.package.clone(), hosts: 0, severity: candidate.severity, security: 0 };
        let row = rows.entry(&state.package).or_insert_with(new);
        row.hosts += 1;
        row.severity = row.severity.min(candidate.severity);
        row.security += u64::from(candidate.security);
    }
    query.cut(rows.into_values().collect())
}
