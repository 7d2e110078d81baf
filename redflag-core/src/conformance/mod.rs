//! The conformance kit: what every backend must pass (see `docs/writing-a-backend.md`).
//!
//! A backend implements [`Harness`] and writes one line, which becomes one test per check:
//!
//! ```
//! use redflag_core::conformance::MemoryHarness;
//!
//! redflag_core::conformance_tests!(MemoryHarness);
//! # fn main() {}
//! ```
//!
//! Every check uses stores of its own, so the checks run in parallel. Names, cited clauses and functions stand once, in
//! [`CHECKS`]. The kit judges a store only by its ports; what core decides is core's to test, and the kit looks for what a
//! backend can do wrong: lose, tear, repeat, reorder or misread.

mod atomicity;
mod catalogs;
mod clauses;
mod commands;
mod concurrency;
mod decisions;
mod differential;
mod extremes;
mod faults;
mod faulty;
mod feed;
pub mod generate;
mod history;
mod idempotency;
mod image;
mod lab;
mod life;
mod lives;
mod log;
mod queries;
mod readers;
mod records;
mod reports;
mod round_trip;
mod summaries;
mod witness;

pub use clauses::{Clause, Coverage, clauses};
pub use differential::{MemoryHarness, Reopen, compare_digests_with_memory, compare_life_with_memory, compare_with_memory, transcript};
pub use faulty::{Fault, Faulty, dropped_after};
pub use history::{Shape, history};
pub use lab::Lab;
pub use lives::{Life, Lived, live};
pub use witness::{Findings, Witness, answer_digest, streams, submit};

use crate::store::{Store, StoreError};
use async_trait::async_trait;
use std::{fmt, pin::Pin, sync::Arc};

/// How the kit gets stores of a backend.
#[async_trait]
pub trait Harness: Send + Sync {
    /// A new, empty store that shares nothing with any other.
    async fn fresh(&self) -> Arc<dyn Store>;

    /// Closes the store and opens it again over the same data. The kit gives up its own handle; a backend without durability
    /// gives the same store back.
    async fn reopen(&self, store: Arc<dyn Store>) -> Arc<dyn Store>;
}

/// What a check found wrong.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    /// A failure, in words that say what was expected and what was found.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self(format!("the store failed: {error} ({error:?})"))
    }
}

/// What a check answers.
pub type CheckResult = Result<(), Failure>;

type Running<'a> = Pin<Box<dyn Future<Output = CheckResult> + Send + 'a>>;

/// One promise of the contract, put to the proof.
#[derive(Clone, Copy)]
pub struct Check {
    /// Its name, which is the name of the test.
    pub name: &'static str,
    /// The clauses it proves.
    pub clauses: &'static [&'static str],
    run: for<'a> fn(&'a dyn Harness) -> Running<'a>,
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.name, self.clauses)
    }
}

impl Check {
    /// Puts a backend to the proof.
    ///
    /// # Errors
    /// What was found wrong.
    pub async fn run(&self, harness: &dyn Harness) -> CheckResult {
        (self.run)(harness).await
    }
}

/// Runs every check, one after the other; answers those that failed.
pub async fn run_all(harness: &dyn Harness) -> Vec<(Check, Failure)> {
    let mut failures = Vec::new();
    for check in CHECKS {
        if let Err(failure) = check.run(harness).await {
            failures.push((*check, failure));
        }
    }
    failures
}

/// Runs the check of this name, for the tests that [`conformance_tests!`](crate::conformance_tests) writes.
///
/// # Panics
/// When the check fails, or there is none of this name.
pub async fn assert_check(harness: &dyn Harness, name: &str) {
    let check = CHECKS.iter().find(|check| check.name == name).expect("the registry names every check");
    if let Err(failure) = check.run(harness).await {
        panic!("{name} (clauses {}): {failure}", check.clauses.join(", "));
    }
}

macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::conformance::Failure::new(format!($($message)+)));
        }
    };
}
pub(crate) use ensure;

macro_rules! ensure_eq {
    ($found:expr, $expected:expr, $($message:tt)+) => {
        match (&$found, &$expected) {
            (found, expected) if found != expected => {
                let what = format!($($message)+);
                return Err($crate::conformance::Failure::new(format!("{what}\n   found: {found:?}\nexpected: {expected:?}")));
            }
            _ => {}
        }
    };
}
pub(crate) use ensure_eq;

macro_rules! registry {
    ($dollar:tt $($suite:ident { $($name:ident [$($clause:literal)+])+ })+) => {
        /// Every check of the kit.
        pub const CHECKS: &[Check] = &[$($(
            Check { name: stringify!($name), clauses: &[$($clause),+], run: |harness| Box::pin($suite::$name(harness)) },
        )+)+];

        /// Writes one test per check of the kit for the backend of a [`Harness`](crate::conformance::Harness), given as an
        /// expression that makes a new one. The calling crate needs `tokio` with its multi-threaded runtime and macros.
        #[macro_export]
        macro_rules! conformance_tests {
            ($dollar harness:expr) => {$($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let harness = $dollar harness;
                    $dollar crate::conformance::assert_check(&harness, stringify!($name)).await;
                }
            )+)+};
        }
    };
}

registry! { $
    round_trip {
        a_fresh_store_is_empty ["Q2"]
        values_at_their_limits_read_back_exactly ["B13"]
        every_field_of_an_offer_reads_back_exactly ["B13" "S7"]
        what_was_committed_survives_reopening ["D5" "S1"]
        enrolment_is_kept_and_its_retry_changes_nothing ["R6"]
        an_unknown_agent_is_refused_everywhere ["C3"]
    }
    atomicity {
        one_bad_event_harms_no_other ["B3" "B4" "B15"]
        a_batch_of_bad_events_keeps_every_reason ["B4" "B15"]
        every_event_sees_the_ones_before_it ["B2" "F3"]
        an_empty_batch_writes_nothing ["B9"]
        rehearsing_changes_nothing_and_answers_the_same ["B13"]
        counters_equal_a_recount ["B1" "Q2"]
        the_state_is_the_fold_of_the_log ["S1" "F3"]
    }
    idempotency {
        a_batch_again_has_one_effect_and_one_receipt ["B5" "B8"]
        a_batch_again_after_reopening_is_found ["B5" "B8"]
        a_batch_id_with_other_content_is_refused ["B6"]
        a_batch_id_is_scoped_to_its_agent ["B5"]
        event_ids_are_known_across_batches ["B7"]
        a_report_again_gets_the_stored_answer ["R1a" "R3"]
        a_report_id_with_other_content_is_refused ["R1a"]
    }
    reports {
        a_report_is_stored_whole_and_visible_at_once ["R1" "Q2"]
        an_unchanged_report_writes_no_event ["R1" "R4"]
        gone_packages_close_by_what_is_installed_now ["R1" "R2"]
        partial_and_failed_scans_close_nothing ["R2"]
        a_rejected_fact_shields_its_package ["R2" "B3"]
        a_stale_report_overwrites_nothing ["R3"]
        a_collapse_waits_for_a_second_scan ["R2"]
        how_a_report_is_cut_is_unobservable ["B12"]
        a_large_report_of_three_managers_arrives_whole ["R1" "B1"]
    }
    decisions {
        a_decision_is_an_event_with_its_operator ["S2" "A1"]
        a_decision_about_another_offer_is_rejected ["A1" "S4"]
        decisions_survive_the_same_scan_and_not_a_new_version ["S4"]
        a_package_ignore_outlives_versions ["S4"]
        an_ignore_that_ran_out_asks_again ["S4"]
        a_decision_without_effect_leaves_no_trace ["B9" "B4"]
        a_bulk_decision_is_about_what_was_shown ["S2" "A1"]
        installed_versions_are_kept_as_history ["S1" "R1"]
    }
    queries {
        every_row_stands_on_exactly_one_page ["Q1" "Q2"]
        every_filter_agrees_with_the_reference ["Q2" "Q4"]
        a_search_is_literal ["Q4"]
        a_cursor_serves_only_its_query ["Q3"]
        pages_by_cursor_survive_writes ["Q1"]
        agents_are_listed_in_every_order ["Q1" "R6"]
        batches_are_listed_newest_first ["Q1" "B15"]
        the_log_is_read_in_slices ["F1" "F4"]
    }
    records {
        a_record_is_written_only_as_expected ["B8"]
        one_of_twenty_racing_writers_wins ["B8"]
        records_are_listed_in_key_order ["Q1"]
        namespaces_are_listed_in_order ["Q1"]
        records_survive_reopening_and_are_bounded ["D5" "B13"]
    }
    concurrency {
        one_batch_from_eight_connections_has_one_effect ["B5" "R5"]
        batches_of_one_agent_serialise ["R5" "F1" "F3"]
        agents_do_not_disturb_each_other ["R5" "B5"]
        reports_in_opposite_order_and_a_decision_do_not_deadlock ["R5"]
    }
    faults {
        a_lost_acknowledgement_is_found_by_asking_again ["B8" "B5" "R1a" "R6"]
        a_lost_acknowledgement_of_a_record_is_found_by_reading ["B8"]
        work_that_is_judged_twice_has_one_effect ["B8" "B1"]
        a_dropped_batch_is_stored_whole_or_not_at_all ["B1" "B8"]
        a_dropped_report_is_stored_whole_or_not_at_all ["B1" "B8" "R1"]
    }
    catalogs {
        names_of_a_rehearsal_are_forgotten ["B1" "B13"]
        names_of_refused_work_are_forgotten ["B1" "B6"]
        equal_names_are_told_apart_in_every_order ["Q1" "B13"]
    }
    readers {
        a_page_and_its_counts_are_of_one_moment ["Q2" "B1" "R1"]
        a_state_is_never_seen_without_its_events ["B1" "S1"]
        a_walk_among_writers_sees_every_steady_row_once ["Q1"]
    }
    extremes {
        a_report_with_every_field_at_its_limit_reads_back ["B13"]
        times_are_data_and_order_nothing ["B11" "B13"]
        report_sequences_reach_their_end ["R3" "B13"]
        a_batch_of_the_largest_size_is_one ["B1" "B4" "B10"]
        too_many_decisions_are_refused_whole ["B10"]
        a_report_of_two_thousand_batches_is_one ["B1" "B12" "R1"]
        records_of_every_size_replace_each_other ["B13"]
        every_word_is_accepted_by_the_schema ["S6" "S7" "S8" "A2"]
    }
    feed {
        every_batch_stands_in_the_feed_once ["F1" "F4"]
        the_feed_stands_in_commit_order ["F1" "F4"]
        what_writes_no_batch_stands_not_in_the_feed ["F1" "B9"]
        nothing_appears_below_a_position_seen ["F1" "F2" "F4"]
        a_waiting_reader_is_woken ["F2"]
        batches_of_an_agent_are_found_by_number_and_position ["F4" "S1"]
        the_past_reads_as_it_was ["S1"]
    }
    life {
        a_removed_agent_leaves_nothing_but_its_tombstones ["D2" "F1" "Q2"]
        a_removed_agent_never_comes_back ["D2" "F1"]
        work_on_a_stream_that_moved_is_refused ["D2" "R5"]
        retention_takes_the_start_of_a_log_and_nothing_else ["D3" "S1" "F1"]
        what_was_pruned_is_forgotten_and_says_so ["D3" "B7" "S1"]
        a_rebuild_mends_what_differs_from_the_log ["S1" "Q2"]
        an_export_moves_everything ["S1" "B14" "F1" "F4"]
        an_import_takes_nothing_that_does_not_fit ["F3" "S1"]
    }
    commands {
        a_request_is_kept_and_the_same_again_is_the_same ["C2" "B8"]
        a_plan_within_its_terms_is_installed ["A1" "S2"]
        a_plan_beyond_its_terms_is_looked_at_twice ["A1" "S2"]
        a_lease_is_answered_again_and_ends_by_itself ["C1" "C5"]
        what_comes_late_changes_nothing ["C1"]
        an_agent_sees_only_its_own_commands ["C3"]
        an_installation_is_proved_by_the_next_scan ["C4" "S1"]
        commands_are_listed_newest_first ["Q1" "Q2"]
        a_withdrawn_approval_takes_its_command_along ["S2" "A1"]
        counters_are_given_once ["C2"]
        signatures_of_people_are_kept ["C2"]
        eight_connections_lease_a_command_once ["C1" "R5"]
        lives_of_commands_read_like_the_memory_store ["C1" "C2" "C5" "S2"]
    }
    summaries {
        packages_are_counted_by_hosts ["Q2" "Q4"]
        packages_follow_every_change ["Q2" "D2"]
        the_trend_is_what_was_open_at_the_end_of_each_day ["Q2"]
    }
    log {
        what_was_written_is_never_rewritten ["D1" "S1"]
        derived_ids_follow_from_their_source ["B14"]
    }
    differential {
        histories_read_like_the_memory_store ["B1" "S1" "Q1" "Q2" "R1"]
        histories_survive_reopening_midway ["B1" "S1" "D5"]
    }
}
