//! What a fault of the process, the disk or the power leaves of a fleet in SQLite. Needs root.
//!
//! Each campaign is calibrated: a planted weakness must be seen by the same harness before its zeros count.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod disks;
mod kills;
mod power_cuts;
mod writing;
