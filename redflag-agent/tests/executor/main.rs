//! The executor: what it refuses, what it carries out, and that it does so once, whatever happens to it in between.
#![expect(clippy::unwrap_used, reason = "what fails in a test's helper fails the test")]

mod hostile;
mod journal;
mod kills;
mod lab;
mod outcomes;
mod refusals;
