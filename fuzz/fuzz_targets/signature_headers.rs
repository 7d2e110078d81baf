//! The headers of a signed request: what is accepted is exactly what would be written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redflag_core::signing::{SignatureParameters, read_signature_header, signature_header};

fuzz_target!(|text: &str| {
    if let Ok(parameters) = SignatureParameters::from_header(text) {
        assert_eq!(parameters.to_header(), text);
    }
    if let Ok(signature) = read_signature_header(text) {
        assert_eq!(signature_header(&signature), text);
    }
});
