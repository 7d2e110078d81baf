//! What a host is offered: an installed version, the candidate to replace it, and whether it can be installed now.
//!
//! [`OfferInput`] is the unchecked form of reports and callers; [`Offer`] is the checked form that events and states hold. The
//! candidate is kept apart from what differs per host, because it is the same on every host of a fleet and stores keep it once.

use crate::{
    ids::Digest,
    limits,
    metadata::Metadata,
    names::{PackageKey, Text, Version},
    rejection::{Rejection, RejectionCode},
    words::{AvailabilityKind, Severity},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::sync::Arc;

/// The version a host could move to, with everything that is the same on every host.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Candidate {
    /// The version offered.
    pub version: Version,
    /// Repository or origin it comes from, in the manager's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Text>,
    /// How serious it is.
    pub severity: Severity,
    /// The source's own word for the severity, where it is not one of ours (clause S7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity_word: Option<Text>,
    /// Whether the source marks it as a security update.
    pub security: bool,
    /// Advisory ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub advisories: Vec<Text>,
    /// CVE ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cves: Vec<Text>,
    /// Download size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// One line about the package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Text>,
    /// Anything else the scanner knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
}

impl Candidate {
    /// A candidate of which nothing but the version is known.
    #[must_use]
    pub fn new(version: Version) -> Self {
        Self {
            version,
            origin: None,
            severity: Severity::Unknown,
            severity_word: None,
            security: false,
            advisories: Vec::new(),
            cves: Vec::new(),
            size_bytes: None,
            description: None,
            metadata: None,
        }
    }
}

/// Whether an offer can be installed now, and why not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Availability {
    /// The kind.
    pub kind: AvailabilityKind,
    /// Why, in a few words for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
}

impl Availability {
    /// Can be installed now.
    pub const INSTALLABLE: Self = Self { kind: AvailabilityKind::Installable, reason: None };

    /// `kind`, for `reason`.
    #[must_use]
    pub const fn because(kind: AvailabilityKind, reason: Text) -> Self {
        Self { kind, reason: Some(reason) }
    }
}

/// What one host is offered for one package.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Offer {
    /// The version installed now; none for a new dependency or where the manager has no such notion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed: Option<Version>,
    /// The version offered.
    pub candidate: Arc<Candidate>,
    /// Whether it can be installed now.
    pub availability: Availability,
}

impl Offer {
    /// The digest a decision binds to (clause A1): package key, from, to and origin. Severity, size and availability may change
    /// without asking again.
    #[must_use]
    pub fn digest(&self, package: &PackageKey) -> OfferDigest {
        let bytes = serde_json::to_vec(&(package, &self.installed, &self.candidate.version, &self.candidate.origin))
            .expect("names and versions always serialise");
        OfferDigest(Digest::of("redflag offer v1", &[&bytes]))
    }
}

/// Names one offer exactly; see [`Offer::digest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OfferDigest(pub Digest);

impl std::fmt::Display for OfferDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}

impl std::str::FromStr for OfferDigest {
    type Err = crate::ids::InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// An offer as a report or a caller states it, unchecked. The wire names are those of the listing API.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfferInput {
    /// The package's name.
    pub package_name: String,
    /// Its architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// The version installed now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_version: Option<String>,
    /// The version offered.
    pub available_version: String,
    /// Repository or origin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository_source: Option<String>,
    /// The source's word for the severity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// Whether the source marks it as a security update.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub security: bool,
    /// Advisory ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub advisories: Vec<String>,
    /// CVE ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cve_list: Vec<String>,
    /// Download size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// One line about the package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package_description: Option<String>,
    /// The kind of availability; `installable` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability: Option<String>,
    /// Why it cannot be installed now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability_reason: Option<String>,
    /// A JSON object of anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Box<RawValue>>,
}

impl OfferInput {
    /// The unchecked form of a checked offer.
    #[must_use]
    pub fn from_offer(package: &PackageKey, offer: &Offer) -> Self {
        let candidate = &offer.candidate;
        let text = |text: &Text| text.as_str().to_owned();
        let kind = offer.availability.kind;
        Self {
            package_name: package.name.as_str().to_owned(),
            arch: package.arch.as_ref().map(|arch| arch.as_str().to_owned()),
            current_version: offer.installed.as_ref().map(|version| version.as_str().to_owned()),
            available_version: candidate.version.as_str().to_owned(),
            repository_source: candidate.origin.as_ref().map(text),
            severity: match (&candidate.severity_word, candidate.severity) {
                (Some(word), _) => Some(word.as_str().to_owned()),
                (None, Severity::Unknown) => None,
                (None, severity) => Some(severity.as_str().to_owned()),
            },
            security: candidate.security,
            advisories: candidate.advisories.iter().map(text).collect(),
            cve_list: candidate.cves.iter().map(text).collect(),
            size_bytes: candidate.size_bytes,
            package_description: candidate.description.as_ref().map(text),
            availability: (kind != AvailabilityKind::Installable).then(|| kind.as_str().to_owned()),
            availability_reason: offer.availability.reason.as_ref().map(text),
            metadata: candidate.metadata.as_ref().and_then(|metadata| RawValue::from_string(metadata.as_json().to_owned()).ok()),
        }
    }

    /// Checks everything but the key, by the grammar of the key's manager.
    ///
    /// # Errors
    /// The first field outside its grammar or limits.
    pub fn check(&self, package: &PackageKey) -> Result<Offer, Rejection> {
        let manager = &package.manager;
        let text = |field: &str, value: &Option<String>| value.as_deref().map(|value| Text::parse_as(field, value)).transpose();
        let word = self.severity.as_deref().filter(|word| !word.is_empty());
        let severity = word.map_or(Severity::Unknown, Severity::from_source_word);
        let candidate = Candidate {
            version: Version::parse_for(manager, "available_version", &self.available_version)?,
            origin: text("repository_source", &self.repository_source)?,
            severity,
            severity_word: match word {
                Some(word) if word != severity.as_str() => Some(Text::parse_as("severity", word)?),
                _ => None,
            },
            security: self.security,
            advisories: ids("advisories", &self.advisories)?,
            cves: ids("cve_list", &self.cve_list)?,
            size_bytes: self.size_bytes.map(storable_u64).transpose()?,
            description: text("package_description", &self.package_description)?,
            metadata: self.metadata.as_ref().map(|raw| Metadata::parse(raw.get())).transpose()?,
        };
        let installed = self.current_version.as_deref();
        Ok(Offer {
            installed: installed.map(|version| Version::parse_for(manager, "current_version", version)).transpose()?,
            candidate: Arc::new(candidate),
            availability: Availability { kind: self.availability_kind()?, reason: text("availability_reason", &self.availability_reason)? },
        })
    }

    fn availability_kind(&self) -> Result<AvailabilityKind, Rejection> {
        let unknown = |error: crate::words::UnknownWord| Rejection::new(RejectionCode::UnknownWord, "availability", error.to_string());
        self.availability.as_deref().map_or(Ok(AvailabilityKind::Installable), |word| word.parse().map_err(unknown))
    }
}

fn ids(field: &str, ids: &[String]) -> Result<Vec<Text>, Rejection> {
    if ids.len() > limits::ADVISORIES_MAX {
        let message = format!("{} entries, more than the limit of {}", ids.len(), limits::ADVISORIES_MAX);
        return Err(Rejection::new(RejectionCode::TooMany, field, message));
    }
    ids.iter().map(|id| Text::parse_as(field, id)).collect()
}

/// Databases keep signed 64-bit integers.
fn storable_u64(value: u64) -> Result<u64, Rejection> {
    i64::try_from(value)
        .map(|_| value)
        .map_err(|_| Rejection::new(RejectionCode::NumberRange, "size_bytes", format!("{value} is above 2^63 - 1")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input() -> OfferInput {
        OfferInput {
            package_name: "bash".into(),
            available_version: "5.2-2".into(),
            severity: Some("HIGH".into()),
            ..OfferInput::default()
        }
    }

    #[test]
    fn checking_keeps_the_sources_own_severity_word() {
        let package = PackageKey::parse("apt", "bash", Some("amd64")).unwrap();
        let offer = input().check(&package).unwrap();
        assert_eq!((offer.candidate.severity, offer.candidate.severity_word.as_ref().unwrap().as_str()), (Severity::Important, "HIGH"));
        let again = OfferInput::from_offer(&package, &offer).check(&package).unwrap();
        assert_eq!(again, offer);
    }

    #[test]
    fn the_digest_binds_from_to_and_origin_only() {
        let package = PackageKey::parse("apt", "bash", Some("amd64")).unwrap();
        let digest = |change: fn(&mut OfferInput)| {
            let mut changed = input();
            change(&mut changed);
            changed.check(&package).unwrap().digest(&package)
        };
        let base = digest(|_| ());
        assert_eq!(base, digest(|offer| offer.severity = None));
        assert_eq!(base, digest(|offer| offer.availability = Some("held".into())));
        assert_ne!(base, digest(|offer| offer.available_version = "5.2-3".into()));
        assert_ne!(base, digest(|offer| offer.current_version = Some("5.1-1".into())));
        assert_ne!(base, digest(|offer| offer.repository_source = Some("elsewhere".into())));
    }

    #[test]
    fn numbers_beyond_63_bits_and_unknown_words_are_rejected() {
        let package = PackageKey::parse("apt", "bash", None).unwrap();
        let with = |change: fn(&mut OfferInput)| {
            let mut changed = input();
            change(&mut changed);
            changed.check(&package).map_err(|rejection| (rejection.code, rejection.field))
        };
        assert!(with(|offer| offer.size_bytes = Some(i64::MAX as u64)).is_ok());
        assert_eq!(with(|offer| offer.size_bytes = Some(1 << 63)).unwrap_err(), (RejectionCode::NumberRange, "size_bytes".into()));
        assert_eq!(with(|offer| offer.availability = Some("maybe".into())).unwrap_err().0, RejectionCode::UnknownWord);
        assert_eq!(with(|offer| offer.available_version = String::new()).unwrap_err(), (RejectionCode::Empty, "available_version".into()));
    }
}
