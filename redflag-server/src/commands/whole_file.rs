//! A file that has its name only once it is complete and on disk.

use anyhow::{Context as _, bail};
use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;

/// A file under a temporary name in the same directory, readable by its owner only; deleted unless it is finished.
#[derive(Debug)]
pub(crate) struct WholeFile {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
}

impl WholeFile {
    /// Begins a file that is to be at `path`, where nothing may be yet.
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        refuse_existing(path)?;
        let directory = directory(path);
        let file = tempfile::Builder::new().prefix(".redflag-").suffix(".partial").tempfile_in(directory);
        let file = file.with_context(|| format!("making a file in {}", directory.display()))?;
        Ok(Self { path: path.to_owned(), file: BufWriter::new(file) })
    }

    /// Brings it to disk and gives it its name.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        let Self { path, file } = self;
        let finished = || -> io::Result<()> {
            let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.as_file().sync_all()?;
            file.persist_noclobber(&path).map_err(|error| error.error)?;
            File::open(directory(&path))?.sync_all()
        };
        finished().with_context(|| format!("writing {}", path.display()))
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Fails where a file has this name already.
pub(crate) fn refuse_existing(path: &Path) -> anyhow::Result<()> {
    if path.try_exists().with_context(|| format!("looking at {}", path.display()))? {
        bail!("{} exists already; choose another name", path.display());
    }
    Ok(())
}

/// The directory a file of this path is in.
pub(crate) fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}
