//! The conformance kit on a real PostgreSQL, and its differential test at any volume.
//!
//! `REDFLAG_CASES` sets how many histories are compared (2 when unset), `REDFLAG_SEED` the first seed (100 when unset); a failure
//! names the seed to give back.

use crate::server::Schemas;
use redflag_core::conformance::{Shape, assert_check, compare_with_memory};
use redflag_store_postgres::Pooling;

redflag_core::conformance_tests!(Schemas::new(Pooling::Session));

/// What a pooler by transactions changes is how statements are sent, the same for all: a few checks that between them use every
/// port show it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_needs_to_be_kept_on_a_connection() {
    let harness = Schemas::new(Pooling::Transaction);
    for check in [
        "every_field_of_an_offer_reads_back_exactly",
        "every_event_sees_the_ones_before_it",
        "a_report_is_stored_whole_and_visible_at_once",
        "installed_versions_are_kept_as_history",
        "pages_by_cursor_survive_writes",
        "one_of_twenty_racing_writers_wins",
        "one_batch_from_eight_connections_has_one_effect",
    ] {
        assert_check(&harness, check).await;
    }
}

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |value| value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value:?}")))
}

#[tokio::test]
async fn random_histories_read_like_the_memory_store() {
    let first = setting("REDFLAG_SEED", 100);
    let harness = Schemas::new(Pooling::Session);
    for seed in first..first + setting("REDFLAG_CASES", 2) {
        if let Err(difference) = compare_with_memory(&harness, seed, Shape::default(), None).await {
            panic!("{difference}\nreplay: REDFLAG_SEED={seed} REDFLAG_CASES=1 cargo test -p redflag-store-postgres --test postgres random");
        }
    }
}
