//! The report that everything is measured with: 3,772 updates of dnf, apt and docker, 408 bytes of JSON each as agents send it.

use redflag_core::{
    conformance::generate::{Rng, at, checked, invalid_fact, report_id, report_of, scope_of},
    names::{APT, DNF, DOCKER, PackageKey, Version},
    offer::{Offer, OfferInput},
    report::{Report, Scope, ScopeContent, scope_digest},
};
use std::sync::Arc;

const UPDATES: [(&str, usize); 3] = [(DNF, 3_488), (APT, 277), (DOCKER, 7)];

/// The offers of one host, by manager.
#[derive(Clone)]
pub(crate) struct Host(pub(crate) Vec<(&'static str, Vec<(PackageKey, Offer)>)>);

impl Host {
    /// What every host is offered.
    pub(crate) fn new() -> Self {
        let mut rng = Rng::new(7);
        let of_manager = |(manager, count): (&'static str, usize)| {
            let inputs: Vec<_> = (0..count).map(|number| offer(&mut rng, manager, number)).collect();
            (manager, checked(manager, &inputs))
        };
        Self(UPDATES.into_iter().map(of_manager).collect())
    }

    /// Every offer with its package.
    pub(crate) fn offers(&self) -> impl Iterator<Item = &(PackageKey, Offer)> {
        self.0.iter().flat_map(|(_, offers)| offers)
    }

    /// How many offers there are.
    pub(crate) fn len(&self) -> usize {
        self.offers().count()
    }

    /// Report `number` of a host, with every package.
    pub(crate) fn report(&self, number: u32) -> Report {
        let scopes = self.0.iter().map(|(manager, offers)| scope_of(manager, at(number), offers, &[]));
        report_of(report_id(number.into()), number.into(), scopes.collect())
    }

    /// Report `number`, in which some facts did not pass: `count` of them, spread evenly.
    pub(crate) fn report_with_bad(&self, number: u32, count: usize) -> Report {
        let mut report = self.report(number);
        let ScopeContent::Facts { offers, .. } = &mut report.scopes[0].content else { return report };
        let apart = offers.len() / count.max(1);
        for place in (0..count).map(|bad| bad * apart) {
            let package = self.0[0].1[place].0.clone();
            offers[place] = invalid_fact(Some(package));
        }
        report
    }

    /// Report `number`, which names every scope by its digest.
    pub(crate) fn unchanged(&self, number: u32) -> Report {
        let scopes = self.0.iter().map(|(manager, offers)| {
            let digest = scope_digest(&offers[0].0.manager, offers.iter().map(|(package, offer)| (package, offer)));
            Scope { content: ScopeContent::Digest(digest), ..scope_of(manager, at(number), &[], &[]) }
        });
        report_of(report_id(number.into()), number.into(), scopes.collect())
    }

    /// The same host later: 1 % of its updates have another version, 0.5 % are gone. Which ones, and to which version, `number`
    /// says. Answers how many events that makes.
    pub(crate) fn changed(&self, number: u32) -> (Self, u32) {
        let (mut later, mut rng) = (self.clone(), Rng::new(number.into()));
        let (revised, gone) = (self.len().div_ceil(100), self.len().div_ceil(200));
        let version = Version::parse(&format!("9.{number}.1-1.lab1")).expect("a version");
        let mut places: Vec<usize> = (0..self.len()).collect();
        for change in 0..revised + gone {
            let other = change + rng.below(places.len() - change);
            places.swap(change, other);
        }
        let (revised, gone) = places[..revised + gone].split_at(revised);
        let mut place = 0;
        for (_, offers) in &mut later.0 {
            offers.retain_mut(|(_, offer)| {
                place += 1;
                if revised.contains(&(place - 1)) {
                    Arc::make_mut(&mut offer.candidate).version = version.clone();
                }
                !gone.contains(&(place - 1))
            });
        }
        (later, u32::try_from(revised.len() + gone.len()).expect("a small number"))
    }
}

fn offer(rng: &mut Rng, manager: &str, number: usize) -> OfferInput {
    OfferInput {
        package_name: format!("lab-package-{number:05}"),
        arch: (manager != DOCKER).then(|| "x86_64".to_owned()),
        current_version: Some(format!("1.{}.0-1.lab1", number % 40)),
        available_version: format!("1.{}.1-{}.lab1", number % 40, 1 + rng.below(5)),
        repository_source: Some("lab-updates-security".to_owned()),
        severity: rng.pick(&[Some("important"), Some("moderate"), None]).map(str::to_owned),
        security: rng.chance(30),
        advisories: vec![format!("LABSA-2026:{:04}", rng.below(9_999))],
        size_bytes: Some(rng.next() >> 44),
        package_description: Some("A library of routines that packages of this lab are linked against".to_owned()),
        ..OfferInput::default()
    }
}

/// What has no column of its own in the naive tables, as JSON.
pub(crate) fn rest(offer: &Offer) -> String {
    let candidate = &offer.candidate;
    serde_json::json!({
        "package_description": candidate.description,
        "advisories": candidate.advisories,
        "size_bytes": candidate.size_bytes,
        "security": candidate.security,
        "availability": offer.availability,
    })
    .to_string()
}
