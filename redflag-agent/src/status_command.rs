//! `redflag-agent status`: who this agent is, what it last did, and what waits. Needs no lock, so it answers while `run` works.

use crate::{
    home::AgentHome,
    host,
    identity::Identity,
    outbox::{Depth, Outbox},
    output::print,
    quarantine,
    status::Status,
};
use anyhow::Result;
use clap::Args;
use redflag_core::{
    ids::{AgentId, Digest},
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

#[derive(Serialize)]
struct Shown {
    agent_id: AgentId,
    name: Text,
    server: String,
    key_fingerprint: String,
    /// The key's full name, by which commands and the executor's policy mean it.
    key_id: Digest,
    enrolled_at: Option<Timestamp>,
    outbox: Depth,
    quarantined: Vec<String>,
    #[serde(flatten)]
    status: Status,
}

/// Prints the status kept in `state_dir`.
///
/// # Errors
/// When there is no enrolled agent, its files cannot be read, or the output cannot be written.
pub fn run(state_dir: &Path, arguments: &StatusArguments) -> Result<ExitCode> {
    let home = AgentHome::existing(state_dir)?;
    let identity = Identity::enrolled(&home)?;
    let shown = Shown {
        agent_id: identity.agent,
        name: identity.name.clone(),
        server: identity.server.to_string(),
        key_fingerprint: identity.fingerprint(),
        key_id: signing::key_id(&identity.public_key()),
        enrolled_at: identity.enrolled_at,
        outbox: Outbox::depth_of(&home)?,
        quarantined: quarantine::quarantined(&home)?,
        status: Status::read(&home),
    };
    print(&if arguments.json { serde_json::to_string_pretty(&shown)? } else { text(&shown) })?;
    Ok(ExitCode::SUCCESS)
}

fn text(shown: &Shown) -> String {
    let Shown { agent_id, name, server, key_fingerprint, outbox, quarantined, status, .. } = shown;
    let mut lines =
        vec![format!("agent        {name} ({agent_id})"), format!("server       {server}"), format!("key          {key_fingerprint}")];
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
    if let Some(trouble) = &status.trouble {
        lines.push(format!("trouble      {} ({})", trouble.message, trouble.at));
    }
    if !quarantined.is_empty() {
        lines.push(format!("quarantine   {}", quarantined.join(", ")));
    }
    lines.join("\n")
}
