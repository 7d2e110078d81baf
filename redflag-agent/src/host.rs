//! What the agent says of its host; shown to operators, never used as identity.
//!
//! Everything is read from files and from dnf, and what cannot be read is left out. A fact changes only when the host does: times
//! of day, uptimes and counters are none, so that the reports of an unchanged host stay unchanged.

mod kernels;
mod machine;
mod reboot;
mod services;
mod virtualisation;

pub use machine::{Machine, adopt};

use redflag_core::{
    agent::HostFacts,
    names::{Manager, Text},
};
use std::path::Path;

/// The root of this host.
const ROOT: &str = "/";

/// The facts of this host, as far as they can be read; `machine` is the one the state directory is bound to, `managers` are those
/// this host has.
///
/// Cancel safe: dropping the future kills the process it may have started.
pub async fn facts(machine: &Machine, managers: &[&Manager]) -> HostFacts {
    let (root, system) = (Path::new(ROOT), rustix::system::uname());
    let word = |text: &std::ffi::CStr| Text::parse(&text.to_string_lossy()).ok();
    let kernel = word(system.release());
    let virtualisation = virtualisation::of(root);
    HostFacts {
        hostname: word(system.nodename()),
        os: ["etc/os-release", "usr/lib/os-release"].iter().find_map(|path| pretty_name(&root.join(path))),
        arch: word(system.machine()),
        agent_version: Some(Text::lossy(env!("CARGO_PKG_VERSION"))),
        booted_at: machine.booted_at,
        reboot_reasons: reboot::reasons(root, kernel.as_ref(), virtualisation.as_ref(), managers).await,
        services_to_restart: services::to_restart(root),
        machine_digest: machine.digest,
        virtualisation,
        kernel,
    }
}

/// The host's own name.
#[must_use]
pub fn name() -> Option<Text> {
    Text::parse(&rustix::system::uname().nodename().to_string_lossy()).ok()
}

/// What operators of this host have to do because of its facts, one line each.
#[must_use]
pub fn notes(host: &HostFacts) -> Vec<String> {
    let note = |what: &str, list: &Option<Vec<Text>>| {
        let list = list.as_deref().filter(|list| !list.is_empty())?;
        Some(format!("{what}: {}", list.iter().map(Text::as_str).collect::<Vec<_>>().join(", ")))
    };
    let notes = [note("restart this host", &host.reboot_reasons), note("restart these services", &host.services_to_restart)];
    notes.into_iter().flatten().collect()
}

/// The first line of a file, without white space around it; none when there is no such text.
fn line_of(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().next().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned)
}

/// At most `max` texts; of more, the last place says how many are left out.
fn bounded(texts: impl IntoIterator<Item = String>, max: usize) -> Vec<Text> {
    let mut texts: Vec<Text> = texts.into_iter().map(|text| Text::lossy(&text)).collect();
    if texts.len() > max {
        let left_out = texts.len() - (max - 1);
        texts.truncate(max - 1);
        texts.push(Text::lossy(&format!("and {left_out} more")));
    }
    texts
}

/// `PRETTY_NAME` of an os-release(5) file, without its shell quotes.
fn pretty_name(path: &Path) -> Option<Text> {
    let release = std::fs::read_to_string(path).ok()?;
    release.lines().find_map(|line| unquoted(line.strip_prefix("PRETTY_NAME=")?))
}

fn unquoted(value: &str) -> Option<Text> {
    let value = value.trim();
    let inner = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote)).unwrap_or(value);
    Text::parse(&inner.replace("\\\"", "\"").replace("\\$", "$").replace("\\\\", "\\")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root directory that holds these files.
    pub(super) fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        root
    }

    #[test]
    fn the_name_of_the_system_is_read_without_quotes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("os-release");
        for (line, expected) in [
            ("PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"", "Debian GNU/Linux 12 (bookworm)"),
            ("PRETTY_NAME='Fedora Linux 41'", "Fedora Linux 41"),
            ("PRETTY_NAME=Void", "Void"),
        ] {
            std::fs::write(&path, format!("ID=x\n{line}\nVERSION_ID=1\n")).unwrap();
            assert_eq!(pretty_name(&path).unwrap().as_str(), expected);
        }
        std::fs::write(&path, "ID=x\nPRETTY_NAME=\"\"\n").unwrap();
        assert_eq!(pretty_name(&path), None);
    }

    #[tokio::test]
    async fn facts_of_an_unchanged_host_are_the_same_each_time() {
        let machine = Machine::of_this_host();
        let facts = facts(&machine, &[]).await;
        assert!(facts.hostname.is_some() && facts.kernel.is_some() && facts.arch.is_some() && facts.booted_at.is_some());
        assert_eq!(facts.hostname, name());
        assert_eq!(super::facts(&machine, &[]).await, facts);
    }

    #[test]
    fn of_too_many_texts_the_last_place_says_how_many_are_left_out() {
        let texts = |count: usize| (1..=count).map(|number| number.to_string());
        let shown = |count| bounded(texts(count), 3).iter().map(|text| text.as_str().to_owned()).collect::<Vec<_>>();
        assert_eq!(shown(3), ["1", "2", "3"]);
        assert_eq!(shown(5), ["1", "2", "and 3 more"]);
    }

    #[test]
    fn only_what_has_to_be_done_is_noted() {
        let host = HostFacts { reboot_reasons: Some(Vec::new()), ..HostFacts::default() };
        assert!(notes(&host).is_empty());
        let services = Some(vec![Text::lossy("cron.service"), Text::lossy("ssh.service")]);
        let host = HostFacts { reboot_reasons: Some(vec![Text::lossy("libc6 was updated")]), services_to_restart: services, ..host };
        assert_eq!(notes(&host), ["restart this host: libc6 was updated", "restart these services: cron.service, ssh.service"]);
    }
}
