//! Disks: one of a fixed size that fills up, and one whose power can be cut.
//!
//! Both need root. What is mounted is unmounted when its value is dropped, after a panic too; what a killed test left mounted, the
//! next one unmounts.

use crate::process::run;
use std::{
    fs,
    path::{Path, PathBuf},
    process,
    sync::Once,
};
use tempfile::TempDir;

/// Directories to mount on are called so, with the number of the process that mounted and a dash behind.
const PREFIX: &str = "redflag-faults-";

/// A directory mounted somewhere, until it is dropped.
#[derive(Debug)]
struct Mount(TempDir);

impl Mount {
    fn new(arguments: &[&str]) -> Self {
        static SWEPT: Once = Once::new();
        SWEPT.call_once(sweep);
        let directory = tempfile::Builder::new().prefix(&format!("{PREFIX}{}-", process::id())).tempdir().expect("a temporary directory");
        run("mount", &[arguments, &[text(directory.path())]].concat());
        Self(directory)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn remount(&self, options: &str) {
        run("mount", &["-o", &format!("remount,{options}"), text(self.path())]);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: what a failed test left running must not keep the others' disks from going.
        run("umount", &["--lazy", text(self.path())]);
    }
}

/// Unmounts what processes that are no more have left.
fn sweep() {
    let mounts = fs::read_to_string("/proc/mounts").expect("mounts can be listed");
    for place in mounts.lines().filter_map(|mount| mount.split(' ').nth(1)) {
        let owner = place.rsplit_once(PREFIX).and_then(|(_, rest)| rest.split('-').next());
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
            run("umount", &["--lazy", place]);
            fs::remove_dir(place).expect("nothing is mounted there any more");
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}

/// A file system in memory, of a fixed size.
#[derive(Debug)]
pub struct Tmpfs(Mount);

impl Tmpfs {
    /// One of so many kibibytes.
    #[must_use]
    pub fn new(kibibytes: u32) -> Self {
        Self(Mount::new(&["-t", "tmpfs", "-o", &format!("size={kibibytes}k"), "redflag-faults"]))
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Gives it another size.
    pub fn resize(&self, kibibytes: u32) {
        self.0.remount(&format!("size={kibibytes}k"));
    }

    /// Makes it read-only, or writable again. Nobody may have a file of it open for writing.
    pub fn protect(&self, read_only: bool) {
        self.0.remount(if read_only { "ro" } else { "rw" });
    }
}

/// An ext4 file system on a simulated disk: a file in memory behind a loop device.
///
/// The disk holds what was handed to it, in the order in which it was handed over; what the file system still keeps in memory is
/// lost when the power is [cut](Disk::cut). The file system hands over only what it is told to sync, or what it has no room for: its
/// own five-second clock is set to an hour.
#[derive(Debug)]
pub struct Disk {
    mount: Mount,
    image: Image,
}

impl Disk {
    /// A new, empty disk.
    #[must_use]
    pub fn new(mebibytes: u32) -> Self {
        let image = Image::empty(mebibytes);
        run("mkfs.ext4", &["-q", "-F", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", text(&image.file())]);
        Self::mounted(image)
    }

    fn mounted(image: Image) -> Self {
        let image = image.attached();
        Self { mount: Mount::new(&["-t", "ext4", "-o", "commit=3600", image.device()]), image }
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.mount.path()
    }

    /// The disk as it would be found if the power failed now. Whoever writes to it must stand still.
    #[must_use]
    pub fn cut(&self) -> Outage {
        loop {
            // Threads of the kernel may still be writing. A copy taken meanwhile would hold later writes without earlier ones.
            let before = self.image.written();
            let copy = self.image.copy();
            if before.settled && self.image.written() == before {
                return Outage(copy);
            }
        }
    }

    /// Makes the file system read-only under whoever writes to it, as the kernel does after an error of the disk.
    pub fn fail(&self) {
        self.mount.remount("abort");
    }
}

/// What a power cut left of a disk.
#[derive(Debug)]
pub struct Outage(Image);

impl Outage {
    /// The power is back: the file system recovers by its journal.
    #[must_use]
    pub fn restored(self) -> Disk {
        Disk::mounted(self.0)
    }
}

/// The file behind a disk, in memory of its own so that no real disk slows it down, with its loop device while it has one.
#[derive(Debug)]
struct Image {
    device: Option<String>,
    memory: Tmpfs,
    kibibytes: u32,
}

/// What a device has been told to write so far.
#[derive(Debug, PartialEq, Eq)]
struct Written {
    requests: u64,
    /// Whether none is under way.
    settled: bool,
}

impl Image {
    fn empty(mebibytes: u32) -> Self {
        let kibibytes = mebibytes * 1_024;
        // Room for the file itself and the directory that holds it.
        let image = Self { device: None, memory: Tmpfs::new(kibibytes + 1_024), kibibytes };
        let file = fs::File::create(image.file()).expect("a file in memory can be made");
        file.set_len(u64::from(kibibytes) * 1_024).expect("a file in memory can be sized");
        image
    }

    fn file(&self) -> PathBuf {
        self.memory.path().join("disk")
    }

    fn attached(mut self) -> Self {
        let device = run("losetup", &["--find", "--show", text(&self.file())]);
        self.device = Some(device.trim().to_owned());
        self
    }

    fn device(&self) -> &str {
        self.device.as_deref().expect("a mounted disk is attached")
    }

    fn copy(&self) -> Self {
        let copy = Self { device: None, memory: Tmpfs::new(self.kibibytes + 1_024), kibibytes: self.kibibytes };
        run("cp", &["--sparse=always", text(&self.file()), text(&copy.file())]);
        copy
    }

    fn written(&self) -> Written {
        let name = self.device().trim_start_matches("/dev/");
        let statistics = fs::read_to_string(format!("/sys/block/{name}/stat")).expect("the kernel counts what devices write");
        let fields: Vec<u64> = statistics.split_whitespace().map(|field| field.parse().expect("a count")).collect();
        // Writes, requests in flight, discards (Documentation/block/stat.rst).
        Written { requests: fields[4] + fields[11], settled: fields[8] == 0 }
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if let Some(device) = &self.device {
            run("losetup", &["--detach", device]);
        }
    }
}
