//! Broken reports: facts, scopes, numbers and answers.

use super::{with_report, with_scopes};
use crate::support::wrapped::Twist;
use async_trait::async_trait;
use redflag_core::{
    MemoryStore,
    report::{Fact, Report, ReportStatus, ScopeContent},
    store::{BatchStore, EventStore, Mode, StoreError},
    words::ScanResult,
    work::{Answer, RecordReport, UnitOfWork},
};

/// The report of a unit of work.
fn report(work: &UnitOfWork) -> Option<&RecordReport> {
    match work {
        UnitOfWork::RecordReport(record) => Some(record),
        _ => None,
    }
}

/// Keeps the first offers of every scope.
fn cut(work: &UnitOfWork, most: usize) -> UnitOfWork {
    with_scopes(work, |scope| {
        if let ScopeContent::Facts { offers, .. } = &mut scope.content {
            offers.truncate(most);
        }
    })
}

mutants! {
    a_store_that_judges_a_known_report_again, JudgesKnownReports {}, ["a_report_again_gets_the_stored_answer"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let Some(record) = report(work) else { return memory.run(work, mode).await };
            let known = memory.reports(record.agent, u32::MAX).await?.iter().any(|stored| stored.report_id == record.report.report_id);
            let mut answer = memory.run(work, mode).await?;
            if let (true, Answer::Report(answer)) = (known, &mut answer) { answer.status = ReportStatus::Unchanged; }
            Ok(answer)
        }
    }
    a_store_that_does_not_compare_a_known_report, DoesNotCompare {}, ["a_report_id_with_other_content_is_refused"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let Some(record) = report(work) else { return memory.run(work, mode).await };
            let stored = memory.reports(record.agent, u32::MAX).await?;
            match stored.into_iter().find(|stored| stored.report_id == record.report.report_id) {
                Some(stored) => Ok(Answer::Report(stored.answer)),
                None => memory.run(work, mode).await,
            }
        }
    }
    a_store_that_loses_gone_entries, LosesGone {}, ["gone_packages_close_by_what_is_installed_now"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let answer = memory.run(work, Mode::Rehearse).await?;
            let without = with_scopes(work, |scope| if let ScopeContent::Facts { gone, .. } = &mut scope.content { gone.clear(); });
            memory.run(&without, mode).await?;
            Ok(answer)
        }
    }
    a_store_that_trusts_every_scan, TrustsEveryScan {}, ["partial_and_failed_scans_close_nothing"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            memory.run(&with_scopes(work, |scope| scope.result = ScanResult::Complete), mode).await
        }
    }
    a_store_that_drops_bad_facts, DropsBadFacts {}, ["a_rejected_fact_shields_its_package"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let answer = memory.run(work, Mode::Rehearse).await?;
            let valid = with_scopes(work, |scope| if let ScopeContent::Facts { offers, .. } = &mut scope.content {
                offers.retain(|fact| matches!(fact, Fact::Valid(..)));
            });
            memory.run(&valid, mode).await?;
            Ok(answer)
        }
    }
    a_store_that_takes_reports_as_they_come, IgnoresSequences {}, ["a_stale_report_overwrites_nothing"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            memory.run(&with_report(work, |report| report.sequence = None), mode).await
        }
    }
    /// Numbers of reports in a floating point column.
    a_store_that_rounds_sequences, RoundsSequences {}, ["report_sequences_reach_their_end"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let round = |report: &mut Report| report.sequence = report.sequence.map(|number| number & !1);
            memory.run(&with_report(work, round), mode).await
        }
    }
    a_store_that_writes_only_the_first_batch, OnlyTheFirstBatch {},
        ["how_a_report_is_cut_is_unobservable", "a_report_of_two_thousand_batches_is_one"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let answer = memory.run(work, Mode::Rehearse).await?;
            let most = report(work).map_or(0, |record| record.batch_events as usize);
            memory.run(&cut(work, most), mode).await?;
            Ok(answer)
        }
    }
    a_store_that_cuts_large_reports, CutsLargeReports {}, ["a_large_report_of_three_managers_arrives_whole"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let answer = memory.run(work, Mode::Rehearse).await?;
            memory.run(&cut(work, 2_000), mode).await?;
            Ok(answer)
        }
    }
}
