//! Power cuts: the writer stands still, the disk is taken as it is, and the file system recovers by its journal.

use crate::writing::{Fleet, Weakness, write_if_told};
use redflag_core::conformance::{Findings, Shape, generate::Rng};
use redflag_faults::{Campaign, Disk};
use std::{fs, path::PathBuf};

const SHAPE: Shape = Shape { agents: 3, steps: 300, packages: 60 };
const MEBIBYTES: u32 = 48;

fn file(disk: &Disk) -> PathBuf {
    disk.path().join("fleet.db")
}

/// Cuts the power once, in the middle of writing, and audits what it left; answers the disk and the size of the write-ahead log
/// that was found on it.
async fn cut(fleet: &mut Fleet, disk: Disk, rng: &mut Rng) -> (Disk, u64) {
    let writer = fleet.writer(&file(&disk), rng).await;
    writer.freeze();
    let outage = disk.cut();
    fleet.ended(writer).await;
    drop(disk);
    let disk = outage.restored();
    let logged = fs::metadata(file(&disk).with_extension("db-wal")).map_or(0, |log| log.len());
    fleet.audit(&file(&disk)).await;
    (disk, logged)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_takes_nothing_acknowledged() {
    write_if_told().await;
    let mut campaign =
        Campaign::new("SQLite: power cut", "-p redflag-store-sqlite --test faults a_power_cut_takes_nothing_acknowledged", 12);
    let (mut recovered, mut largest) = (0, 0);
    while let Some((seed, mut rng)) = campaign.seed() {
        let mut disk = Disk::new(MEBIBYTES);
        let mut fleet = Fleet::new("power_cuts::a_power_cut_takes_nothing_acknowledged", seed, SHAPE, Weakness::None);
        while !fleet.witness.finished() && campaign.cycle() {
            let logged;
            (disk, logged) = cut(&mut fleet, disk, &mut rng).await;
            fleet.witness.findings().whole().unwrap();
            recovered += u32::from(logged > 0);
            largest = largest.max(logged);
        }
        campaign.add(&fleet.settle(&file(&disk)).await);
    }
    assert!(recovered > 0, "no cut left a write-ahead log to recover from");
    campaign.end(&format!("{recovered} recovered from a write-ahead log, of up to {} KiB", largest / 1_024));
}

/// SQLite's own promise for `NORMAL`: the newest commits may go, never a part of one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_harness_sees_commits_that_were_not_synced() {
    write_if_told().await;
    let mut found = Findings::default();
    for seed in 0..3 {
        let mut fleet = Fleet::new("power_cuts::the_harness_sees_commits_that_were_not_synced", seed, SHAPE, Weakness::Unsynced);
        let mut rng = Rng::new(seed);
        cut(&mut fleet, Disk::new(MEBIBYTES), &mut rng).await;
        found.add(fleet.witness.findings());
    }
    assert!(found.lost > 0 && found.lost_events > 0, "three power cuts took nothing: {found}");
    assert_eq!((found.torn, found.duplicates, found.wrong_answers), (0, 0, 0), "{found}");
}
