//! Enrolment tokens: seats that expire, counted by compare-and-set.

use crate::{clock, ids::Secret, problem::Problem};
use axum::http::StatusCode;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use redflag_core::{
    audit::{
        AuditKind, FactName,
        entry::{By, Note},
    },
    ids::{AgentId, Digest},
    names::Text,
    store::{Expected, Store, StoreError, StoreErrorKind},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Most seats of one token: its record holds a name for each and must stay within a record's limit.
pub const SEATS_MAX: u32 = 2_000;
const TOKENS: &str = "enrolment-tokens";

/// What a new enrolment token allows.
#[derive(Clone, Debug)]
pub struct EnrolmentTokenOptions {
    /// How many agents it enrols: 1 to [`SEATS_MAX`].
    pub seats: u32,
    /// For how long.
    pub expires_in: Duration,
    /// What it is for, in the operator's words.
    pub label: Option<Text>,
}

impl Default for EnrolmentTokenOptions {
    fn default() -> Self {
        Self { seats: 1, expires_in: Duration::from_secs(24 * 60 * 60), label: None }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Token {
    label: Option<Text>,
    seats: u32,
    created_at: Timestamp,
    expires_at: Timestamp,
    /// A short digest of (agent, key) for each seat taken, so that a retry of the same agent takes no second one.
    taken: Vec<String>,
}

/// Makes a token and answers it with the time it ends; only its digest is stored. Seats are brought within 1 to [`SEATS_MAX`].
///
/// # Errors
/// When the store fails.
pub async fn issue_token(store: &dyn Store, options: EnrolmentTokenOptions) -> Result<(Secret, Timestamp), StoreError> {
    let secret = Secret::new();
    let created_at = clock::now();
    let expires_at = created_at.saturating_add(options.expires_in);
    let seats = options.seats.clamp(1, SEATS_MAX);
    let token = Token { label: options.label, seats, created_at, expires_at, taken: Vec::new() };
    match store.put(TOKENS, &secret.at_rest(TOKENS), &json(&token), Expected::Absent).await? {
        Some(_) => Ok((secret, expires_at)),
        None => Err(StoreError::caused(StoreErrorKind::Corrupt, "a fresh secret of 256 bits is already stored")),
    }
}

/// What the audit log says of a token just made.
#[must_use]
pub fn token_note(by: By, options: &EnrolmentTokenOptions, expires_at: Timestamp, at: Timestamp) -> Note {
    Note::new(AuditKind::EnrolmentTokenMade, by, at)
        .with(FactName::Count, options.seats)
        .with(FactName::ExpiresAt, expires_at)
        .with_some(FactName::Name, options.label.as_ref())
}

/// Takes a seat of `token` for an agent and its key, or finds that they hold one.
///
/// # Errors
/// 401 when the token is unknown, expired or has no seat left; 503 when the store fails.
pub async fn take_seat(store: &dyn Store, token: &str, agent: AgentId, public_key: &[u8; 32], now: Timestamp) -> Result<(), Problem> {
    let refused = || Problem::new(StatusCode::UNAUTHORIZED, "bad_token", "the enrolment token is unknown, expired or used up");
    let key = Secret::presented(token).ok_or_else(refused)?.at_rest(TOKENS);
    let seat = seat(agent, public_key);
    // Whenever a turn is lost another agent got a seat, so there are at most as many turns as seats.
    for _ in 0..=SEATS_MAX {
        let record = store.get(TOKENS, &key).await?.ok_or_else(refused)?;
        let mut token: Token = serde_json::from_str(&record.value).map_err(|error| StoreError::caused(StoreErrorKind::Corrupt, error))?;
        if token.taken.contains(&seat) {
            return Ok(());
        }
        if token.expires_at <= now || token.taken.len() >= token.seats as usize {
            return Err(refused());
        }
        token.taken.push(seat.clone());
        if store.put(TOKENS, &key, &json(&token), Expected::Revision(record.revision)).await?.is_some() {
            return Ok(());
        }
    }
    Err(refused())
}

fn seat(agent: AgentId, public_key: &[u8; 32]) -> String {
    let digest = Digest::of("redflag seat v1", &[agent.as_uuid().as_bytes(), public_key]);
    URL_SAFE_NO_PAD.encode(&digest.as_bytes()[..16])
}

fn json(token: &Token) -> String {
    serde_json::to_string(token).expect("tokens always serialise")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_token_fits_into_a_record() {
        let seat = seat("0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3".parse().unwrap(), &[7; 32]);
        let token = Token {
            label: Some(Text::parse(&"\u{1}".repeat(redflag_core::limits::TEXT_BYTES_MAX)).unwrap()),
            seats: SEATS_MAX,
            created_at: Timestamp::MAX,
            expires_at: Timestamp::MAX,
            taken: vec![seat; SEATS_MAX as usize],
        };
        assert!(json(&token).len() <= redflag_core::limits::RECORD_BYTES_MAX);
    }
}
