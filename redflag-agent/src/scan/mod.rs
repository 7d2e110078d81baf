//! Scanning: what the package managers of this host offer.
//!
//! A [`Scanner`] asks one manager and answers with a [`Scan`], which is data even when it failed: "could not look" and "nothing
//! to update" are never the same (clause R2). Adding a manager is one file here and one line in [`scanners`].
//!
//! Each scanner keeps running its commands apart from reading their output: the readers are pure and judge every line; what they
//! cannot read makes the scan `partial`, with the reason. Nothing here reports to a server or remembers an earlier scan.

pub(crate) mod apt;
pub(crate) mod dnf;
pub(crate) mod docker;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;

pub use apt::Apt;
pub use dnf::Dnf;
#[cfg(feature = "agent")]
pub use docker::{Docker, RegistrySettings};

use async_trait::async_trait;
use redflag_core::{
    names::{Manager, PackageKey, Text, Version},
    offer::Offer,
    time::Timestamp,
    words::{AvailabilityKind, ScanResult, VersionOrder},
};
use std::collections::BTreeMap;

/// A source of updates on this host.
#[async_trait]
pub trait Scanner: Send + Sync + std::fmt::Debug {
    /// The manager it asks.
    fn manager(&self) -> Manager;

    /// How versions of the manager are compared.
    fn version_order(&self) -> VersionOrder;

    /// Whether this host has the manager at all.
    async fn present(&self) -> bool;

    /// Asks the manager. Never fails: a failure is a scan with result `failed` and its reason.
    ///
    /// Cancel safe: dropping the future kills the processes it started.
    async fn scan(&self) -> Scan;
}

/// Every scanner this version knows.
#[cfg(feature = "agent")]
#[must_use]
pub fn scanners() -> Vec<Box<dyn Scanner>> {
    vec![Box::new(Apt::new()), Box::new(Dnf::new()), Box::new(Docker::new())]
}

/// What one manager offers on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The manager.
    pub manager: Manager,
    /// How its versions are compared.
    pub version_order: VersionOrder,
    /// How the scan ended. Absence of a package means something only when it is `complete`.
    pub result: ScanResult,
    /// Why it failed or is partial.
    pub error: Option<Text>,
    /// When it began.
    pub scanned_at: Timestamp,
    /// When the manager's metadata was last refreshed, where that can be known.
    pub metadata_at: Option<Timestamp>,
    /// Why the metadata is older than it should be, where that can be known.
    pub refresh_error: Option<Text>,
    /// Every update the manager knows of, installable or not.
    pub offers: BTreeMap<PackageKey, Offer>,
    /// The installed version of every installed package; the newest where several are installed side by side.
    pub installed: BTreeMap<PackageKey, Version>,
}

impl Scan {
    /// A complete scan without offers, to be filled.
    #[must_use]
    pub fn begun(manager: Manager, version_order: VersionOrder) -> Self {
        Self {
            manager,
            version_order,
            result: ScanResult::Complete,
            error: None,
            scanned_at: crate::clock::now(),
            metadata_at: None,
            refresh_error: None,
            offers: BTreeMap::new(),
            installed: BTreeMap::new(),
        }
    }

    /// Makes the scan `failed` for `reason`: it says nothing about packages any more.
    #[must_use]
    pub fn failed(self, reason: &str) -> Self {
        Self { result: ScanResult::Failed, error: Some(Text::lossy(reason)), offers: BTreeMap::new(), installed: BTreeMap::new(), ..self }
    }

    /// Makes a complete scan `partial` for `reasons`, if there are any. The first few are kept.
    #[must_use]
    pub fn with_gaps(mut self, reasons: &[String]) -> Self {
        const KEPT: usize = 3;
        if reasons.is_empty() || self.result == ScanResult::Failed {
            return self;
        }
        let mut text = reasons.iter().take(KEPT).map(String::as_str).collect::<Vec<_>>().join("; ");
        if let Some(more) = reasons.len().checked_sub(KEPT).filter(|more| *more > 0) {
            text.push_str(&format!("; and {more} more"));
        }
        self.result = ScanResult::Partial;
        self.error = Some(Text::lossy(&text));
        self
    }

    /// How many offers can be installed now.
    #[must_use]
    pub fn installable(&self) -> usize {
        self.offers.values().filter(|offer| offer.availability.kind == AvailabilityKind::Installable).count()
    }

    /// How many offers are marked as security updates.
    #[must_use]
    pub fn security(&self) -> usize {
        self.offers.values().filter(|offer| offer.candidate.security).count()
    }
}
