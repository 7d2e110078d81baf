//! What container engines answer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| redflag_agent::fuzzing::engine_answers(bytes));
