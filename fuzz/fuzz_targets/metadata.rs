//! Metadata of an offer: what is accepted is JSON that reads back as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redflag_core::metadata::Metadata;

fuzz_target!(|text: &str| {
    if let Ok(metadata) = Metadata::parse(text) {
        let written = serde_json::to_string(&metadata).expect("metadata is JSON");
        assert_eq!(Metadata::parse(&written).expect("it reads back"), metadata);
    }
});
