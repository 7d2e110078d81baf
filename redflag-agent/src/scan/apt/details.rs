//! What apt-cache says about versions: where they come from, how large they are, what they are.

use super::{
    Apt,
    read::{self, Identity, Origin, Record},
};
use crate::tool::ToolError;
use redflag_core::names::{PackageKey, Version};
use std::collections::HashMap;

/// What apt-cache says about some versions.
#[derive(Debug, Default)]
pub(crate) struct Details {
    /// By package as apt names it (the native architecture left out) and version.
    origins: HashMap<(String, String), Origin>,
    records: HashMap<Identity, Record>,
}

impl Details {
    /// Asks apt-cache about these versions. Where it fails, `gaps` says so and the details are not there.
    pub(crate) async fn of(apt: &Apt, versions: &[(&PackageKey, &Version)], gaps: &mut Vec<String>) -> Self {
        if versions.is_empty() {
            return Self::default();
        }
        let names: Vec<String> = versions.iter().map(|(package, _)| read::name_for_apt(package)).collect();
        let exact: Vec<String> = versions.iter().map(|(package, version)| read::exact_for_apt(package, version)).collect();
        let files = apt.command("apt-cache", &["policy"]);
        let (files, tables, records) = tokio::join!(
            files.run(),
            apt.about("apt-cache", &["policy", "--"], &names),
            apt.about("apt-cache", &["show", "--no-all-versions", "--"], &exact)
        );
        let mut text = |answer: Result<String, ToolError>| {
            answer.unwrap_or_else(|error| {
                gaps.push(error.to_string());
                String::new()
            })
        };
        let (files, tables, records) = (text(files.map(|output| output.stdout)), text(tables), text(records));
        Self { origins: read::origins(&files, &tables), records: read::records(&records) }
    }

    pub(crate) fn origin(&self, package: &PackageKey, version: &Version) -> Option<&Origin> {
        let find = |name: String| self.origins.get(&(name, version.to_string()));
        find(format!("{}:{}", package.name, package.arch_text())).or_else(|| find(package.name.to_string()))
    }

    /// The record of exactly this version.
    pub(crate) fn record(&self, package: &PackageKey, version: &Version) -> Option<&Record> {
        self.records.get(&read::identity(package, version))
    }
}
