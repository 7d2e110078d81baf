//! What registries answer, and files of logins.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| redflag_agent::fuzzing::registry_answers(bytes));
