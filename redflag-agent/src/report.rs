//! From scans to the bytes of a report: digests where nothing changed, packages where something did (clauses R1, R2 and R4).
//!
//! Pure: scans, what the server is known to hold, ids and times come in as values. No scan is ever left out: a failed one is a
//! failed scope, and a manager that vanished from the host is one too, because absence of the tool says nothing about packages.

use crate::{
    error::{Error, Result},
    ledger::{KnownScope, Ledger},
    scan::Scan,
};
use redflag_core::{
    agent::HostFacts,
    ids::{Digest, ReportId},
    limits,
    names::{Arch, Manager, PackageKey, Text},
    offer::{Offer, OfferInput},
    report::scope_digest,
    time::Timestamp,
    wire::{GoneInput, ReportBody, ScopeBody},
    words::{AvailabilityKind, ScanResult},
};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};

/// What stands at the head of a report.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// Its id.
    pub report_id: ReportId,
    /// Its number, larger than that of every report before.
    pub sequence: u64,
    /// When it is made.
    pub sent_at: Timestamp,
    /// What the agent says of its host.
    pub host: HostFacts,
}

/// A report ready to be sent.
#[derive(Clone, Debug)]
pub struct Built {
    /// The bytes of its body.
    pub body: Vec<u8>,
    /// What it says, per manager.
    pub scopes: Vec<ScopeSummary>,
}

/// What a report says of one manager, in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScopeSummary {
    /// The manager.
    pub manager: Manager,
    /// How its scan ended.
    pub result: ScanResult,
    /// Why it failed or is partial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Text>,
    /// When it was scanned.
    pub scanned_at: Timestamp,
    /// Updates found, held and phased ones included.
    pub updates: u64,
    /// Those that can be installed now.
    pub installable: u64,
    /// Those marked as security updates.
    pub security: u64,
    /// How the report states them.
    pub stated: Stated,
}

/// How a report states the packages of a manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stated {
    /// By a digest: nothing changed.
    Digest,
    /// One by one.
    Packages,
    /// Not at all: the scan failed.
    Nothing,
}

/// Builds the report of `scans`, given what the server is known to hold.
///
/// More facts or bytes than a report may hold are cut off, visibly: the scopes concerned are sent as partial (clause R4a).
///
/// # Errors
/// When there are more managers than a report may have scopes.
pub fn build(envelope: &Envelope, scans: &[Scan], known: &Ledger) -> Result<Built> {
    let scopes = scans.len() + vanished(scans, known).count();
    if scopes > limits::REPORT_SCOPES_MAX {
        let message = format!("{scopes} managers on one host, more than the limit of {} in a report", limits::REPORT_SCOPES_MAX);
        return Err(Error::invalid(message));
    }
    let mut facts_max = limits::REPORT_FACTS_MAX;
    loop {
        let (built, facts) = build_within(envelope, scans, known, facts_max)?;
        if built.body.len() <= limits::REPORT_BYTES_MAX {
            return Ok(built);
        }
        facts_max = facts * 9 / 10;
    }
}

fn build_within(envelope: &Envelope, scans: &[Scan], known: &Ledger, facts_max: usize) -> Result<(Built, usize)> {
    let mut room = Room { facts: facts_max };
    let mut bodies: Vec<ScopeBody<Offers<'_>>> = scans.iter().map(|scan| scope(scan, known.scopes.get(&scan.manager), &mut room)).collect();
    bodies.extend(vanished(scans, known).map(|(manager, known)| vanished_scope(manager, known, envelope.sent_at)));
    let scopes = bodies.iter().map(|body| summary(body, scans)).collect();
    let body = ReportBody {
        schema: limits::REPORT_SCHEMAS[0],
        report_id: envelope.report_id,
        sequence: envelope.sequence,
        sent_at: envelope.sent_at,
        host: envelope.host.clone(),
        scopes: bodies,
    };
    let body = serde_json::to_vec(&body).map_err(|error| Error::invalid(format!("could not encode the report: {error}")))?;
    Ok((Built { body, scopes }, facts_max - room.facts))
}

/// Facts that still fit.
struct Room {
    facts: usize,
}

/// The first `count` offers of a scan. They take their form on the wire one by one, while they are written: all of them at once would
/// be a second copy of the scan in memory.
struct Offers<'a> {
    offers: &'a BTreeMap<PackageKey, Offer>,
    count: usize,
}

impl Serialize for Offers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_seq(self.offers.iter().take(self.count).map(|(package, offer)| OfferInput::from_offer(package, offer)))
    }
}

fn scope<'a>(scan: &'a Scan, known: Option<&KnownScope>, room: &mut Room) -> ScopeBody<Offers<'a>> {
    let mut body = ScopeBody {
        package_type: scan.manager.clone(),
        version_order: scan.version_order,
        result: scan.result,
        error: scan.error.clone(),
        scanned_at: scan.scanned_at,
        metadata_at: scan.metadata_at,
        refresh_error: scan.refresh_error.clone(),
        digest: None,
        offers: None,
        gone: None,
    };
    if scan.result == ScanResult::Failed {
        return body;
    }
    let agreed = known.and_then(|known| known.agreed);
    if scan.result == ScanResult::Complete && agreed.is_some() && agreed == digest(scan) {
        body.digest = agreed;
        return body;
    }
    let mut gone = if scan.result == ScanResult::Complete { gone(scan, known) } else { Vec::new() };
    let wanted = scan.offers.len() + gone.len();
    if wanted > room.facts {
        let message = format!("truncated: {} updates are more than fit in a report", scan.offers.len());
        let error = scan.error.as_ref().map_or(message.clone(), |error| format!("{message}; {error}"));
        (body.result, body.error) = (ScanResult::Partial, Some(Text::lossy(&error)));
        gone.clear();
    }
    let count = scan.offers.len().min(room.facts);
    room.facts -= count + gone.len();
    body.offers = Some(Offers { offers: &scan.offers, count });
    body.gone = (!gone.is_empty()).then_some(gone);
    body
}

/// The digest the server will compute: over the offers as it will read them. None when it would reject one.
fn digest(scan: &Scan) -> Option<Digest> {
    let read = |(package, offer): (&PackageKey, &Offer)| {
        let read = OfferInput::from_offer(package, offer).check(package).ok()?;
        Some((package.clone(), read))
    };
    let offers = scan.offers.iter().map(read).collect::<Option<Vec<_>>>()?;
    Some(scope_digest(&scan.manager, offers.iter().map(|(package, offer)| (package, offer))))
}

fn gone(scan: &Scan, known: Option<&KnownScope>) -> Vec<GoneInput> {
    let offered = known.map(|known| &known.offered).into_iter().flatten();
    let gone = offered.filter(|package| !scan.offers.contains_key(package));
    gone.map(|package| GoneInput {
        package_name: package.name.as_str().to_owned(),
        arch: package.arch.as_ref().map(|arch: &Arch| arch.as_str().to_owned()),
        installed_version: scan.installed.get(package).map(|version| version.as_str().to_owned()),
    })
    .collect()
}

/// Managers the server knows packages of and this host has no more.
fn vanished<'a>(scans: &[Scan], known: &'a Ledger) -> impl Iterator<Item = (&'a Manager, &'a KnownScope)> {
    let scanned: BTreeSet<&Manager> = scans.iter().map(|scan| &scan.manager).collect();
    let scopes: BTreeMap<_, _> = known.scopes.iter().filter(|(manager, _)| !scanned.contains(manager)).collect();
    scopes.into_iter().filter(|(_, known)| !known.offered.is_empty())
}

fn vanished_scope<'a>(manager: &Manager, known: &KnownScope, at: Timestamp) -> ScopeBody<Offers<'a>> {
    ScopeBody {
        package_type: manager.clone(),
        version_order: known.version_order,
        result: ScanResult::Failed,
        error: Some(Text::lossy(&format!("{manager} was on this host before and is not found any more"))),
        scanned_at: at,
        metadata_at: None,
        refresh_error: None,
        digest: None,
        offers: None,
        gone: None,
    }
}

fn summary(body: &ScopeBody<Offers<'_>>, scans: &[Scan]) -> ScopeSummary {
    let offers = scans.iter().find(|scan| scan.manager == body.package_type).map(|scan| &scan.offers);
    let count = |kept: fn(&Offer) -> bool| offers.map_or(0, |offers| offers.values().filter(|offer| kept(offer)).count() as u64);
    ScopeSummary {
        manager: body.package_type.clone(),
        result: body.result,
        error: body.error.clone(),
        scanned_at: body.scanned_at,
        updates: count(|_| true),
        installable: count(|offer| offer.availability.kind == AvailabilityKind::Installable),
        security: count(|offer| offer.candidate.security),
        stated: match (&body.digest, &body.offers) {
            (Some(_), _) => Stated::Digest,
            (None, Some(_)) => Stated::Packages,
            (None, None) => Stated::Nothing,
        },
    }
}
