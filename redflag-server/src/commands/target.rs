//! An empty database that a fleet is brought into: all of it, or nothing that could be taken for it.

use super::database;
use anyhow::bail;
use redflag_core::{
    Fleet,
    export::{ImportError, Importer},
};
use redflag_server::DatabaseName;
use std::{fs, path::Path};

/// The database, opened and found empty.
#[derive(Debug)]
pub(crate) struct Target {
    name: DatabaseName,
    fleet: Fleet,
    /// Whether there was no such file before.
    made_here: bool,
}

impl Target {
    /// Opens the database, which is made if it is not there.
    pub(crate) async fn open(name: DatabaseName) -> anyhow::Result<Self> {
        let made_here = matches!(&name, DatabaseName::Sqlite(path) if !path.exists());
        let fleet = database::open(&name).await?;
        Ok(Self { name, fleet, made_here })
    }

    /// Brings a fleet in. When that fails or is interrupted, a file made here is deleted again; of other databases the error says how to
    /// empty them.
    pub(crate) async fn fill<T>(self, filling: impl AsyncFnOnce(&Fleet, Importer) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let importer = match Importer::new(&self.fleet).await {
            Ok(importer) => importer,
            Err(ImportError::NotEmpty) => {
                let name = &self.name;
                bail!("{name} is not empty: it holds a fleet, or the part of one that a killed import left. To use it, {}", emptied(name))
            }
            Err(error) => return Err(error.into()),
        };
        let filled = filling(&self.fleet, importer).await;
        filled.map_err(|error| self.discard(error))
    }

    fn discard(self, error: anyhow::Error) -> anyhow::Error {
        let Self { name, fleet, made_here } = self;
        // Closes the file.
        drop(fleet);
        let deleted = match &name {
            DatabaseName::Sqlite(path) if made_here => delete(path),
            _ => Err(std::io::Error::other("it was there before")),
        };
        match deleted {
            Ok(()) => error.context(format!("nothing was kept of {name}")),
            Err(_) => error.context(format!("{name} may hold a part of a fleet now; before another try, {}", emptied(&name))),
        }
    }
}

/// Deletes a SQLite database with what belongs to it.
fn delete(path: &Path) -> std::io::Result<()> {
    for suffix in ["-wal", "-shm"] {
        let mut beside = path.as_os_str().to_owned();
        beside.push(suffix);
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::remove_file(path)
}

/// How to empty it, as an imperative.
fn emptied(name: &DatabaseName) -> String {
    match name {
        DatabaseName::Sqlite(path) => format!("delete the file, with {0}-wal and {0}-shm if they are there", path.display()),
        _ => "drop its schema: DROP SCHEMA redflag CASCADE".to_owned(),
    }
}
