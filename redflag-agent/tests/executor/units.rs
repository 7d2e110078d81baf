//! The systemd units, read by systemd itself.

use std::{fs, path::Path, process::Command};

const UNITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd");
const SYSTEM: &str = "/usr/lib/systemd/system";

fn analyze(arguments: &[&str]) -> String {
    let output = Command::new("systemd-analyze").args(arguments).env("LC_ALL", "C.UTF-8").output();
    let output = output.unwrap_or_else(|error| panic!("this test needs systemd-analyze: apt-get install systemd: {error}"));
    let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
    assert!(output.status.success(), "systemd-analyze {arguments:?}: {text}");
    text
}

/// In a root of its own that holds systemd's units, ours, and something at the places of our programs.
#[test]
fn systemd_has_nothing_to_say_against_the_units() {
    let root = tempfile::tempdir().unwrap();
    let path = |path: &str| root.path().join(path.trim_start_matches('/'));
    fs::create_dir_all(path(SYSTEM)).unwrap();
    redflag_faults::run("cp", &["-a", &format!("{SYSTEM}/."), path(SYSTEM).to_str().unwrap()]);
    let mut names = Vec::new();
    for entry in fs::read_dir(UNITS).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if [".service", ".socket"].iter().any(|kind| name.ends_with(kind)) {
            fs::copy(Path::new(UNITS).join(&name), path(SYSTEM).join(&name)).unwrap();
            names.push(name);
        }
    }
    for program in ["/usr/bin/redflag-agent", "/usr/sbin/redflag-executor"] {
        fs::create_dir_all(path(program).parent().unwrap()).unwrap();
        fs::copy("/bin/true", path(program)).unwrap();
    }
    names.sort();
    let expected = ["redflag-agent.service", "redflag-engine-view.service", "redflag-engine-view.socket", "redflag-executor.service"];
    assert_eq!(names, [&expected[..], &["redflag-executor.socket"]].concat());
    let root = format!("--root={}", root.path().display());
    let arguments: Vec<_> = ["verify", &root].into_iter().chain(names.iter().map(String::as_str)).collect();
    // An unknown key is told and no failure.
    assert_eq!(analyze(&arguments), "");
}

/// Exposure by systemd's own measure: below 2 is its best grade; what installs packages cannot be confined much.
#[test]
fn the_agent_is_confined_and_the_executor_has_no_right_that_no_package_needs() {
    for (unit, threshold) in [("redflag-agent.service", 20), ("redflag-engine-view.service", 15), ("redflag-executor.service", 75)] {
        let (threshold, unit) = (format!("--threshold={threshold}"), format!("{UNITS}/{unit}"));
        analyze(&["security", "--offline=true", &threshold, &unit]);
    }
}
