//! The one place where the server reads the wall clock.
//!
//! Times are data and expiry only; they never order anything (clause B11).

use redflag_core::time::Timestamp;

/// The time now.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this module is where the wall clock is read")]
pub fn now() -> Timestamp {
    Timestamp::from_system_time(std::time::SystemTime::now())
}
