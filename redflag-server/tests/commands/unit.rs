//! The server's systemd unit, read by systemd itself.

use std::{fs, path::Path, process::Command};

const UNIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/redflag-server.service");
const SYSTEM: &str = "/usr/lib/systemd/system";

fn analyze(arguments: &[&str]) -> String {
    let output = Command::new("systemd-analyze").args(arguments).env("LC_ALL", "C.UTF-8").output();
    let output = output.unwrap_or_else(|error| panic!("this test needs systemd-analyze: apt-get install systemd: {error}"));
    let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
    assert!(output.status.success(), "systemd-analyze {arguments:?}: {text}");
    text
}

/// In a root of its own that holds systemd's units, ours, and something at the places of the programs.
#[test]
fn systemd_has_nothing_to_say_against_the_unit() {
    let root = tempfile::tempdir().unwrap();
    let path = |path: &str| root.path().join(path.trim_start_matches('/'));
    fs::create_dir_all(path(SYSTEM)).unwrap();
    redflag_faults::run("cp", &["-a", &format!("{SYSTEM}/."), path(SYSTEM).to_str().unwrap()]);
    fs::copy(UNIT, path(SYSTEM).join("redflag-server.service")).unwrap();
    for program in ["/usr/bin/redflag-server", "/bin/kill"] {
        fs::create_dir_all(path(program).parent().unwrap()).unwrap();
        fs::copy("/bin/true", path(program)).unwrap();
    }
    // An unknown key is told and no failure.
    assert_eq!(analyze(&["verify", &format!("--root={}", root.path().display()), "redflag-server.service"]), "");
}

/// Exposure by systemd's own measure: below 2 is its best grade.
#[test]
fn the_server_is_confined() {
    analyze(&["security", "--offline=true", "--threshold=15", UNIT]);
}

/// What the unit sets is read by `serve`: every variable is one of its options.
#[test]
fn the_units_variables_are_options_of_the_server() {
    let help = Command::new(env!("CARGO_BIN_EXE_redflag-server")).args(["serve", "--help"]).output().unwrap();
    // Lines are broken as the terminal's width wants it.
    let help = String::from_utf8(help.stdout).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    let unit = fs::read_to_string(Path::new(UNIT)).unwrap();
    let variables: Vec<_> =
        unit.lines().filter_map(|line| line.strip_prefix("Environment=")?.split_once('=').map(|(name, _)| name)).collect();
    assert_eq!(variables.len(), 3);
    for variable in variables {
        assert!(help.contains(&format!("[env: {variable}]")), "{variable}: {help}");
    }
}
