//! The conformance kit on a real PostgreSQL, and its differential test at any volume.
//!
//! `REDFLAG_CASES` sets how many histories are compared (2 when unset), `REDFLAG_SEED` the first seed (100 when unset); a failure
//! names the seed to give back.

use crate::server::Schemas;
use redflag_core::conformance::{Harness as _, Life, Shape, compare_digests_with_memory, compare_with_memory, live};

redflag_core::conformance_tests!(Schemas::new());

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |value| value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value:?}")))
}

#[tokio::test]
async fn random_histories_read_like_the_memory_store() {
    let first = setting("REDFLAG_SEED", 100);
    let harness = Schemas::new();
    for seed in first..first + setting("REDFLAG_CASES", 2) {
        if let Err(difference) = compare_with_memory(&harness, seed, Shape::default(), None).await {
            panic!("{difference}\nreplay: REDFLAG_SEED={seed} REDFLAG_CASES=1 cargo test -p redflag-store-postgres --test postgres random");
        }
    }
}

/// `REDFLAG_DIGEST_CASES` sets how many (1 when unset), `REDFLAG_DIGEST_PACKAGES` of how many packages (400 when unset): histories of
/// many packages have more events for their time.
#[tokio::test]
async fn long_histories_export_like_the_memory_store() {
    let (first, cases) = (setting("REDFLAG_SEED", 2_000), setting("REDFLAG_DIGEST_CASES", 1));
    let packages = usize::try_from(setting("REDFLAG_DIGEST_PACKAGES", 400)).expect("a number of packages");
    let (harness, shape) = (Schemas::new(), Shape { agents: 4, steps: 120, packages });
    let mut events = 0;
    for seed in first..first + cases {
        match compare_digests_with_memory(&harness, seed, shape).await {
            Ok(found) => events += found,
            Err(difference) => panic!(
                "{difference}\nreplay: REDFLAG_SEED={seed} REDFLAG_DIGEST_CASES=1 cargo test -p redflag-store-postgres --test postgres long"
            ),
        }
    }
    println!("{events} events of {cases} histories from seed {first} export like the memory store");
}

/// `REDFLAG_LIVES` sets how many (2 when unset): a campaign of 100,000 commands takes about 3,100.
#[tokio::test]
async fn lives_of_commands_keep_their_promises() {
    let (first, cases) = (setting("REDFLAG_SEED", 5_000), setting("REDFLAG_LIVES", 2));
    let (harness, mut commands, mut effects) = (Schemas::new(), 0, 0);
    for seed in first..first + cases {
        match live(harness.fresh().await, seed, Life::default()).await {
            Ok(lived) => {
                commands += lived.ends.values().sum::<u64>();
                effects += lived.effects;
            }
            Err(failure) => panic!(
                "{failure}\nreplay: REDFLAG_SEED={seed} REDFLAG_LIVES=1 cargo test -p redflag-store-postgres --test postgres lives_of_commands_keep"
            ),
        }
    }
    println!("{commands} commands of {cases} lives from seed {first} ended, {effects} with their effect, once each");
}
