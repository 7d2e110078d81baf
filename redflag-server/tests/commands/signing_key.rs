//! The key that signs commands, from the command line.

use crate::fleet::{Place, Serving};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

fn said(place: &Place, arguments: &[&str]) -> String {
    String::from_utf8(place.run("fleet.db", arguments).success().get_output().stdout.clone()).unwrap()
}

fn hexadecimal(key: &Value) -> String {
    STANDARD.decode(key["public_key"].as_str().unwrap()).unwrap().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_key_is_shown_with_the_lines_of_the_policy_and_replaced_in_two_steps() {
    let place = Place { directory: tempfile::tempdir().unwrap() };
    assert!(place.fails("fleet.db", &["signing-key", "show"], 1).contains("no signing key at fleet.db.signing-key"));
    assert!(place.fails("fleet.db", &["signing-key", "prepare"], 1).contains("no signing key at"), "there is nothing to replace");
    assert!(place.fails("memory:", &["signing-key", "show"], 2).contains("memory"));
    drop(Serving::start(&place.path("fleet.db")));

    let key = place.json("fleet.db", &["signing-key", "show"]);
    let shown = said(&place, &["signing-key", "show"]);
    let block = format!("[[signer]]\nname = \"redflag-server\"\nmode = \"server-signs\"\npublic_key = \"{}\"\n", hexadecimal(&key));
    assert!(shown.ends_with(&block), "{shown}");
    for field in ["fingerprint", "key_id", "public_key"] {
        assert!(shown.contains(key[field].as_str().unwrap()), "{field}: {shown}");
    }
    assert!(place.fails("fleet.db", &["signing-key", "rotate"], 1).contains("no key was prepared"));

    let prepared = place.json("fleet.db", &["signing-key", "prepare"]);
    assert_ne!(prepared["key_id"], key["key_id"]);
    assert_eq!(place.json("fleet.db", &["signing-key", "prepare"])["key_id"], prepared["key_id"]);
    assert_eq!(place.json("fleet.db", &["signing-key", "show"]), key, "it does not sign yet");
    let rotated = said(&place, &["signing-key", "rotate"]);
    assert!(rotated.contains(prepared["fingerprint"].as_str().unwrap()) && rotated.contains("when it starts"), "{rotated}");
    assert_eq!(place.json("fleet.db", &["signing-key", "show"])["key_id"], prepared["key_id"]);
    let elsewhere = place.path("other.key").display().to_string();
    assert!(place.fails("fleet.db", &["signing-key", "show", "--signing-key", &elsewhere], 1).contains("other.key"));
}
