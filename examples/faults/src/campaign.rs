//! Campaigns: fault tests whose volume is set from outside, with their results in one line for the ledger.
#![expect(clippy::print_stdout, reason = "results and replay commands are read by people and by scripts/campaign")]

use redflag_core::conformance::{Findings, generate::Rng};
use std::{env, thread};

/// A fault test that runs in cycles of one fault each.
///
/// `REDFLAG_CYCLES` sets how many, `REDFLAG_SEED` the first seed (0 when unset). A seed fixes what is submitted and where the
/// faults come; what the machine does meanwhile it cannot fix.
#[derive(Debug)]
pub struct Campaign {
    name: &'static str,
    test: &'static str,
    seed: u64,
    cycles: u64,
    left: u64,
    findings: Findings,
}

impl Campaign {
    /// The campaign of this name, which `cargo test {test}` runs: `ordinary` cycles unless more or fewer are asked for.
    #[must_use]
    pub fn new(name: &'static str, test: &'static str, ordinary: u64) -> Self {
        let cycles = number("REDFLAG_CYCLES", ordinary);
        // The first call of `seed` makes it the first one.
        let seed = number("REDFLAG_SEED", 0).wrapping_sub(1);
        Self { name, test, seed, cycles, left: cycles, findings: Findings::default() }
    }

    /// The next seed and what it decides, while cycles are left. Each stands for a store of its own.
    pub fn seed(&mut self) -> Option<(u64, Rng)> {
        if self.left == 0 {
            return None;
        }
        self.seed = self.seed.wrapping_add(1);
        Some((self.seed, Rng::new(self.seed ^ 0xFA17)))
    }

    /// Whether another cycle is left; it counts as begun.
    pub fn cycle(&mut self) -> bool {
        let left = self.left > 0;
        self.left = self.left.saturating_sub(1);
        left
    }

    /// Adds what the witness of one seed found.
    pub fn add(&mut self, findings: &Findings) {
        self.findings.add(findings);
    }

    /// Ends it: prints the line for the ledger, with what is to be said beside the counts.
    pub fn end(self, notes: &str) {
        let Findings { events, unanswered, lost_events, torn, duplicates, .. } = self.findings;
        let notes = format!("{unanswered} works found whole without an answer{}{notes}", if notes.is_empty() { "" } else { ", " });
        println!("campaign {}: {}; {notes}", self.name, self.findings);
        println!("ledger: {} | {} | {events} | {lost_events} | {torn} | {duplicates} | {notes}", self.name, self.cycles);
        assert!(events > 0, "nothing was acknowledged, so nothing was at stake");
    }
}

impl Drop for Campaign {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("replay: REDFLAG_SEED={} REDFLAG_CYCLES={} cargo test {}", self.seed, self.cycles, self.test);
        }
    }
}

fn number(name: &str, ordinary: u64) -> u64 {
    env::var(name).map_or(ordinary, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a whole number, not {text:?}")))
}
