//! A real browser: Debian's Chromium and its driver, started for one test and ended with it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use thirtyfour::{By, CapabilitiesHelper as _, ChromiumLikeCapabilities as _, DesiredCapabilities, WebDriver};

const CHROMIUM: &str = "/usr/bin/chromium";
const DRIVER: &str = "/usr/bin/chromedriver";
const FLAGS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
];

/// A browser with a profile of its own, and the driver that drives it.
pub(crate) struct Chrome {
    pub(crate) driver: WebDriver,
    process: Child,
    session: String,
    client: reqwest::Client,
    _profile: tempfile::TempDir,
}

impl Chrome {
    /// Starts both.
    pub(crate) async fn start() -> Self {
        for (file, package) in [(CHROMIUM, "chromium"), (DRIVER, "chromium-driver")] {
            assert!(Path::new(file).exists(), "{file} is missing: apt-get install --no-install-recommends {package}");
        }
        // Every HTTP client needs a provider, the driver's own included; another test may have installed it already.
        rustls::crypto::ring::default_provider().install_default().ok();
        let (process, port) = start_driver();
        let profile = tempfile::tempdir().expect("a directory for the profile");
        let mut wanted = DesiredCapabilities::chrome();
        wanted.set_binary(CHROMIUM).unwrap();
        FLAGS.iter().for_each(|flag| wanted.add_arg(flag).unwrap());
        wanted.add_arg(&format!("--user-data-dir={}", profile.path().display())).unwrap();
        wanted.set("goog:loggingPrefs", json!({"browser": "ALL", "performance": "ALL"})).unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let driver = WebDriver::new(&url, wanted).await.expect("the browser opens");
        let session = format!("{url}/session/{}", driver.session_id());
        Self { driver, process, session, client: reqwest::Client::new(), _profile: profile }
    }

    /// Opens `url` and waits until it is loaded.
    pub(crate) async fn open(&self, url: &str) {
        self.driver.goto(url).await.unwrap();
    }

    /// What a script answers.
    pub(crate) async fn evaluate(&self, script: &str) -> Value {
        let answer = self.driver.execute(script, Vec::new()).await;
        answer.unwrap_or_else(|error| panic!("{script}: {error}")).json().clone()
    }

    /// The text of the first element that matches.
    pub(crate) async fn text(&self, css: &str) -> String {
        let found = self.driver.find(By::Css(css)).await;
        found.unwrap_or_else(|error| panic!("{css}: {error}")).text().await.unwrap()
    }

    /// The texts of all elements that match.
    pub(crate) async fn texts(&self, css: &str) -> Vec<String> {
        let script = format!("return [...document.querySelectorAll({css:?})].map((element) => element.textContent.trim())");
        serde_json::from_value(self.evaluate(&script).await).unwrap()
    }

    /// Clicks the first element that matches.
    pub(crate) async fn click(&self, css: &str) {
        let found = self.driver.find(By::Css(css)).await.unwrap_or_else(|error| panic!("{css}: {error}"));
        found.click().await.unwrap_or_else(|error| panic!("{css}: {error}"));
    }

    /// Clicks the first element that matches and waits for the page it leads to.
    pub(crate) async fn follow(&self, css: &str) {
        self.evaluate("document.documentElement.dataset.left = ''").await;
        self.click(css).await;
        self.arrive(css).await;
    }

    /// Waits until the page that a script left has been replaced.
    pub(crate) async fn arrive(&self, way: &str) {
        let arrived = "return document.readyState === 'complete' && !('left' in document.documentElement.dataset)";
        assert!(self.comes_true(arrived).await, "{way} leads nowhere; still at {}", self.place().await);
    }

    /// Waits until a script answers `true`.
    pub(crate) async fn until(&self, script: &str) {
        assert!(self.comes_true(script).await, "never true at {}: {script}", self.place().await);
    }

    async fn comes_true(&self, script: &str) -> bool {
        for _ in 0..2_000 {
            if self.evaluate(script).await == true {
                return true;
            }
            tokio::task::yield_now().await;
        }
        false
    }

    /// Path and query of the page shown.
    pub(crate) async fn place(&self) -> String {
        self.evaluate("return location.pathname + location.search").await.as_str().unwrap().to_owned()
    }

    /// A window of `width` and `height` CSS pixels, `dark` or `light`.
    pub(crate) async fn look(&self, width: u32, height: u32, scheme: &str) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.devtools("Emulation.setEmulatedMedia", json!({"features": features})).await;
    }

    /// Saves what the page looks like from its top, at most `height` pixels of it.
    pub(crate) async fn shoot(&self, name: &str, width: u32, height: u32) {
        let clip = json!({"x": 0, "y": 0, "width": width, "height": height, "scale": 1});
        let taken = self.devtools("Page.captureScreenshot", json!({"format": "png", "captureBeyondViewport": true, "clip": clip})).await;
        let png = STANDARD.decode(taken["data"].as_str().unwrap()).unwrap();
        fs::write(screenshots().join(format!("{name}.png")), png).unwrap();
    }

    /// What the browser complained about since the last call: script errors and policy violations.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let answer = self.post("se/log", &json!({"type": "browser"})).await;
        let entries = answer.as_array().expect("a log");
        entries.iter().filter(|entry| entry["level"] == "SEVERE").map(|entry| entry["message"].to_string()).collect()
    }

    /// The URLs that pages asked for since the last call, whatever came of it.
    pub(crate) async fn requests(&self) -> Vec<String> {
        let answer = self.post("se/log", &json!({"type": "performance"})).await;
        let told = answer.as_array().expect("a log").iter().filter_map(|entry| entry["message"].as_str());
        let messages = told.map(|text| serde_json::from_str::<Value>(text).expect("a message")["message"].clone());
        let asked = messages.filter(|message| message["method"] == "Network.requestWillBeSent");
        asked.filter_map(|message| message["params"]["request"]["url"].as_str().map(str::to_owned)).collect()
    }

    /// Whether pages opened from now on are spared their content security policy.
    pub(crate) async fn bypass_policy(&self, enabled: bool) {
        self.devtools("Page.setBypassCSP", json!({"enabled": enabled})).await;
    }

    async fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.post("goog/cdp/execute", &json!({"cmd": command, "params": parameters})).await
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.client.post(format!("{}/{path}", self.session)).json(body).send().await.expect("the driver answers");
        let answer: Value = answer.json().await.expect("the driver answers JSON");
        assert!(answer["value"].get("error").is_none(), "{path} {body}: {answer}");
        answer["value"].clone()
    }
}

impl Drop for Chrome {
    fn drop(&mut self) {
        // The driver closes its browser when it is asked to end; killed, it would leave it running.
        let ended = Command::new("kill").arg(self.process.id().to_string()).status();
        assert!(ended.is_ok_and(|status| status.success()) || std::thread::panicking(), "the driver was already gone");
        self.process.wait().expect("the driver ends");
    }
}

/// Starts a driver, and once more where its port was not free: it takes a free one of IPv6, and the same of IPv4 may belong to somebody.
fn start_driver() -> (Child, String) {
    loop {
        let command = Command::new(DRIVER).arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut process = command.expect("the driver starts");
        let mut said = BufReader::new(process.stdout.take().expect("stdout is piped"));
        match listening(&mut said) {
            Ok(port) => {
                // The driver goes on talking, and would stand still if nobody listened.
                std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
                return (process, port);
            }
            Err(words) => {
                process.wait().expect("the driver has ended");
                assert!(words.contains("port not available"), "the driver ended before it listened: {words}");
            }
        }
    }
}

/// The port on which a driver says that it listens, or all it said before it ended.
fn listening(said: &mut impl BufRead) -> Result<String, String> {
    let mut words = String::new();
    loop {
        let mut line = String::new();
        if said.read_line(&mut line).expect("the driver says where it listens") == 0 {
            return Err(words);
        }
        if let Some((_, port)) = line.split_once("started successfully on port ") {
            return Ok(port.trim().trim_end_matches('.').to_owned());
        }
        words += &line;
    }
}

/// Where screenshots go: `REDFLAG_SCREENSHOTS`, or `screenshots` in the target directory.
fn screenshots() -> PathBuf {
    let beside = || Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
    let directory = std::env::var_os("REDFLAG_SCREENSHOTS").map_or_else(beside, PathBuf::from);
    fs::create_dir_all(&directory).expect("a directory for screenshots");
    directory
}
