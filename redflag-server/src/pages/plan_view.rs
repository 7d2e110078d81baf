//! A plan as a table: every package it touches, those that were not approved so marked and first.

use super::text;
use crate::second_look::{Difference, SecondLook};
use redflag_core::{
    command::{
        payload::SigningMode,
        plan::{Change, Excess, Item},
        record::{CommandRecord, Terms},
    },
    ids::UpdateId,
    names::{PackageKey, Text, Version},
};
use std::collections::HashSet;

/// Rows a page shows of one plan; the API answers all.
const ROWS_MAX: usize = 500;

/// A plan as templates show it.
#[derive(Clone, Debug)]
pub(crate) struct PlanView {
    pub(crate) digest: String,
    pub(crate) short_digest: String,
    pub(crate) rows: Vec<PlanRow>,
    /// Rows that are not shown.
    pub(crate) more: u64,
    pub(crate) download: Option<String>,
    /// Whether the host will ask for a restart, in words, where that is known.
    pub(crate) restart: Option<&'static str>,
    /// Differences that the terms do not allow.
    pub(crate) beyond: u64,
    /// Whether a person can accept it.
    pub(crate) confirmable: bool,
    /// Whose keys sign what comes of it, in words.
    pub(crate) signing: String,
}

/// One package of a plan.
#[derive(Clone, Debug)]
pub(crate) struct PlanRow {
    pub(crate) package: PackageKey,
    /// Where the update is that was approved; none of a package that was not asked for.
    pub(crate) href: Option<String>,
    pub(crate) from: Option<Version>,
    pub(crate) to: Option<Version>,
    pub(crate) origin: Option<Text>,
    /// What becomes of it, in words.
    pub(crate) outcome: &'static str,
    /// Whether that needs a second look.
    pub(crate) beyond: bool,
}

impl PlanView {
    /// The plan that a command brought, if it did.
    pub(crate) fn of(record: &CommandRecord) -> Option<Self> {
        let look = SecondLook::of(record)?;
        let agent = record.audience.agent;
        let asked: HashSet<_> = record.action.items().iter().map(|item| &item.package).collect();
        let href =
            |package: &PackageKey| asked.contains(package).then(|| format!("/updates/{}", UpdateId { agent, package: package.clone() }));
        let mut rows: Vec<PlanRow> = look.differences.iter().map(|difference| PlanRow::of_difference(difference, &href)).collect();
        let different: HashSet<_> = rows.iter().map(|row| row.package.clone()).collect();
        let as_approved = look.plan.changes.iter().filter(|change| !different.contains(&change.package));
        rows.extend(as_approved.map(|change| PlanRow::as_approved(change, &href)));
        rows.sort_by_key(|row| !row.beyond);
        let more = rows.len().saturating_sub(ROWS_MAX);
        rows.truncate(ROWS_MAX);
        let digest = look.digest.to_string();
        Some(Self {
            short_digest: digest[..16].to_owned(),
            digest,
            rows,
            more: more as u64,
            download: look.plan.download_bytes.map(text::size),
            restart: look.plan.reboot_required.map(|needed| if needed { "will be needed" } else { "not needed" }),
            beyond: look.differences.iter().filter(|difference| !difference.allowed).count() as u64,
            confirmable: look.confirmable(),
            signing: signing(&record.terms),
        })
    }
}

/// The mode of commands, with what it asks of people.
pub(super) fn signing(terms: &Terms) -> String {
    match terms.mode {
        mode @ SigningMode::ServerSigns => format!("{mode}: the server's key signs"),
        mode @ SigningMode::OperatorSigns => {
            format!("{mode}: {} must sign", text::counted(terms.signatures_min.into(), "person", "people"))
        }
    }
}

impl PlanRow {
    fn of_difference(difference: &Difference, href: &impl Fn(&PackageKey) -> Option<String>) -> Self {
        let beyond = !difference.allowed;
        let (outcome, change) = match &difference.excess {
            Excess::NewPackage(change) => ("new package", change),
            Excess::Removal(change) => ("removed", change),
            Excess::OtherPackage(change) => ("another package", change),
            Excess::OtherVersion(change) => ("not the version approved", change),
            Excess::OtherOrigin(change) => ("not the origin approved", change),
            Excess::Missing(Item { package, from, .. }) => {
                let (from, to) = (Some(from.clone()), Some(from.clone()));
                return Self { href: href(package), package: package.clone(), from, to, origin: None, outcome: "left as it is", beyond };
            }
        };
        Self { outcome, beyond, ..Self::as_approved(change, href) }
    }

    fn as_approved(change: &Change, href: &impl Fn(&PackageKey) -> Option<String>) -> Self {
        let Change { package, from, to, origin } = change.clone();
        Self { href: href(&package), package, from, to, origin, outcome: "as approved", beyond: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redflag_core::{
        command::{
            payload::{Action, Audience, SideEffect},
            plan::Plan,
            record::{End, Ending, Requested, Success, Terms},
        },
        event::Actor,
        ids::Digest,
        time::Timestamp,
    };
    use std::collections::BTreeMap;

    fn package(name: &str) -> PackageKey {
        PackageKey::parse("apt", name, None).unwrap()
    }

    fn change(name: &str, from: Option<&str>, to: Option<&str>) -> Change {
        let version = |text: &str| Version::parse(text).unwrap();
        Change { package: package(name), from: from.map(version), to: to.map(version), origin: None }
    }

    fn brought(plan: Plan, allowed: Option<SideEffect>) -> CommandRecord {
        let version = |text: &str| Version::parse(text).unwrap();
        let item = |name: &str| Item { package: package(name), from: version("1"), to: version("2"), origin: None };
        let agent = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3".parse().unwrap();
        let at = Timestamp::MAX;
        let how = Ending::Succeeded(Success { plan: Some(plan), ..Success::default() });
        CommandRecord {
            id: "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b4".parse().unwrap(),
            audience: Audience { agent, key_id: Digest::of("key", &[]) },
            action: Action::Plan { items: vec![item("asked"), item("kept")] },
            approvals: Vec::new(),
            terms: Terms { side_effects: allowed.into_iter().collect(), ..Terms::default() },
            request: Requested { by: Actor::Agent, at, digest: Digest::of("request", &[]) },
            follows: None,
            not_before: at,
            expires_at: at,
            state: how.state(),
            counter: Some(1),
            signatures: BTreeMap::new(),
            attempts: 1,
            leased_until: None,
            started_at: None,
            end: Some(End { at, by: Actor::Agent, how }),
            late: Vec::new(),
            revision: 1,
        }
    }

    #[test]
    fn what_needs_a_second_look_stands_first_and_everything_stands_once() {
        let changes = [change("added", None, Some("2")), change("asked", Some("1"), Some("2")), change("gone", Some("1"), None)];
        let view = PlanView::of(&brought(Plan::of(changes), Some(SideEffect::NewPackage))).unwrap();
        let rows: Vec<_> = view.rows.iter().map(|row| (row.package.name.as_str(), row.outcome, row.beyond, row.href.is_some())).collect();
        let expected = [
            ("gone", "removed", true, false),
            ("kept", "left as it is", true, true),
            ("added", "new package", false, false),
            ("asked", "as approved", false, true),
        ];
        assert_eq!(rows, expected);
        assert!((view.beyond, view.confirmable) == (2, false), "what was approved is left out");
    }

    #[test]
    fn a_large_plan_is_cut_behind_what_needs_a_look() {
        let named = |number: usize| change(&format!("p{number:04}"), Some("1"), Some("2"));
        let changes: Vec<_> = (0..ROWS_MAX + 7).map(named).chain([change("zz", Some("1"), None)]).collect();
        let view = PlanView::of(&brought(Plan::of(changes), Some(SideEffect::OtherPackage))).unwrap();
        assert_eq!((view.rows.len(), view.more, view.rows[0].package.name.as_str()), (ROWS_MAX, 10, "zz"), "a removal, two missing");
    }
}
