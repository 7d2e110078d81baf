//! Plans: what a package manager says it would do, from a dry run.
//!
//! An approval names items; the plan says what else would change with them. What lies beyond the items and the allowed side
//! effects is an [`Excess`], and a plan with one is not carried out without a second look (clause A1).

use crate::{
    ids::Digest,
    names::{PackageKey, Text, Version},
    offer::{Candidate, Offer},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, HashSet},
    fmt,
};

/// One package to bring from one exact version to another, as an operator approved it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// The package.
    pub package: PackageKey,
    /// The version installed when it was approved: a precondition (clause C2).
    pub from: Version,
    /// The version to install.
    pub to: Version,
    /// Where it comes from, in the manager's words, where the offer names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Text>,
}

impl Item {
    /// The item that brings a package to the version it is offered; none where no installed version is replaced.
    #[must_use]
    pub fn of_offer(package: &PackageKey, offer: &Offer) -> Option<Self> {
        let Candidate { version, origin, .. } = &*offer.candidate;
        Some(Self { package: package.clone(), from: offer.installed.clone()?, to: version.clone(), origin: origin.clone() })
    }
}

/// One package a transaction would touch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The package.
    pub package: PackageKey,
    /// The version installed before; none for a new package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Version>,
    /// The version installed afterwards; none for a removal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Version>,
    /// Where the new version comes from, in the manager's words, where it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Text>,
}

/// What one transaction of one manager would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Every package it touches, sorted and each once.
    pub changes: Vec<Change>,
    /// What has to be downloaded, in bytes, where the manager tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub download_bytes: Option<u64>,
    /// Whether the host will ask for a reboot afterwards, where that can be known beforehand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reboot_required: Option<bool>,
}

impl Plan {
    /// A plan of these changes, in their order.
    #[must_use]
    pub fn of(changes: impl IntoIterator<Item = Change>) -> Self {
        let mut changes: Vec<_> = changes.into_iter().collect();
        changes.sort_unstable();
        changes.dedup();
        Self { changes, ..Self::default() }
    }

    /// Names what the plan changes. Sizes and the need of a reboot are told, and not bound.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let bytes = serde_json::to_vec(&self.changes).expect("names and versions always serialise");
        Digest::of("redflag plan v1", &[&bytes])
    }

    /// What the plan does beyond bringing exactly `items` to their versions, and which items it leaves out.
    #[must_use]
    pub fn excess(&self, items: &[Item]) -> Vec<Excess> {
        let asked: HashMap<_, _> = items.iter().map(|item| (&item.package, item)).collect();
        let touched: HashSet<_> = self.changes.iter().map(|change| &change.package).collect();
        let beyond = self.changes.iter().filter_map(|change| {
            let Some(item) = asked.get(&change.package) else {
                return Some(Excess::not_asked(change));
            };
            let exact = change.to.as_ref() == Some(&item.to) && change.from.as_ref() == Some(&item.from);
            let origin = item.origin.is_none() || change.origin.is_none() || item.origin == change.origin;
            match (exact, origin) {
                (false, _) => Some(Excess::OtherVersion(change.clone())),
                (true, false) => Some(Excess::OtherOrigin(change.clone())),
                (true, true) => None,
            }
        });
        let missing = items.iter().filter(|item| !touched.contains(&item.package));
        beyond.chain(missing.cloned().map(Excess::Missing)).collect()
    }
}

/// One way in which a plan differs from what was approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "change", rename_all = "kebab-case")]
pub enum Excess {
    /// A package would be installed that nobody asked for.
    NewPackage(Change),
    /// A package would be removed.
    Removal(Change),
    /// Another installed package would change its version.
    OtherPackage(Change),
    /// The package asked for would go from or to another version.
    OtherVersion(Change),
    /// The version asked for would come from somewhere else.
    OtherOrigin(Change),
    /// The package asked for would stay as it is.
    Missing(Item),
}

impl Excess {
    fn not_asked(change: &Change) -> Self {
        match (&change.from, &change.to) {
            (_, None) => Self::Removal(change.clone()),
            (None, Some(_)) => Self::NewPackage(change.clone()),
            (Some(_), Some(_)) => Self::OtherPackage(change.clone()),
        }
    }
}

impl fmt::Display for Excess {
    /// What the plan does, in words for people: `removes apt/vim`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn version(version: Option<&Version>) -> &str {
            version.map_or("nothing", Version::as_str)
        }
        let between = |f: &mut fmt::Formatter<'_>, what: &str, change: &Change| {
            let Change { package, from, to, .. } = change;
            write!(f, "{what} {package} from {} to {}", version(from.as_ref()), version(to.as_ref()))
        };
        match self {
            Self::NewPackage(change) => write!(f, "adds {} {}", change.package, version(change.to.as_ref())),
            Self::Removal(change) => write!(f, "removes {}", change.package),
            Self::OtherPackage(change) => between(f, "also brings", change),
            Self::OtherVersion(change) => between(f, "brings", change),
            Self::OtherOrigin(change) => {
                write!(f, "takes {} from {}", change.package, change.origin.as_ref().map_or("elsewhere", Text::as_str))
            }
            Self::Missing(item) => write!(f, "leaves {} at {}", item.package, item.from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str) -> PackageKey {
        PackageKey::parse("apt", name, Some("amd64")).unwrap()
    }

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    fn item(name: &str) -> Item {
        Item { package: package(name), from: version("1"), to: version("2"), origin: None }
    }

    fn change(name: &str, from: Option<&str>, to: Option<&str>) -> Change {
        Change { package: package(name), from: from.map(version), to: to.map(version), origin: None }
    }

    #[test]
    fn a_plan_of_exactly_the_items_has_no_excess() {
        let plan = Plan::of([change("base", Some("1"), Some("2")), change("app", Some("1"), Some("2"))]);
        assert_eq!(plan.excess(&[item("app"), item("base")]), []);
        assert_eq!(plan.changes[0].package, package("app"), "sorted");
    }

    #[test]
    fn everything_beyond_the_items_is_named() {
        let elsewhere = Change { origin: Some(Text::lossy("elsewhere")), ..change("moved", Some("1"), Some("2")) };
        let plan = Plan::of([
            change("added", None, Some("2")),
            change("gone", Some("1"), None),
            change("other", Some("1"), Some("2")),
            change("asked", Some("1"), Some("3")),
            elsewhere.clone(),
        ]);
        let moved = Item { origin: Some(Text::lossy("here")), ..item("moved") };
        let excess = plan.excess(&[item("asked"), moved, item("absent")]);
        let expected = [
            Excess::NewPackage(change("added", None, Some("2"))),
            Excess::OtherVersion(change("asked", Some("1"), Some("3"))),
            Excess::Removal(change("gone", Some("1"), None)),
            Excess::OtherOrigin(elsewhere),
            Excess::OtherPackage(change("other", Some("1"), Some("2"))),
            Excess::Missing(item("absent")),
        ];
        assert_eq!(excess, expected);
    }

    #[test]
    fn the_digest_names_the_changes_alone() {
        let plan = Plan::of([change("app", Some("1"), Some("2"))]);
        assert_eq!(plan.digest(), Plan { download_bytes: Some(1), reboot_required: Some(true), ..plan.clone() }.digest());
        assert_ne!(plan.digest(), Plan::of([change("app", Some("1"), Some("3"))]).digest());
    }
}
