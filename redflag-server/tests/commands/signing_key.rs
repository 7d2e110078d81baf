//! The key that signs commands, from the command line.

use crate::fleet::{Place, Serving};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Parser as _;
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
    let fingerprint = prepared["fingerprint"].as_str().unwrap();
    let still = place.json("fleet.db", &["signing-key", "show"]);
    assert_eq!(still["key_id"], key["key_id"], "it does not sign yet");
    assert_eq!((&key["next_key_id"], &still["next_key_id"]), (&Value::Null, &prepared["key_id"]));
    assert!(said(&place, &["signing-key", "show"]).contains(&format!("to follow    {fingerprint}")));
    let rotated = said(&place, &["signing-key", "rotate"]);
    assert!(rotated.contains(fingerprint) && rotated.contains("when it starts"), "{rotated}");
    assert!(rotated.contains(&format!("trust-server-key {}\n", prepared["public_key"].as_str().unwrap())), "{rotated}");
    assert_eq!(place.json("fleet.db", &["signing-key", "show"])["key_id"], prepared["key_id"]);
    let elsewhere = place.path("other.key").display().to_string();
    assert!(place.fails("fleet.db", &["signing-key", "show", "--signing-key", &elsewhere], 1).contains("other.key"));
}

/// What `prepare` prints is run as it stands, on a host whose policy names the key in force.
#[test]
fn the_commands_for_hosts_are_those_an_agent_and_a_policy_take() {
    let place = Place { directory: tempfile::tempdir().unwrap() };
    drop(Serving::start(&place.path("fleet.db")));
    let prepared = place.json("fleet.db", &["signing-key", "prepare"]);
    let told = said(&place, &["signing-key", "prepare"]);
    let trust = told.lines().find(|line| line.starts_with("setpriv ")).unwrap();
    let (_, arguments) = trust.split_once(" --clear-groups ").unwrap();
    let parsed = redflag_agent::command_line::CommandLine::try_parse_from(arguments.split(' '));
    assert!(parsed.is_ok() && arguments.ends_with(prepared["public_key"].as_str().unwrap()), "{parsed:?}");
    assert!(arguments.starts_with("redflag-agent trust-server-key --next "), "{arguments}");

    let policy = place.path("executor.toml");
    let example = include_str!("../../../redflag-agent/systemd/executor.toml");
    std::fs::write(&policy, example.replace("users = [\"redflag-agent\"]", "users = [\"root\"]")).unwrap();
    std::fs::set_permissions(&policy, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let append = &told[told.find("cat >>").unwrap()..told.find("\nEND\n").unwrap() + 5];
    let append = append.replace("/etc/redflag/executor.toml", &policy.display().to_string());
    assert!(std::process::Command::new("sh").args(["-c", &append]).status().unwrap().success());
    let signers = redflag_agent::executor::policy::Policy::read(&policy).unwrap().signers;
    assert_eq!((signers.len(), signers[1].id().to_string()), (2, prepared["key_id"].as_str().unwrap().to_owned()));
}
