//! The words dnf gets. Pure.
//!
//! To dnf `@core` is a group, `nodejs:18` a module, `x.rpm` and `https://h/x` are files, `/bin/sh` and `libc.so.6` name whatever
//! provides them, and `*`, `?` and `[` match many. So every word is a whole `name-epoch:version-release.arch`, which names one
//! package and nothing else, made of parts that have a grammar of their own, and stands after `--`.

use crate::install::{InstallError, items};
use redflag_core::{command::plan::Item, limits, names::DNF, words::VersionOrder};

/// What holds for every run: the host's configuration may be laxer, and these options win over it. `best` and `strict` refuse
/// rather than choose another version or leave one out; locks of others are an answer, so that waiting for them can end.
const ALWAYS: &[&str] = &[
    "--best",
    "--setopt=strict=1",
    "--setopt=exit_on_lock=1",
    "--setopt=clean_requirements_on_remove=0",
    "--setopt=autocheck_running_kernel=0",
    "--setopt=color=never",
];

/// One word an item.
pub(super) fn of_items(items: &[Item]) -> Result<Vec<String>, InstallError> {
    items::arguments(DNF, VersionOrder::Rpm, items, exact)
}

/// A resolution that is declined before anything happens, on metadata that is up to date.
pub(super) fn resolution(items: &[String]) -> Vec<String> {
    words(&["--assumeno", "--refresh", "upgrade", "--"], items)
}

pub(super) fn installation(items: &[String]) -> Vec<String> {
    words(&["-y", "upgrade", "--"], items)
}

fn words(command: &[&str], items: &[String]) -> Vec<String> {
    ALWAYS.iter().chain(command).map(|word| (*word).to_owned()).chain(items.iter().cloned()).collect()
}

/// `name-epoch:version-release.arch`.
fn exact(item: &Item) -> Result<String, String> {
    let (name, arch, to) = (item.package.name.as_str(), item.package.arch_text(), item.to.as_str());
    if !name_kept(name) {
        return Err(format!("{name:?} is no rpm package name"));
    }
    if !arch_kept(arch) {
        return Err(format!("{arch:?} is no rpm architecture"));
    }
    let (epoch, version_release) = to.split_once(':').unwrap_or(("0", to));
    if epoch_kept(epoch) && evr_kept(version_release) && to.len() <= limits::VERSION_BYTES_MAX {
        Ok(format!("{name}-{epoch}:{version_release}.{arch}"))
    } else {
        Err(format!("{to:?} is no rpm [epoch:]version-release"))
    }
}

fn name_kept(name: &str) -> bool {
    name.len() <= limits::PACKAGE_NAME_BYTES_MAX
        && name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte))
}

/// The architecture of an installed package; `rpm` would make the word a file's name.
fn arch_kept(arch: &str) -> bool {
    !arch.is_empty()
        && arch.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && !matches!(arch, "rpm" | "src" | "nosrc")
}

fn epoch_kept(epoch: &str) -> bool {
    !epoch.is_empty() && epoch.bytes().all(|byte| byte.is_ascii_digit()) && epoch.parse::<i32>().is_ok()
}

/// `version-release`, neither of which can hold a `-`.
fn evr_kept(text: &str) -> bool {
    let part = |text: &str| {
        text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._+~^".contains(&byte))
    };
    text.split_once('-').is_some_and(|(version, release)| part(version) && part(release))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install::hostile;

    /// `name-epoch:version-release.arch`, read from its end, by character classes of its own.
    fn kept(word: &str) -> bool {
        const WORD: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
        let all = |text: &str, further: &str| !text.is_empty() && text.chars().all(|c| WORD.contains(c) || further.contains(c));
        let Some((nevr, arch)) = word.rsplit_once('.') else { return false };
        let Some((name_epoch, evr)) = nevr.split_once(':') else { return false };
        let (Some((name, epoch)), Some((version, release))) = (name_epoch.rsplit_once('-'), evr.rsplit_once('-')) else { return false };
        all(name, "._+-")
            && all(&name[..1], "_")
            && epoch.parse::<u32>().is_ok()
            && all(version, "._+~^")
            && all(release, "._+~^")
            && all(arch, "_")
            && arch != "rpm"
    }

    #[test]
    fn a_million_hostile_names_and_versions_give_no_argument_outside_the_grammar() {
        hostile::check(DNF, "noarch", 1_000_000, of_items, kept);
    }

    #[test]
    fn the_words_of_an_installation_come_last_and_after_the_end_of_options() {
        let words = installation(&["a-0:1-1.noarch".into()]);
        assert_eq!(words[words.len() - 3..], ["upgrade", "--", "a-0:1-1.noarch"]);
        assert!(words[..words.len() - 3].iter().all(|word| word.starts_with('-')));
    }
}
