//! Image references, versions of images, and tags.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| redflag_agent::fuzzing::image_reference(bytes));
