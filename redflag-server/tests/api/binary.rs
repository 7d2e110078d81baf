//! The binary: its command line beside a running server, its signals, and what a kill at any moment leaves behind.

use crate::{
    listing::fleet_report,
    support::{TestAgent, now},
};
use axum::http::Method;
use redflag_core::{query::UpdateFilter, store::StateStore as _};
use redflag_store_sqlite::{Options, SqliteStore};
use serde_json::{Value, json};
use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

struct Running {
    child: Child,
    url: String,
    first_lines: Vec<String>,
    /// Held open, so that the server can write on.
    _output: Lines<BufReader<ChildStdout>>,
}

fn command(database: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redflag-server"));
    command.env("REDFLAG_DATABASE", database).env("REDFLAG_LOG", "warn").env_remove("REDFLAG_PUBLIC_URL").kill_on_drop(true);
    command
}

impl Running {
    async fn start(database: &Path, lines: usize) -> Self {
        let mut child = command(database).args(["serve", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut first_lines = Vec::new();
        while first_lines.len() < lines {
            first_lines.push(output.next_line().await.unwrap().expect("the server says where it serves"));
        }
        let url = first_lines[0].strip_prefix("serving ").unwrap().to_owned();
        Self { child, url, first_lines, _output: output }
    }

    async fn kill(mut self) {
        self.child.start_kill().unwrap();
        self.child.wait().await.unwrap();
    }
}

fn client() -> reqwest::Client {
    // Another test may have installed it already; either way there is one.
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap()
}

async fn output(database: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = command(database).args(arguments).output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

async fn enrol(client: &reqwest::Client, url: &str, token: &str, agent: &TestAgent) {
    let request = client.post(format!("{url}/api/v1/enrol")).json(&agent.enrolment(token, "victim"));
    assert_eq!(request.send().await.unwrap().status(), 201);
}

/// One try to deliver a report: its answer, or none when the server went away.
async fn deliver(client: &reqwest::Client, url: &str, agent: &TestAgent, report: &str) -> Option<Value> {
    let host = url.strip_prefix("http://").unwrap();
    let path = "/api/v1/report";
    let headers = agent.headers(host, &Method::POST, path, report.as_bytes(), now());
    let request = client.post(format!("{url}{path}")).header("content-type", "application/json").body(report.to_owned());
    let request = headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
    let response = request.send().await.ok()?;
    let status = response.status();
    let body = response.bytes().await.ok()?;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    Some(serde_json::from_slice(&body).unwrap())
}

/// Killed before, during and after the commit of a report of 3,772 updates, the server has it exactly once after the retry.
///
/// The moments are sixths of what an undisturbed report takes here and now, so they spread over it on any machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_during_a_report_has_it_exactly_once_after_the_retry() {
    const KILLS: u32 = 8;
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("fleet.db");
    let client = client();
    let mut running = Running::start(&database, 1).await;
    let (_, token, _) = output(&database, &["enrolment-token", "--seats", &(KILLS + 1).to_string()]).await;
    let report = fleet_report().to_string();
    let (mut agents, mut cut_off) = (Vec::new(), 0);
    let undisturbed = TestAgent::new();
    enrol(&client, &running.url, token.trim(), &undisturbed).await;
    let begun = Instant::now();
    deliver(&client, &running.url, &undisturbed, &report).await.expect("nothing kills the server yet");
    let whole = begun.elapsed();
    for round in 0..KILLS {
        let agent = TestAgent::new();
        enrol(&client, &running.url, token.trim(), &agent).await;
        let moment = whole * round / (KILLS - 2);
        let killed = format!("round {round}: killed after {moment:?} of about {whole:?}");
        let url = running.url.clone();
        let killing = async move {
            tokio::time::sleep(moment).await;
            running.kill().await;
        };
        let (first, ()) = tokio::join!(deliver(&client, &url, &agent, &report), killing);
        running = Running::start(&database, 1).await;
        let second = deliver(&client, &running.url, &agent, &report).await.expect("the restarted server answers");
        assert_eq!(second["recorded"], 3_772, "{killed}");
        match first {
            Some(first) => assert_eq!(first, second, "{killed}: what was acknowledged changed"),
            None => cut_off += 1,
        }
        agents.push(agent.id);
    }
    running.kill().await;
    println!("{cut_off} of {KILLS} kills came before the answer");
    assert!(cut_off > 0, "no kill came before an answer: the moments are too late for this machine");
    let store = SqliteStore::open(&database, Options::default()).unwrap();
    for agent in agents {
        let head = store.agent(agent).await.unwrap().unwrap();
        assert_eq!((head.events, head.batches), (3_772, 38));
        let stats = store.stats(&UpdateFilter { agent: Some(agent), ..UpdateFilter::default() }).await.unwrap();
        assert_eq!(stats.total, 3_772);
    }
}

#[tokio::test]
async fn links_and_tokens_are_made_beside_the_running_server_and_sigterm_ends_it_cleanly() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("fleet.db");
    let client = client();
    let mut running = Running::start(&database, 2).await;
    let link = running.first_lines[1].split(' ').next_back().unwrap().to_owned();
    assert!(link.starts_with(&format!("{}/sign-in?token=", running.url)), "the first start prints a link: {link}");
    assert_eq!(client.get(&link).send().await.unwrap().status(), 200);

    let (code, made, _) = output(&database, &["sign-in-link", "--name", "ada", "--json"]).await;
    let made: Value = serde_json::from_str(&made).unwrap();
    assert_eq!(code, 0);
    assert!(made["url"].as_str().unwrap().starts_with(&running.url) && made["expires_at"].is_string());
    let (code, made, _) = output(&database, &["enrolment-token", "--seats", "2", "--expires", "1h", "--json"]).await;
    let made: Value = serde_json::from_str(&made).unwrap();
    assert_eq!((code, &made["seats"]), (0, &json!(2)));
    enrol(&client, &running.url, made["token"].as_str().unwrap(), &TestAgent::new()).await;

    let pid = running.child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
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
