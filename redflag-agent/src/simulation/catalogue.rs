//! The packages a simulated fleet shares: names as distributions use them, each with the candidate offered everywhere.

use super::random::Random;
use redflag_core::{
    names::{APT, Arch, DNF, DOCKER, Manager, PackageKey, PackageName, Text, Version},
    offer::Candidate,
    words::{Severity, VersionOrder},
};
use std::sync::Arc;

const STEMS: &[&str] = &[
    "bash",
    "binutils",
    "bluez",
    "bind",
    "brotli",
    "bzip2",
    "cairo",
    "cups",
    "curl",
    "dbus",
    "dracut",
    "expat",
    "firewalld",
    "freetype",
    "fuse",
    "gcc",
    "gdb",
    "gettext",
    "git",
    "glib2",
    "glibc",
    "gnupg",
    "gnutls",
    "grub2",
    "gtk4",
    "haproxy",
    "httpd",
    "icu",
    "iproute",
    "iptables",
    "jansson",
    "kernel",
    "kexec",
    "krb5",
    "ldap",
    "less",
    "llvm",
    "lua",
    "lvm2",
    "mariadb",
    "mesa",
    "ncurses",
    "nettle",
    "nginx",
    "nodejs",
    "nss",
    "numpy",
    "openssh",
    "openssl",
    "pam",
    "pango",
    "pcre2",
    "perl",
    "php",
    "pipewire",
    "podman",
    "polkit",
    "postfix",
    "postgresql",
    "python3",
    "qemu",
    "readline",
    "redis",
    "rsync",
    "ruby",
    "samba",
    "selinux",
    "sqlite",
    "squid",
    "strace",
    "sudo",
    "systemd",
    "tar",
    "tcl",
    "tomcat",
    "unbound",
    "util-linux",
    "vim",
    "wayland",
    "webkit",
    "wget",
    "xorg",
    "xz",
    "zlib",
    "zstd",
];
const AFFIXES: &[&str] = &[
    "",
    "-libs",
    "-common",
    "-devel",
    "-tools",
    "-utils",
    "-core",
    "-data",
    "-doc",
    "-modules",
    "-client",
    "-server",
    "-plugins",
    "-filesystem",
    "-minimal",
    "-extra",
    "-headers",
    "-static",
    "-bin",
    "-langpack",
    "-config",
    "-base",
    "-cli",
    "-agent",
    "-perl",
    "-python3",
    "-ruby",
    "-tests",
    "-examples",
    "-compat",
    "-runtime",
    "-selinux",
    "-module-a",
    "-module-b",
    "-module-c",
    "-locale-de",
    "-locale-fr",
    "-locale-ja",
    "-locale-pt",
    "-locale-es",
    "-theme",
    "-icons",
    "-fonts",
    "-backend",
    "-frontend",
    "-extension",
];
const IMAGES: &[&str] = &[
    "docker.io/library/nginx",
    "docker.io/library/postgres",
    "docker.io/library/redis",
    "docker.io/library/traefik",
    "docker.io/grafana/grafana",
    "docker.io/prom/prometheus",
    "ghcr.io/home-assistant/home-assistant",
    "docker.io/library/mariadb",
    "docker.io/library/memcached",
    "quay.io/keycloak/keycloak",
    "docker.io/library/rabbitmq",
    "docker.io/library/caddy",
];

/// Every package of one manager, the most widespread first.
#[derive(Debug)]
pub(crate) struct Catalogue {
    pub(crate) manager: Manager,
    pub(crate) version_order: VersionOrder,
    pub(crate) packages: Vec<CataloguePackage>,
}

#[derive(Debug)]
pub(crate) struct CataloguePackage {
    pub(crate) key: PackageKey,
    /// What a host has before it updates.
    pub(crate) installed: Version,
    /// What it is offered at first; the same allocation on every host.
    pub(crate) candidate: Arc<Candidate>,
}

impl Catalogue {
    pub(crate) fn all(seed: u64) -> Vec<Self> {
        vec![
            Self::distribution(DNF, VersionOrder::Rpm, "x86_64", seed),
            Self::distribution(APT, VersionOrder::Dpkg, "amd64", seed),
            Self::docker(seed),
        ]
    }

    fn distribution(manager: &str, version_order: VersionOrder, arch: &str, seed: u64) -> Self {
        let names = AFFIXES.iter().flat_map(|affix| STEMS.iter().map(move |stem| format!("{stem}{affix}")));
        Self::of(manager, version_order, Some(arch), names, seed)
    }

    fn docker(seed: u64) -> Self {
        let names = IMAGES.iter().map(|image| format!("{image}@{}", image.rsplit('/').next().unwrap_or(image)));
        Self::of(DOCKER, VersionOrder::None, None, names, seed)
    }

    fn of(manager: &str, version_order: VersionOrder, arch: Option<&str>, names: impl Iterator<Item = String>, seed: u64) -> Self {
        let manager = Manager::parse(manager).expect("a manager's word");
        let arch = arch.map(|arch| Arch::parse(arch).expect("an architecture"));
        let package = |(index, name): (usize, String)| {
            let name = PackageName::parse_for(&manager, &name).expect("the catalogue's names keep the grammar");
            let key = PackageKey { manager: manager.clone(), name, arch: arch.clone() };
            let mut random = Random::strand(seed, &[u64::from(version_order.code()), index as u64]);
            let (major, minor, patch) = (random.below(9) + 1, random.below(40), random.below(20) + 1);
            let installed = version(&manager, major, minor, patch - 1, 0);
            let candidate = Arc::new(candidate(&manager, &mut random, version(&manager, major, minor, patch, 0)));
            CataloguePackage { key, installed, candidate }
        };
        let packages = names.enumerate().map(package).collect();
        Self { packages, version_order, manager }
    }
}

/// The candidate that follows `candidate`: a newer build of it.
pub(crate) fn revised(candidate: &Candidate, manager: &Manager, revision: u64) -> Candidate {
    let text = candidate.version.as_str();
    let next = match manager.as_str() {
        DOCKER => digest_version(&[text.len() as u64, revision, text.bytes().map(u64::from).sum()]),
        _ => format!("{text}.{revision}"),
    };
    Candidate { version: Version::parse(&next).expect("a newer build keeps the grammar"), ..candidate.clone() }
}

fn version(manager: &Manager, major: u64, minor: u64, patch: u64, build: u64) -> Version {
    let text = match manager.as_str() {
        DNF => format!("{major}.{minor}.{patch}-{}.el9", build + 1),
        APT => format!("{major}.{minor}.{patch}-{}ubuntu0", build + 1),
        _ => digest_version(&[major, minor, patch, build]),
    };
    Version::parse(&text).expect("generated versions keep the grammar")
}

fn digest_version(parts: &[u64]) -> String {
    let mut random = Random::strand(0, parts);
    let hexadecimal: String = (0..4).map(|_| format!("{:016x}", random.next())).collect();
    format!("sha256:{hexadecimal}")
}

fn candidate(manager: &Manager, random: &mut Random, version: Version) -> Candidate {
    let severity = match random.below(100) {
        0..4 => Severity::Critical,
        4..22 => Severity::Important,
        22..50 => Severity::Moderate,
        50..65 => Severity::Low,
        _ => Severity::Unknown,
    };
    let security = severity != Severity::Unknown && random.chance(70);
    let number = 1_000 + random.below(8_000);
    let (origin, advisory) = match manager.as_str() {
        DNF => (random.one_of(&["baseos", "appstream", "epel", "crb"]), format!("RHSA-2026:{number}")),
        APT => (random.one_of(&["noble-security", "noble-updates", "bookworm-security"]), format!("USN-{number}-1")),
        _ => ("registry", format!("IMG-{number}")),
    };
    Candidate {
        origin: Some(Text::lossy(origin)),
        severity,
        security,
        advisories: if security { vec![Text::lossy(&advisory)] } else { Vec::new() },
        cves: if security { vec![Text::lossy(&format!("CVE-2026-{}", 10_000 + random.below(40_000)))] } else { Vec::new() },
        size_bytes: Some(20_000 + random.below(40_000_000)),
        ..Candidate::new(version)
    }
}
