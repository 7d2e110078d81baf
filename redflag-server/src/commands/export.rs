//! `redflag-server export`: a fleet as JSON Lines.

use super::{database, lines, whole_file::WholeFile};
use crate::{
    arguments::{Database, Format},
    interrupt, output,
    progress::Progress,
};
use anyhow::Context as _;
use clap::Args;
use redflag_core::{Fleet, export::Summary};
use std::{
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Arguments of `redflag-server export`.
#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    database: Database,
    /// A new file for the lines, or - for standard output
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    #[command(flatten)]
    format: Format,
}

impl Export {
    /// Runs the command.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let fleet = database::filled(&self.database.database).await?;
        let to_file = self.output != Path::new("-");
        let summary = interrupt::or_interrupted(async {
            if to_file { to_new_file(&fleet, &self.output).await } else { to_standard_output(&fleet).await }
        })
        .await?;
        let said = if self.format.json {
            serde_json::to_string(&summary)?
        } else {
            format!("exported {}\ndigest {}", lines::counts(&summary), summary.digest)
        };
        // The lines themselves have standard output where they go there.
        if to_file {
            output::line(&said)?
        } else {
            output::aside(&said)
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn to_new_file(fleet: &Fleet, path: &Path) -> anyhow::Result<Summary> {
    let mut file = WholeFile::create(path)?;
    let summary = write(fleet, &mut file).await.with_context(|| format!("exporting to {}", path.display()))?;
    file.finish()?;
    Ok(summary)
}

async fn to_standard_output(fleet: &Fleet) -> anyhow::Result<Summary> {
    let mut out = BufWriter::new(io::stdout().lock());
    let summary = write(fleet, &mut out).await?;
    out.flush().context("writing to standard output")?;
    Ok(summary)
}

async fn write(fleet: &Fleet, out: &mut impl Write) -> anyhow::Result<Summary> {
    let progress = Progress::counting("exporting");
    lines::export(fleet, &progress, async |line| {
        out.write_all(line.as_bytes()).and_then(|()| out.write_all(b"\n")).context("writing a line")
    })
    .await
}
