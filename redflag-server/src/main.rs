//! The `redflag-server` binary: reads the command line, runs a command, and maps failures to exit codes.

mod arguments;
mod cli;
mod commands;
mod interrupt;
mod open_files;
mod output;
mod progress;
mod remote;

use clap::Parser as _;
use std::{io::IsTerminal as _, process::ExitCode};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    let filter = EnvFilter::try_from_env("REDFLAG_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr).init();
    match cli::run(arguments).await {
        Ok(code) => code,
        Err(error) => {
            output::aside(&format!("redflag-server: {error:#}"));
            cli::exit_code(&error)
        }
    }
}
