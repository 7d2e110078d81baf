//! The memory store passes the conformance kit; so does the registry itself.
#![cfg(feature = "conformance")]

use redflag_core::conformance::{CHECKS, Coverage, MemoryHarness, clauses};
use std::collections::BTreeSet;

redflag_core::conformance_tests!(MemoryHarness);

#[test]
fn every_check_cites_clauses_and_has_a_name_of_its_own() {
    let names: BTreeSet<_> = CHECKS.iter().map(|check| check.name).collect();
    assert_eq!(names.len(), CHECKS.len());
    assert!(CHECKS.iter().all(|check| !check.clauses.is_empty()));
}

#[test]
fn every_clause_that_concerns_backends_is_checked_or_says_why_not() {
    let clauses = clauses();
    let known: BTreeSet<_> = clauses.iter().map(|clause| clause.id).collect();
    assert_eq!(known.len(), clauses.len(), "a clause stands twice in the index");
    let numbered = |letter: &str, last: u32| (1..=last).map(|number| format!("{letter}{number}")).collect::<Vec<_>>();
    let contract =
        [numbered("B", 15), numbered("S", 9), numbered("R", 6), numbered("F", 4), numbered("Q", 4), numbered("D", 5), numbered("C", 5)]
            .concat();
    for id in contract.iter().map(String::as_str).chain(["R1a", "R4a", "R4b", "A1", "A2"]) {
        assert!(known.contains(id), "clause {id} is missing from the index");
    }
    for clause in &clauses {
        let cited: Vec<_> = CHECKS.iter().filter(|check| check.clauses.contains(&clause.id)).collect();
        match &clause.coverage {
            Coverage::Checked(checks) => assert!(!checks.is_empty(), "no check cites clause {}", clause.id),
            Coverage::Elsewhere(reason) => assert!(cited.is_empty() && !reason.is_empty(), "clause {} is checked: {cited:?}", clause.id),
        }
    }
    for check in CHECKS {
        assert!(check.clauses.iter().all(|id| known.contains(id)), "{check:?} cites a clause the index does not know");
    }
}
