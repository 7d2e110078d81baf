//! Reading dnf's advisories and saying what they mean for an offer. Pure.
//!
//! `dnf updateinfo list` says which advisory is about which version of which package, `dnf updateinfo info` says what each is: its
//! kind, CVEs and severity in the publisher's own word. An offer takes along every version between the installed one and its
//! own: all their advisories count, also those whose package was superseded by the one offered.

use super::read;
use crate::tool::whole_lines;
use redflag_core::{
    limits,
    metadata::Metadata,
    names::{PackageKey, Text, Version},
    offer::Candidate,
    version_order,
    words::{Severity, VersionOrder},
};
use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet, HashMap},
};

/// What the repositories advise.
#[derive(Debug, Default)]
pub(crate) struct Advisories {
    /// The versions that advisories are about, with the advisory's id.
    versions: HashMap<PackageKey, Vec<(Version, String)>>,
    advisories: HashMap<String, Advisory>,
}

/// What one advisory says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Advisory {
    security: bool,
    /// The publisher's words; several where repositories describe the same advisory differently.
    severities: BTreeSet<String>,
    cves: BTreeSet<String>,
}

impl Advisories {
    /// Reads `dnf updateinfo list --updates` and `dnf updateinfo info --updates`.
    pub(crate) fn read(list: &str, info: &str, gaps: &mut Vec<String>) -> Self {
        whole_lines("dnf updateinfo list", list, gaps);
        let mut advisories = Self { versions: HashMap::new(), advisories: read_info(info) };
        let mut listed = BTreeSet::new();
        for line in list.lines().filter(|line| !line.trim().is_empty()) {
            match read_line(line) {
                Ok((id, package, version)) => {
                    listed.insert(id.to_owned());
                    advisories.versions.entry(package).or_default().push((version, id.to_owned()));
                }
                Err(error) => gaps.push(format!("dnf updateinfo list: {error}")),
            }
        }
        // The two answers must know the same advisories, or one of them was cut.
        let described: BTreeSet<String> = advisories.advisories.keys().cloned().collect();
        if let Some(id) = listed.symmetric_difference(&described).next() {
            gaps.push(format!("dnf updateinfo list and info disagree about advisories, such as {id:?}"));
        }
        advisories
    }

    /// Says in `candidate` what the advisories between the installed version and it tell.
    pub(crate) fn describe(&self, package: &PackageKey, installed: Option<&Version>, candidate: &mut Candidate) {
        let newer = |a: &Version, b: &Version| version_order::compare(VersionOrder::Rpm, a, b) == Some(Ordering::Greater);
        let between =
            |version: &Version| !newer(version, &candidate.version) && installed.is_none_or(|installed| newer(version, installed));
        let versions = self.versions.get(package).map(Vec::as_slice).unwrap_or_default();
        let ids: BTreeSet<&str> = versions.iter().filter(|(version, _)| between(version)).map(|(_, id)| id.as_str()).collect();
        let about: Vec<&Advisory> = ids.iter().filter_map(|id| self.advisories.get(*id)).collect();
        let cves: BTreeSet<&str> = about.iter().flat_map(|advisory| &advisory.cves).map(String::as_str).collect();
        let word = about.iter().flat_map(|advisory| &advisory.severities).min_by_key(|word| Severity::from_source_word(word));
        candidate.security = about.iter().any(|advisory| advisory.security);
        candidate.severity = word.map_or(Severity::Unknown, |word| Severity::from_source_word(word));
        candidate.severity_word = word.filter(|word| !word.eq_ignore_ascii_case(candidate.severity.as_str())).map(|word| Text::lossy(word));
        candidate.metadata = totals(ids.len(), cves.len());
        // Ids grow with time, so that the last ones are the newest.
        candidate.advisories = newest(&ids);
        candidate.cves = newest(&cves);
    }
}

/// How many there are, where not all are listed.
fn totals(advisories: usize, cves: usize) -> Option<Metadata> {
    let over = [("advisories", advisories), ("cves", cves)].into_iter().filter(|(_, count)| *count > limits::ADVISORIES_MAX);
    let counts: Vec<String> = over.map(|(what, count)| format!("\"{what}\":{count}")).collect();
    let json = format!("{{{}}}", counts.join(","));
    (!counts.is_empty()).then(|| Metadata::parse(&json).expect("numbers under two names are an object"))
}

fn newest(ids: &BTreeSet<&str>) -> Vec<Text> {
    ids.iter().skip(ids.len().saturating_sub(limits::ADVISORIES_MAX)).map(|id| Text::lossy(id)).collect()
}

/// `ID KIND NAME-[EPOCH:]VERSION-RELEASE.ARCH`.
fn read_line(line: &str) -> Result<(&str, PackageKey, Version), String> {
    let unreadable = || format!("unreadable line {line:?}");
    let mut words = line.split_whitespace();
    let (Some(id), Some(_), Some(nevra), None) = (words.next(), words.next(), words.next(), words.next()) else {
        return Err(unreadable());
    };
    let (nevr, arch) = nevra.rsplit_once('.').ok_or_else(unreadable)?;
    let (nev, release) = nevr.rsplit_once('-').ok_or_else(unreadable)?;
    let (name, number) = nev.rsplit_once('-').ok_or_else(unreadable)?;
    Ok((id, read::package(name, arch)?, read::evr(&format!("{number}-{release}"))?))
}

/// Blocks of `LABEL: VALUE` with the labels flush right; values of several lines go on after an empty label. A title between two
/// lines of `=` begins each.
fn read_info(text: &str) -> HashMap<String, Advisory> {
    let mut advisories: HashMap<String, Advisory> = HashMap::new();
    let (mut advisory, mut field) = (BTreeMap::<String, Vec<String>>::new(), String::new());
    let mut in_title = false;
    for line in text.lines() {
        if line.len() >= 79 && line.bytes().all(|byte| byte == b'=') {
            in_title = !in_title;
            if in_title {
                note(&mut advisories, &std::mem::take(&mut advisory));
            }
        } else if !in_title && let Some((label, value)) = line.split_once(": ") {
            if !label.trim().is_empty() {
                label.trim().clone_into(&mut field);
            }
            advisory.entry(field.clone()).or_default().push(value.trim().to_owned());
        }
    }
    note(&mut advisories, &advisory);
    advisories
}

fn note(advisories: &mut HashMap<String, Advisory>, fields: &BTreeMap<String, Vec<String>>) {
    let values = |field: &str| fields.get(field).map(Vec::as_slice).unwrap_or_default();
    let [id] = values("Update ID") else { return };
    let security = values("Type").iter().any(|kind| kind == "security");
    let advisory = advisories.entry(id.clone()).or_default();
    advisory.security |= security;
    // Publishers write "None" where they mean that there is none.
    let words = values("Severity").iter().filter(|word| !word.is_empty() && *word != "None");
    advisory.severities.extend(words.cloned());
    advisory.cves.extend(values("CVEs").iter().filter(|cve| !cve.is_empty()).cloned());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changed_text::{changed, changes};
    use proptest::prelude::*;

    const INFO: &str = include_str!("../../../tests/fixtures/dnf/lab-updateinfo-info.txt");
    const LIST: &str = include_str!("../../../tests/fixtures/dnf/lab-updateinfo-list.txt");

    fn package(name: &str) -> PackageKey {
        read::package(name, "noarch").unwrap()
    }

    fn described(advisories: &Advisories, name: &str, installed: &str, offered: &str) -> Candidate {
        let mut candidate = Candidate::new(Version::parse(offered).unwrap());
        advisories.describe(&package(name), Some(&Version::parse(installed).unwrap()), &mut candidate);
        candidate
    }

    fn words(texts: &[Text]) -> Vec<&str> {
        texts.iter().map(Text::as_str).collect()
    }

    #[test]
    fn every_advisory_up_to_the_offered_version_counts_and_none_beyond() {
        let mut gaps = Vec::new();
        let list =
            format!("{LIST}LAB-SA-2025:0004 Important/Sec. lab-app-1.5-1.noarch\nLAB-SA-2025:0005 Moderate/Sec. lab-app-1:0.1-1.noarch\n");
        let advisories = Advisories::read(&list, INFO, &mut gaps);
        assert_eq!(gaps, Vec::<String>::new());
        let both = described(&advisories, "lab-app", "1.0-1", "2.0-1");
        assert_eq!((both.severity, both.severity_word, both.security), (Severity::Critical, None, true));
        assert_eq!(words(&both.advisories), ["LAB-SA-2025:0001", "LAB-SA-2025:0004"]);
        assert_eq!(words(&both.cves), ["CVE-2025-11111", "CVE-2025-11112", "CVE-2025-22222"]);
        let first = described(&advisories, "lab-app", "1.0-1", "1.5-1");
        assert_eq!((first.severity, words(&first.advisories)), (Severity::Important, vec!["LAB-SA-2025:0004"]));
        assert_eq!(words(&described(&advisories, "lab-app", "1.5-1", "2.0-1").advisories), ["LAB-SA-2025:0001"]);
        assert_eq!(described(&advisories, "lab-app", "2.0-1", "2.1-1").advisories, []);
        let bug = described(&advisories, "lab-lib", "1.0-1", "1.0-2");
        assert_eq!((bug.severity, bug.severity_word, bug.security), (Severity::Unknown, None, false));
        assert_eq!(words(&bug.advisories), ["LAB-BA-2025:0002"]);
    }

    #[test]
    fn the_publishers_own_word_is_kept_where_it_is_not_ours() {
        let info = INFO.replace("Severity: Moderate", "Severity: High").replace("Severity: Important", "Severity: Grave");
        let advisories = Advisories::read(LIST, &info, &mut Vec::new());
        let high = described(&advisories, "lab-locked", "1.0-1", "2.0-1");
        assert_eq!((high.severity, high.severity_word.unwrap().as_str()), (Severity::Important, "High"));
        let grave = described(&advisories, "lab-epoch", "1.0-1", "1:0.9~rc1-1");
        assert_eq!((grave.severity, grave.severity_word.unwrap().as_str()), (Severity::Unknown, "Grave"));
    }

    #[test]
    fn what_cannot_be_read_or_is_told_only_half_is_a_gap() {
        let mut gaps = Vec::new();
        Advisories::read("LAB-1 bugfix lab-app\nLAB-SA-2025:0001 Critical/Sec. lab-app-2.0-1.noarch\n", "", &mut gaps);
        assert_eq!(gaps.len(), 2, "{gaps:?}");
        for at in 0..LIST.len() {
            let mut gaps = Vec::new();
            Advisories::read(&LIST[..at], INFO, &mut gaps);
            assert!(!gaps.is_empty(), "cut at {at}");
        }
    }

    /// A title may say anything; only the lines of the body are fields.
    #[test]
    fn titles_and_descriptions_are_no_fields() {
        let bar = "=".repeat(79);
        let info = format!(
            "{bar}\n  Update ID: FAKE\n{bar}\n  Update ID: REAL\n       Type: bugfix\nDescription: a\n           : Severity: Critical\n   Severity: Low\n"
        );
        let advisories = read_info(&info);
        let expected = Advisory { severities: BTreeSet::from(["Low".to_owned()]), ..Advisory::default() };
        assert_eq!(advisories, HashMap::from([("REAL".to_owned(), expected)]));
    }

    #[test]
    fn of_too_many_the_newest_are_listed_and_all_are_counted() {
        let list: String = (1_000..1_300).map(|id| format!("LAB-{id} bugfix lab-app-2.0-1.noarch\n")).collect();
        let candidate = described(&Advisories::read(&list, "", &mut Vec::new()), "lab-app", "1.0-1", "2.0-1");
        assert_eq!((candidate.advisories.len(), candidate.advisories[255].as_str()), (256, "LAB-1299"));
        assert_eq!(candidate.metadata.unwrap().as_json(), "{\"advisories\":300}");
    }

    proptest! {
        #[test]
        fn no_changed_output_makes_a_reader_panic(
            changes in changes(),
            noise in ".{0,200}",
        ) {
            for whole in [LIST, INFO, noise.as_str()] {
                let text = changed(whole, &changes);
                let advisories = Advisories::read(&text, &text, &mut Vec::new());
                described(&advisories, "lab-app", "1.0-1", "2.0-1");
            }
        }
    }
}
