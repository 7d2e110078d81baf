//! The kit can fail: a shelf of broken stores, each caught by a named check.
#![cfg(feature = "conformance")]
#![expect(clippy::unwrap_used, reason = "what fails in a test's helper fails the test")]

mod support;

use async_trait::async_trait;
use redflag_core::{
    MemoryStore,
    batch::{Batch, BatchRecord, RejectedItem},
    conformance::{CHECKS, Harness},
    event::RecordedEvent,
    query::{BatchPage, PageStart, UpdatePage, UpdateQuery, UpdateStats},
    state::VersionChange,
    store::{BatchStore, Expected, Mode, Store, StoreError},
    words::OutcomeKind,
    work::{Answer, SubmitBatch, UnitOfWork},
};
use std::sync::Arc;
use support::wrapped::{Twist, Wrapped};

struct Shelf<T>(fn() -> T);

#[async_trait]
impl<T: Twist + 'static> Harness for Shelf<T> {
    async fn fresh(&self) -> Arc<dyn Store> {
        Arc::new(Wrapped::new((self.0)()))
    }

    async fn reopen(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        if (self.0)().forgets() { self.fresh().await } else { store }
    }
}

/// The mutant fails exactly where it must; `caught_by` is the check that names the fault best.
async fn caught<T: Twist + 'static>(mutant: fn() -> T, caught_by: &str) {
    let check = CHECKS.iter().find(|check| check.name == caught_by).unwrap_or_else(|| panic!("no check is called {caught_by}"));
    check.run(&Shelf(mutant)).await.expect_err("the check let the mutant pass");
}

macro_rules! mutants {
    ($($(#[$doc:meta])* $test:ident, $name:ident, $check:literal, { $($body:tt)* })+) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        struct $name;

        #[async_trait]
        impl Twist for $name { $($body)* }

        #[tokio::test]
        async fn $test() {
            caught(|| $name, $check).await;
        }
    )+};
}

/// The work with the events of a submitted batch changed.
fn with_events(work: &UnitOfWork, change: impl FnOnce(&mut Vec<redflag_core::event::EventInput>)) -> UnitOfWork {
    let UnitOfWork::SubmitBatch(submit) = work else { return work.clone() };
    let mut events = submit.batch.events().to_vec();
    change(&mut events);
    let batch = Batch::new(submit.batch.agent(), submit.batch.id(), submit.batch.actor().clone(), events).unwrap();
    UnitOfWork::SubmitBatch(SubmitBatch { batch, ..submit.clone() })
}

mutants! {
    /// Loses the last event of a batch and answers as if it had not.
    a_store_that_drops_the_last_event, DropsTheLastEvent, "one_bad_event_harms_no_other", {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let answer = memory.run(work, Mode::Rehearse).await?;
            memory.run(&with_events(work, |events| drop(events.pop())), mode).await?;
            Ok(answer)
        }
    }
    /// Stops at the first bad event, as a database does whose transaction was aborted.
    a_store_that_loses_the_batch_with_its_bad_event, LosesTheBatch, "one_bad_event_harms_no_other", {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let answer = memory.run(work, Mode::Rehearse).await?;
            let bad = matches!(&answer, Answer::Batch(receipt) if receipt.rejected > 0);
            if bad { Ok(answer) } else { memory.run(work, mode).await }
        }
    }
    a_store_that_forgets_receipts, ForgetsReceipts, "a_batch_of_bad_events_keeps_every_reason", {
        fn batch(&self, _: Option<BatchRecord>) -> Option<BatchRecord> { None }
    }
    a_store_that_swallows_a_rejection, SwallowsARejection, "one_bad_event_harms_no_other", {
        fn rejections(&self, mut found: Vec<RejectedItem>) -> Vec<RejectedItem> { found.pop(); found }
    }
    a_store_that_swaps_outcomes, SwapsOutcomes, "a_batch_again_has_one_effect_and_one_receipt", {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let mut answer = memory.run(work, mode).await?;
            if let Answer::Batch(receipt) = &mut answer && let UnitOfWork::SubmitBatch(submit) = work {
                // The retry of a batch is told as if everything had been a duplicate.
                if submit.received_at != receipt.received_at { receipt.duplicate += std::mem::take(&mut receipt.accepted); }
            }
            Ok(answer)
        }
    }
    a_store_that_commits_a_rehearsal, CommitsARehearsal, "rehearsing_changes_nothing_and_answers_the_same", {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, _: Mode) -> Result<Answer, StoreError> {
            memory.run(work, Mode::Commit).await
        }
    }
    a_store_that_never_commits, NeverCommits, "a_report_is_stored_whole_and_visible_at_once", {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, _: Mode) -> Result<Answer, StoreError> {
            let enrols = matches!(work, UnitOfWork::EnrolAgent(_));
            memory.run(work, if enrols { Mode::Commit } else { Mode::Rehearse }).await
        }
    }
    /// An OFFSET one too small behind a cursor: the last row comes twice.
    a_store_whose_cursor_repeats_a_row, RepeatsARow, "every_row_stands_on_exactly_one_page", {
        fn updates(&self, mut found: UpdatePage, query: &UpdateQuery) -> UpdatePage {
            if matches!(query.start, PageStart::After(_)) && let Some(first) = found.items.first().cloned() {
                found.items.insert(0, first);
            }
            found
        }
    }
    a_store_that_misses_the_last_row_of_a_page, MissesARow, "every_row_stands_on_exactly_one_page", {
        fn updates(&self, mut found: UpdatePage, _: &UpdateQuery) -> UpdatePage { found.items.pop(); found }
    }
    a_store_whose_pages_are_unsorted, Unsorted, "every_row_stands_on_exactly_one_page", {
        fn updates(&self, mut found: UpdatePage, _: &UpdateQuery) -> UpdatePage { found.items.reverse(); found }
    }
    a_store_whose_counters_drift, CountersDrift, "counters_equal_a_recount", {
        fn stats(&self, mut found: UpdateStats) -> UpdateStats { found.total += u64::from(found.total > 3); found }
    }
    a_store_whose_log_has_a_gap, LogWithAGap, "the_state_is_the_fold_of_the_log", {
        fn log(&self, mut found: Vec<RecordedEvent>) -> Vec<RecordedEvent> { if found.len() > 2 { found.remove(1); } found }
    }
    a_store_that_loses_history, LosesHistory, "installed_versions_are_kept_as_history", {
        fn history(&self, found: Vec<VersionChange>) -> Vec<VersionChange> { found.into_iter().skip(1).collect() }
    }
    a_store_that_lists_oldest_batches_first, OldestFirst, "batches_are_listed_newest_first", {
        fn batches(&self, mut found: BatchPage) -> BatchPage { found.items.reverse(); found }
    }
    a_store_that_ignores_revisions, IgnoresRevisions, "a_record_is_written_only_as_expected", {
        fn expected(&self, _: Expected, current: Option<u64>) -> Expected { current.map_or(Expected::Absent, Expected::Revision) }
    }
    a_store_that_is_not_durable, NotDurable, "what_was_committed_survives_reopening", {
        fn forgets(&self) -> bool { true }
    }
    /// Checks the id of a batch and forgets its content.
    a_store_that_answers_other_content_with_the_old_receipt, AnswersOtherContent, "a_batch_id_with_other_content_is_refused", {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            if let UnitOfWork::SubmitBatch(submit) = work
                && let Some(known) = memory.batch(submit.batch.agent(), submit.batch.id()).await?
            {
                return Ok(Answer::Batch(known.receipt));
            }
            memory.run(work, mode).await
        }
    }
    /// Looks for a known batch before it takes the lock: two connections both find none.
    a_store_that_renumbers_retries, RenumbersRetries, "one_batch_from_eight_connections_has_one_effect", {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let mut answer = memory.run(work, mode).await?;
            if let (Answer::Batch(receipt), UnitOfWork::SubmitBatch(submit)) = (&mut answer, work)
                && submit.received_at != receipt.received_at
            {
                receipt.number += 1;
            }
            Ok(answer)
        }
    }
}

#[test]
fn outcome_words_are_those_of_the_contract() {
    assert_eq!(OutcomeKind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>(), ["accepted", "duplicate", "rejected"]);
}
