//! Commands: what is signed, what is read, and that nothing else is.
#![expect(clippy::unwrap_used, reason = "what fails in a test's helper fails the test")]

mod lab;
mod properties;
mod refusals;
mod vectors;
