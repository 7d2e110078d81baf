//! The reports of the founding scene: 3,772 updates of dnf, apt and docker, about 400 bytes of JSON each.
//!
//! Every host gets values of its own, as from the wire: nothing is shared between reports but what the store itself shares.

use redflag_core::{
    conformance::generate::{Rng, at, checked, report_id, report_of, scope_of},
    ids::{Digest, ReportId},
    names::{APT, DNF, DOCKER, PackageKey},
    offer::{Offer, OfferInput},
    report::{Report, Scope, ScopeContent, scope_digest},
};

/// Updates of one host, by manager.
pub(crate) const UPDATES: [(&str, usize); 3] = [(DNF, 3_488), (APT, 277), (DOCKER, 7)];

/// Updates of one host.
pub(crate) const EVENTS: usize = UPDATES[0].1 + UPDATES[1].1 + UPDATES[2].1;

/// Offers by manager.
pub(crate) type Offers = Vec<(&'static str, Vec<(PackageKey, Offer)>)>;

/// What the hosts of one distribution are offered.
pub(crate) fn offers(distribution: u32) -> Offers {
    let mut rng = Rng::new(u64::from(distribution) + 7);
    let of_manager = |(manager, count): (&'static str, usize)| {
        let mut inputs: Vec<_> = (0..count).map(|number| offer(&mut rng, manager, number, distribution)).collect();
        inputs.sort_by(|a, b| a.package_name.cmp(&b.package_name));
        (manager, checked(manager, &inputs))
    };
    UPDATES.into_iter().map(of_manager).collect()
}

fn offer(rng: &mut Rng, manager: &str, number: usize, distribution: u32) -> OfferInput {
    let prefix = rng.pick(&["lib", "python3-", "perl-", "golang-", "node-", "rust-"]);
    let stem = rng.pick(&["curl", "openssl", "xml", "zstd", "glibc", "systemd", "qt", "gtk", "postgres", "kernel"]);
    OfferInput {
        package_name: format!("{prefix}{stem}-{number:04}-{distribution}"),
        arch: (manager != DOCKER).then(|| "x86_64".to_owned()),
        current_version: Some(format!("1.{}.0-1.lab1", number % 40)),
        available_version: format!("1.{}.1-{}.lab1", number % 40, 1 + rng.below(5)),
        repository_source: Some("lab-updates-security".to_owned()),
        severity: rng
            .pick(&[Some("critical"), Some("important"), Some("moderate"), Some("moderate"), Some("low"), None])
            .map(str::to_owned),
        security: rng.chance(30),
        advisories: vec![format!("LABSA-2026:{:04}", rng.below(9_999))],
        size_bytes: Some(rng.next() >> 44),
        package_description: Some("A library of routines that packages of this lab are linked against".to_owned()),
        ..OfferInput::default()
    }
}

/// One percent of the offers with another version, half a percent gone.
pub(crate) fn changed(mut offers: Offers) -> Offers {
    let mut rng = Rng::new(1);
    for (manager, offers) in &mut offers {
        let mut number = 0;
        offers.retain(|_| {
            number += 1;
            number % 200 != 100
        });
        for (package, offer) in offers.iter_mut().skip(50).step_by(100) {
            let input =
                OfferInput { available_version: format!("2.0.0-{}.lab1", 1 + rng.below(5)), ..OfferInput::from_offer(package, offer) };
            *offer = input.check(package).unwrap_or_else(|rejection| panic!("{manager}: {rejection:?}"));
        }
    }
    offers
}

/// A report of exactly these offers.
pub(crate) fn full_report(offers: &Offers, number: u32) -> Report {
    report(number, offers.iter().map(|(manager, offers)| scope_of(manager, at(number), offers, &[])).collect())
}

/// A report that names every scope by its digest.
pub(crate) fn digest_report(offers: &Offers, number: u32) -> Report {
    let scope = |(manager, offers): &(&'static str, Vec<(PackageKey, Offer)>)| {
        let digest = scope_digest(&offers[0].0.manager, offers.iter().map(|(package, offer)| (package, offer)));
        Scope { content: ScopeContent::Digest(digest), ..scope_of(manager, at(number), &[], &[]) }
    };
    report(number, offers.iter().map(scope).collect())
}

/// The digest of the body is not this crate's work: any will do that is the report's own.
fn report(number: u32, scopes: Vec<Scope>) -> Report {
    let id: ReportId = report_id(u64::from(number));
    let digest = Digest::of("bench", &[&number.to_be_bytes()]);
    Report { scopes, digest, ..report_of(id, u64::from(number), Vec::new()) }
}
