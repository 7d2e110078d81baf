//! The `redflag-agent` binary: sets up memory and logs, runs the command, turns the outcome into an exit code.

use anyhow::Context as _;
use clap::Parser as _;
use redflag_agent::{
    command_line::{CommandLine, exit_code, run},
    output::note,
};
use std::{
    io::{self, IsTerminal as _},
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// Limits of glibc's allocator, in bytes; see mallopt(3).
const ALLOCATOR: [(&str, &str); 2] = [("MALLOC_TRIM_THRESHOLD_", "131072"), ("MALLOC_MMAP_THRESHOLD_", "131072")];

fn main() -> ExitCode {
    let line = CommandLine::parse();
    if line.stays() {
        start_anew_with_fixed_limits();
    }
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).init();
    match line.runtime().build().context("could not start").and_then(|runtime| runtime.block_on(run(&line))) {
        Ok(code) => code,
        Err(error) => {
            note(&format!("error: {error:#}"));
            exit_code(&error)
        }
    }
}

/// An agent works for seconds and waits for minutes. glibc would keep what the work freed, by limits that grow with the largest block
/// it ever freed; fixed ones make it give the memory back, and can be set only in the environment a program starts with. So the
/// program starts itself anew, as the same process. Where that fails it is only larger.
fn start_anew_with_fixed_limits() {
    if ALLOCATOR.iter().any(|(name, _)| std::env::var_os(name).is_some()) {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let error = Command::new(program).args(std::env::args_os().skip(1)).envs(ALLOCATOR).exec();
    note(&format!("could not start anew with fixed limits for memory, going on without: {error}"));
}
