//! Fixed keys, a fixed time, and commands to vary.

use ed25519_dalek::{Signer as _, SigningKey};
use redflag_core::{
    command::{
        envelope::{Envelope, PAYLOAD_TYPE},
        payload::{Action, Audience, Command, CommandApproval, Order, Schema, SigningMode},
        plan::Item,
        refusal::RefusalCode,
        verify::{Authentic, PinnedKey, Verified},
    },
    ids::Digest,
    limits,
    names::{PackageKey, Text, Version},
    signing,
    time::Timestamp,
};
use std::{collections::BTreeSet, time::Duration};

pub(crate) const TOLERANCE: Duration = Duration::from_secs(60);
/// The highest counter the agent has seen.
pub(crate) const FLOOR: u64 = 41;

/// Whose keys they are. Each is made of one byte, 32 times.
pub(crate) const SERVER: u8 = 1;
pub(crate) const OPERATOR: u8 = 2;
pub(crate) const SECOND_OPERATOR: u8 = 3;
pub(crate) const STRANGER: u8 = 7;
const AGENT: u8 = 9;

pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

pub(crate) fn public(seed: u8) -> [u8; 32] {
    key(seed).verifying_key().to_bytes()
}

/// The keys a host has pinned, with their seeds.
pub(crate) fn pinned_seeds() -> [(u8, SigningMode); 3] {
    [(SERVER, SigningMode::ServerSigns), (OPERATOR, SigningMode::OperatorSigns), (SECOND_OPERATOR, SigningMode::OperatorSigns)]
}

pub(crate) fn pinned() -> Vec<PinnedKey> {
    pinned_seeds().iter().map(|(seed, mode)| PinnedKey::new(&public(*seed), *mode).unwrap()).collect()
}

pub(crate) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn now() -> Timestamp {
    time("2026-11-25T20:00:00Z")
}

pub(crate) fn audience() -> Audience {
    Audience { agent: "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3".parse().unwrap(), key_id: signing::key_id(&public(AGENT)) }
}

pub(crate) fn item(manager: &str, name: &str, from: &str, to: &str) -> Item {
    let arch = (manager != "docker").then_some("amd64");
    Item {
        package: PackageKey::parse(manager, name, arch).unwrap(),
        from: Version::parse(from).unwrap(),
        to: Version::parse(to).unwrap(),
        origin: None,
    }
}

pub(crate) fn order(items: Vec<Item>) -> Order {
    Order { items, side_effects: BTreeSet::new(), plan_digest: Digest::from_bytes([0xab; 32]) }
}

pub(crate) fn command(action: Action) -> Command {
    Command {
        schema: Schema,
        id: "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2c4".parse().unwrap(),
        audience: audience(),
        counter: FLOOR + 1,
        not_before: time("2026-11-25T19:00:00Z"),
        expires_at: time("2026-11-26T19:00:00Z"),
        mode: SigningMode::ServerSigns,
        action,
        approvals: vec![CommandApproval { actor: Text::lossy("alice"), at: time("2026-11-25T18:59:00.5Z") }],
    }
}

/// The command the tests vary: one package to install.
pub(crate) fn install() -> Command {
    command(Action::Install(order(vec![item("apt", "bash", "5.2.15-2", "5.2.15-2+b7")])))
}

/// An envelope around `command`, signed with the keys of these seeds.
pub(crate) fn signed(command: &Command, seeds: &[u8]) -> Vec<u8> {
    let envelope = Envelope::around(command);
    let bytes = envelope.bytes_to_sign();
    let sign = |envelope: Envelope, seed: &u8| envelope.with_signature(signing::key_id(&public(*seed)), key(*seed).sign(&bytes).to_bytes());
    seeds.iter().fold(envelope, sign).to_json()
}

/// An envelope around any bytes and type, properly signed by the server: made by hand, not by the code under test.
pub(crate) fn signed_bytes(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let bytes = [format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).as_bytes(), payload].concat();
    let (payload, sig) = (STANDARD.encode(payload), STANDARD.encode(key(SERVER).sign(&bytes).to_bytes()));
    let keyid = signing::key_id(&public(SERVER));
    format!(r#"{{"payload":"{payload}","payloadType":"{payload_type}","signatures":[{{"keyid":"{keyid}","sig":"{sig}"}}]}}"#).into_bytes()
}

pub(crate) fn signed_text(payload: &str) -> Vec<u8> {
    signed_bytes(PAYLOAD_TYPE, payload.as_bytes())
}

/// What an agent in the state of these tests makes of an envelope.
pub(crate) fn judge_at(envelope: &[u8], now: Timestamp, floor: u64) -> Result<Verified, RefusalCode> {
    let authentic = Authentic::read(envelope, &pinned(), 1);
    authentic.and_then(|authentic| authentic.verify(&audience(), floor, now, TOLERANCE)).map_err(|refusal| refusal.code)
}

pub(crate) fn judge(envelope: &[u8]) -> Result<Verified, RefusalCode> {
    judge_at(envelope, now(), FLOOR)
}

/// The counter furthest ahead that is taken.
pub(crate) const COUNTER_LAST: u64 = FLOOR + limits::COMMAND_COUNTER_STEP_MAX;
