//! Golden vectors: envelopes with fixed keys and the verdict on each, in `vectors.json` for verifiers in other languages. One such
//! verifier, `verify.py`, judges them here.
#![expect(clippy::disallowed_methods, reason = "a test writes what it found and runs another verifier; core itself does no I/O")]

use crate::lab::*;
use redflag_core::{
    command::{
        envelope::PAYLOAD_TYPE,
        payload::{Action, Command, SigningMode},
    },
    names::Text,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path, process::Command as Process};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/commands/vectors.json");
const VERIFIER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/commands/verify.py");

fn cases() -> Vec<(&'static str, Vec<u8>)> {
    let by_server = |command: Command| signed(&command, &[SERVER]);
    let varied = |change: fn(&mut Command)| {
        let mut command = install();
        change(&mut command);
        by_server(command)
    };
    let payload = String::from_utf8(install().to_bytes()).unwrap();
    let text = |from: &str, to: &str| signed_text(&payload.replacen(from, to, 1));
    let by_operators = Command { mode: SigningMode::OperatorSigns, ..install() };
    let good = by_server(install());
    vec![
        ("install", good.clone()),
        ("reboot", by_server(command(Action::Reboot))),
        ("operators", signed(&by_operators, &[OPERATOR, SECOND_OPERATOR])),
        ("text beyond ASCII", varied(|command| command.approvals[0].actor = Text::lossy("Zoë \u{1f980} \"\\\u{1}\n\u{7f}"))),
        ("clock within tolerance", varied(|command| command.not_before = time("2026-11-25T20:01:00Z"))),
        ("no signature", signed(&install(), &[])),
        ("stranger", signed(&install(), &[STRANGER])),
        ("stranger beside the server", signed(&install(), &[SERVER, STRANGER])),
        ("altered payload", altered(&good)),
        ("server for operators", signed(&by_operators, &[SERVER])),
        ("other payload type", signed_bytes("application/vnd.redflag.checkpoint.v1+json", payload.as_bytes())),
        ("other schema", text("\"schema\":1", "\"schema\":2")),
        ("other action", text("\"kind\":\"install\"", "\"kind\":\"shell\"")),
        ("key twice", text("\"counter\":42", "\"counter\":42,\"counter\":43")),
        (
            "keys in another order",
            text("\"counter\":42,\"expires_at\":\"2026-11-26T19:00:00Z\"", "\"expires_at\":\"2026-11-26T19:00:00Z\",\"counter\":42"),
        ),
        ("unknown field", text("\"counter\":42", "\"counter\":42,\"county\":1")),
        ("space", text("\"counter\":42", "\"counter\": 42")),
        ("float", text("\"counter\":42", "\"counter\":4.2e1")),
        ("other agent", varied(|command| command.audience.agent = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2ff".parse().unwrap())),
        ("agent enrolled anew", varied(|command| command.audience.key_id = redflag_core::signing::key_id(&public(STRANGER)))),
        ("replayed", varied(|command| command.counter = FLOOR)),
        ("counter jump", varied(|command| command.counter = COUNTER_LAST + 1)),
        ("not yet valid", varied(|command| command.not_before = time("2026-11-25T20:01:00.000001Z"))),
        ("expired", varied(|command| command.expires_at = time("2026-11-25T19:59:00Z"))),
        ("lifetime too long", varied(|command| command.expires_at = time("2026-12-25T19:59:00Z"))),
    ]
}

/// The payload says `43` where `42` was signed.
fn altered(envelope: &[u8]) -> Vec<u8> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let mut wire: Value = serde_json::from_slice(envelope).unwrap();
    let payload = String::from_utf8(STANDARD.decode(wire["payload"].as_str().unwrap()).unwrap()).unwrap();
    wire["payload"] = STANDARD.encode(payload.replace("\"counter\":42", "\"counter\":43")).into();
    wire.to_string().into_bytes()
}

fn vectors() -> Value {
    let hex = |bytes: [u8; 32]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let pinned = pinned_seeds().map(|(seed, mode)| json!({"mode": mode, "public_key": hex(public(seed))}));
    let cases = cases().into_iter().map(|(name, envelope)| {
        let verdict = judge(&envelope).map_or_else(|code| code.as_str(), |_| "accepted");
        json!({"name": name, "verdict": verdict, "envelope": String::from_utf8(envelope).unwrap()})
    });
    json!({
        "payload_type": PAYLOAD_TYPE,
        "audience": audience(),
        "now": now(),
        "clock_tolerance_seconds": TOLERANCE.as_secs(),
        "counter_floor": FLOOR,
        "pinned": pinned,
        "cases": cases.collect::<Vec<_>>(),
    })
}

#[test]
fn the_golden_vectors_are_what_is_signed_and_judged() {
    let found = vectors();
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(FILE).unwrap_or_default()).unwrap_or_default();
    if found != golden {
        let beside = Path::new(env!("CARGO_TARGET_TMPDIR")).join("vectors.json");
        std::fs::write(&beside, format!("{found:#}\n")).unwrap();
        panic!("a signed format has changed; {} holds what is made now, {FILE} what was agreed", beside.display());
    }
}

/// The verdicts of the golden file, by a program that shares no code with ours.
#[test]
fn a_verifier_in_another_language_comes_to_the_same_verdicts() {
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(FILE).unwrap()).unwrap();
    let verdict = |case: &Value| (case["name"].as_str().unwrap().to_owned(), case["verdict"].as_str().unwrap().to_owned());
    let expected: BTreeMap<String, String> = golden["cases"].as_array().unwrap().iter().map(verdict).collect();
    let output = Process::new("/usr/bin/python3").args([VERIFIER, FILE]).output().expect("this test needs apt-get install python3");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "this test needs apt-get install python3-cryptography: {complaint}");
    let found: BTreeMap<String, String> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found, expected);
}

#[test]
fn the_payload_on_the_wire() {
    insta::assert_snapshot!(String::from_utf8(install().to_bytes()).unwrap());
    insta::assert_snapshot!(String::from_utf8(signed(&install(), &[SERVER])).unwrap());
}
