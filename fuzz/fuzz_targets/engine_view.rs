//! What is asked of the view of an engine.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| redflag_agent::fuzzing::engine_view(bytes));
