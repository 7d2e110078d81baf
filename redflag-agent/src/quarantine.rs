//! The quarantine of a state directory: what cannot be trusted or delivered, kept for people to look at, never for ever.

use crate::{
    durable,
    error::{Error, Result},
    home::AgentHome,
};
use std::path::{Path, PathBuf};

/// Files kept in a quarantine; the oldest go first.
pub const FILES_MAX: usize = 16;

const DIRECTORY: &str = "quarantine";

/// The quarantine of one state directory.
#[derive(Clone, Debug)]
pub struct Quarantine {
    directory: PathBuf,
}

impl Quarantine {
    /// That of `home`, made when missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn of(home: &AgentHome) -> Result<Self> {
        Ok(Self { directory: home.directory(DIRECTORY)? })
    }

    /// Keeps `bytes` under `name`, durably, and says where.
    ///
    /// # Errors
    /// When the file cannot be written, or an older one not be removed.
    pub fn keep(&self, name: &str, bytes: &[u8]) -> Result<PathBuf> {
        let path = self.directory.join(name);
        durable::replace(&path, bytes)?;
        self.trim()?;
        Ok(path)
    }

    /// Removes the oldest files beyond [`FILES_MAX`].
    ///
    /// # Errors
    /// When files cannot be listed or removed.
    pub fn trim(&self) -> Result<()> {
        let files = files(&self.directory)?;
        for path in files.iter().take(files.len().saturating_sub(FILES_MAX)) {
            tracing::warn!(file = %path.display(), "the quarantine is full; its oldest file is removed");
            std::fs::remove_file(path).map_err(Error::state("remove", path))?;
        }
        Ok(())
    }
}

/// Names of the files in the quarantine of `home`, oldest first.
///
/// # Errors
/// When it cannot be listed.
pub fn quarantined(home: &AgentHome) -> Result<Vec<String>> {
    let names = files(&home.file(DIRECTORY))?;
    Ok(names.iter().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
}

fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in durable::entries(directory)? {
        let modified = entry.metadata().and_then(|metadata| metadata.modified()).map_err(Error::state("inspect", entry.path()))?;
        files.push((modified, entry.path()));
    }
    files.sort_unstable();
    Ok(files.into_iter().map(|(_, path)| path).collect())
}
