//! Reading what `apt-get -s` says it would do. Pure, as all of [`super::read`].

use super::read::{Identity, Listed};
use crate::tool::whole_lines;
use std::collections::{BTreeMap, HashSet};

/// What a simulated transaction would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Simulation {
    /// Every installation that replaces an installed version, with that version.
    pub(crate) upgrades: BTreeMap<Identity, String>,
    /// Every installation of a package that is not there yet.
    pub(crate) additions: HashSet<Identity>,
    /// What would be removed, by name (with the architecture unless it is the native one), with the installed version.
    pub(crate) removals: BTreeMap<String, String>,
    /// "N not upgraded" of the summary.
    kept: Option<usize>,
}

impl Simulation {
    /// Reads `apt-get -s`, whose summary tells whether every line arrived.
    pub(crate) fn read(text: &str, gaps: &mut Vec<String>) -> Self {
        whole_lines("apt-get -s", text, gaps);
        let mut simulation = Self::default();
        let mut summary = None;
        for line in text.lines() {
            let Some((verb, rest)) = line.split_once(' ') else { continue };
            let known = match verb {
                "Inst" => simulation.note_installation(rest),
                "Remv" | "Purg" => simulation.note_removal(rest),
                _ => {
                    summary = Summary::read(line).or(summary);
                    continue;
                }
            };
            if known.is_none() {
                gaps.push(format!("apt-get -s: unreadable line {line:?}"));
            }
        }
        match summary {
            None => gaps.push("apt-get -s: its summary is missing".into()),
            Some(summary) => gaps.extend(summary.disagreement(&simulation)),
        }
        simulation.kept = summary.map(|summary| summary.kept);
        simulation
    }

    /// `NAME[:ARCH] [OLD] (NEW ORIGINS [ARCH]) …`; nothing is replaced where no old version stands.
    fn note_installation(&mut self, rest: &str) -> Option<()> {
        let (name, rest) = rest.split_once(' ')?;
        let name = name.split(':').next()?;
        let (old, rest) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once("] ").map(|(old, rest)| (Some(old), rest))?,
            None => (None, rest),
        };
        let (inside, _) = rest.strip_prefix('(')?.split_once("])")?;
        let (inside, arch) = inside.rsplit_once('[')?;
        let identity = (name.to_owned(), arch.to_owned(), inside.split(' ').next()?.to_owned());
        match old {
            Some(old) => drop(self.upgrades.insert(identity, old.to_owned())),
            None => drop(self.additions.insert(identity)),
        }
        Some(())
    }

    /// `NAME[:ARCH] [OLD] …`.
    fn note_removal(&mut self, rest: &str) -> Option<()> {
        let (name, rest) = rest.split_once(" [")?;
        self.removals.insert(name.to_owned(), rest.split_once(']')?.0.to_owned());
        Some(())
    }

    /// Whether this very version would be installed.
    pub(crate) fn installs(&self, identity: &Identity) -> bool {
        self.upgrades.contains_key(identity)
    }

    /// Whether the package would be removed instead.
    pub(super) fn removes(&self, update: &Listed) -> bool {
        self.removals.contains_key(update.package.name.as_str()) || self.removals.contains_key(&update.name_for_apt())
    }

    /// Where the simulation and the list of updates contradict each other: one of them was cut, or the lists changed in between.
    pub(crate) fn disagreements(&self, listed: &[Listed]) -> Vec<String> {
        let known: HashSet<_> = listed.iter().map(Listed::identity).collect();
        let mut reasons: Vec<String> = Vec::new();
        let unlisted = self.upgrades.keys().filter(|identity| !known.contains(*identity)).count();
        if unlisted > 0 {
            reasons.push(format!("apt-get would upgrade {unlisted} packages that apt list does not show"));
        }
        let kept = listed.iter().filter(|update| !self.installs(&update.identity()) && !self.removes(update)).count();
        if let Some(announced) = self.kept
            && announced != kept
        {
            reasons.push(format!("apt-get leaves {announced} updates out, apt list shows {kept} such"));
        }
        reasons
    }
}

/// The line "4 upgraded, 1 newly installed, 0 to remove and 2 not upgraded.", with "N downgraded" and "N reinstalled" where there
/// are any.
#[derive(Clone, Copy, Debug, Default)]
struct Summary {
    /// Upgraded, downgraded or reinstalled.
    replaced: usize,
    added: usize,
    removed: usize,
    kept: usize,
}

impl Summary {
    fn read(line: &str) -> Option<Self> {
        let (changes, kept) = line.strip_suffix(" not upgraded.")?.rsplit_once(" and ")?;
        let mut summary = Self { kept: kept.parse().ok()?, ..Self::default() };
        for change in changes.split(", ") {
            let (count, what) = change.split_once(' ')?;
            let count: usize = count.parse().ok()?;
            match what {
                "upgraded" | "downgraded" | "reinstalled" => summary.replaced += count,
                "newly installed" => summary.added += count,
                "to remove" => summary.removed += count,
                _ => return None,
            }
        }
        Some(summary)
    }

    fn disagreement(self, read: &Simulation) -> Option<String> {
        let of = [
            ("upgrades", self.replaced, read.upgrades.len()),
            ("new packages", self.added, read.additions.len()),
            ("removals", self.removed, read.removals.len()),
        ];
        let (what, announced, read) = of.into_iter().find(|(_, announced, read)| announced != read)?;
        Some(format!("apt-get -s: {announced} {what} announced, {read} read"))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::read::list, *};
    use proptest::prelude::*;

    const HOST_LIST: &str = include_str!("../../../tests/fixtures/apt/host-list.txt");
    const HOST_SIMULATION: &str = include_str!("../../../tests/fixtures/apt/host-simulation.txt");
    const LAB_LIST: &str = include_str!("../../../tests/fixtures/apt/lab-list.txt");
    const LAB_SIMULATION: &str = include_str!("../../../tests/fixtures/apt/lab-simulation.txt");

    fn read_both(list_text: &str, simulation_text: &str) -> (Vec<Listed>, Simulation, Vec<String>) {
        let mut gaps = Vec::new();
        let listed = list(list_text, &mut gaps);
        let simulation = Simulation::read(simulation_text, &mut gaps);
        gaps.extend(simulation.disagreements(&listed));
        (listed, simulation, gaps)
    }

    #[test]
    fn a_genuine_hosts_132_updates_are_read_and_both_answers_agree() {
        let (listed, simulation, gaps) = read_both(HOST_LIST, HOST_SIMULATION);
        assert_eq!((listed.len(), gaps), (132, Vec::new()));
        assert!(listed.iter().all(|update| simulation.installs(&update.identity())));
    }

    #[test]
    fn held_and_phased_updates_are_listed_and_not_installed_and_new_dependencies_are_no_updates() {
        let (listed, simulation, gaps) = read_both(LAB_LIST, LAB_SIMULATION);
        assert_eq!(gaps, Vec::<String>::new());
        let left = listed.iter().filter(|update| !simulation.installs(&update.identity()));
        let left: Vec<_> = left.map(|update| update.package.name.as_str()).collect();
        assert_eq!((listed.len(), left), (6, vec!["lab-held", "lab-phased"]));
        assert!(listed.iter().all(|update| update.package.name.as_str() != "lab-newdep"));
        assert_eq!(simulation.additions, HashSet::from([("lab-newdep".to_owned(), "all".to_owned(), "1.0-1".to_owned())]));
    }

    #[test]
    fn foreign_architectures_and_trailing_brackets_are_read() {
        let text = "Remv old-thing [1.0-1] [libc6:amd64 ]\n\
            Inst libc6:i386 [2.36-9] (2.36-9+deb12u13 Debian:12.12/oldstable, Debian-Security:12/oldstable-security [i386]) []\n\
            Inst libc6 [2.36-9] (2.36-9+deb12u13 Debian:12.12/oldstable [amd64]) [libc6:i386 on libc6:amd64]\n\
            2 upgraded, 0 newly installed, 1 to remove and 0 not upgraded.\n";
        let mut gaps = Vec::new();
        let simulation = Simulation::read(text, &mut gaps);
        let listed = |line| list(&format!("Listing...\n{line}\n"), &mut Vec::new()).remove(0);
        let installs = |line| simulation.installs(&listed(line).identity());
        assert!(installs("libc6/oldstable 2.36-9+deb12u13 i386 [upgradable from: 2.36-9]"));
        assert!(installs("libc6/oldstable 2.36-9+deb12u13 amd64 [upgradable from: 2.36-9]"));
        assert!(simulation.removes(&listed("old-thing/oldstable 2.0-1 amd64 [upgradable from: 1.0-1]")));
        assert_eq!(simulation.removals["old-thing"], "1.0-1");
        assert_eq!(gaps, Vec::<String>::new());
    }

    proptest! {
        /// Wherever either answer is cut, the scan is not complete; only the mere end of the simulation's work may be missing.
        #[test]
        fn cut_output_is_never_taken_for_all_of_it(cut_list in any::<bool>(), at in any::<prop::sample::Index>()) {
            let whole = if cut_list { HOST_LIST } else { HOST_SIMULATION };
            let cut = &whole[..at.index(whole.len())];
            let (list_text, simulation_text) = if cut_list { (cut, HOST_SIMULATION) } else { (HOST_LIST, cut) };
            let (listed, simulation, gaps) = read_both(list_text, simulation_text);
            let everything = listed.len() == 132 && listed.iter().all(|update| simulation.installs(&update.identity()));
            prop_assert!(everything || !gaps.is_empty(), "cut at {} without a gap", cut.len());
        }
    }
}
