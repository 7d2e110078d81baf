//! What became of an installation whose end was not seen: asked of the manager, never guessed (clause C2).

use super::answer::{Found, ItemFound, Outcome};
use crate::install::{InstallError, Installer};
use redflag_core::command::plan::Item;

/// Looks at what is installed of `items` now.
///
/// A plan begins with its precondition: where it can be made, every item is at the version it started from; where it cannot, the
/// version that is installed instead is named.
pub(super) async fn of_items(installer: &dyn Installer, items: &[Item], reason: String) -> Outcome {
    let items = match installer.plan(items).await {
        Ok(_) => items.iter().map(|item| item_found(item, Found::NotDone)).collect(),
        Err(_) => one_by_one(installer, items).await,
    };
    Outcome::Interrupted { reason, found: Found::of_all(&items), items }
}

async fn one_by_one(installer: &dyn Installer, items: &[Item]) -> Vec<ItemFound> {
    let mut found = Vec::with_capacity(items.len());
    for item in items {
        found.push(item_found(
            item,
            match installer.plan(std::slice::from_ref(item)).await {
                Ok(_) => Found::NotDone,
                Err(InstallError::Precondition { installed, .. }) if installed == item.to.as_str() => Found::Done,
                Err(_) => Found::Unknown,
            },
        ));
    }
    found
}

fn item_found(item: &Item, found: Found) -> ItemFound {
    ItemFound { package: item.package.clone(), found }
}
