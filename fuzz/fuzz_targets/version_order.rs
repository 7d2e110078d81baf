//! Orders of versions: total, antisymmetric, and equal to themselves.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redflag_core::{
    names::Version,
    version_order::{compare, reached},
    words::VersionOrder,
};

fuzz_target!(|pair: (&str, &str)| {
    let (Ok(a), Ok(b)) = (Version::parse(pair.0), Version::parse(pair.1)) else { return };
    for order in VersionOrder::ALL.iter().copied() {
        let (there, back) = (compare(order, &a, &b), compare(order, &b, &a));
        assert_eq!(there.map(std::cmp::Ordering::reverse), back, "{order:?} {a} {b}");
        assert!(reached(order, &a, &a), "{order:?} {a}");
    }
});
