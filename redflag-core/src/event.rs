//! Events: immutable facts about one package key (clause S5).

use crate::{
    ids::{BatchId, CommandId, Digest, EventId, ReportId},
    limits,
    names::{PackageKey, Text, Version},
    offer::{Offer, OfferDigest, OfferInput},
    rejection::{Rejection, RejectionCode, quoted},
    time::Timestamp,
    words::{IgnoreScope, WithdrawalReason},
};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::value::RawValue;

/// What happened to a package key.
///
/// In JSON the kind stands in `kind`, the rest beside it. Kinds written by a newer version read back as
/// [`EventKind::Unknown`]; they keep their place in the log and change no state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum EventKind {
    /// An update is offered where none was open.
    Discovered {
        /// The offer.
        offer: Offer,
    },
    /// The open offer changed.
    Revised {
        /// The offer as it is now.
        offer: Offer,
    },
    /// The offer is gone, and not because it was installed.
    Withdrawn {
        /// Why.
        reason: WithdrawalReason,
    },
    /// A scan saw the offered version, or a newer one, installed (clause C4: this is the proof).
    InstalledObserved {
        /// The version installed.
        version: Version,
    },
    /// An operator approved exactly one offer.
    Approved {
        /// The offer the operator saw.
        offer_digest: OfferDigest,
        /// The operator's words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        comment: Option<Text>,
    },
    /// An operator took an approval back.
    ApprovalWithdrawn {
        /// The operator's words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        comment: Option<Text>,
    },
    /// An operator chose not to be asked.
    Ignored {
        /// The offer the operator saw.
        offer_digest: OfferDigest,
        /// This version or the whole package.
        scope: IgnoreScope,
        /// When it ends; the end itself is a `reopened` event by the system.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
        /// The operator's words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Text>,
    },
    /// An ignore, a failure or a review was put back to pending.
    Reopened {
        /// The operator's words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        comment: Option<Text>,
    },
    /// The plan goes beyond the allowed side effects; a second look is needed (clause A1).
    ReviewRequested {
        /// What the plan would do beyond the approval.
        reason: Text,
    },
    /// A command to install it was queued.
    InstallQueued {
        /// The command.
        command: CommandId,
    },
    /// The agent started the command.
    InstallStarted {
        /// The command.
        command: CommandId,
    },
    /// The agent claims success; the verifying scan is the proof.
    InstallSucceeded {
        /// The command.
        command: CommandId,
    },
    /// The command failed.
    InstallFailed {
        /// The command.
        command: CommandId,
        /// Why.
        reason: Text,
    },
    /// The command ended by itself, unexecuted.
    InstallExpired {
        /// The command.
        command: CommandId,
    },
    /// The install was undone.
    RolledBack {
        /// The command.
        command: CommandId,
        /// The version that runs again.
        version: Version,
        /// Why.
        reason: Text,
    },
    /// A kind this version does not know, as it was stored.
    #[serde(skip)]
    Unknown {
        /// Its word.
        kind: String,
        /// Its body, as JSON text.
        body: String,
    },
}

crate::words::words! {
    /// The word of an event kind, in the order of the transition table.
    "event kind" EventWord {
        /// [`EventKind::Discovered`].
        Discovered = "discovered",
        /// [`EventKind::Revised`].
        Revised = "revised",
        /// [`EventKind::Withdrawn`].
        Withdrawn = "withdrawn",
        /// [`EventKind::InstalledObserved`].
        InstalledObserved = "installed-observed",
        /// [`EventKind::Approved`].
        Approved = "approved",
        /// [`EventKind::ApprovalWithdrawn`].
        ApprovalWithdrawn = "approval-withdrawn",
        /// [`EventKind::Ignored`].
        Ignored = "ignored",
        /// [`EventKind::Reopened`].
        Reopened = "reopened",
        /// [`EventKind::ReviewRequested`].
        ReviewRequested = "review-requested",
        /// [`EventKind::InstallQueued`].
        InstallQueued = "install-queued",
        /// [`EventKind::InstallStarted`].
        InstallStarted = "install-started",
        /// [`EventKind::InstallSucceeded`].
        InstallSucceeded = "install-succeeded",
        /// [`EventKind::InstallFailed`].
        InstallFailed = "install-failed",
        /// [`EventKind::InstallExpired`].
        InstallExpired = "install-expired",
        /// [`EventKind::RolledBack`].
        RolledBack = "rolled-back",
    }
}

impl EventKind {
    /// The kind's word; none for an unknown kind.
    #[must_use]
    pub const fn word(&self) -> Option<EventWord> {
        Some(match self {
            Self::Discovered { .. } => EventWord::Discovered,
            Self::Revised { .. } => EventWord::Revised,
            Self::Withdrawn { .. } => EventWord::Withdrawn,
            Self::InstalledObserved { .. } => EventWord::InstalledObserved,
            Self::Approved { .. } => EventWord::Approved,
            Self::ApprovalWithdrawn { .. } => EventWord::ApprovalWithdrawn,
            Self::Ignored { .. } => EventWord::Ignored,
            Self::Reopened { .. } => EventWord::Reopened,
            Self::ReviewRequested { .. } => EventWord::ReviewRequested,
            Self::InstallQueued { .. } => EventWord::InstallQueued,
            Self::InstallStarted { .. } => EventWord::InstallStarted,
            Self::InstallSucceeded { .. } => EventWord::InstallSucceeded,
            Self::InstallFailed { .. } => EventWord::InstallFailed,
            Self::InstallExpired { .. } => EventWord::InstallExpired,
            Self::RolledBack { .. } => EventWord::RolledBack,
            Self::Unknown { .. } => return None,
        })
    }

    /// The kind's word as text, also for an unknown kind.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Unknown { kind, .. } => kind,
            known => known.word().map_or("unknown", EventWord::as_str),
        }
    }

    /// The offer of a `discovered` or `revised` event; stores keep it in columns, everything else in [`EventKind::to_json`].
    #[must_use]
    pub const fn offer(&self) -> Option<&Offer> {
        match self {
            Self::Discovered { offer } | Self::Revised { offer } => Some(offer),
            _ => None,
        }
    }

    /// The kind and its body as one JSON object.
    #[must_use]
    pub fn to_json(&self) -> String {
        match self {
            Self::Unknown { body, .. } => body.clone(),
            known => serde_json::to_string(known).expect("event kinds always serialise"),
        }
    }

    /// Reads what [`EventKind::to_json`] wrote. A kind this version does not know, or a body it cannot read, becomes
    /// [`EventKind::Unknown`] and keeps its text.
    #[must_use]
    pub fn from_json(json: &str) -> Self {
        #[derive(Deserialize)]
        struct Tag {
            kind: String,
        }
        serde_json::from_str(json).unwrap_or_else(|_| Self::Unknown {
            kind: serde_json::from_str::<Tag>(json).map_or_else(|_| "unreadable".to_owned(), |tag| tag.kind),
            body: json.to_owned(),
        })
    }
}

/// One checked event, before it has a place in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its id: chosen by the caller, or computed (clause B14).
    pub id: EventId,
    /// The package it is about.
    pub package: PackageKey,
    /// What happened.
    #[serde(with = "kind_form")]
    pub kind: EventKind,
    /// When it was observed, by the clock of whoever saw it; data only (clause B11).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<Timestamp>,
}

/// The form of a kind within an event: [`EventKind::to_json`], which also keeps the kinds of newer writers (clause S5).
mod kind_form {
    use super::EventKind;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, ser};
    use serde_json::value::RawValue;

    pub(super) fn serialize<S: Serializer>(kind: &EventKind, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(kind.to_json()).map_err(ser::Error::custom)?.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<EventKind, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(|kind| EventKind::from_json(kind.get()))
    }
}

impl Event {
    /// Digest over the whole content; equal ids with unequal digests are different events (clause B7).
    #[must_use]
    pub fn digest(&self) -> Digest {
        let head = serde_json::to_vec(&(&self.package, self.observed_at)).expect("keys always serialise");
        Digest::of("redflag event v1", &[&head, self.kind.to_json().as_bytes()])
    }
}

/// An event as a caller states it, unchecked: what embedders submit.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventInput {
    /// The event's id, chosen by the caller: the same id and content again is a duplicate, not a second event.
    pub event_id: EventId,
    /// The manager.
    pub package_type: String,
    /// What happened.
    pub change: ChangeInput,
    /// When it was observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<Timestamp>,
}

/// What happened, unchecked. Decisions and commands have their own units of work and do not come this way.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ChangeInput {
    /// An update is offered where none was open.
    Discovered(OfferInput),
    /// The open offer changed.
    Revised(OfferInput),
    /// The offer is gone.
    Withdrawn {
        /// The package's name.
        package_name: String,
        /// Its architecture.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        arch: Option<String>,
        /// Why, as a [`WithdrawalReason`] word.
        reason: String,
    },
    /// The offered version, or a newer one, was seen installed.
    InstalledObserved {
        /// The package's name.
        package_name: String,
        /// Its architecture.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        arch: Option<String>,
        /// The version installed.
        version: String,
    },
}

/// Read by hand: serde's tagged enums buffer their content, and the raw text of metadata, which is checked as it stands, would
/// be lost.
impl<'de> Deserialize<'de> for ChangeInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Withdrawn {
            package_name: String,
            #[serde(default)]
            arch: Option<String>,
            reason: String,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct InstalledObserved {
            package_name: String,
            #[serde(default)]
            arch: Option<String>,
            version: String,
        }
        fn read<'a, T: Deserialize<'a>, E: de::Error>(body: &'a str) -> Result<T, E> {
            serde_json::from_str(body).map_err(E::custom)
        }
        let Tagged { kind, body } = Tagged::deserialize(deserializer)?;
        match kind.as_str() {
            "discovered" => Ok(Self::Discovered(read(&body)?)),
            "revised" => Ok(Self::Revised(read(&body)?)),
            "withdrawn" => {
                let Withdrawn { package_name, arch, reason } = read(&body)?;
                Ok(Self::Withdrawn { package_name, arch, reason })
            }
            "installed-observed" => {
                let InstalledObserved { package_name, arch, version } = read(&body)?;
                Ok(Self::InstalledObserved { package_name, arch, version })
            }
            other => Err(de::Error::unknown_variant(other, &["discovered", "revised", "withdrawn", "installed-observed"])),
        }
    }
}

/// A JSON object taken apart: the text of its `kind`, and the object without it, untouched.
struct Tagged {
    kind: String,
    body: String,
}

impl<'de> Deserialize<'de> for Tagged {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> de::Visitor<'de> for Fields {
            type Value = Tagged;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object with a kind")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Tagged, A::Error> {
                let (mut kind, mut body) = (None, String::from("{"));
                while let Some(field) = map.next_key::<String>()? {
                    if field == "kind" {
                        if kind.replace(map.next_value()?).is_some() {
                            return Err(de::Error::duplicate_field("kind"));
                        }
                        continue;
                    }
                    let value: Box<RawValue> = map.next_value()?;
                    let separator = if body.len() > 1 { "," } else { "" };
                    let field = serde_json::to_string(&field).map_err(de::Error::custom)?;
                    body.extend([separator, &field, ":", value.get()]);
                }
                body.push('}');
                Ok(Tagged { kind: kind.ok_or_else(|| de::Error::missing_field("kind"))?, body })
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

/// Checks an event (clause B13: what passes, every backend can store).
///
/// # Errors
/// The first field outside its grammar or limits.
pub fn validate(input: &EventInput) -> Result<Event, Rejection> {
    let key = |name: &str, arch: &Option<String>| PackageKey::parse(&input.package_type, name, arch.as_deref());
    let (package, kind) = match &input.change {
        ChangeInput::Discovered(offer) => {
            let package = key(&offer.package_name, &offer.arch)?;
            let offer = offer.check(&package)?;
            (package, EventKind::Discovered { offer })
        }
        ChangeInput::Revised(offer) => {
            let package = key(&offer.package_name, &offer.arch)?;
            let offer = offer.check(&package)?;
            (package, EventKind::Revised { offer })
        }
        ChangeInput::Withdrawn { package_name, arch, reason } => {
            let unknown = |error: crate::words::UnknownWord| Rejection::new(RejectionCode::UnknownWord, "reason", error.to_string());
            (key(package_name, arch)?, EventKind::Withdrawn { reason: reason.parse().map_err(unknown)? })
        }
        ChangeInput::InstalledObserved { package_name, arch, version } => {
            let package = key(package_name, arch)?;
            let version = Version::parse_for(&package.manager, "version", version)?;
            (package, EventKind::InstalledObserved { version })
        }
    };
    Ok(Event { id: input.event_id, package, kind, observed_at: input.observed_at })
}

/// The part of a rejected fact or event that is kept for the operator: cut, with control characters escaped.
#[must_use]
pub fn excerpt(raw: &str) -> String {
    let cut = &raw[..raw.floor_char_boundary(limits::REJECTED_EXCERPT_BYTES_MAX)];
    let clean: String = cut.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect();
    if cut.len() < raw.len() { format!("{clean}… ({} bytes)", raw.len()) } else { clean }
}

/// Who caused a batch of events.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", content = "name", rename_all = "kebab-case")]
pub enum Actor {
    /// The agent itself.
    Agent,
    /// A person, by account name.
    Operator(Text),
    /// A part of the system.
    System(Text),
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Agent => f.write_str("agent"),
            Self::Operator(name) => write!(f, "operator {name}"),
            Self::System(part) => write!(f, "system {part}"),
        }
    }
}

/// Where a batch of events comes from (clause S2: the cause of every one of them).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Source {
    /// A report of the agent.
    Report {
        /// The report.
        report_id: ReportId,
    },
    /// A decision.
    Decision,
    /// A batch submitted by a caller.
    Submitted,
    /// A step of a command.
    Command {
        /// The command.
        command: CommandId,
    },
}

/// An event with its place in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedEvent {
    /// The event.
    pub event: Event,
    /// Its number in the agent's stream: 1..n without gap, in commit order.
    pub sequence: u64,
    /// Its number among the events of its package key: 1..n without gap (clause F3).
    pub revision: u64,
    /// The batch that brought it.
    pub batch: BatchId,
    /// Its index in that batch.
    pub index: u32,
    /// Who caused it.
    pub actor: Actor,
    /// Where it comes from.
    pub source: Source,
    /// When the store received it.
    pub received_at: Timestamp,
}

/// The rejection of an event whose kind this version does not know.
#[must_use]
pub fn unknown_kind(kind: &str) -> Rejection {
    Rejection::new(RejectionCode::UnknownKind, "kind", format!("unknown event kind {}", quoted(kind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_newer_writers_read_back_as_unknown_and_keep_their_text() {
        let json = r#"{"kind":"teleported","to":"moon"}"#;
        let kind = EventKind::from_json(json);
        assert_eq!((kind.as_str(), kind.to_json().as_str(), kind.word()), ("teleported", json, None));
    }

    #[test]
    fn kinds_round_trip() {
        let kind = EventKind::Ignored {
            offer_digest: OfferDigest(Digest::of("test", &[])),
            scope: IgnoreScope::Package,
            until: Some(Timestamp::EPOCH),
            reason: None,
        };
        assert_eq!(EventKind::from_json(&kind.to_json()), kind);
    }

    #[test]
    fn excerpts_are_cut_and_inert() {
        assert_eq!(excerpt("a\u{1b}[31m\0"), "a\\u{1b}[31m\\u{0}");
        assert!(excerpt(&"é".repeat(1_000)).ends_with("… (2000 bytes)"));
    }
}
