//! What a fault of the server, the way to it or its disk leaves of a fleet in PostgreSQL. Needs root.
//!
//! Each campaign is calibrated: a planted weakness must be seen by the same harness before its zeros count.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod cuts;
mod disks;
mod failovers;
mod kills;
mod subject;
