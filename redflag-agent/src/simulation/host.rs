//! One simulated host: what its managers offer, and how that changes from round to round.

use super::{
    catalogue::{Catalogue, revised},
    random::Random,
};
use crate::{clock, scan::Scan};
use redflag_core::{
    agent::{HostFacts, Virtualisation, VirtualisationKind},
    ids::Digest,
    names::{APT, DNF, DOCKER, Manager, Text},
    offer::{Availability, Offer},
    words::{AvailabilityKind, ScanResult},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Updates of the first host per manager, in parts of [`FIRST_PARTS`]: those of a real host that a first system lost.
const FIRST: [(&str, u64); 3] = [(DNF, 3_488), (APT, 277), (DOCKER, 7)];
const FIRST_PARTS: u64 = 3_772;

/// Systems of the fleet: what they call themselves, their kernel, and their managers.
const SYSTEMS: &[(&str, &str, &[&str])] = &[
    ("Rocky Linux 9.6 (Blue Onyx)", "5.14.0-570.el9.x86_64", &[DNF]),
    ("Ubuntu 24.04.3 LTS", "6.8.0-88-generic", &[APT]),
    ("Debian GNU/Linux 12 (bookworm)", "6.1.0-41-amd64", &[APT, DOCKER]),
    ("Fedora Linux 42 (Server Edition)", "6.16.9-200.fc42.x86_64", &[DNF, DOCKER]),
    ("Ubuntu 22.04.5 LTS", "5.15.0-161-generic", &[APT, DOCKER]),
];

/// A host that exists only here.
#[derive(Clone, Debug)]
pub(crate) struct SimulatedHost {
    pub(crate) index: u64,
    pub(crate) name: Text,
    pub(crate) facts: HostFacts,
    seed: u64,
    scans: Vec<Scan>,
}

impl SimulatedHost {
    /// Host `index` of a fleet; the first has `first_updates`, the others from none to several hundred.
    pub(crate) fn new(seed: u64, index: u64, first_updates: u32, catalogues: &[Catalogue]) -> Self {
        let mut random = Random::strand(seed, &[index]);
        let name = Text::lossy(&format!("sim-{:04}", index + 1));
        let (os, kernel, managers) = SYSTEMS[usize::try_from(random.below(SYSTEMS.len() as u64)).expect("an index of a slice")];
        let wanted: Vec<(&str, u64)> = match index {
            0 => first(u64::from(first_updates)),
            _ => managers.iter().map(|manager| (*manager, spread(manager, &mut random))).collect(),
        };
        let scan = |(manager, updates)| {
            let catalogue =
                catalogues.iter().find(|catalogue| catalogue.manager.as_str() == manager).expect("every manager has a catalogue");
            filled(catalogue, updates, &mut random)
        };
        let mut scans: Vec<Scan> = wanted.into_iter().map(scan).collect();
        spoil(&mut scans, index);
        let facts = HostFacts {
            hostname: Some(name.clone()),
            os: Some(Text::lossy(os)),
            kernel: Some(Text::lossy(kernel)),
            arch: Some(Text::lossy("x86_64")),
            agent_version: Some(Text::lossy(env!("CARGO_PKG_VERSION"))),
            ..machine(seed, index)
        };
        Self { index, name, facts, seed, scans }
    }

    /// What its managers say now.
    pub(crate) fn scans(&self) -> Vec<Scan> {
        let failed = |scan: &Scan| scan.result == ScanResult::Failed;
        let said = |scan: &Scan| match failed(scan) {
            true => Scan { offers: BTreeMap::new(), installed: BTreeMap::new(), ..scan.clone() },
            false => scan.clone(),
        };
        self.scans.iter().map(said).map(|scan| Scan { scanned_at: clock::now(), ..scan }).collect()
    }

    /// Lets one round of life pass: some updates get installed, some packages removed, some offers revised, some appear. About
    /// half of the hosts see no change.
    pub(crate) fn live(&mut self, round: u32, catalogues: &[Catalogue]) {
        let mut random = Random::strand(self.seed, &[self.index, u64::from(round)]);
        for scan in &mut self.scans {
            if scan.result != ScanResult::Complete {
                (scan.result, scan.error) = (ScanResult::Complete, None);
            }
            if random.chance(50) {
                continue;
            }
            change(scan, u64::from(round), &mut random);
            let catalogue = catalogues.iter().find(|catalogue| catalogue.manager == scan.manager).expect("every manager has a catalogue");
            let new = filled(catalogue, random.below(6), &mut random);
            for (package, offer) in new.offers {
                let installed = new.installed[&package].clone();
                // A package that was updated before is not offered its old version again.
                if !scan.installed.contains_key(&package) {
                    scan.installed.insert(package.clone(), installed);
                    scan.offers.insert(package, offer);
                }
            }
        }
    }
}

/// What sets machines apart, from a strand of its own, so that it does not move what managers offer.
fn machine(seed: u64, index: u64) -> HostFacts {
    const STRAND: u64 = u64::MAX;
    const HOURS_UP_MAX: u64 = 90 * 24;
    let mut random = Random::strand(seed, &[index, STRAND]);
    let technology = random.one_of(&["kvm", "vmware", "amazon"]);
    let virtualisation = match random.below(4) {
        0 => Virtualisation { kind: VirtualisationKind::Physical, technology: None },
        _ => Virtualisation { kind: VirtualisationKind::VirtualMachine, technology: Some(Text::lossy(technology)) },
    };
    let mut some = |percent, texts: &[&str]| {
        let wanted = random.chance(percent);
        Some(texts.iter().filter(|_| wanted).map(|text| Text::lossy(text)).collect())
    };
    HostFacts {
        virtualisation: Some(virtualisation),
        reboot_reasons: some(20, &["a newer kernel is installed"]),
        services_to_restart: some(15, &["cron.service", "ssh.service"]),
        booted_at: Some(clock::now().saturating_sub(Duration::from_hours(random.below(HOURS_UP_MAX)))),
        machine_digest: Some(Digest::of("redflag simulated machine", &[&seed.to_le_bytes(), &index.to_le_bytes()])),
        ..HostFacts::default()
    }
}

fn first(updates: u64) -> Vec<(&'static str, u64)> {
    let mut wanted: Vec<_> = FIRST.iter().map(|(manager, part)| (*manager, updates * part / FIRST_PARTS)).collect();
    let given: u64 = wanted.iter().map(|(_, updates)| updates).sum();
    wanted[0].1 += updates - given;
    wanted
}

/// Few hosts have many updates, many have few, and one in ten is up to date.
fn spread(manager: &str, random: &mut Random) -> u64 {
    match manager {
        DOCKER => random.below(9),
        _ if random.chance(10) => 0,
        _ => {
            let magnitude = random.below(8);
            random.below(6 << magnitude)
        }
    }
}

/// A complete scan with `updates` of the catalogue, the widespread ones likelier (weights fall like Zipf's; drawing without
/// replacement after Efraimidis and Spirakis).
fn filled(catalogue: &Catalogue, updates: u64, random: &mut Random) -> Scan {
    let mut drawn: Vec<(f64, usize)> = Vec::with_capacity(catalogue.packages.len());
    let mut weight_inverse = 0.0;
    for rank in 0..catalogue.packages.len() {
        weight_inverse += 1.0;
        drawn.push((-(1.0 - random.fraction()).ln() * weight_inverse, rank));
    }
    drawn.sort_unstable_by(|(a, _), (b, _)| a.total_cmp(b));
    let mut scan = Scan::begun(catalogue.manager.clone(), catalogue.version_order);
    scan.metadata_at = Some(scan.scanned_at);
    for (_, rank) in drawn.into_iter().take(usize::try_from(updates).unwrap_or(usize::MAX)) {
        let package = &catalogue.packages[rank];
        scan.installed.insert(package.key.clone(), package.installed.clone());
        let offer = Offer {
            installed: Some(package.installed.clone()),
            candidate: Arc::clone(&package.candidate),
            availability: availability(&catalogue.manager, random),
        };
        scan.offers.insert(package.key.clone(), offer);
    }
    scan
}

fn availability(manager: &Manager, random: &mut Random) -> Availability {
    let because = |kind, reason| Availability::because(kind, Text::lossy(reason));
    match (random.below(100), manager.as_str()) {
        (0..3, APT) => because(AvailabilityKind::Held, "held by apt-mark"),
        (0..3, DNF) => because(AvailabilityKind::Held, "held by versionlock"),
        (3..6, APT) => because(AvailabilityKind::Phased, "phased update, not yet this host's turn"),
        (6..8, APT | DNF) => because(AvailabilityKind::KeptBack, "needs a package that is not installed"),
        _ => Availability::INSTALLABLE,
    }
}

/// A few hosts have a manager that fails, or that was only read in part, until the next round.
fn spoil(scans: &mut [Scan], index: u64) {
    let Some(scan) = scans.first_mut() else { return };
    let (result, error) = match index {
        index if index % 29 == 7 => (ScanResult::Failed, "the package database is locked by another process"),
        index if index % 31 == 11 => (ScanResult::Partial, "2 lines of the manager's output could not be read"),
        _ => return,
    };
    (scan.result, scan.error) = (result, Some(Text::lossy(error)));
}

fn change(scan: &mut Scan, round: u64, random: &mut Random) {
    let packages: Vec<_> = scan.offers.keys().cloned().collect();
    for package in packages {
        match random.below(100) {
            0..15 => {
                let offer = scan.offers.remove(&package).expect("the key was just read");
                scan.installed.insert(package, offer.candidate.version.clone());
            }
            15 => {
                scan.offers.remove(&package);
                scan.installed.remove(&package);
            }
            16..20 => {
                let offer = scan.offers.get_mut(&package).expect("the key was just read");
                offer.candidate = Arc::new(revised(&offer.candidate, &scan.manager, round));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redflag_core::offer::OfferInput;

    fn facts(host: &SimulatedHost) -> Vec<(String, ScanResult, BTreeMap<redflag_core::names::PackageKey, Offer>)> {
        host.scans().into_iter().map(|scan| (scan.manager.to_string(), scan.result, scan.offers)).collect()
    }

    #[test]
    fn the_first_host_has_the_updates_of_the_real_one() {
        let catalogues = Catalogue::all(1);
        let host = SimulatedHost::new(1, 0, 3_772, &catalogues);
        let counts: Vec<_> = host.scans().iter().map(|scan| (scan.manager.to_string(), scan.offers.len())).collect();
        assert_eq!(counts, [("dnf".to_owned(), 3_488), ("apt".to_owned(), 277), ("docker".to_owned(), 7)]);
    }

    #[test]
    fn a_seed_makes_the_same_fleet_and_another_seed_another() {
        let fleet = |seed| {
            let catalogues = Catalogue::all(seed);
            let mut hosts: Vec<_> = (0..40).map(|index| SimulatedHost::new(seed, index, 50, &catalogues)).collect();
            hosts.iter_mut().for_each(|host| host.live(1, &catalogues));
            hosts.iter().map(facts).collect::<Vec<_>>()
        };
        assert_eq!(fleet(7), fleet(7));
        assert_ne!(fleet(7), fleet(8));
    }

    #[test]
    fn everything_offered_passes_the_checks_of_a_report_through_many_rounds() {
        let catalogues = Catalogue::all(3);
        for index in 0..60 {
            let mut host = SimulatedHost::new(3, index, 500, &catalogues);
            for round in 1..6 {
                for scan in host.scans() {
                    for (package, offer) in &scan.offers {
                        assert_eq!(OfferInput::from_offer(package, offer).check(package).as_ref(), Ok(offer), "{package}");
                    }
                    assert!(scan.result != ScanResult::Failed || scan.offers.is_empty());
                }
                host.live(round, &catalogues);
            }
        }
    }
}
