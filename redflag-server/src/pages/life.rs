//! An update's life in words: its events as a timeline, and the versions that were installed.

use super::{
    batch_row::batch_href,
    command_row::command_href,
    text::{self, When},
};
use redflag_core::{
    event::{EventKind, RecordedEvent, Source},
    ids::{AgentId, CommandId, UpdateId},
    names::{Text, Version},
    offer::Offer,
    state::VersionChange,
    time::Timestamp,
    words::{IgnoreScope, VersionOutcome},
};

/// One event of a timeline.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) icon: &'static str,
    pub(crate) words: String,
    pub(crate) detail: Option<String>,
    pub(crate) actor: String,
    pub(crate) at: When,
    /// Where it comes from, in words, with the report's id and the batch behind it.
    pub(crate) source: &'static str,
    pub(crate) source_id: String,
    pub(crate) batch_href: String,
    /// The command of whose steps it tells.
    pub(crate) command_href: Option<String>,
}

/// One row of version history.
#[derive(Clone, Debug)]
pub(crate) struct HistoryRow {
    pub(crate) from: Option<Version>,
    pub(crate) to: Version,
    pub(crate) outcome: VersionOutcome,
    pub(crate) reason: Option<Text>,
    pub(crate) cause: String,
    /// The command behind it.
    pub(crate) cause_href: Option<String>,
    pub(crate) at: When,
}

/// The events, newest first.
pub(crate) fn timeline(id: &UpdateId, events: &[RecordedEvent], now: Timestamp) -> Vec<Entry> {
    let mut offer: Option<&Offer> = None;
    let mut entries: Vec<Entry> = events
        .iter()
        .map(|recorded| {
            let kind = &recorded.event.kind;
            let (icon, words, detail) = describe(kind, offer);
            offer = kind.offer().or(offer);
            Entry {
                icon,
                words,
                detail,
                actor: text::actor(&recorded.actor),
                at: When::seen_from(now, recorded.received_at),
                source: source(recorded.source),
                source_id: match recorded.source {
                    Source::Report { report_id } => report_id.to_string(),
                    Source::Command { command } => command.to_string(),
                    Source::Decision | Source::Submitted => recorded.batch.to_string(),
                },
                batch_href: batch_href(id.agent, recorded.batch),
                command_href: match recorded.source {
                    Source::Command { command } => Some(command_href(id.agent, command)),
                    Source::Report { .. } | Source::Decision | Source::Submitted => None,
                },
            }
        })
        .collect();
    entries.reverse();
    entries
}

/// The versions installed, newest first.
pub(crate) fn history(agent: AgentId, changes: &[VersionChange], now: Timestamp) -> Vec<HistoryRow> {
    let row = |change: &VersionChange| HistoryRow {
        from: change.from_version.clone(),
        to: change.to_version.clone(),
        outcome: change.outcome,
        reason: change.reason.clone(),
        cause: cause(change.command),
        cause_href: change.command.map(|command| command_href(agent, command)),
        at: When::seen_from(now, change.at),
    };
    changes.iter().rev().map(row).collect()
}

/// What brought a version about.
pub(crate) fn cause(command: Option<CommandId>) -> String {
    command.map_or_else(|| "installed outside RedFlag".to_owned(), |command| format!("command {command}"))
}

/// Where events come from, in words.
pub(crate) const fn source(source: Source) -> &'static str {
    match source {
        Source::Report { .. } => "report",
        Source::Decision => "decision",
        Source::Submitted => "submitted",
        Source::Command { .. } => "command",
    }
}

type Words = (&'static str, String, Option<String>);

fn describe(kind: &EventKind, before: Option<&Offer>) -> Words {
    let own_words = |words: &Option<Text>| words.as_ref().map(|words| format!("“{words}”"));
    match kind {
        EventKind::Discovered { offer } => {
            let installed =
                offer.installed.as_ref().map_or_else(|| "nothing installed".to_owned(), |version| format!("installed {version}"));
            ("dot", format!("Offered {}", offer.candidate.version), Some(installed))
        }
        EventKind::Revised { offer } => {
            let words = match before {
                Some(before) if before.candidate.version == offer.candidate.version => "The offer was revised".to_owned(),
                _ => format!("Offered {} instead", offer.candidate.version),
            };
            ("dot", words, changes(before, offer))
        }
        EventKind::Withdrawn { reason } => ("status-withdrawn", "Withdrawn".to_owned(), Some(text::spaced(reason.as_str()))),
        EventKind::InstalledObserved { version } => ("status-installed", format!("Seen installed: {version}"), None),
        EventKind::Approved { comment, .. } => ("status-approved", "Approved".to_owned(), own_words(comment)),
        EventKind::ApprovalWithdrawn { comment } => ("status-pending", "Approval withdrawn".to_owned(), own_words(comment)),
        EventKind::Ignored { scope, until, reason, .. } => {
            let what = if *scope == IgnoreScope::Package { "Package ignored" } else { "Version ignored" };
            let until = until.map(|until| format!("until {}", until.to_string().get(..10).unwrap_or_default()));
            let details: Vec<String> = until.into_iter().chain(own_words(reason)).collect();
            ("status-ignored", what.to_owned(), (!details.is_empty()).then(|| details.join(" · ")))
        }
        EventKind::Reopened { comment } => ("status-pending", "Reopened".to_owned(), own_words(comment)),
        EventKind::ReviewRequested { reason } => ("status-needs-review", "Needs a second look".to_owned(), Some(reason.to_string())),
        EventKind::InstallQueued { command } => ("status-queued", "Install queued".to_owned(), Some(format!("command {command}"))),
        EventKind::InstallStarted { command } => ("status-installing", "Install started".to_owned(), Some(format!("command {command}"))),
        EventKind::InstallSucceeded { command } => {
            ("status-installing", "The agent says it is installed".to_owned(), Some(format!("command {command}; the next scan proves it")))
        }
        EventKind::InstallFailed { reason, .. } => ("status-failed", "Install failed".to_owned(), Some(reason.to_string())),
        EventKind::InstallExpired { command } => ("status-failed", "The command expired".to_owned(), Some(format!("command {command}"))),
        EventKind::RolledBack { version, reason, .. } => {
            ("status-rolled-back", format!("Rolled back to {version}"), Some(reason.to_string()))
        }
        EventKind::Unknown { kind, body } => ("dot", format!("{kind} (from a newer version)"), Some(body.clone())),
    }
}

/// What differs from the offer before.
fn changes(before: Option<&Offer>, after: &Offer) -> Option<String> {
    let before = before?;
    let (old, new) = (&before.candidate, &after.candidate);
    let mut changes = Vec::new();
    let mut changed = |what: &str, from: String, to: String| {
        if from != to {
            changes.push(format!("{what}: {from} → {to}"));
        }
    };
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "none".to_owned());
    changed("version", old.version.to_string(), new.version.to_string());
    changed(
        "installed",
        or_none(before.installed.as_ref().map(ToString::to_string)),
        or_none(after.installed.as_ref().map(ToString::to_string)),
    );
    changed("severity", old.severity.to_string(), new.severity.to_string());
    changed("availability", text::spaced(before.availability.kind.as_str()), text::spaced(after.availability.kind.as_str()));
    changed("origin", or_none(old.origin.as_ref().map(ToString::to_string)), or_none(new.origin.as_ref().map(ToString::to_string)));
    (!changes.is_empty()).then(|| changes.join(" · "))
}
