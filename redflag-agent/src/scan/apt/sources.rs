//! What apt knows of its sources: where its lists are, when they were refreshed, whether any is missing or out of date.
//!
//! A source whose lists are not there offers nothing, and apt then says "no updates" with exit code 0. That is why every source
//! that is configured is looked up among the lists, and each one missing makes the scan partial.

use super::{Apt, ToolError};
use redflag_core::time::Timestamp;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Most bytes of one release file that are read.
const RELEASE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Where apt keeps what it knows.
#[derive(Debug)]
pub(crate) struct Paths {
    lists: PathBuf,
    status_file: PathBuf,
    /// The root of the host.
    pub(crate) root: PathBuf,
    /// The architecture whose packages go without it in what apt prints.
    pub(crate) native_arch: String,
}

impl Paths {
    pub(crate) async fn of(apt: &Apt) -> Result<Self, ToolError> {
        let names = ["LISTS", "Dir::State::lists/d", "STATUS", "Dir::State::status/f", "ROOT", "Dir/d", "ARCH", "APT::Architecture"];
        let values = apt.command("apt-config", &["shell"]).with(names).run().await?.stdout;
        let value = |name: &str, default: &str| shell_value(&values, name).unwrap_or_else(|| default.into());
        Ok(Self {
            lists: value("LISTS", "/var/lib/apt/lists/").into(),
            status_file: value("STATUS", "/var/lib/dpkg/status").into(),
            root: value("ROOT", "/").into(),
            native_arch: value("ARCH", ""),
        })
    }

    /// The directory of dpkg's database.
    pub(crate) fn dpkg(&self) -> &Path {
        self.status_file.parent().unwrap_or(&self.status_file)
    }
}

/// apt's sources, as they are configured and as they lie on disk.
#[derive(Debug)]
pub(super) struct Sources {
    pub(super) paths: Paths,
    sources: Vec<Source>,
    /// File names in the lists directory with their size, or why they cannot be read.
    found: Result<Vec<(String, u64)>, String>,
}

/// One configured suite of one repository.
#[derive(Debug, PartialEq, Eq)]
struct Source {
    /// For people: the address of the suite.
    address: String,
    /// What the names of its lists begin with.
    prefix: String,
}

impl Sources {
    pub(super) async fn of(apt: &Apt) -> Result<Self, ToolError> {
        let targets = apt.command("apt-get", &["--print-uris", "update"]);
        let (paths, targets) = tokio::try_join!(Paths::of(apt), targets.run())?;
        let found = files(&paths.lists).map_err(|error| format!("reading {}: {error}", paths.lists.display()));
        Ok(Self { sources: read_sources(&targets.stdout), found, paths })
    }

    /// When `apt-get update` last ran: it touches these directories even when nothing changed. The lists themselves carry the
    /// times of the server.
    pub(super) fn refreshed_at(&self) -> Option<Timestamp> {
        let touched = [self.paths.lists.clone(), self.paths.lists.join("partial")];
        let times = touched.iter().filter_map(|path| fs::metadata(path).and_then(|data| data.modified()).ok());
        times.max().filter(|_| self.sources.iter().any(|source| self.release(source).is_some())).map(Timestamp::from_system_time)
    }

    /// What is missing among the lists.
    pub(super) fn gaps(&self) -> Vec<String> {
        match &self.found {
            Err(error) => vec![error.clone()],
            Ok(_) if self.sources.is_empty() => vec!["no package source is configured".into()],
            Ok(_) => self.sources.iter().filter_map(|source| self.gap(source)).collect(),
        }
    }

    fn gap(&self, source: &Source) -> Option<String> {
        let packages = self.found.iter().flatten().any(|(name, size)| {
            *size > 0 && name.strip_prefix(&source.prefix).is_some_and(|rest| rest.contains("_Packages") || rest.starts_with("Packages"))
        });
        let missing = match self.release(source) {
            _ if packages => return None,
            None => "no package lists",
            Some(release) if names_packages(&release) => "package lists that are gone",
            // The suite is empty; apt keeps no file for it.
            Some(_) => return None,
        };
        Some(format!("{missing} of {}: run apt-get update", source.address))
    }

    /// The release file of a source, none when apt has not got it or it cannot be read.
    fn release(&self, source: &Source) -> Option<String> {
        let names = ["InRelease", "Release"].map(|name| format!("{}{name}", source.prefix));
        let found = self.found.as_ref().ok()?;
        let name = names.iter().find(|name| found.iter().any(|(known, size)| known == *name && *size <= RELEASE_BYTES_MAX))?;
        fs::read_to_string(self.paths.lists.join(name)).ok()
    }

    /// Sources whose lists were only valid until before `now`: their refresh has been failing.
    pub(super) fn expired(&self, now: Timestamp) -> Option<String> {
        self.sources.iter().find_map(|source| {
            let release = self.release(source)?;
            let until = release.lines().find_map(|line| line.strip_prefix("Valid-Until: "))?;
            (http_date(until)? < now).then(|| format!("the lists of {} were valid until {until}", source.address))
        })
    }
}

fn files(directory: &Path) -> std::io::Result<Vec<(String, u64)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        found.push((entry.file_name().to_string_lossy().into_owned(), fs::metadata(entry.path()).map_or(0, |data| data.len())));
    }
    Ok(found)
}

/// Reads `NAME='value'` of `apt-config shell`.
fn shell_value(text: &str, name: &str) -> Option<String> {
    let quoted = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    Some(quoted.strip_prefix('\'')?.strip_suffix('\'')?.replace(r"'\''", "'")).filter(|value| !value.is_empty())
}

/// Reads `apt-get --print-uris update`: one `'URI' FILE SIZE` a line; the release files name the suites.
fn read_sources(text: &str) -> Vec<Source> {
    let source = |line: &str| {
        let (uri, rest) = line.strip_prefix('\'')?.split_once("' ")?;
        let prefix = rest.split(' ').next()?.strip_suffix("InRelease")?;
        Some(Source { address: uri.strip_suffix("InRelease")?.trim_end_matches('/').to_owned(), prefix: prefix.to_owned() })
    };
    text.lines().filter_map(source).collect()
}

/// Whether a release file lists a package index that is not empty.
fn names_packages(release: &str) -> bool {
    release.lines().filter(|line| line.starts_with(' ')).any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let size = fields.next().and_then(|size| size.parse::<u64>().ok());
        size.is_some_and(|size| size > 0) && fields.next().is_some_and(|name| name == "Packages" || name.ends_with("/Packages"))
    })
}

/// Reads `Sat, 28 Nov 2026 00:53:02 UTC`.
fn http_date(text: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let fields: Vec<&str> = text.split_whitespace().collect();
    let &[_, day, month, year, time, "UTC" | "GMT" | "+0000"] = fields.as_slice() else { return None };
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let (hour, rest) = time.split_once(':')?;
    format!("{year}-{month:02}-{day:0>2}T{hour:0>2}:{rest}Z").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_configured_suite_is_named_with_what_its_lists_begin_with() {
        let text = "'http://deb.debian.org/debian/dists/bookworm/InRelease' deb.debian.org_debian_dists_bookworm_InRelease 0 \n\
            'http://deb.debian.org/debian/dists/bookworm/main/binary-amd64/Packages.xz' deb.debian.org_x_Packages 0 \n\
            'file:/srv/flat/./InRelease' _srv_flat_._InRelease 0 \n";
        let sources: Vec<_> = read_sources(text).into_iter().map(|source| (source.address, source.prefix)).collect();
        let expected = [
            ("http://deb.debian.org/debian/dists/bookworm".to_owned(), "deb.debian.org_debian_dists_bookworm_".to_owned()),
            ("file:/srv/flat/.".to_owned(), "_srv_flat_._".to_owned()),
        ];
        assert_eq!(sources, expected);
    }

    #[test]
    fn paths_are_unquoted_and_dates_are_read() {
        let text = "LISTS='/var/lib/apt/lists/'\nSTATUS='/it'\\''s here'\n";
        assert_eq!(shell_value(text, "LISTS").as_deref(), Some("/var/lib/apt/lists/"));
        assert_eq!(shell_value(text, "STATUS").as_deref(), Some("/it's here"));
        assert_eq!(shell_value(text, "NONE"), None);
        assert_eq!(http_date("Sat, 8 Nov 2026 1:53:02 UTC").unwrap().to_string(), "2026-11-08T01:53:02Z");
        assert_eq!(http_date("tomorrow"), None);
    }

    #[test]
    fn a_release_of_an_empty_suite_names_no_packages() {
        let empty = "SHA256:\n e3b0 0 main/binary-amd64/Packages\n 59869d 20 main/binary-amd64/Packages.gz\n";
        assert!(!names_packages(empty));
        assert!(names_packages(&empty.replace("e3b0 0 ", "e3b0 17 ")));
    }
}
