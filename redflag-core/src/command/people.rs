//! Whose keys sign where people do: the list against which signatures are counted.
//!
//! A list is a value: who keeps it, and who may change it, is the caller's affair. What counts on a host is that host's own list, which the
//! executor has from its policy; this one decides what is taken and handed out.

use super::{
    payload::SigningMode,
    record::CommandRecord,
    refusal::{CommandRefusal, RefusalCode},
    verify::{InvalidKey, PinnedKey},
};
use crate::{ids::Digest, names::Text};
use std::collections::{BTreeMap, BTreeSet};

/// The keys of people that count now, each of one person. Of one person's keys any will do, and all count once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct People(BTreeMap<Digest, (Text, PinnedKey)>);

impl People {
    /// The same with one more key, whose 32 bytes are `public_key`. A key has one person: the last that is named.
    ///
    /// # Errors
    /// As [`PinnedKey::new`].
    pub fn with(mut self, person: Text, public_key: &[u8; 32]) -> Result<Self, InvalidKey> {
        let key = PinnedKey::new(public_key, SigningMode::OperatorSigns)?;
        self.0.insert(key.id(), (person, key));
        Ok(self)
    }

    /// Whose key this is; nobody's when it does not count.
    #[must_use]
    pub fn person(&self, key_id: &Digest) -> Option<&Text> {
        self.0.get(key_id).map(|(person, _)| person)
    }

    /// Who has signed a command with a key that counts, each once.
    #[must_use]
    pub fn signers<'a>(&'a self, record: &CommandRecord) -> BTreeSet<&'a Text> {
        record.signatures.keys().filter_map(|key_id| self.person(key_id)).collect()
    }

    /// Whether as many people have signed a command as must; where the server signs, nobody has to.
    #[must_use]
    pub fn suffice(&self, record: &CommandRecord) -> bool {
        self.signers(record).len() >= record.terms.signatures_min as usize
    }

    /// The key with this id, if it is this person's.
    pub(super) fn key_of(&self, person: &Text, key_id: Digest) -> Result<&PinnedKey, CommandRefusal> {
        match self.0.get(&key_id) {
            Some((owner, key)) if owner == person => Ok(key),
            Some(_) => Err(CommandRefusal::new(RefusalCode::UnknownKey, format!("the key {key_id} is another person's, not {person}'s"))),
            None => Err(CommandRefusal::new(RefusalCode::UnknownKey, format!("no key {key_id} is listed, or it was revoked"))),
        }
    }
}
