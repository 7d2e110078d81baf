//! Pages about commands: what they show of a plan, to whom they offer which step, and what a step leads to.

use crate::{
    commands::{Scene, done, exactly, with_more},
    support::{Answer, Harness, Session, TestAgent},
};
use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use redflag_core::{
    Fleet,
    command::{
        payload::SigningMode,
        record::{Claim, Failure, Terms},
    },
    names::Text,
};
use redflag_server::{Role, Settings, signing_key::SigningKey};
use redflag_store_sqlite::SqliteStore;
use serde_json::json;

/// Sends a form as a page does, with the session's token in it.
async fn send(harness: &Harness, session: &Session, path: &str, fields: &str) -> Answer {
    let request = Request::post(path)
        .header(header::COOKIE, &session.cookie)
        .header("sec-fetch-site", "same-origin")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(format!("csrf={}&{fields}", session.csrf)));
    harness.send(request.unwrap()).await
}

fn led_to(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?} {}", answer.text());
    answer.headers[header::LOCATION].to_str().unwrap().to_owned()
}

async fn page(harness: &Harness, session: &Session, path: &str) -> String {
    let answer = harness.get(session, path).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
    answer.text()
}

/// The value of the hidden field `name` of the first form that has it.
fn field(page: &str, name: &str) -> String {
    let (_, rest) = page.split_once(&format!("name=\"{name}\" value=\"")).unwrap_or_else(|| panic!("no field {name}: {page}"));
    rest.split('"').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_plan_beyond_its_terms_is_marked_and_accepted_as_it_was_shown() {
    let scene = Scene::of(Harness::new()).await;
    let (harness, viewer) = (&scene.harness, scene.harness.operator(Role::Viewer).await);
    scene.approve().await;
    let (command, plan) = scene.planned(0, with_more).await;
    let update = format!("/updates/{}", scene.update().await["id"].as_str().unwrap());
    let of_command = format!("/commands/{}/{}", scene.agent.id, command.id);
    for path in [&update, &of_command] {
        let seen = page(harness, &viewer, path).await;
        for words in ["2 changes beyond what was approved", "bash-libs", "new package", "ksh", "removed", "as approved"] {
            assert!(seen.contains(words), "{path}: {words}: {seen}");
        }
        assert_eq!(seen.matches("class=\"beyond\"").count(), 2, "{path}");
        assert!(!seen.contains("/confirm"), "a viewer looks only: {path}");
        let offered = page(harness, &scene.operator, path).await;
        assert_eq!(field(&offered, "plan_digest"), plan.digest().to_string(), "{path}");
        assert!(offered.contains(&format!("action=\"{of_command}/confirm\"")), "{path}");
    }

    let other = "0".repeat(64);
    let refused = send(harness, &scene.operator, &format!("{of_command}/confirm"), &format!("plan_digest={other}")).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(refused.text().contains("Nothing was done") && refused.text().contains("brought no such plan"), "{}", refused.text());

    let shown = page(harness, &scene.operator, &update).await;
    let fields = format!("id={}&plan_digest={}&comment=fine", field(&shown, "id"), field(&shown, "plan_digest"));
    let install = led_to(&send(harness, &scene.operator, &format!("{of_command}/confirm"), &fields).await);
    let again = led_to(&send(harness, &scene.operator, &format!("{of_command}/confirm"), &fields).await);
    assert_eq!(again, install, "a form sent twice has one effect");
    let seen = page(harness, &viewer, &install).await;
    assert!(seen.contains("data-state=\"queued\"") && seen.contains(&format!("href=\"{of_command}\"")), "{seen}");
    let seen = page(harness, &viewer, &of_command).await;
    assert!(seen.contains(&format!("href=\"{install}\"")), "the plan leads to its installation: {seen}");
    let seen = page(harness, &viewer, &update).await;
    assert!(seen.contains(&format!("href=\"{install}\"")), "and so does the update: {seen}");
    assert!(!page(harness, &scene.operator, &of_command).await.contains("/confirm"), "once");
}

#[tokio::test]
async fn what_is_approved_says_what_it_waits_for() {
    let scene = Scene::of(Harness::new()).await;
    let update = format!("/updates/{}", scene.update().await["id"].as_str().unwrap());
    let waits = "it is planned when its agent asks for commands";
    let seen = async || page(&scene.harness, &scene.operator, &update).await.contains(waits);
    assert!(!seen().await, "nothing is approved");
    scene.approve().await;
    assert!(seen().await);
    scene.handed(0).await;
    assert!(!seen().await, "its agent has asked");
}

#[tokio::test]
async fn a_command_shows_its_output_as_it_comes_and_what_can_be_done() {
    let scene = Scene::of(Harness::new()).await;
    let harness = &scene.harness;
    scene.approve().await;
    scene.planned(0, exactly).await;
    let install = scene.handed(1).await;
    let path = format!("/commands/{}/{}", scene.agent.id, install.id);
    let waiting = page(harness, &scene.operator, &path).await;
    assert!(waiting.contains("data-state=\"leased\"") && waiting.contains(&format!("{path}/cancel")), "{waiting}");
    scene.start(install.id).await;
    let body = json!({"offset": 0, "text": "Downloading 10 %\rDownloading 100 %\n\tInstalling <b>bash</b>\u{1b}[0m\n"}).to_string();
    scene.told(install.id, "output", body).await;
    let running = page(harness, &scene.operator, &path).await;
    assert!(running.contains("http-equiv=\"refresh\""), "{running}");
    let output = "Downloading 100 %\n    Installing &#60;b&#62;bash&#60;/b&#62;⟨U+001B⟩[0m\n</pre>";
    assert!(running.contains(output) && !running.contains("Downloading 10 %"), "{running}");

    let failure = Failure { reason: Text::lossy("the disk is full"), rolled_back: false, output: "No space left\n".to_owned() };
    scene.finish(install.id, &Claim::Failed(failure)).await;
    let ended = page(harness, &scene.operator, &path).await;
    assert!(!ended.contains("http-equiv=\"refresh\"") && ended.contains("the disk is full") && ended.contains("No space left"), "{ended}");
    scene.finish(install.id, &done()).await;
    let late = page(harness, &scene.operator, &path).await;
    assert!(late.contains("Said after its end") && late.contains("The agent said that it was carried out"), "{late}");

    let retried = led_to(&send(harness, &scene.operator, &format!("{path}/retry"), &format!("id={}", field(&late, "id"))).await);
    let asked = page(harness, &scene.operator, &format!("{retried}/cancel")).await;
    assert!(asked.contains("Call off “Install bash”?"), "{asked}");
    let cancelled = led_to(&send(harness, &scene.operator, &format!("{retried}/cancel"), "comment=not+today").await);
    assert_eq!(cancelled, retried);
    let seen = page(harness, &scene.operator, &cancelled).await;
    assert!(seen.contains("data-state=\"cancelled\"") && seen.contains("<dd>not today</dd>"), "{seen}");
    let refused = send(harness, &scene.operator, &format!("{path}/retry"), "").await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "its update failed under another command");
    assert!(refused.text().contains("Nothing was done"), "{}", refused.text());
}

#[tokio::test]
async fn the_list_is_narrowed_and_walked_and_a_host_is_told_what_to_do() {
    let scene = Scene::of(Harness::new()).await;
    let harness = &scene.harness;
    let (viewer, admin) = (harness.operator(Role::Viewer).await, harness.operator(Role::Admin).await);
    assert!(page(harness, &viewer, "/commands").await.contains("No command yet"));
    let host = format!("/agents/{}", scene.agent.id);
    let asks = |page: &str| (page.contains("value=\"rescan\""), page.contains("value=\"reboot\""));
    assert_eq!(asks(&page(harness, &viewer, &host).await), (false, false));
    assert_eq!(asks(&page(harness, &scene.operator, &host).await), (true, false));
    let offered = page(harness, &admin, &host).await;
    assert_eq!(asks(&offered), (true, true));

    let path = format!("{host}/commands");
    assert_eq!(send(harness, &scene.operator, &path, "kind=reboot").await.status, StatusCode::FORBIDDEN);
    assert_eq!(send(harness, &admin, &path, "kind=install").await.status, StatusCode::BAD_REQUEST);
    let fields = format!("kind=reboot&id={}", field(&offered, "id"));
    let reboot = led_to(&send(harness, &admin, &path, &fields).await);
    assert_eq!(led_to(&send(harness, &admin, &path, &fields).await), reboot, "a form sent twice has one effect");
    let cancelled = send(harness, &scene.operator, &format!("{reboot}/cancel"), "").await;
    assert_eq!(led_to(&cancelled), reboot, "whoever approves may call it off");
    assert_eq!(
        send(harness, &scene.operator, &format!("{reboot}/retry"), "").await.status,
        StatusCode::FORBIDDEN,
        "and not ask for it again"
    );
    let in_json = harness.post(&scene.operator, &format!("/api/v1{reboot}/retry"), &json!({})).await;
    assert_eq!(in_json.problem(), (403, "role".to_owned()));
    for _ in 0..60 {
        led_to(&send(harness, &scene.operator, &path, "kind=rescan").await);
    }
    let all = page(harness, &viewer, "/commands").await;
    assert!(all.contains("data-total=\"61\"") && all.contains("50 of 61 rows"), "{all}");
    let older = all.split("rel=\"next\" href=\"").nth(1).unwrap().split('"').next().unwrap().replace("&#38;", "&");
    let older = page(harness, &viewer, &older).await;
    assert_eq!(older.matches("<tr data-row>").count(), 11);
    assert!(older.contains("Restart the host") && !older.contains("rel=\"next\""), "{older}");
    let open = page(harness, &viewer, &format!("/commands?state=open&agent_id={}&page_size=100", scene.agent.id)).await;
    assert!(open.contains("data-total=\"60\"") && open.contains("of web-01"), "{open}");
    assert!(page(harness, &viewer, "/commands?state=failed").await.contains("No command passes these filters"));
    assert_eq!(harness.get(&viewer, "/commands?after=x").await.status, StatusCode::BAD_REQUEST);
    let host = page(harness, &viewer, &host).await;
    assert!(host.contains("61 in all</a>"), "{host}");
    let unknown = format!("/commands/{}/{}", scene.agent.id, crate::support::random_id());
    for nothing in [unknown.as_str(), "/commands/x/y"] {
        assert_eq!(harness.get(&viewer, nothing).await.status, StatusCode::NOT_FOUND);
        assert_eq!(send(harness, &scene.operator, &format!("{nothing}/retry"), "").await.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn a_halt_stands_on_every_page_until_it_is_lifted() {
    let scene = Scene::of(Harness::new()).await;
    let harness = &scene.harness;
    let (viewer, admin) = (harness.operator(Role::Viewer).await, harness.operator(Role::Admin).await);
    assert!(!page(harness, &viewer, "/commands").await.contains("/commands/halt"), "an administrator halts");
    let fingerprint = scene.harness.app.signing_key.fingerprint();
    let commands = page(harness, &admin, "/commands").await;
    assert!(commands.contains("/commands/halt") && commands.contains("server-signs") && commands.contains(&fingerprint), "{commands}");
    assert_eq!(send(harness, &admin, "/commands/halt", "reason=+").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(led_to(&send(harness, &admin, "/commands/halt", "reason=a+bad+%3Cmirror%3E").await), "/commands");
    let host = format!("/agents/{}", scene.agent.id);
    let pages = ["/", "/updates", "/packages", "/agents", "/batches", "/commands", "/enrol", &host];
    for path in pages {
        let page = page(harness, &viewer, path).await;
        assert!(page.contains("Commands are halted") && page.contains("by Ada-admin: a bad &#60;mirror&#62;"), "{path}: {page}");
    }
    assert!(page(harness, &admin, "/commands").await.contains("/commands/lift"));
    assert_eq!(led_to(&send(harness, &admin, "/commands/lift", "").await), "/commands");
    for path in pages {
        assert!(!page(harness, &viewer, path).await.contains("Commands are halted"), "{path}");
    }
}

/// Another process prepares it, while this one serves.
#[tokio::test]
async fn a_key_that_was_prepared_is_announced_to_agents_and_shown() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    let settings = |terms| Settings { signing_key: Some(path.clone()), terms, ..Settings::default() };
    let fleet = || Fleet::new(SqliteStore::in_memory().unwrap());
    let scene = Scene::of(Harness::with(fleet(), settings(Terms::default()))).await;
    assert_eq!(scene.lease(0).await.get("next_key_id"), None);
    let next = SigningKey::prepare(&path).unwrap();
    assert_eq!(scene.lease(0).await["next_key_id"], serde_json::json!(next.id()));
    let commands = page(&scene.harness, &scene.operator, "/commands").await;
    assert!(commands.contains(&next.fingerprint()) && commands.contains("signing-key prepare"), "{commands}");
    std::fs::set_permissions(directory.path().join("key.next"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    assert_eq!(scene.lease(0).await.get("next_key_id"), None, "a key that others may read is not to be trusted");
    std::fs::set_permissions(directory.path().join("key.next"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let people = Terms { mode: SigningMode::OperatorSigns, signatures_min: 1, ..Terms::default() };
    let scene = Scene::of(Harness::with(fleet(), settings(people))).await;
    assert_eq!(scene.lease(0).await.get("next_key_id"), None, "nothing waits for it where people sign");
}

#[tokio::test]
async fn a_token_is_shown_once_with_the_exact_commands_and_enrols() {
    let harness = Harness::new();
    let (approver, admin) = (harness.operator(Role::Approver).await, harness.operator(Role::Admin).await);
    let shown = page(&harness, &approver, "/enrol").await;
    assert!(!shown.contains("name=\"seats\"") && shown.contains(&harness.app.signing_key.fingerprint()), "{shown}");
    assert_eq!(send(&harness, &approver, "/enrol", "seats=1&hours=24").await.status, StatusCode::FORBIDDEN);
    for wrong in ["seats=0&hours=24", "seats=2001&hours=24", "seats=x&hours=24", "seats=1&hours=25", "seats=1&hours=24&label=%00"] {
        assert_eq!(send(&harness, &admin, "/enrol", wrong).await.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
    let made = send(&harness, &admin, "/enrol", "seats=2&hours=8&label=web+servers").await;
    assert_eq!((made.status, &made.headers[header::CACHE_CONTROL]), (StatusCode::OK, &"no-store".parse().unwrap()));
    let made = made.text();
    assert!(made.contains("It enrols 2 hosts and expires") && made.contains("for “web servers”"), "{made}");
    let (before, token) = made.split_once(" --token ").unwrap();
    assert!(before.ends_with("redflag-agent enrol --server http://127.0.0.1:8080"), "{before}");
    let token = token.lines().next().unwrap();
    for (number, status) in [StatusCode::CREATED, StatusCode::CREATED, StatusCode::UNAUTHORIZED].into_iter().enumerate() {
        let enrolled = harness.enrol(token, &TestAgent::new(), &format!("web-{number}")).await;
        assert_eq!(enrolled.status, status, "it has two seats");
    }
    assert!(!page(&harness, &admin, "/enrol").await.contains(token), "nobody sees it again");
}
