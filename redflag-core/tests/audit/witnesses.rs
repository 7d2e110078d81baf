//! A witness goes along with a log that goes on, and with no other.

use crate::lab::*;
use redflag_core::audit::witness::{Kept, Objection, go_along};

fn kept(log: &Log) -> Vec<Kept> {
    log.checkpoints.iter().cloned().map(Kept::from).collect()
}

#[test]
fn a_witness_goes_along_step_by_step() {
    let all = kept(&Log::of_blocks(&[1, 3, 3, 5]));
    assert_eq!(go_along(None, &[], &public(1)), Ok(None));
    assert_eq!(go_along(None, &all[2..3], &public(1)), Ok(Some(all[2].clone())), "the first sight may be late");
    assert_eq!(go_along(Some(&all[0]), &all[1..], &public(1)), Ok(Some(all[3].clone())));
    assert_eq!(go_along(Some(&all[3]), &[], &public(1)), Ok(Some(all[3].clone())));
}

#[test]
fn a_log_that_went_back_or_on_differently_is_a_fork() {
    let (all, other) = (kept(&Log::of_blocks(&[1, 3, 3, 5])), kept(&Log::of_blocks(&[1, 3, 5, 1])));
    let fork = |from: &Kept, shown: &[Kept]| match go_along(Some(from), shown, &public(1)) {
        Err(Objection::Fork { shown, .. }) => shown,
        other => panic!("not a fork: {other:?}"),
    };
    assert_eq!(fork(&all[3], &all[1..2]), all[1], "it went back");
    assert_eq!(fork(&all[2], &other[2..3]), other[2], "another one with the same number");
    assert_eq!(fork(&all[2], &other[3..]), other[3], "the next one of another log");
    assert_eq!(fork(&all[0], &all[2..]), all[2], "one is left out");
    assert_eq!(fork(&all[3], &all[3..]), all[3], "the same again does not follow from itself");
}

#[test]
fn what_another_key_signed_proves_nothing() {
    let all = kept(&Log::of_blocks(&[1, 3]));
    assert!(matches!(go_along(None, &all, &public(2)), Err(Objection::Unproven(_))));
    let mut forged = all[1].read(&public(1)).unwrap();
    forged.size += 1;
    assert!(matches!(go_along(Some(&all[0]), &[sign(&forged, 2).into()], &public(1)), Err(Objection::Unproven(_))));
    assert!(matches!(go_along(Some(&all[0]), &["{}".to_owned().into()], &public(1)), Err(Objection::Unproven(_))));
}
