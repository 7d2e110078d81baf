//! The server's binary as a process: started, asked, killed.

use crate::support::{TestAgent, now};
use axum::http::Method;
use std::{ffi::OsStr, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

/// A server that runs.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) url: String,
    pub(crate) first_lines: Vec<String>,
    /// Held open, so that the server can write on.
    _output: Lines<BufReader<ChildStdout>>,
}

const BINARY: &str = env!("CARGO_BIN_EXE_redflag-server");

fn command(database: impl AsRef<OsStr>) -> Command {
    prepared(Command::new(BINARY), database)
}

fn prepared(mut command: Command, database: impl AsRef<OsStr>) -> Command {
    // Beside a database that is no file, the key that signs lies where the server was started.
    command.current_dir(env!("CARGO_TARGET_TMPDIR"));
    command.env("REDFLAG_DATABASE", database).env("REDFLAG_LOG", "error").env_remove("REDFLAG_PUBLIC_URL").kill_on_drop(true);
    command
}

impl Running {
    /// Starts it and reads its first lines.
    pub(crate) async fn start(database: impl AsRef<OsStr>, lines: usize) -> Self {
        Self::started(command(database), &[], lines).await
    }

    /// The same, with further arguments; its log can be read on its standard error.
    pub(crate) async fn start_with(database: impl AsRef<OsStr>, arguments: &[&OsStr], lines: usize) -> Self {
        let mut command = command(database);
        command.env("REDFLAG_LOG", "info").stderr(Stdio::piped());
        Self::started(command, arguments, lines).await
    }

    /// The same without arguments, under a limit in the words of the shell's `ulimit`.
    pub(crate) async fn start_under(limit: &str, database: impl AsRef<OsStr>, lines: usize) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit {limit} && exec \"$0\" \"$@\""), BINARY]);
        let mut command = prepared(shell, database);
        command.env("REDFLAG_LOG", "warn").stderr(Stdio::piped());
        Self::started(command, &[], lines).await
    }

    async fn started(mut command: Command, arguments: &[&OsStr], lines: usize) -> Self {
        let mut child = command.args(["serve", "--listen", "127.0.0.1:0"]).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut first_lines = Vec::new();
        while first_lines.len() < lines {
            first_lines.push(output.next_line().await.unwrap().expect("the server says where it serves"));
        }
        let url = first_lines[0].strip_prefix("serving ").unwrap().to_owned();
        Self { child, url, first_lines, _output: output }
    }

    pub(crate) async fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().await.unwrap().success());
    }

    pub(crate) async fn kill(mut self) {
        self.child.start_kill().unwrap();
        self.child.wait().await.unwrap();
    }
}

pub(crate) fn client() -> reqwest::Client {
    builder().build().unwrap()
}

/// A client that shows redirects, and the cookies that come with them.
pub(crate) fn client_that_follows_nothing() -> reqwest::Client {
    builder().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

fn builder() -> reqwest::ClientBuilder {
    // Another test may have installed it already; either way there is one.
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60))
}

pub(crate) async fn output(database: impl AsRef<OsStr>, arguments: &[&str]) -> (i32, String, String) {
    let output = command(database).args(arguments).output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

pub(crate) async fn enrol(client: &reqwest::Client, url: &str, token: &str, agent: &TestAgent) {
    let request = client.post(format!("{url}/api/v1/enrol")).json(&agent.enrolment(token, "victim"));
    assert_eq!(request.send().await.unwrap().status(), 201);
}

/// One try to deliver a report: the body of its answer, or none when the server went away.
pub(crate) async fn deliver(client: &reqwest::Client, url: &str, agent: &TestAgent, report: &str) -> Option<String> {
    let (status, body) = answer_to_report(client, url, agent, report, now()).await?;
    assert_eq!(status, 200, "{body}");
    Some(body)
}

/// The same, signed at `created`, whatever the answer is.
pub(crate) async fn answer_to_report(
    client: &reqwest::Client,
    url: &str,
    agent: &TestAgent,
    report: &str,
    created: i64,
) -> Option<(u16, String)> {
    let host = url.strip_prefix("http://").unwrap();
    let path = "/api/v1/report";
    let headers = agent.headers(host, &Method::POST, path, report.as_bytes(), created);
    let request = client.post(format!("{url}{path}")).header("content-type", "application/json").body(report.to_owned());
    let request = headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
    let response = request.send().await.ok()?;
    let status = response.status().as_u16();
    Some((status, response.text().await.ok()?))
}
