//! Keys of people, from the command line: made on a person's machine, listed and revoked at the server.

use crate::fleet::{Place, Serving};
use std::os::unix::fs::PermissionsExt as _;

#[test]
fn a_key_is_made_once_shown_listed_and_revoked() {
    let place = Place { directory: tempfile::tempdir().unwrap() };
    drop(Serving::start(&place.path("fleet.db")));
    let file = place.path("home/keys/ada.key").display().to_string();
    let own = |what: &str| place.json("fleet.db", &["signer", what, "--person", "ada", "--key", &file]);
    assert!(place.fails("fleet.db", &["signer", "show", "--key", &file], 1).contains("signer new"));
    let made = own("new");
    let mode = |path: &str| std::fs::metadata(place.path(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("home/keys/ada.key"), mode("home/keys")), (0o600, 0o700));
    assert_eq!(own("show"), made);
    assert!(place.fails("fleet.db", &["signer", "new", "--key", &file], 1).contains("there is a key"), "it is never replaced");
    let (id, public_key) = (made["key_id"].as_str().unwrap(), made["public_key"].as_str().unwrap());
    assert!(made["policy"].as_str().unwrap().starts_with("[[signer]]\nname = \"ada\"\nmode = \"operator-signs\"\npublic_key = \""));

    assert_eq!(place.json("fleet.db", &["signer", "list"])["keys"].as_array().unwrap().len(), 0);
    assert!(place.fails("fleet.db", &["signer", "add", "ada", public_key], 1).contains("no account"));
    place.json("fleet.db", &["sign-in-link", "--name", "ada", "--role", "approver"]);
    let add = ["signer", "add", "ada", public_key, "--label", "laptop", "--name", "root"];
    let listed = place.json("fleet.db", &add);
    assert_eq!((listed["key_id"].as_str(), listed["listed_by"].as_str()), (Some(id), Some("root")));
    assert_eq!(place.json("fleet.db", &add), listed, "the same again");
    assert!(place.fails("fleet.db", &["signer", "add", "ada", "AAAA"], 2).contains("32 bytes"));
    let revoked = place.json("fleet.db", &["signer", "revoke", id, "--reason", "lost"]);
    assert_eq!(revoked["revoked"]["reason"], "lost");
    assert!(place.fails("fleet.db", &add, 1).contains("was revoked"));
    assert!(place.fails("fleet.db", &["signer", "revoke", &"0".repeat(64)], 1).contains("no key"));
    assert_eq!(place.json("fleet.db", &["signer", "list"])["keys"][0]["key_id"].as_str(), Some(id));

    std::fs::set_permissions(place.path("home/keys/ada.key"), std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(place.fails("fleet.db", &["signer", "show", "--key", &file], 1).contains("mode 640"));
}

#[test]
fn how_many_people_sign_is_said_only_where_people_do() {
    let place = Place { directory: tempfile::tempdir().unwrap() };
    assert!(place.fails("fleet.db", &["serve", "--signatures", "2"], 2).contains("--mode operator-signs"));
    for wrong in ["0", "9", "x"] {
        place.fails("fleet.db", &["serve", "--mode", "operator-signs", "--signatures", wrong], 2);
    }
    assert!(!place.path("fleet.db").exists(), "nothing was made");
}
