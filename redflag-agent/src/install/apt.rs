//! Installs with apt: exactly the named versions, nothing removed, nothing downgraded.
//!
//! A plan is `apt-get -s install` of the very words an installation gets, so both resolve alike. What apt does not mind is looked
//! at here: packages another transaction left half done (apt would finish them along), holds, phased versions (apt phases only
//! what nobody asked for by name), and whether the words meant what they say. The outcome is what dpkg says is installed
//! afterwards: apt's exit code also fails for reasons that are not the transaction's, and is 0 when it had nothing to do.

mod arguments;
mod failure;

use super::{InstallError, Installed, Installer, OUTPUT_BYTES_MAX, items};
use crate::{
    Printed,
    scan::{
        self,
        apt::{Details, Paths, read, simulation::Simulation},
    },
    tool::{Ended, Output, Tool},
};
use async_trait::async_trait;
use redflag_core::{
    command::plan::{Change, Item, Plan},
    names::{APT, Manager, PackageKey, Text, Version},
};
use std::{collections::HashMap, path::PathBuf, time::Duration};

/// Longest time one installation may take; then it is killed, and the host needs repair. 3,493 upgrades took 7.5 minutes.
const INSTALL_TIME_MAX: Duration = Duration::from_secs(2 * 60 * 60);
/// How long an installation waits for whoever else uses the package manager, unless told otherwise.
const LOCK_TIME_MAX: Duration = Duration::from_secs(5 * 60);
/// Questions are answered by default, no service is restarted that the package itself does not restart, and no list of changes
/// waits for a reader.
const ENVIRONMENT: [(&str, &str); 5] = [
    ("DEBIAN_FRONTEND", "noninteractive"),
    ("DEBIAN_PRIORITY", "critical"),
    ("APT_LISTCHANGES_FRONTEND", "none"),
    ("NEEDRESTART_MODE", "l"),
    ("HOME", "/root"),
];

/// Installs with Debian's apt.
#[derive(Clone, Debug)]
pub struct Apt {
    apt: scan::Apt,
    lock_time_max: Duration,
}

impl Default for Apt {
    fn default() -> Self {
        Self::new()
    }
}

impl Apt {
    /// The apt of this host. Unlike the scanner it does not look at `APT_CONFIG`: what runs as root takes no orders from its
    /// environment.
    #[must_use]
    pub fn new() -> Self {
        Self { apt: scan::Apt::of_host(), lock_time_max: LOCK_TIME_MAX }
    }

    /// The apt that a configuration file describes; it is used as if `APT_CONFIG` named it.
    #[must_use]
    pub fn with_configuration(file: impl Into<PathBuf>) -> Self {
        Self { apt: scan::Apt::with_configuration(file), ..Self::new() }
    }

    /// Takes the programs of apt and dpkg from a directory instead of `/usr/bin`.
    #[must_use]
    pub fn with_programs_in(self, directory: impl Into<PathBuf>) -> Self {
        Self { apt: self.apt.with_programs_in(directory), ..self }
    }

    /// Waits this long, in whole seconds, for whoever else uses the package manager; 5 minutes otherwise.
    #[must_use]
    pub fn with_lock_time_max(self, lock_time_max: Duration) -> Self {
        Self { lock_time_max, ..self }
    }

    fn apt_get(&self, arguments: impl IntoIterator<Item = impl Into<std::ffi::OsString>>) -> Tool {
        self.apt.command("apt-get", &[]).with(arguments)
    }

    /// The plan, with the host it was made for.
    async fn prepare(&self, items: &[Item], words: &[String]) -> Result<(Plan, Host), InstallError> {
        let host = Host::now(&self.apt).await?;
        host.check(items)?;
        let (simulate, download) = (self.apt_get(arguments::simulation(words)), self.apt_get(arguments::downloads(words)));
        let (simulated, downloads) = tokio::join!(simulate.run_with_codes(&[0, 100]), download.run_with_codes(&[0, 100]));
        let simulation = read_simulation(&simulated?)?;
        let downloads = downloads?;
        let asked: Vec<_> = items.iter().map(|item| (&item.package, &item.to)).collect();
        let mut details = self.details(&asked).await?;
        self.check_offers(items, &details).await?;
        let mut changes = host.changes(&simulation)?;
        let further: Vec<_> = changes.iter().filter_map(|change| Some((&change.package, change.to.as_ref()?))).collect();
        if further.iter().any(|version| !asked.contains(version)) {
            details = self.details(&further).await?;
        }
        for change in &mut changes {
            let origin = change.to.as_ref().and_then(|version| details.origin(&change.package, version));
            change.origin = origin.map(|origin| Text::lossy(&origin.text));
        }
        let reboot_required = changes.iter().any(asks_for_reboot).then_some(true);
        let plan = Plan { download_bytes: Some(read_downloads(&downloads)?), reboot_required, ..Plan::of(changes) };
        Ok((plan, host))
    }

    async fn details(&self, versions: &[(&PackageKey, &Version)]) -> Result<Details, InstallError> {
        let mut gaps = Vec::new();
        let details = Details::of(&self.apt, versions, &mut gaps).await;
        all_read(&gaps).map(|()| details)
    }

    /// Whether apt offers exactly these names and versions, and to this host already.
    async fn check_offers(&self, items: &[Item], details: &Details) -> Result<(), InstallError> {
        let mut phased = Vec::new();
        for item in items {
            match details.record(&item.package, &item.to) {
                None => return Err(InstallError::NotOffered { reason: format!("apt knows no {} {}", item.package, item.to) }),
                Some(record) => phased.extend(record.phased_percent.map(|percent| (item, percent))),
            }
        }
        if phased.is_empty() {
            return Ok(());
        }
        let everything = self.apt_get(["-s", "dist-upgrade"]).run_with_codes(&[0, 100]).await?;
        let everything = read_simulation(&everything)?;
        match phased.iter().find(|(item, _)| !everything.installs(&read::identity(&item.package, &item.to))) {
            Some((item, percent)) => {
                Err(InstallError::Phased { reason: format!("{} {} is at {percent} % of hosts", item.package, item.to) })
            }
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Installer for Apt {
    fn manager(&self) -> Manager {
        Manager::parse(APT).expect("the word is a manager's")
    }

    async fn plan(&self, items: &[Item]) -> Result<Plan, InstallError> {
        let words = arguments::of_items(items)?;
        self.prepare(items, &words).await.map(|(plan, _)| plan)
    }

    async fn install(&self, items: &[Item], approved: &Plan, printed: &Printed) -> Result<Installed, InstallError> {
        let words = arguments::of_items(items)?;
        let (plan, before) = self.prepare(items, &words).await?;
        items::as_approved(&plan, approved)?;
        let tool = self.apt_get(arguments::installation(&words, self.lock_time_max));
        let tool = tool.with_environment(ENVIRONMENT.map(|(name, value)| (name, value.into()))).with_time_max(INSTALL_TIME_MAX);
        let ended = tool.run_for_end(OUTPUT_BYTES_MAX / 2, printed).await;
        match Host::now(&self.apt).await {
            Ok(after) => judge(items, &before, &after, ended),
            Err(error) => Err(failed(format!("what is installed now cannot be told: {error}"), Vec::new(), ended.output)),
        }
    }

    /// A transaction that was interrupted is repaired by people, with the command that [`InstallError::Interrupted`] names.
    async fn recover(&self) -> Result<Vec<String>, InstallError> {
        Ok(Vec::new())
    }

    async fn refresh(&self) -> Result<(), InstallError> {
        let output = self.apt_get(arguments::refresh()).run_with_codes(&[0, 100]).await?;
        if output.code == 0 { Ok(()) } else { Err(failure::of_refresh(&(output.stdout + &output.stderr))) }
    }
}

/// What dpkg knows of the host.
#[derive(Debug)]
struct Host {
    paths: Paths,
    installed: HashMap<PackageKey, read::Installed>,
}

impl Host {
    async fn now(apt: &scan::Apt) -> Result<Self, InstallError> {
        let paths = Paths::of(apt).await?;
        let mut gaps = Vec::new();
        let installed = read::installed(&apt.installed(&paths).await?.stdout, &mut gaps);
        all_read(&gaps).map(|()| Self { paths, installed })
    }

    /// Whether the host is in the state the items start from.
    fn check(&self, items: &[Item]) -> Result<(), InstallError> {
        if let Some(left) = self.left_half_done() {
            return Err(InstallError::Interrupted { reason: format!("{left}: run dpkg --configure -a") });
        }
        for item in items {
            let package = item.package.to_string();
            let installed = read::find(&self.installed, &item.package, &item.from);
            match installed.filter(|installed| installed.version == item.from) {
                Some(installed) if installed.held => {
                    return Err(InstallError::Held { reason: format!("{package} is on hold (apt-mark hold)") });
                }
                Some(_) => {}
                None => {
                    let installed = installed.map_or_else(|| "none".to_owned(), |installed| installed.version.to_string());
                    return Err(InstallError::Precondition { package, installed, expected: item.from.to_string() });
                }
            }
        }
        Ok(())
    }

    /// A package that an earlier transaction left between two states, or dpkg's own note that it was killed.
    fn left_half_done(&self) -> Option<String> {
        let half_done = self.installed.iter().filter_map(|(package, installed)| Some((package, installed.half_done.as_ref()?))).min();
        let notes = std::fs::read_dir(self.paths.dpkg().join("updates"));
        let mut notes = notes.into_iter().flatten().flatten().map(|note| note.file_name());
        match half_done {
            Some((package, state)) => Some(format!("{package} is {state}")),
            None => notes
                .any(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit))
                .then(|| "dpkg was ended in the middle of its work".to_owned()),
        }
    }

    /// What a simulation changes, without origins.
    fn changes(&self, simulation: &Simulation) -> Result<Vec<Change>, InstallError> {
        let unreadable = |reason| InstallError::Tool { reason: format!("apt-get -s: {reason}") };
        let change = |(name, arch, to): &read::Identity, from: Option<&String>| {
            let from = from.map(|from| scan::apt::version("from", from)).transpose()?;
            Ok(Change { package: read::package(name, arch)?, from, to: Some(scan::apt::version("to", to)?), origin: None })
        };
        let upgrades = simulation.upgrades.iter().map(|(to, from)| change(to, Some(from)));
        let additions = simulation.additions.iter().map(|to| change(to, None));
        let removals = simulation.removals.iter().map(|(name, from)| {
            let from = scan::apt::version("from", from)?;
            Ok(Change { package: self.named(name, &from)?, from: Some(from), to: None, origin: None })
        });
        upgrades.chain(additions).chain(removals).collect::<Result<_, String>>().map_err(unreadable)
    }

    /// The installed package that apt calls `NAME[:ARCH]`.
    fn named(&self, name: &str, version: &Version) -> Result<PackageKey, String> {
        let (name, arch) = name.split_once(':').unwrap_or((name, &self.paths.native_arch));
        let package = read::package(name, arch)?;
        let for_all = PackageKey { arch: read::package(name, "all")?.arch, ..package.clone() };
        let known = |package: &PackageKey| self.installed.get(package).is_some_and(|installed| installed.version == *version);
        [package, for_all].into_iter().find(known).ok_or_else(|| format!("{name} {version} would go and is not there"))
    }

    fn reboot_required(&self) -> Option<bool> {
        // Only some systems write this file, so that its absence means nothing.
        ["run/reboot-required", "var/run/reboot-required"].iter().any(|file| self.paths.root.join(file).exists()).then_some(true)
    }
}

/// What became of it, by what is installed now.
fn judge(items: &[Item], before: &Host, after: &Host, ended: Ended) -> Result<Installed, InstallError> {
    let there = |item: &&Item| after.installed.get(&item.package).is_some_and(|now| now.version == item.to && now.half_done.is_none());
    let done: Vec<String> = items.iter().filter(there).map(|item| item.package.to_string()).collect();
    let half_done = after.left_half_done();
    if done.len() == items.len() && half_done.is_none() {
        return Ok(Installed { reboot_required: after.reboot_required(), transaction: None, output: ended.output });
    }
    let reason = match (&ended.code, half_done) {
        (Ok(0), None) => "apt-get says it is done, and it is not".to_owned(),
        (Ok(_), None) => failure::of_dpkg(&ended.output),
        (Ok(_), Some(half_done)) => format!("{half_done}: {}", failure::of_dpkg(&ended.output)),
        (Err(error), _) => error.to_string(),
    };
    let nothing_happened = ended.code.is_ok() && before.installed == after.installed;
    match failure::of_installation(&ended.output).filter(|_| nothing_happened) {
        Some(error) => Err(error),
        None => Err(failed(reason, done, ended.output)),
    }
}

fn failed(reason: String, done: Vec<String>, output: String) -> InstallError {
    InstallError::Failed { reason, done, rolled_back: false, output }
}

fn read_simulation(output: &Output) -> Result<Simulation, InstallError> {
    let text = || format!("{}{}", output.stdout, output.stderr);
    if output.code != 0 {
        return Err(failure::of_installation(&text()).unwrap_or_else(|| InstallError::Tool { reason: crate::tool::message_of(&text()) }));
    }
    let mut gaps = Vec::new();
    let simulation = Simulation::read(&output.stdout, &mut gaps);
    all_read(&gaps).map(|()| simulation)
}

/// Reads `apt-get -qq --print-uris`: `'URI' FILE BYTES HASH` a line.
fn read_downloads(output: &Output) -> Result<u64, InstallError> {
    let bytes = |line: &str| line.rsplit_once("' ")?.1.split(' ').nth(1)?.parse::<u64>().ok();
    let lines = output.stdout.lines().map(|line| bytes(line).ok_or_else(|| format!("apt-get --print-uris: unreadable line {line:?}")));
    let sum = if output.code == 0 { lines.sum() } else { Err(crate::tool::message_of(&output.stderr)) };
    sum.map_err(|reason| InstallError::Tool { reason })
}

fn all_read(gaps: &[String]) -> Result<(), InstallError> {
    gaps.first().map_or(Ok(()), |gap| Err(InstallError::Tool { reason: gap.clone() }))
}

/// A running kernel, and a C library that everything running has loaded, are replaced by a reboot only.
fn asks_for_reboot(change: &Change) -> bool {
    let name = change.package.name.as_str();
    change.to.is_some() && (name.starts_with("linux-image-") || name == "libc6")
}
