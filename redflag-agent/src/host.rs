//! What the agent says of its host; shown to operators, never used as identity.

use redflag_core::{agent::HostFacts, names::Text};
use std::path::Path;

/// The facts of this host, as far as they can be read.
#[must_use]
pub fn facts() -> HostFacts {
    let system = rustix::system::uname();
    let word = |text: &std::ffi::CStr| Text::parse(&text.to_string_lossy()).ok();
    HostFacts {
        hostname: word(system.nodename()),
        os: ["/etc/os-release", "/usr/lib/os-release"].iter().find_map(|path| pretty_name(Path::new(path))),
        kernel: word(system.release()),
        arch: word(system.machine()),
        agent_version: Some(Text::lossy(env!("CARGO_PKG_VERSION"))),
    }
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

    #[test]
    fn this_host_has_a_name_and_a_kernel() {
        let facts = facts();
        assert!(facts.hostname.is_some() && facts.kernel.is_some() && facts.arch.is_some());
    }
}
