//! The dnf scanner.

use super::{Scan, Scanner, command::Command};
use async_trait::async_trait;
use redflag_core::{
    names::{DNF, Manager},
    words::VersionOrder,
};

/// Scans dnf.
#[derive(Clone, Debug, Default)]
pub struct Dnf;

impl Dnf {
    /// The dnf of this host.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

#[async_trait]
impl Scanner for Dnf {
    fn manager(&self) -> Manager {
        Manager::parse(DNF).expect("the word is a manager's")
    }

    fn version_order(&self) -> VersionOrder {
        VersionOrder::Rpm
    }

    async fn present(&self) -> bool {
        Command::new("dnf").found()
    }

    async fn scan(&self) -> Scan {
        Scan::begun(self.manager(), self.version_order()).failed("the scanner is not written yet")
    }
}
