//! Accounts in the browser: a first password, a second person, a token, a second factor, and the way out.

use crate::{Desk, host::Host};
use redflag_server::{
    access::{self, FactorSecret, RECOVERY_CODES},
    clock,
};
use std::time::Duration;

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
    assert!(chrome.text("[role=alert]").await.contains("Name, password or code is wrong"));
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_factor_is_set_up_asked_for_and_removed() {
    let desk = Desk::at(Host::empty().await).await;
    let chrome = &desk.chrome;
    desk.open("/account").await;
    chrome.follow("a[href='/account/second-factor']").await;
    let secret = FactorSecret::parse(&chrome.text("#secret").await).unwrap();
    let sides = "const box = document.querySelector('.qr').getBoundingClientRect(); return box.width > 150 && box.width === box.height";
    assert_eq!(chrome.evaluate(sides).await, true, "the QR code is large enough to be read, and square");
    desk.shots("second-factor").await;
    desk.fill("code", "000").await;
    chrome.follow("form[action='/account/second-factor'] button").await;
    assert!(chrome.text("[role=alert]").await.contains("the code is wrong"));
    assert_eq!(FactorSecret::parse(&chrome.text("#secret").await).unwrap(), secret, "what was scanned already stays");
    let began = clock::now();
    desk.fill("code", &secret.code(began)).await;
    chrome.follow("form[action='/account/second-factor'] button").await;
    let codes = chrome.text("#recovery-codes").await;
    let codes: Vec<_> = codes.split_whitespace().collect();
    assert_eq!(codes.len(), RECOVERY_CODES, "{codes:?}");
    desk.shots("second-factor-recovery").await;

    // The page's own way out is of the new session.
    chrome.follow(".who form button").await;
    assert_eq!(chrome.place().await, "/sign-in");
    let link = access::issue_sign_in_link(desk.host.fleet.store(), "operator".parse().unwrap(), None).await.unwrap();
    chrome.open(&link.url(&desk.host.url)).await;
    chrome.follow("#by-link button").await;
    desk.fill("link-code", "123").await;
    chrome.follow("#by-code button").await;
    assert!(chrome.text("[role=alert]").await.contains("The code is wrong"));
    desk.shots("sign-in-code").await;
    desk.fill("link-code", &secret.code(began.saturating_add(Duration::from_secs(30)))).await;
    chrome.follow("#by-code button").await;
    assert_eq!(chrome.place().await, "/");
    desk.open("/account/second-factor").await;
    desk.shots("second-factor-set").await;
    desk.fill("code", codes[0]).await;
    chrome.follow("form[action='/account/second-factor/remove'] button").await;
    assert_eq!(chrome.place().await, "/account");
    assert!(chrome.text("main").await.contains("Set one up"));
    let complaints = chrome.complaints().await;
    assert!(complaints.iter().all(|complaint| ["401", "403"].iter().any(|status| complaint.contains(status))), "{complaints:?}");
}
