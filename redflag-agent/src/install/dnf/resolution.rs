//! Reading the transaction dnf proposes. Pure.

use redflag_core::{
    command::plan::Change,
    names::{PackageKey, Text, Version},
};

use crate::scan::dnf::read;

/// What dnf would do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Resolution {
    /// What would be installed, without what it replaces.
    pub(crate) installs: Vec<Change>,
    /// What would go: removed, or obsoleted by what is installed.
    pub(crate) removals: Vec<Change>,
    /// Removals the summary counts; what is obsoleted is not among them.
    removed: usize,
}

/// What a section of the table does to its packages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    Installs,
    Removes,
}

impl Resolution {
    /// Reads a declined `dnf upgrade`, whose summary tells whether every line arrived. Long names break the columns of its table
    /// over several lines, so that only the order of the words counts.
    ///
    /// # Errors
    /// A sentence that quotes what is not understood.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let mut resolution = Self::default();
        let mut section = None;
        let mut words: Vec<&str> = Vec::new();
        let mut lines = text.lines().skip_while(|line| line.trim() != "Dependencies resolved.").skip(1);
        for line in lines.by_ref().skip_while(|line| !line.starts_with(" Package ")).skip(2) {
            let entry_begins = line.starts_with(' ') && !line.starts_with("  ");
            if !line.starts_with("  ") {
                resolution.note(section, &std::mem::take(&mut words))?;
            }
            if line == "Transaction Summary" {
                break;
            }
            match line.split_whitespace().collect::<Vec<_>>().as_slice() {
                [] => {}
                ["replacing", package, version] => resolution.note_obsoleted(package, version)?,
                some if entry_begins => words = some.to_vec(),
                some if line.starts_with(' ') => words.extend(some),
                _ => section = Some(section_of(line)?),
            }
        }
        let (mut installs, mut removals) = (0_usize, 0_usize);
        for line in lines {
            if let [what, count, "Package" | "Packages"] = line.split_whitespace().collect::<Vec<_>>().as_slice() {
                let count: usize = count.parse().map_err(|_| unreadable(line))?;
                let sum = match *what {
                    "Install" | "Upgrade" | "Downgrade" => &mut installs,
                    "Remove" => &mut removals,
                    _ => return Err(unreadable(line)),
                };
                *sum = sum.checked_add(count).ok_or_else(|| unreadable(line))?;
            }
        }
        if (installs, removals) != (resolution.installs.len(), resolution.removed) || installs == 0 {
            return Err(format!("{installs} packages to install announced, {} read", resolution.installs.len()));
        }
        Ok(resolution)
    }

    /// `NAME ARCH VERSION REPOSITORY SIZE`.
    fn note(&mut self, section: Option<Section>, words: &[&str]) -> Result<(), String> {
        let &[name, arch, version, repository, ..] = words else {
            return if words.is_empty() { Ok(()) } else { Err(unreadable(&words.join(" "))) };
        };
        let (package, version) = (read::package(name, arch)?, read::evr(version)?);
        match section {
            Some(Section::Installs) => {
                self.installs.push(Change { package, from: None, to: Some(version), origin: Some(Text::lossy(repository)) });
            }
            Some(Section::Removes) => {
                self.removed += 1;
                self.removals.push(removal(package, version));
            }
            None => return Err(unreadable(name)),
        }
        Ok(())
    }

    fn note_obsoleted(&mut self, package: &str, version: &str) -> Result<(), String> {
        let (name, arch) = package.rsplit_once('.').ok_or_else(|| unreadable(package))?;
        self.removals.push(removal(read::package(name, arch)?, read::evr(version)?));
        Ok(())
    }
}

const fn removal(package: PackageKey, version: Version) -> Change {
    Change { package, from: Some(version), to: None, origin: None }
}

fn section_of(line: &str) -> Result<Section, String> {
    match line.trim_end_matches(':') {
        "Installing"
        | "Upgrading"
        | "Downgrading"
        | "Installing group/module packages"
        | "Installing dependencies"
        | "Installing weak dependencies" => Ok(Section::Installs),
        "Removing" | "Removing dependent packages" | "Removing unused dependencies" => Ok(Section::Removes),
        // Modules and groups would change their state, packages would be skipped: none of that was asked for.
        other => Err(format!("it would not only install packages: {other:?}")),
    }
}

fn unreadable(line: &str) -> String {
    format!("unreadable line {line:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changed_text::{changed, changes};
    use proptest::prelude::*;

    const TABLE: &str = "Dependencies resolved.\n==========\n Package  Architecture  Version  Repository  Size\n==========\n\
        Installing:\n lab-new  noarch  1.0-1  lab  6.0 k\n     replacing  lab-old.noarch 1.0-1\n\
        Upgrading:\n a-name-that-is-much-too-long-for-its-column\n          noarch  1:2.0~rc1-1  lab  5.9 k\n\
        Removing:\n kernel-core  x86_64  6.1-1  @fedora  0  \n\n\
        Transaction Summary\n==========\nInstall  1 Package\nUpgrade  1 Package\nRemove   1 Package\n\nTotal size: 5.9 k\nOperation aborted.\n";

    #[test]
    fn installations_removals_and_what_is_obsoleted_are_told_apart_even_when_columns_break() {
        let resolution = Resolution::read(TABLE).unwrap();
        let brief = |changes: &[Change]| -> Vec<String> {
            let text = |version: &Option<Version>| version.as_ref().map_or_else(|| "-".to_owned(), Version::to_string);
            changes.iter().map(|change| format!("{} {} {}", change.package, text(&change.from), text(&change.to))).collect()
        };
        let installs = ["dnf lab-new:noarch - 1.0-1", "dnf a-name-that-is-much-too-long-for-its-column:noarch - 1:2.0~rc1-1"];
        assert_eq!(brief(&resolution.installs), installs);
        assert_eq!(brief(&resolution.removals), ["dnf lab-old:noarch 1.0-1 -", "dnf kernel-core:x86_64 6.1-1 -"]);
        assert_eq!(resolution.installs[0].origin.as_ref().unwrap().as_str(), "lab");
    }

    #[test]
    fn what_was_cut_or_is_no_matter_of_packages_is_an_error() {
        let end = TABLE.find("Total size").unwrap();
        for at in (0..end - 1).filter(|at| !TABLE[..*at].ends_with("1 Package") || TABLE[..*at].matches(" Package\n").count() < 2) {
            assert!(Resolution::read(&TABLE[..at]).is_err(), "cut at {at}: {}", &TABLE[..at]);
        }
        // Found by fuzzing: two counts whose sum is beyond every number.
        let beyond = TABLE.replace("Install  1 Package", &format!("Install  {} Packages", usize::MAX));
        assert!(Resolution::read(&beyond).is_err());
        let modules = TABLE.replace("Removing:", "Enabling module streams:");
        assert!(Resolution::read(&modules).unwrap_err().contains("Enabling module streams"));
    }

    proptest! {
        /// Whatever else stands in it, a table is read as its own summary counts, or not at all.
        #[test]
        fn no_changed_table_is_read_but_as_it_counts(
            changes in changes(),
            lines in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        ) {
            let mut kept: Vec<&str> = TABLE.lines().collect();
            for line in lines {
                kept.remove(line.index(kept.len()));
            }
            let text = changed(&kept.join("
    "), &changes);
            if let Ok(resolution) = Resolution::read(&text) {
                let counted = |what: &str| -> usize {
                    let counts = text.lines().filter_map(|line| line.strip_prefix(what)?.trim().split(' ').next()?.parse::<usize>().ok());
                    counts.sum()
                };
                prop_assert_eq!(resolution.installs.len(), counted("Install ") + counted("Upgrade ") + counted("Downgrade "), "{}", text);
            }
        }
    }
}
