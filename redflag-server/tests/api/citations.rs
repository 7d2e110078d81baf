//! Documents that name tests name tests that are there.

use std::{fs, path::Path};

/// The documents, and how many tests they cite at least.
const DOCUMENTS: [(&str, usize); 2] = [("redflag-server/tests/corpus/README.md", 30), ("docs/security-checklist.md", 30)];

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
