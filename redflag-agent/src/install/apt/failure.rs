//! What apt's complaints mean. Pure, one row a complaint.

use crate::{install::InstallError, scan::apt::read, tool};

/// Which error a complaint is.
type Kind = fn(String) -> InstallError;

const LOCKED: Kind = |reason| InstallError::Locked { reason };
const INTERRUPTED: Kind = |reason| InstallError::Interrupted { reason };
const UNTRUSTED: Kind = |reason| InstallError::Untrusted { reason };
const HELD: Kind = |reason| InstallError::Held { reason };
const UNRESOLVABLE: Kind = |reason| InstallError::Unresolvable { reason };
const NOT_OFFERED: Kind = |reason| InstallError::NotOffered { reason };
const UNREACHABLE: Kind = |reason| InstallError::Unreachable { reason };

/// The words of apt 2.6 in the C locale, the more telling ones first.
const COMPLAINTS: &[(&str, Kind)] = &[
    ("Could not get lock", LOCKED),
    ("Unable to acquire the dpkg frontend lock", LOCKED),
    ("Unable to lock", LOCKED),
    ("dpkg was interrupted", INTERRUPTED),
    ("Hash Sum mismatch", UNTRUSTED),
    ("File has unexpected size", UNTRUSTED),
    ("unauthenticated packages", UNTRUSTED),
    ("signatures were invalid", UNTRUSTED),
    ("signatures couldn't be verified", UNTRUSTED),
    ("Clearsigned file isn't valid", UNTRUSTED),
    ("is not signed", UNTRUSTED),
    ("is no longer signed", UNTRUSTED),
    ("NO_PUBKEY", UNTRUSTED),
    ("Held packages were changed", HELD),
    ("unmet dependencies", UNRESOLVABLE),
    ("held broken packages", UNRESOLVABLE),
    ("remove is disabled", UNRESOLVABLE),
    ("Packages were downgraded", UNRESOLVABLE),
    ("Essential packages were removed", UNRESOLVABLE),
    ("was not found", NOT_OFFERED),
    ("Unable to locate package", NOT_OFFERED),
    ("has no installation candidate", NOT_OFFERED),
    ("404  Not Found", NOT_OFFERED),
    ("File not found", NOT_OFFERED),
    ("Release file", UNREACHABLE),
    ("Failed to fetch", UNREACHABLE),
    ("Unable to fetch", UNREACHABLE),
];

/// Why apt did nothing, from what it printed; none if the words are not known.
pub(super) fn of_installation(text: &str) -> Option<InstallError> {
    let (words, kind) = COMPLAINTS.iter().find(|(words, _)| text.contains(words))?;
    let line = text.lines().find(|line| line.contains(words)).unwrap_or(words).trim();
    let reason = if line.contains("unmet dependencies") || line.contains("held broken packages") { read::obstacle(text) } else { None };
    Some(kind(reason.unwrap_or_else(|| line.trim_start_matches("E: ").to_owned())))
}

/// Why a refresh failed, from what it printed.
pub(super) fn of_refresh(text: &str) -> InstallError {
    match of_installation(text) {
        // A file that is not there is a source that is not there.
        Some(InstallError::NotOffered { reason }) => InstallError::Unreachable { reason },
        Some(error) => error,
        None => InstallError::Tool { reason: tool::message_of(text) },
    }
}

/// What went wrong while dpkg was at work: the lines it says so with, else apt's last ones.
pub(super) fn of_dpkg(output: &str) -> String {
    let mut lines = output.lines().map(str::trim);
    let mut reasons = Vec::new();
    while let Some(line) = lines.find(|line| line.starts_with("dpkg: error")) {
        reasons.push(line);
        reasons.extend(lines.next());
    }
    if reasons.is_empty() { tool::message_of(output) } else { reasons.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_script_is_named_with_its_package() {
        let output = "Setting up lab-broken (2.0-1) ...\ndpkg: error processing package lab-broken (--configure):\n \
            installed lab-broken package post-installation script subprocess returned error exit status 1\nSetting up lab-app\n\
            E: Sub-process /usr/bin/dpkg returned an error code (1)\n";
        let expected = "dpkg: error processing package lab-broken (--configure):; installed lab-broken package post-installation \
            script subprocess returned error exit status 1";
        assert_eq!(of_dpkg(output), expected);
        assert_eq!(of_dpkg("one\nE: two\n"), "E: two");
    }

    #[test]
    fn complaints_are_told_by_their_line_and_unknown_ones_are_not_guessed() {
        let text = "Reading package lists...\nE: Version '9.9' for 'lab-app' was not found\n";
        assert!(
            matches!(of_installation(text), Some(InstallError::NotOffered { reason }) if reason == "Version '9.9' for 'lab-app' was not found")
        );
        assert!(of_installation("E: something new\n").is_none());
        assert!(matches!(of_refresh("E: something new\n"), InstallError::Tool { reason } if reason == "E: something new"));
        let gone = "Err:2 file:/lab lab Release\n  File not found - /lab/Release\nE: The repository 'file:/lab lab Release' no longer has a Release file.\n";
        assert!(matches!(of_refresh(gone), InstallError::Unreachable { .. }));
    }
}
