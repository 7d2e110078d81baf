//! What every installer asks of the items of one transaction before any tool hears of them.

use super::InstallError;
use redflag_core::{
    command::plan::{Change, Item, Plan},
    version_order,
    words::VersionOrder,
};
use std::{cmp::Ordering, collections::HashSet};

/// Most items of one transaction: their arguments stay far below the kernel's limit for one command line.
pub const ITEMS_MAX: usize = 5_000;

/// What `argument` makes of each item, if every item is one of `manager`, an upgrade, named once, and within the grammar that
/// `argument` knows. Where versions have no order, an upgrade is any other version.
pub(super) fn arguments<T>(
    manager: &str,
    order: VersionOrder,
    items: &[Item],
    argument: fn(&Item) -> Result<T, String>,
) -> Result<Vec<T>, InstallError> {
    let refused = |item: String, reason: String| Err(InstallError::Grammar { item, reason });
    if items.is_empty() || items.len() > ITEMS_MAX {
        return refused(format!("a list of {} items", items.len()), format!("a transaction has 1 to {ITEMS_MAX}"));
    }
    let mut seen = HashSet::new();
    let mut arguments = Vec::with_capacity(items.len());
    for item in items {
        let name = || format!("{} {}", item.package, item.to);
        if item.package.manager.as_str() != manager {
            return refused(name(), format!("not a package of {manager}"));
        }
        match argument(item) {
            Ok(argument) => arguments.push(argument),
            Err(reason) => return refused(name(), reason),
        }
        let newer = match order {
            VersionOrder::None => item.to != item.from,
            _ => version_order::compare(order, &item.to, &item.from) == Some(Ordering::Greater),
        };
        if !newer {
            return refused(name(), format!("not newer than {}", item.from));
        }
        if !seen.insert(&item.package) {
            return refused(name(), "named twice".into());
        }
    }
    Ok(arguments)
}

/// Whether a fresh plan changes what was approved, and nothing else. A plan that removes something is shown and never carried out,
/// approved or not.
pub(super) fn as_approved(plan: &Plan, approved: &Plan) -> Result<(), InstallError> {
    if plan.changes == approved.changes {
        return match plan.changes.iter().find(|change| change.to.is_none()) {
            Some(removal) => Err(InstallError::Unresolvable { reason: format!("{} would be removed", removal.package) }),
            None => Ok(()),
        };
    }
    let only_in = |one: &Plan, other: &Plan| one.changes.iter().find(|change| !other.changes.contains(change)).cloned();
    let words = |what: &str, change: Option<Change>| change.map(|change| format!("{what} {}", change.package));
    let differences = [words("now with", only_in(plan, approved)), words("approved with", only_in(approved, plan))];
    Err(InstallError::PlanChanged { reason: differences.into_iter().flatten().collect::<Vec<_>>().join(", ") })
}
