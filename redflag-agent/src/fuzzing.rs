//! The readers of outside bytes that are private to their modules, for the fuzz targets in `fuzz/`. Only with the feature
//! `fuzzing`; no part of the API.

use crate::segment;

pub use crate::{engine::fuzzing::*, scan::fuzzing::*};

/// A segment of outbox or journal: the good part is exactly what writing its payloads gives.
///
/// # Panics
/// When it is not: that is what the fuzzer looks for.
pub fn segment(bytes: &[u8]) {
    let recovered = segment::recover(bytes);
    let mut written = if recovered.good_bytes == 0 { Vec::new() } else { segment::HEADER.to_vec() };
    for payload in recovered.payloads {
        written.extend(segment::record(&bytes[payload]));
    }
    assert_eq!(written, bytes[..recovered.good_bytes]);
}
