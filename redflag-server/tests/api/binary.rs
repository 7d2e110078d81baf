//! The binary: its command line beside a running server, and its signals.

use crate::{
    process::{Running, client, enrol, output},
    support::TestAgent,
};
use serde_json::{Value, json};

#[tokio::test]
async fn links_and_tokens_are_made_beside_the_running_server_and_sigterm_ends_it_cleanly() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("fleet.db");
    let client = client();
    let mut running = Running::start(&database, 3).await;
    let link = running.first_lines[2].split(' ').next_back().unwrap().to_owned();
    assert!(link.starts_with(&format!("{}/sign-in#token=", running.url)), "the first start prints a link: {link}");
    assert_eq!(client.get(&link).send().await.unwrap().status(), 200);

    let (code, made, _) = output(&database, &["sign-in-link", "--name", "ada", "--json"]).await;
    let made: Value = serde_json::from_str(&made).unwrap();
    assert_eq!(code, 0);
    assert!(made["url"].as_str().unwrap().starts_with(&running.url) && made["expires_at"].is_string());
    let (code, made, _) = output(&database, &["enrolment-token", "--seats", "2", "--expires", "1h", "--json"]).await;
    let made: Value = serde_json::from_str(&made).unwrap();
    assert_eq!((code, &made["seats"]), (0, &json!(2)));
    enrol(&client, &running.url, made["token"].as_str().unwrap(), &TestAgent::new()).await;

    running.signal("TERM").await;
    assert!(running.child.wait().await.unwrap().success(), "SIGTERM is a clean end");
}

#[tokio::test]
async fn wrong_usage_says_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("none.db");
    for (arguments, code, words) in [
        (&["serve", "--listen", "0.0.0.0:0"][..], 1, "plain HTTP on 0.0.0.0:0 is refused"),
        (&["serve", "--database", "mysql://x"], 1, "unknown database \"mysql://x\""),
        (&["serve", "--database", "/proc/none/redflag.db"], 1, "opening the database"),
        (&["serve", "--batch-events", "0"], 2, "--batch-events"),
        (&["enrolment-token"], 1, "no database at"),
        (&["enrolment-token", "--expires", "24"], 2, "\"24\" is not a number above 0 with s, m, h or d after it"),
        (&["sign-in-link", "--role", "root"], 2, "unknown role \"root\""),
        (&["dance"], 2, "dance"),
    ] {
        let (status, _, stderr) = output(&database, arguments).await;
        assert_eq!(status, code, "{arguments:?}: {stderr}");
        assert!(stderr.contains(words), "{arguments:?}: {stderr}");
    }
    assert!(!database.exists(), "nothing was made by mistake");
    let (code, help, _) = output(&database, &["--help"]).await;
    assert!(code == 0 && help.contains("Examples:"), "{help}");
}
