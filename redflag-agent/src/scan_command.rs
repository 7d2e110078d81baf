//! `redflag-agent scan`: what the scanners find, as a table for people or one JSON document for programs.

use clap::Args;
use std::process::ExitCode;

/// Arguments of `redflag-agent scan`.
#[derive(Clone, Debug, Args)]
pub struct ScanArguments {
    /// Print one JSON document instead of tables
    #[arg(long)]
    pub json: bool,
    /// Scan this manager only (may be repeated); otherwise every one this host has
    #[arg(long, value_name = "MANAGER")]
    pub manager: Vec<String>,
}

/// Scans and prints.
///
/// # Errors
/// When the output cannot be written.
pub async fn run(arguments: &ScanArguments) -> anyhow::Result<ExitCode> {
    let _ = arguments;
    Ok(ExitCode::SUCCESS)
}
