//! Files that survive a power cut: written beside, synced, renamed into place, and the directory synced.

use crate::error::{Error, Result};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fs::{DirEntry, File, OpenOptions},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// Replaces `path` with `bytes`, readable by the owner only; after a crash the file holds the old bytes or the new ones, whole.
///
/// # Errors
/// When any step fails; the old file is in place then.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    replace_after(path, bytes, File::sync_all)?;
    sync_directory_of(path)
}

/// As [`replace_json`], but not safe against a power cut: for what nobody decides by.
///
/// # Errors
/// As [`replace`].
pub fn show_json(path: &Path, value: &impl Serialize) -> Result<()> {
    replace_after(path, &json(path, value)?, |_| Ok(()))
}

fn replace_after(path: &Path, bytes: &[u8], settle: fn(&File) -> io::Result<()>) -> Result<()> {
    let beside = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside).map_err(Error::state("create", &beside))?;
    file.write_all(bytes).and_then(|()| settle(&file)).map_err(Error::state("write", &beside))?;
    std::fs::rename(&beside, path).map_err(Error::state("put into place", path))
}

/// Makes created, renamed and removed entries of the directory that holds `path` durable.
///
/// # Errors
/// When the directory cannot be opened or synced.
pub fn sync_directory_of(path: &Path) -> Result<()> {
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(Error::state("sync", directory))
}

/// What is in a directory; nothing where there is none.
///
/// # Errors
/// When it cannot be listed.
pub fn entries(directory: &Path) -> Result<Vec<DirEntry>> {
    let listed = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.and_then(Iterator::collect),
    };
    listed.map_err(Error::state("list", directory))
}

/// Replaces `path` with `value` as JSON.
///
/// # Errors
/// As [`replace`].
pub fn replace_json(path: &Path, value: &impl Serialize) -> Result<()> {
    replace(path, &json(path, value)?)
}

fn json(path: &Path, value: &impl Serialize) -> Result<Vec<u8>> {
    let mut bytes =
        serde_json::to_vec_pretty(value).map_err(|error| Error::invalid(format!("could not encode {}: {error}", path.display())))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads `path` as JSON; none when there is no such file.
///
/// # Errors
/// When it cannot be read, or holds something else.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::state("read", path)(error)),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| Error::damaged(path, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_replaced_file_is_private_and_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.json");
        assert_eq!(read_json::<u32>(&path).unwrap(), None);
        replace_json(&path, &1).unwrap();
        replace_json(&path, &2).unwrap();
        assert_eq!(read_json::<u32>(&path).unwrap(), Some(2));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, "{").unwrap();
        assert!(matches!(read_json::<u32>(&path), Err(Error::Damaged { .. })));
    }
}
