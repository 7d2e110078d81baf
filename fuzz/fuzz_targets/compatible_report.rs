//! A report body in the shape of earlier agents.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redflag_core::{time::Timestamp, wire};

fuzz_target!(|bytes: &[u8]| {
    let agent = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3".parse().expect("an id");
    let received_at = Timestamp::from_micros(1_700_000_000_000_000).expect("a time");
    let _ = wire::read_compatible_report(agent, received_at, bytes);
});
