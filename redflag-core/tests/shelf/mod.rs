//! The shelf of broken stores: what it takes to write one, and the shelves by what is broken.
#![expect(clippy::print_stdout, reason = "why a mutant was caught is read with --nocapture: it must be the fault it stands for")]

use crate::support::wrapped::{Twist, Wrapped};
use async_trait::async_trait;
use redflag_core::{
    batch::Batch,
    conformance::{CHECKS, Harness},
    event::EventInput,
    report::{Report, Scope},
    store::Store,
    work::{RecordReport, SubmitBatch, UnitOfWork},
};
use std::sync::Arc;

/// Makes stores with a mutant of their own each.
struct Broken<T>(fn() -> T);

#[async_trait]
impl<T: Twist + 'static> Harness for Broken<T> {
    async fn fresh(&self) -> Arc<dyn Store> {
        Arc::new(Wrapped::new((self.0)()))
    }

    async fn reopen(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        if (self.0)().forgets() { self.fresh().await } else { store }
    }
}

/// The mutant fails exactly where it must; `caught_by` are the checks that name the fault best.
async fn caught<T: Twist + 'static>(mutant: fn() -> T, caught_by: &[&str]) {
    for name in caught_by {
        let check = CHECKS.iter().find(|check| check.name == *name).unwrap_or_else(|| panic!("no check is called {name}"));
        let Err(failure) = check.run(&Broken(mutant)).await else { panic!("{name} let the mutant pass") };
        println!("{name}: {}", failure.to_string().chars().take(300).collect::<String>());
    }
}

/// Writes one test a mutant, `test, Name { fields }, [checks], { methods }`, and the list of them all as `CAUGHT`.
macro_rules! mutants {
    ($($(#[$doc:meta])* $test:ident, $name:ident { $($field:ident: $type:ty),* }, [$($check:literal),+], { $($body:tt)* })+) => {
        /// Every mutant of this shelf with the checks that catch it.
        pub(crate) const CAUGHT: &[(&str, &[&str])] = &[$((stringify!($test), &[$($check),+]),)+];

        $(
            $(#[$doc])*
            #[derive(Debug, Default)]
            struct $name { $($field: $type),* }

            #[async_trait]
            impl Twist for $name { $($body)* }

            #[tokio::test]
            async fn $test() {
                super::caught($name::default, &[$($check),+]).await;
            }
        )+
    };
}

pub(crate) mod commands;
pub(crate) mod faults;
pub(crate) mod life;
pub(crate) mod queries;
pub(crate) mod reports;
pub(crate) mod values;
pub(crate) mod writing;

/// The work with the events of a submitted batch changed.
fn with_events(work: &UnitOfWork, change: impl FnOnce(&mut Vec<EventInput>)) -> UnitOfWork {
    let UnitOfWork::SubmitBatch(submit) = work else { return work.clone() };
    let mut events = submit.batch.events().to_vec();
    change(&mut events);
    let batch = Batch::new(submit.batch.agent(), submit.batch.id(), submit.batch.actor().clone(), events).unwrap();
    UnitOfWork::SubmitBatch(SubmitBatch { batch, ..submit.clone() })
}

/// The work with a report changed, keeping its digest.
fn with_report(work: &UnitOfWork, change: impl FnOnce(&mut Report)) -> UnitOfWork {
    let UnitOfWork::RecordReport(record) = work else { return work.clone() };
    let mut report = Report::clone(&record.report);
    change(&mut report);
    UnitOfWork::RecordReport(RecordReport { report: report.into(), ..record.clone() })
}

/// The work with every scope of a report changed.
fn with_scopes(work: &UnitOfWork, change: impl FnMut(&mut Scope)) -> UnitOfWork {
    with_report(work, |report| report.scopes.iter_mut().for_each(change))
}
