//! Reports: what one agent says after scanning, and what it is answered (clauses R1a, R4).
//!
//! [`crate::wire`] reads a report from bytes, [`crate::diff`] compares it with what is known, and the unit of work that records
//! it joins the two.

use crate::{
    agent::HostFacts,
    canonical::Canonical,
    ids::{Digest, ReportId},
    names::{Manager, PackageKey, Text, Version},
    offer::Offer,
    rejection::Rejection,
    time::Timestamp,
    words::{ScanResult, VersionOrder},
};
use serde::{Deserialize, Serialize};

/// A report, read and checked; facts that did not pass are in it with their rejection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its id, the agent's choice (clause R1a).
    pub report_id: ReportId,
    /// The digest of its content: the same id with another digest is refused.
    pub digest: Digest,
    /// Its number, which grows from report to report (clause R3); none where the agent does not number them, which makes the
    /// order of arrival count.
    pub sequence: Option<u64>,
    /// What the agent says of its host.
    pub host: HostFacts,
    /// One entry a manager, in the order sent; no manager twice.
    pub scopes: Vec<Scope>,
}

/// What a report says of one manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The manager.
    pub manager: Manager,
    /// How its versions are compared.
    pub version_order: VersionOrder,
    /// How the scan ended.
    pub result: ScanResult,
    /// Why it failed or is partial.
    pub error: Option<Text>,
    /// When it was scanned, by the agent's clock.
    pub scanned_at: Timestamp,
    /// When the manager's metadata was last refreshed, by the agent's clock.
    pub metadata_at: Option<Timestamp>,
    /// Why the last refresh failed.
    pub refresh_error: Option<Text>,
    /// The packages, or the digest that stands for them.
    pub content: ScopeContent,
}

/// The packages of a scope, or the digest that stands for them (clause R4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScopeContent {
    /// Nothing changed since the scope with this digest was acknowledged.
    Digest(Digest),
    /// Every fact.
    Facts {
        /// What is offered now.
        offers: Vec<Fact<Offer>>,
        /// What was offered in the last acknowledged report and is not any more: the version installed now, or none.
        gone: Vec<Fact<Option<Version>>>,
    },
}

/// One fact of a report, or what is left of one that did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact<T> {
    /// Read and checked.
    Valid(PackageKey, T),
    /// Not.
    Invalid {
        /// The package, where it could be read: it is shielded from withdrawal (clause R2).
        package: Option<PackageKey>,
        /// Why.
        rejection: Rejection,
        /// The start of the fact as it was sent.
        excerpt: String,
    },
}

impl<T> Fact<T> {
    pub(crate) const fn package(&self) -> Option<&PackageKey> {
        match self {
            Self::Valid(package, _) => Some(package),
            Self::Invalid { package, .. } => package.as_ref(),
        }
    }
}

impl Scope {
    /// How many facts it holds.
    #[must_use]
    pub fn facts(&self) -> usize {
        match &self.content {
            ScopeContent::Digest(_) => 0,
            ScopeContent::Facts { offers, gone } => offers.len() + gone.len(),
        }
    }

    /// How far the scan can be trusted: a complete one with a fact whose key cannot be read counts as partial (clause R2).
    #[must_use]
    pub fn trusted_result(&self) -> ScanResult {
        let unreadable = matches!(&self.content, ScopeContent::Facts { offers, gone }
            if offers.iter().any(|fact| fact.package().is_none()) || gone.iter().any(|fact| fact.package().is_none()));
        if self.result == ScanResult::Complete && unreadable { ScanResult::Partial } else { self.result }
    }
}

impl Report {
    /// How many facts it holds.
    #[must_use]
    pub fn facts(&self) -> usize {
        self.scopes.iter().map(Scope::facts).sum()
    }
}

/// The digest by which agent and server agree that a scope's offers are the same (clause R4): SHA-256 over the canonical encoding
/// of the manager and of every offer, in key order.
#[must_use]
pub fn scope_digest<'a>(manager: &Manager, offers: impl IntoIterator<Item = (&'a PackageKey, &'a Offer)>) -> Digest {
    let mut offers: Vec<_> = offers.into_iter().collect();
    // Scanners mostly report in key order, which a stable sort finds in one pass.
    offers.sort_by_key(|(package, _)| *package);
    let mut canonical = Canonical::new("redflag scope v1");
    canonical.text(manager.as_str());
    offers.into_iter().for_each(|(package, offer)| canonical.offer(package, offer));
    canonical.digest()
}

/// What became of one fact of a report (clause R1a).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum FactOutcome {
    /// It became an event.
    Recorded,
    /// It was known already, or says nothing that counts.
    Unchanged,
    /// It was not taken.
    Rejected(Rejection),
}

/// Outcomes of facts, dense and index-aligned, kept as runs because most are alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FactOutcomes(Vec<(FactOutcome, u32)>);

impl FactOutcomes {
    /// Adds the outcome of the next fact.
    pub fn push(&mut self, outcome: FactOutcome) {
        match self.0.last_mut() {
            Some((last, count)) if *last == outcome => *count += 1,
            _ => self.0.push((outcome, 1)),
        }
    }

    /// One outcome per fact, in order.
    pub fn iter(&self) -> impl Iterator<Item = &FactOutcome> {
        self.0.iter().flat_map(|(outcome, count)| std::iter::repeat_n(outcome, *count as usize))
    }

    /// How many facts were recorded, unchanged and rejected.
    #[must_use]
    pub fn counts(&self) -> (u64, u64, u64) {
        self.0.iter().fold((0, 0, 0), |(recorded, unchanged, rejected), (outcome, count)| match outcome {
            FactOutcome::Recorded => (recorded + u64::from(*count), unchanged, rejected),
            FactOutcome::Unchanged => (recorded, unchanged + u64::from(*count), rejected),
            FactOutcome::Rejected(_) => (recorded, unchanged, rejected + u64::from(*count)),
        })
    }
}

crate::words::words! {
    /// How a report as a whole was taken.
    "report status" ReportStatus {
        /// It changed something, or had something rejected.
        Recorded = "recorded",
        /// Everything in it was known.
        Unchanged = "unchanged",
        /// It arrived after a newer one: noted, nothing overwritten (clause R3).
        Stale = "stale",
    }
}

/// The answer to a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportAnswer {
    /// The report.
    pub report_id: ReportId,
    /// How it was taken as a whole.
    pub status: ReportStatus,
    /// Managers whose digest the server does not share: the agent sends their packages in its next report.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub full_required: Vec<Manager>,
    /// Managers whose sudden emptiness waits for a second scan (clause R2).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quarantined: Vec<Manager>,
    /// Batches written.
    pub batches: u32,
    /// Events written, including withdrawals, which no fact stands for.
    pub events: u32,
    /// One outcome per fact: for each scope in order its offers, then its gone entries.
    pub outcomes: FactOutcomes,
}

/// A report as it is stored, so that a retry gets the same answer. Only reports that wrote events or rejections, or came too
/// late, are stored; an unchanged one is remembered in the agent's head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredReport {
    /// Its id.
    pub report_id: ReportId,
    /// The digest of its content.
    pub digest: Digest,
    /// Its number.
    pub sequence: u64,
    /// When the store received it.
    pub received_at: Timestamp,
    /// What was answered.
    pub answer: ReportAnswer,
}
