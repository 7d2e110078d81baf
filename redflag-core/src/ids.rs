//! Identities. Core makes none at random: they come in as values or are computed from what they name (clause B14).

use crate::names::{Arch, Manager, PackageKey, PackageName};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};
use std::{borrow::Cow, fmt, str::FromStr};
use uuid::Uuid;

/// A text that is no id of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not {kind}: {value:?}")]
pub struct InvalidId {
    kind: &'static str,
    value: String,
}

impl InvalidId {
    fn new(kind: &'static str, value: &str) -> Self {
        Self { kind, value: value.chars().take(64).collect() }
    }
}

macro_rules! uuid_ids {
    ($($(#[$meta:meta])* $kind:literal $name:ident;)+) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// The id with this UUID.
            ///
            /// # Errors
            /// For the nil UUID.
            pub fn from_uuid(uuid: Uuid) -> Result<Self, InvalidId> {
                if uuid.is_nil() { Err(InvalidId::new($kind, "the nil UUID")) } else { Ok(Self(uuid)) }
            }

            /// The UUID.
            #[must_use]
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let uuid = text.parse().map_err(|_| InvalidId::new($kind, text))?;
                Self::from_uuid(uuid)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )+};
}

uuid_ids! {
    /// One enrolled host.
    "an agent id" AgentId;
    /// One batch; scoped to its agent.
    "a batch id" BatchId;
    /// One report; scoped to its agent.
    "a report id" ReportId;
    /// One event; scoped to its agent.
    "an event id" EventId;
    /// One command.
    "a command id" CommandId;
    /// One bulk decision over many agents.
    "an operation id" OperationId;
}

fn derived(domain: &str, agent: AgentId, name: &[u8], ordinal: u64) -> Uuid {
    let mut hash = Sha256::new();
    hash.update(domain.as_bytes());
    hash.update([0]);
    hash.update(agent.as_uuid().as_bytes());
    hash.update(name);
    hash.update(ordinal.to_be_bytes());
    let digest = hash.finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

impl BatchId {
    /// The id of batch `index` of a report (clause R1a), the same at every try.
    #[must_use]
    pub fn of_report(agent: AgentId, report: ReportId, index: u32) -> Self {
        Self(derived("redflag batch of report", agent, report.as_uuid().as_bytes(), u64::from(index)))
    }

    /// The id of the batch with this number of an agent's stream, when it is the end of ignores.
    #[must_use]
    pub fn of_ended_ignores(agent: AgentId, number: u64) -> Self {
        Self(derived("redflag batch of ended ignores", agent, &[], number))
    }

    /// The id of batch `index` of an agent's part of a bulk decision (clause S2), the same at every try.
    #[must_use]
    pub fn of_operation(agent: AgentId, operation: OperationId, index: u32) -> Self {
        Self(derived("redflag batch of operation", agent, operation.as_uuid().as_bytes(), u64::from(index)))
    }
}

impl EventId {
    /// The id of event `ordinal` of a report (clauses R3 and B14), the same at every try; computed, not stored.
    #[must_use]
    pub fn of_report(agent: AgentId, report: ReportId, ordinal: u64) -> Self {
        // The domain is so short that all of it is one block of SHA-256: a report makes thousands of these.
        Self(derived("report's event", agent, report.as_uuid().as_bytes(), ordinal))
    }

    /// The id of event `index` of a decision's batch.
    #[must_use]
    pub fn of_batch(agent: AgentId, batch: BatchId, index: u32) -> Self {
        Self(derived("redflag event of batch", agent, batch.as_uuid().as_bytes(), u64::from(index)))
    }
}

impl BatchId {
    /// The id of the batch of events that one revision of a command brought.
    #[must_use]
    pub fn of_command(agent: AgentId, command: CommandId, revision: u64) -> Self {
        Self(derived("redflag batch of command", agent, command.as_uuid().as_bytes(), revision))
    }
}

impl CommandId {
    /// The id of a plan of what was approved, by a digest of the approvals.
    #[must_use]
    pub fn of_approvals(agent: AgentId, approvals: &Digest) -> Self {
        Self(derived("redflag command of approvals", agent, approvals.as_bytes(), 0))
    }

    /// The id of the installation that follows from a plan.
    #[must_use]
    pub fn of_plan(agent: AgentId, plan: Self) -> Self {
        Self(derived("redflag command of plan", agent, plan.as_uuid().as_bytes(), 0))
    }
}

impl ReportId {
    /// A report id computed from a digest, for reports that bring none of their own (clause R4b).
    #[must_use]
    pub fn of_digest(agent: AgentId, digest: &Digest) -> Self {
        Self(derived("redflag report of digest", agent, digest.as_bytes(), 0))
    }
}

/// A SHA-256 digest; 64 lower-case hexadecimal digits in text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `parts`, one after the other, in the named domain.
    #[must_use]
    pub fn of(domain: &str, parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        hash.update(domain.as_bytes());
        hash.update([0]);
        for part in parts {
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    /// The digest with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for Digest {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId::new("a SHA-256 digest in lower-case hexadecimal", text);
        let nibble = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut bytes = [0; 32];
        if text.len() != 64 {
            return Err(invalid());
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = nibble(pair[0]).ok_or_else(invalid)? << 4 | nibble(pair[1]).ok_or_else(invalid)?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The public id of an update: an opaque text that names an agent and a package key (clause B14), safe in URLs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpdateId {
    /// The agent.
    pub agent: AgentId,
    /// The package on it.
    pub package: PackageKey,
}

impl fmt::Display for UpdateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.agent.as_uuid().as_bytes().to_vec();
        for part in [self.package.manager.as_str(), self.package.name.as_str(), self.package.arch_text()] {
            bytes.extend_from_slice(part.as_bytes());
            bytes.push(0);
        }
        bytes.pop();
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for UpdateId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let parse = || {
            let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
            let (agent, package) = bytes.split_at_checked(16)?;
            let mut parts = std::str::from_utf8(package).ok()?.split('\0');
            let (manager, name, arch) = (parts.next()?, parts.next()?, parts.next()?);
            let package = PackageKey {
                manager: Manager::parse(manager).ok()?,
                name: PackageName::parse(name).ok()?,
                arch: if arch.is_empty() { None } else { Some(Arch::parse(arch).ok()?) },
            };
            let agent = AgentId::from_uuid(Uuid::from_slice(agent).ok()?).ok()?;
            parts.next().is_none().then_some(Self { agent, package })
        };
        parse().ok_or_else(|| InvalidId::new("an update id", text))
    }
}

impl Serialize for UpdateId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UpdateId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn update_ids_round_trip_and_refuse_everything_else() {
        let agent: AgentId = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3".parse().unwrap();
        for package in
            [PackageKey::parse("apt", "g++", Some("amd64")).unwrap(), PackageKey::parse("docker", "host:5000/a/b:1", None).unwrap()]
        {
            let id = UpdateId { agent, package };
            assert_eq!(id.to_string().parse::<UpdateId>().unwrap(), id);
        }
        for text in ["", "x", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "../../etc/passwd"] {
            assert!(text.parse::<UpdateId>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn nil_ids_are_refused_and_derived_ids_differ_by_every_part() {
        assert!("00000000-0000-0000-0000-000000000000".parse::<AgentId>().is_err());
        let agent: AgentId = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3".parse().unwrap();
        let report: ReportId = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b4".parse().unwrap();
        assert_eq!(EventId::of_report(agent, report, 1), EventId::of_report(agent, report, 1));
        assert_ne!(EventId::of_report(agent, report, 1), EventId::of_report(agent, report, 2));
        assert_ne!(EventId::of_report(agent, report, 1).as_uuid(), BatchId::of_report(agent, report, 1).as_uuid());
    }

    #[test]
    fn digests_read_only_lower_case_hexadecimal() {
        let digest = Digest::of("test", &[b"a"]);
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        assert!(digest.to_string().to_uppercase().parse::<Digest>().is_err());
        assert!("é".repeat(32).parse::<Digest>().is_err());
    }
}
