//! Documents that name tests name tests that are there.

use redflag_core::conformance;
use std::{fs, path::Path};

/// The documents, and how many tests they cite at least.
const DOCUMENTS: [(&str, usize); 3] = [("redflag-server/tests/corpus/README.md", 30), ("docs/security-checklist.md", 30), (GUARANTEES, 40)];
const GUARANTEES: &str = "docs/guarantees.md";

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
