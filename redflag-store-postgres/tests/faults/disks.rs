//! Disks of the server that are full: told as such, nothing partial, healed when there is room again.

use crate::subject::Subject;
use redflag_core::{
    conformance::{Shape, generate::Rng},
    store::Durability,
};
use redflag_faults::{Campaign, Cluster, Tmpfs};
use std::{fs, path::PathBuf};

/// Reports large enough that a few of them fill what is left of a disk.
const LARGE: Shape = Shape { agents: 3, steps: 120, packages: 120 };

/// A file that takes all the room there is on a disk, but for so many kibibytes.
struct Ballast(PathBuf);

impl Ballast {
    fn on(disk: &Tmpfs, kibibytes: usize) -> Self {
        let file = disk.path().join("ballast");
        // Ends with the disk, not with the data.
        let written = std::io::copy(&mut std::io::repeat(0), &mut fs::File::create(&file).unwrap());
        assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
        let taken = fs::metadata(&file).unwrap().len();
        fs::File::options().write(true).open(&file).unwrap().set_len(taken - kibibytes as u64 * 1_024).unwrap();
        Self(file)
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap();
    }
}

/// Fills `disk` again and again while the fleet is written, and makes room again; answers how often writing failed, and how often the
/// server ended itself for it.
async fn fill(campaign: &mut Campaign, disk: &Tmpfs, cluster: &mut Cluster, seed: u64, mut rng: Rng) -> (u32, u32) {
    let (mut full, mut ended) = (0, 0);
    let mut subject = Subject::of(LARGE, &cluster.url(), seed, Durability::Power).await;
    while !subject.witness.finished() && campaign.cycle() {
        let ballast = Ballast::on(disk, rng.below(400));
        let mut failed = false;
        while !failed && !subject.witness.finished() {
            let writing = subject.begin(10);
            failed = !subject.ended(writing).await.is_empty();
        }
        full += u32::from(failed);
        drop(ballast);
        ended += u32::from(cluster.wait_until_it_answers());
        cluster.wait_until_idle();
        subject.audit().await;
    }
    campaign.add(&subject.settle().await);
    (full, ended)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_and_heals() {
    let test = "-p redflag-store-postgres --test faults a_full_disk_is_told_and_heals";
    let mut campaign = Campaign::new("PostgreSQL: disk full", test, 4);
    let mut times = 0;
    while let Some((seed, rng)) = campaign.seed() {
        let disk = Tmpfs::new(160 * 1_024);
        let mut cluster = Cluster::within(disk.path(), &[]);
        times += fill(&mut campaign, &disk, &mut cluster, seed, rng).await.0;
    }
    assert!(times > 0, "the disk was never full");
    campaign.end(&format!("{times} times out of room"));
}

/// Without room for its write-ahead log, PostgreSQL ends itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_of_the_write_ahead_log_is_told_and_heals() {
    let test = "-p redflag-store-postgres --test faults a_full_disk_of_the_write_ahead_log_is_told_and_heals";
    let mut campaign = Campaign::new("PostgreSQL: disk of the write-ahead log full", test, 4);
    let (mut times, mut ended) = (0, 0);
    while let Some((seed, rng)) = campaign.seed() {
        let disk = Tmpfs::new(96 * 1_024);
        // Each megabyte of the log is a new file, once those are used up that came with the server.
        let mut cluster = Cluster::logging_to(disk.path(), &["wal_recycle=off", "min_wal_size=2MB"]);
        cluster.sql("SELECT pg_logical_emit_message(false, '', repeat('x', 6000000))");
        let (full, down) = fill(&mut campaign, &disk, &mut cluster, seed, rng).await;
        (times, ended) = (times + full, ended + down);
    }
    assert!(times > 0, "the disk was never full");
    campaign.end(&format!("{times} times out of room, {ended} times the server ended itself"));
}
