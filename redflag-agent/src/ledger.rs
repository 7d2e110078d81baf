//! What the server is known to hold of this agent: per manager the agreed digest and the packages it may have as open.
//!
//! From it follows what the next report must say: a digest where nothing changed (clause R4), and `gone` for what was offered in
//! an acknowledged report and is not any more (clause R1). Doubt is always resolved towards saying more: a superfluous `gone`
//! entry or full scope is harmless, a missing one loses history.

use redflag_core::{
    ids::Digest,
    names::{Manager, PackageKey},
    offer::Offer,
    report::{Fact, FactOutcome, Report, ReportStatus, Scope, ScopeContent, scope_digest},
    wire::ReportAnswerBody,
    words::{ScanResult, VersionOrder},
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What the server is known to hold, per manager.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// One entry per manager that was ever reported.
    pub scopes: BTreeMap<Manager, KnownScope>,
}

/// What the server is known to hold of one manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownScope {
    /// How its versions are compared.
    pub version_order: VersionOrder,
    /// The digest both sides agree on; none when there is doubt.
    pub agreed: Option<Digest>,
    /// Packages the server may have as open.
    pub offered: BTreeSet<PackageKey>,
}

impl Ledger {
    /// Notes the server's answer to `report`.
    pub fn acknowledge(&mut self, report: &Report, answer: &ReportAnswerBody) {
        if answer.status == ReportStatus::Stale {
            return;
        }
        let dense = answer.outcomes.len() == report.facts();
        let mut outcomes = answer.outcomes.iter();
        for scope in &report.scopes {
            let rejected = outcomes.by_ref().take(facts(scope)).filter(|outcome| matches!(outcome, FactOutcome::Rejected(_))).count();
            let doubted = !dense || answer.quarantined.contains(&scope.manager) || answer.full_required.contains(&scope.manager);
            self.take(
                scope,
                match rejected {
                    _ if doubted => Trust::Doubted,
                    0 => Trust::Acknowledged,
                    _ => Trust::AcknowledgedInPart,
                },
            );
        }
    }

    /// Expects `report`, which still waits, to be taken: it may have arrived already, or will before what is built now.
    pub fn expect(&mut self, report: &Report) {
        report.scopes.iter().for_each(|scope| self.take(scope, Trust::Expected));
    }

    /// Notes that `report`, which may have arrived, will not be sent again.
    pub fn doubt(&mut self, report: &Report) {
        report.scopes.iter().for_each(|scope| self.take(scope, Trust::Doubted));
    }

    fn take(&mut self, scope: &Scope, trust: Trust) {
        if scope.result == ScanResult::Failed {
            return;
        }
        let unknown = || KnownScope { version_order: scope.version_order, agreed: None, offered: BTreeSet::new() };
        let known = self.scopes.entry(scope.manager.clone()).or_insert_with(unknown);
        known.version_order = scope.version_order;
        let complete = scope.result == ScanResult::Complete;
        match &scope.content {
            ScopeContent::Digest(digest) => known.agreed = trust.agrees().then_some(*digest),
            ScopeContent::Facts { offers, gone } => {
                known.agreed = (complete && trust.agrees()).then(|| digest_of(scope, offers)).flatten();
                // With a fact whose key cannot be read the server takes the scope as partial (clause R2).
                let readable = offers.iter().all(|fact| package_of(fact).is_some()) && gone.iter().all(|fact| package_of(fact).is_some());
                if complete && readable && trust.replaces() {
                    known.offered.clear();
                }
                let shielding = gone.iter().filter(|fact| matches!(fact, Fact::Invalid { .. })).filter_map(package_of);
                known.offered.extend(offers.iter().filter_map(package_of).chain(shielding).cloned());
            }
        }
    }
}

/// How much is known of a scope's fate.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// The server answered for all of it: it replaces what was known, and its digest is agreed on.
    Acknowledged,
    /// The server answered and rejected some facts: it replaces what was known, and no digest is agreed on.
    AcknowledgedInPart,
    /// It will be taken before what is built now: it adds to what was known, and its digest will be agreed on.
    Expected,
    /// It may not have been taken: it adds to what was known, and no digest is agreed on.
    Doubted,
}

impl Trust {
    const fn agrees(self) -> bool {
        matches!(self, Self::Acknowledged | Self::Expected)
    }

    const fn replaces(self) -> bool {
        matches!(self, Self::Acknowledged | Self::AcknowledgedInPart)
    }
}

fn facts(scope: &Scope) -> usize {
    match &scope.content {
        ScopeContent::Digest(_) => 0,
        ScopeContent::Facts { offers, gone } => offers.len() + gone.len(),
    }
}

const fn package_of<T>(fact: &Fact<T>) -> Option<&PackageKey> {
    match fact {
        Fact::Valid(package, _) => Some(package),
        Fact::Invalid { package, .. } => package.as_ref(),
    }
}

/// The digest of the offers; none when one of them is invalid.
fn digest_of<'a>(scope: &Scope, offers: &'a [Fact<Offer>]) -> Option<Digest> {
    let valid = |fact: &'a Fact<Offer>| match fact {
        Fact::Valid(package, offer) => Some((package, offer)),
        Fact::Invalid { .. } => None,
    };
    let offers = offers.iter().map(valid).collect::<Option<Vec<_>>>()?;
    Some(scope_digest(&scope.manager, offers))
}
