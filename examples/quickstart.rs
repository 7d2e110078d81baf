//! The quickstart: a server and an agent in one process on SQLite, showing the real updates of this very machine.
//!
//! `cargo run --release --example quickstart`, with `-- --help` for what else it can do.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program")]

use anyhow::Context as _;
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use redflag_agent::{
    Agent, AgentHome, Delivery, EnrolOptions, PlainHttp, ReportSummary, RunOptions, Simulation, SimulationOptions, SimulationSummary,
    Stage, enrol, scan,
};
use redflag_core::Fleet;
use redflag_examples::ApiReader;
use redflag_server::{EnrolmentTokenOptions, Server, Settings};
use redflag_store_sqlite::{Options, SqliteStore};
use serde_json::{Value, json};
use std::{
    io::{self, IsTerminal as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

const PORT_WITH_DATA: u16 = 7833;
const PAGE_ROWS: usize = 500;

const HELP: &str = "Examples:
  cargo run --release --example quickstart
  cargo run --release --example quickstart -- --demo 20
  cargo run --release --example quickstart -- --once --json
  cargo run --release --example quickstart -- --data ./redflag-data --listen 127.0.0.1:9000";

/// Shows the updates of this machine in a browser: server, agent and SQLite in one process.
#[derive(Debug, Parser)]
#[command(after_help = HELP)]
struct Arguments {
    /// Where to listen; when not given, a free port of 127.0.0.1, or port 7833 with --data, so that the agent finds its server again
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where to keep the database and the agent's key; a fresh temporary directory when not given
    #[arg(long, value_name = "DIRECTORY")]
    data: Option<PathBuf>,
    /// Add this many simulated agents, labelled as such; the first has about 3,772 updates
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(0..=2_000))]
    demo: u32,
    /// End as soon as the updates can be read through the HTTP API
    #[arg(long)]
    once: bool,
    /// Print one JSON object instead of text
    #[arg(long, requires = "once")]
    json: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into()))
        .with_writer(io::stderr)
        .init();
    match run(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The causes in one line: a backtrace says nothing to who only wanted to see it run.
            eprintln!("quickstart: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let started = Instant::now();
    let data = data_directory(arguments.data.as_deref())?;
    let database = data.join("redflag.db");
    let store = SqliteStore::open(&database, Options::default()).with_context(|| format!("opening {}", database.display()))?;

    let port = if arguments.data.is_some() { PORT_WITH_DATA } else { 0 };
    let listen = arguments.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], port)));
    let (signing_key, audit_key) = (Some(data.join("signing-key")), Some(data.join("audit-key")));
    let settings = Settings { listen, database: database.display().to_string(), signing_key, audit_key, ..Settings::default() };
    let server = Server::bind(settings, Fleet::new(store)).await.with_context(|| match listen.ip().is_loopback() {
        true => format!("starting the server on {listen}; --listen takes another address, port 0 any free one"),
        false => "the quickstart speaks plain HTTP, so it listens on this machine only".to_owned(),
    })?;
    let url = server.url();
    let own_link = server.sign_in_link().await?;
    let persons_link = server.sign_in_link().await?;
    let token = server.enrolment_token(EnrolmentTokenOptions { seats: 1 + arguments.demo, ..EnrolmentTokenOptions::default() }).await?;
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(server.run(shutdown.clone()));

    let progress = Narrator::new();
    let mut agent = enrolled_agent(&data, &url, &token).await?;
    let summary = agent.report(&mut |stage: &Stage| progress.tell(stage)).await?;
    if let Delivery::Waiting { reason, .. } | Delivery::SetAside { reason } = &summary.delivery {
        anyhow::bail!("the report of this machine was not taken: {reason}");
    }
    let simulated = match arguments.demo {
        0 => None,
        agents => Some(simulate(&url, &token, agents, &progress).await?),
    };
    let answer = read_back(&own_link, &agent, &summary).await?;
    progress.finish();

    if arguments.json {
        let mut answer = answer;
        answer["elapsed_ms"] = json!(u64::try_from(started.elapsed().as_millis())?);
        answer["database"] = json!(database);
        println!("{answer}");
    } else {
        tell_people(&summary, &answer, simulated.as_ref(), &database);
    }
    if !arguments.once {
        println!("\nOpen this link to sign in (once, within 15 minutes):\n\n  {persons_link}\n\nCtrl-C ends it.");
        let waiting = tokio::spawn(cancel_when_interrupted(shutdown.clone()));
        agent.run(&RunOptions { interval: Duration::from_mins(5), ..RunOptions::default() }, shutdown.clone()).await?;
        waiting.await.context("waiting for Ctrl-C")??;
    }
    shutdown.cancel();
    serving.await.context("the server's task")??;
    Ok(())
}

/// The directory asked for, or a fresh one.
fn data_directory(asked_for: Option<&Path>) -> anyhow::Result<PathBuf> {
    let directory = match asked_for {
        Some(directory) => directory.to_owned(),
        None => tempfile::Builder::new().prefix("redflag-quickstart-").tempdir().context("making a temporary directory")?.keep(),
    };
    std::fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
    directory.canonicalize().with_context(|| format!("finding {}", directory.display()))
}

async fn enrolled_agent(data: &Path, url: &str, token: &str) -> anyhow::Result<Agent> {
    let home = AgentHome::open(data.join("agent"))?;
    let options =
        EnrolOptions { server: url.to_owned(), token: token.to_owned(), plain_http: PlainHttp::LoopbackOnly, ..EnrolOptions::default() };
    enrol(&home, &options).await.context("enrolling this machine")?;
    Agent::open(home, scan::scanners()).context("opening the agent")
}

async fn simulate(url: &str, token: &str, agents: u32, progress: &Narrator) -> anyhow::Result<SimulationSummary> {
    let options = SimulationOptions { server: url.to_owned(), token: token.to_owned(), agents, ..SimulationOptions::default() };
    Simulation::new(options).run(&mut |stage: &Stage| progress.tell(stage)).await.context("simulating a fleet")
}

/// Reads what was stored through the HTTP API, every row of it, and makes sure that it is what was reported.
async fn read_back(link: &str, agent: &Agent, summary: &ReportSummary) -> anyhow::Result<Value> {
    let Delivery::Delivered(counts) = &summary.delivery else { anyhow::bail!("the report was not delivered") };
    let api = ApiReader::sign_in(link).await?;
    let agent_id = agent.identity().agent;
    let mut managers = serde_json::Map::new();
    for scope in &summary.scopes {
        let stats = api.get(&format!("api/v1/stats?agent_id={agent_id}&package_type={}", scope.manager)).await?;
        let stats = &stats["updates"];
        if stats["total"] != json!(scope.updates) {
            anyhow::bail!("{}: {} updates were reported, the API shows {}", scope.manager, scope.updates, stats["total"]);
        }
        managers.insert(scope.manager.to_string(), json!({ "updates": stats["total"], "installable": stats["installable"] }));
    }
    let mut rows = 0;
    let updates_total = loop {
        let page = rows / PAGE_ROWS + 1;
        let listing = api.get(&format!("api/v1/updates?agent_id={agent_id}&page={page}&page_size={PAGE_ROWS}")).await?;
        let on_page = listing["updates"].as_array().map_or(0, Vec::len);
        rows += on_page;
        if on_page < PAGE_ROWS {
            break listing["total"].clone();
        }
    };
    if updates_total != json!(rows) {
        anyhow::bail!("the API counts {updates_total} updates and lists {rows}");
    }
    let batches = api.get(&format!("api/v1/batches?agent_id={agent_id}&page_size=1")).await?;
    Ok(json!({
        "agent_id": agent_id,
        "managers": managers,
        "updates_total": updates_total,
        "batches": batches["total"],
        "rejected": counts.rejected,
    }))
}

fn tell_people(summary: &ReportSummary, answer: &Value, simulated: Option<&SimulationSummary>, database: &Path) {
    for scope in &summary.scopes {
        let trouble = scope.error.as_ref().map_or(String::new(), |error| format!("  ({} scan: {error})", scope.result));
        println!("{:>9}: {} updates, {} can be installed now{trouble}", scope.manager, scope.updates, scope.installable);
    }
    println!("{:>9}: {} updates in {} batches", "this host", answer["updates_total"], answer["batches"]);
    if let Some(simulated) = simulated {
        println!("{:>9}: {} updates of {} invented hosts, tagged `simulated`", "simulated", simulated.updates, simulated.agents);
    }
    println!("{:>9}: {}", "database", database.display());
}

async fn cancel_when_interrupted(shutdown: CancellationToken) -> io::Result<()> {
    if let Some(interrupted) = shutdown.run_until_cancelled(tokio::signal::ctrl_c()).await {
        interrupted?;
        shutdown.cancel();
    }
    Ok(())
}

/// Says on standard error what is being done: a spinner on a terminal, lines elsewhere.
struct Narrator {
    spinner: Option<ProgressBar>,
}

impl Narrator {
    fn new() -> Self {
        let spinner = io::stderr().is_terminal().then(|| {
            let spinner = ProgressBar::new_spinner().with_style(ProgressStyle::default_spinner());
            spinner.enable_steady_tick(Duration::from_millis(100));
            spinner
        });
        Self { spinner }
    }

    fn tell(&self, stage: &Stage) {
        let message = match stage {
            Stage::Scanning { manager } => format!("scanning {manager}"),
            Stage::Scanned { manager, result, updates } => format!("scanned {manager}: {updates} updates ({result})"),
            Stage::Sending { bytes, .. } => format!("reporting {bytes} bytes"),
            Stage::Retrying { error, after } => format!("trying again in {after:.1?}: {error}"),
            Stage::Enrolled { agents, of } => format!("simulated agents enrolled: {agents} of {of}"),
            Stage::Reported { agents, of, .. } => format!("simulated agents reported: {agents} of {of}"),
            _ => return,
        };
        match &self.spinner {
            Some(spinner) => spinner.set_message(message),
            None => eprintln!("{message}"),
        }
    }

    fn finish(&self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}
