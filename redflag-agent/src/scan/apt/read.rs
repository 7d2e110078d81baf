//! Reading what apt's commands print. Pure: every reader takes text and judges every line of it.
//!
//! A line that should hold a fact and cannot be read becomes a gap, a sentence that makes the scan partial. Readers never guess
//! and never panic, whatever the text holds.

use super::version;
use crate::tool::whole_lines;
use redflag_core::names::{APT, PackageKey, Version};
use std::collections::HashMap;

/// What [`installed`] reads.
pub(crate) const INSTALLED_FORMAT: &str = "${Package}\\t${Architecture}\\t${Version}\\t${db:Status-Want}\\t${db:Status-Status}\\n";

/// Name, architecture and version.
pub(crate) type Identity = (String, String, String);

/// One installed package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Installed {
    pub(crate) version: Version,
    pub(crate) held: bool,
    /// dpkg's word while it is neither wholly installed nor wholly gone, such as `half-configured`.
    pub(crate) half_done: Option<String>,
}

/// One line of `apt list --upgradable`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) package: PackageKey,
    pub(crate) candidate: Version,
    pub(crate) installed: Version,
}

/// Where a candidate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// `LABEL:SUITE`, for example `Debian-Security:oldstable-security`.
    pub(crate) text: String,
    pub(crate) security: bool,
}

/// What the record of a candidate says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) size_bytes: Option<u64>,
    pub(crate) summary: Option<String>,
    /// Set while the publisher releases it to some hosts only.
    pub(crate) phased_percent: Option<u8>,
}

impl Listed {
    /// As apt's commands take it.
    pub(crate) fn name_for_apt(&self) -> String {
        name_for_apt(&self.package)
    }

    pub(crate) fn identity(&self) -> Identity {
        identity(&self.package, &self.candidate)
    }
}

/// The package as apt's commands take it: those for all architectures go by their name alone.
pub(crate) fn name_for_apt(package: &PackageKey) -> String {
    match package.arch_text() {
        "all" => package.name.to_string(),
        arch => format!("{}:{arch}", package.name),
    }
}

/// One version as apt's commands take it.
pub(crate) fn exact_for_apt(package: &PackageKey, version: &Version) -> String {
    format!("{}={version}", name_for_apt(package))
}

pub(crate) fn identity(package: &PackageKey, version: &Version) -> Identity {
    (package.name.to_string(), package.arch_text().to_owned(), version.to_string())
}

/// What is installed of a package in this version: under its architecture, or under another where the update changes it, as from
/// amd64 to all.
pub(crate) fn find<'a>(installed: &'a HashMap<PackageKey, Installed>, package: &PackageKey, version: &Version) -> Option<&'a Installed> {
    installed.get(package).or_else(|| {
        let same = |(found, installed): &(&PackageKey, &Installed)| found.name == package.name && installed.version == *version;
        installed.iter().find(same).map(|(_, installed)| installed)
    })
}

/// Reads `dpkg-query -W -f` [`INSTALLED_FORMAT`]. Packages of which only configuration files remain are left out.
pub(crate) fn installed(text: &str, gaps: &mut Vec<String>) -> HashMap<PackageKey, Installed> {
    let mut packages = HashMap::new();
    whole_lines("dpkg-query", text, gaps);
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let &[name, arch, number, want, status] = fields.as_slice() else {
            gaps.push(format!("dpkg-query: unreadable line {line:?}"));
            continue;
        };
        if matches!(status, "config-files" | "not-installed") {
            continue;
        }
        match package(name, arch).and_then(|package| Ok((package, version("current_version", number)?))) {
            Ok((package, version)) => {
                // Packages that wait for triggers are wholly there.
                let half_done = Some(status).filter(|status| !matches!(*status, "installed" | "triggers-awaited" | "triggers-pending"));
                packages.insert(package, Installed { version, held: want == "hold", half_done: half_done.map(str::to_owned) });
            }
            Err(error) => gaps.push(format!("dpkg-query: {error}")),
        }
    }
    packages
}

/// Reads `apt list --upgradable`: `NAME/SUITES VERSION ARCH [upgradable from: OLD]`.
pub(crate) fn list(text: &str, gaps: &mut Vec<String>) -> Vec<Listed> {
    whole_lines("apt list", text, gaps);
    if !text.lines().any(|line| line.starts_with("Listing...")) {
        gaps.push("apt list: its heading is missing".into());
    }
    let mut updates = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with("Listing...")) {
        match listed(line) {
            Some(Ok(update)) => updates.push(update),
            Some(Err(error)) => gaps.push(format!("apt list: {error}")),
            None => gaps.push(format!("apt list: unreadable line {line:?}")),
        }
    }
    updates
}

fn listed(line: &str) -> Option<Result<Listed, String>> {
    let (fields, old) = line.strip_suffix(']')?.split_once(" [upgradable from: ")?;
    let mut fields = fields.split(' ');
    let (name, candidate, arch) = (fields.next()?.split_once('/')?.0, fields.next()?, fields.next()?);
    if fields.next().is_some() {
        return None;
    }
    Some(package(name, arch).and_then(|package| {
        let (candidate, installed) = (version("available_version", candidate)?, version("current_version", old)?);
        Ok(Listed { package, candidate, installed })
    }))
}

/// Reads `apt-cache policy` (the files and their releases) and `apt-cache policy PACKAGES` (the versions and their files): where
/// each version of each package comes from, by package as apt names it and version.
///
/// Of several origins of one version a security origin counts, else the first.
pub(crate) fn origins(files: &str, tables: &str) -> HashMap<(String, String), Origin> {
    let files = releases(files);
    let mut origins: HashMap<(String, String), Origin> = HashMap::new();
    let (mut package, mut candidate) = (None, None);
    for line in tables.lines() {
        let text = line.trim_start();
        match line.len() - text.len() {
            0 => (package, candidate) = (text.strip_suffix(':'), None),
            // "     VERSION PIN", or " *** VERSION PIN" for the installed one.
            5 => candidate = text.split(' ').next(),
            1 if text.starts_with("*** ") => candidate = text.split(' ').nth(1),
            2 => {}
            _ => {
                let file = text.split_once(' ').and_then(|(_, file)| files.get(file.trim_start()));
                if let (Some(package), Some(candidate), Some(origin)) = (package, candidate, file) {
                    let known = origins.entry((package.to_owned(), candidate.to_owned())).or_insert_with(|| origin.clone());
                    if origin.security && !known.security {
                        *known = origin.clone();
                    }
                }
            }
        }
    }
    origins
}

/// The package files apt uses, as the version tables name them. The dpkg status is no origin.
fn releases(text: &str) -> HashMap<&str, Origin> {
    let mut releases = HashMap::new();
    let mut file: Option<&str> = None;
    for line in text.lines().skip_while(|line| !line.starts_with("Package files:")).skip(1) {
        if line.starts_with(|c: char| c.is_alphabetic()) {
            break;
        }
        let line = line.trim_start();
        if let Some(fields) = line.strip_prefix("release ") {
            if let Some(file) = file {
                releases.insert(file, release(fields, file));
            }
        } else if let Some(site) = line.strip_prefix("origin ") {
            // A repository without a label or suite of its own goes by its site.
            if let Some(origin) = file.and_then(|file| releases.get_mut(file))
                && origin.text.starts_with(':')
            {
                origin.text.insert_str(0, site);
            }
        } else {
            file = line.split_once(' ').map(|(_, file)| file.trim_start()).filter(|file| !file.starts_with('/'));
        }
    }
    for (file, origin) in &mut releases {
        if origin.text.starts_with(':') {
            origin.text.insert_str(0, file.split(' ').next().unwrap_or(file));
        }
        origin.text.truncate(origin.text.trim_end_matches(':').len());
    }
    releases
}

/// `v=12,o=Debian,a=oldstable-security,n=bookworm-security,l=Debian-Security,c=main,b=amd64`; a value may hold commas.
fn release(fields: &str, file: &str) -> Origin {
    let mut values: HashMap<&str, String> = HashMap::new();
    let mut last = "";
    for field in fields.split(',') {
        match field.split_once('=') {
            Some((key, value)) if key.len() == 1 => {
                last = key;
                values.insert(key, value.to_owned());
            }
            _ => values.entry(last).or_default().push_str(&format!(",{field}")),
        }
    }
    let value = |key: &str| values.get(key).map(String::as_str).filter(|value| !value.is_empty());
    let label = value("l").or_else(|| value("o")).unwrap_or_default();
    // "URI SUITE/COMPONENT ARCH Packages": what the sources call it, where the release names no suite.
    let suite = value("a").or_else(|| value("n")).unwrap_or_else(|| match file.split(' ').nth(1).and_then(|word| word.split_once('/')) {
        Some((suite, component)) if !component.is_empty() => suite,
        _ => "",
    });
    let security = |word: &str| word.to_ascii_lowercase().ends_with("-security");
    let marked = [Some(label), value("a"), value("n"), Some(suite)].into_iter().flatten().any(security);
    Origin { text: format!("{label}:{suite}"), security: marked }
}

/// Reads `apt-cache show`: stanzas of `Field: value`, by package, architecture and version.
pub(crate) fn records(text: &str) -> HashMap<Identity, Record> {
    let mut records = HashMap::new();
    for stanza in text.split("\n\n") {
        let mut record = Record::default();
        let (mut name, mut arch, mut number) = (None, None, None);
        for (field, value) in stanza.lines().filter(|line| !line.starts_with(' ')).filter_map(|line| line.split_once(": ")) {
            match field {
                "Package" => name = Some(value),
                "Architecture" => arch = Some(value),
                "Version" => number = Some(value),
                "Size" => record.size_bytes = value.parse().ok(),
                "Phased-Update-Percentage" => record.phased_percent = value.parse().ok().filter(|percent| *percent < 100),
                _ if field.starts_with("Description") && field != "Description-md5" => record.summary = Some(value.to_owned()),
                _ => {}
            }
        }
        if let (Some(name), Some(arch), Some(number)) = (name, arch, number)
            && record.size_bytes.is_some()
        {
            records.insert((name.to_owned(), arch.to_owned(), number.to_owned()), record);
        }
    }
    records
}

/// The dependency that `apt-get -s install PACKAGE` names as being in the way.
pub(crate) fn obstacle(text: &str) -> Option<String> {
    let unmet = text.split_once("The following packages have unmet dependencies:\n")?.1;
    let line = unmet.lines().next()?;
    Some(line.split_whitespace().collect::<Vec<_>>().join(" ")).filter(|reason| !reason.is_empty())
}

pub(crate) fn package(name: &str, arch: &str) -> Result<PackageKey, String> {
    PackageKey::parse(APT, name, Some(arch)).map_err(|rejection| rejection.message)
}

#[cfg(test)]
mod tests {
    use super::{super::simulation::Simulation, *};
    use crate::changed_text::{changed, changes};
    use proptest::prelude::*;

    const HOST_LIST: &str = include_str!("../../../tests/fixtures/apt/host-list.txt");
    const HOST_SIMULATION: &str = include_str!("../../../tests/fixtures/apt/host-simulation.txt");
    const LAB_LIST: &str = include_str!("../../../tests/fixtures/apt/lab-list.txt");

    #[test]
    fn an_unreadable_line_is_a_gap_that_quotes_it_and_the_others_are_kept() {
        let text = LAB_LIST.replacen("lab-app/lab 2.0-1 all", "lab-app/lab 2.0-1", 1);
        let mut gaps = Vec::new();
        assert_eq!(list(&text, &mut gaps).len(), 5);
        assert_eq!(gaps, ["apt list: unreadable line \"lab-app/lab 2.0-1 [upgradable from: 1.0-1]\""]);
    }

    #[test]
    fn origins_are_label_and_suite_and_a_security_origin_wins() {
        let files = include_str!("../../../tests/fixtures/apt/host-files.txt");
        let tables = include_str!("../../../tests/fixtures/apt/host-policy.txt");
        let origins = origins(files, tables);
        let of = |name: &str, version: &str| origins.get(&(name.to_owned(), version.to_owned())).map(|origin| origin.text.as_str());
        assert_eq!(of("bash", "5.2.15-2+b13"), Some("Debian:oldstable"));
        assert_eq!(of("libc6", "2.36-9+deb12u7"), Some("Debian-Security:oldstable-security"));
        assert_eq!(of("bash", "5.2.15-2+b8"), None, "what only dpkg knows has no origin");

        let both = "Package files:\n 500 http://h/debian s/main amd64 Packages\n     release o=Debian,a=stable,n=trixie,l=Debian,c=main\n \
            500 http://h/security s-sec/main amd64 Packages\n     release o=Debian,a=stable-security,l=Debian-Security\n \
            500 http://vendor.example/apt ./ Packages\n     release c=\n     origin vendor.example\n \
            500 https://x.example/deb any/main amd64 Packages\n     release o=Some, Inc.,n=any\nPinned packages:\n";
        let tables = "a:\n  Installed: 1\n  Candidate: 2\n  Version table:\n     2 500\n        500 http://h/debian s/main amd64 Packages\n        \
            500 http://h/security s-sec/main amd64 Packages\n     1.5 500\n        500 http://vendor.example/apt ./ Packages\n \
            *** 1 100\n        500 https://x.example/deb any/main amd64 Packages\n        100 /var/lib/dpkg/status\n";
        let origins = super::origins(both, tables);
        let of = |version: &str| origins[&("a".to_owned(), version.to_owned())].clone();
        assert_eq!(of("2"), Origin { text: "Debian-Security:stable-security".into(), security: true });
        assert_eq!(of("1.5"), Origin { text: "vendor.example".into(), security: false });
        assert_eq!(of("1"), Origin { text: "Some, Inc.:any".into(), security: false });
    }

    #[test]
    fn records_give_size_summary_and_phase() {
        let text = "Package: a\nArchitecture: all\nVersion: 1:2\nSize: 12\nPhased-Update-Percentage: 40\nDescription-en: A thing\n long\n\n\
            Package: a\nArchitecture: all\nVersion: 1\nStatus: install ok installed\nDescription: installed, without a size\n\n";
        let records = records(text);
        assert_eq!(records.len(), 1);
        let expected = Record { size_bytes: Some(12), summary: Some("A thing".into()), phased_percent: Some(40) };
        assert_eq!(records[&("a".to_owned(), "all".to_owned(), "1:2".to_owned())], expected);
    }

    #[test]
    fn removed_packages_that_left_their_configuration_are_not_installed() {
        let text = "a1\tall\t1.0\tinstall\tinstalled\nb1\tamd64\t2.0\thold\tinstalled\nc1\tamd64\t3.0\tdeinstall\tconfig-files\n\
            d1\tamd64\t4.0\tinstall\thalf-configured\n";
        let mut gaps = Vec::new();
        let packages = installed(text, &mut gaps);
        assert_eq!((packages.len(), gaps), (3, Vec::new()));
        let held: Vec<_> = packages.iter().filter(|(_, installed)| installed.held).map(|(package, _)| package.name.as_str()).collect();
        assert_eq!(held, ["b1"]);
    }

    #[test]
    fn the_obstacle_is_the_first_unmet_dependency() {
        let text = "Some packages could not be installed. …\n\nThe following packages have unmet dependencies:\n \
            lab-kept : Depends: lab-nowhere but it is not installable\n            Depends: other\n";
        assert_eq!(obstacle(text).as_deref(), Some("lab-kept : Depends: lab-nowhere but it is not installable"));
        assert_eq!(obstacle("Inst a (1 X [all])\n"), None);
    }

    proptest! {
        #[test]
        fn no_reader_panics_on_changed_output(
            changes in changes(),
            noise in ".{0,200}",
        ) {
            let tables = include_str!("../../../tests/fixtures/apt/host-policy.txt");
            for whole in [HOST_LIST, HOST_SIMULATION, tables, noise.as_str()] {
                let text = changed(whole, &changes);
                let mut gaps = Vec::new();
                let listed = list(&text, &mut gaps);
                Simulation::read(&text, &mut gaps).disagreements(&listed);
                installed(&text, &mut gaps);
                origins(&text, &text);
                records(&text);
                obstacle(&text);
            }
        }
    }
}
