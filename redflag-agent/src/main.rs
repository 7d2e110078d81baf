//! The `redflag-agent` binary: sets up logs, runs the command, turns the outcome into an exit code.

use clap::Parser as _;
use redflag_agent::{
    command_line::{CommandLine, exit_code, run},
    output::note,
};
use std::{
    io::{self, IsTerminal as _},
    process::ExitCode,
};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

#[tokio::main]
async fn main() -> ExitCode {
    let line = CommandLine::parse();
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).init();
    match run(&line).await {
        Ok(code) => code,
        Err(error) => {
            note(&format!("error: {error:#}"));
            exit_code(&error)
        }
    }
}
