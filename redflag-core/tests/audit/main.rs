//! The audit log: what is altered is found, and the first bad entry named.
#![expect(clippy::unwrap_used, reason = "what fails in a test's helper fails the test")]

mod lab;
mod properties;
mod vectors;
mod witnesses;
