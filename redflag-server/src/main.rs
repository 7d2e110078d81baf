//! The `redflag-server` binary: reads the command line, composes the server, and maps failures to exit codes.

mod cli;
mod output;

use clap::Parser as _;
use std::{error::Error, io::IsTerminal as _, process::ExitCode};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    let filter = EnvFilter::try_from_env("REDFLAG_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr).init();
    match cli::run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut message = format!("redflag-server: {error}");
            let mut cause: Option<&(dyn Error + 'static)> = error.source();
            while let Some(error) = cause {
                message.push_str(&format!(": {error}"));
                cause = error.source();
            }
            output::complain(&message);
            ExitCode::FAILURE
        }
    }
}
