//! The words apt gets. Pure.
//!
//! apt reads more into a word than a name: `wget-` and `wget=1.0-` remove, `wget+` and `wget/sid` choose otherwise, `task^` and
//! `^lib.*` name many, `./x.deb` is a file, `-oX=Y` configures. So every word is made of parts that have a grammar of their own,
//! stands after `--`, and its last character cannot be a `-`. One meaning is left that no grammar can tell: a final `+`, legal in
//! names and versions, is an order where no package is called so. The installer therefore looks afterwards whether the index
//! knows exactly this name and version.

use crate::{
    install::{InstallError, items},
    scan::apt::read,
};
use redflag_core::{command::plan::Item, names::APT, words::VersionOrder};
use std::time::Duration;

/// What holds for every run: the host's configuration may be laxer, and these options win over it.
const ALWAYS: &[&str] = &[
    "-y",
    "-q",
    "-o=APT::Get::AllowUnauthenticated=false",
    "-o=APT::Get::Allow-Downgrades=false",
    "-o=APT::Get::Allow-Change-Held-Packages=false",
    "-o=APT::Get::Allow-Remove-Essential=false",
    "-o=APT::Get::Force-Yes=false",
    "-o=APT::Get::AutomaticRemove=false",
    "-o=APT::Get::Fix-Missing=false",
];
/// Configuration files the administrator changed stay as they are; others follow the package. No terminal, plain output.
const CHANGING: &[&str] = &[
    "-o=APT::Get::Remove=false",
    "-o=APT::Get::Only-Upgrade=true",
    "-o=Dpkg::Options::=--force-confdef",
    "-o=Dpkg::Options::=--force-confold",
    "-o=Dpkg::Use-Pty=0",
];
/// Without the first, a source with a broken signature is no error; the others refuse sources without one.
const REFRESH: &[&str] = &[
    "-q",
    "-o=APT::Update::Error-Mode=any",
    "-o=Acquire::AllowInsecureRepositories=false",
    "-o=Acquire::AllowWeakRepositories=false",
    "-o=Acquire::AllowDowngradeToInsecureRepositories=false",
    "update",
];

/// One word an item.
pub(super) fn of_items(items: &[Item]) -> Result<Vec<String>, InstallError> {
    items::arguments(APT, VersionOrder::Dpkg, items, exact)
}

/// A dry run; it takes no lock and changes nothing.
pub(super) fn simulation(items: &[String]) -> Vec<String> {
    [ALWAYS, &["-s", "install", "--"]].concat().into_iter().map(str::to_owned).chain(items.iter().cloned()).collect()
}

/// What would be downloaded.
pub(super) fn downloads(items: &[String]) -> Vec<String> {
    [ALWAYS, &["-qq", "--print-uris", "install", "--"]].concat().into_iter().map(str::to_owned).chain(items.iter().cloned()).collect()
}

/// An installation that waits `lock_time_max` for whoever else uses the package manager.
pub(super) fn installation(items: &[String], lock_time_max: Duration) -> Vec<String> {
    let wait = format!("-o=DPkg::Lock::Timeout={}", lock_time_max.as_secs());
    let fixed = [ALWAYS, CHANGING, &[&wait, "install", "--"]].concat();
    fixed.into_iter().map(str::to_owned).chain(items.iter().cloned()).collect()
}

pub(super) const fn refresh() -> &'static [&'static str] {
    REFRESH
}

/// `name:arch=version`; the architecture is left out for packages that have none.
fn exact(item: &Item) -> Result<String, String> {
    let (name, arch, version) = (item.package.name.as_str(), item.package.arch_text(), item.to.as_str());
    match (name_kept(name), arch_kept(arch), version_kept(version)) {
        (false, _, _) => Err(format!("{name:?} is no Debian package name")),
        (_, false, _) => Err(format!("{arch:?} is no Debian architecture")),
        (_, _, false) => Err(format!("{version:?} is no Debian version")),
        (true, true, true) => Ok(read::exact_for_apt(&item.package, &item.to)),
    }
}

/// deb-control(5), Package.
fn name_kept(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (2..=128).contains(&name.len())
        && name.bytes().all(|byte| letter(byte) || b"+.-".contains(&byte))
        && name.bytes().next().is_some_and(letter)
        && !name.ends_with('-')
}

/// The name of one architecture, and none of the words that stand for others.
fn arch_kept(arch: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    arch.bytes().next().is_some_and(letter)
        && arch.bytes().all(|byte| letter(byte) || byte == b'-')
        && arch.bytes().last().is_some_and(letter)
        && !matches!(arch, "any" | "native" | "source")
}

/// deb-version(7), as dpkg reads it: the first character may be a letter. A revision is not empty, so no version ends with `-`.
fn version_kept(version: &str) -> bool {
    let rest = match version.split_once(':') {
        Some((epoch, rest)) if epoch.bytes().all(|byte| byte.is_ascii_digit()) && epoch.parse::<i32>().is_ok() => rest,
        Some(_) => return false,
        None => version,
    };
    version.len() <= redflag_core::limits::VERSION_BYTES_MAX
        && rest.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".+~:-".contains(&byte))
        && !rest.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install::hostile;

    /// `name:arch=version`, read from its end, by character classes of its own.
    fn kept(word: &str) -> bool {
        let Some((name, version)) = word.split_once('=') else { return false };
        let (name, arch) = name.split_once(':').unwrap_or((name, "amd64"));
        let all = |text: &str, allowed: &str| !text.is_empty() && text.chars().all(|character| allowed.contains(character));
        const LOWER: &str = "abcdefghijklmnopqrstuvwxyz0123456789";
        all(&name[..1], LOWER)
            && all(name, &format!("{LOWER}+.-"))
            && all(arch, &format!("{LOWER}-"))
            && !["any", "native"].contains(&arch)
            && all(&version[..1], &format!("{LOWER}ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
            && all(version, &format!("{LOWER}ABCDEFGHIJKLMNOPQRSTUVWXYZ.+~:-"))
            && [name, arch, version].iter().all(|part| !part.ends_with('-'))
            && version.split_once(':').is_none_or(|(epoch, _)| epoch.parse::<u64>().is_ok_and(|epoch| epoch < 1 << 31))
    }

    #[test]
    fn a_million_hostile_names_and_versions_give_no_argument_outside_the_grammar() {
        hostile::check(APT, "amd64", 1_000_000, of_items, kept);
    }

    #[test]
    fn the_words_of_an_installation_come_last_and_after_the_end_of_options() {
        let words = installation(&["a:amd64=1".into(), "b=2".into()], Duration::from_secs(7));
        let end = words.iter().position(|word| word == "--").unwrap();
        assert_eq!(words[end - 1..], ["install", "--", "a:amd64=1", "b=2"]);
        assert!(words[..end - 1].iter().all(|word| word.starts_with('-')) && words.contains(&"-o=DPkg::Lock::Timeout=7".to_owned()));
    }
}
