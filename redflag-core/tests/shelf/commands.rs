//! Broken queues: steps that are lost, repeated or torn, lists that lie, and what is due and never told.

use crate::support::wrapped::Twist;
use async_trait::async_trait;
use redflag_core::{
    MemoryStore,
    agent::AgentHead,
    command::{
        record::CommandRecord,
        step::{CommandStep, Step},
    },
    event::RecordedEvent,
    ids::AgentId,
    query::{CommandPage, CommandQuery},
    store::{BatchStore, Mode, StoreError},
    work::{Answer, UnitOfWork},
};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The mode, but for steps of this kind, which are only rehearsed: they are answered and leave nothing.
fn rehearsed(work: &UnitOfWork, mode: Mode, kind: impl Fn(&Step) -> bool) -> Mode {
    match work {
        UnitOfWork::Command(CommandStep { step, .. }) if kind(step) => Mode::Rehearse,
        _ => mode,
    }
}

mutants! {
    a_store_that_loses_requests, LosesRequests {}, ["a_request_is_kept_and_the_same_again_is_the_same"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            memory.run(work, rehearsed(work, mode, |step| matches!(step, Step::Request(_)))).await
        }
    }
    /// Writes the queue in one transaction and the updates in another, which is lost.
    a_store_that_tears_what_follows_from_a_plan, TearsPlans {}, ["a_plan_within_its_terms_is_installed"], {
        fn command(&self, found: Option<CommandRecord>) -> Option<CommandRecord> {
            found.filter(|record| record.follows.is_none())
        }
    }
    a_store_that_forgets_the_source_of_events, ForgetsSource {}, ["a_plan_within_its_terms_is_installed"], {
        fn events(&self, mut found: Vec<RecordedEvent>) -> Vec<RecordedEvent> {
            found.iter_mut().for_each(|recorded| recorded.source = redflag_core::event::Source::Decision);
            found
        }
    }
    a_store_that_loses_second_looks, LosesConfirmations {}, ["a_plan_beyond_its_terms_is_looked_at_twice"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            memory.run(work, rehearsed(work, mode, |step| matches!(step, Step::Confirm(_)))).await
        }
    }
    /// Two processes that both find a command free.
    a_store_that_leases_and_forgets, ForgetsLeases {},
        ["a_lease_is_answered_again_and_ends_by_itself", "counters_are_given_once", "eight_connections_lease_a_command_once"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            memory.run(work, rehearsed(work, mode, |step| matches!(step, Step::Lease { .. }))).await
        }
    }
    a_store_that_never_tells_what_is_due, NeverDue {}, ["a_lease_is_answered_again_and_ends_by_itself"], {
        fn due_commands(&self, _: Vec<AgentId>) -> Vec<AgentId> { Vec::new() }
    }
    /// A result that is sent again is kept again.
    a_store_that_keeps_every_late_result, KeepsEveryLate {}, ["what_comes_late_changes_nothing"], {
        fn command(&self, found: Option<CommandRecord>) -> Option<CommandRecord> {
            found.map(|mut record| {
                if let Some(last) = record.late.last().cloned() { record.late.push(last); }
                record
            })
        }
    }
    /// Looks commands up by their id alone.
    a_store_that_shows_commands_of_others, ShowsOthers {}, ["an_agent_sees_only_its_own_commands"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let first = redflag_core::conformance::generate::agent(0);
            match (memory.run(work, mode).await, work) {
                (Err(_), UnitOfWork::Command(step)) if step.agent != first => {
                    memory.run(&UnitOfWork::Command(CommandStep { agent: first, ..step.clone() }), mode).await
                }
                (answer, _) => answer,
            }
        }
    }
    a_store_that_loses_ends, LosesEnds {}, ["an_installation_is_proved_by_the_next_scan", "what_comes_late_changes_nothing"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            memory.run(work, rehearsed(work, mode, |step| matches!(step, Step::Finish { .. }))).await
        }
    }
    a_store_that_lists_the_oldest_commands_first, OldestFirst {}, ["commands_are_listed_newest_first"], {
        fn commands(&self, mut found: CommandPage, _: &CommandQuery) -> CommandPage {
            found.items.reverse();
            found
        }
    }
    a_store_that_counts_the_commands_of_a_page, CountsPages {}, ["commands_are_listed_newest_first"], {
        fn commands(&self, mut found: CommandPage, _: &CommandQuery) -> CommandPage {
            found.total = found.items.len() as u64;
            found
        }
    }
    /// The decision is kept, what it means for the queue is not.
    a_store_that_keeps_commands_of_withdrawn_approvals, KeepsWithdrawn {}, ["a_withdrawn_approval_takes_its_command_along"], {
        fn command(&self, found: Option<CommandRecord>) -> Option<CommandRecord> {
            found.map(|mut record| {
                if record.end.is_some() { record.state = redflag_core::command::lifecycle::CommandState::Queued; }
                record
            })
        }
    }
    a_store_that_forgets_the_highest_counter, ForgetsCounter {}, ["counters_are_given_once", "eight_connections_lease_a_command_once"], {
        fn agent(&self, found: Option<AgentHead>) -> Option<AgentHead> { found.map(|head| AgentHead { commands: 0, ..head }) }
    }
    a_store_that_loses_signatures, LosesSignatures {}, ["signatures_of_people_are_kept"], {
        fn command(&self, found: Option<CommandRecord>) -> Option<CommandRecord> {
            found.map(|mut record| {
                record.signatures.clear();
                record
            })
        }
    }
    /// Every tenth step is answered and not kept.
    a_store_that_loses_some_steps, LosesSome { steps: AtomicU32 }, ["lives_of_commands_read_like_the_memory_store"], {
        async fn run(&self, memory: &MemoryStore, work: &UnitOfWork, mode: Mode) -> Result<Answer, StoreError> {
            let lost = self.steps.fetch_add(1, Relaxed) % 10 == 9;
            memory.run(work, rehearsed(work, mode, |_| lost)).await
        }
    }
}
