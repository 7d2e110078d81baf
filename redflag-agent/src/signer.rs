//! The server's keys that sign commands, as this host pinned them: the first told at enrolment, every other one by a person on this host.
//!
//! Beside the key in force the next one may be pinned beforehand. It comes into force by signing a command, and the old one is dropped
//! then for good: a rotation loses no command, and an old key that is stolen later is of no use.

use crate::error::{Error, Result};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use redflag_core::{
    command::{delivery::SignerBody, payload::SigningMode, verify::PinnedKey},
    ids::Digest,
    signing,
};
use serde::Serialize;
use std::iter;

/// A pinned key: a sound one, whatever it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedSigner {
    public_key: [u8; 32],
    mode: SigningMode,
    key: PinnedKey,
}

/// A pinned key as `--json` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShownSigner {
    /// Whose keys sign commands.
    pub mode: SigningMode,
    /// For people to compare with what the server shows.
    pub fingerprint: String,
    /// The key's full name.
    pub key_id: Digest,
    /// Its 32 bytes, in base64.
    pub public_key: String,
    /// What root adds to the executor's policy for it; nothing where keys of people sign, because the server's commands nothing then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

/// The keys that are pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins {
    current: PinnedSigner,
    next: Option<PinnedSigner>,
}

impl Pins {
    /// One key, and none to come.
    #[must_use]
    pub const fn only(current: PinnedSigner) -> Self {
        Self { current, next: None }
    }

    /// The same, with `next` as the key to come.
    ///
    /// # Errors
    /// When it is the key in force, or keys of people sign: those are the executor's affair, and there is nothing to follow.
    pub fn with_next(self, next: PinnedSigner) -> Result<Self> {
        if [&self.current, &next].iter().any(|signer| signer.mode == SigningMode::OperatorSigns) {
            let message = "where keys of people sign, no next key is pinned: run `redflag-agent trust-server-key KEY` after the rotation";
            return Err(Error::invalid(message));
        }
        if self.current.key_id() == next.key_id() {
            return Err(Error::invalid(format!("the key {} is in force, and cannot be the next one too", next.fingerprint())));
        }
        Ok(Self { next: Some(next), ..self })
    }

    /// The key in force.
    #[must_use]
    pub const fn current(&self) -> &PinnedSigner {
        &self.current
    }

    /// The key to come, where one is pinned.
    #[must_use]
    pub const fn next(&self) -> Option<&PinnedSigner> {
        self.next.as_ref()
    }

    /// Both.
    pub fn all(&self) -> impl Iterator<Item = &PinnedSigner> {
        iter::once(&self.current).chain(&self.next)
    }

    /// What root adds to the executor's policy for all of them, under `name`; empty where keys of people sign.
    #[must_use]
    pub fn policy_blocks(&self, name: &str) -> String {
        self.all().filter_map(|signer| signer.policy_block(name)).collect::<Vec<_>>().join("\n\n")
    }
}

impl PinnedSigner {
    /// The key whose 32 bytes `public_key` holds in base64.
    ///
    /// # Errors
    /// When it is no base64 of 32 bytes, or no Ed25519 key whose signatures prove anything.
    pub fn parse(public_key: &str, mode: SigningMode) -> Result<Self> {
        let invalid = |why: String| Error::invalid(format!("the key {public_key:?} cannot be pinned: {why}"));
        let bytes = STANDARD.decode(public_key.trim()).map_err(|error| invalid(format!("not base64: {error}")))?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|bytes: Vec<u8>| invalid(format!("{} bytes, and a key has 32", bytes.len())))?;
        let key = PinnedKey::new(&bytes, mode).map_err(|error| invalid(error.to_string()))?;
        Ok(Self { public_key: bytes, mode, key })
    }

    /// The key a server or a file names.
    ///
    /// # Errors
    /// As [`PinnedSigner::parse`], and when its id is another key's.
    pub fn from_body(body: &SignerBody) -> Result<Self> {
        let signer = Self::parse(&body.public_key, body.mode)?;
        if signer.key_id() != body.key_id {
            let message = format!("the key {:?} has the id {}, not {}", body.public_key, signer.key_id(), body.key_id);
            return Err(Error::invalid(message));
        }
        Ok(signer)
    }

    /// As it is kept.
    #[must_use]
    pub fn to_body(&self) -> SignerBody {
        SignerBody { mode: self.mode, key_id: self.key_id(), public_key: STANDARD.encode(self.public_key) }
    }

    /// As it is shown to programs, with the lines of the policy under `name`.
    #[must_use]
    pub fn shown(&self, name: &str) -> ShownSigner {
        let SignerBody { mode, key_id, public_key } = self.to_body();
        ShownSigner { mode, fingerprint: self.fingerprint(), key_id, public_key, policy: self.policy_block(name) }
    }

    /// Whose keys sign commands.
    #[must_use]
    pub const fn mode(&self) -> SigningMode {
        self.mode
    }

    /// Its [`signing::key_id`].
    #[must_use]
    pub const fn key_id(&self) -> Digest {
        self.key.id()
    }

    /// Its [`signing::fingerprint`].
    #[must_use]
    pub fn fingerprint(&self) -> String {
        signing::fingerprint(&self.public_key)
    }

    /// The key that envelopes are held against.
    pub(crate) const fn key(&self) -> &PinnedKey {
        &self.key
    }

    /// What root adds to the executor's policy to let this key command the host, under `name`. None where keys of people sign: with the
    /// server's key in the policy a taken server could command the host.
    #[must_use]
    pub fn policy_block(&self, name: &str) -> Option<String> {
        let public_key = Digest::from_bytes(self.public_key);
        let block = || format!("[[signer]]\nname = {name:?}\nmode = \"{}\"\npublic_key = \"{public_key}\"", self.mode);
        (self.mode == SigningMode::ServerSigns).then(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::policy::Policy;

    /// Of RFC 8032, section 7.1, test 1: the one in the example of a policy.
    const KEY: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    /// Of test 2.
    const NEXT: &str = "PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=";

    #[test]
    fn a_key_reads_back_and_one_that_proves_nothing_is_refused() {
        let signer = PinnedSigner::parse(KEY, SigningMode::ServerSigns).unwrap();
        assert_eq!(PinnedSigner::from_body(&signer.to_body()).unwrap(), signer);
        assert_eq!(signer.shown("x").public_key, KEY);
        let weak = STANDARD.encode([0; 32]);
        for bad in ["", "x", "AAAA", &KEY[..40], &weak] {
            assert!(PinnedSigner::parse(bad, SigningMode::ServerSigns).is_err(), "{bad}");
        }
        let other = SignerBody { key_id: signing::key_id(&[1; 32]), ..signer.to_body() };
        assert!(PinnedSigner::from_body(&other).unwrap_err().to_string().contains("has the id"));
    }

    #[test]
    fn a_next_key_is_another_one_of_the_server() {
        let key = |text, mode| PinnedSigner::parse(text, mode).unwrap();
        let pins = Pins::only(key(KEY, SigningMode::ServerSigns));
        let both = pins.clone().with_next(key(NEXT, SigningMode::ServerSigns)).unwrap();
        assert_eq!(both.all().map(PinnedSigner::fingerprint).collect::<std::collections::BTreeSet<_>>().len(), 2);
        assert!(pins.clone().with_next(pins.current().clone()).unwrap_err().to_string().contains("in force"));
        let people = Pins::only(key(KEY, SigningMode::OperatorSigns));
        for (pins, next) in [(people, SigningMode::OperatorSigns), (pins, SigningMode::OperatorSigns)] {
            assert!(pins.with_next(key(NEXT, next)).unwrap_err().to_string().contains("keys of people"));
        }
    }

    #[test]
    fn the_lines_for_the_policy_are_those_a_policy_reads() {
        let signer = |key| PinnedSigner::parse(key, SigningMode::ServerSigns).unwrap();
        let pins = Pins::only(signer(KEY)).with_next(signer(NEXT)).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("executor.toml");
        let example = include_str!("../systemd/executor.toml").replace("users = [\"redflag-agent\"]", "users = [\"root\"]");
        let block = pins.current().policy_block("redflag.example").unwrap();
        assert!(example.contains(&block), "{block}");
        for policy in [
            example.replace(&block, &pins.policy_blocks("redflag.example")),
            format!("{example}\n{}\n", signer(NEXT).policy_block("x").unwrap()),
        ] {
            std::fs::write(&path, policy).unwrap();
            assert_eq!(Policy::read(&path).unwrap().signers, [signer(KEY).key().clone(), signer(NEXT).key().clone()]);
        }
        let people = PinnedSigner::parse(KEY, SigningMode::OperatorSigns).unwrap();
        assert_eq!(people.shown("x").policy, None, "the server's key is not offered where people sign");
        assert_eq!(Pins::only(people).policy_blocks("x"), "");
    }
}
