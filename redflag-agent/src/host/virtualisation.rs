//! What the host runs in, found as systemd-detect-virt(1) finds it, from files alone.
//!
//! A container is looked for first, because it also shows the machine under it. On x86 the processor tells whether there is a
//! hypervisor; the firmware's own words (DMI) then tell which.

use super::line_of;
use redflag_core::{
    agent::{Virtualisation, VirtualisationKind},
    names::Text,
};
use std::path::Path;

/// Starts of the firmware's words and the technology they stand for; from systemd's `src/basic/virt.c`.
const FIRMWARE: &[(&str, &str)] = &[
    ("KVM", "kvm"),
    ("OpenStack", "kvm"),
    ("KubeVirt", "kvm"),
    ("Amazon EC2", "amazon"),
    ("QEMU", "qemu"),
    ("VMware", "vmware"),
    ("VMW", "vmware"),
    ("innotek GmbH", "oracle"),
    ("VirtualBox", "oracle"),
    ("Xen", "xen"),
    ("Bochs", "bochs"),
    ("Parallels", "parallels"),
    ("BHYVE", "bhyve"),
    ("Hyper-V", "microsoft"),
    ("Virtual Machine", "microsoft"),
    ("Apple Virtualization", "apple"),
    ("Google Compute Engine", "google"),
];

/// What the host with this root runs in; none when nothing tells.
pub(super) fn of(root: &Path) -> Option<Virtualisation> {
    let of_kind = |kind, technology: Option<String>| Virtualisation { kind, technology: technology.map(|word| Text::lossy(&word)) };
    if let Some(technology) = container(root) {
        return Some(of_kind(VirtualisationKind::Container, technology));
    }
    let firmware = firmware(root);
    let hypervisor = hypervisor(root);
    let technology = firmware.as_deref().and_then(technology).or_else(|| line_of(&root.join("sys/hypervisor/type")));
    match (hypervisor, technology) {
        (Some(false), _) => Some(of_kind(VirtualisationKind::Physical, None)),
        (Some(true), technology) => Some(of_kind(VirtualisationKind::VirtualMachine, technology)),
        (None, Some(technology)) => Some(of_kind(VirtualisationKind::VirtualMachine, Some(technology))),
        // A processor without the flag, but with a firmware that is nobody's: a real machine.
        (None, None) => firmware.is_some().then(|| of_kind(VirtualisationKind::Physical, None)),
    }
}

/// The container manager, if this is a container; some name none.
fn container(root: &Path) -> Option<Option<String>> {
    let told = line_of(&root.join("run/systemd/container")).or_else(|| of_first_process(root));
    let marked = [(".dockerenv", "docker"), ("run/.containerenv", "podman")];
    let marked = || marked.into_iter().find(|(path, _)| root.join(path).exists()).map(|(_, technology)| technology.to_owned());
    let wsl = || {
        let release = line_of(&root.join("proc/sys/kernel/osrelease"))?;
        (release.contains("Microsoft") || release.contains("WSL")).then(|| "wsl".to_owned())
    };
    let technology = told.or_else(marked).or_else(wsl)?;
    // `oci` says only that it is some container.
    Some((technology != "oci").then_some(technology))
}

/// `container=` in the environment of the first process, which only root may read.
fn of_first_process(root: &Path) -> Option<String> {
    let environment = std::fs::read(root.join("proc/1/environ")).ok()?;
    let value = environment.split(|byte| *byte == 0).find_map(|variable| variable.strip_prefix(b"container="))?;
    Some(String::from_utf8_lossy(value).into_owned()).filter(|value| !value.is_empty())
}

/// Whether the processor says that there is a hypervisor; none where it has no word for it.
fn hypervisor(root: &Path) -> Option<bool> {
    let processors = std::fs::read_to_string(root.join("proc/cpuinfo")).ok()?;
    let flags = processors.lines().find_map(|line| line.strip_prefix("flags")?.split_once(':').map(|(_, flags)| flags))?;
    Some(flags.split_whitespace().any(|flag| flag == "hypervisor"))
}

/// What the firmware calls the machine and its makers, one a line.
fn firmware(root: &Path) -> Option<String> {
    let words = ["product_name", "sys_vendor", "board_vendor", "bios_vendor", "product_version"];
    let words: Vec<_> = words.iter().filter_map(|word| line_of(&root.join("sys/class/dmi/id").join(word))).collect();
    (!words.is_empty()).then(|| words.join("\n"))
}

fn technology(firmware: &str) -> Option<String> {
    let of_word = |word: &str| FIRMWARE.iter().find(|(start, _)| word.starts_with(start)).map(|(_, technology)| *technology);
    firmware.lines().find_map(of_word).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::root, *};

    const VIRTUAL: (&str, &str) = ("proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu vme hypervisor lahf_lm\n");
    const REAL: (&str, &str) = ("proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu vme lahf_lm\n");
    const ARM: (&str, &str) = ("proc/cpuinfo", "processor\t: 0\nFeatures\t: fp asimd\n");

    fn found(files: &[(&str, &str)]) -> String {
        let root = root(files);
        match of(root.path()) {
            Some(Virtualisation { kind, technology: Some(technology) }) => format!("{kind} {technology}"),
            Some(Virtualisation { kind, technology: None }) => kind.to_string(),
            None => "unknown".to_owned(),
        }
    }

    #[test]
    fn containers_are_told_by_their_manager() {
        assert_eq!(found(&[VIRTUAL, ("run/systemd/container", "podman\n")]), "container podman");
        assert_eq!(found(&[VIRTUAL, ("proc/1/environ", "PATH=/bin\0container=lxc\0HOME=/")]), "container lxc");
        assert_eq!(found(&[REAL, (".dockerenv", "")]), "container docker");
        assert_eq!(found(&[REAL, ("run/.containerenv", "")]), "container podman");
        assert_eq!(found(&[("run/systemd/container", "oci")]), "container");
        assert_eq!(found(&[VIRTUAL, ("proc/sys/kernel/osrelease", "5.15.0-microsoft-standard-WSL2\n")]), "container wsl");
    }

    #[test]
    fn machines_are_told_by_processor_and_firmware() {
        assert_eq!(found(&[VIRTUAL]), "virtual-machine");
        let product = |word| ("sys/class/dmi/id/product_name", word);
        let vendor = |word| ("sys/class/dmi/id/sys_vendor", word);
        assert_eq!(found(&[VIRTUAL, product("Standard PC (Q35 + ICH9, 2009)\n"), vendor("QEMU\n")]), "virtual-machine qemu");
        assert_eq!(found(&[VIRTUAL, product("VMware7,1"), vendor("VMware, Inc.")]), "virtual-machine vmware");
        assert_eq!(found(&[VIRTUAL, product("Virtual Machine"), vendor("Microsoft Corporation")]), "virtual-machine microsoft");
        assert_eq!(found(&[VIRTUAL, ("sys/hypervisor/type", "xen\n")]), "virtual-machine xen");
        // A rented machine without a hypervisor carries the words of its provider.
        assert_eq!(found(&[REAL, vendor("Amazon EC2")]), "physical");
        assert_eq!(found(&[REAL]), "physical");
        assert_eq!(found(&[ARM, product("KVM Virtual Machine")]), "virtual-machine kvm");
        assert_eq!(found(&[ARM, product("ThinkSystem"), vendor("Lenovo")]), "physical");
        assert_eq!(found(&[ARM]), "unknown");
        assert_eq!(found(&[]), "unknown");
    }
}
