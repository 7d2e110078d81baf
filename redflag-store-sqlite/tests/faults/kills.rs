//! `kill -9` of a process that embeds the store.

use crate::writing::{Fleet, Weakness, write_if_told};
use redflag_core::conformance::{Findings, Shape, generate::Rng};
use redflag_faults::Campaign;

const SHAPE: Shape = Shape { agents: 3, steps: 400, packages: 20 };

/// Kills a writer of `fleet` once, in the middle of it, and audits what it left.
async fn kill(fleet: &mut Fleet, file: &std::path::Path, rng: &mut Rng) {
    let writer = fleet.writer(file, rng).await;
    fleet.ended(writer).await;
    fleet.audit(file).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_loses_nothing_acknowledged() {
    write_if_told().await;
    let mut campaign =
        Campaign::new("SQLite: process killed", "-p redflag-store-sqlite --test faults a_killed_process_loses_nothing_acknowledged", 40);
    while let Some((seed, mut rng)) = campaign.seed() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("fleet.db");
        let mut fleet = Fleet::new("kills::a_killed_process_loses_nothing_acknowledged", seed, SHAPE, Weakness::None);
        while !fleet.witness.finished() && campaign.cycle() {
            kill(&mut fleet, &file, &mut rng).await;
            fleet.witness.findings().whole().unwrap();
        }
        campaign.add(&fleet.settle(&file).await);
    }
    campaign.end("");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_harness_sees_commits_that_are_acknowledged_before_they_are_made() {
    write_if_told().await;
    let test = "kills::the_harness_sees_commits_that_are_acknowledged_before_they_are_made";
    let mut found = Findings::default();
    for seed in 0..20 {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("fleet.db");
        let mut fleet = Fleet::new(test, seed, SHAPE, Weakness::Early);
        kill(&mut fleet, &file, &mut Rng::new(seed)).await;
        found.add(fleet.witness.findings());
        if found.lost > 0 {
            return;
        }
    }
    panic!("twenty kills took nothing of what was acknowledged before it was committed: {found}");
}
