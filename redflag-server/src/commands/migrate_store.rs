//! `redflag-server migrate-store`: a fleet moves to another database, and both are shown to hold the same.

use super::{database, lines, target::Target};
use crate::{arguments::Format, cli::WrongUsage, interrupt, output, progress::Progress};
use anyhow::bail;
use clap::Args;
use redflag_core::{
    Fleet,
    export::{Importer, Summary},
};
use redflag_server::DatabaseName;
use serde_json::json;
use std::{fs, os::unix::fs::MetadataExt as _, process::ExitCode};

/// Arguments of `redflag-server migrate-store`.
#[derive(Debug, Args)]
pub(crate) struct MigrateStore {
    /// The database that holds the fleet: a path of a SQLite file, or a PostgreSQL URL
    #[arg(long, value_name = "DATABASE")]
    from: String,
    /// The database it moves to, empty or not there yet
    #[arg(long, value_name = "DATABASE")]
    to: String,
    #[command(flatten)]
    format: Format,
}

impl MigrateStore {
    /// Runs the command.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let (from, to) = (database::name(&self.from)?, database::name(&self.to)?);
        if same(&from, &to) {
            return Err(WrongUsage("--from and --to name the same database").into());
        }
        let source = database::filled(&self.from).await?;
        let target = Target::open(to.clone()).await?;
        let filling = async |target: &Fleet, importer| interrupt::or_interrupted(moved(&source, target, importer)).await;
        let summary = target.fill(filling).await?;
        let Summary { digest, .. } = summary;
        let said = if self.format.json {
            json!({"from": from.to_string(), "to": to.to_string(), "moved": summary, "digests": {"from": digest, "to": digest}}).to_string()
        } else {
            format!("moved {}\n{digest}  {from}\n{digest}  {to}\nthe digests are equal: both hold the same fleet", lines::counts(&summary))
        };
        output::line(&said)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Copies the fleet, then exports the copy again, keeping nothing of it but the digest.
async fn moved(source: &Fleet, target: &Fleet, mut importer: Importer) -> anyhow::Result<Summary> {
    let copying = Progress::counting("copying");
    let exported = lines::export(source, &copying, async |line| Ok(importer.line(line).await?)).await?;
    importer.finish()?;
    drop(copying);
    let comparing = Progress::counting("comparing");
    let copy = lines::export(target, &comparing, async |_| Ok(())).await?;
    if exported != copy {
        bail!("the copy differs: digest {} where {} was exported; this is a defect of a store", copy.digest, exported.digest);
    }
    Ok(exported)
}

/// Whether both names lead to one file, or are one URL. Other names of one database are caught by its not being empty.
fn same(from: &DatabaseName, to: &DatabaseName) -> bool {
    match (from, to) {
        (DatabaseName::Sqlite(from), DatabaseName::Sqlite(to)) => match (fs::metadata(from), fs::metadata(to)) {
            (Ok(from), Ok(to)) => (from.dev(), from.ino()) == (to.dev(), to.ino()),
            _ => false,
        },
        _ => from == to,
    }
}
