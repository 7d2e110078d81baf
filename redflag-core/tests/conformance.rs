//! The memory store passes the conformance kit; so does the registry itself.
#![cfg(feature = "conformance")]

use redflag_core::conformance::{CHECKS, MemoryHarness};

redflag_core::conformance_tests!(MemoryHarness);

#[test]
fn every_check_cites_clauses_and_has_a_name_of_its_own() {
    let names: std::collections::BTreeSet<_> = CHECKS.iter().map(|check| check.name).collect();
    assert_eq!(names.len(), CHECKS.len());
    assert!(CHECKS.iter().all(|check| !check.clauses.is_empty()));
}
