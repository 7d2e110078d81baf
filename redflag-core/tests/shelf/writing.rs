//! Broken writers: batches, ids and decisions.

use super::with_events;
use crate::support::wrapped::Twist;
use async_trait::async_trait;
use redflag_core::{
    MemoryStore,
    batch::{Batch, BatchRecord, RejectedItem},
    conformance::generate::{Rng, agent, at, batch_id, discovered, enrolment, offers},
    event::{Actor, EventInput},
    ids::{BatchId, EventId},
    names::Text,
    state::Standing,
    store::{BatchStore, Mode, StateStore, StoreError},
    work::{Answer, Decide, Decision, SubmitBatch, UnitOfWork, Withheld},
};

/// Writes a batch that nobody submitted.
async fn scribble(memory: &MemoryStore, work: &UnitOfWork) -> Result<(), StoreError> {
    let offers = offers(&mut Rng::new(1), "apt", 1).into_iter();
    let events = offers.map(|offer| discovered(EventId::of_batch(agent(0), batch_id(1), 1), "no manager", offer)).collect();
    let batch = Batch::new(work.needs().agent, batch_id(4_242), Actor::Agent, events)?;
    let submit = SubmitBatch { batch, received_at: at(1), withheld: Withheld::default() };
    memory.run(&UnitOfWork::SubmitBatch(submit), Mode::Commit).await.map(|_| ())
}

mutants! {
    /// Loses the last event of a batch and answers as if it had not.
    a_store_that_drops_the_last_event, DropsTheLastEvent {}, ["one_bad_event_harms_no_other", "histories_read_like_the_memory_store"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let answer = memory.run(work, Mode::Rehearse).await?;
            memory.run(&with_events(work, |events| drop(events.pop())), mode).await?;
            Ok(answer)
        }
    }
    a_store_whose_ignores_never_end, KeepsIgnores {}, ["an_ignore_that_ran_out_asks_again"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let mode = if matches!(work, UnitOfWork::EndIgnores(_)) { Mode::Rehearse } else { mode };
            memory.run(work, mode).await
        }
    }
    /// Stops at the first bad event, as a database does whose transaction was aborted.
    a_store_that_loses_the_batch_with_its_bad_event, LosesTheBatch {}, ["one_bad_event_harms_no_other"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let answer = memory.run(work, Mode::Rehearse).await?;
            let bad = matches!(&answer, Answer::Batch(receipt) if receipt.rejected > 0);
            if bad { Ok(answer) } else { memory.run(work, mode).await }
        }
    }
    a_store_that_forgets_receipts, ForgetsReceipts {}, ["a_batch_of_bad_events_keeps_every_reason"], {
        fn batch(&self, _: Option<BatchRecord>) -> Option<BatchRecord> { None }
    }
    a_store_that_swallows_a_rejection, SwallowsARejection {}, ["one_bad_event_harms_no_other"], {
        fn rejections(&self, mut found: Vec<RejectedItem>) -> Vec<RejectedItem> { found.pop(); found }
    }
    a_store_that_swaps_outcomes, SwapsOutcomes {}, ["a_batch_again_has_one_effect_and_one_receipt"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let mut answer = memory.run(work, mode).await?;
            if let Answer::Batch(receipt) = &mut answer && let UnitOfWork::SubmitBatch(submit) = work {
                // The retry of a batch is told as if everything had been a duplicate.
                if submit.received_at != receipt.received_at { receipt.duplicate += std::mem::take(&mut receipt.accepted); }
            }
            Ok(answer)
        }
    }
    a_store_that_commits_a_rehearsal, CommitsARehearsal {}, ["rehearsing_changes_nothing_and_answers_the_same"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, _: Mode) -> Result<Answer, StoreError> {
            memory.run(work, Mode::Commit).await
        }
    }
    a_store_that_never_commits, NeverCommits {}, ["a_report_is_stored_whole_and_visible_at_once", "reports_in_opposite_order_and_a_decision_do_not_deadlock"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, _: Mode) -> Result<Answer, StoreError> {
            let enrols = matches!(work, UnitOfWork::EnrolAgent(_));
            memory.run(work, if enrols { Mode::Commit } else { Mode::Rehearse }).await
        }
    }
    /// Checks the id of a batch and forgets its content.
    a_store_that_answers_other_content_with_the_old_receipt, AnswersOtherContent {}, ["a_batch_id_with_other_content_is_refused"], {
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
    a_store_that_renumbers_retries, RenumbersRetries {}, ["one_batch_from_eight_connections_has_one_effect"], {
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
    /// Writes the events of a batch in another order than they came in.
    a_store_that_judges_backwards, JudgesBackwards {}, ["every_event_sees_the_ones_before_it"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            memory.run(&with_events(work, |events| events.reverse()), mode).await
        }
    }
    a_store_that_numbers_empty_batches, NumbersEmptyBatches {}, ["an_empty_batch_writes_nothing"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let mut answer = memory.run(work, mode).await?;
            if let Answer::Batch(receipt) = &mut answer && receipt.submitted == 0 { receipt.number = 1; }
            Ok(answer)
        }
    }
    /// A unique index over batch ids that forgot the agent.
    a_store_whose_batch_ids_are_global, GlobalBatchIds {}, ["a_batch_id_is_scoped_to_its_agent", "agents_do_not_disturb_each_other"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            if let UnitOfWork::SubmitBatch(submit) = work {
                for host in 0..8 {
                    if let Some(known) = memory.batch(agent(host), submit.batch.id()).await? { return Ok(Answer::Batch(known.receipt)); }
                }
            }
            memory.run(work, mode).await
        }
    }
    /// Loses the event ids that callers chose: every one looks new.
    a_store_that_forgets_event_ids, ForgetsEventIds {}, ["event_ids_are_known_across_batches"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let UnitOfWork::SubmitBatch(submit) = work else { return memory.run(work, mode).await };
            let (host, batch) = (submit.batch.agent(), submit.batch.id());
            let renamed = |(index, event): (u32, &mut EventInput)| event.event_id = EventId::of_batch(host, batch, index);
            memory.run(&with_events(work, |events| (0..).zip(events).for_each(renamed)), mode).await
        }
    }
    a_store_that_lets_a_stranger_take_over, LetsTakeOver {}, ["enrolment_is_kept_and_its_retry_changes_nothing"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let known = memory.agent(work.needs().agent).await?.is_some();
            if known && matches!(work, UnitOfWork::EnrolAgent(_)) { Ok(Answer::Enrolled) } else { memory.run(work, mode).await }
        }
    }
    a_store_that_adopts_strangers, AdoptsStrangers {}, ["an_unknown_agent_is_refused_everywhere"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let stranger = work.needs().agent;
            if memory.agent(stranger).await?.is_none() {
                let enrolment = redflag_core::agent::Enrolment { agent: stranger, ..enrolment(0) };
                memory.run(&UnitOfWork::EnrolAgent(enrolment), Mode::Commit).await?;
            }
            memory.run(work, mode).await
        }
    }
    a_store_that_forgets_who_decided, ForgetsWhoDecided {}, ["a_decision_is_an_event_with_its_operator"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let UnitOfWork::Decide(decide) = work else { return memory.run(work, mode).await };
            memory.run(&UnitOfWork::Decide(Decide { operator: Text::lossy("somebody"), ..decide.clone() }), mode).await
        }
    }
    /// Binds an approval to whatever is offered now.
    a_store_that_approves_what_nobody_saw, ApprovesUnseen {},
        ["a_decision_about_another_offer_is_rejected", "a_bulk_decision_is_about_what_was_shown"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let UnitOfWork::Decide(decide) = work else { return memory.run(work, mode).await };
            let mut decide = decide.clone();
            for (package, decision) in &mut decide.decisions {
                let now = memory.states(decide.agent).into_iter().find(|state| state.package == *package);
                if let (Decision::Approve { offer_digest, .. }, Some(now)) = (decision, now) { *offer_digest = now.offer_digest(); }
            }
            memory.run(&UnitOfWork::Decide(decide), mode).await
        }
    }
    a_store_that_notes_vain_decisions, NotesVainDecisions {}, ["a_decision_without_effect_leaves_no_trace"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let answer = memory.run(work, mode).await?;
            if matches!(&answer, Answer::Decision(receipt) if receipt.number == 0) { scribble(memory, work).await?; }
            Ok(answer)
        }
    }
    a_store_that_writes_for_unchanged_reports, WritesForNothing {}, ["an_unchanged_report_writes_no_event"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let answer = memory.run(work, mode).await?;
            if matches!(&answer, Answer::Report(answer) if answer.batches == 0) { scribble(memory, work).await?; }
            Ok(answer)
        }
    }
    /// A scan replaces rows, and with them what was decided.
    a_store_whose_scans_reset_decisions, ScansResetDecisions {}, ["decisions_survive_the_same_scan_and_not_a_new_version"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let answer = memory.run(work, mode).await?;
            if let UnitOfWork::RecordReport(record) = work {
                let approved = memory.states(record.agent).into_iter().filter(|state| matches!(state.standing, Standing::Approved(_)));
                let decisions = approved.map(|state| (state.package, Decision::WithdrawApproval { comment: None })).collect();
                let batch = BatchId::of_report(record.agent, record.report.report_id, 9_999);
                let reset = Decide { agent: record.agent, batch, operator: Text::lossy("scan"), decisions, received_at: record.received_at };
                memory.run(&UnitOfWork::Decide(reset), Mode::Commit).await?;
            }
            Ok(answer)
        }
    }
    /// Answers with what it judged before it held the lock.
    a_store_that_judges_before_it_locks, JudgesBeforeItLocks {}, ["batches_of_one_agent_serialise"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let answer = memory.run(work, Mode::Rehearse).await?;
            tokio::task::yield_now().await;
            memory.run(work, mode).await?;
            Ok(answer)
        }
    }
    /// Rows beyond what one statement can bind are cut off.
    a_store_that_cuts_large_batches, CutsLargeBatches {}, ["a_batch_of_the_largest_size_is_one"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let answer = memory.run(work, Mode::Rehearse).await?;
            let most = |events: &mut Vec<EventInput>| events.truncate(9_998);
            memory.run(&with_events(work, most), mode).await?;
            Ok(answer)
        }
    }
    a_store_that_cuts_decisions, CutsDecisions {}, ["too_many_decisions_are_refused_whole"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let UnitOfWork::Decide(decide) = work else { return memory.run(work, mode).await };
            let mut decide = decide.clone();
            decide.decisions.truncate(10_000);
            memory.run(&UnitOfWork::Decide(decide), mode).await
        }
    }
}
