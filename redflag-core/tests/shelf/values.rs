//! Broken rows: what is stored reads back as something else, or not at all.

use crate::support::wrapped::Twist;
use async_trait::async_trait;
use redflag_core::{
    agent::AgentHead,
    event::{Actor, RecordedEvent, Source},
    ids::EventId,
    names::Text,
    query::UpdateRow,
    state::VersionChange,
    store::{Expected, Record},
    words::AvailabilityKind,
};
use std::sync::Arc;

mutants! {
    a_store_whose_log_has_a_gap, LogWithAGap {}, ["the_state_is_the_fold_of_the_log", "the_log_is_read_in_slices"], {
        fn log(&self, mut found: Vec<RecordedEvent>) -> Vec<RecordedEvent> { if found.len() > 2 { found.remove(1); } found }
    }
    a_store_that_loses_history, LosesHistory {}, ["installed_versions_are_kept_as_history"], {
        fn history(&self, found: Vec<VersionChange>) -> Vec<VersionChange> { found.into_iter().skip(1).collect() }
    }
    a_store_that_ignores_revisions, IgnoresRevisions {}, ["a_record_is_written_only_as_expected", "one_of_twenty_racing_writers_wins", "a_lost_acknowledgement_of_a_record_is_found_by_reading"], {
        fn expected(&self, _: Expected, current: Option<u64>) -> Expected { current.map_or(Expected::Absent, Expected::Revision) }
    }
    a_store_that_is_not_durable, NotDurable {}, ["what_was_committed_survives_reopening", "a_batch_again_after_reopening_is_found", "records_survive_reopening_and_are_bounded", "histories_survive_reopening_midway"], {
        fn forgets(&self) -> bool { true }
    }
    /// VARCHAR(255).
    a_store_that_cuts_long_texts, CutsLongTexts {},
        ["values_at_their_limits_read_back_exactly", "a_report_with_every_field_at_its_limit_reads_back"], {
        fn update(&self, mut found: Option<UpdateRow>) -> Option<UpdateRow> {
            if let Some(row) = &mut found {
                let cut = |text: &Text| Text::lossy(&text.as_str().chars().take(255).collect::<String>());
                let candidate = Arc::make_mut(&mut row.state.offer.candidate);
                candidate.description = candidate.description.as_ref().map(cut);
            }
            found
        }
    }
    a_store_that_loses_the_sources_own_word, LosesTheSourcesWord {}, ["every_field_of_an_offer_reads_back_exactly"], {
        fn update(&self, mut found: Option<UpdateRow>) -> Option<UpdateRow> {
            if let Some(row) = &mut found { Arc::make_mut(&mut row.state.offer.candidate).severity_word = None; }
            found
        }
    }
    a_store_that_does_not_know_every_word, MissesAWord {}, ["every_word_is_accepted_by_the_schema"], {
        fn update(&self, mut found: Option<UpdateRow>) -> Option<UpdateRow> {
            if let Some(row) = &mut found && row.state.offer.availability.kind == AvailabilityKind::Blocked {
                row.state.offer.availability.kind = AvailabilityKind::Unknown;
            }
            found
        }
    }
    a_store_that_forgets_ignores_of_a_package, NarrowsIgnores {}, ["a_package_ignore_outlives_versions"], {
        fn update(&self, mut found: Option<UpdateRow>) -> Option<UpdateRow> {
            if let Some(row) = &mut found { row.state.package_ignore = None; }
            found
        }
    }
    a_store_that_forgets_a_waiting_emptiness, ForgetsQuarantine {}, ["a_collapse_waits_for_a_second_scan"], {
        fn agent(&self, mut found: Option<AgentHead>) -> Option<AgentHead> {
            if let Some(head) = &mut found { head.scopes.values_mut().for_each(|scope| scope.quarantined_at = None); }
            found
        }
    }
    /// `ORDER BY received_at`.
    a_store_whose_log_follows_the_clock, FollowsTheClock {}, ["times_are_data_and_order_nothing"], {
        fn log(&self, mut found: Vec<RecordedEvent>) -> Vec<RecordedEvent> { found.sort_by_key(|event| event.received_at); found }
    }
    a_store_that_rewrites_its_log, RewritesItsLog {}, ["what_was_written_is_never_rewritten"], {
        fn log(&self, mut found: Vec<RecordedEvent>) -> Vec<RecordedEvent> {
            if found.len() > 20 { found[0].actor = Actor::System(Text::lossy("cleaner")); }
            found
        }
    }
    /// Counts the ordinals of a decision from 1.
    a_store_that_derives_other_ids, DerivesOtherIds {}, ["derived_ids_follow_from_their_source"], {
        fn log(&self, mut found: Vec<RecordedEvent>) -> Vec<RecordedEvent> {
            let host = redflag_core::conformance::generate::agent(0);
            for recorded in found.iter_mut().filter(|recorded| recorded.source == Source::Decision) {
                recorded.event.id = EventId::of_batch(host, recorded.batch, recorded.index + 1);
            }
            found
        }
    }
    /// The empty text is none.
    a_store_that_takes_empty_for_none, TakesEmptyForNone {}, ["records_of_every_size_replace_each_other"], {
        fn record(&self, found: Option<Record>) -> Option<Record> { found.filter(|record| !record.value.is_empty()) }
    }
}
