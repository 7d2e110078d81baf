//! Seeded generators of the kit: realistic offers, hostile inputs, reports and whole histories.
//!
//! Everything is a function of a seed, so a failure is replayed by its seed alone. Stores use these in tests of their own.

use crate::{
    agent::{Enrolment, HostFacts},
    command::{
        payload::Action,
        record::Terms,
        step::{Request, Step, Wanted},
    },
    event::{Actor, ChangeInput, EventInput},
    ids::{AgentId, BatchId, CommandId, Digest, EventId, ReportId},
    names::{APT, DNF, DOCKER, Manager, PackageKey, Text, Version},
    offer::{Offer, OfferInput},
    rejection::{Rejection, RejectionCode},
    report::{Fact, Report, Scope, ScopeContent},
    time::Timestamp,
    words::{ScanResult, VersionOrder},
};
use serde_json::value::RawValue;
use uuid::Uuid;

/// A small fast generator (`SplitMix64`); not for secrets.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The generator that `seed` starts.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `bound` - 1; 0 for bound 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % bound).unwrap_or(0)
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of `items`, which must not be empty.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// A UUID that is not nil.
    pub fn uuid(&mut self) -> Uuid {
        Uuid::from_u128(u128::from(self.next()) << 64 | u128::from(self.next()) | 1)
    }
}

/// Agent number `number`, the same in every run.
#[must_use]
pub fn agent(number: u32) -> AgentId {
    AgentId::from_uuid(Uuid::from_u128(0xa9e0_0000_0000_4000_8000_0000_0000_0000 | u128::from(number))).expect("not nil")
}

/// A batch id made of `number`.
#[must_use]
pub fn batch_id(number: u64) -> BatchId {
    BatchId::from_uuid(Uuid::from_u128(0xba7c_0000_0000_4000_8000_0000_0000_0000 | u128::from(number))).expect("not nil")
}

/// An event id made of `number`.
#[must_use]
pub fn event_id(number: u64) -> EventId {
    EventId::from_uuid(Uuid::from_u128(0xe7e0_0000_0000_4000_8000_0000_0000_0000 | u128::from(number))).expect("not nil")
}

/// A command id made of `number`.
#[must_use]
pub fn command_id(number: u64) -> CommandId {
    CommandId::from_uuid(Uuid::from_u128(0xc000_0000_0000_4000_8000_0000_0000_0000 | u128::from(number))).expect("not nil")
}

/// A request that an agent scan, by ada.
#[must_use]
pub fn rescan(number: u64) -> Step {
    let by = Actor::Operator(text("ada"));
    Step::Request(Request { command: command_id(number), by, wanted: Wanted::Host(Action::Rescan), terms: Terms::default() })
}

/// A report id made of `number`.
#[must_use]
pub fn report_id(number: u64) -> ReportId {
    ReportId::from_uuid(Uuid::from_u128(0x4e90_0000_0000_4000_8000_0000_0000_0000 | u128::from(number))).expect("not nil")
}

/// `seconds` after 2026-11-23T00:00:00Z.
#[must_use]
pub fn at(seconds: u32) -> Timestamp {
    Timestamp::from_micros(1_795_392_000_000_000 + i64::from(seconds) * 1_000_000).expect("within range")
}

/// A text of ours.
#[must_use]
pub fn text(text: &str) -> Text {
    Text::parse(text).expect("a short text")
}

/// A manager's word of ours.
#[must_use]
pub fn manager(word: &str) -> Manager {
    Manager::parse(word).expect("a manager's word")
}

/// The enrolment of agent `number` under the name `host-<number>`.
#[must_use]
pub fn enrolment(number: u32) -> Enrolment {
    let mut public_key = [7; 32];
    public_key[..4].copy_from_slice(&number.to_be_bytes());
    Enrolment { agent: agent(number), name: text(&format!("host-{number}")), public_key, tags: Vec::new(), enrolled_at: at(0) }
}

const DEB_NAMES: &[&str] = &[
    "libssl3",
    "openssl",
    "g++",
    "libstdc++6",
    "python3.11-minimal",
    "linux-image-6.1.0-28-amd64",
    "libc6",
    "0ad",
    "bash",
    "curl",
    "libgtk-3-0",
    "systemd",
    "libperl5.36",
    "vim-common",
    "tzdata",
    "ca-certificates",
    "libx11-6",
    "postgresql-15",
];
const RPM_NAMES: &[&str] = &[
    "openssl-libs",
    "kernel-core",
    "glibc",
    "python3-libs",
    "NetworkManager",
    "gtk3",
    "libstdc++",
    "java-21-openjdk",
    "perl-Encode",
    "systemd-udev",
    "qemu-kvm_core",
    "git-core",
];
const IMAGE_NAMES: &[&str] =
    &["docker.io/library/postgres:15@db", "127.0.0.1:5000/lab/web:latest@web", "ghcr.io/acme/api@api", "redis:7@cache"];
const SEVERITIES: &[Option<&str>] =
    &[Some("critical"), Some("important"), Some("HIGH"), Some("moderate"), Some("low"), Some("urgent"), Some(""), None, None];
const AVAILABILITIES: &[Option<&str>] = &[None, None, None, None, Some("held"), Some("phased"), Some("kept-back"), Some("unknown")];

/// `count` offers of a manager as scanners of `apt`, `dnf` and `docker` report them, every key once. Names repeat with another
/// architecture (multilib pairs).
pub fn offers(rng: &mut Rng, manager: &str, count: usize) -> Vec<OfferInput> {
    (0..count).map(|number| offer(rng, manager, number)).collect()
}

/// Offer number `number` of a manager: the same key every time, another offer every time.
pub fn offer(rng: &mut Rng, manager: &str, number: usize) -> OfferInput {
    let (names, arches): (&[&str], &[Option<&str>]) = match manager {
        DNF => (RPM_NAMES, &[Some("x86_64"), Some("i686"), Some("noarch")]),
        DOCKER => (IMAGE_NAMES, &[None]),
        _ => (DEB_NAMES, &[Some("amd64"), Some("i386")]),
    };
    // The names of one round come with every architecture before the next round makes new names of them.
    let arch = arches[number % arches.len()];
    let (round, name) = (number / arches.len() / names.len(), names[number / arches.len() % names.len()]);
    let package_name = match (round, manager) {
        (0, _) => name.to_owned(),
        (_, DOCKER) => format!("{name}-{round}"),
        _ => format!("{name}{round}"),
    };
    OfferInput { package_name, arch: arch.map(str::to_owned), ..offer_of(rng, manager) }
}

/// An offer's versions and the rest, without its key.
fn offer_of(rng: &mut Rng, manager: &str) -> OfferInput {
    let (current_version, available_version) = match manager {
        DNF => {
            let (epoch, release) = (rng.below(3), rng.below(30));
            let tail = *rng.pick(&["", "~rc1", "^git20260101", "+plus"]);
            (format!("{epoch}:1.{release}-1.fc40"), format!("{epoch}:1.{}{tail}-{}.fc40", release + 1, 1 + rng.below(4)))
        }
        DOCKER => (format!("sha256:{:064x}", rng.next()), format!("sha256:{:064x}", rng.next())),
        _ => {
            let (epoch, minor) = (*rng.pick(&["", "1:", "2:"]), rng.below(40));
            let tail = *rng.pick(&["", "~rc1", "+dfsg", "~deb12u2"]);
            (format!("{epoch}1.{minor}-1"), format!("{epoch}1.{}{tail}-{}", minor + 1, 1 + rng.below(4)))
        }
    };
    let described = rng.chance(30);
    OfferInput {
        current_version: (!rng.chance(5)).then_some(current_version),
        available_version,
        repository_source: rng.chance(70).then(|| (*rng.pick(&["bookworm-security", "updates", "docker.io"])).to_owned()),
        severity: rng.pick(SEVERITIES).map(str::to_owned),
        security: rng.chance(25),
        advisories: if rng.chance(20) { vec![format!("DSA-{}-1", rng.below(9_999))] } else { Vec::new() },
        cve_list: if rng.chance(20) { vec![format!("CVE-2026-{}", 1_000 + rng.below(9_000))] } else { Vec::new() },
        size_bytes: rng.chance(50).then(|| rng.next() >> 20),
        package_description: described.then(|| (*rng.pick(&["a shell", "größer & kleiner", "line\nbreak", "<b>&amp;</b>"])).to_owned()),
        availability: rng.pick(AVAILABILITIES).map(str::to_owned),
        availability_reason: rng.chance(10).then(|| "apt-mark hold".to_owned()),
        metadata: rng
            .chance(15)
            .then(|| RawValue::from_string(r#"{"section":"libs","depth":{"n":[1,-2,0.5,null,"é"]}}"#.to_owned()).expect("JSON")),
        ..OfferInput::default()
    }
}

/// An offer no manager's grammar and no limit lets pass: control characters, over-long fields, options in place of names,
/// homoglyphs, broken versions, words and numbers out of their sets, ambiguous metadata.
pub fn hostile_offer(rng: &mut Rng, manager: &str) -> OfferInput {
    let mut offer = OfferInput { package_name: "victim".to_owned(), ..offer_of(rng, manager) };
    let raw = |json: &str| Some(RawValue::from_string(json.to_owned()).expect("JSON"));
    match rng.below(16) {
        0 => offer.package_name = "nul\0byte".to_owned(),
        // One above the limit mostly; now and then what breaks the index of a database that was not asked.
        1 => offer.package_name = "n".repeat(if rng.chance(5) { 6_400 } else { 256 }),
        2 => offer.package_name = "--allow-downgrades".to_owned(),
        3 => offer.package_name = "оpenssl".to_owned(),
        4 => offer.package_name = String::new(),
        5 => offer.available_version = String::new(),
        6 => offer.available_version = "1 2; DROP TABLE".to_owned(),
        7 => offer.current_version = Some("-1".to_owned()),
        8 => offer.arch = Some("amd 64".to_owned()),
        9 => offer.repository_source = Some("nul\0byte".to_owned()),
        10 => offer.size_bytes = Some(u64::MAX),
        11 => offer.availability = Some("maybe".to_owned()),
        12 => offer.metadata = raw(r#"{"a":1,"a":2}"#),
        13 => offer.metadata = raw(r#"{"a":"\u0000"}"#),
        14 => offer.cve_list = vec![String::new(); if rng.chance(5) { 257 } else { 1 }],
        _ => offer.package_description = Some("x".repeat(1_025)),
    }
    offer
}

/// The offers with their keys, checked; every one must pass.
#[must_use]
pub fn checked(manager_word: &str, offers: &[OfferInput]) -> Vec<(PackageKey, Offer)> {
    let manager = manager(manager_word);
    let check = |input: &OfferInput| {
        let package = PackageKey::parse_of(&manager, &input.package_name, input.arch.as_deref()).expect("a generated key is valid");
        let offer = input.check(&package).expect("a generated offer is valid");
        (package, offer)
    };
    offers.iter().map(check).collect()
}

/// A complete scan of a manager that offers `offers` and lacks `gone`.
#[must_use]
pub fn scope_of(
    manager_word: &str,
    scanned_at: Timestamp,
    offers: &[(PackageKey, Offer)],
    gone: &[(PackageKey, Option<Version>)],
) -> Scope {
    Scope {
        manager: manager(manager_word),
        version_order: match manager_word {
            APT => VersionOrder::Dpkg,
            DNF => VersionOrder::Rpm,
            _ => VersionOrder::None,
        },
        result: ScanResult::Complete,
        error: None,
        scanned_at,
        metadata_at: Some(scanned_at),
        refresh_error: None,
        content: ScopeContent::Facts {
            offers: offers.iter().map(|(package, offer)| Fact::Valid(package.clone(), offer.clone())).collect(),
            gone: gone.iter().map(|(package, version)| Fact::Valid(package.clone(), version.clone())).collect(),
        },
    }
}

/// A report of these scopes; its digest is one of its content.
#[must_use]
pub fn report_of(report_id: ReportId, sequence: u64, scopes: Vec<Scope>) -> Report {
    let content = format!("{sequence} {scopes:?}");
    let digest = Digest::of("conformance report", &[content.as_bytes()]);
    Report { report_id, digest, sequence: Some(sequence), host: HostFacts { os: Some(text("Debian 12")), ..HostFacts::default() }, scopes }
}

/// A fact that did not pass, with or without a key that can be read.
#[must_use]
pub fn invalid_fact<T>(package: Option<PackageKey>) -> Fact<T> {
    let rejection = Rejection::new(RejectionCode::TooLong, "available_version", "6400 bytes, more than the limit of 255");
    Fact::Invalid { package, rejection, excerpt: "{\"package_name\":…".to_owned() }
}

/// An event that discovers an offer.
#[must_use]
pub fn discovered(event_id: EventId, manager: &str, offer: OfferInput) -> EventInput {
    EventInput { event_id, package_type: manager.to_owned(), change: ChangeInput::Discovered(offer), observed_at: Some(at(1)) }
}
