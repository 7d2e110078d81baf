//! The bytes of one append-only segment file, and what of them can be trusted after a crash. Pure: no I/O here.
//!
//! A segment is a header of eight bytes, then records: length (`u32`, little endian), CRC32C of length and payload (`u32`, little
//! endian), payload. Reading stops at the first record that does not check: everything before it is exactly what was
//! written, and nothing behind it can be trusted, because its place depends on a length that may be wrong. [`mod@file`] keeps such a
//! file on disk.

pub mod file;

use std::{fmt, ops::Range};

/// What every segment begins with; the digits are the version of the format.
pub const HEADER: &[u8; 8] = b"RFSEG001";
/// Bytes of a record before its payload.
const FRAME_BYTES: usize = 8;
/// Most bytes of one payload: the largest report and its envelope.
pub const PAYLOAD_BYTES_MAX: usize = redflag_core::limits::REPORT_BYTES_MAX + 1_024;

/// The trustworthy part of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Where the payloads lie, in the order they were written.
    pub payloads: Vec<Range<usize>>,
    /// Bytes up to the end of the last good record.
    pub good_bytes: usize,
    /// Why reading stopped before the end.
    pub damage: Option<Damage>,
}

/// What is wrong behind the good bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The file does not begin as a segment does.
    Header,
    /// The last record is incomplete, as after a crash in the middle of a write.
    Torn,
    /// A length is out of range.
    Length,
    /// A record does not match its checksum.
    Checksum,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "not a segment of this format",
            Self::Torn => "the last record is incomplete",
            Self::Length => "a record's length is out of range",
            Self::Checksum => "a record does not match its checksum",
        })
    }
}

/// The record that holds `payload`.
///
/// # Panics
/// When the payload is empty or longer than [`PAYLOAD_BYTES_MAX`]; callers build it within that.
#[must_use]
pub fn record(payload: &[u8]) -> Vec<u8> {
    assert!((1..=PAYLOAD_BYTES_MAX).contains(&payload.len()), "a payload has 1 to {PAYLOAD_BYTES_MAX} bytes, not {}", payload.len());
    let length = u32::try_from(payload.len()).expect("the limit lies below 2^32").to_le_bytes();
    let mut record = Vec::with_capacity(FRAME_BYTES + payload.len());
    record.extend_from_slice(&length);
    record.extend_from_slice(&checksum(length, payload).to_le_bytes());
    record.extend_from_slice(payload);
    record
}

/// Bytes of the record of a payload of `payload_bytes`.
#[must_use]
pub const fn record_bytes(payload_bytes: usize) -> usize {
    FRAME_BYTES + payload_bytes
}

/// Where the record of a payload begins.
#[must_use]
pub const fn record_start(payload: &Range<usize>) -> usize {
    payload.start - FRAME_BYTES
}

/// Finds the trustworthy part of a segment's bytes. An empty file is a segment whose header was not yet written.
#[must_use]
pub fn recover(bytes: &[u8]) -> Recovered {
    let mut recovered = Recovered { payloads: Vec::new(), good_bytes: 0, damage: None };
    if bytes.is_empty() {
        return recovered;
    }
    if !bytes.starts_with(HEADER) {
        recovered.damage = Some(if HEADER.starts_with(bytes) { Damage::Torn } else { Damage::Header });
        return recovered;
    }
    recovered.good_bytes = HEADER.len();
    while recovered.good_bytes < bytes.len() {
        match payload_at(bytes, recovered.good_bytes) {
            Ok(payload) => {
                recovered.good_bytes = payload.end;
                recovered.payloads.push(payload);
            }
            Err(damage) => {
                recovered.damage = Some(damage);
                break;
            }
        }
    }
    recovered
}

/// The payload of the record that begins at `offset`, checked.
///
/// # Errors
/// When there is no whole and unharmed record.
pub fn payload_at(bytes: &[u8], offset: usize) -> Result<Range<usize>, Damage> {
    let frame = bytes.get(offset..offset + FRAME_BYTES).ok_or(Damage::Torn)?;
    let (length_bytes, checksum_bytes) = frame.split_at(4);
    let length_bytes = <[u8; 4]>::try_from(length_bytes).expect("a frame is two times four bytes");
    let length = u32::from_le_bytes(length_bytes) as usize;
    if !(1..=PAYLOAD_BYTES_MAX).contains(&length) {
        return Err(Damage::Length);
    }
    let payload = offset + FRAME_BYTES..offset + FRAME_BYTES + length;
    let content = bytes.get(payload.clone()).ok_or(Damage::Torn)?;
    if checksum(length_bytes, content).to_le_bytes() == checksum_bytes { Ok(payload) } else { Err(Damage::Checksum) }
}

fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length), payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn segment(payloads: &[Vec<u8>]) -> Vec<u8> {
        let records = payloads.iter().flat_map(|payload| record(payload));
        HEADER.iter().copied().chain(records).collect()
    }

    fn contents(bytes: &[u8]) -> Vec<Vec<u8>> {
        recover(bytes).payloads.into_iter().map(|range| bytes[range].to_vec()).collect()
    }

    fn payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
        prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6)
    }

    #[test]
    fn zeros_behind_the_records_are_damage() {
        let mut bytes = segment(&[b"one".to_vec()]);
        let good_bytes = bytes.len();
        bytes.extend([0; 64]);
        let recovered = recover(&bytes);
        assert_eq!((recovered.good_bytes, recovered.damage, contents(&bytes).len()), (good_bytes, Some(Damage::Length), 1));
    }

    proptest! {
        #[test]
        fn what_was_written_reads_back(payloads in payloads()) {
            let bytes = segment(&payloads);
            prop_assert_eq!(contents(&bytes), payloads);
            let recovered = recover(&bytes);
            prop_assert_eq!((recovered.good_bytes, recovered.damage), (bytes.len(), None));
        }

        /// Every truncation of every generated segment, not a sample.
        #[test]
        fn every_truncation_recovers_an_exact_prefix(payloads in payloads()) {
            let bytes = segment(&payloads);
            let mut ends = vec![0, HEADER.len()];
            payloads.iter().for_each(|payload| ends.push(ends[ends.len() - 1] + FRAME_BYTES + payload.len()));
            for cut in 0..=bytes.len() {
                let recovered = recover(&bytes[..cut]);
                let whole = ends.iter().skip(2).filter(|end| **end <= cut).count();
                prop_assert_eq!(contents(&bytes[..cut]), &payloads[..whole], "cut at {}", cut);
                prop_assert_eq!(recovered.damage.is_none(), ends.contains(&cut), "cut at {}", cut);
            }
        }

        /// Every single bit of every generated segment, not a sample.
        #[test]
        fn every_bit_flip_recovers_an_exact_prefix(payloads in payloads()) {
            let bytes = segment(&payloads);
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let recovered = contents(&flipped);
                prop_assert!(payloads.starts_with(&recovered), "bit {}", bit);
                prop_assert!(recover(&flipped).damage.is_some(), "bit {} went unnoticed", bit);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), with_header in any::<bool>()) {
            let bytes = if with_header { [HEADER.as_slice(), &bytes].concat() } else { bytes };
            let recovered = recover(&bytes);
            prop_assert!(recovered.good_bytes <= bytes.len());
        }
    }
}
