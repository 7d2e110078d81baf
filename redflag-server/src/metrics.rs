//! What the server counts of itself, in Prometheus' text format.
//!
//! Names and labels are closed lists: nothing that a stranger sends becomes a label. Counters begin at zero with the process; numbers of
//! the fleet are read when they are asked for.

use crate::{access::Policy, app::App, quarantine};
use axum::http::StatusCode;
use redflag_core::{
    query::{AgentQuery, PageSize, UpdateFilter},
    store::StoreError,
};
use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    fs,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// Upper bounds of the buckets of answers' times, in seconds.
const BUCKETS: [f64; 7] = [0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0];
/// The statuses that are counted by themselves; any other is `other`.
const STATUSES: [u16; 20] = [200, 201, 204, 303, 304, 400, 401, 403, 404, 405, 408, 409, 410, 413, 415, 422, 426, 429, 500, 503];

/// What this process has counted.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    answers: Mutex<BTreeMap<&'static str, Answers>>,
    connections: AtomicU64,
    connections_refused: AtomicU64,
    audit_log_damaged: AtomicBool,
}

/// Answers to one kind of client.
#[derive(Debug, Default)]
struct Answers {
    /// By status; 0 is any that is not counted by itself.
    statuses: BTreeMap<u16, u64>,
    /// Those within each of [`BUCKETS`] and of none before it.
    within: [u64; BUCKETS.len()],
    count: u64,
    seconds: f64,
}

impl Metrics {
    /// A request on a route of `policy` was answered.
    pub(crate) fn answered(&self, policy: Policy, status: StatusCode, after: Duration) {
        let by = match policy {
            Policy::Public => "anybody",
            Policy::Agent => "agent",
            Policy::Operator(..) | Policy::Person(_) => "operator",
        };
        let status = Some(status.as_u16()).filter(|status| STATUSES.contains(status)).unwrap_or(0);
        let seconds = after.as_secs_f64();
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let answers = answers.entry(by).or_default();
        *answers.statuses.entry(status).or_default() += 1;
        if let Some(bucket) = BUCKETS.iter().position(|bound| seconds <= *bound) {
            answers.within[bucket] += 1;
        }
        answers.count += 1;
        answers.seconds += seconds;
    }

    /// The feed can be sealed into the audit log, or its end is damaged.
    pub(crate) fn audit_log_damaged(&self, damaged: bool) {
        self.audit_log_damaged.store(damaged, Ordering::Relaxed);
    }

    /// A connection was accepted.
    pub(crate) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection that was accepted has ended.
    pub(crate) fn disconnected(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// A connection was closed because its address holds too many.
    pub(crate) fn refused_connection(&self) {
        self.connections_refused.fetch_add(1, Ordering::Relaxed);
    }

    fn write_answers(&self, text: &mut Text) {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        text.head("redflag_answers_total", "counter", "Answers to requests on known routes, by who may send them and by status.");
        for (by, answers) in &*answers {
            for (status, count) in &answers.statuses {
                let status = if *status == 0 { "other".to_owned() } else { status.to_string() };
                text.line(format_args!("redflag_answers_total{{by=\"{by}\",status=\"{status}\"}}"), count);
            }
        }
        text.head("redflag_answer_seconds", "histogram", "Time to an answer; agents that wait for commands wait in it.");
        for (by, answers) in &*answers {
            let mut within = 0;
            for (bound, count) in BUCKETS.iter().zip(answers.within) {
                within += count;
                text.line(format_args!("redflag_answer_seconds_bucket{{by=\"{by}\",le=\"{bound}\"}}"), within);
            }
            text.line(format_args!("redflag_answer_seconds_bucket{{by=\"{by}\",le=\"+Inf\"}}"), answers.count);
            text.line(format_args!("redflag_answer_seconds_sum{{by=\"{by}\"}}"), answers.seconds);
            text.line(format_args!("redflag_answer_seconds_count{{by=\"{by}\"}}"), answers.count);
        }
    }
}

/// All metrics as text.
///
/// # Errors
/// When the store fails.
pub(crate) async fn text(app: &App) -> Result<String, StoreError> {
    let store = app.fleet.store();
    let agents = store.agents(&AgentQuery { size: PageSize::new(1)?, ..AgentQuery::default() }).await?.total;
    let updates = store.stats(&UpdateFilter::default()).await?.total;
    let quarantined = quarantine::all(store).await?.len();
    let metrics = &app.metrics;
    let mut text = Text::default();
    text.head("redflag_build_info", "gauge", "The version that runs.");
    text.line(format_args!("redflag_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1);
    text.only("redflag_agents", "gauge", "Agents enrolled.", agents);
    text.only("redflag_agents_quarantined", "gauge", "Agents in quarantine.", quarantined);
    text.only("redflag_updates_open", "gauge", "Open updates over all agents.", updates);
    let (open, refused) = (metrics.connections.load(Ordering::Relaxed), metrics.connections_refused.load(Ordering::Relaxed));
    text.only("redflag_connections", "gauge", "Connections that are open.", open);
    let help = "Connections closed because their address held as many as one may.";
    text.only("redflag_connections_refused_total", "counter", help, refused);
    let damaged = u8::from(metrics.audit_log_damaged.load(Ordering::Relaxed));
    text.only(
        "redflag_audit_log_damaged",
        "gauge",
        "Whether nothing can be put down in the audit log, because its end cannot be read.",
        damaged,
    );
    metrics.write_answers(&mut text);
    if let Some(bytes) = resident_bytes() {
        text.only("process_resident_memory_bytes", "gauge", "Memory of the process that is in use.", bytes);
    }
    Ok(text.0)
}

/// Text in the making.
#[derive(Default)]
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("texts take what is written");
    }

    fn line(&mut self, series: fmt::Arguments<'_>, value: impl fmt::Display) {
        writeln!(self.0, "{series} {value}").expect("texts take what is written");
    }

    fn only(&mut self, name: &str, kind: &str, help: &str, value: impl fmt::Display) {
        self.head(name, kind, help);
        self.line(format_args!("{name}"), value);
    }
}

/// Where the system tells.
fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kibibytes: u64 = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1_024)
}
