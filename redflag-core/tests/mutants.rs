//! The kit can fail: a shelf of broken stores, each caught by named checks, and every check catches one of them.
#![cfg(feature = "conformance")]
#![expect(clippy::unwrap_used, reason = "what fails in a test's helper fails the test")]

mod shelf;
mod support;

use redflag_core::{conformance::CHECKS, words::OutcomeKind};
use std::collections::BTreeSet;

/// Checks no mutant stands for, with the reason.
const NOT_CALIBRATED: &[(&str, &str)] = &[];

#[test]
fn every_check_catches_a_mutant_or_says_why_not() {
    use shelf::{commands, faults, life, queries, reports, values, writing};
    let shelves = [writing::CAUGHT, reports::CAUGHT, queries::CAUGHT, values::CAUGHT, faults::CAUGHT, life::CAUGHT, commands::CAUGHT];
    let catching: BTreeSet<&str> = shelves.into_iter().flatten().flat_map(|(_, checks)| checks.iter().copied()).collect();
    let excused: BTreeSet<&str> = NOT_CALIBRATED.iter().map(|(check, _)| *check).collect();
    let idle: Vec<_> = CHECKS.iter().map(|check| check.name).filter(|name| !catching.contains(name) && !excused.contains(name)).collect();
    assert!(idle.is_empty(), "no mutant shows that these checks can fail: {idle:?}");
    let needless: Vec<_> = excused.intersection(&catching).collect();
    assert!(needless.is_empty(), "these checks catch a mutant after all: {needless:?}");
}

#[test]
fn outcome_words_are_those_of_the_contract() {
    assert_eq!(OutcomeKind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>(), ["accepted", "duplicate", "rejected"]);
}
