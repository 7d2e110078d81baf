//! Accounts in the browser: a first password, a second person, a token, and the way out.

use crate::{Desk, host::Host};
use redflag_server::access;

impl Desk {
    async fn fill(&self, id: &str, value: &str) {
        self.chrome.evaluate(&format!("document.getElementById('{id}').value = '{value}'")).await;
    }

    async fn signed_in(&self, name: &str, password: &str) {
        self.fill("name", name).await;
        self.fill("password", password).await;
        self.chrome.follow("main form button").await;
    }

    /// Of the page shown.
    async fn shots(&self, name: &str) {
        for (width, height, size) in [(1_440, 1_000, "wide"), (360, 1_400, "narrow")] {
            for scheme in ["light", "dark"] {
                self.chrome.look(width, height, scheme).await;
                let overflow = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
                assert_eq!(self.chrome.evaluate(overflow).await, 0, "{name} is wider than its window of {width}");
                self.chrome.shoot(&format!("{name}-{size}-{scheme}"), width, height).await;
            }
        }
        self.chrome.look(1_440, 900, "light").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_password_a_second_person_and_a_token() {
    let desk = Desk::at(Host::empty().await).await;
    let chrome = &desk.chrome;
    chrome.follow(".who a").await;
    assert_eq!((chrome.place().await, chrome.text("h1").await), ("/account".to_owned(), "Your account".to_owned()));
    assert!(chrome.text("main").await.contains("You have no password yet"));
    desk.fill("new", "correct horse battery").await;
    desk.fill("again", "correct horse batteri").await;
    chrome.follow("form[action='/account/password'] button").await;
    assert!(chrome.text("[role=alert]").await.contains("not the same"));
    desk.shots("account-refused").await;
    desk.fill("new", "correct horse battery").await;
    desk.fill("again", "correct horse battery").await;
    chrome.follow("form[action='/account/password'] button").await;
    assert_eq!(chrome.text("#password").await, "Change the password", "still signed in, under a new session");

    desk.fill("label", "dashboard").await;
    chrome.click("input[name=read]").await;
    chrome.follow("form[action='/account/tokens'] button").await;
    let token = chrome.text("#token").await;
    assert!(token.starts_with("redflag_"), "{token}");
    desk.shots("account-token").await;
    let listed = reqwest::Client::new().get(format!("{}/api/v1/agents", desk.host.url)).bearer_auth(&token).send().await.unwrap();
    assert_eq!(listed.status(), 200);
    desk.open("/account").await;
    assert!(!chrome.text("body").await.contains(&token), "it is shown once");
    desk.shots("account").await;
    chrome.follow("form[action$='/revoke'] button").await;
    assert!(chrome.text("main").await.contains("No API tokens"));
    let refused = reqwest::Client::new().get(format!("{}/api/v1/agents", desk.host.url)).bearer_auth(&token).send().await.unwrap();
    assert_eq!(refused.status(), 401);

    chrome.follow("nav[aria-label=Main] a[href='/users']").await;
    desk.fill("name", "operator").await;
    chrome.follow("form[action='/users'] button").await;
    assert!(chrome.text("[role=alert]").await.contains("there is an account operator already"));
    desk.fill("name", "Bea").await;
    chrome.follow("form[action='/users'] button").await;
    assert_eq!((chrome.place().await, chrome.text("h1").await), ("/users/Bea".to_owned(), "Bea".to_owned()));
    chrome.follow("form[action$='/link'] button").await;
    let link = chrome.text("#link").await;
    desk.shots("user-link").await;
    desk.open("/users").await;
    assert_eq!(chrome.texts("#users tbody th a").await, ["Bea", "operator"]);
    desk.shots("users").await;
    desk.open("/users/operator").await;
    assert!(chrome.texts("form[action$='/disable']").await.is_empty(), "nobody disables their own account");
    desk.open("/account").await;
    chrome.follow("form[action='/account/sign-out'] button").await;
    assert_eq!(chrome.place().await, "/sign-in");
    desk.open("/users").await;
    assert_eq!(chrome.place().await, "/sign-in", "the session is gone");

    desk.signed_in("operator", "wrong horse battery").await;
    assert!(chrome.text("[role=alert]").await.contains("Name or password is wrong"));
    assert_eq!(chrome.evaluate("return document.getElementById('name').value").await, "operator", "the name is kept");
    assert_eq!(chrome.evaluate("return document.getElementById('password').value").await, "");
    desk.shots("sign-in-wrong").await;
    desk.signed_in("operator", "correct horse battery").await;
    assert_eq!(chrome.place().await, "/");
    chrome.follow(".who form button").await;
    desk.shots("sign-in").await;

    // Where scripts are off, the token is typed.
    chrome.click("details summary").await;
    let token = link.split_once("token=").unwrap().1;
    desk.fill("token", token).await;
    desk.shots("sign-in-token").await;
    chrome.follow("details button").await;
    assert_eq!(chrome.place().await, "/");
    assert!(chrome.texts("nav[aria-label=Main] a").await.iter().all(|title| title != "Users"), "a viewer is not shown what is not theirs");
    desk.open("/users").await;
    assert!(chrome.text("main").await.contains("Not allowed"));
    desk.open("/account").await;
    access::set_standing(desk.host.fleet.store(), &"bea".parse().unwrap(), access::Standing::Disabled).await.unwrap();
    desk.open("/account").await;
    assert_eq!(chrome.place().await, "/sign-in", "a disabled account is signed out at once");
    // What was refused on purpose is no complaint.
    let complaints = chrome.complaints().await;
    assert!(
        complaints.iter().all(|complaint| ["400", "401", "403", "409"].iter().any(|status| complaint.contains(status))),
        "{complaints:?}"
    );
}
