//! Hostile text everywhere it can be stored or reflected: no browser runs it or fetches for it, with the content security policy and,
//! because escaping alone must do, without.

use crate::{
    Desk,
    host::{HOSTILE, Host},
};
use serde_json::{Value, json};

impl Desk {
    /// Sends a mutation with the session of the browser.
    async fn mutate(&self, path: &str, body: &Value) {
        let cookie = self.chrome.driver.get_named_cookie("redflag_session").await.unwrap().value;
        let csrf = self.api("/session").await["csrf"].as_str().unwrap().to_owned();
        let request = reqwest::Client::new().post(format!("{}/api/v1{path}", self.host.url)).header("x-csrf-token", csrf);
        let request = request.header("cookie", format!("redflag_session={cookie}")).header("sec-fetch-site", "same-origin");
        let answer = request.json(body).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
    }

    /// Stores hostile text in what operators write, as the hostile host has in what agents send.
    async fn write_hostile_text(&self) {
        let updates = self.api(&format!("/updates?agent_id={}&search=evil&status=pending", self.host.hostile)).await["updates"].clone();
        for (update, text) in updates.as_array().unwrap().iter().zip(HOSTILE.iter().cycle()) {
            let path = |what: &str| format!("/updates/{}/{what}", update["id"].as_str().unwrap());
            let digest = &update["offer_digest"];
            self.mutate(&path("approve"), &json!({"offer_digest": digest, "comment": text})).await;
            self.mutate(&path("withdraw-approval"), &json!({"comment": text})).await;
            self.mutate(&path("ignore"), &json!({"offer_digest": digest, "reason": text})).await;
        }
        for text in HOSTILE {
            self.mutate("/account/tokens", &json!({"label": text, "scopes": ["read"], "expires_in_days": 1})).await;
        }
        self.mutate("/halt", &json!({"reason": HOSTILE[1]})).await;
    }

    /// What a page reflects: of each hostile text, in every place of a URL.
    fn reflections() -> Vec<String> {
        let encoded = |text: &str| text.bytes().fold(String::new(), |all, byte| format!("{all}%{byte:02X}"));
        let places = [
            "/updates?search=",
            "/updates?severity=",
            "/packages?search=",
            "/agents?search=",
            "/agents?status=",
            "/batches?agent_id=",
            "/commands?state=",
            "/updates?",
            "/updates/",
            "/agents/",
            "/commands/x/",
            "/nothing/",
            "/sign-in#token=",
            "/bulk?decision=",
        ];
        HOSTILE.iter().flat_map(|text| places.map(|place| format!("{place}{}", encoded(text)))).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_text_runs_nowhere_and_fetches_nothing_with_and_without_the_policy() {
    let desk = Desk::at(Host::populated().await).await;
    let chrome = &desk.chrome;
    desk.write_hostile_text().await;
    let mut pages: Vec<_> = desk.pages().await.into_iter().map(|(_, path)| path).collect();
    pages.extend(["/account".to_owned(), "/accounts".to_owned()]);
    pages.extend(Desk::reflections());
    for without_policy in [false, true] {
        chrome.bypass_policy(without_policy).await;
        chrome.requests().await;
        for path in &pages {
            desk.open(path).await;
            // A dialog would make this call fail.
            assert_eq!(chrome.evaluate("return typeof window.pwned").await, "undefined", "without policy: {without_policy}, {path}");
        }
        let requests = chrome.requests().await;
        assert!(requests.len() >= pages.len(), "{} requests seen of {} pages", requests.len(), pages.len());
        let foreign: Vec<_> =
            requests.iter().filter(|url| !url.starts_with(&format!("{}/", desk.host.url)) && !url.starts_with("data:")).collect();
        assert!(foreign.is_empty(), "{foreign:?}");
        // Neither the policy nor the harness are asleep: markup that is let in does run, exactly where there is no policy.
        let let_in = "document.body.insertAdjacentHTML('beforeend', '<img id=let-in src=/nothing onerror=\"window.pwned=1\">'); \
            document.getElementById('let-in').addEventListener('error', () => { document.body.dataset.failed = '' })";
        chrome.evaluate(let_in).await;
        chrome.until("return 'failed' in document.body.dataset").await;
        let ran = chrome.evaluate("return typeof window.pwned").await;
        assert_eq!(ran, if without_policy { "number" } else { "undefined" }, "without policy: {without_policy}");
    }
}
