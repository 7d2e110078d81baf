//! The conformance kit on files and in memory, and its differential test at any volume.
//!
//! `REDFLAG_CASES` sets how many histories are compared (40 when unset), `REDFLAG_SEED` the first seed (0 when unset); a failure
//! names the seed to give back.

#[path = "common/mod.rs"]
mod common;

mod on_files {
    redflag_core::conformance_tests!(crate::common::Files::default());
}

mod in_memory {
    redflag_core::conformance_tests!(crate::common::InMemory);
}

use redflag_core::conformance::{Harness as _, Life, Shape, compare_digests_with_memory, compare_with_memory, live};

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |value| value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value:?}")))
}

#[tokio::test]
async fn random_histories_read_like_the_memory_store() {
    let first = setting("REDFLAG_SEED", 0);
    for seed in first..first + setting("REDFLAG_CASES", 40) {
        if let Err(difference) = compare_with_memory(&common::InMemory, seed, Shape::default(), None).await {
            panic!(
                "{difference}\nreplay: REDFLAG_SEED={seed} REDFLAG_CASES=1 cargo test -p redflag-store-sqlite --test conformance random"
            );
        }
    }
}

/// `REDFLAG_DIGEST_CASES` sets how many (2 when unset): a campaign of a million events takes about 130 in a release build.
#[tokio::test]
async fn long_histories_export_like_the_memory_store() {
    let (first, cases) = (setting("REDFLAG_SEED", 1_000), setting("REDFLAG_DIGEST_CASES", 2));
    let shape = Shape { agents: 4, steps: 120, packages: 400 };
    let mut events = 0;
    for seed in first..first + cases {
        match compare_digests_with_memory(&common::InMemory, seed, shape).await {
            Ok(found) => events += found,
            Err(difference) => panic!(
                "{difference}\nreplay: REDFLAG_SEED={seed} REDFLAG_DIGEST_CASES=1 cargo test -p redflag-store-sqlite --test conformance long"
            ),
        }
    }
    println!("{events} events of {cases} histories from seed {first} export like the memory store");
}

/// `REDFLAG_LIVES` sets how many (8 when unset): a campaign of 100,000 commands takes about 3,100.
#[tokio::test]
async fn lives_of_commands_keep_their_promises() {
    let (first, cases) = (setting("REDFLAG_SEED", 5_000), setting("REDFLAG_LIVES", 8));
    let (mut commands, mut effects) = (0, 0);
    for seed in first..first + cases {
        match live(common::InMemory.fresh().await, seed, Life::default()).await {
            Ok(lived) => {
                commands += lived.ends.values().sum::<u64>();
                effects += lived.effects;
            }
            Err(failure) => panic!(
                "{failure}\nreplay: REDFLAG_SEED={seed} REDFLAG_LIVES=1 cargo test -p redflag-store-sqlite --test conformance lives_of_commands_keep"
            ),
        }
    }
    println!("{commands} commands of {cases} lives from seed {first} ended, {effects} with their effect, once each");
}
