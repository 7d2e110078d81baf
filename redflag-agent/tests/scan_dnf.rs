//! The dnf scanner against a real dnf, pointed at repositories made for the test.

#[expect(dead_code, reason = "the worlds are shared; this test needs only some of their tools")]
mod scan_lab;

use redflag_agent::scan::{Dnf, Scan, Scanner};
use redflag_core::{
    names::{PackageKey, Text},
    words::{ScanResult, Severity},
};
use scan_lab::{brief, build, directory, installable, reason, require, stdout};
use std::{collections::BTreeMap, ffi::OsString, fs, os::unix::fs::PermissionsExt as _, path::Path, time::Instant};
use tempfile::TempDir;

const TOOLS: &[(&str, &str)] = &[("dnf", "dnf"), ("rpmbuild", "rpm"), ("createrepo_c", "createrepo-c"), ("python3", "python3")];

fn dnf(lab: &Path) -> Dnf {
    Dnf::with_command(lab.join("dnf.sh"), [])
}

/// The small world, which the tests below share, built anew.
fn small_lab() -> TempDir {
    require(TOOLS);
    require(&[("dnf-3", "dnf-plugins-core")]);
    let directory = directory();
    build("dnf-lab.sh", &[text(directory.path())]);
    directory
}

/// Has the lab's repository offer one more version, or do what else `dnf-lab.sh` can.
fn change(lab: &Path, arguments: &[&str]) {
    build("dnf-lab.sh", &[&[text(lab)], arguments].concat());
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of plain letters")
}

fn rename(from: &Path, to: &str) {
    fs::rename(from, from.with_file_name(to)).unwrap_or_else(|error| panic!("renaming {}: {error}", from.display()));
}

fn key(name: &str) -> PackageKey {
    PackageKey::parse("dnf", name, Some("noarch")).expect("a package key")
}

fn problem(scan: &Scan) -> &str {
    scan.error.as_ref().map_or("", |error| error.as_str())
}

#[tokio::test]
async fn exactly_3488_updates_are_reported_each_with_its_version_repository_and_arch() {
    require(TOOLS);
    let directory = directory();
    let lab = directory.path();
    build("dnf-big.py", &[text(lab), "3488"]);
    let dnf = dnf(lab);

    let started = Instant::now();
    let scan = dnf.scan().await;
    println!("scan of {} updates in {:?}", scan.offers.len(), started.elapsed());
    assert_eq!((scan.result, &scan.error), (ScanResult::Complete, &None));
    let age = scan.scanned_at.as_micros() - scan.metadata_at.expect("the age of the metadata is known").as_micros();
    assert!(age.abs() < 60_000_000, "metadata refreshed at {:?}, scanned at {}", scan.metadata_at, scan.scanned_at);

    let plain = |evr: &str| evr.strip_prefix("0:").unwrap_or(evr).to_owned();
    let expected: BTreeMap<PackageKey, (String, String, String)> = fs::read_to_string(lab.join("expected.tsv"))
        .unwrap()
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            (key(fields[0]), (plain(fields[1]), plain(fields[2]), "lab".to_owned()))
        })
        .collect();
    assert_eq!(expected.len(), 3_488);
    let found: BTreeMap<PackageKey, (String, String, String)> = scan
        .offers
        .iter()
        .map(|(package, offer)| {
            let candidate = &offer.candidate;
            let installed = offer.installed.as_ref().expect("an upgrade replaces an installed version");
            let origin = candidate.origin.as_ref().expect("every upgrade has a repository");
            (package.clone(), (installed.to_string(), candidate.version.to_string(), origin.to_string()))
        })
        .collect();
    assert_eq!(found, expected);
    assert_eq!(scan.installable(), 3_488);
    // dnf-big.py makes every tenth a security update and gives the four severities in turn.
    assert_eq!(scan.security(), 349);
    for (package, offer) in &scan.offers {
        let candidate = &offer.candidate;
        assert_eq!((candidate.advisories.len(), candidate.cves.len()), (1, usize::from(candidate.security)), "{package}: {candidate:?}");
        assert_eq!(candidate.severity != Severity::Unknown, candidate.security, "{package}: {candidate:?}");
    }
    let critical = scan.offers.values().filter(|offer| offer.candidate.severity == Severity::Critical);
    assert_eq!(critical.count(), 88);
    assert_eq!(scan.installed.len(), 3_488);

    // The repository is gone and its metadata has expired: with or without leave to skip it, that is not "no updates".
    rename(&lab.join("repo"), "repo-away");
    let repository = format!("[lab]\nname=Lab updates\nbaseurl=file://{}/repo\nenabled=1\nmetadata_expire=0\n", lab.display());
    fs::write(lab.join("yum.repos.d/lab.repo"), repository + "skip_if_unavailable=1\n").unwrap();
    let scan = dnf.scan().await;
    assert_eq!(scan.result, ScanResult::Partial, "{:?}", scan.error);
    assert!(problem(&scan).contains("repo 'lab'"), "{:?}", scan.error);
    assert_eq!(scan.refresh_error, scan.error);
    assert_eq!((scan.offers.len(), scan.installable()), (3_488, 3_488), "what the cache knows is still shown");
    fs::remove_dir_all(lab.join("root/var/cache/dnf")).unwrap();
    let everybodys = lab.join("root/var/tmp");
    fs::create_dir(&everybodys).unwrap();
    fs::set_permissions(&everybodys, fs::Permissions::from_mode(0o1777)).unwrap();
    let scan = dnf.scan().await;
    assert_eq!(scan.result, ScanResult::Failed, "{:?}", scan.error);
    assert!(problem(&scan).contains("repo 'lab'"), "{:?}", scan.error);
    assert!(scan.offers.is_empty());
}

#[tokio::test]
async fn obsoletes_locks_epochs_and_broken_dependencies_are_told_apart() {
    let directory = small_lab();
    let lab = directory.path();
    let dnf = dnf(lab);
    assert!(dnf.present().await);

    let scan = dnf.scan().await;
    assert_eq!((scan.result, &scan.error), (ScanResult::Complete, &None));
    let found: Vec<String> = scan.offers.iter().map(|(package, offer)| format!("{} {}", package.name, brief(offer))).collect();
    assert_eq!(
        found,
        [
            "lab-app 1.0-1 -> 2.0-1 installable",
            "lab-broken 1.0-1 -> 2.0-1 installable",
            "lab-brokendep 1.0-1 -> 2.0-1 kept-back",
            "lab-enh 1.0-1 -> 1.1-1 installable",
            "lab-epoch 1.0-1 -> 1:0.9~rc1-1 installable",
            "lab-lib 1.0-1 -> 1.0-2 installable",
            "lab-locked 1.0-1 -> 2.0-1 held",
            "lab-newdeps 1.0-1 -> 2.0-1 installable",
            "lab-noadv 1.0-1 -> 1.1-1 installable",
        ],
        "neither the obsoleted lab-old nor lab-new and lab-newdep, which would come new, are updates"
    );
    assert!(reason(&scan.offers[&key("lab-locked")]).contains("versionlock lab-locked-"), "{:?}", scan.offers[&key("lab-locked")]);
    let broken = &scan.offers[&key("lab-brokendep")];
    assert!(reason(broken).contains("nothing provides nosuch-capability"), "{broken:?}");
    assert_eq!(scan.installed[&key("lab-old")].as_str(), "1.0-1");

    // A second repository lives while the first is dead: what lives is reported, and the scan says what is missing.
    let second = format!("[second]\nname=Second\nbaseurl=file://{}/repo\nenabled=1\nmetadata_expire=0\n", lab.display());
    fs::write(lab.join("yum.repos.d/second.repo"), second).unwrap();
    fs::write(
        lab.join("yum.repos.d/lab.repo"),
        "[lab]\nname=Lab updates\nbaseurl=file:///nonexistent/repo\nenabled=1\nskip_if_unavailable=1\nmetadata_expire=0\n",
    )
    .unwrap();
    let scan = dnf.scan().await;
    assert_eq!(scan.result, ScanResult::Partial, "{:?}", scan.error);
    assert!(problem(&scan).contains("repo 'lab'"), "{:?}", scan.error);
    assert_eq!(scan.offers.len(), 9);
    assert!(scan.offers.values().all(|offer| offer.candidate.origin.as_ref().is_some_and(|origin| origin.as_str() == "second")));
    assert_eq!(scan.offers.values().filter(|offer| installable(offer)).count(), 7);

    // No repository at all is no answer either.
    for repository in ["lab.repo", "second.repo"] {
        fs::remove_file(lab.join("yum.repos.d").join(repository)).unwrap();
    }
    let scan = dnf.scan().await;
    assert_ne!(scan.result, ScanResult::Complete, "{:?}", scan.error);
    assert!(scan.offers.is_empty());
}

/// Severity, security, advisories and CVEs of one offer.
fn advised(scan: &Scan, name: &str) -> String {
    let candidate = &scan.offers[&key(name)].candidate;
    let texts = |texts: &[Text]| texts.iter().map(Text::as_str).collect::<Vec<_>>().join(" ");
    let word = candidate.severity_word.as_ref().map_or("", |word| word.as_str());
    let (advisories, cves) = (texts(&candidate.advisories), texts(&candidate.cves));
    format!("{} {word} {} | {} | {advisories} | {cves}", candidate.version, candidate.severity, candidate.security)
}

#[tokio::test]
async fn advisories_of_superseded_versions_count_for_the_offer_that_takes_them_along() {
    let directory = small_lab();
    let lab = directory.path();
    let dnf = dnf(lab);
    let scan = dnf.scan().await;
    assert_eq!(advised(&scan, "lab-app"), "2.0-1  critical | true | LAB-SA-2025:0001 | CVE-2025-11111 CVE-2025-11112");
    assert_eq!(advised(&scan, "lab-epoch"), "1:0.9~rc1-1  important | true | LAB-SA-2025:0004 | CVE-2025-22222");
    assert_eq!(advised(&scan, "lab-lib"), "1.0-2  unknown | false | LAB-BA-2025:0002 | ");
    assert_eq!(advised(&scan, "lab-locked"), "2.0-1  moderate | true | LAB-SA-2025:0005 | CVE-2025-33333");
    assert_eq!(advised(&scan, "lab-noadv"), "1.1-1  unknown | false |  | ");

    change(lab, &["publish", "lab-app", "3.0^git1", "1"]);
    change(lab, &["advise", "LAB-SA-2025:0009", "security", "Grave", "lab-app", "0", "3.0^git1", "1", "CVE-2025-44444"]);
    change(lab, &["publish", "lab-noadv", "1.2", "1"]);
    change(lab, &["advise", "LAB-SA-2025:0010", "security", "High", "lab-noadv", "0", "1.2", "1"]);
    // A version that nobody offers has an advisory that nothing takes along.
    change(lab, &["advise", "LAB-SA-2025:0011", "security", "Critical", "lab-noadv", "0", "9.9", "1"]);
    let scan = dnf.scan().await;
    assert_eq!((scan.result, &scan.error), (ScanResult::Complete, &None));
    let both = "3.0^git1-1  critical | true | LAB-SA-2025:0001 LAB-SA-2025:0009 | CVE-2025-11111 CVE-2025-11112 CVE-2025-44444";
    assert_eq!(advised(&scan, "lab-app"), both);
    assert_eq!(advised(&scan, "lab-noadv"), "1.2-1 High important | true | LAB-SA-2025:0010 | ");
}

/// A module's stream that is not the host's may hold newer versions: they are no updates.
#[tokio::test]
async fn only_the_enabled_stream_of_a_module_is_offered() {
    let directory = small_lab();
    let lab = directory.path();
    let stream = |stream: &str, packages: &str| {
        format!(
            "---\ndocument: modulemd\nversion: 2\ndata:\n  name: lab-module\n  stream: \"{stream}\"\n  version: 1\n  context: c0ffee00\n  \
            arch: noarch\n  summary: lab\n  description: lab\n  license:\n    module: [MIT]\n  artifacts:\n    rpms:\n{packages}...\n"
        )
    };
    let package = |version: &str| format!("    - lab-mod-0:{version}-1.noarch\n");
    let modules = stream("1", &(package("1.0") + &package("1.1"))) + &stream("2", &package("2.0"));
    fs::write(lab.join("modules.yaml"), modules).unwrap();
    change(lab, &["publish", "lab-mod", "1.0", "1"]);
    let run = |arguments: &[&str]| stdout(text(&lab.join("dnf.sh")), arguments, &[]);
    run(&["-q", "-y", "module", "enable", "lab-module:1"]);
    run(&["-q", "-y", "install", "lab-mod"]);
    for version in ["1.1", "2.0"] {
        change(lab, &["publish", "lab-mod", version, "1"]);
    }
    let scan = dnf(lab).scan().await;
    assert_eq!((scan.result, &scan.error), (ScanResult::Complete, &None));
    assert_eq!(brief(&scan.offers[&key("lab-mod")]), "1.0-1 -> 1.1-1 installable");
}

/// Who has dnf's cache expired wants the repositories asked, though the configuration holds what they said for fresh.
#[tokio::test]
async fn an_expired_cache_is_renewed_by_the_next_scan() {
    let directory = small_lab();
    let lab = directory.path();
    let configuration = fs::read_to_string(lab.join("dnf.conf")).unwrap();
    fs::write(lab.join("dnf.conf"), configuration.replace("metadata_expire=0", "metadata_expire=86400")).unwrap();
    let offered = async || brief(&dnf(lab).scan().await.offers[&key("lab-app")]);
    assert_eq!(offered().await, "1.0-1 -> 2.0-1 installable");
    // Ends with `dnf clean expire-cache`.
    change(lab, &["publish", "lab-app", "3.0", "1"]);
    assert_eq!(offered().await, "1.0-1 -> 3.0-1 installable");
}

/// A user without rights has a cache of its own; that root has none, or another one, must not matter.
#[tokio::test]
async fn a_user_without_rights_sees_what_the_repositories_offer() {
    let directory = small_lab();
    let lab = directory.path();
    let configuration = fs::read_to_string(lab.join("dnf.conf")).unwrap();
    let configuration: String = configuration
        .lines()
        .filter(|line| !line.starts_with("cachedir=") && !line.starts_with("logdir="))
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(lab.join("dnf.conf"), configuration).unwrap();
    fs::remove_dir_all(lab.join("root/var/cache/dnf")).unwrap();
    let everybodys = lab.join("root/var/tmp");
    fs::create_dir(&everybodys).unwrap();
    fs::set_permissions(&everybodys, fs::Permissions::from_mode(0o1777)).unwrap();
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"].map(OsString::from);
    let scan = Dnf::with_command("setpriv", nobody.into_iter().chain([lab.join("dnf.sh").into_os_string()])).scan().await;
    // What would be skipped dnf tells only to root, which this process is and dnf is not.
    assert_eq!(problem(&scan), "what dnf would skip is unknown: it did not resolve an upgrade");
    assert_eq!(brief(&scan.offers[&key("lab-app")]), "1.0-1 -> 2.0-1 installable");
}

#[tokio::test]
async fn a_dnf_that_is_not_there_or_fails_is_a_failed_scan() {
    let missing = Dnf::with_command("/nonexistent/dnf", []);
    assert!(!missing.present().await);
    let scan = missing.scan().await;
    assert_eq!(scan.result, ScanResult::Failed);
    assert!(problem(&scan).starts_with("starting dnf"), "{:?}", scan.error);
    let scan = Dnf::with_command("/bin/false", []).scan().await;
    assert_eq!(scan.result, ScanResult::Failed);
    assert!(problem(&scan).contains("exit code 1"), "{:?}", scan.error);
}
