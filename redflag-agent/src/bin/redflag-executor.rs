//! The `redflag-executor` binary: see [`redflag_agent::executor`].

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    redflag_agent::executor::command_line::main().await
}
