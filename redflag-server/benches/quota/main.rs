//! What one agent that asks for a hundred times its quota costs the others, and the server's memory: a calm run and a besieged one, side
//! by side.
//!
//! ```sh
//! cargo bench -p redflag-server --bench quota
//! ```
//!
//! The server is its binary, over a SQLite file, asked over HTTP on loopback with signed requests. Calm and besieged rounds take turns in
//! one run. In each, 50 agents report that nothing has changed; meanwhile the greedy one, whose budget is spent, sends on four connections
//! reports that each name a thousand packages it has not named before: at least a hundred times the events it is given in a second.
//!
//! | variable | means | unset |
//! |---|---|---|
//! | `REDFLAG_ROUNDS` | rounds of each kind, of 50 reports | 20 |

#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

#[path = "../../tests/api/process.rs"]
#[expect(dead_code, reason = "the bench uses its own part of what the tests share")]
mod process;
#[path = "../../tests/api/support.rs"]
#[expect(dead_code, reason = "the bench uses its own part of what the tests share")]
mod support;

use axum::http::Method;
use process::{Running, client};
use redflag_core::{agent::Enrolment, names::Text};
use redflag_server::{Settings, clock, open_fleet};
use std::{
    fmt::Display,
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use support::{TestAgent, now, offer, report, scope};
use tokio::task::JoinSet;

const OTHERS: usize = 50;
const CONNECTIONS: u64 = 4;
/// Events the greedy agent is given in a second, by the server's default.
const EVENTS_PER_SECOND: u64 = 20;
/// Events of each of its reports.
const EVENTS_OF_REPORT: u64 = 1_000;
/// How long the others' reports of a round are spread over.
const ROUND: Duration = Duration::from_secs(1);

#[tokio::main]
async fn main() {
    let rounds: u32 = std::env::var("REDFLAG_ROUNDS").map_or(20, |rounds| rounds.parse().expect("REDFLAG_ROUNDS is a number"));
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("redflag.db");
    let agents = enrolled(&database.display().to_string()).await;
    let (greedy, others) = agents.split_first().unwrap();
    let server = Arc::new(Running::start(&database, 1).await);
    let client = client();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    print(format_args!("{rounds} rounds of {OTHERS} reports; load {}", load.trim()));
    exhaust(&client, &server, greedy).await;
    let (mut calm, mut besieged) = (Vec::new(), Vec::new());
    let (taken, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (mut sequence, before, mut siege_time) = (1, resident_kib(&server), Duration::ZERO);
    round(&client, &server, others, sequence).await;
    for _ in 0..rounds {
        sequence += 1;
        calm.extend(round(&client, &server, others, sequence).await);
        let siege = besiege(&client, &server, greedy, &taken, &refused);
        let began = Instant::now();
        sequence += 1;
        besieged.extend(round(&client, &server, others, sequence).await);
        siege_time += began.elapsed();
        drop(siege);
    }
    let asked = (taken.load(Ordering::Relaxed) + refused.load(Ordering::Relaxed)) * EVENTS_OF_REPORT;
    let times = asked as f64 / siege_time.as_secs_f64() / EVENTS_PER_SECOND as f64;
    print("what | calm | besieged | ratio");
    print("---|---|---|---");
    for percent in [50, 99] {
        let [calm, besieged] = [&mut calm, &mut besieged].map(|times| percentile(times, percent));
        let ratio = besieged.as_secs_f64() / calm.as_secs_f64();
        print(format_args!("a report of another agent, p{percent} | {calm:.2?} | {besieged:.2?} | {ratio:.2}"));
    }
    print(format_args!("memory of the server, MiB | {:.1} | {:.1} | ", before as f64 / 1_024.0, resident_kib(&server) as f64 / 1_024.0));
    print(format_args!("asked for, times its quota of events | | {times:.0} | "));
    print(format_args!("reports taken and refused | | {} and {} | ", taken.load(Ordering::Relaxed), refused.load(Ordering::Relaxed)));
}

async fn enrolled(database: &str) -> Vec<TestAgent> {
    let fleet = open_fleet(&Settings { database: database.to_owned(), ..Settings::default() }).await.unwrap();
    let agents: Vec<_> = std::iter::repeat_with(TestAgent::new).take(OTHERS + 1).collect();
    for agent in &agents {
        let (name, public_key) = (Text::lossy(&agent.id.to_string()), agent.key.verifying_key().to_bytes());
        fleet.enrol(Enrolment { agent: agent.id, name, public_key, tags: Vec::new(), enrolled_at: clock::now() }).await.unwrap();
    }
    agents
}

/// Spends what the greedy agent may spend at once.
async fn exhaust(client: &reqwest::Client, server: &Running, greedy: &TestAgent) {
    for sequence in 1.. {
        if post(client, server, greedy, greedy_report(sequence, 40_000)).await == 429 {
            return;
        }
    }
}

/// Sends reports until it is dropped.
fn besiege(
    client: &reqwest::Client,
    server: &Arc<Running>,
    greedy: &TestAgent,
    taken: &Arc<AtomicU64>,
    refused: &Arc<AtomicU64>,
) -> JoinSet<()> {
    static SEQUENCE: AtomicU64 = AtomicU64::new(1_000);
    let mut siege = JoinSet::new();
    // A hundredfold from all connections together.
    let every = Duration::from_millis(1_000 * CONNECTIONS * EVENTS_OF_REPORT / (100 * EVENTS_PER_SECOND));
    for _ in 0..CONNECTIONS {
        let (client, server, greedy) = (client.clone(), Arc::clone(server), greedy.clone());
        let (taken, refused) = (Arc::clone(taken), Arc::clone(refused));
        siege.spawn(async move {
            let mut ticks = tokio::time::interval(every);
            loop {
                ticks.tick().await;
                let body = greedy_report(SEQUENCE.fetch_add(1, Ordering::Relaxed), EVENTS_OF_REPORT);
                match post(&client, &server, &greedy, body).await {
                    200 => taken.fetch_add(1, Ordering::Relaxed),
                    429 => refused.fetch_add(1, Ordering::Relaxed),
                    other => panic!("the greedy agent was answered {other}"),
                };
            }
        });
    }
    siege
}

fn greedy_report(sequence: u64, events: u64) -> String {
    let offers: Vec<_> = (0..events).map(|number| offer(&format!("p{sequence}-{number}"), "1-1", "1-2", "low")).collect();
    report(sequence, &[scope("dnf", &offers)]).to_string()
}

/// One report of each of the others, spread evenly; the time each took.
async fn round(client: &reqwest::Client, server: &Arc<Running>, others: &[TestAgent], sequence: u64) -> Vec<Duration> {
    let mut reports = JoinSet::new();
    let mut ticks = tokio::time::interval(ROUND / u32::try_from(OTHERS).unwrap());
    for agent in others {
        ticks.tick().await;
        let (client, server, agent) = (client.clone(), Arc::clone(server), agent.clone());
        reports.spawn(async move {
            let body = report(sequence, &[scope("dnf", &[])]).to_string();
            let began = Instant::now();
            assert_eq!(post(&client, &server, &agent, body).await, 200);
            began.elapsed()
        });
    }
    reports.join_all().await
}

async fn post(client: &reqwest::Client, server: &Running, agent: &TestAgent, body: String) -> u16 {
    let (path, host) = ("/api/v1/report", server.url.strip_prefix("http://").unwrap());
    let headers = agent.headers(host, &Method::POST, path, body.as_bytes(), now());
    let request = client.post(format!("{}{path}", server.url)).header("content-type", "application/json").body(body);
    let request = headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
    match request.send().await {
        Ok(answer) => answer.status().as_u16(),
        // Refused before its body was read, a client may still be writing when the connection ends.
        Err(error) if error.is_request() || error.is_body() => 429,
        Err(error) => panic!("{error}"),
    }
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * percent / 100).min(times.len() - 1)]
}

fn resident_kib(server: &Running) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.child.id().unwrap())).unwrap();
    status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

#[expect(clippy::print_stdout, reason = "a bench prints what it measured")]
fn print(line: impl Display) {
    println!("{line}");
}
