//! Documents that name tests name tests that are there.

use redflag_core::conformance;
use std::{collections::BTreeMap, fs, path::Path};

/// The documents, and how many tests they cite at least.
const DOCUMENTS: [(&str, usize); 3] = [("redflag-server/tests/corpus/README.md", 30), (CHECKLIST, 100), (GUARANTEES, 40)];
const GUARANTEES: &str = "docs/guarantees.md";
const CHECKLIST: &str = "docs/security-checklist.md";

/// How many requirements each section of ASVS 5.0.0 has, and which of them are of level 3 and not gone through.
const REQUIREMENTS: &[(&str, u8, &[u8])] = &[
    ("1.1", 2, &[]),
    ("1.2", 10, &[10]),
    ("1.3", 12, &[12]),
    ("1.4", 3, &[]),
    ("1.5", 3, &[3]),
    ("2.1", 3, &[]),
    ("2.2", 3, &[]),
    ("2.3", 5, &[5]),
    ("2.4", 2, &[2]),
    ("3.1", 1, &[1]),
    ("3.2", 3, &[3]),
    ("3.3", 5, &[5]),
    ("3.4", 8, &[7, 8]),
    ("3.5", 8, &[6, 7, 8]),
    ("3.6", 1, &[1]),
    ("3.7", 5, &[3, 4, 5]),
    ("4.1", 5, &[4, 5]),
    ("4.2", 5, &[2, 3, 4, 5]),
    ("4.3", 2, &[]),
    ("4.4", 4, &[]),
    ("5.1", 1, &[]),
    ("5.2", 6, &[4, 5, 6]),
    ("5.3", 3, &[3]),
    ("5.4", 3, &[]),
    ("6.1", 3, &[]),
    ("6.2", 12, &[]),
    ("6.3", 8, &[5, 6, 7, 8]),
    ("6.4", 6, &[5, 6]),
    ("6.5", 8, &[6, 7, 8]),
    ("6.6", 4, &[4]),
    ("6.7", 2, &[1, 2]),
    ("6.8", 4, &[]),
    ("7.1", 3, &[]),
    ("7.2", 4, &[]),
    ("7.3", 2, &[]),
    ("7.4", 5, &[]),
    ("7.5", 3, &[3]),
    ("7.6", 2, &[]),
    ("8.1", 4, &[3, 4]),
    ("8.2", 4, &[4]),
    ("8.3", 3, &[2, 3]),
    ("8.4", 2, &[2]),
    ("9.1", 3, &[]),
    ("9.2", 4, &[]),
    ("10.1", 2, &[]),
    ("10.2", 3, &[3]),
    ("10.3", 5, &[5]),
    ("10.4", 16, &[12, 13, 14, 15, 16]),
    ("10.5", 5, &[]),
    ("10.6", 2, &[]),
    ("10.7", 3, &[]),
    ("11.1", 4, &[3, 4]),
    ("11.2", 5, &[4, 5]),
    ("11.3", 5, &[4, 5]),
    ("11.4", 4, &[]),
    ("11.5", 2, &[2]),
    ("11.6", 2, &[2]),
    ("11.7", 2, &[1, 2]),
    ("12.1", 5, &[4, 5]),
    ("12.2", 2, &[]),
    ("12.3", 5, &[5]),
    ("13.1", 4, &[2, 3, 4]),
    ("13.2", 6, &[6]),
    ("13.3", 4, &[3, 4]),
    ("13.4", 7, &[6, 7]),
    ("14.1", 2, &[]),
    ("14.2", 8, &[5, 6, 7, 8]),
    ("14.3", 3, &[]),
    ("15.1", 5, &[4, 5]),
    ("15.2", 5, &[4, 5]),
    ("15.3", 7, &[]),
    ("15.4", 4, &[1, 2, 3, 4]),
    ("16.1", 1, &[]),
    ("16.2", 5, &[]),
    ("16.3", 4, &[]),
    ("16.4", 3, &[]),
    ("16.5", 4, &[4]),
    ("17.1", 2, &[2]),
    ("17.2", 8, &[5, 6, 7, 8]),
    ("17.3", 2, &[]),
];

/// A citation is `path/of/the/file.rs::name_of_the_test`, from the root of the repository.
#[test]
fn every_test_that_a_document_cites_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for (document, cited_min) in DOCUMENTS {
        let text = fs::read_to_string(root.join(document)).unwrap();
        let cited: Vec<_> = text.split('`').filter_map(|span| span.split_once(".rs::")).collect();
        assert!(cited.len() >= cited_min, "{document} cites {} tests", cited.len());
        for (file, name) in cited {
            let source =
                fs::read_to_string(root.join(format!("{file}.rs"))).unwrap_or_else(|error| panic!("{document}: {file}.rs: {error}"));
            assert!(source.contains(&format!("fn {name}(")), "{document}: {file}.rs has no {name}");
        }
    }
}

/// The guarantees name each clause that concerns backends, once, so that nobody has to look for what became of one.
#[test]
fn every_clause_stands_in_one_row_of_the_guarantees() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(GUARANTEES)).unwrap();
    let mut named: Vec<_> = text.lines().filter_map(|line| line.split('|').nth(2)).flat_map(str::split_whitespace).collect();
    named.sort_unstable();
    let mut clauses: Vec<_> = conformance::clauses().iter().map(|clause| clause.id).collect();
    clauses.sort_unstable();
    named.retain(|word| clauses.contains(word));
    assert_eq!(named, clauses);
}

/// The checklist goes through every requirement of level 1 and 2, in order and once, says of each by one of five words how it is met, and
/// counts them rightly. What is met as documented names a heading that is there.
#[test]
fn the_checklist_goes_through_every_requirement_in_order() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = fs::read_to_string(root.join(CHECKLIST)).unwrap();
    let of_section = |(section, count, level_3): &(&str, u8, &[u8])| {
        let numbers = (1..=*count).filter(|number| !level_3.contains(number));
        numbers.map(|number| format!("{section}.{number}")).collect::<Vec<_>>()
    };
    let all: Vec<String> = REQUIREMENTS.iter().flat_map(of_section).collect();
    let (mut next, mut kinds) = (0, BTreeMap::new());
    let rows = text.lines().map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    for row in rows.filter(|row| row.len() == 5 && row[1].starts_with(|first: char| first.is_ascii_digit())) {
        let (first, last) = row[1].split_once(" to ").unwrap_or((row[1], row[1]));
        assert_eq!(Some(first), all.get(next).map(String::as_str), "{row:?} is not the next one");
        let end = 1 + all.iter().position(|number| number == last).unwrap_or_else(|| panic!("{last} is no requirement"));
        let words = ["by construction", "documented", "does not apply", "gap"];
        let kind = words.into_iter().find(|word| row[3].starts_with(&format!("{word}: ")));
        let kind = kind.or_else(|| row[3].starts_with('`').then_some("shown by tests"));
        *kinds.entry(kind.unwrap_or_else(|| panic!("how is {first} met? {}", row[3]))).or_insert(0) += end - next;
        next = end;
    }
    assert_eq!(all.get(next), None, "the next one is missing");
    for (kind, count) in kinds {
        assert!(text.contains(&format!("| {kind} | {count} |")), "{count} requirements are: {kind}");
    }
    for (document, heading) in text.split("](").skip(1).filter_map(|link| link.split(')').next()?.split_once('#')) {
        let headings = fs::read_to_string(root.join("docs").join(document)).unwrap();
        let anchor = |line: &str| line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        assert!(headings.lines().any(|line| line.starts_with('#') && anchor(line) == heading), "{document} has no {heading}");
    }
}
