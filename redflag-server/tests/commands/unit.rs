//! The server's systemd unit, read by systemd itself.

use redflag_faults::{assert_exposure, verify_units};
use std::{fs, path::Path, process::Command};

const UNITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd");
const UNIT: &str = "redflag-server.service";

#[test]
fn systemd_has_nothing_to_say_against_the_unit() {
    assert_eq!(verify_units(Path::new(UNITS), &["/usr/bin/redflag-server"]), [UNIT]);
}

#[test]
fn the_server_is_confined() {
    assert_exposure(&Path::new(UNITS).join(UNIT), 15);
}

/// What the unit sets is read by `serve`: every variable is one of its options.
#[test]
fn the_units_variables_are_options_of_the_server() {
    let help = Command::new(env!("CARGO_BIN_EXE_redflag-server")).args(["serve", "--help"]).output().unwrap();
    // Lines are broken as the terminal's width wants it.
    let help = String::from_utf8(help.stdout).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    let unit = fs::read_to_string(Path::new(UNITS).join(UNIT)).unwrap();
    let variables: Vec<_> =
        unit.lines().filter_map(|line| line.strip_prefix("Environment=")?.split_once('=').map(|(name, _)| name)).collect();
    assert_eq!(variables.len(), 3);
    for variable in variables {
        assert!(help.contains(&format!("[env: {variable}]")), "{variable}: {help}");
    }
}
