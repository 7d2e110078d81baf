//! Who holds a lock on a file, as `proc_locks(5)` tells it: looking at locks this way never takes one.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// A process that holds a lock.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Holder {
    /// The locked file.
    pub(super) file: PathBuf,
    pub(super) pid: u32,
    /// The name of its program, while it runs.
    pub(super) program: String,
}

/// Holders of exclusive locks on `files`, of which any may be missing. Locks of other containers are not seen.
pub(super) fn holders(root: &Path, files: &[PathBuf]) -> Vec<Holder> {
    let locks = std::fs::read_to_string(root.join("proc/locks")).unwrap_or_default();
    let held: Vec<(u64, u32)> = locks.lines().filter_map(held).collect();
    let of_file = |file: &PathBuf| {
        let inode = std::fs::metadata(file).ok()?.ino();
        let (_, pid) = held.iter().find(|(locked, _)| *locked == inode)?;
        let program = std::fs::read_to_string(root.join(format!("proc/{pid}/comm"))).unwrap_or_default();
        Some(Holder { file: file.clone(), pid: *pid, program: program.trim().to_owned() })
    };
    files.iter().filter_map(of_file).collect()
}

/// Inode and process of a line like `1: POSIX  ADVISORY  WRITE 708 fe:00:1017 0 EOF`. The device in it is that of the file system
/// below an overlay, so it is not compared.
fn held(line: &str) -> Option<(u64, u32)> {
    let mut fields = line.split_whitespace().skip(1);
    // `->` marks who waits for the lock.
    fields.next().filter(|kind| *kind != "->")?;
    let exclusive = fields.nth(1)? == "WRITE";
    let pid = fields.next()?.parse().ok()?;
    let inode = fields.next()?.rsplit(':').next()?.parse().ok()?;
    exclusive.then_some((inode, pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_holds_a_lock_exclusively_is_named() {
        assert_eq!(held("1: POSIX  ADVISORY  WRITE 708 fe:00:1017 0 EOF"), Some((1017, 708)));
        assert_eq!(held("2: FLOCK  ADVISORY  WRITE 9 00:15:4 0 EOF"), Some((4, 9)));
        assert_eq!(held("2: POSIX  ADVISORY  READ 9 00:15:4 0 EOF"), None);
        assert_eq!(held("1: -> POSIX  ADVISORY  WRITE 709 fe:00:1017 0 EOF"), None);
        assert_eq!(held("nonsense"), None);
    }

    #[test]
    fn a_lock_of_this_process_is_seen_while_it_is_held() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let file = std::fs::File::create(&path).unwrap();
        let of = || holders(Path::new("/"), &[path.clone(), directory.path().join("none")]);
        assert_eq!(of(), []);
        file.lock().unwrap();
        let found = of();
        assert!(found.len() == 1 && found[0].pid == std::process::id() && !found[0].program.is_empty(), "{found:?}");
        file.unlock().unwrap();
        assert_eq!(of(), []);
    }
}
