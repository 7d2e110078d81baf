//! An envelope: without a pinned key none is good, and what can be taken apart is put together the same way.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redflag_core::command::{envelope::Envelope, verify::Authentic};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(envelope) = Envelope::read(bytes) {
        assert_eq!(envelope.to_json(), bytes);
    }
    assert!(Authentic::read(bytes, &[], 1).is_err());
});
