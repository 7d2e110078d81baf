//! Throw-away package worlds for the scanner tests, made by `scripts/lab`, and the tools that check against them.
//!
//! A tool that is missing fails the test and names the package to install: a check that cannot run has not passed.

use redflag_agent::scan::Scan;
use redflag_core::words::AvailabilityKind;
use redflag_core::{command::plan::Item, names::PackageKey, offer::Offer};
use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};
use tempfile::TempDir;

/// A directory under the system's temporary one that any user may enter.
pub(crate) fn directory() -> TempDir {
    let directory = TempDir::with_prefix("redflag-lab-").expect("a temporary directory");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path(), open).expect("opening the temporary directory");
    directory
}

/// Fails unless every program is there; the second word names the Debian package that brings it.
pub(crate) fn require(programs: &[(&str, &str)]) {
    for (program, package) in programs {
        let found = Command::new("sh").args(["-c", "command -v \"$1\"", "sh", program]).output().expect("sh runs");
        assert!(found.status.success(), "this test needs {program}: apt-get install {package}");
    }
}

/// Runs `scripts/lab/NAME` with arguments and fails with its output unless it succeeds.
pub(crate) fn build(script: &str, arguments: &[&str]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../scripts/lab").join(script);
    let output = Command::new(&path).args(arguments).output().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(output.status.success(), "{} {arguments:?} failed:\n{}", path.display(), text_of(&output));
}

/// Everything a command printed.
pub(crate) fn text_of(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

/// Standard output of a command that must succeed, in the C.UTF-8 locale.
pub(crate) fn stdout(program: &str, arguments: &[&str], environment: &[(&str, &Path)]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C.UTF-8")
        .envs(environment.iter().copied())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?} failed:\n{}", text_of(&output));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The item that brings a package to the version it is offered.
pub(crate) fn update_of(scan: &Scan, package: &PackageKey) -> Item {
    let offer = scan.offers.get(package).unwrap_or_else(|| panic!("{package} is not offered: {scan:?}"));
    Item::of_offer(package, offer).expect("an update replaces a version")
}

/// `from -> to kind` of an offer.
pub(crate) fn brief(offer: &Offer) -> String {
    let installed = offer.installed.as_ref().map_or("-", |version| version.as_str());
    format!("{installed} -> {} {}", offer.candidate.version, offer.availability.kind)
}

/// The words of an offer's reason; empty without one.
pub(crate) fn reason(offer: &Offer) -> &str {
    offer.availability.reason.as_ref().map_or("", |reason| reason.as_str())
}

/// Whether the offer can be installed now.
pub(crate) fn installable(offer: &Offer) -> bool {
    offer.availability.kind == AvailabilityKind::Installable
}
