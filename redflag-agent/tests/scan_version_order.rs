//! Core's version order against the package managers' own, over generated pairs.
//!
//! The pairs are the same on every run, so that a failure is replayed by running the test again; `REDFLAG_VERSION_PAIRS` asks for
//! more of them.

#[expect(dead_code, reason = "the worlds are shared; this test needs only some of their tools")]
mod scan_lab;

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};
use redflag_core::{names::Version, version_order, words::VersionOrder};
use scan_lab::{require, stdout};
use std::cmp::Ordering;

type Pair = (String, String);

/// Pairs of versions that match `pattern`; one in two differs in its end only, where the rules are subtle.
fn pairs(pattern: &str, tail: &str, default: usize) -> Vec<Pair> {
    let count = std::env::var("REDFLAG_VERSION_PAIRS").map_or(default, |count| count.parse().expect("REDFLAG_VERSION_PAIRS is a number"));
    let mut runner = TestRunner::deterministic();
    let strategy = (pattern, pattern, tail, tail, proptest::bool::ANY).prop_map(
        |(a, b, tail_a, tail_b, alike): (String, String, String, String, bool)| {
            let b = if alike { a.clone() } else { b };
            (a + &tail_a, b + &tail_b)
        },
    );
    (0..count).map(|_| strategy.new_tree(&mut runner).expect("the pattern generates").current()).collect()
}

fn check(order: VersionOrder, pairs: &[Pair], truth: &[Ordering]) {
    assert_eq!(pairs.len(), truth.len());
    assert!(
        [Ordering::Less, Ordering::Equal, Ordering::Greater].iter().all(|order| truth.contains(order)),
        "the sample shows every answer"
    );
    for ((a, b), truth) in pairs.iter().zip(truth) {
        let [parsed_a, parsed_b] = [a, b].map(|text| Version::parse(text).expect("a version"));
        assert_eq!(version_order::compare(order, &parsed_a, &parsed_b), Some(*truth), "{order}: {a:?} against {b:?}");
        assert_eq!(version_order::compare(order, &parsed_b, &parsed_a), Some(truth.reverse()), "{order}: {b:?} against {a:?}");
    }
}

fn ordering(word: &str) -> Ordering {
    match word {
        "-1" => Ordering::Less,
        "0" => Ordering::Equal,
        "1" => Ordering::Greater,
        _ => panic!("no order: {word:?}"),
    }
}

#[test]
fn dpkg_agrees() {
    require(&[("dpkg", "dpkg")]);
    let pairs = pairs("([01]:)?[019][0-9a-cA-Z.+~]{0,5}", "[0-9ab.+~]{0,2}(-[01a+.~]{1,3})?", 300);
    const SCRIPT: &str = r#"while [ $# -gt 0 ]; do
        if dpkg --compare-versions "$1" lt "$2"; then echo -1; elif dpkg --compare-versions "$1" eq "$2"; then echo 0; else echo 1; fi
        shift 2
    done"#;
    let mut arguments = vec!["-c", SCRIPT, "sh"];
    arguments.extend(pairs.iter().flat_map(|(a, b)| [a.as_str(), b.as_str()]));
    let truth: Vec<_> = stdout("sh", &arguments, &[]).lines().map(ordering).collect();
    check(VersionOrder::Dpkg, &pairs, &truth);
}

#[test]
fn rpm_agrees() {
    const PAIRS_PER_PROCESS: usize = 500;
    require(&[("rpm", "rpm")]);
    let pairs = pairs("([01]:)?[0-9a-c][0-9a-cA-Z._+~^]{0,5}", "[0-9ab._+~^]{0,2}-[0-9a.~^]{1,3}", 5_000);
    let mut truth = Vec::new();
    for pairs in pairs.chunks(PAIRS_PER_PROCESS) {
        let comparisons: String = pairs.iter().map(|(a, b)| format!("print(rpm.vercmp(\"{a}\",\"{b}\")..\"\\n\") ")).collect();
        truth.extend(stdout("rpm", &["--eval", &format!("%{{lua: {comparisons}}}")], &[]).split_whitespace().map(ordering));
    }
    check(VersionOrder::Rpm, &pairs, &truth);
}
