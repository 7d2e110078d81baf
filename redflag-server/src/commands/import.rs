//! `redflag-server import`: a fleet from JSON Lines into an empty database.

use super::{database, lines, target::Target};
use crate::{
    arguments::{Database, Format},
    cli::WrongUsage,
    interrupt, output,
    progress::Progress,
};
use anyhow::Context as _;
use clap::Args;
use std::{
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Arguments of `redflag-server import`.
#[derive(Debug, Args)]
pub(crate) struct Import {
    #[command(flatten)]
    database: Database,
    /// The file with the lines, or - for standard input
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    input: PathBuf,
    #[command(flatten)]
    format: Format,
}

impl Import {
    /// Runs the command.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let name = database::name(&self.database.database)?;
        let input = self.open()?;
        let target = Target::open(name).await?;
        let importing = async |_: &_, importer| {
            let progress = Progress::counting("importing");
            interrupt::or_interrupted(lines::import(importer, &progress, input)).await
        };
        let summary = target.fill(importing).await?;
        let said = if self.format.json {
            serde_json::to_string(&summary)?
        } else {
            format!("imported {}\ndigest {}", lines::counts(&summary), summary.digest)
        };
        output::line(&said)?;
        Ok(ExitCode::SUCCESS)
    }

    fn open(&self) -> anyhow::Result<Box<dyn BufRead + Send>> {
        if self.input != Path::new("-") {
            let file = File::open(&self.input).with_context(|| format!("opening {}", self.input.display()))?;
            return Ok(Box::new(BufReader::new(file)));
        }
        if io::stdin().is_terminal() {
            return Err(WrongUsage("standard input is a terminal: give --input FILE, or pipe an export in").into());
        }
        Ok(Box::new(BufReader::new(io::stdin())))
    }
}
