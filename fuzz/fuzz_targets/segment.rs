//! A segment of the outbox: the good part is a prefix that would be written the same way.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| redflag_agent::fuzzing::segment(bytes));
