//! A segment on disk: records are appended durably, and what cannot be trusted after a crash is set aside, loudly.

use super::{HEADER, Recovered, payload_at, record, record_bytes, recover};
use crate::{
    durable,
    error::{Error, Result},
    quarantine::Quarantine,
};
use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// One segment file, open for appending.
#[derive(Debug)]
pub struct SegmentFile {
    number: u64,
    path: PathBuf,
    file: File,
    bytes: u64,
    /// Set after a failed sync: the kernel may have dropped what it could not write, so no later sync proves anything.
    broken: bool,
}

/// What was found in a segment file when it was opened.
#[derive(Debug)]
pub struct Found {
    /// Everything it held.
    pub bytes: Vec<u8>,
    /// What of it can be trusted.
    pub content: Recovered,
    /// What could not be trusted and where it was set aside, in words for people.
    pub damage: Option<String>,
}

impl SegmentFile {
    /// Makes segment `number` in `directory`, durably.
    ///
    /// # Errors
    /// When it exists, or cannot be written or synced.
    pub fn create(directory: &Path, number: u64) -> Result<Self> {
        let path = directory.join(format!("{number:016}.segment"));
        let mut file =
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path).map_err(Error::state("create", &path))?;
        file.write_all(HEADER).and_then(|()| file.sync_all()).map_err(Error::state("write", &path))?;
        durable::sync_directory_of(&path)?;
        Ok(Self { number, path, file, bytes: HEADER.len() as u64, broken: false })
    }

    /// Opens segment `number` at `path`. What follows its last good record goes to the quarantine and is cut off.
    ///
    /// # Errors
    /// When it cannot be read, written or synced. Damaged content is not an error.
    pub fn open(number: u64, path: &Path, quarantine: &Quarantine) -> Result<(Self, Found)> {
        let bytes = std::fs::read(path).map_err(Error::state("read", path))?;
        let content = recover(&bytes);
        let damage = content.damage.map(|damage| {
            let (tail, at) = (&bytes[content.good_bytes..], content.good_bytes);
            let kind = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
            let kept = quarantine.keep(&format!("{kind}-{number:016}-at-{at}.tail"), tail)?;
            let (name, records) = (path.display(), content.payloads.len());
            Ok(format!("{name}: {damage}; {} bytes behind {records} good records are kept in {}", tail.len(), kept.display()))
        });
        let damage = damage.transpose()?;
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(Error::state("open", path))?;
        if damage.is_some() || content.good_bytes == 0 {
            file.set_len(content.good_bytes as u64).map_err(Error::state("cut", path))?;
            file.write_all_at(HEADER, 0).and_then(|()| file.sync_all()).map_err(Error::state("repair", path))?;
        }
        let good_bytes = content.good_bytes.max(HEADER.len()) as u64;
        Ok((Self { number, path: path.to_owned(), file, bytes: good_bytes, broken: false }, Found { bytes, content, damage }))
    }

    /// Its number; segments are read in the order of their numbers.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How long it is.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether a sync has failed, after which only a restart can tell what is on disk.
    #[must_use]
    pub const fn broken(&self) -> bool {
        self.broken
    }

    /// Appends a record and returns where it begins; it is on disk when this returns.
    ///
    /// # Errors
    /// When it could not be made durable; it is not in the segment then.
    pub fn append(&mut self, payload: &[u8]) -> Result<u64> {
        if self.broken {
            return Err(Error::damaged(&self.path, "an earlier sync of it failed; restart the program"));
        }
        let (record, offset) = (record(payload), self.bytes);
        if let Err(error) = self.file.write_all_at(&record, offset) {
            // Bytes behind the end that could not be cut off would look like a torn record at the next start, which is handled.
            self.broken = self.file.set_len(offset).is_err();
            return Err(Error::state("write", &self.path)(error));
        }
        if let Err(error) = self.file.sync_data() {
            self.broken = true;
            return Err(Error::state("sync", &self.path)(error));
        }
        self.bytes += record.len() as u64;
        Ok(offset)
    }

    /// Reads the payload of `payload_bytes` whose record begins at `offset`.
    ///
    /// # Errors
    /// When it cannot be read back, or is not what was written.
    pub fn read(&self, offset: u64, payload_bytes: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; record_bytes(payload_bytes)];
        self.file.read_exact_at(&mut bytes, offset).map_err(Error::state("read", &self.path))?;
        let payload =
            payload_at(&bytes, 0).map_err(|damage| Error::damaged(&self.path, format!("{damage}; restart the agent to set it aside")))?;
        bytes.truncate(payload.end);
        bytes.drain(..payload.start);
        Ok(bytes)
    }

    /// Removes the file, durably; the value is of no use afterwards.
    ///
    /// # Errors
    /// When it cannot be removed, or that not be made durable.
    pub fn remove(&self) -> Result<()> {
        std::fs::remove_file(&self.path).map_err(Error::state("remove", &self.path))?;
        durable::sync_directory_of(&self.path)
    }
}

/// The segment files in `directory` with their numbers, in order.
///
/// # Errors
/// When it cannot be listed.
pub fn numbered(directory: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(Error::state("list", directory))? {
        let path = entry.map_err(Error::state("list", directory))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(number) = name.and_then(|name| name.strip_suffix(".segment")?.parse().ok()) {
            files.push((number, path));
        }
    }
    files.sort_unstable();
    Ok(files)
}
