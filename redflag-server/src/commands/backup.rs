//! `redflag-server backup`: a copy of a SQLite fleet as it is at one moment, taken while it is served.

use super::{database, whole_file};
use crate::{
    arguments::{Database, Format},
    output,
    progress::Progress,
};
use anyhow::{Context as _, bail};
use clap::Args;
use redflag_server::DatabaseName;
use redflag_store_sqlite::{Options, SqliteStore};
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Arguments of `redflag-server backup`.
#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The new file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    format: Format,
}

impl Backup {
    /// Runs the command.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let DatabaseName::Sqlite(source) = database::name(&self.database.database)? else {
            bail!("PostgreSQL makes its own backups: docs/backup.md says how; `redflag-server export` works with both");
        };
        if !source.exists() {
            bail!("no database at {}: no server has made one there", source.display());
        }
        let store = SqliteStore::open(&source, Options::default()).with_context(|| format!("opening the database {}", source.display()))?;
        copy(&store, &self.file).await.with_context(|| format!("backing up to {}", self.file.display()))?;
        let bytes = std::fs::metadata(&self.file)?.len();
        output::line(&if self.format.json {
            json!({"file": self.file, "bytes": bytes}).to_string()
        } else {
            format!("{} holds the fleet as it was when the backup began, {bytes} bytes", self.file.display())
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The copy is made beside the file and moved into place, so that a killed backup leaves no file of that name.
async fn copy(store: &SqliteStore, file: &Path) -> anyhow::Result<()> {
    whole_file::refuse_existing(file)?;
    let directory = whole_file::directory(file);
    let beside = tempfile::Builder::new().prefix(".redflag-").suffix(".partial").tempdir_in(directory)?;
    let unfinished = beside.path().join("backup.db");
    let progress = Progress::counting("copying");
    store.backup_to(&unfinished, move |at| progress.tell(&format!("{} of {} pages", at.pages_done, at.pages_total))).await?;
    // Unlike a renaming, this fails where a file of that name has come up meanwhile.
    std::fs::hard_link(&unfinished, file)?;
    Ok(std::fs::File::open(directory)?.sync_all()?)
}
