//! The comparison of one scope of a report with the states known: from it follows what happened (clauses R1 and R2).
//!
//! Pure and deterministic: the same states and scope give the same changes in the same order.

use crate::{
    batch::Invalid,
    event::EventKind,
    limits,
    names::{PackageKey, Version},
    offer::Offer,
    rejection::{Rejection, RejectionCode},
    report::{Fact, Scope, ScopeContent},
    state::{PackageState, States},
    time::Timestamp,
    version_order,
    words::{ScanResult, VersionOrder, WithdrawalReason},
};
use hashbrown::{HashMap, HashSet, hash_map::Entry};

/// What one scope of a report changes, in terms of what it was derived from.
#[derive(Clone, Debug, Default)]
pub struct ScopeDiff<'a> {
    /// Changes and rejected facts in order, each with the fact it stands for; an absence stands for none.
    pub(crate) items: Vec<(Option<usize>, DiffItem<'a>)>,
    /// Whether the scan is implausibly empty and waits for a second one; no absence counts then.
    pub quarantined: bool,
    /// Whether any fact was rejected, so that the digest cannot be agreed on.
    pub rejected: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum DiffItem<'a> {
    Change(&'a PackageKey, Change<'a>),
    Rejected(Box<Invalid>),
}

/// A change of a package.
#[derive(Clone, Debug)]
pub(crate) enum Change<'a> {
    Discovered(&'a Offer),
    Revised(&'a Offer),
    InstalledObserved(Version),
    Withdrawn(WithdrawalReason),
}

impl Change<'_> {
    /// The event it becomes.
    pub(crate) fn event(&self) -> EventKind {
        match self {
            Self::Discovered(offer) => EventKind::Discovered { offer: (*offer).clone() },
            Self::Revised(offer) => EventKind::Revised { offer: (*offer).clone() },
            Self::InstalledObserved(version) => EventKind::InstalledObserved { version: version.clone() },
            Self::Withdrawn(reason) => EventKind::Withdrawn { reason: *reason },
        }
    }
}

impl ScopeDiff<'_> {
    /// The changes derived, in order.
    pub fn changes(&self) -> impl Iterator<Item = (&PackageKey, EventKind)> {
        self.items.iter().filter_map(|(_, item)| match item {
            DiffItem::Change(package, change) => Some((*package, change.event())),
            DiffItem::Rejected(_) => None,
        })
    }
}

/// Compares one scope with the states known of its manager.
///
/// `quarantined_at` is the scan time of an implausible empty scan that waits for confirmation.
#[must_use]
pub fn diff<'a>(states: &'a States, scope: &'a Scope, quarantined_at: Option<Timestamp>) -> ScopeDiff<'a> {
    let mut comparison = Comparison { states, scope, said: Said::default(), diff: ScopeDiff::default() };
    let ScopeContent::Facts { offers, gone } = &scope.content else { return comparison.diff };
    if scope.result == ScanResult::Failed {
        return comparison.diff;
    }
    comparison.offers(offers);
    comparison.gone(offers.len(), gone);
    if scope.trusted_result() == ScanResult::Complete {
        comparison.absences(quarantined_at);
    }
    comparison.diff
}

struct Comparison<'a> {
    states: &'a States,
    scope: &'a Scope,
    said: Said<'a>,
    diff: ScopeDiff<'a>,
}

/// What the scope says of each package.
#[derive(Default)]
struct Said<'a> {
    offered: HashMap<&'a PackageKey, &'a Offer>,
    /// The fact that names it gone, and the version it left installed.
    gone: HashMap<&'a PackageKey, (usize, Option<&'a Version>)>,
    /// Named by a rejected fact: nothing is known of it, so its absence says nothing (clause R2).
    shielded: HashSet<&'a PackageKey>,
}

impl<'a> Comparison<'a> {
    fn offers(&mut self, offers: &'a [Fact<Offer>]) {
        self.said.offered.reserve(offers.len());
        for (fact, entry) in offers.iter().enumerate() {
            match entry {
                Fact::Invalid { package, rejection, excerpt } => self.reject(fact, package.as_ref(), rejection, excerpt),
                Fact::Valid(package, offer) => match self.said.offered.entry(package) {
                    Entry::Occupied(first) if *first.get() == offer => {}
                    Entry::Occupied(_) => self.conflict(fact, package),
                    Entry::Vacant(unsaid) => {
                        unsaid.insert(offer);
                        self.offer(fact, package, offer);
                    }
                },
            }
        }
    }

    fn offer(&mut self, fact: usize, package: &'a PackageKey, offer: &'a Offer) {
        let open = self.states.get(package).filter(|state| state.status().open());
        let Some(state) = open else { return self.change(Some(fact), package, Change::Discovered(offer)) };
        if state.offer == *offer {
            return;
        }
        match installed_since(self.scope.version_order, state, offer) {
            // What was offered is installed, and something newer is offered already: both are told.
            Some(version) => {
                self.change(Some(fact), package, Change::InstalledObserved(version));
                self.change(Some(fact), package, Change::Discovered(offer));
            }
            None => self.change(Some(fact), package, Change::Revised(offer)),
        }
    }

    fn gone(&mut self, offers: usize, gone: &'a [Fact<Option<Version>>]) {
        for (fact, entry) in (offers..).zip(gone) {
            match entry {
                Fact::Invalid { package, rejection, excerpt } => self.reject(fact, package.as_ref(), rejection, excerpt),
                Fact::Valid(package, _) if self.said.offered.contains_key(package) => self.conflict(fact, package),
                Fact::Valid(package, installed) => {
                    let installed = installed.as_ref();
                    if self.said.gone.entry(package).or_insert((fact, installed)).1 != installed {
                        self.conflict(fact, package);
                    }
                }
            }
        }
    }

    /// Closes what is open and was not named, unless too much is missing at once to be believed.
    fn absences(&mut self, quarantined_at: Option<Timestamp>) {
        let Said { offered, gone, shielded } = &self.said;
        let named = |package: &PackageKey| offered.contains_key(package) || shielded.contains(package);
        let absent = |state: &&PackageState| state.package.manager == self.scope.manager && state.status().open() && !named(&state.package);
        let mut absent: Vec<&'a PackageState> = self.states.iter().filter(absent).collect();
        absent.sort_unstable_by(|a, b| a.package.cmp(&b.package));
        let closed = |state: &&'a PackageState| {
            let gone = gone.get(&state.package).copied();
            (gone.map(|(fact, _)| fact), &state.package, closing(self.scope.version_order, state, gone.map(|(_, installed)| installed)))
        };
        let closings: Vec<_> = absent.iter().map(closed).collect();
        let empty = matches!(&self.scope.content, ScopeContent::Facts { offers, .. } if offers.is_empty());
        let unconfirmed = quarantined_at.is_none_or(|at| at == self.scope.scanned_at);
        if empty && unconfirmed && collapsed(closings.iter().map(|(_, _, closing)| closing)) {
            self.diff.quarantined = true;
            return;
        }
        for (fact, package, closing) in closings {
            self.change(fact, package, closing);
        }
    }

    fn change(&mut self, fact: Option<usize>, package: &'a PackageKey, change: Change<'a>) {
        self.diff.items.push((fact, DiffItem::Change(package, change)));
    }

    fn conflict(&mut self, fact: usize, package: &'a PackageKey) {
        let message = format!("two different facts about {package} in one report");
        let rejection = Rejection::new(RejectionCode::ConflictingFact, "package_name", message);
        self.reject(fact, Some(package), &rejection, "");
    }

    fn reject(&mut self, fact: usize, package: Option<&'a PackageKey>, rejection: &Rejection, excerpt: &str) {
        self.said.shielded.extend(package);
        self.diff.rejected = true;
        let invalid = Invalid { rejection: rejection.clone(), package: package.cloned(), excerpt: excerpt.to_owned() };
        self.diff.items.push((Some(fact), DiffItem::Rejected(Box::new(invalid))));
    }
}

/// The version that an offer of another candidate shows to be installed, where that is the one `state` offered or newer.
fn installed_since(order: VersionOrder, state: &PackageState, offer: &Offer) -> Option<Version> {
    let offered = &state.offer.candidate.version;
    let installed = offer.installed.as_ref().filter(|installed| state.offer.installed.as_ref() != Some(installed))?;
    let moved_on = offer.candidate.version != *offered && version_order::reached(order, installed, offered);
    moved_on.then(|| installed.clone())
}

/// How an offer that is absent closes; `gone` is what the report says is installed instead, where it says so.
fn closing(order: VersionOrder, state: &PackageState, gone: Option<Option<&Version>>) -> Change<'static> {
    match gone {
        Some(Some(installed)) if version_order::reached(order, installed, &state.offer.candidate.version) => {
            Change::InstalledObserved(installed.clone())
        }
        Some(None) if state.offer.installed.is_some() => Change::Withdrawn(WithdrawalReason::PackageRemoved),
        _ => Change::Withdrawn(WithdrawalReason::NoLongerOffered),
    }
}

/// Clause R2: at least [`limits::COLLAPSE_OFFERS_MIN`] open offers vanish at once, and not all because they were installed or
/// their packages removed.
fn collapsed<'a>(closings: impl ExactSizeIterator<Item = &'a Change<'a>>) -> bool {
    let unexplained = |closing: &Change<'_>| matches!(closing, Change::Withdrawn(WithdrawalReason::NoLongerOffered));
    closings.len() >= limits::COLLAPSE_OFFERS_MIN as usize && { closings }.any(unexplained)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Actor, Event},
        ids::EventId,
        offer::{Availability, Candidate},
        state::{self, Context},
    };
    use std::sync::Arc;

    fn scope(version: &str) -> Scope {
        let offer = |version: &str| Offer {
            installed: Some(Version::parse("1.0-1").unwrap()),
            candidate: Arc::new(Candidate::new(Version::parse(version).unwrap())),
            availability: Availability::INSTALLABLE,
        };
        let fact = |name: &str, version: &str| Fact::Valid(PackageKey::parse("apt", name, None).unwrap(), offer(version));
        Scope {
            manager: crate::names::Manager::parse("apt").unwrap(),
            version_order: VersionOrder::Dpkg,
            result: ScanResult::Complete,
            error: None,
            scanned_at: Timestamp::EPOCH,
            metadata_at: None,
            refresh_error: None,
            content: ScopeContent::Facts { offers: vec![fact("bash", version), fact("openssl", "3.0-2")], gone: Vec::new() },
        }
    }

    fn applied(before: &States, diff: &ScopeDiff<'_>) -> States {
        let mut states = before.clone();
        let context = Context { actor: Actor::Agent, received_at: Timestamp::EPOCH };
        for (package, kind) in diff.changes() {
            let id = EventId::from_uuid(uuid::Uuid::from_u128(1)).unwrap();
            let event = Event { id, package: package.clone(), kind, observed_at: None };
            let after = state::apply(states.get(package), &event, &context).unwrap();
            states.insert(after);
        }
        states
    }

    #[test]
    fn nothing_is_left_to_say_once_what_was_said_is_applied() {
        let (known, first_scope, second_scope) = (States::default(), scope("2.0-1"), scope("2.0-2"));
        let kinds =
            |diff: &ScopeDiff<'_>| diff.changes().map(|(package, kind)| format!("{} {}", package.name, kind.as_str())).collect::<Vec<_>>();
        let first = diff(&known, &first_scope, None);
        assert_eq!(kinds(&first), ["bash discovered", "openssl discovered"]);
        let states = applied(&known, &first);
        assert_eq!(diff(&states, &first_scope, None).changes().count(), 0);
        let second = diff(&states, &second_scope, None);
        assert_eq!(kinds(&second), ["bash revised"]);
        assert_eq!(diff(&applied(&states, &second), &second_scope, None).changes().count(), 0);
    }
}
