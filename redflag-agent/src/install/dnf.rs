//! Installs with dnf: exactly the named versions, in one transaction, by `upgrade` of whole package names.
//!
//! A plan is the table of a resolution that is declined, of the very words an installation gets; dnf resolves only for root. Its
//! exit codes say little: 0 when everything asked for is locked, 1 when a plan was declined as it should be. So the table and its
//! summary are read, packages that were not matched are asked after, and the outcome is what rpm says is installed afterwards. A
//! transaction that was killed leaves both versions of a package installed, which dnf itself does not mind.

mod arguments;
mod failure;
pub(crate) mod resolution;

use super::{InstallError, Installed, Installer, OUTPUT_BYTES_MAX, items};
use crate::{
    Printed,
    scan::dnf::{FROM_CACHE, installed_of, newest, read},
    tool::{Ended, Tool},
};
use async_trait::async_trait;
use redflag_core::{
    command::plan::{Change, Item, Plan},
    names::{DNF, Manager, PackageKey, Text},
};
use resolution::Resolution;
use std::{collections::HashSet, ffi::OsString, time::Duration};
use tokio::time::Instant;

/// Longest time one installation may take; then it is killed, and the host needs repair. 3,428 upgrades took 6 minutes.
const INSTALL_TIME_MAX: Duration = Duration::from_secs(2 * 60 * 60);
/// How long an installation waits for whoever else uses the package manager, unless told otherwise.
const LOCK_TIME_MAX: Duration = Duration::from_secs(5 * 60);
/// How often it looks whether they are done.
const LOCK_TIME_BETWEEN: Duration = Duration::from_secs(1);
/// dnf's exit code when another process holds one of its locks.
const LOCKED: i32 = 200;
/// Packages whose new version only a reboot brings into use: dnf's own list, of `needs-restarting`.
const REBOOT: &[&str] = &[
    "kernel",
    "kernel-core",
    "kernel-rt",
    "kernel-rt-core",
    "glibc",
    "linux-firmware",
    "systemd",
    "dbus",
    "dbus-broker",
    "dbus-daemon",
    "microcode_ctl",
];

/// Installs with dnf 4.
#[derive(Clone, Debug)]
pub struct Dnf {
    dnf: Tool,
    rpm: Tool,
    lock_time_max: Duration,
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
        Self::with_commands(("/usr/bin/dnf", []), ("/usr/bin/rpm", []))
    }

    /// Another dnf and rpm: a program each, and the arguments that come first whenever it is called, for example to name a root.
    #[must_use]
    pub fn with_commands<D, R>(dnf: (impl Into<OsString>, D), rpm: (impl Into<OsString>, R)) -> Self
    where
        D: IntoIterator<Item = OsString>,
        R: IntoIterator<Item = OsString>,
    {
        Self { dnf: Tool::new(dnf.0).with(dnf.1), rpm: Tool::new(rpm.0).with(rpm.1), lock_time_max: LOCK_TIME_MAX }
    }

    /// Waits this long for whoever else uses the package manager; 5 minutes otherwise.
    #[must_use]
    pub fn with_lock_time_max(self, lock_time_max: Duration) -> Self {
        Self { lock_time_max, ..self }
    }

    /// Asks a question that needs dnf's locks; waits while others hold them.
    async fn ask(&self, question: Tool) -> Result<Answer, InstallError> {
        let until = Instant::now() + self.lock_time_max;
        loop {
            let output = question.run_with_codes(&[0, 1, LOCKED]).await?;
            let answer = Answer { code: output.code, text: output.stdout + &output.stderr };
            match answer.code {
                LOCKED if wait_for_locks(until).await => {}
                LOCKED => return Err(locked(&answer.text)),
                _ => return Ok(answer),
            }
        }
    }

    /// Runs an installation; one that met the locks of others changed nothing and is run again.
    async fn run(&self, installation: Tool, printed: &Printed) -> Ended {
        let until = Instant::now() + self.lock_time_max;
        loop {
            let ended = installation.run_for_end(OUTPUT_BYTES_MAX / 2, printed).await;
            if !matches!(ended.code, Ok(LOCKED)) || !wait_for_locks(until).await {
                return ended;
            }
        }
    }

    /// The plan, with the host it was made for.
    async fn prepare(&self, items: &[Item], words: &[String]) -> Result<(Plan, Host), InstallError> {
        let host = self.host().await?;
        if let Some(left) = host.left_half_done {
            return Err(InstallError::Interrupted { reason: format!("{left}: run dnf remove --duplicates") });
        }
        host.check(items)?;
        let text = self.ask(self.dnf.clone().with(arguments::resolution(words))).await?.text;
        if let Some(word) = failure::unmatched(&text).first() {
            return Err(self.why_unmatched(word, items, words, &text).await?);
        }
        if !text.contains("\nTransaction Summary\n") {
            return Err(failure::of(&text));
        }
        let resolution = Resolution::read(&text).map_err(|reason| InstallError::Unresolvable { reason })?;
        let download_bytes = self.download_bytes(&resolution).await?;
        let changes = host.changes(resolution);
        let reboot = changes.iter().any(|change| change.to.is_some() && REBOOT.contains(&change.package.name.as_str()));
        let plan = Plan { download_bytes: Some(download_bytes), reboot_required: reboot.then_some(true), ..Plan::of(changes) };
        Ok((plan, host))
    }

    /// Why dnf knows no package for a word: it is not offered, or kept from us, or its repository could not be reached.
    async fn why_unmatched(&self, word: &str, items: &[Item], words: &[String], text: &str) -> Result<InstallError, InstallError> {
        if let Some(error @ InstallError::Unreachable { .. }) = failure::of_nothing(text) {
            return Ok(error);
        }
        let offered = self.dnf.clone().with(["-q", FROM_CACHE, "--disableexcludes=all", "repoquery", "--", word]).run().await?;
        if offered.stdout.trim().is_empty() {
            return Ok(InstallError::NotOffered { reason: format!("dnf knows no {word}") });
        }
        // Without the plugin there are no locks to list.
        let locks =
            self.dnf.clone().with(["-q", FROM_CACHE, "versionlock", "list"]).run().await.map(|output| output.stdout).unwrap_or_default();
        let item = words.iter().position(|known| known == word).and_then(|at| items.get(at));
        let lock = item.and_then(|item| locks.lines().find(|lock| read::lock_names(lock, item.package.name.as_str())));
        let reason = match lock {
            Some(lock) => format!("{word} is locked (dnf versionlock {lock})"),
            None => format!("{word} is left out by a dnf plugin or rule of this host"),
        };
        Ok(InstallError::Held { reason })
    }

    /// The sizes of exactly these packages in the repositories they come from.
    async fn download_bytes(&self, resolution: &Resolution) -> Result<u64, InstallError> {
        let names = resolution.installs.iter().filter_map(|change| Some(nevra(&change.package, change.to.as_ref()?.as_str())));
        let format = "%{name}\\t%{epoch}\\t%{version}\\t%{release}\\t%{arch}\\t%{repoid}\\t%{downloadsize}\\t\\n";
        let query = self.dnf.clone().with(["-q", FROM_CACHE, "--disableexcludes=all", "repoquery", "--qf", format, "--"]).with(names);
        let mut sizes = read::sizes(&query.run().await?.stdout).map_err(|reason| InstallError::Tool { reason })?;
        let size = |change: &Change| {
            let key = (change.package.clone(), change.to.clone()?, change.origin.as_ref()?.to_string());
            sizes.remove(&key)
        };
        let sizes: Option<Vec<u64>> = resolution.installs.iter().map(size).collect();
        sizes
            .map(|sizes| sizes.iter().sum())
            .ok_or_else(|| InstallError::Tool { reason: "dnf repoquery: a package of the plan is missing".into() })
    }

    async fn host(&self) -> Result<Host, InstallError> {
        let output = self.rpm.clone().with(["-qa", "--qf", read::RPM_FORMAT]).run().await?;
        let mut gaps = Vec::new();
        let installed = read::installed(&output.stdout, &mut gaps);
        if let Some(gap) = gaps.pop() {
            return Err(InstallError::Tool { reason: gap });
        }
        // Kernels stand side by side on purpose; dnf knows which packages may.
        let several = installed.values().any(|versions| versions.len() > 1);
        let left_half_done = if several { self.duplicates().await? } else { None };
        Ok(Host { installed, left_half_done })
    }

    async fn duplicates(&self) -> Result<Option<String>, InstallError> {
        let output = self.dnf.clone().with(["-q", FROM_CACHE, "check", "--duplicates"]).run_with_codes(&[0, 1]).await?;
        let first = output.stdout.lines().chain(output.stderr.lines()).map(str::trim).find(|line| !line.is_empty());
        Ok(first.filter(|_| output.code == 1).map(str::to_owned))
    }

    /// dnf's number of the last transaction, if it is the one of these words.
    async fn transaction(&self, words: &[String]) -> Option<Text> {
        let output = self.dnf.clone().with(["-q", FROM_CACHE, "history", "info", "last"]).run().await.ok()?;
        let field = |name: &str| {
            let of =
                |line: &str| line.split_once(" : ").filter(|(field, _)| field.trim() == name).map(|(_, value)| value.trim().to_owned());
            output.stdout.lines().find_map(of)
        };
        let ours = field("Command Line")?.ends_with(&words.join(" "));
        field("Transaction ID").filter(|_| ours).map(|id| Text::lossy(&id))
    }

    /// Whether the host asks for a reboot; none where the plugin that tells is missing.
    async fn reboot_required(&self) -> Option<bool> {
        let output = self.dnf.clone().with(["-q", FROM_CACHE, "needs-restarting", "-r"]).run_with_codes(&[0, 1]).await.ok()?;
        match output.code {
            0 => Some(false),
            _ => output.stdout.contains("Reboot is required").then_some(true),
        }
    }
}

#[async_trait]
impl Installer for Dnf {
    fn manager(&self) -> Manager {
        Manager::parse(DNF).expect("the word is a manager's")
    }

    async fn plan(&self, items: &[Item]) -> Result<Plan, InstallError> {
        let words = arguments::of_items(items)?;
        self.prepare(items, &words).await.map(|(plan, _)| plan)
    }

    async fn install(&self, items: &[Item], approved: &Plan, printed: &Printed) -> Result<Installed, InstallError> {
        let words = arguments::of_items(items)?;
        let (plan, before) = self.prepare(items, &words).await?;
        items::as_approved(&plan, approved)?;
        let install = self.dnf.clone().with(arguments::installation(&words)).with_environment([("HOME", "/root".into())]);
        let install = install.with_time_max(INSTALL_TIME_MAX);
        let ended = self.run(install, printed).await;
        let after = match self.host().await {
            Ok(after) => after,
            Err(error) => return Err(failed(format!("what is installed now cannot be told: {error}"), Vec::new(), ended.output)),
        };
        let output = judge(items, &before, &after, ended)?;
        Ok(Installed { reboot_required: self.reboot_required().await, transaction: self.transaction(&words).await, output })
    }

    /// A transaction that was interrupted is repaired by people, with the command that [`InstallError::Interrupted`] names.
    async fn recover(&self) -> Result<Vec<String>, InstallError> {
        Ok(Vec::new())
    }

    async fn refresh(&self) -> Result<(), InstallError> {
        let refresh = self.dnf.clone().with(["--setopt=*.skip_if_unavailable=0", "--setopt=exit_on_lock=1", "makecache", "--refresh"]);
        let answer = self.ask(refresh).await?;
        if answer.code == 0 { Ok(()) } else { Err(failure::of(&answer.text)) }
    }
}

/// What dnf printed on both its streams, and its exit code.
#[derive(Debug)]
struct Answer {
    code: i32,
    text: String,
}

/// Waits a moment, unless the time is over.
async fn wait_for_locks(until: Instant) -> bool {
    let time_is_left = Instant::now() < until;
    if time_is_left {
        tokio::time::sleep(LOCK_TIME_BETWEEN).await;
    }
    time_is_left
}

/// What rpm knows of the host.
#[derive(Debug)]
struct Host {
    installed: read::Installed,
    /// A package of which two versions are installed that should not be.
    left_half_done: Option<String>,
}

impl Host {
    /// Whether the host is in the state the items start from.
    fn check(&self, items: &[Item]) -> Result<(), InstallError> {
        for item in items {
            let installed = installed_of(&item.package, &self.installed).and_then(newest);
            if installed != Some(&item.from) {
                let installed = installed.map_or_else(|| "none".to_owned(), ToString::to_string);
                return Err(InstallError::Precondition { package: item.package.to_string(), installed, expected: item.from.to_string() });
            }
        }
        Ok(())
    }

    /// What a resolution changes: each installed package with the version it replaces, and what goes. A version that goes while
    /// another version of the same package comes, as old kernels do, is no removal of the package.
    fn changes(&self, resolution: Resolution) -> Vec<Change> {
        let coming: HashSet<PackageKey> = resolution.installs.iter().map(|change| change.package.clone()).collect();
        let removals = resolution.removals.into_iter().filter(|change| !coming.contains(&change.package));
        let installs = resolution.installs.into_iter().map(|change| {
            let from = installed_of(&change.package, &self.installed).and_then(newest).cloned();
            Change { from, ..change }
        });
        installs.chain(removals).collect()
    }
}

/// What became of it, by what is installed now: the output if all is there.
fn judge(items: &[Item], before: &Host, after: &Host, ended: Ended) -> Result<String, InstallError> {
    let there = |item: &&Item| after.installed.get(&item.package).is_some_and(|versions| versions.contains(&item.to));
    let done: Vec<String> = items.iter().filter(there).map(|item| item.package.to_string()).collect();
    if done.len() == items.len() && after.left_half_done.is_none() {
        return Ok(ended.output);
    }
    if before.installed == after.installed {
        if matches!(ended.code, Ok(LOCKED)) {
            return Err(locked(&ended.output));
        }
        if let Some(error) = failure::of_nothing(&ended.output).filter(|_| ended.code.is_ok()) {
            return Err(error);
        }
    }
    let reason = match (&ended.code, &after.left_half_done) {
        (Err(error), _) => error.to_string(),
        (Ok(_), Some(left)) => format!("{left}: {}", failure::of_transaction(&ended.output)),
        (Ok(0), None) => "dnf says it is done, and it is not".to_owned(),
        (Ok(_), None) => failure::of_transaction(&ended.output),
    };
    Err(failed(reason, done, ended.output))
}

fn failed(reason: String, done: Vec<String>, output: String) -> InstallError {
    InstallError::Failed { reason, done, rolled_back: false, output }
}

fn locked(text: &str) -> InstallError {
    let line = text.lines().find(|line| line.contains("already locked")).unwrap_or("another process holds its lock");
    InstallError::Locked { reason: line.trim().to_owned() }
}

/// The whole name of one version, always with its epoch.
fn nevra(package: &PackageKey, version: &str) -> String {
    let epoch = if version.contains(':') { "" } else { "0:" };
    format!("{}-{epoch}{version}.{}", package.name, package.arch_text())
}
