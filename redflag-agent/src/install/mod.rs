//! Installing: what a package manager would do, and doing exactly that.
//!
//! An [`Installer`] is the writing half of a manager, as a [`crate::scan::Scanner`] is its reading half. It plans by a dry run,
//! changes exactly the versions it was told, and judges the outcome by what is installed afterwards, never by an exit code
//! alone (clause C4). Whether it may is decided before it is called: by the executor, from a signed command and its policy.
//! Adding a manager is one file here and one line in [`installers`].

mod apt;
pub(crate) mod dnf;
mod docker;
#[cfg(test)]
mod hostile;
mod items;
#[cfg(test)]
mod stand_ins;

pub use apt::Apt;
pub use dnf::Dnf;
pub use docker::Docker;
pub use items::ITEMS_MAX;

use crate::{Printed, tool::ToolError};
use async_trait::async_trait;
use redflag_core::{
    command::plan::{Item, Plan},
    names::{Manager, Text},
};
use serde::{Deserialize, Serialize};

/// Something on this host that installs updates.
#[async_trait]
pub trait Installer: Send + Sync + std::fmt::Debug {
    /// The manager it drives.
    fn manager(&self) -> Manager;

    /// What bringing `items` to their versions would change, from a dry run. Changes nothing and may run unprivileged.
    ///
    /// # Errors
    /// As [`InstallError`] says; a plan is never guessed.
    ///
    /// Cancel safe: dropping the future kills the processes it started.
    async fn plan(&self, items: &[Item]) -> Result<Plan, InstallError>;

    /// Brings `items` to exactly their versions, in one transaction, and checks that they are there. The plan is made once more right
    /// before; if it does not change the same as `approved`, nothing is begun. What its tools print goes to `printed` as it comes.
    ///
    /// # Errors
    /// As [`InstallError`] says. [`InstallError::Failed`] tells what of it happened all the same.
    ///
    /// Not cancel safe: dropping it kills the package manager in the middle of its work.
    async fn install(&self, items: &[Item], approved: &Plan, printed: &Printed) -> Result<Installed, InstallError>;

    /// Finishes or undoes what an interrupted installation left, where the manager's own tools leave that to us, and tells what was
    /// done. A package manager that asks people to repair the host is left to them.
    ///
    /// # Errors
    /// As [`InstallError`] says. Safe to interrupt: the next call goes on.
    async fn recover(&self) -> Result<Vec<String>, InstallError>;

    /// Refreshes what the manager knows of its sources. A source that cannot be reached or trusted is an error, although the
    /// others are refreshed; a manager that keeps nothing of its sources has nothing to do.
    ///
    /// # Errors
    /// As [`InstallError`] says.
    ///
    /// Cancel safe: dropping the future kills the processes it started; what was known before is kept.
    async fn refresh(&self) -> Result<(), InstallError>;
}

/// Every installer this version knows.
#[must_use]
pub fn installers() -> Vec<Box<dyn Installer>> {
    vec![Box::new(Apt::new()), Box::new(Dnf::new()), Box::new(Docker::new())]
}

/// What an installation did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// Whether the host asks for a reboot now, where the system tells.
    pub reboot_required: Option<bool>,
    /// The manager's own name of the transaction, where it keeps one.
    pub transaction: Option<Text>,
    /// The end of what the tools printed, at most [`OUTPUT_BYTES_MAX`] bytes.
    pub output: String,
}

/// Most bytes of a tool's output that are kept with a result.
pub const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// Why a plan or an installation did not come about.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum InstallError {
    /// An item is not of this manager, its name or version is outside the manager's grammar, or it is no upgrade.
    #[error("{item} cannot be asked of the package manager: {reason}")]
    Grammar {
        /// The item.
        item: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The installed version is not the one the item starts from.
    #[error("{package} is at {installed}, not at {expected}")]
    Precondition {
        /// The package.
        package: String,
        /// What is installed; `none` when nothing is.
        installed: String,
        /// The version the item starts from.
        expected: String,
    },
    /// The manager does not offer the version any more.
    #[error("not offered any more: {reason}")]
    NotOffered {
        /// In the tool's words.
        reason: String,
    },
    /// The host holds the package back: held, locked, excluded.
    #[error("held on this host: {reason}")]
    Held {
        /// In the tool's words.
        reason: String,
    },
    /// The publisher releases the version in phases and this host's turn has not come.
    #[error("not released to this host yet: {reason}")]
    Phased {
        /// How far the release is.
        reason: String,
    },
    /// What would change is not what was approved; nothing was begun.
    #[error("the plan has changed: {reason}")]
    PlanChanged {
        /// How.
        reason: String,
    },
    /// The versions cannot be installed, or only at the price of removing or downgrading something.
    #[error("cannot be resolved: {reason}")]
    Unresolvable {
        /// In the tool's words.
        reason: String,
    },
    /// The package or its index is not signed as it must be, or not what the index says.
    #[error("not trusted: {reason}")]
    Untrusted {
        /// In the tool's words.
        reason: String,
    },
    /// Another process holds the package manager's lock, for longer than we waited.
    #[error("the package manager is busy: {reason}")]
    Locked {
        /// In the tool's words.
        reason: String,
    },
    /// An earlier transaction was interrupted; the host must be repaired first.
    #[error("the package manager was interrupted earlier: {reason}")]
    Interrupted {
        /// In the tool's words, with the command that repairs it.
        reason: String,
    },
    /// A source or the engine could not be reached.
    #[error("could not be reached: {reason}")]
    Unreachable {
        /// In the tool's words.
        reason: String,
    },
    /// The installation began and did not end as it should.
    #[error("the installation failed: {reason}")]
    Failed {
        /// In the tool's words.
        reason: String,
        /// The packages that are at the version asked for all the same.
        done: Vec<String>,
        /// Whether the old state was put back.
        rolled_back: bool,
        /// The end of what the tools printed.
        output: String,
    },
    /// A tool could not be run or understood.
    #[error("{reason}")]
    Tool {
        /// Why.
        reason: String,
    },
}

impl From<ToolError> for InstallError {
    fn from(error: ToolError) -> Self {
        Self::Tool { reason: error.to_string() }
    }
}
