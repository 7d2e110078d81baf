//! The systemd units, read by systemd itself.

use redflag_faults::{assert_exposure, verify_units};
use std::path::Path;

const UNITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd");

#[test]
fn systemd_has_nothing_to_say_against_the_units() {
    let names = verify_units(Path::new(UNITS), &["/usr/bin/redflag-agent", "/usr/sbin/redflag-executor"]);
    let expected = ["redflag-agent.service", "redflag-engine-view.service", "redflag-engine-view.socket", "redflag-executor.service"];
    assert_eq!(names, [&expected[..], &["redflag-executor.socket"]].concat());
}

/// What installs packages cannot be confined much.
#[test]
fn the_agent_is_confined_and_the_executor_has_no_right_that_no_package_needs() {
    for (unit, tenths_max) in [("redflag-agent.service", 20), ("redflag-engine-view.service", 15), ("redflag-executor.service", 75)] {
        assert_exposure(&Path::new(UNITS).join(unit), tenths_max);
    }
}
