//! The policy file: its keys, their defaults, and what they may say.

use super::{Policy, TIME_MAX, Window};
use glob::Pattern;
use redflag_core::{
    command::{
        payload::{ActionKind, Audience, SideEffect, SigningMode},
        verify::PinnedKey,
    },
    ids::Digest,
    limits,
    names::{Manager, Text},
};
use serde::Deserialize;
use std::{collections::BTreeSet, time::Duration};

const CLOCK_TOLERANCE_SECONDS_MAX: u64 = 600;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    users: Vec<String>,
    agent: Audience,
    #[serde(rename = "signer")]
    signers: Vec<Signer>,
    allow: Allow,
    #[serde(default)]
    deny: Deny,
    #[serde(default)]
    require: Require,
    #[serde(default)]
    limits: Limits,
    #[serde(default, rename = "window")]
    windows: Vec<Window>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signer {
    /// Whose key it is: keys of people under one name are one person's, and count once.
    name: Text,
    mode: SigningMode,
    /// 32 bytes in hexadecimal, as a digest has them.
    public_key: Digest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Allow {
    actions: BTreeSet<ActionKind>,
    #[serde(default)]
    managers: BTreeSet<Manager>,
    packages: Vec<String>,
    #[serde(default)]
    side_effects: BTreeSet<SideEffect>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Deny {
    #[serde(default)]
    packages: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Require {
    signatures: usize,
    approvals: usize,
}

impl Default for Require {
    fn default() -> Self {
        Self { signatures: 1, approvals: 1 }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Limits {
    minutes: u64,
    clock_tolerance_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { minutes: 60, clock_tolerance_seconds: 60 }
    }
}

/// Reads a policy; `user_id` knows the users of the host. The error says what is wrong and where.
pub(super) fn parse(text: &str, user_id: impl Fn(&str) -> Option<u32>) -> Result<Policy, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    let user = |name: &String| user_id(name).ok_or_else(|| format!("users: this host has no user {name:?}"));
    let signer = |(index, signer): (usize, &Signer)| {
        let key = PinnedKey::new(signer.public_key.as_bytes(), signer.mode);
        let key = key.map_err(|error| format!("signer {}: {error}", index + 1))?;
        Ok::<_, String>(match signer.mode {
            SigningMode::ServerSigns => key,
            SigningMode::OperatorSigns => key.held_by(signer.name.clone()),
        })
    };
    let signers = file.signers.iter().enumerate().map(signer).collect::<Result<Vec<_>, _>>()?;
    if let Some(action) = file.allow.actions.iter().find(|action| matches!(action, ActionKind::Rescan)) {
        return Err(format!("allow.actions: {action} is the agent's own business and needs no permission here"));
    }
    within("require.signatures", file.require.signatures, 1, PinnedKey::countable(&signers).min(limits::COMMAND_SIGNATURES_MAX))?;
    within("require.approvals", file.require.approvals, 0, limits::COMMAND_APPROVALS_MAX)?;
    within("limits.minutes", file.limits.minutes, 1, TIME_MAX.as_secs() / 60)?;
    within("limits.clock_tolerance_seconds", file.limits.clock_tolerance_seconds, 0, CLOCK_TOLERANCE_SECONDS_MAX)?;
    Ok(Policy {
        audience: file.agent,
        signers,
        signatures_min: file.require.signatures,
        approvals_min: file.require.approvals,
        users: file.users.iter().map(user).collect::<Result<_, _>>()?,
        clock_tolerance: Duration::from_secs(file.limits.clock_tolerance_seconds),
        time_max: Duration::from_mins(file.limits.minutes),
        actions: file.allow.actions,
        managers: file.allow.managers,
        side_effects: file.allow.side_effects,
        allowed: patterns("allow.packages", &file.allow.packages)?,
        denied: patterns("deny.packages", &file.deny.packages)?,
        windows: file.windows,
    })
}

fn within<T: PartialOrd + std::fmt::Display>(key: &str, value: T, min: T, max: T) -> Result<(), String> {
    if min <= value && value <= max { Ok(()) } else { Err(format!("{key}: {value} is not within {min} to {max}")) }
}

fn patterns(key: &str, texts: &[String]) -> Result<Vec<Pattern>, String> {
    texts.iter().map(|text| Pattern::new(text).map_err(|error| format!("{key}: {text:?}: {error}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    /// The example that `docs/executor.md` explains.
    const EXAMPLE: &str = include_str!("../../../systemd/executor.toml");

    fn read(text: &str) -> Result<Policy, String> {
        parse(text, |name| (name == "redflag-agent").then_some(990))
    }

    #[test]
    fn the_documented_example_is_a_policy() {
        let policy = read(EXAMPLE).unwrap();
        assert_eq!((policy.signers.len(), policy.signatures_min, policy.approvals_min), (1, 1, 1));
        assert_eq!(policy.users, BTreeSet::from([990]));
        assert_eq!((policy.time_max, policy.clock_tolerance), (Duration::from_hours(1), Duration::from_secs(60)));
        assert!(!policy.windows.is_empty() && policy.side_effects.is_empty() && !policy.denied.is_empty());
    }

    /// Keys of people under one name are one person's; keys of a server that is replacing its key are each its own.
    #[test]
    fn two_keys_of_one_person_cannot_make_two_signatures() {
        let block = |name: &str, mode: &str, key: [u8; 32]| {
            format!("\n[[signer]]\nname = {name:?}\nmode = {mode:?}\npublic_key = \"{}\"\n", Digest::from_bytes(key))
        };
        let keys = ["11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", "PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw="]
            .map(|key| <[u8; 32]>::try_from(STANDARD.decode(key).unwrap()).unwrap());
        let demanding = EXAMPLE.replacen("signatures = 1", "signatures = 2", 1);
        let two =
            |names: [&str; 2], mode| read(&format!("{demanding}{}{}", block(names[0], mode, keys[0]), block(names[1], mode, keys[1])));
        assert!(two(["ada", "ada"], "operator-signs").unwrap_err().contains("require.signatures"));
        assert_eq!(two(["ada", "grace"], "operator-signs").unwrap().signatures_min, 2);
        assert_eq!(two(["redflag.example", "redflag.example"], "server-signs").unwrap().signatures_min, 2);
    }

    #[test]
    fn what_no_policy_can_say_is_an_error_that_names_it() {
        let wrong = |from: &str, to: &str| {
            assert!(EXAMPLE.contains(from), "{from}");
            read(&EXAMPLE.replacen(from, to, 1)).unwrap_err()
        };
        let key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        assert!(wrong("users = [\"redflag-agent\"]", "users = [\"nobody-here\"]").contains("nobody-here"));
        assert!(wrong("[deny]", "[denied]").contains("denied"), "unknown keys are refused");
        assert!(wrong("\"install\"", "\"shell\"").contains("shell"));
        assert!(wrong("\"install\"", "\"rescan\"").contains("rescan"));
        assert!(wrong(key, &key[1..]).contains("SHA-256"), "too short");
        assert!(wrong(key, &format!("01{}", "00".repeat(31))).contains("signer 1"), "a weak key");
        assert!(wrong("signatures = 1", "signatures = 2").contains("require.signatures"), "more than there are signers");
        assert!(wrong("signatures = 1", "signatures = 0").contains("require.signatures"));
        assert!(wrong("minutes = 60", "minutes = 721").contains("limits.minutes"));
        assert!(wrong("clock_tolerance_seconds = 60", "clock_tolerance_seconds = 601").contains("clock_tolerance"));
        assert!(wrong("\"linux-image-*\"", "\"linux-***\"").contains("deny.packages"));
        assert!(wrong("from = \"22:00\"", "from = \"25:00\"").contains("25:00"));
    }
}
