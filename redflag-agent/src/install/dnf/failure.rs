//! What dnf's complaints mean. Pure, one row a complaint.

use crate::{install::InstallError, tool};

/// Which error a complaint is.
type Kind = fn(String) -> InstallError;

const UNTRUSTED: Kind = |reason| InstallError::Untrusted { reason };
const UNRESOLVABLE: Kind = |reason| InstallError::Unresolvable { reason };
const UNREACHABLE: Kind = |reason| InstallError::Unreachable { reason };

/// The words of dnf 4.14 in the C locale, the more telling ones first.
const COMPLAINTS: &[(&str, Kind)] = &[
    ("is not signed", UNTRUSTED),
    ("GPG check FAILED", UNTRUSTED),
    ("GPG signature verification error", UNTRUSTED),
    ("is not installed. Failing package is", UNTRUSTED),
    ("checksum doesn't match", UNTRUSTED),
    ("incorrect checksum", UNTRUSTED),
    ("does not verify", UNTRUSTED),
    ("nothing provides", UNRESOLVABLE),
    ("conflicts with", UNRESOLVABLE),
    ("Problem", UNRESOLVABLE),
    ("Failed to download metadata", UNREACHABLE),
    ("Ignoring repositories", UNREACHABLE),
    ("Error downloading packages", UNREACHABLE),
    ("Cannot download", UNREACHABLE),
    ("No more mirrors to try", UNREACHABLE),
];

/// Why dnf did nothing, from what it printed; none if the words are not known.
pub(super) fn of_nothing(text: &str) -> Option<InstallError> {
    let (words, kind) = COMPLAINTS.iter().find(|(words, _)| text.contains(words))?;
    let line = text.lines().find(|line| line.contains(words)).unwrap_or(words);
    Some(kind(line.trim().trim_start_matches("- ").trim_start_matches("Error: ").to_owned()))
}

/// Why dnf did not do what it was asked, whatever it printed.
pub(super) fn of(text: &str) -> InstallError {
    of_nothing(text).unwrap_or_else(|| InstallError::Tool { reason: tool::message_of(text) })
}

/// What went wrong within the transaction.
pub(super) fn of_transaction(output: &str) -> String {
    let lines: Vec<&str> =
        output.lines().map(str::trim).filter(|line| line.starts_with("error: ") || line.starts_with("Error in ")).collect();
    if lines.is_empty() { tool::message_of(output) } else { lines.join("; ") }
}

/// The arguments dnf found no package for.
pub(super) fn unmatched(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.trim().strip_prefix("No match for argument: ")).collect()
}
