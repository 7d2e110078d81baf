//! How soon an agent hears of what was decided, and what agents that wait cost: one line for each goal of `docs/performance.md`.
//!
//! ```sh
//! cargo bench -p redflag-server --bench dispatch
//! ```
//!
//! The server is its binary, over a SQLite file (`synchronous=FULL`), asked over HTTP on loopback with signed requests. The floor is the
//! same requests one after the other, without anybody waiting: both take turns in one run, because only what one run says means
//! anything on a shared machine. Processor time is the server's own.
//!
//! | variable | means | unset |
//! |---|---|---|
//! | `REDFLAG_ROUNDS` | approvals of each kind, for each number of agents | 80 |
//! | `REDFLAG_WAITING` | agents that wait meanwhile | 0, 100 and 1000 |
//! | `REDFLAG_QUICK` | set: 5 rounds, 0 and 20 agents, 5 seconds of waiting instead of 50, to see that it runs | |

#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

#[path = "../../tests/api/process.rs"]
#[expect(dead_code, reason = "the bench uses its own part of what the tests share")]
mod process;
mod rounds;
mod scene;
#[path = "../../tests/api/support.rs"]
#[expect(dead_code, reason = "the bench uses its own part of what the tests share")]
mod support;
mod waiting;

use rounds::Latencies;
use scene::Scene;
use std::{fmt::Display, sync::Arc, time::Duration};
use waiting::Waiting;

/// The most an agent that waits should wait beyond its operator.
const LATENCY_MAX: Duration = Duration::from_millis(50);
/// The most processor time an agent that waits should cost in a minute: ten thousand of them a third of a processor.
const IDLE_MINUTE_MAX: Duration = Duration::from_millis(2);

/// How much is measured.
#[derive(Debug)]
struct Size {
    rounds: usize,
    waiting: Vec<usize>,
    wait_seconds: u32,
}

impl Size {
    fn from_environment() -> Self {
        let number = |name: &str| std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")));
        let (rounds, waiting, wait_seconds) =
            if std::env::var_os("REDFLAG_QUICK").is_some() { (5, vec![0, 20], 5) } else { (80, vec![0, 100, 1_000], 50) };
        let waiting = number("REDFLAG_WAITING").map_or(waiting, |count| vec![count]);
        Self { rounds: number("REDFLAG_ROUNDS").unwrap_or(rounds), waiting, wait_seconds }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let size = Size::from_environment();
    // Every agent that waits is a connection, here and in the server, which inherits the limit.
    let mut files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    files.current = files.maximum;
    rustix::process::setrlimit(rustix::process::Resource::Nofile, files).unwrap();
    print(format_args!("{size:?}; load {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default()));
    print("goal | ours p50 / p99 | floor p50 / p99 | ratio of p50 | demand | ok or short");
    print("---|---|---|---|---|---");
    let most = size.waiting.iter().copied().max().unwrap_or_default();
    let scene = Arc::new(Scene::start(most, size.rounds * size.waiting.len()).await);
    for count in &size.waiting {
        let _waiting = Waiting::begin(&scene, *count, size.wait_seconds).await;
        let measured = rounds::measure(&scene, size.rounds).await;
        latency(&format!("approval sent → plan leased, {count} others wait"), &measured.waited, Some(&measured.asked));
        latency(&format!("plan's result sent → install leased, {count} others wait"), &measured.installs, None);
        // Measured of the most alone, because it takes a whole wait.
        if *count > 0 && *count == most {
            idle(*count, waiting::cost_of_a_minute(&scene, *count, size.wait_seconds).await);
        }
    }
}

fn latency(goal: &str, ours: &Latencies, floor: Option<&Latencies>) {
    let verdict = if ours.percentile(99) <= LATENCY_MAX { "ok" } else { "**short**" };
    let ratio = |floor: &Latencies| ours.percentile(50).as_secs_f64() / floor.percentile(50).as_secs_f64();
    let floor = floor.map_or_else(|| " |".to_owned(), |floor| format!("{floor} | {:.2}", ratio(floor)));
    print(format_args!("{goal} | {ours} | {floor} | p99 {LATENCY_MAX:?} | {verdict}"));
}

fn idle(count: usize, minute: Duration) {
    let verdict = if minute <= IDLE_MINUTE_MAX { "ok" } else { "**short**" };
    let ours = minute.as_secs_f64() * 1_000.0;
    print(format_args!("an agent that waits, processor time a minute, of {count} | {ours:.2} ms | | | {IDLE_MINUTE_MAX:?} | {verdict}"));
}

#[expect(clippy::print_stdout, reason = "a bench prints what it measured")]
fn print(line: impl Display) {
    println!("{line}");
}
