//! What dnf prints (a proposed transaction): read, or named as a gap.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| redflag_agent::fuzzing::dnf_plan(bytes));
