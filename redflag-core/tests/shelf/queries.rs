//! Broken lists: rows, orders, filters, cursors and counts.

use crate::support::wrapped::Twist;
use async_trait::async_trait;
use redflag_core::{
    query::{AgentPage, BatchPage, PageNumber, PageStart, UpdateFilter, UpdatePage, UpdateQuery, UpdateStats},
    store::Record,
};
use std::sync::Mutex;

mutants! {
    /// An OFFSET one too small behind a cursor: the last row comes twice.
    a_store_whose_cursor_repeats_a_row, RepeatsARow {}, ["every_row_stands_on_exactly_one_page"], {
        fn updates(&self, mut found: UpdatePage, query: &UpdateQuery) -> UpdatePage {
            if matches!(query.start, PageStart::After(_)) && let Some(first) = found.items.first().cloned() {
                found.items.insert(0, first);
            }
            found
        }
    }
    a_store_that_misses_the_last_row_of_a_page, MissesARow {}, ["every_row_stands_on_exactly_one_page"], {
        fn updates(&self, mut found: UpdatePage, _: &UpdateQuery) -> UpdatePage { found.items.pop(); found }
    }
    a_store_whose_pages_are_unsorted, Unsorted {}, ["every_row_stands_on_exactly_one_page"], {
        fn updates(&self, mut found: UpdatePage, _: &UpdateQuery) -> UpdatePage { found.items.reverse(); found }
    }
    a_store_whose_counters_drift, CountersDrift {}, ["counters_equal_a_recount"], {
        fn stats(&self, mut found: UpdateStats) -> UpdateStats { found.total += u64::from(found.total > 3); found }
    }
    a_store_that_lists_oldest_batches_first, OldestFirst {}, ["batches_are_listed_newest_first"], {
        fn batches(&self, mut found: BatchPage) -> BatchPage { found.items.reverse(); found }
    }
    a_store_that_counts_an_agent_too_many, CountsAnAgentTooMany {}, ["a_fresh_store_is_empty", "agents_are_listed_in_every_order"], {
        fn agents(&self, mut found: AgentPage) -> AgentPage { found.total += 1; found }
    }
    a_store_that_ignores_part_of_a_filter, IgnoresSeverity {}, ["every_filter_agrees_with_the_reference"], {
        fn filter(&self, filter: &UpdateFilter) -> UpdateFilter { UpdateFilter { severity: None, ..filter.clone() } }
    }
    /// LIKE without an escape.
    a_store_whose_search_has_wildcards, WildcardSearch {}, ["a_search_is_literal"], {
        fn filter(&self, filter: &UpdateFilter) -> UpdateFilter {
            let search = filter.search.clone().filter(|search| search.as_str().chars().any(|letter| !"%_".contains(letter)));
            UpdateFilter { search, ..filter.clone() }
        }
    }
    a_store_that_takes_any_cursor, TakesAnyCursor {}, ["a_cursor_serves_only_its_query"], {
        fn asked(&self, query: &UpdateQuery) -> UpdateQuery {
            let start = if query.after().is_ok() { query.start.clone() } else { PageStart::default() };
            UpdateQuery { start, ..query.clone() }
        }
    }
    /// Reads the page behind a cursor by OFFSET.
    a_store_whose_cursors_are_offsets, OffsetCursors { pages: Mutex<u32> },
        ["pages_by_cursor_survive_writes", "a_walk_among_writers_sees_every_steady_row_once"], {
        fn asked(&self, query: &UpdateQuery) -> UpdateQuery {
            let mut pages = self.pages.lock().unwrap();
            *pages = if matches!(query.start, PageStart::After(_)) { *pages + 1 } else { 1 };
            let start = if *pages > 1 { PageStart::Number(PageNumber::new(*pages).unwrap()) } else { query.start.clone() };
            UpdateQuery { start, ..query.clone() }
        }
    }
    /// NULLS LAST in place of a missing architecture as the empty text.
    a_store_that_sorts_a_missing_architecture_last, MissingLast {}, ["equal_names_are_told_apart_in_every_order"], {
        fn updates(&self, mut found: UpdatePage, _: &UpdateQuery) -> UpdatePage {
            found.items.sort_by_key(|row| row.state.package.arch.is_none());
            found
        }
    }
    /// A collation of people in place of the order of bytes.
    a_store_that_sorts_names_like_a_dictionary, DictionaryOrder {}, ["equal_names_are_told_apart_in_every_order"], {
        fn updates(&self, mut found: UpdatePage, query: &UpdateQuery) -> UpdatePage {
            if query.sort.to_string() == "name" {
                found.items.sort_by_key(|row| row.state.package.name.as_str().to_lowercase());
            }
            found
        }
    }
    /// Counts in another transaction than the rows.
    a_store_whose_pages_have_older_counts, OlderCounts { last: Mutex<UpdateStats> }, ["a_page_and_its_counts_are_of_one_moment"], {
        fn updates(&self, mut found: UpdatePage, _: &UpdateQuery) -> UpdatePage {
            std::mem::swap(&mut found.stats, &mut self.last.lock().unwrap());
            found
        }
    }
    a_store_that_lists_records_backwards, RecordsBackwards {}, ["records_are_listed_in_key_order"], {
        fn records(&self, mut found: Vec<(String, Record)>) -> Vec<(String, Record)> { found.reverse(); found }
    }
}
