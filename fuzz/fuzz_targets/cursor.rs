//! A cursor and the query it stands in: a page, or an error, of an empty fleet.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redflag_core::query::{PageStart, UpdateQuery, evaluate};

fuzz_target!(|text: &str| {
    if let Ok(cursor) = text.parse() {
        let query = UpdateQuery { start: PageStart::After(cursor), ..UpdateQuery::default() };
        let _ = evaluate([], &query);
    }
});
