//! The apt scanner against the apt of this machine and against a private apt made for the test.

#[expect(dead_code, reason = "the worlds are shared; this test needs only some of their tools")]
mod scan_lab;

use redflag_agent::scan::{Apt, Scan, Scanner};
use redflag_core::{names::PackageKey, words::ScanResult};
use scan_lab::{brief, build, directory, installable, reason, require, stdout, text_of};
use std::{collections::BTreeSet, fs, path::Path, process::Command};
use tempfile::TempDir;

const TOOLS: &[(&str, &str)] =
    &[("apt", "apt"), ("apt-ftparchive", "apt-utils"), ("gpg", "gnupg"), ("dpkg-deb", "dpkg"), ("setpriv", "util-linux")];

/// Package, version and architecture.
type Triple = (String, String, String);

fn triples(scan: &Scan, kept: fn(&redflag_core::offer::Offer) -> bool) -> BTreeSet<Triple> {
    let kept = scan.offers.iter().filter(|(_, offer)| kept(offer));
    kept.map(|(package, offer)| {
        let arch = package.arch.as_ref().expect("every Debian package has an architecture");
        (package.name.to_string(), offer.candidate.version.to_string(), arch.to_string())
    })
    .collect()
}

/// `apt list --upgradable`, read in a way of its own: words by position.
fn upgradable() -> BTreeSet<Triple> {
    let text = stdout("apt", &["list", "--upgradable"], &[]);
    let lines = text.lines().filter(|line| line.contains("[upgradable from: "));
    lines
        .map(|line| {
            let words: Vec<&str> = line.split(['/', ' ']).collect();
            (words[0].to_owned(), words[2].to_owned(), words[3].to_owned())
        })
        .collect()
}

/// What `apt-get -s dist-upgrade` would install over an installed version, read in a way of its own: words between brackets.
fn would_be_upgraded() -> BTreeSet<Triple> {
    let text = stdout("apt-get", &["-s", "dist-upgrade"], &[]);
    let upgrades = text.lines().filter(|line| line.starts_with("Inst ")).map(|line| line.split(['(', ')']).collect::<Vec<_>>());
    upgrades
        .filter(|parts| parts[0].contains(" ["))
        .map(|parts| {
            let (before, inside): (Vec<&str>, Vec<&str>) =
                (parts[0].split([' ', ':']).collect(), parts[1].split([' ', '[', ']']).collect());
            (before[1].to_owned(), inside[0].to_owned(), inside[inside.len() - 2].to_owned())
        })
        .collect()
}

#[tokio::test]
async fn on_this_machine_the_updates_are_those_of_apt_and_the_installable_ones_those_it_would_install() {
    require(TOOLS);
    let scan = Apt::new().scan().await;
    assert_ne!(scan.result, ScanResult::Failed, "{:?}", scan.error);
    assert_eq!(triples(&scan, |_| true), upgradable());
    assert_eq!(triples(&scan, installable), would_be_upgraded());
    for (package, offer) in &scan.offers {
        assert!(offer.candidate.origin.is_some() && offer.candidate.size_bytes.is_some(), "{package}: {offer:?}");
        assert_eq!(scan.installed.get(package), offer.installed.as_ref(), "{package}");
    }
    let installed = stdout("dpkg-query", &["-W", "-f", "${db:Status-Status}\n"], &[]);
    assert_eq!(scan.installed.len(), installed.lines().filter(|status| *status == "installed").count());
}

fn lab() -> TempDir {
    require(TOOLS);
    let directory = directory();
    build("apt-lab.sh", &[directory.path().to_str().expect("a path of plain letters")]);
    directory
}

fn apt(lab: &Path) -> Apt {
    Apt::with_configuration(lab.join("apt.conf"))
}

fn described(scan: &Scan) -> Vec<String> {
    scan.offers.iter().map(|(package, offer)| format!("{} {}", package.name, brief(offer))).collect()
}

const EXPECTED: [&str; 7] = [
    "lab-app 1.0-1 -> 2.0-1 installable",
    "lab-broken 1.0-1 -> 2.0-1 installable",
    "lab-held 1.0-1 -> 2.0-1 held",
    "lab-kept 1.0-1 -> 2.0-1 kept-back",
    "lab-lib 1.0-1 -> 1:0.9~rc1+dfsg-1ubuntu0.1 installable",
    "lab-newdeps 1.0-1 -> 2.0-1 installable",
    "lab-phased 1.0-1 -> 2.0-1 phased",
];

#[tokio::test]
async fn held_phased_kept_back_and_installable_updates_are_told_apart_each_with_its_reason() {
    let lab = lab();
    let scan = apt(lab.path()).scan().await;
    assert_eq!((scan.result, &scan.error), (ScanResult::Complete, &None));
    assert_eq!(described(&scan), EXPECTED, "lab-newdep, which would come new, is no update");
    let offer = |name| &scan.offers[&PackageKey::parse("apt", name, Some("all")).unwrap()];
    assert_eq!(reason(offer("lab-held")), "held on this host (apt-mark hold)");
    assert_eq!(reason(offer("lab-phased")), "released to 0 % of hosts so far, not yet to this one");
    assert_eq!(reason(offer("lab-kept")), "lab-kept : Depends: lab-nowhere but it is not installable");
    let security: Vec<_> = scan.offers.values().filter(|offer| offer.candidate.security).collect();
    assert_eq!(security.len(), 1);
    assert_eq!(security[0].candidate.origin.as_ref().unwrap().as_str(), "Lab-Security:lab-security");
    assert_eq!(offer("lab-app").candidate.origin.as_ref().unwrap().as_str(), "Lab:lab");
    assert_eq!(offer("lab-app").candidate.description.as_ref().unwrap().as_str(), "lab package lab-app");
    let packages = fs::read_dir(lab.path().join("pool/main")).unwrap().map(Result::unwrap);
    let package = packages.into_iter().find(|entry| entry.file_name() == "lab-app_2.0-1_all.deb").unwrap();
    assert_eq!(offer("lab-app").candidate.size_bytes, Some(package.metadata().unwrap().len()));
    assert_eq!(scan.installed.len(), 8);
    let age = scan.scanned_at.as_micros() - scan.metadata_at.expect("the age of the lists is known").as_micros();
    assert!((0..60_000_000).contains(&age), "{age} microseconds");
}

#[tokio::test]
async fn lists_that_are_gone_are_not_no_updates() {
    let lab = lab();
    let lists = lab.path().join("root/var/lib/apt/lists");
    let security = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().contains("lab-security");
    let entries = || fs::read_dir(&lists).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file());

    for entry in entries().filter(security) {
        fs::remove_file(entry.path()).unwrap();
    }
    let scan = apt(lab.path()).scan().await;
    assert_eq!(scan.result, ScanResult::Partial);
    let error = scan.error.as_ref().unwrap().as_str();
    assert!(error.starts_with("no package lists of file:") && error.contains("dists/lab-security: run apt-get update"), "{error}");
    assert_eq!(scan.offers.len(), EXPECTED.len() - 1);

    for entry in entries().filter(|entry| entry.file_name().to_string_lossy().ends_with("_Packages")) {
        fs::remove_file(entry.path()).unwrap();
    }
    let scan = apt(lab.path()).scan().await;
    assert_eq!(scan.result, ScanResult::Partial);
    assert!(scan.error.as_ref().unwrap().as_str().contains("package lists that are gone"), "{:?}", scan.error);

    fs::remove_dir_all(&lists).unwrap();
    let scan = apt(lab.path()).scan().await;
    assert_ne!(scan.result, ScanResult::Complete);
    assert!(scan.error.is_some() && scan.offers.is_empty(), "{scan:?}");
}

#[tokio::test]
async fn lists_that_have_expired_are_said_to_be_out_of_date() {
    let lab = lab();
    let release = lab.path().join("root/var/lib/apt/lists");
    let release = fs::read_dir(release).unwrap().map(|entry| entry.unwrap().path());
    let release = release.into_iter().find(|path| path.to_string_lossy().ends_with("lab_InRelease")).unwrap();
    let text = fs::read_to_string(&release).unwrap();
    fs::write(&release, text.replacen("\nDate: ", "\nValid-Until: Sat, 03 Jan 2026 01:02:03 UTC\nDate: ", 1)).unwrap();
    let scan = apt(lab.path()).scan().await;
    let error = scan.refresh_error.as_ref().map_or("", |error| error.as_str());
    assert!(error.ends_with("dists/lab were valid until Sat, 03 Jan 2026 01:02:03 UTC"), "{error:?}");
    assert_eq!(scan.offers.len(), EXPECTED.len());
}

#[tokio::test]
async fn a_broken_apt_is_a_failed_scan() {
    let lab = lab();
    let status = lab.path().join("root/var/lib/dpkg/status");
    let kept = fs::read(&status).unwrap();
    let broken: [(&str, &[u8]); 2] = [("no package stanzas", b"Garbage\n"), ("empty", b"")];
    for (case, content) in broken {
        fs::write(&status, content).unwrap();
        let scan = apt(lab.path()).scan().await;
        assert_eq!(scan.result, ScanResult::Failed, "{case}");
        assert!(scan.error.is_some() && scan.offers.is_empty() && scan.installed.is_empty(), "{case}: {scan:?}");
    }
    fs::remove_file(&status).unwrap();
    assert_eq!(apt(lab.path()).scan().await.result, ScanResult::Failed, "no status at all");
    fs::write(&status, kept).unwrap();
    assert_eq!(described(&apt(lab.path()).scan().await), EXPECTED);
}

#[tokio::test]
async fn unmet_dependencies_leave_the_updates_known_and_their_availability_unknown() {
    let lab = lab();
    let status = lab.path().join("root/var/lib/dpkg/status");
    let orphan = "\nPackage: lab-orphan\nStatus: install ok installed\nMaintainer: lab <lab@example.test>\nArchitecture: all\n\
        Version: 1.0-1\nDepends: lab-nowhere\nDescription: needs what nobody offers\n";
    fs::write(&status, fs::read_to_string(&status).unwrap() + orphan).unwrap();
    let scan = apt(lab.path()).scan().await;
    assert_eq!(scan.result, ScanResult::Partial);
    assert!(scan.error.as_ref().unwrap().as_str().contains("what can be installed is unknown"), "{:?}", scan.error);
    assert_eq!((scan.offers.len(), scan.installable()), (EXPECTED.len(), 0));
}

/// The command as a user would type it, in a locale that is not English, as a user who is not root.
#[test]
fn anyone_may_scan_in_any_locale() {
    let lab = lab();
    let program = lab.path().join("redflag-agent");
    fs::copy(env!("CARGO_BIN_EXE_redflag-agent"), &program).unwrap();
    let mut command = if fs::metadata("/proc/self").is_ok_and(|owner| std::os::unix::fs::MetadataExt::uid(&owner) == 0) {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
        command
    } else {
        Command::new(&program)
    };
    let output = command
        .args(["scan", "--manager", "apt", "--json"])
        .env("APT_CONFIG", lab.path().join("apt.conf"))
        .envs([("LANG", "de_DE.UTF-8"), ("LC_ALL", "de_DE.UTF-8"), ("LANGUAGE", "de"), ("HOME", "/nonexistent")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text_of(&output));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let scan = &document["scans"][0];
    assert_eq!((scan["manager"].as_str(), scan["result"].as_str()), (Some("apt"), Some("complete")), "{document}");
    let counts = ["updates", "installable", "security"].map(|count| scan[count].as_u64());
    assert_eq!(counts, [Some(7), Some(4), Some(1)]);
}
