//! Core's version order against the package managers' own, and against the rules written down once more.
//!
//! A million pairs are compared in process with a plain reading of the manuals; thousands with the real tools, which shows that the
//! manuals were read rightly. The pairs are the same on every run, so that a failure is replayed by running the test again;
//! `REDFLAG_VERSION_PAIRS` asks the real tools about more of them.

#[path = "scan_version_order/manual.rs"]
mod manual;

#[expect(dead_code, reason = "the worlds are shared; this test needs only some of their tools")]
mod scan_lab;

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};
use redflag_core::{names::Version, version_order, words::VersionOrder};
use scan_lab::{require, stdout};
use std::{cmp::Ordering, collections::BTreeMap};

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

fn dpkg_pairs(default: usize) -> Vec<Pair> {
    pairs("([01]:)?[019][0-9a-cA-Z.+~]{0,5}", "[0-9ab.+~]{0,2}(-[01a+.~]{1,3})?", default)
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
    const SCRIPT: &str = r#"while [ $# -gt 0 ]; do
        if dpkg --compare-versions "$1" lt "$2"; then echo -1; elif dpkg --compare-versions "$1" eq "$2"; then echo 0; else echo 1; fi
        shift 2
    done"#;
    let pairs = dpkg_pairs(300);
    let mut arguments = vec!["-c", SCRIPT, "sh"];
    arguments.extend(pairs.iter().flat_map(|(a, b)| [a.as_str(), b.as_str()]));
    let truth: Vec<_> = stdout("sh", &arguments, &[]).lines().map(ordering).collect();
    check(VersionOrder::Dpkg, &pairs, &truth);
}

/// dpkg's own library, which compares thousands in one process.
#[test]
fn libdpkg_agrees() {
    require(&[("perl", "perl"), ("dpkg-parsechangelog", "dpkg-dev")]);
    const SCRIPT: &str = r#"open(my $pairs, "<", $ARGV[0]) or die $!;
        while (<$pairs>) { chomp; my ($a, $b) = split /\t/; print version_compare($a, $b), "\n" }"#;
    let pairs = dpkg_pairs(10_000);
    let file = tempfile::NamedTempFile::new().unwrap();
    let lines: String = pairs.iter().map(|(a, b)| format!("{a}\t{b}\n")).collect();
    std::fs::write(file.path(), lines).unwrap();
    let path = file.path().to_str().unwrap();
    let truth: Vec<_> = stdout("perl", &["-MDpkg::Version", "-e", SCRIPT, path], &[]).lines().map(ordering).collect();
    check(VersionOrder::Dpkg, &pairs, &truth);
}

#[test]
fn rpm_agrees() {
    const PAIRS_PER_PROCESS: usize = 500;
    require(&[("rpm", "rpm")]);
    let pairs = pairs("([01]:)?[0-9a-c][0-9a-cA-Z._+~^]{0,5}", "[0-9ab._+~^]{0,2}-[0-9a.~^]{1,3}", 10_000);
    let mut truth = Vec::new();
    for pairs in pairs.chunks(PAIRS_PER_PROCESS) {
        let comparisons: String = pairs.iter().map(|(a, b)| format!("print(rpm.vercmp(\"{a}\",\"{b}\")..\"\\n\") ")).collect();
        truth.extend(stdout("rpm", &["--eval", &format!("%{{lua: {comparisons}}}")], &[]).split_whitespace().map(ordering));
    }
    check(VersionOrder::Rpm, &pairs, &truth);
}

/// Compares a million pairs made of `characters` with `plain`, and counts the answers: all three must occur often.
fn check_a_million(order: VersionOrder, characters: &str, release: &str, plain: fn(&str, &str) -> Ordering) {
    let characters: Vec<char> = characters.chars().collect();
    let mut random = 20_261_125_u64;
    let mut below = |limit: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % limit as u64).expect("below a usize")
    };
    let mut counts = BTreeMap::<Ordering, u32>::new();
    for _ in 0..1_000_000 {
        let mut a: Vec<char> = (0..=below(8)).map(|_| characters[below(characters.len())]).collect();
        let mut b = a.clone();
        for _ in 0..=below(3) {
            let at = below(b.len() + 1);
            match (below(3), at < b.len()) {
                (0, true) => drop(b.remove(at)),
                (1, true) => b[at] = characters[below(characters.len())],
                _ => b.insert(at, characters[below(characters.len())]),
            }
        }
        if below(2) == 0 {
            std::mem::swap(&mut a, &mut b);
        }
        let text = |prefix: &str, middle: &[char]| format!("{prefix}1{}{release}", middle.iter().collect::<String>());
        let prefixes = ["", "", "", "", "0:", "1:"];
        let (a, b) = (text(prefixes[below(6)], &a), text(prefixes[below(6)], &b));
        let [parsed_a, parsed_b] = [&a, &b].map(|text| Version::parse(text).expect("a version"));
        let expected = plain(&a, &b);
        assert_eq!(version_order::compare(order, &parsed_a, &parsed_b), Some(expected), "{order}: {a:?} against {b:?}");
        *counts.entry(expected).or_default() += 1;
    }
    assert!(counts.len() == 3 && counts.values().all(|count| *count > 10_000), "{counts:?}");
}

#[test]
fn a_million_pairs_agree_with_debians_manual() {
    check_a_million(VersionOrder::Dpkg, "00112589abzAZ.+~--", "", manual::dpkg);
}

#[test]
fn a_million_pairs_agree_with_rpms_manual() {
    check_a_million(VersionOrder::Rpm, "00112589abzAZ._+~^", "-1", manual::rpm);
}
