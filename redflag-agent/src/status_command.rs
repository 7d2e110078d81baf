//! `redflag-agent status`: who this agent is, what it last did, and what waits. Needs no lock, so it answers while `run` works.

use crate::{
    commands::{
        inbox::{Inbox, Kept},
        judge::unprepared,
    },
    home::AgentHome,
    host,
    identity::Identity,
    outbox::{Depth, Outbox},
    output::print,
    quarantine,
    signer::{PinnedSigner, Pins, ShownSigner},
    status::{CommandStatus, Status},
    trust_command::{FOLLOWED, policy_hint},
    witness::{Witnessed, witnessed},
};
use anyhow::Result;
use clap::Args;
use redflag_core::{
    command::payload::ActionKind,
    ids::{AgentId, CommandId, Digest},
    names::Text,
    signing,
    time::Timestamp,
};
use serde::Serialize;
use std::{path::Path, process::ExitCode};

/// Arguments of `redflag-agent status`.
#[derive(Args, Clone, Debug)]
pub struct StatusArguments {
    /// Print one JSON document instead of lines for people
    #[arg(long)]
    pub json: bool,
}

/// Who an agent is, as `--json` shows it.
#[derive(Serialize)]
pub(crate) struct Who {
    agent_id: AgentId,
    name: Text,
    server: String,
    key_fingerprint: String,
    /// The key's full name, by which commands and the executor's policy mean it.
    key_id: Digest,
    enrolled_at: Option<Timestamp>,
    /// The server's key that is pinned.
    signer: Option<ShownSigner>,
    /// The one that is pinned to come.
    next_signer: Option<ShownSigner>,
}

impl Who {
    pub(crate) fn of(identity: &Identity) -> Self {
        let (pins, shown) = (identity.pins.as_ref(), |signer: &PinnedSigner| signer.shown(identity.server.host()));
        Self {
            agent_id: identity.agent,
            name: identity.name.clone(),
            server: identity.server.to_string(),
            key_fingerprint: identity.fingerprint(),
            key_id: signing::key_id(&identity.public_key()),
            enrolled_at: identity.enrolled_at,
            signer: pins.map(|pins| shown(pins.current())),
            next_signer: pins.and_then(Pins::next).map(shown),
        }
    }
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    who: Who,
    outbox: Depth,
    commands_under_way: Vec<UnderWay>,
    quarantined: Vec<String>,
    /// What this host keeps of the server's audit log.
    audit_log: Option<Witnessed>,
    #[serde(flatten)]
    status: Status,
}

/// A command in the inbox.
#[derive(Serialize)]
struct UnderWay {
    id: CommandId,
    action: Option<ActionKind>,
    received_at: Timestamp,
    step: &'static str,
}

impl UnderWay {
    fn of(kept: &Kept) -> Self {
        Self { id: kept.id, action: kept.action, received_at: kept.received_at, step: kept.step.word() }
    }
}

/// Prints the status kept in `state_dir`.
///
/// # Errors
/// When there is no enrolled agent, its files cannot be read, or the output cannot be written.
pub fn run(state_dir: &Path, arguments: &StatusArguments) -> Result<ExitCode> {
    let home = AgentHome::existing(state_dir)?;
    let identity = Identity::enrolled(&home)?;
    let shown = Shown {
        who: Who::of(&identity),
        commands_under_way: Inbox::look(&home)?.iter().map(UnderWay::of).collect(),
        outbox: Outbox::depth_of(&home)?,
        quarantined: quarantine::quarantined(&home)?,
        audit_log: witnessed(&home)?,
        status: Status::read(&home),
    };
    print(&if arguments.json { serde_json::to_string_pretty(&shown)? } else { text(&shown, &identity) })?;
    Ok(ExitCode::SUCCESS)
}

fn text(shown: &Shown, identity: &Identity) -> String {
    let Shown { who, outbox, quarantined, status, .. } = shown;
    let Who { agent_id, name, server, key_fingerprint, .. } = who;
    let mut lines =
        vec![format!("agent        {name} ({agent_id})"), format!("server       {server}"), format!("key          {key_fingerprint}")];
    lines.extend(server_keys(shown, identity));
    lines.push(match &status.last_delivery {
        Some(last) => format!("last report  {} ({}, {} events)", last.at, last.status, last.events),
        None => "last report  none yet; run `redflag-agent report`".to_owned(),
    });
    lines.push(format!("outbox       {} reports wait, {} bytes", outbox.reports, outbox.bytes));
    lines.extend(host::notes(&status.host).into_iter().map(|note| format!("to do        {note}")));
    for scope in &status.scopes {
        let because = scope.error.as_ref().map_or(String::new(), |error| format!(": {error}"));
        let (updates, installable, at, result) = (scope.updates, scope.installable, scope.scanned_at, scope.result);
        lines.push(format!("{:<12} {updates} updates, {installable} installable; scan {result} at {at}{because}", scope.manager));
    }
    lines.extend(commands(shown));
    lines.extend(shown.audit_log.iter().map(audit_log));
    if let Some(trouble) = &status.trouble {
        lines.push(format!("trouble      {} ({})", trouble.message, trouble.at));
    }
    if !quarantined.is_empty() {
        lines.push(format!("quarantine   {}", quarantined.join(", ")));
    }
    lines.extend(identity.pins.iter().map(|pins| format!("\n{}", policy_hint(pins, identity.server.host()))));
    lines.join("\n")
}

fn audit_log(witnessed: &Witnessed) -> String {
    let Witnessed { key_fingerprint, checkpoint, entries, objection } = witnessed;
    match (objection, checkpoint, entries) {
        (Some((at, what)), ..) => format!("AUDIT LOG    not believed since {at}: {what}"),
        (None, Some(number), Some(entries)) => {
            format!("audit log    checkpoint {number} over {entries} entries, signed by {key_fingerprint}")
        }
        (None, ..) => format!("audit log    signed by {key_fingerprint}"),
    }
}

fn server_keys(shown: &Shown, identity: &Identity) -> Vec<String> {
    let Some(pins) = &identity.pins else { return vec!["server key   none is pinned".to_owned()] };
    let mut lines = vec![format!("server key   {} ({})", pins.current().fingerprint(), pins.current().mode())];
    lines.extend(pins.next().map(|next| format!("next key     {}: {FOLLOWED}", next.fingerprint())));
    lines.extend(unprepared(pins, shown.status.commands.next_key_id).map(|message| format!("to do        {message}")));
    lines
}

fn commands(shown: &Shown) -> Vec<String> {
    let CommandStatus { executor, last, held_up, trouble, .. } = &shown.status.commands;
    let what = |action: &Option<ActionKind>| action.map_or("command".to_owned(), |action| action.to_string());
    let mut lines = vec![match executor {
        Some(executor) => format!("commands     handed to the executor at {}", executor.display()),
        None => "commands     none are taken: this agent only observes".to_owned(),
    }];
    let under_way = shown.commands_under_way.iter();
    lines.extend(under_way.map(|kept| format!("under way    {} {} ({} {})", what(&kept.action), kept.id, kept.step, kept.received_at)));
    lines.extend(last.iter().map(|last| format!("last command {} {}: {} ({})", what(&last.action), last.id, last.end, last.at)));
    let troubles = held_up.iter().chain(trouble);
    lines.extend(troubles.map(|trouble| format!("trouble      {} ({})", trouble.message, trouble.at)));
    lines
}
