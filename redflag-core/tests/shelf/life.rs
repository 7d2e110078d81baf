//! Broken lives of a log: a feed that lies, agents that do not quite go, retention that takes too much, rebuilds that mend nothing.

use crate::support::wrapped::Twist;
use async_trait::async_trait;
use redflag_core::{
    MemoryStore,
    batch::BatchRecord,
    counters::OpenChange,
    feed::{FeedEntry, FeedPosition},
    ids::Digest,
    query::{PackagePage, PackageQuery, TrendPoint, UpdateRow},
    rebuild::{Derived, Rebuild},
    removal::{RemoveAgent, RemovedAgent},
    restore::{Piece, Restore},
    retention::Prune,
    state::PackageState,
    store::{BatchStore, EventStore, Mode, StateStore, StoreError},
    work::{Answer, UnitOfWork},
};
use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering::Relaxed},
};

mutants! {
    a_feed_that_skips_its_first_entry, SkipsFirst {},
        ["every_batch_stands_in_the_feed_once", "what_writes_no_batch_stands_not_in_the_feed", "a_waiting_reader_is_woken"], {
        async fn feed(&self, memory: &MemoryStore, after: FeedPosition, limit: u32) -> Result<Vec<FeedEntry>, StoreError> {
            memory.feed(FeedPosition(after.0.max(1)), limit).await
        }
    }
    /// By agent, as an index leads.
    a_feed_in_the_order_of_its_agents, ByAgent {}, ["the_feed_stands_in_commit_order"], {
        async fn feed(&self, memory: &MemoryStore, after: FeedPosition, limit: u32) -> Result<Vec<FeedEntry>, StoreError> {
            let mut all = memory.feed(FeedPosition::START, u32::MAX).await?;
            all.sort_by_key(|entry| entry.agent);
            all.iter_mut().zip(1..).for_each(|(entry, position)| entry.position = FeedPosition(position));
            Ok(all.into_iter().filter(|entry| entry.position > after).take(limit as usize).collect())
        }
    }
    /// Numbers are taken when a unit of work begins: every second batch becomes visible only after the one behind it.
    a_feed_that_fills_gaps_later, FillsGaps { hidden: AtomicU64 }, ["nothing_appears_below_a_position_seen"], {
        async fn feed(&self, memory: &MemoryStore, after: FeedPosition, limit: u32) -> Result<Vec<FeedEntry>, StoreError> {
            let mut all = memory.feed(FeedPosition::START, u32::MAX).await?;
            let newest = all.len() as u64;
            let hidden = self.hidden.swap(newest, Relaxed);
            if newest > hidden + 1 { all.retain(|entry| entry.position.0 != newest - 1); }
            Ok(all.into_iter().filter(|entry| entry.position > after).take(limit as usize).collect())
        }
    }
    a_store_that_wakes_nobody, WakesNobody {}, ["a_waiting_reader_is_woken", "nothing_appears_below_a_position_seen"], {
        async fn feed_grown(&self, memory: &MemoryStore, after: FeedPosition) -> Result<FeedPosition, StoreError> {
            match memory.feed(after, 1).await?.pop() {
                Some(entry) => Ok(entry.position),
                None => std::future::pending().await,
            }
        }
    }
    a_store_that_counts_positions_from_zero, PositionsFromZero {},
        ["batches_of_an_agent_are_found_by_number_and_position", "a_bulk_decision_is_about_what_was_shown"], {
        fn batches_until(&self, found: u64) -> u64 { found.saturating_sub(1) }
    }
    a_store_whose_batches_begin_one_event_late, BeginsLate {},
        ["batches_of_an_agent_are_found_by_number_and_position", "the_past_reads_as_it_was"], {
        fn agent_batches(&self, mut found: Vec<BatchRecord>) -> Vec<BatchRecord> {
            found.iter_mut().for_each(|record| record.first_sequence += 1);
            found
        }
    }
    /// The rows go, the foreign key of one table was forgotten.
    a_store_that_keeps_states_of_removed_agents, KeepsStates { kept: Mutex<Option<UpdateRow>> },
        ["a_removed_agent_leaves_nothing_but_its_tombstones"], {
        fn update(&self, found: Option<UpdateRow>) -> Option<UpdateRow> {
            let mut kept = self.kept.lock().unwrap();
            if found.is_some() { kept.clone_from(&found); }
            kept.clone()
        }
    }
    a_store_that_forgets_who_was_removed, ForgetsRemoved {},
        ["a_removed_agent_leaves_nothing_but_its_tombstones", "a_removed_agent_never_comes_back"], {
        fn removed_agents(&self, _: Vec<RemovedAgent>) -> Vec<RemovedAgent> { Vec::new() }
    }
    a_store_that_enrols_removed_agents_again, EnrolsAgain {}, ["a_removed_agent_never_comes_back"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let answer = memory.run(work, mode).await;
            if matches!(work, UnitOfWork::EnrolAgent(_)) { Ok(Answer::Enrolled) } else { answer }
        }
    }
    /// Trusts what was read before the transaction.
    a_store_that_works_on_a_stale_stream, WorksOnStale {}, ["work_on_a_stream_that_moved_is_refused"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let current = match work {
                UnitOfWork::Rebuild(rebuild) => memory.derived(rebuild.agent).await?.map(|derived| derived.sequence),
                _ => None,
            };
            match (work, current) {
                (UnitOfWork::Rebuild(rebuild), Some(sequence)) => {
                    let derived = Derived { sequence, ..rebuild.derived.clone() };
                    memory.run(&UnitOfWork::Rebuild(Rebuild { derived, ..rebuild.clone() }), mode).await
                }
                _ => memory.run(work, mode).await,
            }
        }
    }
    a_store_whose_retention_takes_one_batch_too_many, TakesTooMany {},
        ["retention_takes_the_start_of_a_log_and_nothing_else"], {
        fn agent_batches(&self, mut found: Vec<BatchRecord>) -> Vec<BatchRecord> {
            if found.first().is_some_and(|record| record.receipt.number > 1) { found.remove(0); }
            found
        }
    }
    a_store_whose_retention_loses_the_bases, LosesBases {},
        ["what_was_pruned_is_forgotten_and_says_so", "retention_takes_the_start_of_a_log_and_nothing_else"], {
        fn bases(&self, found: Vec<PackageState>) -> Vec<PackageState> { found.into_iter().skip(1).collect() }
    }
    /// Keeps the digest of the content instead of that of the record.
    a_store_with_other_digests_on_its_tombstones, OtherDigests {},
        ["retention_takes_the_start_of_a_log_and_nothing_else", "a_removed_agent_leaves_nothing_but_its_tombstones"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let mut work = work.clone();
            let other = |tombstone: &mut redflag_core::feed::Tombstone| tombstone.digest = Digest::of("other", &[]);
            match &mut work {
                UnitOfWork::RemoveAgent(RemoveAgent { tombstones, .. }) | UnitOfWork::Prune(Prune { tombstones, .. }) => {
                    tombstones.iter_mut().for_each(other);
                }
                _ => {}
            }
            memory.run(&work, mode).await
        }
    }
    a_store_whose_rebuild_mends_nothing, MendsNothing {}, ["a_rebuild_mends_what_differs_from_the_log"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let mode = if matches!(work, UnitOfWork::Rebuild(_)) { Mode::Rehearse } else { mode };
            memory.run(work, mode).await
        }
    }
    a_store_that_shows_only_a_part_of_what_follows, ShowsAPart {}, ["a_rebuild_mends_what_differs_from_the_log"], {
        fn derived(&self, mut found: Derived) -> Derived {
            found.states.truncate(3);
            found
        }
    }
    a_store_that_restores_reports_backwards, RestoresBackwards {}, ["an_export_moves_everything"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let mut work = work.clone();
            if let UnitOfWork::Restore(Restore { piece: Piece::Reports(reports), .. }) = &mut work { reports.reverse(); }
            memory.run(&work, mode).await
        }
    }
    /// Takes slices as they come, numbering them itself.
    a_store_that_restores_whatever_comes, RestoresAnything {}, ["an_import_takes_nothing_that_does_not_fit"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            if matches!(work, UnitOfWork::Restore(_)) { return Ok(Answer::Restored); }
            memory.run(work, mode).await
        }
        fn namespaces(&self, _: Vec<String>) -> Vec<String> { Vec::new() }
        fn agents(&self, mut found: redflag_core::query::AgentPage) -> redflag_core::query::AgentPage {
            found.total = 0;
            found
        }
    }
    a_store_that_counts_updates_for_hosts, CountsUpdates {}, ["packages_are_counted_by_hosts", "packages_follow_every_change"], {
        fn packages(&self, mut found: PackagePage, _: &PackageQuery) -> PackagePage {
            found.items.iter_mut().for_each(|row| row.hosts += row.security + 1);
            found
        }
    }
    /// Counts the changes of the days asked for, and forgets what was open before.
    a_trend_that_begins_at_nothing, BeginsAtNothing {}, ["the_trend_is_what_was_open_at_the_end_of_each_day"], {
        fn trend(&self, mut found: Vec<TrendPoint>) -> Vec<TrendPoint> {
            let before = found.first().map(|point| point.open.clone()).unwrap_or_default();
            for point in &mut found {
                for (severity, count) in &mut point.open { *count -= before.get(severity).copied().unwrap_or(0).min(*count); }
            }
            found
        }
    }
    a_store_that_lists_empty_namespaces, ListsEmpty { known: Mutex<Vec<String>> }, ["namespaces_are_listed_in_order"], {
        fn namespaces(&self, found: Vec<String>) -> Vec<String> {
            let mut known = self.known.lock().unwrap();
            for namespace in &found { if !known.contains(namespace) { known.push(namespace.clone()); } }
            if found.len() == 1 { known[1..2].to_vec() } else { found }
        }
    }
    /// A difference of a day is kept although it came to nothing.
    a_store_that_keeps_empty_days, KeepsEmptyDays {}, ["a_rebuild_mends_what_differs_from_the_log"], {
        fn derived(&self, mut found: Derived) -> Derived {
            let empty = found.open_changes.first().map(|change| OpenChange { difference: 0, ..*change });
            found.open_changes.extend(empty);
            found
        }
    }
}
