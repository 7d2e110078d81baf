//! The apt scanner.

use super::{Scan, Scanner, command::Command};
use async_trait::async_trait;
use redflag_core::{
    names::{APT, Manager},
    words::VersionOrder,
};

/// Scans Debian's apt.
#[derive(Clone, Debug, Default)]
pub struct Apt;

impl Apt {
    /// The apt of this host.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

#[async_trait]
impl Scanner for Apt {
    fn manager(&self) -> Manager {
        Manager::parse(APT).expect("the word is a manager's")
    }

    fn version_order(&self) -> VersionOrder {
        VersionOrder::Dpkg
    }

    async fn present(&self) -> bool {
        Command::new("apt-get").found()
    }

    async fn scan(&self) -> Scan {
        Scan::begun(self.manager(), self.version_order()).failed("the scanner is not written yet")
    }
}
