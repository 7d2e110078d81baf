//! Accounts and API tokens from the command line.

use crate::fleet::{Place, Serving};
use serde_json::json;

/// A database that a server has made.
fn place() -> Place {
    let place = Place { directory: tempfile::tempdir().unwrap() };
    drop(Serving::start(&place.path("fleet.db")));
    place
}

fn said(place: &Place, arguments: &[&str]) -> String {
    String::from_utf8(place.run("fleet.db", arguments).success().get_output().stdout.clone()).unwrap()
}

#[test]
fn accounts_are_made_listed_changed_and_disabled() {
    let place = place();
    let made = place.json("fleet.db", &["account", "add", "ada", "--role", "viewer"]);
    assert_eq!((&made["name"], &made["role"], &made["disabled"]), (&json!("ada"), &json!("viewer"), &json!(false)));
    assert!(place.fails("fleet.db", &["account", "add", "Ada", "--role", "admin"], 1).contains("there is an account Ada already"));
    assert!(place.fails("fleet.db", &["account", "add", "a b", "--role", "admin"], 2).contains("\"a b\" is not"));
    assert!(place.fails("fleet.db", &["account", "add", "bea"], 2).contains("--role"));
    assert_eq!(place.json("fleet.db", &["account", "role", "ada", "approver"])["role"], "approver");
    assert_eq!(place.json("fleet.db", &["account", "disable", "ada"])["disabled"], true);
    assert!(place.fails("fleet.db", &["sign-in-link", "--name", "ada"], 1).contains("the account ada is disabled"));
    assert!(said(&place, &["account", "list"]).contains("disabled"));
    assert_eq!(place.json("fleet.db", &["account", "enable", "ada"])["disabled"], false);
    assert!(place.fails("fleet.db", &["account", "disable", "eve"], 1).contains("there is no account eve"));
    assert_eq!(place.json("fleet.db", &["account", "list"])["accounts"][0]["name"], "ada");
    assert!(said(&place, &["sign-in-link", "--name", "ada"]).contains("/sign-in#token="));
    let other = place.fails("fleet.db", &["sign-in-link", "--name", "ada", "--role", "admin"], 1);
    assert!(other.contains("the account ada has the role approver"), "{other}");
}

#[test]
fn a_password_is_read_from_standard_input_and_never_from_an_argument() {
    let place = place();
    said(&place, &["account", "add", "ada", "--role", "viewer"]);
    let set = |input: &str| place.command("fleet.db").args(["account", "password", "ada"]).write_stdin(input).assert();
    set("correct horse battery\n").success();
    assert_eq!(place.json("fleet.db", &["account", "list"])["accounts"][0]["has_password"], true);
    for (weak, why) in [("short\n", "at least 12 characters"), ("", "at least 12 characters"), (&"long ".repeat(300), "1024 bytes")] {
        let refused = set(weak).code(1);
        let refused = String::from_utf8(refused.get_output().stderr.clone()).unwrap();
        assert!(refused.contains(why), "{refused}");
        assert!(weak.len() < 2 || !refused.contains(weak.trim()), "{refused}");
    }
    place.fails("fleet.db", &["account", "password", "ada", "correct horse battery"], 2);
    place.fails("fleet.db", &["account", "password", "ada", "--password", "correct horse battery"], 2);
    assert!(place.fails("fleet.db", &["account", "password", "eve"], 1).contains("there is no account eve"));
}

#[test]
fn api_tokens_are_made_listed_and_revoked() {
    let place = place();
    let create = ["api-token", "create", "--account", "ada", "--label", "pipeline", "--scope", "read,decide"];
    assert!(place.fails("fleet.db", &create, 1).contains("there is no account ada"));
    said(&place, &["account", "add", "ada", "--role", "viewer"]);
    let made = place.json("fleet.db", &create);
    let (token, id) = (made["token"].as_str().unwrap(), made["listed"]["id"].as_str().unwrap());
    assert!(token.starts_with("redflag_"), "{token}");
    assert_eq!(made["listed"]["scopes"], json!(["read", "decide"]));
    let listed = said(&place, &["api-token", "list", "--account", "ADA"]);
    assert!(listed.contains(id) && listed.contains("pipeline") && listed.contains("never used") && !listed.contains(token), "{listed}");
    assert_eq!(place.json("fleet.db", &["api-token", "list", "--account", "operator"])["tokens"], json!([]));
    for wrong in [&["--scope", "root"][..], &["--expires", "367d"], &["--expires", "0d"]] {
        place.fails("fleet.db", &[&create[..], wrong].concat(), 2);
    }
    assert!(said(&place, &["api-token", "revoke", id]).contains("was revoked"));
    assert!(place.fails("fleet.db", &["api-token", "revoke", id], 1).contains("there is no API token"));
    assert_eq!(said(&place, &["api-token", "list"]), "");
}
