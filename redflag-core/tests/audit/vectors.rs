//! Golden vectors: exported logs with a fixed key and the verdict on each, in `vectors.json` for verifiers in other languages. One such
//! verifier, `verify.py`, judges them here.
#![expect(clippy::disallowed_methods, reason = "a test writes what it found and runs another verifier; core itself does no I/O")]

use crate::lab::*;
use redflag_core::audit::checkpoint::PAYLOAD_TYPE;
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path, process::Command};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/audit/vectors.json");
const VERIFIER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/audit/verify.py");

fn cases() -> Vec<(&'static str, Vec<String>)> {
    let good = Log::of_blocks(&[1, 4, 3, 2, 3]).lines();
    let continued = Log::of_blocks(&[1, 4, 3, 2, 3]).continued().lines();
    let elsewhere = |change: &dyn Fn(&mut Vec<String>)| {
        let mut lines = continued.clone();
        change(&mut lines);
        lines
    };
    let edited = |change: &dyn Fn(&mut Vec<String>)| {
        let mut lines = good.clone();
        change(&mut lines);
        lines
    };
    // Lines 0 and 1 are entry 1 and its checkpoint; 2 to 8 entries 2 to 8; 9 the second checkpoint.
    vec![
        ("as written", good.clone()),
        ("empty", Vec::new()),
        ("cut off behind a checkpoint", good[..10].to_vec()),
        ("cut off before a checkpoint", edited(&|lines| drop(lines.drain(6..9)))),
        ("altered", edited(&|lines| lines[4] = lines[4].replace("192.0.2.7", "192.0.2.8"))),
        ("another digest", edited(&|lines| lines[4] = lines[4].replacen("\"digest\":\"", "\"digest\":\"0", 1))),
        ("deleted", edited(&|lines| drop(lines.remove(5)))),
        ("swapped", edited(&|lines| lines.swap(3, 7))),
        ("doubled", edited(&|lines| lines.insert(6, lines[6].clone()))),
        ("with a space", edited(&|lines| lines[4] = lines[4].replacen("{\"digest\":", "{\"digest\": ", 1))),
        ("without a checkpoint", edited(&|lines| drop(lines.remove(1)))),
        ("a checkpoint of a stranger", edited(&|lines| lines[9] = lines[9].replacen("\"sig\":\"", "\"sig\":\"AAAA", 1))),
        ("checkpoints swapped", edited(&|lines| lines.swap(1, 9))),
        ("another beginning", good[2..].to_vec()),
        // Entry 10, a checkpoint that stands for lost ones, entry 139, which goes on behind them, entry 140, and its checkpoint.
        ("continued after damage", continued.clone()),
        ("continued, and the entry that says so is gone", elsewhere(&|lines| drop(lines.remove(13)))),
        ("continued where nothing could be read", Log::of_blocks(&[3]).continued().lines()),
        ("continued behind another entry", elsewhere(&|lines| drop(lines.remove(11)))),
        (
            "continued, and the digest of the damage is another",
            elsewhere(&|lines| lines[13] = lines[13].replacen("\"records\":1", "\"records\":2", 1)),
        ),
    ]
}

fn vectors() -> Value {
    let cases = cases().into_iter().map(|(name, lines)| {
        let verdict = verify_lines(&lines).map_or_else(|fault| fault.at.to_string(), |summary| format!("good to {}", summary.covered));
        json!({"name": name, "verdict": verdict, "lines": lines})
    });
    let public_key: String = public(1).to_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    json!({"payload_type": PAYLOAD_TYPE, "public_key": public_key, "cases": cases.collect::<Vec<_>>()})
}

#[test]
fn the_golden_vectors_are_what_is_written_and_judged() {
    let found = vectors();
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(FILE).unwrap_or_default()).unwrap_or_default();
    if found != golden {
        let beside = Path::new(env!("CARGO_TARGET_TMPDIR")).join("audit-vectors.json");
        std::fs::write(&beside, format!("{found:#}\n")).unwrap();
        panic!("the format of the log has changed; {} holds what is made now, {FILE} what was agreed", beside.display());
    }
}

/// The verdicts of the golden file, by a program that shares no code with ours.
#[test]
fn a_verifier_in_another_language_comes_to_the_same_verdicts() {
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(FILE).unwrap()).unwrap();
    let verdict = |case: &Value| (case["name"].as_str().unwrap().to_owned(), case["verdict"].as_str().unwrap().to_owned());
    let expected: BTreeMap<String, String> = golden["cases"].as_array().unwrap().iter().map(verdict).collect();
    let output = Command::new("/usr/bin/python3").args([VERIFIER, FILE]).output().expect("this test needs apt-get install python3");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "this test needs apt-get install python3-cryptography: {complaint}");
    let found: BTreeMap<String, String> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found, expected);
}
