//! How entries hang together, and the blocks they are kept in.
//!
//! The digest of an entry covers the digest of the one before. A block holds some entries in a row, each with its digest, behind the place
//! the chain stood at before them, so that who goes on needs the last block only. Blocks are kept under the zero-padded number of their
//! first entry and are only ever written where none is: of two writers after the same entry one comes second, and sees it.

use super::entry::{Entry, Note};
use crate::{feed::FeedPosition, ids::Digest, limits, strict_json};
use serde::{Deserialize, Serialize};

/// Where a chain stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Its entries.
    pub number: u64,
    /// The digest of the last of them; zeros before the first.
    pub digest: Digest,
    /// The position of the feed up to which batches are entries.
    pub sealed: FeedPosition,
}

impl Place {
    /// Before the first entry.
    pub const START: Self = Self { number: 0, digest: Digest::from_bytes([0; 32]), sealed: FeedPosition::START };

    /// After one more entry.
    ///
    /// # Errors
    /// With what is wrong, for people, when the entry cannot follow.
    pub fn after(&self, entry: &Entry) -> Result<Self, String> {
        let number = self.number_of(entry)?;
        if (number == 1) != (entry.kind == super::AuditKind::LogBegun) {
            return Err(format!("it is {}, and the first entry, and no other, begins the log", entry.kind));
        }
        if entry.batch.is_some() != (entry.kind == super::AuditKind::Batch) {
            return Err(format!("it is {}, and batches, and no others, have a position of the feed", entry.kind));
        }
        let sealed = match &entry.batch {
            Some(batch) if batch.position.0 != self.sealed.0 + 1 => {
                return Err(format!("it seals position {} of the feed where {} must come", batch.position, self.sealed.0 + 1));
            }
            Some(batch) => batch.position,
            None => self.sealed,
        };
        Ok(Self { number, digest: entry.digest(&self.digest), sealed })
    }

    /// The number of an entry, which is the next one, unless it goes on behind a damaged end.
    fn number_of(&self, entry: &Entry) -> Result<u64, String> {
        if entry.damage.is_some() != (entry.kind == super::AuditKind::ContinuedAfterDamage) {
            return Err(format!("it is {}, and what goes on behind damage, and nothing else, says behind which", entry.kind));
        }
        match &entry.damage {
            Some(damage) if damage.after != self.number => {
                Err(format!("it goes on behind entry {}, and entry {} is the one before", damage.after, self.number))
            }
            Some(_) if entry.number <= self.number + 1 => Err("it goes on behind damage, and leaves no place for what was lost".to_owned()),
            None if entry.number != self.number + 1 => Err(format!("entry {} stands where entry {} must", entry.number, self.number + 1)),
            Some(_) | None => Ok(entry.number),
        }
    }
}

/// An entry with the digest that was stored with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The entry.
    pub entry: Entry,
    /// Its [`Entry::digest`].
    pub digest: Digest,
}

impl Link {
    /// The link as a line of an export.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        strict_json::write(self)
    }
}

/// Entries in a row, as they are kept: 1 to [`limits::AUDIT_BLOCK_ENTRIES_MAX`].
///
/// In text the place before them and each entry is a line of its own, so that damage to one leaves the others to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Where the chain stood before.
    pub before: Place,
    /// The entries.
    pub links: Vec<Link>,
}

impl Block {
    /// The notes as the entries that follow `before`, as many from the first on as one block and its record hold, and where the chain
    /// stands then. None when there are no notes.
    ///
    /// # Errors
    /// With what is wrong, for people, when a note cannot follow.
    pub fn after(before: Place, notes: impl IntoIterator<Item = Note>) -> Result<Option<(Self, Place)>, String> {
        let (mut links, mut place, mut bytes) = (Vec::new(), before, BLOCK_FRAME_BYTES);
        for note in notes.into_iter().take(limits::AUDIT_BLOCK_ENTRIES_MAX) {
            let entry = note.at_place(place.number + 1);
            let after = place.after(&entry)?;
            let link = Link { entry, digest: after.digest };
            bytes += link.to_bytes().len() + 1;
            if bytes > limits::RECORD_BYTES_MAX && !links.is_empty() {
                break;
            }
            place = after;
            links.push(link);
        }
        Ok(if links.is_empty() { None } else { Some((Self { before, links }, place)) })
    }

    /// A block of the one entry that goes on behind a damaged end, at `number`; and where the chain stands then.
    ///
    /// # Errors
    /// With what is wrong, for people, when the note cannot follow there.
    pub fn behind_damage(before: Place, number: u64, note: Note) -> Result<(Self, Place), String> {
        let entry = note.at_place(number);
        let after = before.after(&entry)?;
        Ok((Self { before, links: vec![Link { entry, digest: after.digest }] }, after))
    }

    /// The key it is kept under: that of its first entry.
    #[must_use]
    pub fn key(&self) -> String {
        key(self.links.first().map_or(self.before.number + 1, |link| link.entry.number))
    }

    /// The record it is kept as.
    ///
    /// # Panics
    /// Never: JSON is UTF-8.
    #[must_use]
    pub fn to_text(&self) -> String {
        let lines = std::iter::once(strict_json::write(&self.before)).chain(self.links.iter().map(Link::to_bytes));
        String::from_utf8(lines.collect::<Vec<_>>().join(&b'\n')).expect("JSON is UTF-8")
    }

    /// Reads a record; what it says is not verified.
    ///
    /// # Errors
    /// With what is wrong, for people, when it is no block or in another form.
    pub fn read(text: &str) -> Result<Self, String> {
        let (before, links) = Self::lines(text)?;
        let links = links.map(|line| strict_json::read(line.as_bytes())).collect::<Result<Vec<Link>, _>>()?;
        Ok(Self { before, links })
    }

    /// The place before, and the lines of the entries.
    pub(super) fn lines(text: &str) -> Result<(Place, std::str::Split<'_, char>), String> {
        let (before, links) = text.split_once('\n').ok_or_else(|| "it holds no entries".to_owned())?;
        Ok((strict_json::read(before.as_bytes())?, links.split('\n')))
    }

    /// Where the chain stands after it, as it says itself.
    #[must_use]
    pub fn place(&self) -> Place {
        self.links.iter().fold(self.before, |before, Link { entry, digest }| Place {
            number: entry.number,
            digest: *digest,
            sealed: entry.batch.as_ref().map_or(before.sealed, |batch| batch.position),
        })
    }
}

/// More than a block has beside its entries.
const BLOCK_FRAME_BYTES: usize = 256;

/// The key of what is numbered: keys sort as their numbers do.
#[must_use]
pub fn key(number: u64) -> String {
    format!("{number:020}")
}
