//! A report body: read, or refused with a code; what was read is within the limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redflag_core::{limits, wire};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(report) = wire::read_report(bytes) {
        assert!(report.scopes.len() <= limits::REPORT_SCOPES_MAX);
        assert!(report.scopes.iter().map(|scope| scope.facts()).sum::<usize>() <= limits::REPORT_FACTS_MAX);
    }
});
