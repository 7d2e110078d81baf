//! `redflag-agent doctor`: what is wrong with this agent and how to mend it, as lines for people or one JSON document.

use crate::{
    doctor::{Doctor, Finding, Verdict, worst},
    output::print,
    scan,
    terminal_progress::TerminalProgress,
};
use anyhow::Result;
use clap::Args;
use serde::Serialize;
use std::{path::Path, process::ExitCode};

/// Arguments of `redflag-agent doctor`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Looks at the state directory, enrolment, keys, clock, server, outbox, commands, package managers, container engine, executor, disk and \
unit, and changes nothing. As root it sees more.

Exit codes: 0 no problem was found (there may be warnings), 1 there is a problem.

Examples:
  redflag-agent doctor
  redflag-agent doctor --json | jq '.findings[] | select(.verdict == \"problem\")'")]
pub struct DoctorArguments {
    /// Print one JSON document instead of lines for people
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    verdict: Verdict,
    findings: &'a [Finding],
}

/// Examines and prints.
///
/// # Errors
/// When the output cannot be written.
pub async fn run(state_dir: &Path, arguments: &DoctorArguments) -> Result<ExitCode> {
    let findings = Doctor::new(state_dir, scan::scanners()).examine(&mut TerminalProgress::new()).await;
    let verdict = worst(&findings);
    print(&if arguments.json { serde_json::to_string_pretty(&Document { verdict, findings: &findings })? } else { lines(&findings) })?;
    Ok(if verdict == Verdict::Problem { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn lines(findings: &[Finding]) -> String {
    let mut lines = Vec::new();
    for Finding { check, verdict, message, remedy } in findings {
        let mark = match verdict {
            Verdict::Ok => "ok",
            Verdict::Skipped => "-",
            Verdict::Warning => "WARNING",
            Verdict::Problem => "PROBLEM",
        };
        lines.push(format!("{mark:<8} {check:<16} {message}"));
        lines.extend(remedy.as_ref().map(|remedy| format!("{:<8} {:<16} -> {remedy}", "", "")));
    }
    let count = |wanted| findings.iter().filter(|finding| finding.verdict == wanted).count();
    lines.push(format!("\n{} problems, {} warnings", count(Verdict::Problem), count(Verdict::Warning)));
    lines.join("\n")
}
