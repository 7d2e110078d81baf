#![doc = include_str!("../README.md")]
#![expect(clippy::missing_panics_doc, reason = "a tool of tests fails by panicking, with what it was doing")]

mod campaign;
mod cluster;
mod disk;
mod process;
mod proxy;
mod systemd;
mod writer;
mod writing;

pub use campaign::Campaign;
pub use cluster::Cluster;
pub use disk::{Disk, Tmpfs};
pub use process::{Signal, run, signal, wait_stopped};
pub use proxy::{Cut, Proxy};
pub use systemd::{assert_exposure, verify_units};
pub use writer::{Plan, Writer, write_until_killed};
pub use writing::Writing;
