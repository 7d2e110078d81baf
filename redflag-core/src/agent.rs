//! Agents: who they are, what they last said, and the one derived status that names its reason (clause R6).

use crate::{
    ids::{AgentId, Digest, ReportId},
    limits,
    names::{Manager, Text},
    time::{Day, Timestamp},
    words::{ScanResult, VersionOrder},
};
use serde::{Deserialize, Deserializer, Serialize, de};
use std::{collections::BTreeMap, time::Duration};

/// Everything the store keeps of an agent in one row, so that an unchanged report touches nothing else (clause R4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentHead {
    /// The agent.
    pub agent: AgentId,
    /// The name shown; the host's own at first.
    pub name: Text,
    /// The Ed25519 public key registered at enrolment.
    #[serde(with = "key_form")]
    pub public_key: [u8; 32],
    /// When it was enrolled.
    pub enrolled_at: Timestamp,
    /// Words that mark the agent, for example `simulated`; sorted, unique.
    pub tags: Vec<Text>,
    /// What the agent says of its host.
    pub host: HostFacts,
    /// When it last said anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_contact_at: Option<Timestamp>,
    /// Its newest report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_report: Option<LastReport>,
    /// What is known of each manager.
    pub scopes: BTreeMap<Manager, ScopeHead>,
    /// Events in its stream.
    pub events: u64,
    /// Batches in its stream.
    pub batches: u64,
    /// The highest counter given to one of its commands (clause C2).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub commands: u64,
    /// The start of its stream that retention has taken away.
    #[serde(default, skip_serializing_if = "Pruned::nothing")]
    pub pruned: Pruned,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// How much of the start of an agent's stream retention has taken away; its base states stand for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// Batches 1 to this.
    pub batches: u64,
    /// Events 1 to this.
    pub events: u64,
    /// The day on which the store received the last of them; base states count as opened then.
    pub day: Day,
}

impl Pruned {
    /// Whether the stream is whole.
    #[must_use]
    pub const fn nothing(&self) -> bool {
        self.batches == 0
    }
}

/// A public key in hexadecimal.
mod key_form {
    use crate::ids::Digest;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(key: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        Digest::from_bytes(*key).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        Digest::deserialize(deserializer).map(|key| *key.as_bytes())
    }
}

impl AgentHead {
    /// An agent as enrolment leaves it.
    #[must_use]
    pub fn enrolled(enrolment: &Enrolment) -> Self {
        let mut tags = enrolment.tags.clone();
        tags.sort();
        tags.dedup();
        Self {
            agent: enrolment.agent,
            name: enrolment.name.clone(),
            public_key: enrolment.public_key,
            enrolled_at: enrolment.enrolled_at,
            tags,
            host: HostFacts::default(),
            last_contact_at: None,
            last_report: None,
            scopes: BTreeMap::new(),
            events: 0,
            batches: 0,
            commands: 0,
            pruned: Pruned::default(),
        }
    }

    /// The newest time any manager was scanned, by the store's clock; none before the first scan.
    #[must_use]
    pub fn last_scan_at(&self) -> Option<Timestamp> {
        self.scopes.values().map(|scope| scope.received_at).max()
    }
}

/// What enrolment brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolment {
    /// The id given to the agent.
    pub agent: AgentId,
    /// The name shown.
    pub name: Text,
    /// The Ed25519 public key made on the host.
    pub public_key: [u8; 32],
    /// Words that mark the agent.
    pub tags: Vec<Text>,
    /// When.
    pub enrolled_at: Timestamp,
}

/// What an agent says of its host; data, never identity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostFacts {
    /// The host's own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<Text>,
    /// The operating system with its version, as it calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<Text>,
    /// The running kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<Text>,
    /// The machine's architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<Text>,
    /// The agent's own version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<Text>,
    /// What the host runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtualisation: Option<Virtualisation>,
    /// When the running kernel was started, by the host's clock. The same for as long as it runs, so that a report of an
    /// unchanged host stays one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub booted_at: Option<Timestamp>,
    /// Why the host must be restarted before its updates take effect, at most [`limits::REBOOT_REASONS_MAX`]; empty when it need
    /// not be, none when that is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "at_most::<{ limits::REBOOT_REASONS_MAX }, _>")]
    pub reboot_reasons: Option<Vec<Text>>,
    /// Services that still run code which an update has replaced, at most [`limits::SERVICES_MAX`]; none when that is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "at_most::<{ limits::SERVICES_MAX }, _>")]
    pub services_to_restart: Option<Vec<Text>>,
    /// A digest of the machine's id, which itself never leaves the host: two agents with the same one run on copies of one
    /// machine, or on one machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_digest: Option<Digest>,
}

/// What a host runs in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Virtualisation {
    /// The kind.
    pub kind: VirtualisationKind,
    /// The technology in the words of `systemd-detect-virt(1)`, for example `kvm` or `podman`, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub technology: Option<Text>,
}

crate::words::words! {
    /// Kinds of what a host runs in.
    "kind of virtualisation" VirtualisationKind {
        /// Nothing: the hardware is its own.
        Physical = "physical",
        /// A virtual machine.
        VirtualMachine = "virtual-machine",
        /// A container, which has no kernel of its own.
        Container = "container",
    }
}

/// Reads a list of at most `MAX` entries.
fn at_most<'de, const MAX: usize, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Text>>, D::Error> {
    let list = Option::<Vec<Text>>::deserialize(deserializer)?;
    match list.as_ref().map_or(0, Vec::len) {
        entries if entries > MAX => Err(de::Error::custom(format!("{entries} entries, more than the limit of {MAX}"))),
        _ => Ok(list),
    }
}

/// The newest report of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastReport {
    /// Its id.
    pub report_id: ReportId,
    /// The digest of its content.
    pub digest: Digest,
    /// Its number, which grows from report to report (clause R3).
    pub sequence: u64,
    /// When the store received it.
    pub received_at: Timestamp,
}

/// What is known of one manager on one agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScopeHead {
    /// How its versions are compared.
    pub version_order: VersionOrder,
    /// How the last scan ended.
    pub result: ScanResult,
    /// Why it failed or was partial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Text>,
    /// When it was scanned, by the agent's clock.
    pub scanned_at: Timestamp,
    /// When the store received it.
    pub received_at: Timestamp,
    /// When the store received the last complete scan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete_at: Option<Timestamp>,
    /// The digest both sides agree on; none when there is doubt, so that the next report brings everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// When the manager's metadata was last refreshed, by the agent's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_at: Option<Timestamp>,
    /// Why the last refresh of the metadata failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_error: Option<Text>,
    /// Offers in the last scan that said anything.
    pub offers: u64,
    /// Since when an implausible empty scan waits to be confirmed (clause R2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantined_at: Option<Timestamp>,
}

crate::words::words! {
    /// How an agent is doing.
    "agent status" AgentStatusWord {
        /// It reports as it should.
        Online = "online",
        /// It reports, but something needs a look: a scan failed, was partial or is quarantined, or a refresh failed.
        Degraded = "degraded",
        /// It has not been heard of for longer than it should.
        Offline = "offline",
        /// It has never reported.
        Unknown = "unknown",
    }
}

/// The derived status of an agent with its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AgentStatus {
    /// The word.
    pub status: AgentStatusWord,
    /// Why, in a few words for people.
    pub reason: String,
}

impl AgentStatus {
    /// The status of `head` at `now`, when an agent counts as offline after `offline_after` without contact.
    #[must_use]
    pub fn of(head: &AgentHead, now: Timestamp, offline_after: Duration) -> Self {
        let status = |status, reason: String| Self { status, reason };
        let Some(report) = &head.last_report else {
            return status(AgentStatusWord::Unknown, "has never reported".to_owned());
        };
        let contact_at = head.last_contact_at.unwrap_or(report.received_at);
        let silence = now.since(contact_at);
        if silence > offline_after {
            return status(AgentStatusWord::Offline, format!("no contact for {}", about(silence)));
        }
        match head.scopes.iter().find_map(|(manager, scope)| trouble(manager, scope)) {
            Some(reason) => status(AgentStatusWord::Degraded, reason),
            None => status(AgentStatusWord::Online, format!("reported {} ago", about(now.since(report.received_at)))),
        }
    }
}

fn trouble(manager: &Manager, scope: &ScopeHead) -> Option<String> {
    let because = |error: &Option<Text>| error.as_ref().map_or(String::new(), |error| format!(": {error}"));
    if scope.quarantined_at.is_some() {
        return Some(format!("{manager}: an implausible empty scan waits to be confirmed"));
    }
    match (scope.result, &scope.refresh_error) {
        (ScanResult::Failed, _) => Some(format!("{manager} scan failed{}", because(&scope.error))),
        (ScanResult::Partial, _) => Some(format!("{manager} scan was partial{}", because(&scope.error))),
        (ScanResult::Complete, Some(error)) => Some(format!("{manager} metadata could not be refreshed: {error}")),
        (ScanResult::Complete, None) => None,
    }
}

/// A duration in its largest whole unit: `45 s`, `3 min`, `2 h`, `5 days`.
#[must_use]
pub fn about(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3_600 => format!("{} min", seconds / 60),
        seconds @ 3_600..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}
