//! The one place where the server makes ids and secrets.

use crate::clock;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use redflag_core::ids::{BatchId, CommandId, Digest, OperationId};
use std::fmt;

/// A new batch id.
///
/// # Panics
/// When the operating system has no randomness to give.
#[must_use]
pub fn batch_id() -> BatchId {
    BatchId::from_uuid(version_7()).expect("a version 7 UUID is never nil")
}

/// A new operation id.
///
/// # Panics
/// As [`batch_id`].
#[must_use]
pub fn operation_id() -> OperationId {
    OperationId::from_uuid(version_7()).expect("a version 7 UUID is never nil")
}

/// A new command id.
///
/// # Panics
/// As [`batch_id`].
#[must_use]
pub fn command_id() -> CommandId {
    CommandId::from_uuid(version_7()).expect("a version 7 UUID is never nil")
}

/// A version 7 UUID, so that neighbours in time are neighbours in an index.
fn version_7() -> uuid::Uuid {
    let mut random = [0; 10];
    getrandom::fill(&mut random).expect("the operating system gives random bytes");
    let millis = u64::try_from(clock::now().as_micros() / 1_000).expect("the clock is past 1970");
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

/// Random bytes, for keys and secrets.
///
/// # Panics
/// When the operating system has no randomness to give.
pub(crate) fn random<const BYTES: usize>() -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// A secret of 256 bits from the operating system: a session id, a sign-in link's or an enrolment token.
///
/// It has no `Debug` or `Display` of its content; [`Secret::expose`] is the only way to it.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Makes one.
    ///
    /// # Panics
    /// When the operating system has no randomness to give: nothing safe can be done then.
    #[must_use]
    pub fn new() -> Self {
        Self(URL_SAFE_NO_PAD.encode(random::<32>()))
    }

    /// Reads one that somebody presents; none when it cannot be one.
    #[must_use]
    pub fn presented(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        (bytes.len() == 32).then(|| Self(text.to_owned()))
    }

    /// The secret itself, for the one it belongs to.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is kept of it: its SHA-256 in the domain of its `purpose`, in hexadecimal.
    #[must_use]
    pub fn at_rest(&self, purpose: &str) -> String {
        Digest::of(purpose, &[self.0.as_bytes()]).to_string()
    }
}

impl Default for Secret {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
