//! What systemd itself says of units, without running them.

use crate::process::run;
use std::{fs, path::Path, process::Command};

const SYSTEM: &str = "/usr/lib/systemd/system";

/// Lets systemd verify every unit in `directory`, which must say nothing against any, and answers their names in order. That happens in a
/// root of its own, which holds systemd's units, these, and something at the places of `programs`.
pub fn verify_units(directory: &Path, programs: &[&str]) -> Vec<String> {
    let root = tempfile::tempdir().expect("a directory for the root");
    let path = |path: &str| root.path().join(path.trim_start_matches('/'));
    fs::create_dir_all(path(SYSTEM)).expect("the directory of units");
    run("cp", &["-a", &format!("{SYSTEM}/."), &path(SYSTEM).display().to_string()]);
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).expect("the units") {
        let name = entry.expect("a unit").file_name().into_string().expect("a unit's name");
        if [".service", ".socket"].iter().any(|kind| name.ends_with(kind)) {
            fs::copy(directory.join(&name), path(SYSTEM).join(&name)).expect("copying a unit");
            names.push(name);
        }
    }
    for program in programs {
        let program = path(program);
        fs::create_dir_all(program.parent().expect("an absolute path")).expect("the directory of a program");
        fs::copy("/bin/true", program).expect("something in a program's place");
    }
    names.sort();
    let root = format!("--root={}", root.path().display());
    let arguments: Vec<_> = ["verify", &root].into_iter().chain(names.iter().map(String::as_str)).collect();
    // An unknown key is told and no failure.
    assert_eq!(analyze(&arguments), "", "systemd has something to say");
    names
}

/// Holds a unit's exposure, by systemd's own measure, against the most it may be, in tenths; below 20 is its best grade.
pub fn assert_exposure(unit: &Path, tenths_max: u32) {
    analyze(&["security", "--offline=true", &format!("--threshold={tenths_max}"), &unit.display().to_string()]);
}

fn analyze(arguments: &[&str]) -> String {
    let output = Command::new("systemd-analyze").args(arguments).env("LC_ALL", "C.UTF-8").output();
    let output = output.unwrap_or_else(|error| panic!("this test needs systemd-analyze: apt-get install systemd: {error}"));
    let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
    assert!(output.status.success(), "systemd-analyze {arguments:?}: {text}");
    text
}
