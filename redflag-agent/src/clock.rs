//! The one place that reads the wall clock and draws randomness.
//!
//! Times are data: they are shown, sent and logged, and never order anything (clause B11).

use redflag_core::{ids::ReportId, time::Timestamp};
use std::time::{Duration, SystemTime};
use uuid::Uuid;

/// The time now, by the host's clock.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this module is the clock")]
pub fn now() -> Timestamp {
    Timestamp::from_system_time(SystemTime::now())
}

/// Fresh random bytes from the operating system.
///
/// # Panics
/// When the operating system has no randomness to give, which no program can work around.
#[must_use]
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system provides randomness");
    bytes
}

/// A new version 7 UUID.
#[must_use]
pub fn new_uuid() -> Uuid {
    let millis = u64::try_from(now().as_micros() / 1_000).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(millis, &random_bytes()).into_uuid()
}

/// A new report id.
#[must_use]
pub fn new_report_id() -> ReportId {
    ReportId::from_uuid(new_uuid()).expect("a version 7 UUID is not nil")
}

/// A duration drawn evenly between zero and `limit`.
#[must_use]
pub fn random_up_to(limit: Duration) -> Duration {
    let fraction = f64::from(u32::from_le_bytes(random_bytes())) / f64::from(u32::MAX);
    limit.mul_f64(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_of_version_7_and_differ() {
        let (first, second) = (new_uuid(), new_uuid());
        assert_eq!(first.get_version_num(), 7);
        assert_ne!(first, second);
    }

    #[test]
    fn random_durations_stay_within_their_limit() {
        let limit = Duration::from_secs(3);
        assert!((0..100).all(|_| random_up_to(limit) <= limit));
        assert_eq!(random_up_to(Duration::ZERO), Duration::ZERO);
    }
}
