//! Who the agent is: its id, its server, and the Ed25519 key made on this host, which never leaves it.
//!
//! Id and key are on disk before the first enrolment request leaves, so that a lost answer is answered by asking again with the
//! same ones.

use crate::{
    clock, durable,
    error::{Error, Result},
    home::AgentHome,
    server::{PlainHttp, ServerUrl, TrustedCertificates},
    signer::{PinnedSigner, Pins},
};
use ed25519_dalek::SigningKey;
use redflag_core::{
    command::{delivery::SignerBody, payload::Audience},
    ids::AgentId,
    names::Text,
    signing,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::{fmt, os::unix::fs::PermissionsExt as _};

const IDENTITY: &str = "agent.json";
const KEY: &str = "key";

/// An agent as it is known to itself.
#[derive(Clone)]
pub struct Identity {
    /// Its id.
    pub agent: AgentId,
    /// The name shown; after enrolment the one the server keeps.
    pub name: Text,
    /// Its server.
    pub server: ServerUrl,
    /// When the server enrolled it, by this host's clock; none while enrolment is under way.
    pub enrolled_at: Option<Timestamp>,
    /// The server's keys that may sign commands to it; none where the server named none.
    pub pins: Option<Pins>,
    pub(crate) key: SigningKey,
}

/// What `agent.json` holds.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    agent_id: AgentId,
    name: Text,
    server: String,
    plain_http: PlainHttp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trusted_certificates: Option<TrustedCertificates>,
    enrolled_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signer: Option<SignerBody>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next_signer: Option<SignerBody>,
}

impl Identity {
    /// A new identity with a key made here.
    #[must_use]
    pub fn new(server: ServerUrl, name: Text) -> Self {
        let agent = AgentId::from_uuid(clock::new_uuid()).expect("a version 7 UUID is not nil");
        Self { agent, name, server, enrolled_at: None, pins: None, key: SigningKey::from_bytes(&clock::random_bytes()) }
    }

    /// The public half of the key.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    /// To whom commands to it are.
    #[must_use]
    pub fn audience(&self) -> Audience {
        Audience { agent: self.agent, key_id: signing::key_id(&self.public_key()) }
    }

    /// A short name of the public key for people to compare with what the server shows.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        signing::fingerprint(&self.public_key())
    }

    /// Reads the identity kept in `home`, enrolled or not; none when there is none.
    ///
    /// # Errors
    /// When a file is damaged, or the key may be read by others.
    pub fn read(home: &AgentHome) -> Result<Option<Self>> {
        let path = home.file(IDENTITY);
        let Some(stored) = durable::read_json::<Stored>(&path)? else { return Ok(None) };
        let server = ServerUrl::parse(&stored.server, stored.plain_http)
            .map_err(|error| Error::damaged(&path, format!("its server is not usable: {error}")))?
            .trusting(stored.trusted_certificates.clone());
        let pins = pinned(home, &stored)?;
        let key = read_key(home)?;
        Ok(Some(Self { agent: stored.agent_id, name: stored.name, server, enrolled_at: stored.enrolled_at, pins, key }))
    }

    /// The server's keys as they are pinned in `home` now: a person may pin others while the agent runs.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn read_pins(home: &AgentHome) -> Result<Option<Pins>> {
        let stored = durable::read_json::<Stored>(&home.file(IDENTITY))?;
        stored.map_or(Ok(None), |stored| pinned(home, &stored))
    }

    /// Changes what is pinned in `home` to what `change` makes of it, durably, and answers what was pinned before and what is now.
    ///
    /// # Errors
    /// That of `change`, and when there is no enrolled agent or its files cannot be used.
    pub(crate) fn change_pins(home: &AgentHome, change: impl FnOnce(Option<Pins>) -> Result<Pins>) -> Result<(Option<Pins>, Pins)> {
        let _alone = home.lock_pins()?;
        let identity = Self::enrolled(home)?;
        let before = identity.pins.clone();
        let pins = change(before.clone())?;
        if before.as_ref() != Some(&pins) {
            Self { pins: Some(pins.clone()), ..identity }.write_without_key(home)?;
        }
        Ok((before, pins))
    }

    /// Makes the key to come the only one, because it has signed a command. What a person has pinned meanwhile stays.
    ///
    /// # Errors
    /// When that could not be made durable; the command must not be handed over then.
    pub(crate) fn follow(home: &AgentHome, next: &PinnedSigner) -> Result<()> {
        Self::change_pins(home, |pins| match pins {
            Some(pins) if pins.next() == Some(next) => Ok(Pins::only(next.clone())),
            Some(pins) => Ok(pins),
            None => Err(Error::invalid("no key of the server is pinned any more")),
        })
        .map(drop)
    }

    /// Reads the identity of an enrolled agent.
    ///
    /// # Errors
    /// As [`Identity::read`], and [`Error::NotEnrolled`].
    pub fn enrolled(home: &AgentHome) -> Result<Self> {
        let identity = Self::read(home)?.filter(|identity| identity.enrolled_at.is_some());
        identity.ok_or_else(|| Error::NotEnrolled { path: home.path().to_owned() })
    }

    /// Writes the identity durably: the key first, because an identity without its key is lost.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn write(&self, home: &AgentHome) -> Result<()> {
        durable::replace(&home.file(KEY), &self.key.to_bytes())?;
        self.write_without_key(home)
    }

    /// Writes all but the key, as of an identity that was read.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write_without_key(&self, home: &AgentHome) -> Result<()> {
        let stored = Stored {
            agent_id: self.agent,
            name: self.name.clone(),
            server: self.server.as_str().to_owned(),
            plain_http: self.server.plain_http(),
            trusted_certificates: self.server.trusted().cloned(),
            enrolled_at: self.enrolled_at,
            signer: self.pins.as_ref().map(|pins| pins.current().to_body()),
            next_signer: self.pins.as_ref().and_then(Pins::next).map(PinnedSigner::to_body),
        };
        durable::replace_json(&home.file(IDENTITY), &stored)
    }
}

/// The key is not shown, not even in a log.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { agent, name, server, enrolled_at, pins, key: _ } = self;
        f.debug_struct("Identity")
            .field("agent", agent)
            .field("name", name)
            .field("server", server)
            .field("enrolled_at", enrolled_at)
            .field("pins", pins)
            .finish_non_exhaustive()
    }
}

fn pinned(home: &AgentHome, stored: &Stored) -> Result<Option<Pins>> {
    let pins = || match (&stored.signer, &stored.next_signer) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(Error::invalid("a next one without one in force")),
        (Some(signer), None) => PinnedSigner::from_body(signer).map(Pins::only).map(Some),
        (Some(signer), Some(next)) => Pins::only(PinnedSigner::from_body(signer)?).with_next(PinnedSigner::from_body(next)?).map(Some),
    };
    pins().map_err(|error| Error::damaged(home.file(IDENTITY), format!("its signer is not usable: {error}")))
}

fn read_key(home: &AgentHome) -> Result<SigningKey> {
    let path = home.file(KEY);
    let metadata = std::fs::symlink_metadata(&path).map_err(Error::state("read", &path))?;
    if !metadata.is_file() {
        return Err(Error::damaged(path, "the agent's key must be a plain file; enrol anew in another state directory"));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let message = format!("others may read the agent's key (mode {mode:o}): treat it as known to them and enrol anew");
        return Err(Error::damaged(path, message));
    }
    let bytes = std::fs::read(&path).map_err(Error::state("read", &path))?;
    let bytes: [u8; 32] = bytes.try_into().map_err(|bytes: Vec<u8>| {
        Error::damaged(&path, format!("{} bytes, and a key has 32; enrol anew in another state directory", bytes.len()))
    })?;
    Ok(SigningKey::from_bytes(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use redflag_core::command::payload::SigningMode;

    fn home() -> (tempfile::TempDir, AgentHome) {
        let directory = tempfile::tempdir().unwrap();
        let home = AgentHome::open(directory.path().join("state")).unwrap();
        (directory, home)
    }

    fn identity() -> Identity {
        let server = ServerUrl::parse("http://127.0.0.1:8080", PlainHttp::LoopbackOnly).unwrap();
        Identity::new(server, Text::lossy("web-01"))
    }

    #[test]
    fn an_identity_reads_back_and_its_key_is_private() {
        let (_directory, home) = home();
        assert!(Identity::read(&home).unwrap().is_none());
        let identity = identity();
        identity.write(&home).unwrap();
        let again = Identity::read(&home).unwrap().unwrap();
        assert_eq!((again.agent, again.public_key(), again.name), (identity.agent, identity.public_key(), identity.name.clone()));
        assert!(matches!(Identity::enrolled(&home), Err(Error::NotEnrolled { .. })));
        assert!(!format!("{identity:?}").contains("key"));
    }

    #[test]
    fn a_file_without_a_signer_reads_and_an_unsound_signer_is_refused() {
        let (_directory, home) = home();
        let key = STANDARD.encode(SigningKey::from_bytes(&[1; 32]).verifying_key().to_bytes());
        let signer = PinnedSigner::parse(&key, SigningMode::ServerSigns).unwrap();
        let pins = Some(Pins::only(signer));
        Identity { pins: pins.clone(), ..identity() }.write(&home).unwrap();
        assert_eq!(Identity::read(&home).unwrap().unwrap().pins, pins);
        assert_eq!(Identity::read_pins(&home).unwrap(), pins);
        let path = home.file(IDENTITY);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace(&key, &STANDARD.encode([0; 32]))).unwrap();
        assert!(Identity::read(&home).unwrap_err().to_string().contains("signer is not usable"));
        let mut before: serde_json::Value = serde_json::from_str(&text).unwrap();
        before.as_object_mut().unwrap().remove("signer");
        std::fs::write(&path, before.to_string()).unwrap();
        assert_eq!(Identity::read(&home).unwrap().unwrap().pins, None);
    }

    fn signer(seed: u8) -> PinnedSigner {
        let public_key = SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes();
        PinnedSigner::parse(&STANDARD.encode(public_key), SigningMode::ServerSigns).unwrap()
    }

    #[test]
    fn a_next_key_reads_back_and_a_file_in_which_it_is_not_one_is_refused() {
        let (_directory, home) = home();
        let pins = Pins::only(signer(1)).with_next(signer(2)).unwrap();
        Identity { pins: Some(pins.clone()), ..identity() }.write(&home).unwrap();
        assert_eq!(Identity::read_pins(&home).unwrap(), Some(pins));
        let path = home.file(IDENTITY);
        let text = std::fs::read_to_string(&path).unwrap();
        let (current, next) = (signer(1).to_body(), signer(2).to_body());
        let mut orphan: serde_json::Value = serde_json::from_str(&text).unwrap();
        orphan.as_object_mut().unwrap().remove("signer");
        for damaged in [
            text.replace(&next.public_key, &STANDARD.encode([0; 32])),
            text.replace(&next.key_id.to_string(), &current.key_id.to_string()),
            text.replace(&next.key_id.to_string(), &current.key_id.to_string()).replace(&next.public_key, &current.public_key),
            orphan.to_string(),
        ] {
            std::fs::write(&path, &damaged).unwrap();
            assert!(Identity::read_pins(&home).unwrap_err().to_string().contains("signer is not usable"), "{damaged}");
        }
    }

    /// The agent may be about to follow the next key while a person pins another one: the person's word is the last.
    #[test]
    fn only_the_next_key_that_is_pinned_now_is_followed() {
        let (_directory, home) = home();
        let enrolled = Identity { enrolled_at: Some(clock::now()), ..identity() };
        let followed = |pins: Pins, next: &PinnedSigner| {
            Identity { pins: Some(pins), ..enrolled.clone() }.write(&home).unwrap();
            Identity::follow(&home, next).unwrap();
            Identity::read_pins(&home).unwrap().unwrap()
        };
        let both = Pins::only(signer(1)).with_next(signer(2)).unwrap();
        assert_eq!(followed(both.clone(), &signer(2)), Pins::only(signer(2)));
        for pins in [Pins::only(signer(3)), both] {
            assert_eq!(followed(pins.clone(), &signer(4)), pins);
        }
    }

    #[test]
    fn a_key_that_others_may_read_or_that_is_damaged_is_refused() {
        let (_directory, home) = home();
        identity().write(&home).unwrap();
        let key = home.file(KEY);
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(Identity::read(&home).unwrap_err().to_string().contains("mode 640"));
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&key, [7; 31]).unwrap();
        assert!(Identity::read(&home).unwrap_err().to_string().contains("31 bytes"));
        std::fs::remove_file(&key).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", &key).unwrap();
        assert!(Identity::read(&home).unwrap_err().to_string().contains("plain file"));
    }
}
