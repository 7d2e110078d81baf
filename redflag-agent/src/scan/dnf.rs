//! The dnf scanner: every upgrade the enabled repositories offer, and which of them dnf would install now.
//!
//! `dnf repoquery --upgrades` gives the set, in a format of our own with one field a tab; `dnf check-update` tells which of them a
//! plugin such as versionlock filters out; a resolution that is declined before anything happens tells, for root, which are
//! skipped. `dnf updateinfo` tells the advisories. Lists of obsoleted packages are no updates.
//!
//! A repository that cannot be reached is the trap: with `skip_if_unavailable` dnf then says "no updates" with exit code 0. So the
//! first question insists on every enabled repository; if it fails, those that can be reached are asked, the cache answers for
//! the others as far as it can, and the scan is partial, with the reason, or failed when nothing is left. dnf refreshes expired
//! metadata itself, so asking is also refreshing; as a plain user it keeps its cache in a directory of that user.

pub(crate) mod advisories;
pub(crate) mod read;

use super::{Scan, Scanner};
use crate::tool::{Output, Tool, ToolError};
use advisories::Advisories;
use async_trait::async_trait;
use read::{Checked, Installed, Offered, Resolution};
use redflag_core::{
    names::{DNF, Manager, PackageKey, Text, Version},
    offer::{Availability, Candidate, Offer},
    version_order,
    words::{AvailabilityKind, VersionOrder},
};
use std::{collections::BTreeMap, ffi::OsString, sync::Arc};

/// Exit code of `dnf check-update` when there are updates.
const UPDATES: i32 = 100;
/// Answers from the cache. Not `-C`: for a user without rights that is root's cache, and the questions would speak of two.
pub(crate) const FROM_CACHE: &str = "--setopt=cacheonly=1";
/// Insists on every enabled repository, whatever the configuration says.
const ALL_REPOSITORIES: &str = "--setopt=*.skip_if_unavailable=0";
/// Leaves out repositories that cannot be reached.
const REACHABLE_REPOSITORIES: &str = "--setopt=*.skip_if_unavailable=1";

/// Scans dnf.
#[derive(Clone, Debug)]
pub struct Dnf {
    command: Tool,
}

impl Default for Dnf {
    fn default() -> Self {
        Self::new()
    }
}

impl Dnf {
    /// The dnf of this host.
    #[must_use]
    pub fn new() -> Self {
        Self::with_command("dnf", [])
    }

    /// Another dnf: a program and the arguments that come first whenever it is called, for example to name an installroot.
    #[must_use]
    pub fn with_command(program: impl Into<OsString>, arguments: impl IntoIterator<Item = OsString>) -> Self {
        Self { command: Tool::new(program).with(arguments) }
    }

    fn ask_for(&self, arguments: &[&str]) -> Tool {
        self.command.clone().with(arguments)
    }

    /// The scan, or the reason why nothing can be said.
    async fn ask(&self, mut scan: Scan) -> Result<Scan, ToolError> {
        let mut gaps = Vec::new();
        let installed = read::installed(&self.installed().await?.stdout, &mut gaps);
        // This one goes to the network; the questions after it are answered from the cache, so that all speak of the same lists.
        let (checked, reach, unreachable) = match self.check(&[ALL_REPOSITORIES]).await {
            Ok(checked) => (checked, ALL_REPOSITORIES, None),
            Err(error) => {
                self.check(&[REACHABLE_REPOSITORIES]).await?;
                // The cache still knows what a repository offered when it was last reached.
                (self.check(&[REACHABLE_REPOSITORIES, FROM_CACHE]).await?, REACHABLE_REPOSITORIES, Some(error.to_string()))
            }
        };
        let offered = self.ask_for(&[reach, "-q", FROM_CACHE, "repoquery", "--upgrades", "--latest-limit=1", "--qf", read::OFFERED_FORMAT]);
        let offered = read::offered(&offered.run().await?.stdout, &mut gaps);
        let checked = read::checked(&checked.stdout, &mut gaps);
        let repositories = self.ask_for(&[reach, "-q", FROM_CACHE, "repoinfo"]).run().await?;
        let repositories = read::repositories(&repositories.stdout);
        scan.metadata_at = repositories.refreshed_at;
        match unreachable {
            // Nothing of what could be reached is offered: that says nothing about what could not.
            Some(error) if offered.is_empty() => return Ok(Scan { installed: versions(installed), ..scan }.failed(&error)),
            Some(error) => {
                scan.refresh_error = Some(Text::lossy(&error));
                gaps.push(error);
            }
            None if repositories.enabled == 0 => gaps.push("no repository is enabled".into()),
            None => {}
        }
        gaps.extend(checked.not_offered(&offered));
        let locks = if checked.shows_all(&offered) { Vec::new() } else { self.locks().await };
        let (resolution, advisories) = match offered.is_empty() {
            true => (Resolution::default(), Advisories::default()),
            false => (self.resolution(&mut gaps).await, self.advisories(reach, &mut gaps).await),
        };
        for (package, offered) in offered {
            let current = current(&package, &offered, &installed);
            if current.is_none() {
                gaps.push(format!("an upgrade of {package} is offered, which is not installed"));
            }
            let availability = availability(&package, &offered, current.as_ref(), &checked, &locks, &resolution);
            let mut candidate = Candidate {
                origin: Some(Text::lossy(&offered.repository)),
                size_bytes: offered.size_bytes,
                description: offered.summary.as_deref().map(Text::lossy),
                ..Candidate::new(offered.version)
            };
            advisories.describe(&package, current.as_ref(), &mut candidate);
            scan.offers.insert(package, Offer { installed: current, candidate: Arc::new(candidate), availability });
        }
        scan.installed = versions(installed);
        Ok(scan.with_gaps(&gaps))
    }

    /// From the cache: dnf would otherwise forget that its metadata was marked as expired, without having renewed it.
    async fn installed(&self) -> Result<Output, ToolError> {
        self.ask_for(&["-q", FROM_CACHE, "repoquery", "--installed", "--qf", read::INSTALLED_FORMAT]).run().await
    }

    async fn check(&self, repositories: &[&str]) -> Result<Output, ToolError> {
        self.ask_for(repositories).with(["-q", "check-update"]).run_with_codes(&[0, UPDATES]).await
    }

    /// The lock list, where the plugin is there to tell; without it the reason of a filtered package stays general.
    async fn locks(&self) -> Vec<String> {
        let list = self.ask_for(&["-q", FROM_CACHE, "versionlock", "list"]).run().await;
        list.map(|output| output.stdout.lines().map(str::to_owned).collect()).unwrap_or_default()
    }

    /// What the repositories advise about the upgrades.
    async fn advisories(&self, reach: &str, gaps: &mut Vec<String>) -> Advisories {
        let ask = async |what| self.ask_for(&[reach, "-q", FROM_CACHE, "updateinfo", what, "--updates"]).run().await;
        match (ask("list").await, ask("info").await) {
            (Ok(list), Ok(info)) => Advisories::read(&list.stdout, &info.stdout, gaps),
            (Err(error), _) | (_, Err(error)) => {
                gaps.push(error.to_string());
                Advisories::default()
            }
        }
    }

    /// Which upgrades dnf would skip. It answers only root.
    async fn resolution(&self, gaps: &mut Vec<String>) -> Resolution {
        if !rustix::process::geteuid().is_root() {
            return Resolution::default();
        }
        let command = self.ask_for(&[REACHABLE_REPOSITORIES, FROM_CACHE, "--setopt=best=0", "--assumeno", "upgrade"]);
        match command.run_with_codes(&[0, 1]).await {
            Ok(output) => read::resolution(&output.stdout, &output.stderr, gaps),
            Err(error) => {
                gaps.push(error.to_string());
                Resolution::default()
            }
        }
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

    /// dnf is also a tool to build packages with: it counts as this host's manager only if packages were installed by rpm, or if it
    /// cannot tell.
    async fn present(&self) -> bool {
        self.command.found() && self.installed().await.map_or(true, |output| !output.stdout.trim().is_empty())
    }

    async fn scan(&self) -> Scan {
        let scan = Scan::begun(self.manager(), self.version_order());
        match self.ask(scan.clone()).await {
            Ok(scan) => scan,
            Err(error) => scan.failed(&error.to_string()),
        }
    }
}

fn versions(installed: Installed) -> BTreeMap<PackageKey, Version> {
    installed.into_iter().filter_map(|(package, versions)| Some((package, newest(&versions)?.clone()))).collect()
}

pub(crate) fn newest(versions: &[Version]) -> Option<&Version> {
    // Rpm's order knows an answer for any two versions.
    versions.iter().max_by(|a, b| version_order::compare(VersionOrder::Rpm, a, b).unwrap_or(std::cmp::Ordering::Equal))
}

/// The installed version an offer replaces.
fn current(package: &PackageKey, offered: &Offered, installed: &Installed) -> Option<Version> {
    installed_of(package, installed).and_then(newest).filter(|version| **version != offered.version).cloned()
}

/// Every installed version of a package. The architecture may change with an upgrade, to or from noarch.
pub(crate) fn installed_of<'a>(package: &PackageKey, installed: &'a Installed) -> Option<&'a [Version]> {
    installed.get(package).map(Vec::as_slice).or_else(|| {
        let same_name = PackageKey { arch: None, ..package.clone() };
        let mut others = installed.range(same_name..).take_while(|(other, _)| other.name == package.name);
        let (other, versions) = others.next()?;
        let alone = others.next().is_none() && [package, other].iter().any(|package| package.arch_text() == "noarch");
        alone.then_some(versions.as_slice())
    })
}

fn availability(
    package: &PackageKey,
    offered: &Offered,
    current: Option<&Version>,
    checked: &Checked,
    locks: &[String],
    resolution: &Resolution,
) -> Availability {
    let because = |kind, reason: &str| Availability::because(kind, Text::lossy(reason));
    if !checked.shows(package, &offered.version) {
        let name = package.name.as_str();
        return match locks.iter().find(|lock| read::lock_names(lock, name)) {
            Some(lock) => because(AvailabilityKind::Held, &format!("held on this host (dnf versionlock {lock})")),
            None => because(AvailabilityKind::Blocked, "left out by a dnf plugin or rule of this host"),
        };
    }
    if resolution.skips(package, &offered.version) {
        let reason = resolution.problem(package, current, &offered.version);
        return because(AvailabilityKind::KeptBack, reason.unwrap_or("dnf skips it when everything is upgraded"));
    }
    Availability::INSTALLABLE
}
