//! What the package managers print, as arbitrary bytes: every reader ends, and what it takes stands in the text it read.

pub use super::docker::registry::fuzzing::*;

use super::{apt, dnf};
use crate::install::dnf::resolution::Resolution;
use redflag_core::{names::PackageKey, offer::Candidate};
use std::borrow::Cow;

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// # Panics
/// When a name was made up.
fn stands_in(package: &PackageKey, text: &str) {
    assert!(text.contains(package.name.as_str()), "{package} is not in the text");
}

macro_rules! keys_of {
    ($(#[$meta:meta])* $name:ident, $reader:path) => {
        $(#[$meta])*
        pub fn $name(bytes: &[u8]) {
            let text = text(bytes);
            for package in $reader(&text, &mut Vec::new()).keys() {
                stands_in(package, &text);
            }
        }
    };
}

keys_of! {
    /// dpkg's list of what is installed.
    apt_installed, apt::read::installed
}
keys_of! {
    /// rpm's list of what is installed.
    dnf_installed, dnf::read::installed
}
keys_of! {
    /// dnf's list of upgrades.
    dnf_offered, dnf::read::offered
}

/// apt's list of upgrades, and what a simulation says of it.
pub fn apt_list(bytes: &[u8]) {
    let text = text(bytes);
    for update in apt::read::list(&text, &mut Vec::new()) {
        stands_in(&update.package, &text);
    }
}

/// A simulation of apt-get.
pub fn apt_simulation(bytes: &[u8]) {
    let (text, mut gaps) = (text(bytes), Vec::new());
    let simulation = apt::simulation::Simulation::read(&text, &mut gaps);
    let _ = simulation.disagreements(&apt::read::list(&text, &mut gaps));
    let _ = apt::read::obstacle(&text);
}

/// apt-cache's policy, of files and of packages.
pub fn apt_policy(bytes: &[u8]) {
    let text = text(bytes);
    let (files, tables) = text.split_once("\n\n").unwrap_or((&text, &text));
    let _ = apt::read::origins(files, tables);
}

/// apt-cache's records.
pub fn apt_records(bytes: &[u8]) {
    let _ = apt::read::records(&text(bytes));
}

/// dnf's check-update, against its list of upgrades.
pub fn dnf_checked(bytes: &[u8]) {
    let (text, mut gaps) = (text(bytes), Vec::new());
    let _ = dnf::read::checked(&text, &mut gaps).not_offered(&dnf::read::offered(&text, &mut gaps));
}

/// dnf's list of repositories.
pub fn dnf_repositories(bytes: &[u8]) {
    let _ = dnf::read::repositories(&text(bytes));
}

/// What dnf would do, and what it would skip.
pub fn dnf_resolution(bytes: &[u8]) {
    let text = text(bytes);
    let (stdout, stderr) = text.split_at(text.len() / 2 + (0..4).find(|more| text.is_char_boundary(text.len() / 2 + more)).unwrap_or(0));
    let _ = dnf::read::resolution(stdout, stderr, &mut Vec::new());
}

/// dnf's advisories, and what they mean for an offer.
pub fn dnf_advisories(bytes: &[u8]) {
    let text = text(bytes);
    let (list, info) = text.split_once("\n\n").unwrap_or((&text, &text));
    let advisories = dnf::advisories::Advisories::read(list, info, &mut Vec::new());
    for (package, offered) in dnf::read::offered(list, &mut Vec::new()) {
        advisories.describe(&package, None, &mut Candidate::new(offered.version));
    }
}

/// The transaction dnf proposes.
///
/// # Panics
/// When a name was made up.
pub fn dnf_plan(bytes: &[u8]) {
    let text = text(bytes);
    for change in Resolution::read(&text).iter().flat_map(|resolution| resolution.installs.iter().chain(&resolution.removals)) {
        stands_in(&change.package, &text);
    }
}
