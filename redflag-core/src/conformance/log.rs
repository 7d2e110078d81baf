//! The log is only ever added to, and the ids in it follow from what it says.

use super::{CheckResult, Harness, Lab, Shape, ensure, ensure_eq, generate::agent, history};
use crate::{
    event::{RecordedEvent, Source},
    ids::{BatchId, EventId},
    names::PackageKey,
    query::BatchQuery,
    state::VersionChange,
    store::{Mode, Store},
};
use std::collections::BTreeMap;

const HOSTS: u32 = 2;

fn shape() -> Shape {
    Shape { agents: HOSTS, steps: 30, ..Shape::default() }
}

/// What of an agent may never change.
#[derive(Default)]
struct Written {
    log: Vec<RecordedEvent>,
    history: BTreeMap<PackageKey, Vec<VersionChange>>,
    batches: BTreeMap<BatchId, String>,
    reports: Vec<String>,
}

async fn written(store: &dyn Store, host: u32) -> Result<Written, super::Failure> {
    let mut written = Written { log: store.replay(agent(host), 0, u32::MAX).await?, ..Written::default() };
    for recorded in &written.log {
        let package = recorded.event.package.clone();
        let id = crate::ids::UpdateId { agent: agent(host), package: package.clone() };
        written.history.insert(package, store.history(&id).await?);
    }
    let size = super::queries::asked(crate::query::PageSize::new(500))?;
    for row in store.batches(&BatchQuery { agent: Some(agent(host)), size, ..BatchQuery::default() }).await?.items {
        let id = row.record.receipt.batch;
        let rejections = store.rejections(agent(host), id).await?;
        written.batches.insert(id, format!("{:?} {rejections:?}", row.record));
    }
    written.reports = store.reports(agent(host), u32::MAX).await?.iter().rev().map(|report| format!("{report:?}")).collect();
    Ok(written)
}

pub(super) async fn what_was_written_is_never_rewritten(harness: &dyn Harness) -> CheckResult {
    for seed in 40..42 {
        let lab = Lab::new(harness, 0).await?;
        let mut before: Vec<Written> = (0..HOSTS).map(|_| Written::default()).collect();
        for (step, work) in history(seed, shape()).iter().enumerate() {
            // Refusals are part of a history.
            drop(lab.store().run(work, Mode::Commit).await);
            if step % 5 != 4 {
                continue;
            }
            for (host, before) in (0..HOSTS).zip(&mut before) {
                let now = written(lab.store(), host).await?;
                let place = format!("of agent {host}, history seed {seed}, step {step}");
                ensure!(now.log.starts_with(&before.log), "the log {place} does not begin with what it was");
                ensure!(now.reports.starts_with(&before.reports), "the reports {place} do not begin with what they were");
                for (id, batch) in &before.batches {
                    ensure_eq!(now.batches.get(id), Some(batch), "a batch {place}");
                }
                for (package, history) in &before.history {
                    let kept = now.history.get(package).is_some_and(|now| now.starts_with(history));
                    ensure!(kept, "the history of {package} {place} does not begin with what it was");
                }
                *before = now;
            }
        }
    }
    Ok(())
}

pub(super) async fn derived_ids_follow_from_their_source(harness: &dyn Harness) -> CheckResult {
    let mut seen = [0_u32; 2];
    for seed in 43..46 {
        let lab = Lab::new(harness, 0).await?;
        for work in history(seed, shape()) {
            drop(lab.store().run(&work, Mode::Commit).await);
        }
        for host in 0..HOSTS {
            let mut sequences = std::collections::BTreeSet::new();
            for recorded in lab.store().replay(agent(host), 0, u32::MAX).await? {
                ensure!(
                    sequences.insert(recorded.event.id),
                    "two events of agent {host} have the id {:?}, history seed {seed}",
                    recorded.event.id
                );
                match recorded.source {
                    Source::Decision | Source::Command { .. } => {
                        let expected = EventId::of_batch(agent(host), recorded.batch, recorded.index);
                        ensure_eq!(recorded.event.id, expected, "the id of {recorded:?}");
                        seen[0] += 1;
                    }
                    Source::Report { report_id } => {
                        let derived = (0..500).any(|ordinal| EventId::of_report(agent(host), report_id, ordinal) == recorded.event.id);
                        ensure!(derived, "no ordinal of its report gives the id of {recorded:?}");
                        seen[1] += 1;
                    }
                    Source::Submitted => {}
                }
            }
        }
    }
    ensure!(seen.iter().all(|count| *count > 0), "the histories have no event of a decision or a report: {seen:?}");
    Ok(())
}
