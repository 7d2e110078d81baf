//! A small log with a fixed key, as blocks, checkpoints and lines.

use ed25519_dalek::{Signer as _, SigningKey};
use redflag_core::{
    audit::{
        AuditKind, FactName, SealedBatch,
        chain::{Block, Place},
        checkpoint::Checkpoint,
        damage::Damage,
        entry::{By, Note},
        verify::{Fault, Summary, Verifier},
        witness::Kept,
    },
    feed::FeedPosition,
    ids::Digest,
    names::Text,
    public_key::PublicKey,
    signing,
    time::Timestamp,
};

pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

pub(crate) fn public(seed: u8) -> PublicKey {
    PublicKey::new(&key(seed).verifying_key().to_bytes()).unwrap()
}

pub(crate) fn sign(checkpoint: &Checkpoint, seed: u8) -> String {
    let key = key(seed);
    let signature = key.sign(&checkpoint.bytes_to_sign()).to_bytes();
    checkpoint.envelope(signing::key_id(&key.verifying_key().to_bytes()), signature)
}

pub(crate) fn at(second: u64) -> Timestamp {
    Timestamp::EPOCH.saturating_add(std::time::Duration::from_secs(1_795_000_000 + second))
}

/// A log as a store keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) blocks: Vec<(String, String)>,
    pub(crate) checkpoints: Vec<String>,
    pub(crate) entries: u64,
}

/// A note of any kind, told by a number.
pub(crate) fn note(number: u64, sealed: FeedPosition) -> Note {
    let agent = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3".parse().unwrap();
    let name = Text::lossy("Zoë \u{1f980} \"\\\u{1}\n");
    match number {
        1 => Note::new(AuditKind::LogBegun, By::Server, at(0)).with(FactName::Nonce, "07"),
        _ if number.is_multiple_of(3) => {
            let digest = Digest::of("test", &[&number.to_be_bytes()]);
            let content = number.is_multiple_of(2).then_some(digest);
            let batch = SealedBatch { position: FeedPosition(sealed.0 + 1), agent, number: sealed.0 + 1, digest, content };
            Note::of_batch(batch, By::Agent { agent }, at(number))
        }
        _ if number.is_multiple_of(2) => {
            Note::new(AuditKind::SignInRefused, By::Stranger, at(number)).with(FactName::Address, "192.0.2.7").with(FactName::Count, number)
        }
        _ => Note::new(AuditKind::Halted, By::Operator { name }, at(number)).with(FactName::Reason, "a mirror serves bad packages"),
    }
}

/// A note that seals nothing.
fn note_of(number: u64) -> Note {
    Note::new(AuditKind::SignInRefused, By::Stranger, at(number)).with(FactName::Count, number)
}

impl Log {
    /// A log of blocks of these sizes, with a checkpoint behind every block whose size is odd.
    pub(crate) fn of_blocks(sizes: &[u64]) -> Self {
        let (mut log, mut place, mut newest, mut begun) = (Self::default(), Place::START, None::<Checkpoint>, None);
        for (index, size) in sizes.iter().enumerate() {
            let mut sealed = place.sealed;
            let notes: Vec<Note> = (place.number + 1..=place.number + size)
                .map(|number| {
                    let note = note(number, sealed);
                    sealed.0 += u64::from(number > 1 && number.is_multiple_of(3));
                    note
                })
                .collect();
            let (block, after) = Block::after(place, notes).unwrap().unwrap();
            assert_eq!((block.links.len() as u64, block.place()), (*size, after));
            assert_eq!(Block::read(&block.to_text()).unwrap(), block);
            begun.get_or_insert(block.links[0].digest);
            log.blocks.push((block.key(), block.to_text()));
            place = after;
            if size % 2 == 1 {
                let next = match &newest {
                    Some(newest) => newest.next(&place, at(1_000 + index as u64)),
                    None => Checkpoint::first(begun.unwrap(), &place, at(1_000 + index as u64)),
                };
                log.checkpoints.push(sign(&next, 1));
                newest = Some(next);
            }
        }
        log.entries = place.number;
        log
    }

    /// The same, whose last block is damaged, and which goes on behind it under a checkpoint of its own.
    pub(crate) fn continued(mut self) -> Self {
        let damaged = self.blocks.pop().unwrap();
        let before = self.blocks.last().map_or(Place::START, |(_, text)| Block::read(text).unwrap().place());
        let damage = Damage { after: before.number, records: 1, digest: Damage::digest_of(&[damaged]) };
        let note = Note::of_damage(damage, By::Server, at(2_000)).with(FactName::Reason, "a disk failed");
        let (block, place) = Block::behind_damage(before, before.number + 129, note).unwrap();
        self.blocks.push((block.key(), block.to_text()));
        let newest = self.checkpoints.last().map(|envelope| Kept::from(envelope.clone()).read(&public(1)).unwrap());
        let (next, after) = Block::after(place, [note_of(place.number + 1)]).unwrap().unwrap();
        self.blocks.push((next.key(), next.to_text()));
        let checkpoint =
            newest.map_or_else(|| Checkpoint::first(block.links[0].digest, &after, at(2_001)), |newest| newest.next(&after, at(2_001)));
        self.checkpoints.push(sign(&checkpoint, 1));
        self.entries = after.number;
        self
    }

    pub(crate) fn verify(&self) -> Result<Summary, Fault> {
        let mut verifier = Verifier::new(vec![public(1)]);
        self.checkpoints.iter().try_for_each(|envelope| verifier.checkpoint(envelope))?;
        for (key, text) in &self.blocks {
            verifier.block(key, text)?;
        }
        verifier.finish()
    }

    /// The lines of an export.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut checkpoints =
            self.checkpoints.iter().map(|envelope| (Kept::from(envelope.clone()).read(&public(1)).unwrap().size, envelope));
        let mut next = checkpoints.next();
        let mut lines = Vec::new();
        for (_, text) in &self.blocks {
            for link in Block::read(text).unwrap().links {
                while let Some((_, envelope)) = next.filter(|(size, _)| link.entry.damage.is_some() && *size < link.entry.number) {
                    lines.push(envelope.clone());
                    next = checkpoints.next();
                }
                lines.push(String::from_utf8(link.to_bytes()).unwrap());
                while let Some((_, envelope)) = next.filter(|(size, _)| *size == link.entry.number) {
                    lines.push(envelope.clone());
                    next = checkpoints.next();
                }
            }
        }
        lines
    }
}

/// What the lines of an export come to.
pub(crate) fn verify_lines(lines: &[String]) -> Result<Summary, Fault> {
    let mut verifier = Verifier::new(vec![public(1)]);
    lines.iter().try_for_each(|line| verifier.line(line))?;
    verifier.finish()
}
