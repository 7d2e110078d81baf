//! The command line of `redflag-agent`: its words, its help, and what each command does with the library.

use crate::{
    agent::{Agent, Counts, Delivery, ReportSummary, RunOptions},
    commands::CommandOptions,
    doctor_command::{self, DoctorArguments},
    enrolment::{EnrolOptions, enrol},
    error::Error,
    execute_command::{self, ExecuteArguments},
    executor::service::DEFAULT_SOCKET,
    forget_command::{self, ForgetArguments},
    home::{AgentHome, DEFAULT_STATE_DIR},
    host,
    identity::Identity,
    output::print,
    scan,
    scan_command::{self, ScanArguments},
    server::{PlainHttp, TrustedCertificates},
    simulation::{Latency, Profile, Simulation, SimulationOptions, SimulationSummary},
    status_command::{self, StatusArguments},
    terminal_progress::TerminalProgress,
    trust_command::{self, TrustArguments},
};
use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

/// Exit code of a report that is safe but not delivered: `EX_TEMPFAIL` of sysexits.h.
pub const EXIT_WAITING: u8 = 75;
/// Exit code of a state directory that belongs to another machine: `EX_CONFIG` of sysexits.h.
pub const EXIT_OTHER_MACHINE: u8 = 78;
/// Exit code of a server that does not accept the agent: `EX_NOPERM` of sysexits.h.
pub const EXIT_UNAUTHORIZED: u8 = 77;

const EXIT_CODES: &str = "\
Exit codes:
  0   done
  1   failed; the message says why and what to do
  2   the command line is not understood
  3   a scan failed (`scan`); a command was refused (`execute`)
  4   a scan is partial (`scan`); the end of a command was not seen (`execute`)
  75  the report is kept, the server does not answer (`report`)
  77  the server does not accept this agent or token
  78  the state directory was enrolled on another machine

Logs go to standard error; RUST_LOG=debug shows more.";

/// Finds the updates of this host and reports them to a RedFlag server
#[derive(Debug, Parser)]
#[command(name = "redflag-agent", version, after_help = EXIT_CODES)]
pub struct CommandLine {
    /// Where the agent keeps its key, identity and outbox
    #[arg(long, global = true, env = "REDFLAG_AGENT_STATE_DIR", hide_env_values = true, default_value = DEFAULT_STATE_DIR, value_name = "DIR")]
    pub state_dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

impl CommandLine {
    /// Whether the command stays for long, mostly waiting.
    #[must_use]
    pub const fn stays(&self) -> bool {
        matches!(self.command, Command::Run(_))
    }

    /// What the command needs to run on: an agent does one thing at a time and must stay small; a simulated fleet is to keep a server
    /// busy.
    #[must_use]
    pub fn runtime(&self) -> Builder {
        let mut runtime = match self.command {
            Command::Simulate(_) => Builder::new_multi_thread(),
            _ => Builder::new_current_thread(),
        };
        runtime.enable_all();
        runtime
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make this host an agent of a server
    #[command(
        visible_alias = "enroll",
        after_help = "\
Examples:
  redflag-agent enrol --server https://redflag.example --token TOKEN
  redflag-agent enrol --server http://127.0.0.1:8080 --token TOKEN --name web-01
  redflag-agent enrol --server https://redflag.internal --token TOKEN --ca /etc/ssl/our-ca.pem

After a lost answer run the same command again: id and key stay the same. The certificates of --ca are kept with the \
identity; to replace them, enrol again at the same server with the new ones."
    )]
    Enrol(EnrolArguments),
    /// Scan now, report once, and end
    #[command(after_help = "\
Examples:
  redflag-agent report
  redflag-agent report --json | jq .delivery
  redflag-agent report --adopt      after the state directory was moved here from another machine

A report the server does not answer for is kept and sent with the next one (exit code 75).")]
    Report(ReportArguments),
    /// Scan and report at every interval, until stopped
    #[command(after_help = "\
Examples:
  redflag-agent run
  redflag-agent run --interval-minutes 60
  redflag-agent run --executor none      reports, and takes no commands

Between scans it takes the commands the server has signed for this host and hands them to the executor \
(docs/executor.md). Ends cleanly at SIGTERM and SIGINT; with code 77 when the server no longer accepts this \
agent, and with 78 on another machine than the one enrolled.")]
    Run(RunArguments),
    /// Show who this agent is, what it last did and what waits
    #[command(after_help = "\
Examples:
  redflag-agent status
  redflag-agent status --json")]
    Status(StatusArguments),
    /// Pin another key of the server: one that may sign commands to this host, now or next
    TrustServerKey(TrustArguments),
    /// Believe the server's audit log from now on as it stands: forget the checkpoint this host keeps of it
    ForgetCheckpoint(ForgetArguments),
    /// Find out what is wrong with this agent, and how to mend it
    Doctor(DoctorArguments),
    /// Show what the scanners find, without reporting it
    Scan(ScanArguments),
    /// Hand a signed command to the executor of this host
    Execute(ExecuteArguments),
    /// Enrol and report a fleet of invented hosts
    #[command(after_help = "\
Examples:
  redflag-agent simulate --server http://127.0.0.1:8080 --token TOKEN --agents 20
  redflag-agent simulate --server http://127.0.0.1:8080 --token TOKEN --agents 500 --rounds 3 --seed 7
  redflag-agent simulate --server http://127.0.0.1:8080 --token TOKEN --agents 10000 --profile idle --duration 60 --concurrency 64 --json
  redflag-agent simulate --server http://127.0.0.1:8080 --token TOKEN --agents 100 --profile mixed --rounds 5

Every answer is held against what it must be; ends with exit code 1 when one is wrong. \
Simulated agents are tagged `simulated`. The token needs a seat for each of them.")]
    Simulate(SimulateArguments),
}

#[derive(Args, Debug)]
struct EnrolArguments {
    /// The server's address
    #[arg(long, env = "REDFLAG_SERVER", hide_env_values = true, value_name = "URL")]
    server: String,
    /// The enrolment token an operator made
    #[arg(long, env = "REDFLAG_TOKEN", hide_env_values = true)]
    token: String,
    /// The name to be shown, instead of the host's own
    #[arg(long)]
    name: Option<String>,
    /// Mark the agent with this word (may be repeated)
    #[arg(long = "tag", value_name = "WORD")]
    tags: Vec<String>,
    /// Print one JSON document instead of lines for people
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    transport: TransportArguments,
}

#[derive(Args, Debug)]
struct TransportArguments {
    /// Allow plain HTTP to other hosts: the network can then read the reports
    #[arg(long)]
    allow_plain_http: bool,
    /// Certificates in PEM by which the server proves itself, instead of those this host trusts: a private authority's
    #[arg(long, env = "REDFLAG_CA", hide_env_values = true, value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl TransportArguments {
    const fn plain_http(&self) -> PlainHttp {
        if self.allow_plain_http { PlainHttp::Anywhere } else { PlainHttp::LoopbackOnly }
    }

    fn trusted_certificates(&self) -> Result<Option<TrustedCertificates>> {
        let Some(path) = &self.ca else { return Ok(None) };
        let pem = std::fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))?;
        Ok(Some(TrustedCertificates::parse(&pem).with_context(|| format!("could not use {}", path.display()))?))
    }
}

#[derive(Args, Debug)]
struct ReportArguments {
    /// Take over a state directory that was moved here from another machine, where nothing uses it any more
    #[arg(long)]
    adopt: bool,
    /// Print one JSON document instead of lines for people
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct RunArguments {
    /// Minutes from one scan to the next, give or take a tenth
    #[arg(long, value_name = "MINUTES", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=10_080))]
    interval_minutes: u64,
    /// Where the executor listens that commands are handed to, or `none` to only observe; where it listens by default, if it does at
    /// the start
    #[arg(long, env = "REDFLAG_AGENT_EXECUTOR", hide_env_values = true, value_name = "PATH|none")]
    executor: Option<PathBuf>,
}

impl RunArguments {
    fn executor(&self) -> Option<CommandOptions> {
        match &self.executor {
            Some(none) if none.as_os_str() == "none" => None,
            Some(socket) => Some(CommandOptions::through(socket)),
            None => Path::new(DEFAULT_SOCKET).exists().then(|| CommandOptions::through(DEFAULT_SOCKET)),
        }
    }
}

#[derive(Args, Debug)]
struct SimulateArguments {
    /// The server's address
    #[arg(long, env = "REDFLAG_SERVER", hide_env_values = true, value_name = "URL")]
    server: String,
    /// An enrolment token with a seat for every agent
    #[arg(long, env = "REDFLAG_TOKEN", hide_env_values = true)]
    token: String,
    /// How many agents
    #[arg(long, value_name = "N", default_value_t = 10)]
    agents: u32,
    /// What the hosts are made from; the same seed makes the same fleet
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Updates of the first host
    #[arg(long, value_name = "N", default_value_t = 3_772)]
    first_updates: u32,
    /// What the agents do after their first report
    #[arg(long, value_name = "PROFILE", value_enum, default_value_t)]
    profile: Profile,
    /// Rounds after the first reports
    #[arg(long, value_name = "N", default_value_t = 0)]
    rounds: u32,
    /// Seconds of further rounds, counted from the first report
    #[arg(long, value_name = "N", default_value_t = 0)]
    duration: u64,
    /// Agents that work at the same time
    #[arg(long, value_name = "N", default_value_t = 8)]
    concurrency: u32,
    /// Print one JSON document instead of lines for people
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    transport: TransportArguments,
}

/// Does what the command line asks for.
///
/// # Errors
/// With a message for people; see [`exit_code`] for the code.
pub async fn run(line: &CommandLine) -> Result<ExitCode> {
    match &line.command {
        Command::Enrol(arguments) => enrol_command(&line.state_dir, arguments).await,
        Command::Report(arguments) => report_command(&line.state_dir, arguments).await,
        Command::Run(arguments) => run_command(&line.state_dir, arguments).await,
        Command::Status(arguments) => status_command::run(&line.state_dir, arguments),
        Command::TrustServerKey(arguments) => trust_command::run(&line.state_dir, arguments),
        Command::ForgetCheckpoint(arguments) => forget_command::run(&line.state_dir, arguments),
        Command::Doctor(arguments) => doctor_command::run(&line.state_dir, arguments).await,
        Command::Scan(arguments) => scan_command::run(arguments).await,
        Command::Execute(arguments) => execute_command::run(arguments).await,
        Command::Simulate(arguments) => simulate_command(arguments).await,
    }
}

/// The exit code that stands for an error.
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    match error.downcast_ref() {
        Some(Error::Unauthorized { .. } | Error::TokenRefused { .. }) => ExitCode::from(EXIT_UNAUTHORIZED),
        Some(Error::OtherMachine { .. }) => ExitCode::from(EXIT_OTHER_MACHINE),
        _ => ExitCode::FAILURE,
    }
}

async fn enrol_command(state_dir: &PathBuf, arguments: &EnrolArguments) -> Result<ExitCode> {
    let home = AgentHome::open(state_dir)?;
    let options = EnrolOptions {
        server: arguments.server.clone(),
        token: arguments.token.clone(),
        name: arguments.name.clone(),
        tags: arguments.tags.clone(),
        plain_http: arguments.transport.plain_http(),
        trusted_certificates: arguments.transport.trusted_certificates()?,
    };
    let identity = enrol(&home, &options).await.context("could not enrol; it is safe to run the same command again")?;
    let Identity { agent, name, server, .. } = &identity;
    if arguments.json {
        print(&serde_json::to_string_pretty(&status_command::Who::of(&identity))?)?;
        return Ok(ExitCode::SUCCESS);
    }
    print(&format!("enrolled as {name} ({agent}) at {server}"))?;
    print(&format!("key fingerprint: {}", identity.fingerprint()))?;
    if let Some(pins) = &identity.pins {
        print(&format!("server's key: {} ({})\n", pins.current().fingerprint(), pins.current().mode()))?;
        print(&trust_command::policy_hint(pins, server.host()))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn report_command(state_dir: &PathBuf, arguments: &ReportArguments) -> Result<ExitCode> {
    let home = AgentHome::existing(state_dir)?;
    if arguments.adopt {
        host::adopt(&home)?;
    }
    let mut agent = Agent::open(home, scan::scanners())?;
    let mut progress = TerminalProgress::new();
    let summary = agent.report(&mut progress).await?;
    drop(progress);
    if arguments.json {
        print(&serde_json::to_string_pretty(&summary)?)?;
    } else {
        print_summary(&summary)?;
    }
    Ok(match summary.delivery {
        Delivery::Delivered(_) => ExitCode::SUCCESS,
        Delivery::Waiting { .. } => ExitCode::from(EXIT_WAITING),
        Delivery::SetAside { .. } => ExitCode::FAILURE,
    })
}

fn print_summary(summary: &ReportSummary) -> Result<()> {
    if summary.scopes.is_empty() {
        print("no package manager was found on this host")?;
    }
    for scope in &summary.scopes {
        let because = scope.error.as_ref().map_or(String::new(), |error| format!(": {error}"));
        let (manager, result, updates, installable) = (&scope.manager, scope.result, scope.updates, scope.installable);
        print(&format!("{manager}: {updates} updates, {installable} installable now; scan {result}{because}"))?;
    }
    match &summary.delivery {
        Delivery::Delivered(counts) => {
            let Counts { reports, batches, events, recorded, unchanged, rejected, .. } = counts;
            print(&match events + recorded + unchanged + rejected {
                0 => format!("reports delivered: {reports}; nothing has changed"),
                _ => format!(
                    "reports delivered: {reports}; {events} events in {batches} batches; facts: {recorded} recorded, {unchanged} unchanged, {rejected} rejected"
                ),
            })?;
        }
        Delivery::Waiting { reason, depth } => print(&format!("kept, {} reports wait: {reason}", depth.reports))?,
        Delivery::SetAside { reason } => print(&format!("set aside in the quarantine: {reason}"))?,
    }
    Ok(())
}

async fn run_command(state_dir: &PathBuf, arguments: &RunArguments) -> Result<ExitCode> {
    let mut agent = Agent::open(AgentHome::existing(state_dir)?, scan::scanners())?;
    let options = RunOptions { interval: Duration::from_mins(arguments.interval_minutes), commands: arguments.executor() };
    let shutdown = shutdown_at_signal()?;
    let identity = agent.identity();
    let executor = options.commands.as_ref().map_or("none".into(), |commands| commands.socket.display().to_string());
    tracing::info!(agent = %identity.agent, server = %identity.server, interval_minutes = arguments.interval_minutes, executor, "started");
    agent.run(&options, shutdown).await.context("the agent has stopped")?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

fn shutdown_at_signal() -> Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("could not listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("could not listen for SIGINT")?;
    let shutdown = CancellationToken::new();
    let token = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        token.cancel();
    });
    Ok(shutdown)
}

async fn simulate_command(arguments: &SimulateArguments) -> Result<ExitCode> {
    let options = SimulationOptions {
        server: arguments.server.clone(),
        token: arguments.token.clone(),
        agents: arguments.agents,
        seed: arguments.seed,
        first_updates: arguments.first_updates,
        profile: arguments.profile,
        rounds: arguments.rounds,
        duration: Duration::from_secs(arguments.duration),
        concurrency: arguments.concurrency,
        plain_http: arguments.transport.plain_http(),
        trusted_certificates: arguments.transport.trusted_certificates()?,
    };
    let mut progress = TerminalProgress::new();
    let summary = Simulation::new(options).run(&mut progress).await.context("the simulation has stopped")?;
    drop(progress);
    let code = if summary.wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    print(&if arguments.json { serde_json::to_string_pretty(&summary)? } else { simulated(&summary) })?;
    Ok(code)
}

fn simulated(summary: &SimulationSummary) -> String {
    let SimulationSummary { agents, reporting, reports, bytes, events, batches, seconds, reports_per_second, .. } = summary;
    let mut lines = vec![
        format!(
            "{agents} agents enrolled, {reporting} report: {reports} reports of {bytes} bytes in {seconds:.1} s ({reports_per_second:.1}/s)"
        ),
        format!(
            "{events} events in {batches} batches; facts: {} recorded, {} unchanged, {} rejected",
            summary.recorded, summary.unchanged, summary.rejected
        ),
        format!(
            "reports: {} recorded, {} unchanged, {} stale; {} refused as they must be",
            summary.reports_recorded, summary.reports_unchanged, summary.reports_stale, summary.refused
        ),
        format!("{} updates are open; {} scans failed, {} were partial", summary.updates, summary.failed_scans, summary.partial_scans),
    ];
    for (kind, Latency { count, p50_ms, p90_ms, p99_ms, max_ms }) in &summary.latencies {
        let kind = format!("{kind:?}").to_lowercase();
        lines
            .push(format!("{kind:<8} {count:>8} requests  p50 {p50_ms:.1} ms  p90 {p90_ms:.1} ms  p99 {p99_ms:.1} ms  max {max_ms:.1} ms"));
    }
    if summary.wrong > 0 {
        lines.push(format!("WRONG ANSWERS: {}", summary.wrong));
        lines.extend(summary.wrong_answers.iter().map(|wrong| format!("  {wrong}")));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn an_executor_is_taken_where_one_is_named_and_none_where_none_is_wanted() {
        let executor = |words: &[&str]| {
            let line = CommandLine::try_parse_from([&["redflag-agent", "run"], words].concat()).unwrap();
            let Command::Run(arguments) = line.command else { panic!("{line:?}") };
            arguments.executor().map(|options| options.socket)
        };
        assert_eq!(executor(&["--executor", "/tmp/x.sock"]), Some("/tmp/x.sock".into()));
        assert_eq!(executor(&["--executor", "none"]), None);
        assert_eq!(executor(&[]).is_some(), Path::new(DEFAULT_SOCKET).exists());
    }

    #[test]
    fn the_terminal_alone_breaks_the_lines_of_a_paragraph() {
        for command in CommandLine::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let prose = |line: &str| !line.is_empty() && !line.starts_with(' ') && !line.ends_with(':');
            for (line, next) in help.lines().zip(help.lines().skip(1)) {
                assert!(!(prose(line) && prose(next)), "{}: a break after {line:?}", command.get_name());
            }
        }
    }
}
