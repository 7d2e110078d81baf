//! The goals of `docs/performance.md` on SQLite, one line each: ours, the raw limit, the naive design, and whether the demand is met.
//!
//! ```sh
//! cargo bench -p redflag-store-sqlite --bench ratios
//! ```
//!
//! Ours, raw and naive take turns in one run, because only ratios of one run mean anything on a shared machine; figures are medians
//! unless they say otherwise. Processor time is that of all threads. The store is opened as everybody opens it, with
//! `synchronous=FULL`, and used through its public API.
//!
//! | variable | means | unset |
//! |---|---|---|
//! | `REDFLAG_ROUNDS` | rounds of every report | 15 |
//! | `REDFLAG_READS` | reads of every list, place and sort | 40 |
//! | `REDFLAG_HOSTS` | hosts of the large fleet, 3,772 states each; a tenth of them is the small one | 1000 |
//! | `REDFLAG_QUICK` | set: 3 rounds, 5 reads, 20 hosts, to see that it runs | |
//! | `REDFLAG_DETAIL` | set: a line for every list, sort and place | |
//!
//! The large fleet takes about 400 MB of disk and a minute to make; the whole run a few minutes.

#[path = "../common/cost.rs"]
mod cost;
mod fleet;
mod lists;
mod reports;
mod rivals;
mod table;
#[path = "../common/workload.rs"]
mod workload;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Size {
    rounds: usize,
    reads: usize,
    hosts: u32,
    detail: bool,
}

impl Size {
    fn from_environment() -> Self {
        let set = |name: &str| std::env::var_os(name).is_some();
        let number = |name: &str, unset: usize| {
            std::env::var(name).map_or(unset, |value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
        };
        let (rounds, reads, hosts) = if set("REDFLAG_QUICK") { (3, 5, 20) } else { (15, 40, 1_000) };
        Self {
            rounds: number("REDFLAG_ROUNDS", rounds),
            reads: number("REDFLAG_READS", reads),
            hosts: u32::try_from(number("REDFLAG_HOSTS", hosts)).expect("REDFLAG_HOSTS fits"),
            detail: set("REDFLAG_DETAIL"),
        }
    }
}

fn main() {
    let size = Size::from_environment();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    table::print(&format!("{size:?}; load {load}"));
    table::head();
    let directory = tempfile::tempdir().expect("a temporary directory");
    runtime.block_on(reports::measure(directory.path(), size.rounds)).iter().for_each(table::Row::print);
    runtime.block_on(lists::measure(directory.path(), size)).iter().for_each(table::Row::print);
}
