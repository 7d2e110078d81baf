//! The apt scanner: every upgradable package, and which of them apt would install now.
//!
//! The set of updates is what `apt list --upgradable` shows; what can be installed is what `apt-get -s dist-upgrade` would
//! install of them (clause S6). Why these commands and no others, and how their answers check each other, is written in
//! `docs/decisions/0002-how-apt-is-scanned.md`. Nothing is refreshed and no lock is taken, so that any user may scan.

mod details;
pub(crate) mod read;
pub(crate) mod simulation;
mod sources;

use super::{Scan, Scanner};
use crate::tool::{self, Tool, ToolError};
use async_trait::async_trait;
pub(crate) use details::Details;
use read::{Installed, Listed, Record};
use redflag_core::{
    names::{APT, Manager, PackageKey, Text, Version},
    offer::{Availability, Candidate, Offer},
    words::{AvailabilityKind, VersionOrder},
};
use simulation::Simulation;
pub(crate) use sources::Paths;
use sources::Sources;
use std::{collections::HashMap, path::PathBuf, sync::Arc};

/// Most packages named on one command line, well below the kernel's limit on the length of arguments.
const NAMES_PER_COMMAND: usize = 5_000;
/// Most kept-back packages apt is asked about one by one; the reason of the others stays general.
const REASONS_ASKED_MAX: usize = 10;

/// Scans Debian's apt.
#[derive(Clone, Debug)]
pub struct Apt {
    /// The directory of its programs.
    programs: PathBuf,
    configuration: Option<PathBuf>,
}

impl Default for Apt {
    fn default() -> Self {
        Self::new()
    }
}

impl Apt {
    /// The apt of this host, or the one `APT_CONFIG` describes.
    #[must_use]
    pub fn new() -> Self {
        Self { configuration: std::env::var_os("APT_CONFIG").map(Into::into), ..Self::of_host() }
    }

    /// The apt that a configuration file describes; it is used as if `APT_CONFIG` named it.
    #[must_use]
    pub fn with_configuration(file: impl Into<PathBuf>) -> Self {
        Self { configuration: Some(file.into()), ..Self::of_host() }
    }

    /// The apt of this host, whatever the environment says.
    pub(crate) fn of_host() -> Self {
        Self { programs: "/usr/bin".into(), configuration: None }
    }

    /// Takes the programs of apt and dpkg from a directory.
    pub(crate) fn with_programs_in(self, directory: impl Into<PathBuf>) -> Self {
        Self { programs: directory.into(), ..self }
    }

    pub(crate) fn command(&self, program: &str, arguments: &[&str]) -> Tool {
        let configuration = self.configuration.clone().map(|file| ("APT_CONFIG", file.into()));
        Tool::new(self.programs.join(program)).with(arguments).with_environment(configuration)
    }

    /// Asks one question about many packages, in as few commands as the kernel allows.
    async fn about(&self, program: &str, question: &[&str], packages: &[String]) -> Result<String, ToolError> {
        let mut answers = String::new();
        for packages in packages.chunks(NAMES_PER_COMMAND) {
            let command = self.command(program, question).with(packages);
            answers.push_str(&command.run().await?.stdout);
        }
        Ok(answers)
    }

    /// The scan, or the reason why nothing can be said.
    async fn ask(&self, mut scan: Scan) -> Result<Scan, ToolError> {
        let mut gaps = Vec::new();
        let sources = Sources::of(self).await?;
        scan.metadata_at = sources.refreshed_at();
        scan.refresh_error = sources.expired(scan.scanned_at).map(|reason| Text::lossy(&reason));
        gaps.extend(sources.gaps());
        let (list_command, simulate_command) =
            (self.command("apt", &["list", "--upgradable"]), self.command("apt-get", &["-s", "dist-upgrade"]));
        let (installed, list, simulation) = tokio::join!(self.installed(&sources.paths), list_command.run(), simulate_command.run());
        let installed = read::installed(&installed?.stdout, &mut gaps);
        if installed.is_empty() {
            return Ok(scan.failed("dpkg knows of no installed package, so its status could not be read"));
        }
        let listed = read::list(&list?.stdout, &mut gaps);
        let simulation = match simulation {
            Ok(output) => Ok(Simulation::read(&output.stdout, &mut gaps)),
            Err(error) => Err(error.to_string()),
        };
        match &simulation {
            Ok(simulation) => gaps.extend(simulation.disagreements(&listed)),
            Err(error) => gaps.push(format!("what can be installed is unknown: {error}")),
        }
        let details = self.details(&listed, &mut gaps).await;
        let reasons = self.reasons(&listed, &installed, &details, simulation.as_ref().ok()).await;
        for update in &listed {
            let availability =
                availability(update, &installed, details.record(&update.package, &update.candidate), simulation.as_ref(), &reasons);
            let offer = offer(update, &details, availability);
            scan.offers.insert(update.package.clone(), offer);
        }
        scan.installed = installed.into_iter().map(|(package, installed)| (package, installed.version)).collect();
        Ok(scan.with_gaps(&gaps))
    }

    /// dpkg's own list, by the status file apt uses; [`read::installed`] reads it.
    pub(crate) async fn installed(&self, paths: &Paths) -> Result<tool::Output, ToolError> {
        let directory = format!("--admindir={}", paths.dpkg().display());
        self.command("dpkg-query", &[&directory, "-W", "-f", read::INSTALLED_FORMAT]).run().await
    }

    /// Origins, sizes and descriptions. Their absence is a gap, never the end of a scan.
    async fn details(&self, listed: &[Listed], gaps: &mut Vec<String>) -> Details {
        let versions: Vec<_> = listed.iter().map(|update| (&update.package, &update.candidate)).collect();
        let details = Details::of(self, &versions, gaps).await;
        for (what, count) in [
            ("origin", versions.iter().filter(|(package, version)| details.origin(package, version).is_none()).count()),
            ("record", versions.iter().filter(|(package, version)| details.record(package, version).is_none()).count()),
        ] {
            if count > 0 {
                gaps.push(format!("apt-cache gave no {what} for {count} of {} updates", listed.len()));
            }
        }
        details
    }

    /// What apt answers when asked for one kept-back package alone: the dependency in the way.
    async fn reasons(
        &self,
        listed: &[Listed],
        installed: &HashMap<PackageKey, Installed>,
        details: &Details,
        simulation: Option<&Simulation>,
    ) -> HashMap<PackageKey, String> {
        let mut reasons = HashMap::new();
        let Some(simulation) = simulation else { return reasons };
        let kept = listed.iter().filter(|update| {
            let held = read::find(installed, &update.package, &update.installed).is_some_and(|installed| installed.held);
            let phased = details.record(&update.package, &update.candidate).is_some_and(|record| record.phased_percent.is_some());
            !simulation.installs(&update.identity()) && !held && !phased
        });
        for update in kept.take(REASONS_ASKED_MAX) {
            let command = self.command("apt-get", &["-s", "install", "--"]).with([read::exact_for_apt(&update.package, &update.candidate)]);
            // Asked for alone it may well be installable, at the price of removing others; any code answers the question.
            if let Ok(output) = command.run_with_codes(&[0, 100]).await
                && let Some(reason) = read::obstacle(&output.stdout)
            {
                reasons.insert(update.package.clone(), reason);
            }
        }
        reasons
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
        ["apt", "apt-get", "dpkg-query"].into_iter().all(|program| self.command(program, &[]).found())
    }

    async fn scan(&self) -> Scan {
        let scan = Scan::begun(self.manager(), self.version_order());
        match self.ask(scan.clone()).await {
            Ok(scan) => scan,
            Err(error) => scan.failed(&error.to_string()),
        }
    }
}

fn offer(update: &Listed, details: &Details, availability: Availability) -> Offer {
    let (origin, record) = (details.origin(&update.package, &update.candidate), details.record(&update.package, &update.candidate));
    let candidate = Candidate {
        origin: origin.map(|origin| Text::lossy(&origin.text)),
        security: origin.is_some_and(|origin| origin.security),
        size_bytes: record.and_then(|record| record.size_bytes),
        description: record.and_then(|record| record.summary.as_deref()).map(Text::lossy),
        ..Candidate::new(update.candidate.clone())
    };
    Offer { installed: Some(update.installed.clone()), candidate: Arc::new(candidate), availability }
}

fn availability(
    update: &Listed,
    installed: &HashMap<PackageKey, Installed>,
    record: Option<&Record>,
    simulation: Result<&Simulation, &String>,
    reasons: &HashMap<PackageKey, String>,
) -> Availability {
    let because = |kind, reason: &str| Availability::because(kind, Text::lossy(reason));
    if simulation.is_ok_and(|simulation| simulation.installs(&update.identity())) {
        return Availability::INSTALLABLE;
    }
    if read::find(installed, &update.package, &update.installed).is_some_and(|installed| installed.held) {
        return because(AvailabilityKind::Held, "held on this host (apt-mark hold)");
    }
    let simulation = match simulation {
        Ok(simulation) => simulation,
        Err(error) => return because(AvailabilityKind::Unknown, error),
    };
    if let Some(percent) = record.and_then(|record| record.phased_percent) {
        return because(AvailabilityKind::Phased, &format!("released to {percent} % of hosts so far, not yet to this one"));
    }
    if simulation.removes(update) {
        return because(AvailabilityKind::KeptBack, "apt would remove it to upgrade other packages");
    }
    match reasons.get(&update.package) {
        Some(reason) => because(AvailabilityKind::KeptBack, reason),
        None => because(AvailabilityKind::KeptBack, "apt keeps it back when everything is upgraded"),
    }
}

/// Parses a version of apt's own output.
pub(crate) fn version(field: &str, text: &str) -> Result<Version, String> {
    let manager = Manager::parse(APT).expect("the word is a manager's");
    Version::parse_for(&manager, field, text).map_err(|rejection| rejection.message)
}
