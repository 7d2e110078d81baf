//! The executor: what it refuses, what it carries out, and that it does so once, whatever happens to it in between.
#![expect(clippy::unwrap_used, reason = "what fails in a test's helper fails the test")]

#[path = "../scan_lab/mod.rs"]
#[expect(dead_code, reason = "the worlds are shared; these tests need only some of their tools")]
mod scan_lab;

#[path = "../container_lab/mod.rs"]
#[expect(dead_code, reason = "the worlds are shared; these tests need only some of their tools")]
mod container_lab;

mod apt;
mod compromise;
mod dependencies;
mod docker;
mod hostile;
mod journal;
mod kills;
mod lab;
mod outcomes;
mod process;
mod refusals;
mod service;
mod units;
