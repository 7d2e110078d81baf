//! A small server for the agent's tests: checks every signature, judges reports with core over a memory store, and plays faults.

use crate::desk::Desk;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signature, VerifyingKey};
use redflag_agent::{
    Agent, AgentHome, EnrolOptions, Identity, Retries, enrol,
    scan::{Scan, Scanner},
};
use redflag_core::{
    Fleet, MemoryStore,
    agent::Enrolment,
    ids::{AgentId, ReportId},
    names::{Manager, PackageKey, Text, Version},
    offer::{Availability, Candidate, Offer},
    query::{PageSize, UpdateQuery},
    signing::{self, SignatureParameters, SignedRequest},
    time::Timestamp,
    wire::{self, ReportAnswerBody},
    words::VersionOrder,
};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::{Duration, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// What the server does to a report instead of answering it well.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Takes the report, then cuts the connection: the answer is lost.
    LoseAnswer,
    /// Cuts the connection before anything is taken.
    LoseRequest,
    /// Takes nothing and answers this.
    Answer { status: u16, code: &'static str, retry_after: Option<u64> },
    /// Takes the report and answers about another one.
    AnswerAboutAnother,
}

/// A report as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) report_id: ReportId,
    pub(crate) body: Vec<u8>,
    pub(crate) counter: u64,
}

#[derive(Debug, Default)]
struct Inner {
    agents: HashMap<AgentId, ([u8; 32], u64)>,
    enrolments: Vec<serde_json::Value>,
    faults: VecDeque<Fault>,
    arrived: Vec<Arrived>,
}

/// The server; ends with its runtime.
#[derive(Clone, Debug)]
pub(crate) struct TestServer {
    pub(crate) url: String,
    fleet: Arc<Mutex<Fleet>>,
    inner: Arc<Mutex<Inner>>,
    pub(crate) desk: Desk,
    ahead: Arc<Mutex<Duration>>,
}

pub(crate) struct Request {
    pub(crate) path: String,
    headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

pub(crate) type Answer = (u16, serde_json::Value);

impl TestServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Self {
            url,
            fleet: Arc::new(Mutex::new(Fleet::new(MemoryStore::default()))),
            inner: Arc::default(),
            desk: Desk::default(),
            ahead: Arc::default(),
        };
        let accepting = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = accepting.clone();
                tokio::spawn(async move { server.serve(stream).await });
            }
        });
        server
    }

    /// Plays these faults on the next reports, one each; then all is well.
    pub(crate) fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.inner.lock().unwrap().faults.extend(faults);
    }

    /// Sets the server's clock ahead.
    pub(crate) fn set_clock_ahead(&self, ahead: Duration) {
        *self.ahead.lock().unwrap() = ahead;
    }

    pub(crate) fn arrived(&self) -> Vec<Arrived> {
        self.inner.lock().unwrap().arrived.clone()
    }

    pub(crate) fn enrolments(&self) -> Vec<serde_json::Value> {
        self.inner.lock().unwrap().enrolments.clone()
    }

    /// What the server knows.
    pub(crate) fn fleet(&self) -> Fleet {
        self.fleet.lock().unwrap().clone()
    }

    /// Loses all that was reported; the agents stay enrolled.
    pub(crate) async fn lose_reports(&self) {
        let fleet = Fleet::new(MemoryStore::default());
        for enrolment in self.enrolments() {
            fleet.enrol(enrolment_of(&enrolment)).await.unwrap();
        }
        *self.fleet.lock().unwrap() = fleet;
    }

    /// Forgets an agent's key, as if it had been removed.
    pub(crate) fn forget(&self, agent: AgentId) {
        self.inner.lock().unwrap().agents.remove(&agent);
    }

    /// The last report that arrived, as JSON.
    pub(crate) fn last_report(&self) -> serde_json::Value {
        serde_json::from_slice(&self.arrived().last().expect("a report has arrived").body).unwrap()
    }

    /// The open updates of the whole fleet, by name.
    pub(crate) async fn open(&self) -> BTreeMap<String, String> {
        let query = UpdateQuery { size: PageSize::new(500).unwrap(), ..UpdateQuery::default() };
        let page = self.fleet().store().updates(&query).await.unwrap();
        page.items.iter().map(|row| (row.state.package.name.to_string(), row.state.offer.candidate.version.to_string())).collect()
    }

    async fn serve(&self, mut stream: TcpStream) {
        let Some(request) = read_request(&mut stream).await else { return };
        let time = redflag_agent::clock::now().saturating_add(*self.ahead.lock().unwrap());
        let date = httpdate::fmt_http_date(UNIX_EPOCH + time.since(Timestamp::EPOCH));
        let (status, body, retry_after) = match request.path.as_str() {
            "/api/v1/enrol" => with_no_header(self.enrol(&request).await),
            "/api/v1/report" => {
                let fault = self.inner.lock().unwrap().faults.pop_front();
                match fault {
                    None => with_no_header(self.report(&request).await),
                    Some(Fault::LoseRequest) => return,
                    Some(Fault::LoseAnswer) => {
                        self.report(&request).await;
                        return;
                    }
                    Some(Fault::AnswerAboutAnother) => {
                        let (status, mut body) = self.report(&request).await;
                        body["report_id"] = serde_json::json!("0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3");
                        (status, body, None)
                    }
                    Some(Fault::Answer { status, code, retry_after }) => {
                        self.check(&request).expect("every report is signed well");
                        let (status, body) = problem(status, code);
                        (status, body, retry_after)
                    }
                }
            }
            path if path.starts_with("/api/v1/commands/") => match self.about_commands(&request).await {
                Some(answer) => with_no_header(answer),
                None => return,
            },
            "/healthz" => (200, serde_json::json!("ok"), None),
            _ => with_no_header(problem(404, "not_found")),
        };
        let body = body.to_string();
        let retry_after = retry_after.map_or(String::new(), |seconds| format!("retry-after: {seconds}\r\n"));
        let head =
            format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\ndate: {date}\r\n{retry_after}\r\n", body.len());
        // An agent that was stopped in between does not read its answer.
        drop(stream.write_all((head + &body).as_bytes()).await);
    }

    async fn enrol(&self, request: &Request) -> Answer {
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        self.inner.lock().unwrap().enrolments.push(body.clone());
        if body["token"] != "good" {
            return problem(401, "bad_token");
        }
        let enrolment = enrolment_of(&body);
        self.fleet().enrol(enrolment.clone()).await.unwrap();
        self.inner.lock().unwrap().agents.entry(enrolment.agent).or_insert((enrolment.public_key, 0));
        let server_time = "2026-11-23T10:00:00Z";
        let mut answer = serde_json::json!({"agent_id": enrolment.agent, "name": enrolment.name, "server_time": server_time});
        if let Some(signer) = self.desk.signer() {
            answer["signer"] = serde_json::to_value(signer).unwrap();
        }
        (201, answer)
    }

    async fn report(&self, request: &Request) -> Answer {
        let (agent, counter) = match self.check(request) {
            Ok(signer) => signer,
            Err(why) => return problem(401, why),
        };
        let report = wire::read_report(&request.body).expect("the agent sends well-formed reports");
        self.inner.lock().unwrap().arrived.push(Arrived { report_id: report.report_id, body: request.body.clone(), counter });
        let answer = self.fleet().record_report(agent, report, redflag_agent::clock::now()).await.expect("the report is taken");
        (200, serde_json::to_value(ReportAnswerBody::from(&answer)).unwrap())
    }

    /// The agent that signed the request, and its counter.
    pub(crate) fn check(&self, request: &Request) -> Result<(AgentId, u64), &'static str> {
        let header = |name: &str| request.headers.get(name).map(String::as_str).unwrap_or_default();
        let parameters = SignatureParameters::from_header(header(signing::SIGNATURE_INPUT)).map_err(|_| "signature_input")?;
        if header(signing::CONTENT_DIGEST) != signing::content_digest(&request.body) {
            return Err("content_digest");
        }
        let signed = SignedRequest {
            method: "POST",
            authority: header("host"),
            path: &request.path,
            query: "",
            content_digest: header(signing::CONTENT_DIGEST),
        };
        let mut inner = self.inner.lock().unwrap();
        let (public_key, last) = inner.agents.get_mut(&parameters.agent).ok_or("unknown_agent")?;
        let signature = signing::read_signature_header(header(signing::SIGNATURE)).map_err(|_| "signature")?;
        let key = VerifyingKey::from_bytes(public_key).map_err(|_| "key")?;
        key.verify_strict(parameters.signature_base(&signed).as_bytes(), &Signature::from_bytes(&signature)).map_err(|_| "signature")?;
        if parameters.counter <= *last {
            return Err("counter");
        }
        *last = parameters.counter;
        Ok((parameters.agent, parameters.counter))
    }
}

fn enrolment_of(body: &serde_json::Value) -> Enrolment {
    let text = |name: &str| body[name].as_str().unwrap();
    Enrolment {
        agent: text("agent_id").parse().unwrap(),
        name: Text::lossy(text("name")),
        public_key: STANDARD.decode(text("public_key")).unwrap().try_into().unwrap(),
        tags: body["tags"].as_array().unwrap().iter().map(|tag| Text::lossy(tag.as_str().unwrap())).collect(),
        enrolled_at: Timestamp::EPOCH,
    }
}

fn with_no_header((status, body): Answer) -> (u16, serde_json::Value, Option<u64>) {
    (status, body, None)
}

pub(crate) fn problem(status: u16, code: &str) -> Answer {
    (
        status,
        serde_json::json!({"type": "about:blank", "status": status, "title": "refused", "code": code, "detail": format!("because of {code}")}),
    )
}

async fn read_request(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let mut lines = head.split("\r\n");
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
    let headers: HashMap<_, _> = lines.filter_map(header).collect();
    let length: usize = headers.get("content-length").map_or(Some(0), |length| length.parse().ok())?;
    let mut body = bytes[end + 4..].to_vec();
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(Request { path, headers, body })
}

/// A manager whose answer the test chooses.
#[derive(Clone, Debug)]
pub(crate) struct FakeManager {
    manager: Manager,
    scan: Arc<Mutex<Option<Scan>>>,
}

impl FakeManager {
    /// A manager that offers nothing.
    pub(crate) fn new(manager: &str) -> Self {
        let manager = Manager::parse(manager).unwrap();
        let scan = Scan::begun(manager.clone(), VersionOrder::Dpkg);
        Self { manager, scan: Arc::new(Mutex::new(Some(scan))) }
    }

    /// Lets the next scans offer `offers` (name, installed, offered) and have `installed` besides.
    pub(crate) fn offers(&self, offers: &[(&str, &str, &str)], installed: &[(&str, &str)]) {
        let mut scan = Scan::begun(self.manager.clone(), VersionOrder::Dpkg);
        for (name, from, to) in offers {
            let key = self.key(name);
            let candidate = Arc::new(Candidate::new(version(to)));
            scan.offers.insert(key.clone(), Offer { installed: Some(version(from)), candidate, availability: Availability::INSTALLABLE });
            scan.installed.insert(key, version(from));
        }
        installed.iter().for_each(|(name, at)| drop(scan.installed.insert(self.key(name), version(at))));
        *self.scan.lock().unwrap() = Some(scan);
    }

    /// Lets the next scans be what `change` makes of the current one.
    pub(crate) fn change(&self, change: impl FnOnce(Scan) -> Scan) {
        let mut scan = self.scan.lock().unwrap();
        *scan = scan.take().map(change);
    }

    /// Takes the manager off the host.
    pub(crate) fn remove(&self) {
        *self.scan.lock().unwrap() = None;
    }

    fn key(&self, name: &str) -> PackageKey {
        PackageKey::parse(self.manager.as_str(), name, Some("amd64")).unwrap()
    }
}

fn version(text: &str) -> Version {
    Version::parse(text).unwrap()
}

#[async_trait::async_trait]
impl Scanner for FakeManager {
    fn manager(&self) -> Manager {
        self.manager.clone()
    }

    fn version_order(&self) -> VersionOrder {
        VersionOrder::Dpkg
    }

    async fn present(&self) -> bool {
        self.scan.lock().unwrap().is_some()
    }

    async fn scan(&self) -> Scan {
        let scan = self.scan.lock().unwrap().clone().expect("only a present manager is asked");
        Scan { scanned_at: redflag_agent::clock::now(), ..scan }
    }
}

/// A server, one enrolled host with an `apt`, and its state directory.
pub(crate) struct Lab {
    pub(crate) server: TestServer,
    pub(crate) apt: FakeManager,
    pub(crate) identity: Identity,
    pub(crate) directory: tempfile::TempDir,
}

impl Lab {
    pub(crate) async fn new() -> Self {
        Self::at(TestServer::start().await).await
    }

    /// Enrolled at a server that is set up already.
    pub(crate) async fn at(server: TestServer) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let identity = enrol(&home(&directory), &options(&server, "good")).await.unwrap();
        Self { server, apt: FakeManager::new("apt"), identity, directory }
    }

    /// The agent as a start of its process opens it.
    pub(crate) fn agent(&self) -> Agent {
        let retries = Retries { first: Duration::from_millis(1), longest: Duration::from_millis(4), limit: Some(3) };
        Agent::open(home(&self.directory), vec![Box::new(self.apt.clone())]).unwrap().with_retries(retries)
    }
}

pub(crate) fn home(directory: &tempfile::TempDir) -> AgentHome {
    AgentHome::open(directory.path().join("state")).unwrap()
}

pub(crate) fn options(server: &TestServer, token: &str) -> EnrolOptions {
    EnrolOptions { server: server.url.clone(), token: token.to_owned(), name: Some("web-01".to_owned()), ..EnrolOptions::default() }
}
