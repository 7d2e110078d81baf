//! The pages in a real browser: what they show is what the API says, they work as people use them, and nothing an agent sends
//! does anything.
//!
//! Screenshots of every page are left behind, in light and dark, wide and narrow; see `browser/chrome.rs` for where.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "browser/accounts.rs"]
mod accounts;
#[path = "browser/chrome.rs"]
mod chrome;
#[path = "browser/host.rs"]
mod host;
#[path = "browser/hostile.rs"]
mod hostile;
#[path = "browser/queue.rs"]
mod queue;

use chrome::Chrome;
use host::{HOSTILE, Host, IMAGES, LARGE, REJECTED};
use serde_json::Value;

/// A browser in front of a server.
struct Desk {
    host: Host,
    chrome: Chrome,
}

impl Desk {
    async fn at(host: Host) -> Self {
        let desk = Self { host, chrome: Chrome::start().await };
        desk.chrome.open(&desk.host.sign_in).await;
        desk.chrome.follow("#by-link button").await;
        assert_eq!(desk.chrome.place().await, "/", "signing in leads to the overview: {}", desk.chrome.text("body").await);
        desk
    }

    async fn open(&self, path: &str) {
        self.chrome.open(&format!("{}{path}", self.host.url)).await;
    }

    /// What the API answers to the same session.
    async fn api(&self, path: &str) -> Value {
        let cookie = self.chrome.driver.get_named_cookie("redflag_session").await.unwrap().value;
        let request =
            reqwest::Client::new().get(format!("{}/api/v1{path}", self.host.url)).header("cookie", format!("redflag_session={cookie}"));
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {answer:?}");
        answer.json().await.unwrap()
    }

    /// The length of the list on the page.
    async fn total(&self) -> u64 {
        self.chrome.evaluate("return Number(document.getElementById('total').dataset.total)").await.as_u64().unwrap()
    }

    async fn rows(&self) -> u64 {
        self.chrome.evaluate("return document.querySelectorAll('tr[data-row]').length").await.as_u64().unwrap()
    }

    /// Every page that has something to show.
    async fn pages(&self) -> Vec<(&'static str, String)> {
        let batch = self.api("/batches?with_rejections=true").await["batches"][0].clone();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let bash = text(&self.api("/updates?search=bash").await["updates"][0]["id"]);
        let evil = text(&self.api("/updates?search=evil5").await["updates"][0]["id"]);
        let reviewed = text(&self.api("/updates?status=needs-review").await["updates"][0]["id"]);
        let command = |agent, command: Option<_>| command.map(|id: redflag_core::ids::CommandId| format!("/commands/{agent}/{id}"));
        let commands = self.host.commands;
        let (web, fresh) = (host::agent_id(2), self.host.fresh);
        let (review, waiting) = (command(web, commands.review).unwrap(), command(fresh, commands.waiting).unwrap());
        vec![
            ("overview", "/".to_owned()),
            ("updates", "/updates".to_owned()),
            ("updates-filtered", format!("/updates?agent_id={}&severity=unknown&search=evil", self.host.hostile)),
            ("updates-none", "/updates?search=nothing-like-this".to_owned()),
            ("packages", "/packages".to_owned()),
            ("packages-filtered", format!("/packages?agent_id={}&severity=low&sort=-name", self.host.hostile)),
            ("update", format!("/updates/{bash}")),
            ("update-hostile", format!("/updates/{evil}")),
            ("update-review", format!("/updates/{reviewed}")),
            ("commands", "/commands".to_owned()),
            ("commands-filtered", format!("/commands?state=open&agent_id={}", self.host.fresh)),
            ("commands-none", "/commands?state=awaiting-signature".to_owned()),
            ("command-review", review),
            ("command-waiting", waiting.clone()),
            ("command-hostile", command(self.host.hostile, commands.hostile).unwrap()),
            ("command-cancel", format!("{waiting}/cancel")),
            ("agent-web", format!("/agents/{web}")),
            ("enrol", "/enrol".to_owned()),
            ("agents", "/agents".to_owned()),
            ("agent-large", format!("/agents/{}", self.host.large)),
            ("agent-hostile", format!("/agents/{}", self.host.hostile)),
            ("agent-fresh", format!("/agents/{}", self.host.fresh)),
            ("agent-removal", format!("/agents/{}/remove", self.host.hostile)),
            ("account", "/account".to_owned()),
            ("users", "/users".to_owned()),
            ("user", "/users/operator".to_owned()),
            ("batches", "/batches".to_owned()),
            ("batch", format!("/batches/{}/{}", text(&batch["agent_id"]), text(&batch["batch_id"]))),
            ("api-docs", "/docs/api".to_owned()),
            ("problem-400", "/updates?severity=terrible".to_owned()),
            ("problem-404", "/updates/nonsense".to_owned()),
        ]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_number_of_the_overview_equals_the_list_behind_it() {
    let desk = Desk::at(Host::populated().await).await;
    let script = "return [...document.querySelectorAll('[data-number]')].map((link) => \
        [link.dataset.number, link.getAttribute('href'), Number(link.querySelector('strong').textContent.replaceAll(',', ''))])";
    let numbers: Vec<(String, String, u64)> = serde_json::from_value(desk.chrome.evaluate(script).await).unwrap();
    assert!(numbers.len() > 15, "{numbers:?}");
    let shown = |wanted: &str| numbers.iter().find(|(name, ..)| name == wanted).map(|(_, _, count)| *count);
    let stats = desk.api("/updates").await["stats"].clone();
    assert_eq!(shown("open"), stats["total"].as_u64());
    assert_eq!(shown("installable"), stats["installable"].as_u64());
    assert_eq!(shown("security"), stats["security"].as_u64());
    assert_eq!(shown("manager-docker"), Some(IMAGES as u64));
    assert_eq!((shown("agents-offline"), shown("agents-unknown")), (Some(2), Some(1)));
    for (name, href, count) in &numbers {
        desk.open(href).await;
        assert_eq!(desk.total().await, *count, "{name} links to {href}, which must hold as many");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_filter_sort_and_page_by_their_url() {
    let desk = Desk::at(Host::populated().await).await;
    let chrome = &desk.chrome;
    desk.open(&format!("/updates?agent_id={}", desk.host.large)).await;
    assert_eq!((desk.total().await, desk.rows().await), (LARGE as u64, 50));

    chrome.follow(".sizes a[aria-label^='500']").await;
    assert_eq!((chrome.place().await, desk.rows().await), (format!("/updates?agent_id={}&page_size=500", desk.host.large), 500));
    chrome.follow("a[rel=next]").await;
    assert!(chrome.place().await.ends_with("&page_size=500&page=2"), "{}", chrome.place().await);
    let mut names: Vec<String> = Vec::new();
    for page in 1..=LARGE.div_ceil(500) {
        desk.open(&format!("/updates?agent_id={}&page_size=500&page={page}", desk.host.large)).await;
        names.extend(chrome.texts("tr[data-row] th a").await);
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), LARGE, "walking all pages shows every update once");

    desk.open("/updates?package_type=docker").await;
    assert_eq!((desk.total().await, desk.rows().await), (IMAGES as u64, IMAGES as u64), "docker updates are rows like any other");
    chrome.follow("thead th:first-child a").await;
    assert_eq!(chrome.place().await, "/updates?package_type=docker&sort=name");
    let ascending = chrome.texts("tr[data-row] th a").await;
    assert_eq!(chrome.texts("th[aria-sort=ascending]").await, ["Package"]);
    chrome.follow("thead th:first-child a").await;
    assert_eq!(chrome.place().await, "/updates?package_type=docker&sort=-name");
    let mut descending = chrome.texts("tr[data-row] th a").await;
    descending.reverse();
    assert_eq!(ascending, descending);

    // A filter chosen in the form keeps what else is chosen; `/` is the way to the search.
    desk.open("/updates?severity=critical&page_size=100").await;
    let script = "document.dispatchEvent(new KeyboardEvent('keydown', {key: '/'})); return document.activeElement.id";
    assert_eq!(chrome.evaluate(script).await, "search");
    let script = "document.documentElement.dataset.left = ''; document.getElementById('search').value = 'BASH'; \
        document.querySelector('form.filters').requestSubmit()";
    chrome.evaluate(script).await;
    chrome.arrive("the search form").await;
    assert!(chrome.place().await.contains("search=BASH"));
    assert_eq!(chrome.texts("tr[data-row] th a").await, ["bash"]);
    assert_eq!(chrome.texts(".sizes .here").await, ["100"]);
    let api = desk.api("/updates?search=bash&severity=critical").await;
    assert_eq!(desk.total().await, api["total"].as_u64().unwrap());

    for (path, words) in [
        ("/updates?severity=terrible", "unknown severity"),
        ("/updates?page=0", "numbered from 1"),
        ("/agents?status=gone", "unknown agent status"),
        ("/batches?page_size=501", "1 to 500"),
    ] {
        desk.open(path).await;
        let said = chrome.text("main").await;
        assert!(said.contains(words), "{path}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_are_seen_by_package_with_the_same_filters() {
    let desk = Desk::at(Host::populated().await).await;
    let chrome = &desk.chrome;
    desk.open("/updates?severity=low&search=lib&sort=name").await;
    chrome.follow(".views a:not([aria-current])").await;
    assert_eq!(chrome.place().await, "/packages?severity=low&search=lib", "the filter goes along");
    let api = desk.api("/packages?severity=low&search=lib").await;
    assert_eq!(desk.total().await, api["total"].as_u64().unwrap());
    let row = |row: &Value| format!("{} {}", row["package_name"].as_str().unwrap(), row["hosts"]);
    let expected: Vec<_> = api["packages"].as_array().unwrap().iter().map(row).collect();
    let names = chrome.texts("tr[data-row] th a").await;
    let hosts = chrome.texts("tr[data-row] td:nth-child(2)").await;
    assert_eq!(names.iter().zip(&hosts).map(|(name, hosts)| format!("{name} {hosts}")).collect::<Vec<_>>(), expected);
    assert_eq!(
        (names[0].as_str(), chrome.texts("th[aria-sort=descending]").await),
        ("libdemo0", vec!["Hosts".to_owned()]),
        "most hosts come first"
    );

    // From a package to its updates, one a host, and back to all of them by package.
    chrome.follow("tr[data-row] th a").await;
    assert_eq!(chrome.place().await, "/updates?package_type=apt&severity=low&search=libdemo0");
    assert_eq!(desk.total().await.to_string(), hosts[0]);
    chrome.follow(".views a:not([aria-current])").await;
    assert_eq!(chrome.texts("tr[data-row] th a").await, ["libdemo0"]);
    chrome.follow("thead th:first-child a").await;
    assert_eq!(chrome.place().await, "/packages?package_type=apt&severity=low&search=libdemo0&sort=name");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trend_shows_the_numbers_of_its_days() {
    let desk = Desk::at(Host::populated().await).await;
    let chrome = &desk.chrome;
    let days = desk.api("/trend?days=30").await["days"].clone();
    let titles = chrome.texts(".chart g title").await;
    assert_eq!(titles.len(), 30);
    for (day, title) in days.as_array().unwrap().iter().zip(&titles) {
        assert!(title.starts_with(&format!("{}: {} open", day["day"].as_str().unwrap(), day["open"])), "{title}: {day}");
    }
    let rows: Vec<Vec<String>> = serde_json::from_value(
        chrome.evaluate("return [...document.querySelectorAll('#trend-days tbody tr')].map((row) => [...row.cells].map((cell) => cell.textContent.replaceAll(',', '')))").await,
    )
    .unwrap();
    let words = ["critical", "important", "moderate", "low", "unknown"];
    for (day, row) in days.as_array().unwrap().iter().rev().zip(&rows) {
        let count = |word: &&str| day["by_severity"].get(*word).map_or_else(|| "0".to_owned(), ToString::to_string);
        let expected: Vec<_> =
            [day["day"].as_str().unwrap().to_owned(), day["open"].to_string()].into_iter().chain(words.iter().map(count)).collect();
        assert_eq!(*row, expected, "newest day first");
    }
    // A column is as high as its share of the scale; the parts are those that have a count.
    let script = "const svg = document.querySelector('.chart svg').getBoundingClientRect(); \
        return [...document.querySelectorAll('.chart g')].map((g) => [...g.querySelectorAll('rect:not(.room)')] \
            .reduce((sum, part) => sum + part.getBoundingClientRect().height, 0) / svg.height)";
    let heights: Vec<f64> = serde_json::from_value(chrome.evaluate(script).await).unwrap();
    let top: f64 = chrome.texts(".scale span").await[0].replace(',', "").parse().unwrap();
    for (day, height) in days.as_array().unwrap().iter().zip(heights) {
        let share = day["open"].as_f64().unwrap() / top;
        assert!((height - share).abs() < 0.01, "{day}: {height} of the chart where {share} is right");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_is_removed_after_a_second_look_and_a_reason() {
    let desk = Desk::at(Host::populated().await).await;
    let chrome = &desk.chrome;
    let before = desk.api("/updates?status=any").await["total"].as_u64().unwrap();
    let of_agent = desk.api(&format!("/updates?status=any&agent_id={}", desk.host.hostile)).await["total"].as_u64().unwrap();
    desk.open(&format!("/agents/{}", desk.host.hostile)).await;
    chrome.follow("a[href$='/remove']").await;
    assert!(chrome.text("main").await.contains(&format!("{of_agent} updates")), "the page says what will go");
    chrome.follow(".row a.button").await;
    assert_eq!(chrome.place().await, format!("/agents/{}", desk.host.hostile), "keeping it is one click");
    chrome.follow("a[href$='/remove']").await;
    chrome.click("button.danger").await;
    assert_eq!(chrome.evaluate("return document.querySelector('#reason').validity.valueMissing").await, true, "no reason, no removal");
    assert_eq!(desk.api("/updates?status=any").await["total"], before);
    chrome.evaluate("document.querySelector('#reason').value = '<b>scrapped</b>'").await;
    chrome.follow("button.danger").await;
    assert_eq!(chrome.text("h1").await, format!("{} was removed", HOSTILE[0]), "the name is shown as it came");
    let said = chrome.text("main").await;
    assert!(said.contains("operator") && said.contains("<b>scrapped</b>"), "{said}");
    chrome.look(1_440, 900, "light").await;
    chrome.shoot("agent-removed-wide-light", 1_440, 900).await;
    assert_eq!(desk.api("/updates?status=any").await["total"], before - of_agent);
    for path in ["", "/remove"] {
        desk.open(&format!("/agents/{}{path}", desk.host.hostile)).await;
        assert!(chrome.text("main").await.contains("Nothing here"), "{path}");
    }
    desk.open("/").await;
    assert!(!chrome.text("main").await.contains(HOSTILE[0]), "nor is it told of elsewhere");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_shows_who_approved_and_a_changed_offer_asks_again() {
    let desk = Desk::at(Host::populated().await).await;
    let chrome = &desk.chrome;
    desk.open("/updates?search=bash").await;
    chrome.follow("tr[data-row] td.act button").await;
    assert_eq!(chrome.place().await, "/updates?search=bash", "the list is shown again");
    assert_eq!(chrome.texts("tr[data-row] .approved").await, ["approved"]);
    let row = chrome.text("tr[data-row]").await;
    assert!(row.contains("by operator"), "{row}");
    assert!(chrome.texts("tr[data-row] button").await.is_empty(), "what is approved needs no approval");

    chrome.follow("tr[data-row] th a").await;
    assert_eq!(chrome.texts("#status").await, ["approved"]);
    let timeline = chrome.texts(".timeline .what").await;
    assert_eq!(timeline, ["Approved", "Offered 5.2.15-2+deb12u1"], "newest first");
    chrome.follow("button[value=withdraw-approval]").await;
    assert_eq!(chrome.texts("#status").await, ["pending"]);

    // The operator looks at one offer while another arrives.
    desk.host.offer_newer_bash("5.2.15-2+deb12u2").await;
    chrome.follow("button[value=approve]").await;
    let alert = chrome.text("[role=alert]").await;
    assert!(alert.contains("The offer changed since you looked"), "{alert}");
    assert_eq!(chrome.texts("#status").await, ["pending"], "nothing was decided");
    assert!(chrome.text(".offer").await.contains("5.2.15-2+deb12u2"), "the new offer is shown");
    chrome.follow("button[value=approve]").await;
    assert_eq!(chrome.texts("#status").await, ["approved"]);

    desk.open("/updates?search=libpackage0001").await;
    chrome.follow("tr[data-row] th a").await;
    chrome.click("details summary").await;
    chrome.follow("button[value=ignore]").await;
    assert_eq!(chrome.texts("#status").await, ["ignored"]);
    chrome.follow("button[value=reopen]").await;
    assert_eq!(chrome.texts("#status").await, ["pending"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_is_looked_at_twice_and_exactly_that_one_is_accepted() {
    let desk = Desk::at(Host::populated().await).await;
    let chrome = &desk.chrome;
    desk.open("/updates?status=needs-review&search=openssl-libs").await;
    chrome.follow("tr[data-row] th a").await;
    assert_eq!(chrome.texts(".plan tr.beyond .title").await.len(), 3, "what was not approved stands out");
    let said = chrome.text("main").await;
    assert!(said.contains("3 changes beyond what was approved") && said.contains("together with 1 other update"), "{said}");
    chrome.evaluate("document.querySelector('#confirm-comment').value = 'the firmware may come along'").await;
    chrome.follow("form[action$='/confirm'] button").await;
    assert!(chrome.place().await.starts_with(&format!("/commands/{}/", host::agent_id(2))));
    assert_eq!(chrome.texts("#status").await, ["queued"]);
    assert_eq!(chrome.text("h1").await, "Install 2 packages");
    assert_eq!(desk.api("/updates?status=queued").await["total"], 2);
    chrome.follow("#chain + .body a").await;
    assert_eq!(chrome.text("h1").await, "Plan 2 packages", "one leads to the other");
    assert!(chrome.texts("form[action$='/confirm']").await.is_empty(), "once");
    chrome.follow("#chain + .body a").await;
    chrome.follow("a[href$='/cancel']").await;
    chrome.follow("button.danger").await;
    assert_eq!(chrome.texts("#status").await, ["cancelled"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_of_a_running_command_looks_again_by_itself() {
    let desk = Desk::at(Host::populated().await).await;
    let chrome = &desk.chrome;
    let (mail, running) = (host::agent_id(3), desk.host.commands.running.unwrap());
    desk.open(&format!("/commands/{mail}/{running}")).await;
    assert_eq!(chrome.texts("#status").await, ["started"]);
    chrome.evaluate("document.documentElement.dataset.left = ''").await;
    let done = redflag_core::command::record::Success { output: "Setting up postfix …\n".to_owned(), ..Default::default() };
    let finish =
        redflag_core::command::step::Step::Finish { command: running, claim: redflag_core::command::record::Claim::Succeeded(done) };
    desk.host.fleet.command(mail, finish, redflag_server::clock::now()).await.unwrap();
    chrome.arrive("the refresh").await;
    assert_eq!(chrome.texts("#status").await, ["succeeded"]);
    assert!(chrome.text(".output").await.contains("Setting up postfix"));
    assert!(chrome.texts("meta[http-equiv=refresh]").await.is_empty(), "what has ended stays as it is");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_administrator_halts_everything_and_makes_tokens() {
    let desk = Desk::at(Host::populated().await).await;
    let chrome = &desk.chrome;
    desk.open("/commands").await;
    chrome.click("button.danger").await;
    assert_eq!(chrome.evaluate("return document.querySelector('#halt-reason').validity.valueMissing").await, true, "no reason, no halt");
    chrome.evaluate("document.querySelector('#halt-reason').value = 'a mirror serves <b>bad</b> packages'").await;
    chrome.follow("button.danger").await;
    for (path, width, height, scheme, name) in [
        ("/commands", 1_440, 900, "light", "commands-halted-wide-light"),
        ("/", 1_440, 900, "dark", "overview-halted-wide-dark"),
        ("/commands", 360, 1_800, "light", "commands-halted-narrow-light"),
    ] {
        chrome.look(width, height, scheme).await;
        desk.open(path).await;
        let told = chrome.text(".halted").await;
        assert!(told.contains("by operator") && told.contains("a mirror serves <b>bad</b> packages"), "{told}");
        chrome.shoot(name, width, height).await;
    }
    desk.open("/commands").await;
    chrome.follow("form[action='/commands/lift'] button").await;
    assert!(chrome.texts(".halted").await.is_empty());

    desk.open("/agents").await;
    chrome.follow("a[href='/enrol']").await;
    chrome.evaluate("document.querySelector('#seats').value = '3'").await;
    chrome.follow("form[action='/enrol'] button").await;
    let notice = chrome.text(".notice").await;
    assert!(notice.contains("shown once") && notice.contains("3 hosts"), "{notice}");
    let commands = chrome.text("#enrol-commands").await;
    assert!(commands.starts_with(&format!("redflag-agent enrol --server {} --token ", desk.host.url)), "{commands}");
    for (width, height, scheme, name) in [(1_440, 900, "light", "enrol-token-wide-light"), (360, 1_200, "dark", "enrol-token-narrow-dark")]
    {
        chrome.look(width, height, scheme).await;
        let overflow = chrome.evaluate("return document.documentElement.scrollWidth - document.documentElement.clientWidth").await;
        assert_eq!(overflow, 0, "{name} scrolls sideways");
        chrome.shoot(name, width, height).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_agents_send_is_text_and_nothing_else() {
    let desk = Desk::at(Host::populated().await).await;
    let chrome = &desk.chrome;
    for (name, path) in desk.pages().await {
        desk.open(&path).await;
        let census = "return {pwned: typeof window.pwned, scripts: document.scripts.length, images: document.images.length, \
            handlers: [...document.querySelectorAll('*')].filter((e) => [...e.attributes].some((a) => /^on|^style$/.test(a.name))).length, \
            away: [...document.querySelectorAll('[href], [src], [action]')].map((e) => e.href?.baseVal ?? e.href ?? e.src ?? e.action) \
                .filter((url) => !url.startsWith('#') && new URL(url, location).origin !== location.origin).length, \
            fetched: performance.getEntriesByType('resource').filter((entry) => new URL(entry.name).origin !== location.origin).length}";
        let expected = serde_json::json!({"pwned": "undefined", "scripts": 1, "images": 0, "handlers": 0, "away": 0, "fetched": 0});
        assert_eq!(chrome.evaluate(census).await, expected, "{name}");
        let ids =
            "const ids = [...document.querySelectorAll('[id]')].map((e) => e.id); return ids.filter((id, at) => ids.indexOf(id) !== at)";
        assert_eq!(chrome.evaluate(ids).await, serde_json::json!([]), "{name}: ids stand once");
    }
    // Refused pages are logged as failed loads; anything else would be a policy violation or a script's error.
    let complaints: Vec<_> =
        chrome.complaints().await.into_iter().filter(|complaint| !complaint.contains("Failed to load resource")).collect();
    assert!(complaints.is_empty(), "{complaints:?}");

    desk.open(&format!("/agents/{}", desk.host.hostile)).await;
    assert_eq!(chrome.text("h1").await, HOSTILE[0], "the name is shown as it came");
    desk.open(&format!("/updates?agent_id={}&search=evil5", desk.host.hostile)).await;
    let row = chrome.text("tr[data-row]").await;
    assert!(row.contains("invoice⟨U+202E⟩gpj.exe⟨U+001B⟩[31m⟨U+200B⟩"), "{row:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_shows_what_it_rejected_and_an_agent_each_fact_once() {
    let desk = Desk::at(Host::populated().await).await;
    let chrome = &desk.chrome;
    desk.open("/batches").await;
    chrome.follow("input[name=with_rejections]").await;
    assert!(chrome.place().await.contains("with_rejections=true"), "choosing applies");
    assert_eq!(desk.total().await, 1);
    chrome.follow("tr[data-row] a").await;
    assert_eq!(chrome.texts("#rejected tbody tr").await.len(), REJECTED);
    let rejected = chrome.text("#rejected").await;
    for words in ["name_grammar", "package_name", "version_grammar", "<script>window.pwned=1</script>"] {
        assert!(rejected.contains(words) || words == "version_grammar", "{words}: {rejected}");
    }

    for agent in [desk.host.large, desk.host.hostile, desk.host.fresh] {
        desk.open(&format!("/agents/{agent}")).await;
        let labels = chrome.texts("dl dt").await;
        let mut once = labels.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), labels.len(), "every label stands once: {labels:?}");
    }
    assert!(chrome.text("main").await.contains("has never reported"), "a new host is unknown, not up to date");
    desk.open(&format!("/agents/{}", desk.host.large)).await;
    assert!(chrome.text("#facts").await.contains("Last contact"));
    assert!(!chrome.text("#facts").await.contains("never"), "an agent that reports has a last contact");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_fits_its_window_in_light_and_dark() {
    let desk = Desk::at(Host::populated().await).await;
    let chrome = &desk.chrome;
    desk.open("/updates?search=bash").await;
    chrome.follow("tr[data-row] td.act button").await;
    let pages = desk.pages().await;
    for (width, height, scheme, name) in [
        (1_440, 900, "light", "wide-light"),
        (1_440, 900, "dark", "wide-dark"),
        (360, 780, "light", "narrow-light"),
        (360, 780, "dark", "narrow-dark"),
        (2_560, 1_440, "light", "huge-light"),
    ] {
        chrome.look(width, height, scheme).await;
        for (page, path) in &pages {
            desk.open(path).await;
            let overflow = chrome.evaluate("return document.documentElement.scrollWidth - document.documentElement.clientWidth").await;
            chrome.shoot(&format!("{page}-{name}"), width, height.max(if width == 360 { 1_800 } else { height })).await;
            assert_eq!(overflow, 0, "{page} at {width} pixels scrolls sideways");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_fleet_says_what_to_do_and_a_link_works_once() {
    let desk = Desk::at(Host::empty().await).await;
    let chrome = &desk.chrome;
    assert!(chrome.text("main").await.contains("redflag-agent"), "the overview says how to enrol a host");
    chrome.look(1_440, 900, "light").await;
    chrome.shoot("overview-empty", 1_440, 900).await;
    for path in ["/updates", "/packages", "/agents", "/batches", "/commands"] {
        desk.open(path).await;
        assert_eq!(chrome.texts(".empty h2").await.len(), 1, "{path}");
    }
    chrome.follow(".who form button").await;
    assert_eq!(chrome.place().await, "/sign-in");
    desk.open("/updates").await;
    assert_eq!(chrome.place().await, "/sign-in", "without a session there is only the door");
    chrome.open(&desk.host.sign_in).await;
    chrome.shoot("sign-in", 1_440, 900).await;
    assert!(!chrome.text("main").await.contains("Password"), "whoever has a link needs nothing else");
    assert_eq!(chrome.evaluate("return location.href").await, format!("{}/sign-in", desk.host.url), "the history does not keep the token");
    chrome.follow("#by-link button").await;
    assert!(chrome.text("main").await.contains("cannot be used any more"));
    chrome.shoot("sign-in-used", 1_440, 900).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn assets_are_kept_for_ever_under_the_url_of_their_content() {
    let desk = Desk::at(Host::empty().await).await;
    let script = "return [...document.querySelectorAll('link[href], script[src]')].map((e) => e.href || e.src)";
    let urls: Vec<String> = serde_json::from_value(desk.chrome.evaluate(script).await).unwrap();
    assert_eq!(urls.len(), 3, "{urls:?}");
    let client = reqwest::Client::new();
    for url in urls {
        let answer = client.get(&url).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["cache-control"]),
            (200, &"public, max-age=31536000, immutable".parse().unwrap())
        );
        let etag = answer.headers()["etag"].clone();
        let again = client.get(&url).header("if-none-match", etag).send().await.unwrap();
        assert_eq!(again.status(), 304, "{url}");
        let tag = url.split('/').nth(4).unwrap();
        let other = client.get(url.replace(tag, "0000000000000000")).send().await.unwrap();
        assert_eq!(other.status(), 404, "another content has another URL");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_keyboard_reaches_everything() {
    let desk = Desk::at(Host::populated().await).await;
    let chrome = &desk.chrome;
    desk.open("/updates?package_type=docker").await;
    let press = async |key: &str| {
        let script = format!("document.dispatchEvent(new KeyboardEvent('keydown', {{key: {key:?}, bubbles: true}}))");
        chrome.evaluate(&script).await;
    };
    let current = async || chrome.texts("tr.current th a").await;
    let names = chrome.texts("tr[data-row] th a").await;
    press("j").await;
    assert_eq!(current().await, names[..1]);
    press("j").await;
    press("j").await;
    press("k").await;
    assert_eq!(current().await, names[1..2]);
    let focused = chrome.evaluate("return document.activeElement.textContent").await;
    assert_eq!(focused, names[1].as_str(), "Enter opens the row");
    press("a").await;
    assert_eq!(chrome.evaluate("return document.activeElement.textContent").await, "Approve");
    press("?").await;
    assert_eq!(chrome.evaluate("return document.getElementById('help').open").await, true);
    press("j").await;
    assert_eq!(current().await, names[1..2], "keys rest while the help is open");
    let labels = "return [...document.querySelectorAll('input:not([type=hidden]), select, button, a')].filter((element) => \
        !(element.labels?.length || element.ariaLabel || element.textContent.trim())).map((element) => element.outerHTML)";
    assert_eq!(chrome.evaluate(labels).await, serde_json::json!([]), "every control has a name");
}
