//! The goals of this backend, one line each: ours against the limit of the database and against the design this one replaces,
//! interleaved in one run, because only ratios of one run mean anything on a shared machine.
//!
//! `cargo bench -p redflag-store-postgres --bench ratios` starts a PostgreSQL of its own ([`cluster`]) and prints
//! `goal | ours | raw limit | naive | ratio | demand | stretch | ok or short`. Arguments after `--` choose parts: `writes`,
//! `reads`; all when none is given. `REDFLAG_ROUNDS` sets the interleaved rounds (11 when unset), `REDFLAG_HOSTS` the hosts that
//! have reported before (30), `REDFLAG_BENCH_DIRECTORY` where the server keeps its files.

mod cluster;
mod cost;
mod goals;
mod naive;
mod raw;
mod reads;
mod workload;
mod writes;

use cluster::{Cluster, SETTINGS};
use cost::Meter;
use goals::{Goals, print};

fn main() {
    // One thread: nothing but the work itself uses processor time.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    // Cargo adds `--bench`.
    let parts: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    runtime.block_on(run(&parts));
}

async fn run(parts: &[String]) {
    let chosen = |part: &str| parts.is_empty() || parts.iter().any(|chosen| chosen == part);
    let cluster = Cluster::start();
    let mut meter = Meter::new(&cluster).await;
    let mut goals = Goals::default();
    let settings: Vec<String> = SETTINGS.iter().map(|(name, value)| format!("{name}={value}")).collect();
    print(&format!("PostgreSQL 15 on {}: {}", cluster.file_system(), settings.join(" ")));
    goals.head();
    if chosen("writes") {
        writes::run(&cluster, &mut meter, &mut goals).await;
    }
    if chosen("reads") {
        reads::run(&cluster, &mut meter, &mut goals).await;
    }
    goals.summary();
}

/// A number from the environment.
fn setting(name: &str, otherwise: u32) -> u32 {
    std::env::var(name).map_or(otherwise, |value| value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value:?}")))
}
