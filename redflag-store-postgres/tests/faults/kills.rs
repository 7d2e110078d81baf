//! `kill -9` of PostgreSQL: all of it, its postmaster alone, or one of its processes.

use crate::subject::Subject;
use redflag_core::{
    conformance::{Findings, generate::Rng},
    store::Durability,
};
use redflag_faults::{Campaign, Cluster};

/// Kills something of the server, in the way the seed decides, and waits until the server is there again.
fn kill(cluster: &mut Cluster, rng: &mut Rng, kills: &mut [u32; 3]) {
    let way = rng.below(3);
    kills[way] += 1;
    match way {
        0 => {
            cluster.kill();
            cluster.start();
        }
        1 => {
            cluster.kill_postmaster();
            cluster.start();
        }
        _ => {
            // Mostly one that serves a client, else one of those that live as long as the server.
            let lasting = |does: &str| ["checkpointer", "background writer", "walwriter"].iter().any(|word| does.contains(word));
            let (backends, client) = (cluster.backends(), rng.chance(80));
            let lasting: Vec<_> = cluster.processes().into_iter().filter(|(_, does)| lasting(does)).collect();
            let (process, _) = rng.pick(if client && !backends.is_empty() { &backends } else { &lasting });
            cluster.kill_process(*process);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_nothing_acknowledged() {
    let test = "-p redflag-store-postgres --test faults a_killed_server_loses_nothing_acknowledged";
    let mut campaign = Campaign::new("PostgreSQL: server killed", test, 12);
    let mut kills = [0; 3];
    while let Some((seed, mut rng)) = campaign.seed() {
        let mut cluster = Cluster::new(&[]);
        let mut subject = Subject::new(&cluster.url(), seed, Durability::Power).await;
        while !subject.witness.finished() && campaign.cycle() {
            let writing = subject.writing(100, &mut rng).await;
            kill(&mut cluster, &mut rng, &mut kills);
            subject.ended(writing).await;
            subject.audit().await;
        }
        campaign.add(&subject.settle().await);
    }
    campaign.end(&format!("{} of everything, {} of the postmaster, {} of one process", kills[0], kills[1], kills[2]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_harness_sees_commits_that_were_not_written_out() {
    let mut cluster = Cluster::new(&["synchronous_commit=off", "wal_writer_delay=10s"]);
    let mut found = Findings::default();
    for seed in 0..3 {
        cluster.sql("DROP SCHEMA IF EXISTS redflag CASCADE");
        let mut subject = Subject::new(&cluster.url(), seed, Durability::None).await;
        let writing = subject.writing(100, &mut Rng::new(seed)).await;
        writing.wait_for(5).await;
        cluster.kill();
        subject.ended(writing).await;
        cluster.start();
        subject.witness.audit(&subject.store).await.unwrap();
        found.add(subject.witness.findings());
    }
    assert!(found.lost > 0, "three kills took nothing: {found}");
    assert_eq!((found.torn, found.duplicates, found.wrong_answers), (0, 0, 0), "{found}");
}
