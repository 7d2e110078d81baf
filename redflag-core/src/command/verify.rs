//! Verification of a command, in two steps that only go this way: an envelope becomes [`Authentic`] by its signatures, and an
//! authentic command becomes [`Verified`] for one agent at one time. Keys, clock and counter come in as values.

use super::{
    envelope::Envelope,
    payload::{Audience, Command, SigningMode},
    refusal::{CommandRefusal, RefusalCode},
};
pub use crate::public_key::InvalidKey;
use crate::{ids::Digest, limits, names::Text, public_key::PublicKey, time::Timestamp};
use std::{collections::BTreeSet, time::Duration};

/// A public key whose signatures count, for commands of one mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedKey {
    key: PublicKey,
    mode: SigningMode,
    /// Whose it is, where several keys can be one person's.
    holder: Option<Text>,
}

impl PinnedKey {
    /// The key with these 32 bytes.
    ///
    /// # Errors
    /// As [`PublicKey::new`].
    pub fn new(public_key: &[u8; 32], mode: SigningMode) -> Result<Self, InvalidKey> {
        Ok(Self { key: PublicKey::new(public_key)?, mode, holder: None })
    }

    /// The same key as one of `holder`'s: all that one holder's keys sign counts once. A key without a holder counts by itself.
    #[must_use]
    pub fn held_by(self, holder: Text) -> Self {
        Self { holder: Some(holder), ..self }
    }

    /// How many signatures these keys can make that count together.
    #[must_use]
    pub fn countable(keys: &[Self]) -> usize {
        SigningMode::ALL.iter().map(|mode| different(keys.iter().filter(|key| key.mode == *mode))).max().unwrap_or_default()
    }

    /// Its [`crate::signing::key_id`].
    #[must_use]
    pub const fn id(&self) -> Digest {
        self.key.id()
    }

    /// For commands of which mode it counts.
    #[must_use]
    pub const fn mode(&self) -> SigningMode {
        self.mode
    }

    /// Whether this key signed `bytes`, and counts for commands of `mode`.
    ///
    /// # Errors
    /// A refusal with the code `bad-signature` or `wrong-mode`.
    pub fn check(&self, mode: SigningMode, bytes: &[u8], signature: &[u8; 64]) -> Result<(), CommandRefusal> {
        self.signed(bytes, signature)?;
        self.counts_for(mode)
    }

    fn signed(&self, bytes: &[u8], signature: &[u8; 64]) -> Result<(), CommandRefusal> {
        if self.key.signed(bytes, signature) {
            return Ok(());
        }
        Err(CommandRefusal::new(RefusalCode::BadSignature, format!("the signature of key {} does not fit", self.id())))
    }

    fn counts_for(&self, mode: SigningMode) -> Result<(), CommandRefusal> {
        if self.mode == mode {
            return Ok(());
        }
        let message = format!("the command says {mode}, and key {} is pinned as {}", self.id(), self.mode);
        Err(CommandRefusal::new(RefusalCode::WrongMode, message))
    }
}

/// How many holders there are; a key without one is its own.
fn different<'a>(keys: impl IntoIterator<Item = &'a PinnedKey>) -> usize {
    keys.into_iter().map(|key| key.holder.as_ref().ok_or(key.id())).collect::<BTreeSet<_>>().len()
}

/// A well-formed command that pinned keys signed. For whom it is and whether its time has come is not known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authentic {
    command: Command,
    signers: Vec<Digest>,
}

impl Authentic {
    /// Verifies the signatures of an envelope, and only then reads its payload.
    ///
    /// Every signature must be good, of a pinned key and of the command's mode: one that is not refuses the envelope, even where
    /// enough others are there. Keys of at least `signatures_min` holders must have signed, and at least one. Signatures are verified strictly
    /// (no other form of the same signature, no point of small order).
    ///
    /// # Errors
    /// A refusal with one of the codes of [`Envelope::read`] and [`Command::read`], or `unknown-key`, `bad-signature`,
    /// `too-few-signatures` or `wrong-mode`.
    pub fn read(envelope: &[u8], pinned: &[PinnedKey], signatures_min: usize) -> Result<Self, CommandRefusal> {
        let envelope = Envelope::read(envelope)?;
        let bytes = envelope.bytes_to_sign();
        let mut signers = Vec::new();
        for (key_id, signature) in envelope.signatures() {
            let signer = pinned.iter().find(|key| key.id() == *key_id);
            let signer = signer.ok_or_else(|| CommandRefusal::new(RefusalCode::UnknownKey, format!("no key {key_id} is pinned")))?;
            signer.signed(&bytes, signature)?;
            signers.push(signer);
        }
        let (signatures, signatures_min) = (different(signers.iter().copied()), signatures_min.max(1));
        if signatures < signatures_min {
            let message = format!("{signatures} signatures that count, and {signatures_min} are needed");
            return Err(CommandRefusal::new(RefusalCode::TooFewSignatures, message));
        }
        let command = Command::read(envelope.payload())?;
        signers.iter().try_for_each(|signer| signer.counts_for(command.mode))?;
        Ok(Self { command, signers: signers.into_iter().map(|signer| signer.id()).collect() })
    }

    /// What was signed.
    #[must_use]
    pub const fn command(&self) -> &Command {
        &self.command
    }

    /// Whether the command is to this agent.
    ///
    /// # Errors
    /// A refusal with the code `wrong-audience` or `wrong-agent-key`.
    pub fn check_audience(&self, audience: &Audience) -> Result<(), CommandRefusal> {
        let meant = &self.command.audience;
        if meant.agent != audience.agent {
            let message = format!("it is for agent {}, and this is {}", meant.agent, audience.agent);
            return Err(CommandRefusal::new(RefusalCode::WrongAudience, message));
        }
        if meant.key_id != audience.key_id {
            let message = format!("it is for this agent with key {}, and its key is {}", meant.key_id, audience.key_id);
            return Err(CommandRefusal::new(RefusalCode::WrongAgentKey, message));
        }
        Ok(())
    }

    /// Judges whether the command may be carried out by `audience` now. `counter_floor` is the highest counter seen, zero before
    /// the first command; the clocks of signer and host may differ by up to `clock_tolerance`.
    ///
    /// # Errors
    /// A refusal with one of the codes of [`Authentic::check_audience`], or `replayed`, `counter-jump`, `not-yet-valid` or
    /// `expired`, in this order.
    pub fn verify(
        self,
        audience: &Audience,
        counter_floor: u64,
        now: Timestamp,
        clock_tolerance: Duration,
    ) -> Result<Verified, CommandRefusal> {
        self.check_audience(audience)?;
        let Command { counter, not_before, expires_at, .. } = self.command;
        if counter <= counter_floor {
            let message = format!("its counter is {counter}, and {counter_floor} was seen");
            return Err(CommandRefusal::new(RefusalCode::Replayed, message));
        }
        if counter - counter_floor > limits::COMMAND_COUNTER_STEP_MAX {
            let message = format!("its counter is {counter}, more than {} above {counter_floor}", limits::COMMAND_COUNTER_STEP_MAX);
            return Err(CommandRefusal::new(RefusalCode::CounterJump, message));
        }
        if now.saturating_add(clock_tolerance) < not_before {
            return Err(CommandRefusal::new(RefusalCode::NotYetValid, format!("it is valid from {not_before} on, and it is {now}")));
        }
        if now.saturating_sub(clock_tolerance) >= expires_at {
            return Err(CommandRefusal::new(RefusalCode::Expired, format!("it expired at {expires_at}, and it is {now}")));
        }
        Ok(Verified(self))
    }
}

/// A command that is authentic, to this agent, new, and of this time. There is no other way to make one than [`Authentic::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified(Authentic);

impl Verified {
    /// What is to be done.
    #[must_use]
    pub const fn command(&self) -> &Command {
        &self.0.command
    }

    /// The ids of the keys that signed it.
    #[must_use]
    pub fn signers(&self) -> &[Digest] {
        &self.0.signers
    }
}
