//! Kernels that are installed, and whether one of them is newer than the one that runs.

use redflag_core::{names::Version, version_order, words::VersionOrder};
use std::{collections::BTreeSet, path::Path};

/// What the installed kernels say about the running one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kernels {
    /// The running kernel is not among those installed, as in a container or where the hypervisor brings it.
    Elsewhere,
    /// The running kernel is the newest of its flavour.
    Current,
    /// This one is newer.
    Newer(String),
}

/// Compares the kernels installed under `root` with the running one. A kernel counts only if its image is there: package managers
/// leave directories of modules behind.
pub(super) fn compare(root: &Path, running: &str) -> Kernels {
    let installed = installed(root);
    if !installed.contains(running) {
        return Kernels::Elsewhere;
    }
    let newest =
        installed.into_iter().filter(|kernel| flavour(kernel) == flavour(running)).reduce(|a, b| if newer(&b, &a) { b } else { a });
    newest.filter(|newest| newer(newest, running)).map_or(Kernels::Current, Kernels::Newer)
}

fn installed(root: &Path) -> BTreeSet<String> {
    let modules = root.join("lib/modules");
    let entries = std::fs::read_dir(&modules).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let image = |name: &String| root.join("boot").join(format!("vmlinuz-{name}")).exists() || modules.join(name).join("vmlinuz").exists();
    names.filter(image).collect()
}

/// What sets kernels apart that do not replace each other: `cloud-amd64` of `6.1.0-41-cloud-amd64`, `debug` of
/// `6.16.9-200.fc42.x86_64+debug`.
fn flavour(release: &str) -> &str {
    let letters = |index: &usize| release[*index + 1..].starts_with(|c: char| c.is_ascii_alphabetic());
    let dash = release.match_indices('-').map(|(index, _)| index).find(letters);
    release.find('+').or(dash).map_or("", |index| &release[index + 1..])
}

/// By rpm's rules, which know every text and read numbers as numbers.
fn newer(a: &str, b: &str) -> bool {
    let (Ok(a), Ok(b)) = (Version::parse(a), Version::parse(b)) else { return false };
    version_order::compare(VersionOrder::Rpm, &a, &b).is_some_and(std::cmp::Ordering::is_gt)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::root, *};

    fn compared(kernels: &[&str], running: &str) -> Kernels {
        let files: Vec<_> =
            kernels.iter().flat_map(|kernel| [format!("lib/modules/{kernel}/modules.dep"), format!("boot/vmlinuz-{kernel}")]).collect();
        let files: Vec<_> = files.iter().map(|path| (path.as_str(), "")).collect();
        compare(root(&files).path(), running)
    }

    #[test]
    fn a_newer_kernel_of_the_same_flavour_is_found() {
        let newer = |kernel: &str| Kernels::Newer(kernel.to_owned());
        assert_eq!(compared(&["6.1.0-9-amd64", "6.1.0-41-amd64", "6.1.0-38-amd64"], "6.1.0-9-amd64"), newer("6.1.0-41-amd64"));
        assert_eq!(compared(&["6.1.0-41-amd64", "6.1.0-41-cloud-amd64"], "6.1.0-41-amd64"), Kernels::Current);
        assert_eq!(compared(&["6.1.0-38-amd64", "6.1.0-41-cloud-amd64"], "6.1.0-38-amd64"), Kernels::Current);
        let (old, new) = ("5.14.0-503.el9.x86_64", "5.14.0-570.12.1.el9.x86_64");
        assert_eq!(compared(&[old, new], old), newer(new));
        assert_eq!(compared(&[old, new], new), Kernels::Current);
        assert_eq!(compared(&[old, &format!("{new}+debug")], old), Kernels::Current);
    }

    #[test]
    fn a_kernel_from_elsewhere_is_not_compared() {
        assert_eq!(compared(&["6.1.0-41-amd64"], "6.18.44-fc"), Kernels::Elsewhere);
        assert_eq!(compared(&[], "6.1.0-41-amd64"), Kernels::Elsewhere);
    }

    #[test]
    fn modules_without_their_kernel_do_not_count() {
        let root = root(&[("lib/modules/6.1.0-9-amd64/vmlinuz", ""), ("lib/modules/6.1.0-41-amd64/modules.dep", "")]);
        assert_eq!(compare(root.path(), "6.1.0-9-amd64"), Kernels::Current);
    }
}
