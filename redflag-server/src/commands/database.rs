//! Opening the database that holds a fleet already.

use crate::cli::WrongUsage;
use anyhow::{Context as _, bail};
use redflag_core::{
    Fleet,
    export::{ImportError, Importer},
};
use redflag_server::DatabaseName;

/// Reads a database's name; a fleet in memory is not one another process can open.
pub(crate) fn name(database: &str) -> anyhow::Result<DatabaseName> {
    match database.parse()? {
        DatabaseName::Memory => Err(WrongUsage("a fleet in memory belongs to the process of its server").into()),
        name => Ok(name),
    }
}

/// Opens a database that a server made; a new file would be a fleet nobody serves.
pub(crate) async fn existing(database: &str) -> anyhow::Result<Fleet> {
    let name = name(database)?;
    if let DatabaseName::Sqlite(path) = &name
        && !path.exists()
    {
        bail!("no database at {}: no server has made one there", path.display());
    }
    open(&name).await
}

/// Opens a database and finds something in it.
pub(crate) async fn filled(database: &str) -> anyhow::Result<Fleet> {
    let fleet = existing(database).await?;
    match Importer::new(&fleet).await {
        Err(ImportError::NotEmpty) => Ok(fleet),
        Ok(_) => bail!("there is no fleet in {}", name(database)?),
        Err(error) => Err(error.into()),
    }
}

/// Opens a database; a SQLite file, or a schema on PostgreSQL, that is not there is made.
pub(crate) async fn open(name: &DatabaseName) -> anyhow::Result<Fleet> {
    name.open().await.with_context(|| format!("opening the database {name}"))
}
