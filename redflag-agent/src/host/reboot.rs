//! Why a host must be restarted before its updates take effect: what the system itself says, in three places.

use super::{
    bounded,
    kernels::{self, Kernels},
};
use crate::{scan::dnf::FROM_CACHE, tool::Tool};
use redflag_core::{
    agent::{Virtualisation, VirtualisationKind},
    limits,
    names::{DNF, Manager, Text},
};
use std::{collections::BTreeSet, path::Path};

/// Exit code of `dnf needs-restarting -r` when a restart is required; also that of any failure.
const REQUIRED: i32 = 1;

/// The reasons, sorted; empty when something says that none is there, and none when nothing says anything.
pub(super) async fn reasons(
    root: &Path,
    kernel: Option<&Text>,
    virtualisation: Option<&Virtualisation>,
    managers: &[&Manager],
) -> Option<Vec<Text>> {
    let container = virtualisation.is_some_and(|virtualisation| virtualisation.kind == VirtualisationKind::Container);
    let kernel = kernel.filter(|_| !container).and_then(|running| newer_kernel(root, running.as_str()));
    let dnf = if managers.iter().any(|manager| manager.as_str() == DNF) { told_by_dnf(&Tool::new("dnf")).await } else { None };
    let told = [flagged(root), kernel, dnf];
    told.iter().any(Option::is_some).then(|| {
        let reasons: BTreeSet<String> = told.into_iter().flatten().flatten().collect();
        bounded(reasons, limits::REBOOT_REASONS_MAX)
    })
}

/// The flag that maintainer scripts of Debian and Ubuntu set. Its absence says nothing: not every host has what sets it.
fn flagged(root: &Path) -> Option<Vec<String>> {
    let flag = root.join("run/reboot-required");
    if !flag.exists() {
        return None;
    }
    let packages = std::fs::read_to_string(flag.with_extension("pkgs")).unwrap_or_default();
    let reasons: Vec<_> = packages.lines().map(str::trim).filter(|line| !line.is_empty()).map(updated).collect();
    Some(if reasons.is_empty() { vec!["/run/reboot-required is there".to_owned()] } else { reasons })
}

fn newer_kernel(root: &Path, running: &str) -> Option<Vec<String>> {
    match kernels::compare(root, running) {
        Kernels::Elsewhere => None,
        Kernels::Current => Some(Vec::new()),
        Kernels::Newer(kernel) => Some(vec![format!("kernel {kernel} is installed, {running} runs")]),
    }
}

/// What the plugin `needs-restarting` says, where it is there.
async fn told_by_dnf(dnf: &Tool) -> Option<Vec<String>> {
    match dnf.clone().with(["-q", FROM_CACHE, "needs-restarting", "-r"]).run_with_codes(&[0, REQUIRED]).await {
        Ok(output) => read_needs_restarting(output.code, &output.stdout),
        Err(error) => {
            tracing::debug!("dnf does not tell whether the host must be restarted: {error}");
            None
        }
    }
}

fn read_needs_restarting(code: i32, text: &str) -> Option<Vec<String>> {
    let packages: Vec<_> = text.lines().filter_map(|line| line.trim_start().strip_prefix("* ")).map(updated).collect();
    match code {
        REQUIRED => (!packages.is_empty()).then_some(packages),
        _ => text.contains("Reboot should not be necessary").then(Vec::new),
    }
}

fn updated(package: &str) -> String {
    format!("{} was updated", package.trim())
}

#[cfg(test)]
mod tests {
    use super::{super::tests::root, *};

    async fn found(files: &[(&str, &str)], kind: VirtualisationKind) -> Option<Vec<String>> {
        let (root, kernel) = (root(files), Text::lossy("6.1.0-38-amd64"));
        let virtualisation = Virtualisation { kind, technology: None };
        let reasons = reasons(root.path(), Some(&kernel), Some(&virtualisation), &[]).await?;
        Some(reasons.iter().map(|reason| reason.as_str().to_owned()).collect())
    }

    #[tokio::test]
    async fn the_flag_of_the_system_counts_and_its_absence_says_nothing() {
        let physical = VirtualisationKind::Physical;
        assert_eq!(found(&[], physical).await, None);
        assert_eq!(found(&[("run/reboot-required", "")], physical).await.unwrap(), ["/run/reboot-required is there"]);
        let packages = ("run/reboot-required.pkgs", "libc6\ndbus\nlibc6\n");
        assert_eq!(found(&[("run/reboot-required", ""), packages], physical).await.unwrap(), ["dbus was updated", "libc6 was updated"]);
        assert_eq!(found(&[packages], physical).await, None, "the list alone is a left-over");
    }

    #[tokio::test]
    async fn a_newer_kernel_counts_except_in_a_container() {
        let old = ("lib/modules/6.1.0-38-amd64/vmlinuz", "");
        let new = ("lib/modules/6.1.0-41-amd64/vmlinuz", "");
        assert_eq!(found(&[old], VirtualisationKind::Physical).await.unwrap(), [""; 0]);
        let reasons = found(&[old, new], VirtualisationKind::VirtualMachine).await.unwrap();
        assert_eq!(reasons, ["kernel 6.1.0-41-amd64 is installed, 6.1.0-38-amd64 runs"]);
        assert_eq!(found(&[old, new], VirtualisationKind::Container).await, None);
    }

    #[test]
    fn the_words_of_dnf_count_and_not_its_exit_code_alone() {
        let required = "Core libraries or services have been updated since boot-up:\n  * glibc\n  * kernel\n\nReboot is required to fully utilize these updates.\n";
        assert_eq!(read_needs_restarting(1, required).unwrap(), ["glibc was updated", "kernel was updated"]);
        let none = "No core libraries or services have been updated since boot-up.\nReboot should not be necessary.\n";
        assert_eq!(read_needs_restarting(0, none).unwrap(), [""; 0]);
        // As dnf ends without the plugin.
        assert_eq!(read_needs_restarting(1, "No such command: needs-restarting.\n"), None);
        assert_eq!(read_needs_restarting(0, ""), None);
    }

    #[tokio::test]
    async fn the_real_dnf_answers() {
        let dnf = Tool::new("dnf");
        assert!(dnf.found(), "install the Debian packages dnf and dnf-plugins-core");
        assert!(told_by_dnf(&dnf).await.is_some(), "install the Debian package dnf-plugins-core");
        assert_eq!(told_by_dnf(&Tool::new("/nonexistent/dnf")).await, None);
    }
}
