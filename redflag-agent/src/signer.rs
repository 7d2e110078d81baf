//! The server's key that signs commands, as this host pinned it: told at enrolment, and changed afterwards only by a person on this host.

use crate::error::{Error, Result};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use redflag_core::{
    command::{delivery::SignerBody, payload::SigningMode, verify::PinnedKey},
    ids::Digest,
    signing,
};
use serde::Serialize;

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

    /// As it is shown to programs.
    #[must_use]
    pub fn shown(&self) -> ShownSigner {
        let SignerBody { mode, key_id, public_key } = self.to_body();
        ShownSigner { mode, fingerprint: self.fingerprint(), key_id, public_key }
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

    /// What root adds to the executor's policy to let this key command the host, under `name`.
    #[must_use]
    pub fn policy_block(&self, name: &str) -> String {
        let public_key = Digest::from_bytes(self.public_key);
        format!("[[signer]]\nname = {name:?}\nmode = \"{}\"\npublic_key = \"{public_key}\"", self.mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::policy::Policy;

    /// Of RFC 8032, section 7.1, test 1: the one in the example of a policy.
    const KEY: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

    #[test]
    fn a_key_reads_back_and_one_that_proves_nothing_is_refused() {
        let signer = PinnedSigner::parse(KEY, SigningMode::ServerSigns).unwrap();
        assert_eq!(PinnedSigner::from_body(&signer.to_body()).unwrap(), signer);
        assert_eq!(signer.shown().public_key, KEY);
        let weak = STANDARD.encode([0; 32]);
        for bad in ["", "x", "AAAA", &KEY[..40], &weak] {
            assert!(PinnedSigner::parse(bad, SigningMode::ServerSigns).is_err(), "{bad}");
        }
        let other = SignerBody { key_id: signing::key_id(&[1; 32]), ..signer.to_body() };
        assert!(PinnedSigner::from_body(&other).unwrap_err().to_string().contains("has the id"));
    }

    #[test]
    fn the_lines_for_the_policy_are_those_a_policy_reads() {
        let signer = PinnedSigner::parse(KEY, SigningMode::ServerSigns).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("executor.toml");
        let example = include_str!("../systemd/executor.toml").replace("users = [\"redflag-agent\"]", "users = [\"root\"]");
        let block = signer.policy_block("redflag.example");
        assert!(example.contains(&block), "{block}");
        std::fs::write(&path, example).unwrap();
        assert_eq!(Policy::read(&path).unwrap().signers, [signer.key().clone()]);
    }
}
