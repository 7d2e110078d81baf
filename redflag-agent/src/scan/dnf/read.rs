//! Reading what dnf prints. Pure: every reader takes text and judges every line of it.
//!
//! A line that should hold a fact and cannot be read becomes a gap, a sentence that makes the scan partial. Readers never guess
//! and never panic, whatever the text holds.

use crate::tool::whole_lines;
use redflag_core::{
    names::{DNF, Manager, PackageKey, Version},
    time::Timestamp,
};
use std::collections::{BTreeMap, HashMap, HashSet};

/// What [`offered`] reads. dnf 4 adds a line end of its own, dnf 5 does not; empty lines mean nothing.
pub(crate) const OFFERED_FORMAT: &str =
    "%{name}\\t%{epoch}\\t%{version}\\t%{release}\\t%{arch}\\t%{repoid}\\t%{downloadsize}\\t%{summary}\\n";
/// What [`installed`] reads.
pub(crate) const INSTALLED_FORMAT: &str = "%{name}\\t%{epoch}\\t%{version}\\t%{release}\\t%{arch}\\n";

/// The same of rpm itself.
pub(crate) const RPM_FORMAT: &str = "%{NAME}\\t%{EPOCHNUM}\\t%{VERSION}\\t%{RELEASE}\\t%{ARCH}\\n";

/// Every installed version of every package; some, such as kernels, are installed side by side.
pub(crate) type Installed = BTreeMap<PackageKey, Vec<Version>>;

/// One upgrade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offered {
    pub(crate) version: Version,
    pub(crate) repository: String,
    pub(crate) size_bytes: Option<u64>,
    pub(crate) summary: Option<String>,
}

/// Reads `dnf repoquery --upgrades --qf` [`OFFERED_FORMAT`].
pub(crate) fn offered(text: &str, gaps: &mut Vec<String>) -> HashMap<PackageKey, Offered> {
    let mut packages = HashMap::new();
    whole_lines("dnf repoquery --upgrades", text, gaps);
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        match available(line) {
            Ok((package, offered)) => {
                if packages.contains_key(&package) {
                    gaps.push(format!("dnf repoquery --upgrades: {}.{} twice", package.name, package.arch_text()));
                }
                packages.insert(package, offered);
            }
            Err(error) => gaps.push(format!("dnf repoquery --upgrades: {error}")),
        }
    }
    packages
}

/// Reads `dnf repoquery --qf` [`OFFERED_FORMAT`] for the sizes of packages in their repositories.
pub(crate) fn sizes(text: &str) -> Result<HashMap<(PackageKey, Version, String), u64>, String> {
    let size = |line| {
        let (package, offered) = available(line)?;
        let size = offered.size_bytes.ok_or_else(|| format!("no size in {line:?}"))?;
        Ok(((package, offered.version, offered.repository), size))
    };
    text.lines().filter(|line| !line.trim().is_empty()).map(size).collect()
}

/// One line in [`OFFERED_FORMAT`].
fn available(line: &str) -> Result<(PackageKey, Offered), String> {
    let fields: Vec<&str> = line.splitn(8, '\t').collect();
    let &[name, epoch, number, release, arch, repository, size, summary] = fields.as_slice() else {
        return Err(format!("unreadable line {line:?}"));
    };
    if repository.is_empty() {
        return Err(format!("no repository in {line:?}"));
    }
    let (package, version) = (package(name, arch)?, version(epoch, number, release)?);
    let summary = Some(summary.to_owned()).filter(|summary| !summary.is_empty());
    Ok((package, Offered { version, repository: repository.to_owned(), size_bytes: size.parse().ok(), summary }))
}

/// Reads `dnf repoquery --installed --qf` [`INSTALLED_FORMAT`] or `rpm -qa --qf` [`RPM_FORMAT`].
pub(crate) fn installed(text: &str, gaps: &mut Vec<String>) -> Installed {
    let mut packages = Installed::new();
    whole_lines("the list of installed packages", text, gaps);
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let fields: Vec<&str> = line.split('\t').collect();
        let &[name, epoch, number, release, arch] = fields.as_slice() else {
            gaps.push(format!("installed packages: unreadable line {line:?}"));
            continue;
        };
        if name == "gpg-pubkey" {
            // Not a package: rpm keeps its trusted keys so.
            continue;
        }
        match package(name, arch).and_then(|package| Ok((package, version(epoch, number, release)?))) {
            Ok((package, version)) => packages.entry(package).or_default().push(version),
            Err(error) => gaps.push(format!("installed packages: {error}")),
        }
    }
    packages
}

/// What `dnf check-update` shows.
#[derive(Debug, Default)]
pub(crate) struct Checked(HashSet<(PackageKey, Version)>);

/// Reads `dnf check-update`: `NAME.ARCH [EPOCH:]VERSION-RELEASE REPOSITORY`, up to the list of obsoleted packages.
pub(crate) fn checked(text: &str, gaps: &mut Vec<String>) -> Checked {
    let mut checked = Checked::default();
    whole_lines("dnf check-update", text, gaps);
    for line in text.lines().take_while(|line| !line.starts_with("Obsoleting Packages")) {
        // Notes such as "Security: kernel-core-… is the currently running version" stand between the lists.
        if line.trim().is_empty() || line.starts_with("Security: ") {
            continue;
        }
        let fields: Vec<&str> = line.split_whitespace().collect();
        let parsed = match fields.as_slice() {
            &[name, number, _repository] => name.rsplit_once('.').map(|(name, arch)| Ok((package(name, arch)?, evr(number)?))),
            _ => None,
        };
        match parsed {
            Some(Ok(update)) => drop(checked.0.insert(update)),
            Some(Err::<_, String>(error)) => gaps.push(format!("dnf check-update: {error}")),
            None => gaps.push(format!("dnf check-update: unreadable line {line:?}")),
        }
    }
    checked
}

impl Checked {
    /// Whether this very version is shown.
    pub(crate) fn shows(&self, package: &PackageKey, version: &Version) -> bool {
        self.0.contains(&(package.clone(), version.clone()))
    }

    /// Whether every upgrade is shown.
    pub(crate) fn shows_all(&self, offered: &HashMap<PackageKey, Offered>) -> bool {
        offered.iter().all(|(package, offered)| self.shows(package, &offered.version))
    }

    /// What is shown here and missing among the upgrades: one of the two lists was cut, or the repositories changed in between.
    pub(crate) fn not_offered(&self, offered: &HashMap<PackageKey, Offered>) -> Option<String> {
        let known = |(package, version): &&(PackageKey, Version)| offered.get(package).is_some_and(|offered| offered.version == *version);
        let missing = self.0.iter().filter(|update| !known(update)).count();
        (missing > 0).then(|| format!("dnf check-update shows {missing} updates that dnf repoquery --upgrades does not"))
    }
}

/// The enabled repositories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Repositories {
    pub(crate) enabled: usize,
    /// When the one that was not refreshed for longest was.
    pub(crate) refreshed_at: Option<Timestamp>,
}

/// Reads `dnf repoinfo`: `Repo-id : …` begins a repository, `Repo-expire : … (last: Mon Nov 23 15:25:07 2026)` dates it.
pub(crate) fn repositories(text: &str) -> Repositories {
    let mut repositories = Repositories::default();
    for (field, value) in text.lines().filter_map(|line| line.split_once(':')) {
        match field.trim().to_ascii_lowercase().replace(' ', "-").as_str() {
            "repo-id" => repositories.enabled += 1,
            "repo-expire" => {
                let last = value.split_once("(last: ").and_then(|(_, last)| asctime(last.trim_end_matches(')')));
                repositories.refreshed_at = match (repositories.refreshed_at, last) {
                    (Some(known), Some(last)) => Some(known.min(last)),
                    (known, last) => known.or(last),
                };
            }
            _ => {}
        }
    }
    repositories
}

/// Reads `Mon Nov 23 15:25:07 2026`, in UTC because that is the zone dnf is run in.
fn asctime(text: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let fields: Vec<&str> = text.split_whitespace().collect();
    let &[_, month, day, time, year] = fields.as_slice() else { return None };
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let time: Timestamp = format!("{year}-{month:02}-{day:0>2}T{time}Z").parse().ok()?;
    // What dnf marked as expired and could not renew it dates at the beginning of time.
    (time != Timestamp::EPOCH).then_some(time)
}

/// What an upgrade of everything would leave out.
#[derive(Debug, Default)]
pub(crate) struct Resolution {
    /// Name, architecture and version of what is skipped.
    skipped: HashSet<(String, String, String)>,
    problems: Vec<String>,
}

/// Reads a declined `dnf upgrade`: the packages under "Skipping packages with …", and the problems behind them.
pub(crate) fn resolution(stdout: &str, stderr: &str, gaps: &mut Vec<String>) -> Resolution {
    let both = || stdout.lines().chain(stderr.lines());
    if !both().any(|line| ["Dependencies resolved.", "Nothing to do."].contains(&line.trim())) {
        gaps.push("what dnf would skip is unknown: it did not resolve an upgrade".into());
    }
    let mut skipped = HashSet::new();
    let mut lines = stdout.lines();
    while lines.any(|line| line.starts_with("Skipping packages with")) {
        // Long names break the columns over several lines, so that only the order of the words counts.
        let words: Vec<&str> = lines.by_ref().take_while(|line| line.starts_with(' ')).flat_map(str::split_whitespace).collect();
        skipped.extend(words.windows(3).map(|words| (words[0].to_owned(), words[1].to_owned(), words[2].to_owned())));
    }
    let problems = both().map(str::trim).filter_map(|line| line.strip_prefix("- ")).map(str::to_owned).collect();
    Resolution { skipped, problems }
}

impl Resolution {
    /// Whether this very version is skipped.
    pub(crate) fn skips(&self, package: &PackageKey, version: &Version) -> bool {
        let arch = package.arch_text();
        self.skipped.contains(&(package.name.to_string(), arch.to_owned(), version.to_string()))
    }

    /// The problem that names the package, with the old version or the new one.
    pub(crate) fn problem(&self, package: &PackageKey, current: Option<&Version>, candidate: &Version) -> Option<&str> {
        let arch = package.arch_text();
        let nevra = |version: &Version| format!("{}-{version}.{arch}", package.name);
        let names = [Some(nevra(candidate)), current.map(nevra)];
        let named = |problem: &&String| names.iter().flatten().any(|name| problem.split(' ').any(|word| word == name));
        self.problems.iter().find(named).map(String::as_str)
    }
}

/// Whether a line of `dnf versionlock list`, such as `lab-locked-0:1.0-1.*`, names the package.
pub(crate) fn lock_names(lock: &str, name: &str) -> bool {
    let lock = lock.trim().trim_start_matches('!');
    lock.strip_prefix(name)
        .is_some_and(|rest| rest.is_empty() || rest.strip_prefix('-').is_some_and(|rest| !rest.contains("-") || is_evr(rest)))
}

/// Whether the text is `[EPOCH:]VERSION-RELEASE…` and not the rest of a longer name.
fn is_evr(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit()) && text.matches('-').count() == 1
}

fn manager() -> Manager {
    Manager::parse(DNF).expect("the word is a manager's")
}

pub(crate) fn package(name: &str, arch: &str) -> Result<PackageKey, String> {
    PackageKey::parse(DNF, name, Some(arch)).map_err(|rejection| rejection.message)
}

/// `[epoch:]version-release`, the epoch left out when it is 0.
fn version(epoch: &str, number: &str, release: &str) -> Result<Version, String> {
    if number.is_empty() || release.is_empty() {
        return Err(format!("no version in {epoch:?}:{number:?}-{release:?}"));
    }
    let text = match epoch {
        "" | "0" | "(none)" => format!("{number}-{release}"),
        epoch => format!("{epoch}:{number}-{release}"),
    };
    Version::parse_for(&manager(), "version", &text).map_err(|rejection| rejection.message)
}

/// `[epoch:]version-release` as dnf prints it, which may show an epoch of 0.
pub(crate) fn evr(text: &str) -> Result<Version, String> {
    Version::parse_for(&manager(), "version", text.strip_prefix("0:").unwrap_or(text)).map_err(|rejection| rejection.message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changed_text::{changed, changes};
    use proptest::prelude::*;

    const CHECK: &str = include_str!("../../../tests/fixtures/dnf/lab-check-update.txt");
    const UPGRADES: &str = include_str!("../../../tests/fixtures/dnf/lab-upgrades.txt");

    fn key(name: &str) -> PackageKey {
        package(name, "noarch").unwrap()
    }

    fn number(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    #[test]
    fn upgrades_have_exact_versions_and_repositories() {
        let mut gaps = Vec::new();
        let offered = offered(UPGRADES, &mut gaps);
        assert_eq!((offered.len(), gaps), (9, Vec::new()));
        let epoch = &offered[&key("lab-epoch")];
        assert_eq!((epoch.version.as_str(), epoch.repository.as_str()), ("1:0.9~rc1-1", "lab"));
        assert!(epoch.size_bytes.is_some_and(|size| size > 1_000));
        assert_eq!(epoch.summary.as_deref(), Some("lab package lab-epoch"));
    }

    #[test]
    fn obsoleted_packages_are_no_updates_and_what_only_one_list_shows_is_found() {
        let mut gaps = Vec::new();
        let (offered, checked) = (offered(UPGRADES, &mut gaps), checked(CHECK, &mut gaps));
        assert_eq!((checked.0.len(), &gaps), (8, &Vec::new()));
        assert!(!checked.shows(&key("lab-old"), &number("1.0-1")) && !checked.shows(&key("lab-new"), &number("1.0-1")));
        assert!(!checked.shows(&key("lab-locked"), &number("2.0-1")) && !checked.shows_all(&offered));
        assert_eq!(checked.not_offered(&offered), None);
        let without = UPGRADES.replacen("lab-app\t", "lab-other\t", 1);
        let offered = super::offered(&without, &mut gaps);
        assert!(checked.not_offered(&offered).is_some_and(|gap| gap.contains("shows 1 updates")));
    }

    #[test]
    fn skipped_packages_are_found_with_the_problem_behind_them_even_when_columns_break() {
        let stdout = include_str!("../../../tests/fixtures/dnf/lab-resolution-stdout.txt");
        let stderr = include_str!("../../../tests/fixtures/dnf/lab-resolution-stderr.txt");
        let mut gaps = Vec::new();
        for stdout in
            [stdout.to_owned(), stdout.replace(" lab-brokendep          noarch", " lab-brokendep\n                        noarch")]
        {
            let resolution = resolution(&stdout, stderr, &mut gaps);
            assert!(resolution.skips(&key("lab-brokendep"), &number("2.0-1")));
            assert!(!resolution.skips(&key("lab-app"), &number("2.0-1")));
            let problem = resolution.problem(&key("lab-brokendep"), Some(&number("1.0-1")), &number("2.0-1"));
            assert_eq!(problem, Some("nothing provides nosuch-capability needed by lab-brokendep-2.0-1.noarch"));
            assert_eq!(resolution.problem(&key("lab-app"), None, &number("2.0-1")), None);
        }
        assert_eq!(gaps, Vec::<String>::new());
        resolution("", "Error: something else\n", &mut gaps);
        assert_eq!(gaps.len(), 1);
    }

    #[test]
    fn repositories_are_counted_and_the_least_fresh_one_dates_them() {
        let text = include_str!("../../../tests/fixtures/dnf/lab-repoinfo.txt");
        let second = text.replace("Nov 23 15:38:59", "Nov  3 05:38:59");
        let repositories = repositories(&format!("{text}\n{second}"));
        assert_eq!(repositories.enabled, 2);
        assert_eq!(repositories.refreshed_at.unwrap().to_string(), "2026-11-03T05:38:59Z");
        assert_eq!(super::repositories("Total packages: 0\n"), Repositories::default());
        let undated = super::repositories(&text.replace("Mon Nov 23 15:38:59 2026", "Thu Jan  1 00:00:00 1970"));
        assert_eq!(undated, Repositories { enabled: 1, refreshed_at: None });
    }

    #[test]
    fn a_lock_names_its_package_and_not_one_whose_name_begins_alike() {
        for (lock, name, expected) in [
            ("lab-locked-0:1.0-1.*", "lab-locked", true),
            ("lab-locked-0:1.0-1.*", "lab", false),
            ("lab-0:1.0-1.*", "lab-locked", false),
            ("kernel-core-0:6.1-1.*", "kernel", false),
            ("bash", "bash", true),
            ("!bash-0:5-1.*", "bash", true),
        ] {
            assert_eq!(lock_names(lock, name), expected, "{lock} and {name}");
        }
    }

    #[test]
    fn keys_are_no_packages_and_kernels_stand_side_by_side() {
        let text = "gpg-pubkey\t0\tabc\t1\t(none)\n\nkernel\t0\t6.1\t1\tx86_64\n\nkernel\t0\t6.2\t1\tx86_64\n";
        let mut gaps = Vec::new();
        let installed = installed(text, &mut gaps);
        assert_eq!((installed.len(), gaps), (1, Vec::new()));
        assert_eq!(installed.values().next().unwrap().len(), 2);
    }

    proptest! {
        /// Cut within a line or between two: the lists tell, each of the other.
        #[test]
        fn cut_upgrades_are_never_taken_for_all_of_them(at in any::<prop::sample::Index>()) {
            let cut = &UPGRADES[..at.index(UPGRADES.len())];
            let mut gaps = Vec::new();
            let (offered, checked) = (offered(cut, &mut gaps), checked(CHECK, &mut gaps));
            gaps.extend(checked.not_offered(&offered));
            // The locked one alone is in no other list.
            let missing = ["lab-app", "lab-broken", "lab-brokendep", "lab-enh", "lab-epoch", "lab-lib", "lab-newdeps", "lab-noadv"]
                .iter()
                .filter(|name| !offered.contains_key(&key(name)))
                .count();
            prop_assert!(missing == 0 || !gaps.is_empty(), "cut at {} without a gap", cut.len());
        }

        #[test]
        fn no_reader_panics_on_changed_output(
            changes in changes(),
            noise in ".{0,200}",
        ) {
            for whole in [CHECK, UPGRADES, noise.as_str()] {
                let text = changed(whole, &changes);
                let mut gaps = Vec::new();
                let offered = offered(&text, &mut gaps);
                checked(&text, &mut gaps).not_offered(&offered);
                installed(&text, &mut gaps);
                repositories(&text);
                resolution(&text, &text, &mut gaps);
                lock_names(&text, &noise);
            }
        }
    }
}
