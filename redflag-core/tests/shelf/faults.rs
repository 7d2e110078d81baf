//! Stores that break when something else does: lost answers, dropped calls, rollbacks, readers in between.

use super::with_events;
use crate::support::wrapped::Twist;
use async_trait::async_trait;
use redflag_core::{
    MemoryStore,
    event::{EventInput, RecordedEvent},
    ids::BatchId,
    query::{UpdatePage, UpdateQuery},
    store::{BatchStore, Mode, StoreError},
    work::{Answer, Decide, UnitOfWork},
};
use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};
use tokio::task::yield_now;

mutants! {
    /// Does not look for the batch of a decision before it judges it.
    a_store_that_decides_again, DecidesAgain {}, ["a_lost_acknowledgement_is_found_by_asking_again"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            if let UnitOfWork::Decide(decide) = work && memory.batch(decide.agent, decide.batch).await?.is_some() {
                let batch = BatchId::from_uuid(uuid::Uuid::from_u128(decide.batch.as_uuid().as_u128() ^ 1 << 77)).unwrap();
                return memory.run(&UnitOfWork::Decide(Decide { batch, ..decide.clone() }), mode).await;
            }
            memory.run(work, mode).await
        }
    }
    /// Answers, and writes when the next call comes.
    a_store_that_acknowledges_before_it_writes, AcknowledgesFirst { waiting: Mutex<Option<UnitOfWork>> },
        ["a_lost_acknowledgement_is_found_by_asking_again", "a_report_is_stored_whole_and_visible_at_once"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let waiting = self.waiting.lock().unwrap().take();
            if let Some(waiting) = waiting { memory.run(&waiting, Mode::Commit).await?; }
            let answer = memory.run(work, Mode::Rehearse).await?;
            if mode == Mode::Commit { *self.waiting.lock().unwrap() = Some(work.clone()); }
            Ok(answer)
        }
    }
    /// Takes numbers from a sequence, which a rollback does not put back.
    a_store_whose_rollbacks_use_up_numbers, UsesUpNumbers { rehearsed: AtomicU64 },
        ["work_that_is_judged_twice_has_one_effect", "rehearsing_changes_nothing_and_answers_the_same"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let mut answer = memory.run(work, mode).await?;
            if let Answer::Batch(receipt) = &mut answer { receipt.number += self.rehearsed.load(Relaxed); }
            if mode == Mode::Rehearse { self.rehearsed.fetch_add(1, Relaxed); }
            Ok(answer)
        }
    }
    /// What was committed comes into sight in two steps; whoever drops the call between them leaves it so.
    a_store_that_shows_its_writes_in_two_steps, TwoSteps { between: AtomicBool },
        [
            "a_dropped_batch_is_stored_whole_or_not_at_all",
            "a_dropped_report_is_stored_whole_or_not_at_all",
            "a_page_and_its_counts_are_of_one_moment"
        ], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let answer = memory.run(work, mode).await?;
            if !matches!(work, UnitOfWork::EnrolAgent(_)) {
                self.between.store(true, Relaxed);
                yield_now().await;
            }
            self.between.store(false, Relaxed);
            Ok(answer)
        }
        fn updates(&self, mut found: UpdatePage, _: &UpdateQuery) -> UpdatePage {
            if self.between.load(Relaxed) { found.items.truncate(found.items.len() / 2); }
            found
        }
    }
    /// Commits states before it commits their events.
    a_store_whose_log_lags_behind, LogLags { between: AtomicBool }, ["a_state_is_never_seen_without_its_events"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let answer = memory.run(work, mode).await?;
            self.between.store(true, Relaxed);
            yield_now().await;
            self.between.store(false, Relaxed);
            Ok(answer)
        }
        fn events(&self, mut found: Vec<RecordedEvent>) -> Vec<RecordedEvent> {
            if self.between.load(Relaxed) { found.pop(); }
            found
        }
    }
    /// Keeps the numbers of new names in a cache that a rollback does not clear: the next names get them.
    a_store_that_remembers_names_of_a_rollback, StaleNames { stale: Mutex<Option<EventInput>> }, ["names_of_a_rehearsal_are_forgotten"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let UnitOfWork::SubmitBatch(submit) = work else { return memory.run(work, mode).await };
            let answer = memory.run(work, Mode::Rehearse).await?;
            if mode == Mode::Rehearse {
                *self.stale.lock().unwrap() = submit.batch.events().first().cloned();
                return Ok(answer);
            }
            let stale = self.stale.lock().unwrap().take();
            let misnamed = |events: &mut Vec<EventInput>| if let (Some(first), Some(stale)) = (events.first_mut(), stale) {
                (first.change, first.package_type) = (stale.change, stale.package_type);
            };
            memory.run(&with_events(work, misnamed), mode).await?;
            Ok(answer)
        }
    }
    /// The same, for work that core refused.
    a_store_that_remembers_names_of_refused_work, RefusedNames { stale: Mutex<Option<EventInput>> }, ["names_of_refused_work_are_forgotten"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let UnitOfWork::SubmitBatch(submit) = work else { return memory.run(work, mode).await };
            let answer = memory.run(work, Mode::Rehearse).await;
            if answer.is_err() {
                *self.stale.lock().unwrap() = submit.batch.events().first().cloned();
                return answer;
            }
            let stale = self.stale.lock().unwrap().take();
            let misnamed = |events: &mut Vec<EventInput>| if let (Some(first), Some(stale)) = (events.first_mut(), stale) {
                (first.change, first.package_type) = (stale.change, stale.package_type);
            };
            memory.run(&with_events(work, misnamed), mode).await?;
            answer
        }
    }
}
