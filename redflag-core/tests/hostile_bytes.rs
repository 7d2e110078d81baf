//! Reports as bytes: no input panics, and what is accepted can be written and read again (clauses B3, B13, R4a).
#![cfg(feature = "conformance")]
#![expect(clippy::unwrap_used, reason = "what fails in a test's helper fails the test")]

mod support;

use redflag_core::{
    conformance::generate::{Rng, agent, at, checked, hostile_offer, offer, report_id},
    event::EventKind,
    limits,
    names::PackageKey,
    offer::{Offer, OfferInput},
    rejection::Rejection,
    report::{Fact, Report, ScopeContent},
    wire::{self, GoneInput, ReportBody, ScopeBody},
    words::{ScanResult, VersionOrder},
};
use support::for_all;

fn body(rng: &mut Rng) -> ReportBody {
    let scopes = ["apt", "dnf", "docker"].iter().filter(|_| rng.chance(60)).copied().collect::<Vec<_>>();
    let scope = |word: &str| {
        let mut offers: Vec<OfferInput> = (0..rng.below(4)).map(|number| offer(rng, word, number)).collect();
        if rng.chance(30) {
            offers.push(hostile_offer(rng, word));
        }
        let gone = rng.chance(30).then(|| {
            vec![GoneInput { package_name: "gone".to_owned(), arch: None, installed_version: rng.chance(50).then(|| "1-1".to_owned()) }]
        });
        ScopeBody {
            package_type: word.parse().unwrap(),
            version_order: *rng.pick(VersionOrder::ALL),
            result: *rng.pick(&[ScanResult::Complete, ScanResult::Partial]),
            error: None,
            scanned_at: at(1),
            metadata_at: rng.chance(50).then(|| at(0)),
            refresh_error: None,
            digest: None,
            offers: Some(offers),
            gone,
        }
    };
    let scopes = scopes.into_iter().map(scope).collect();
    ReportBody { schema: 1, report_id: report_id(rng.next()), sequence: rng.next() >> 1, sent_at: at(1), host: Default::default(), scopes }
}

/// Overwrites, removes, repeats, inserts and cuts.
fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>) {
    const SPICE: &[&[u8]] = &[
        b"\"",
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"null",
        b"-1",
        b"1e400",
        b"18446744073709551616",
        b"\\u0000",
        b"\\ud800",
        b"\0",
        b"\xff",
        b"\"a\":1,",
        b"true",
        "оpenssl".as_bytes(),
        b"9999-12-31T23:59:59.999999999Z",
        b"--x",
    ];
    for _ in 0..=rng.below(4) {
        let place = rng.below(bytes.len() + 1);
        match rng.below(6) {
            0 if place < bytes.len() => bytes[place] = rng.next() as u8,
            1 if place < bytes.len() => drop(bytes.remove(place)),
            2 => bytes.truncate(place),
            3 => {
                let end = (place + rng.below(40)).min(bytes.len());
                let part = bytes[place..end].to_vec();
                bytes.splice(place..place, part);
            }
            _ => {
                let spice = *rng.pick(SPICE);
                bytes.splice(place..place, spice.iter().copied());
            }
        }
    }
}

fn inert(rejection: &Rejection, excerpt: &str) {
    for text in [&rejection.message, &rejection.field, excerpt] {
        assert!(!text.contains('\0') && text.len() <= 8 * limits::TEXT_BYTES_MAX, "{text:?}");
    }
}

/// What was accepted is canonical: written and read again it is the same.
fn accepted(report: &Report) {
    assert!(report.facts() <= limits::REPORT_FACTS_MAX);
    for scope in &report.scopes {
        let ScopeContent::Facts { offers, gone } = &scope.content else { continue };
        for fact in offers {
            match fact {
                Fact::Valid(package, offer) => reads_back(package, offer),
                Fact::Invalid { rejection, excerpt, .. } => inert(rejection, excerpt),
            }
        }
        for fact in gone {
            if let Fact::Invalid { rejection, excerpt, .. } = fact {
                inert(rejection, excerpt);
            }
        }
    }
}

fn reads_back(package: &PackageKey, offer: &Offer) {
    let input = OfferInput::from_offer(package, offer);
    let json = serde_json::to_string(&input).unwrap();
    let again: OfferInput = serde_json::from_str(&json).unwrap();
    assert_eq!(again.check(package).unwrap(), *offer, "{json}");
    let kind = EventKind::Discovered { offer: offer.clone() };
    assert_eq!(EventKind::from_json(&kind.to_json()), kind);
}

#[test]
fn mutated_reports_never_panic_and_what_passes_reads_back() {
    for_all("mutated_reports_never_panic_and_what_passes_reads_back", 2_000, |seed| {
        let mut rng = Rng::new(seed);
        let mut bytes = serde_json::to_vec(&body(&mut rng)).unwrap();
        accepted(&wire::read_report(&bytes).unwrap_or_else(|error| panic!("a valid report was refused: {error}")));
        mutate(&mut rng, &mut bytes);
        if let Ok(report) = wire::read_report(&bytes) {
            accepted(&report);
        }
    });
}

#[test]
fn mutated_compatible_reports_never_panic_and_what_passes_reads_back() {
    for_all("mutated_compatible_reports_never_panic_and_what_passes_reads_back", 2_000, |seed| {
        let mut rng = Rng::new(seed);
        let update = |offer: &OfferInput| {
            serde_json::json!({
                "package_type": "apt", "package_name": offer.package_name, "package_description": offer.package_description,
                "current_version": offer.current_version, "available_version": offer.available_version, "severity": offer.severity,
                "cve_list": offer.cve_list, "kb_id": null, "repository_source": offer.repository_source, "size_bytes": offer.size_bytes,
                "metadata": {"a": [1, null]},
            })
        };
        let updates: Vec<_> = (0..rng.below(4)).map(|number| update(&offer(&mut rng, "apt", number))).collect();
        let whole = serde_json::json!({"command_id": "c1", "timestamp": at(1), "updates": updates});
        let mut bytes = serde_json::to_vec(&whole).unwrap();
        accepted(&wire::read_compatible_report(agent(0), at(2), &bytes).unwrap());
        mutate(&mut rng, &mut bytes);
        if let Ok(report) = wire::read_compatible_report(agent(0), at(2), &bytes) {
            assert!(report.scopes.iter().all(|scope| scope.result == ScanResult::Partial), "a compatible report never withdraws");
            accepted(&report);
        }
    });
}

#[test]
fn random_bytes_are_refused() {
    for_all("random_bytes_are_refused", 10_000, |seed| {
        let mut rng = Rng::new(seed);
        let bytes: Vec<u8> = (0..rng.below(64)).map(|_| rng.next() as u8).collect();
        assert!(wire::read_report(&bytes).is_err());
        assert!(wire::read_compatible_report(agent(0), at(1), &bytes).is_err());
    });
}

#[test]
fn hostile_offers_never_pass() {
    for_all("hostile_offers_never_pass", 3_000, |seed| {
        let mut rng = Rng::new(seed);
        for word in ["apt", "dnf", "docker"] {
            let offer = hostile_offer(&mut rng, word);
            let passed =
                PackageKey::parse(word, &offer.package_name, offer.arch.as_deref()).is_ok_and(|package| offer.check(&package).is_ok());
            assert!(!passed, "{offer:?}");
        }
    });
}

proptest::proptest! {
    #[test]
    fn names_and_versions_that_pass_hold_only_printable_ascii(text in ".{0,40}") {
        for word in ["apt", "dnf", "docker"] {
            let offer = OfferInput { package_name: text.clone(), available_version: text.clone(), ..OfferInput::default() };
            if let Ok(package) = PackageKey::parse(word, &text, None) {
                proptest::prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.starts_with('-'));
                if let Ok(offer) = offer.check(&package) {
                    proptest::prop_assert_eq!(offer.candidate.version.as_str(), text.as_str());
                }
            }
        }
    }

    #[test]
    fn version_orders_are_total_orders(a in "[0-9a-z.~+-]{1,8}", b in "[0-9a-z.~+-]{1,8}", c in "[0-9a-z.~+-]{1,8}") {
        use redflag_core::{names::Version, version_order::compare};
        let parsed: Vec<Version> = [&a, &b, &c].into_iter().filter_map(|text| Version::parse(text).ok()).collect();
        if let [a, b, c] = parsed.as_slice() {
            for order in [VersionOrder::Dpkg, VersionOrder::Rpm] {
                let of = |a, b| compare(order, a, b).unwrap();
                proptest::prop_assert_eq!(of(a, b), of(b, a).reverse());
                proptest::prop_assert!(!(of(a, b).is_le() && of(b, c).is_le()) || of(a, c).is_le(), "{} {} {}", a, b, c);
            }
        }
    }
}

#[test]
fn generated_offers_always_pass() {
    let mut rng = Rng::new(3);
    for word in ["apt", "dnf", "docker"] {
        let offers = redflag_core::conformance::generate::offers(&mut rng, word, 1_000);
        let keys: std::collections::HashSet<_> = checked(word, &offers).into_iter().map(|(package, _)| package).collect();
        assert_eq!(keys.len(), 1_000, "{word}");
    }
}
