//! The server as a hostile network meets it: raw bytes on its socket, TLS, proxies.

use crate::support::{Harness, report, scope};
use axum::{
    body::Body,
    extract::ConnectInfo,
    http::{Method, Request, header},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use redflag_agent::{AgentHome, EnrolOptions, Identity, PlainHttp, TrustedCertificates, enrol};
use redflag_core::Fleet;
use redflag_server::{EnrolmentTokenOptions, RequestLimits, Server, ServerError, Settings, TlsFiles, Transport};
use redflag_store_sqlite::SqliteStore;
use rustls::{
    ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion,
    crypto::ring,
    version::{TLS12, TLS13},
};
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

/// A server on a socket.
struct Listening {
    address: SocketAddr,
    shutdown: CancellationToken,
    serving: JoinHandle<Result<(), ServerError>>,
}

impl Listening {
    async fn with(limits: RequestLimits) -> Self {
        let fleet = Fleet::new(SqliteStore::in_memory().unwrap());
        let settings = Settings { listen: (Ipv4Addr::LOCALHOST, 0).into(), limits, ..Settings::default() };
        Self::of(Server::bind(settings, fleet).await.unwrap())
    }

    fn of(server: Server) -> Self {
        let address = server.app().settings.listen;
        let shutdown = CancellationToken::new();
        Self { address, shutdown: shutdown.clone(), serving: tokio::spawn(server.run(shutdown)) }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// All that the server answers to these bytes until it closes the connection.
    async fn answer_to(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        // A server that has heard enough may close before everything is written.
        drop(in_time("the server reads nothing", stream.write_all(bytes)).await);
        rest(&mut stream).await
    }

    async fn stop(self) {
        self.shutdown.cancel();
        in_time("the server does not stop", self.serving).await.unwrap().unwrap();
    }
}

/// Longest wait for a server to answer or to close; what it should do takes it less than a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// What `done` comes to, unless it never ends.
async fn in_time<T>(what: &str, done: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, done).await.unwrap_or_else(|_| panic!("{what}: nothing for {PATIENCE:?}"))
}

/// What comes until the connection is closed; a reset ends it too.
async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut buffer = [0; 4_096];
    while let Ok(count @ 1..) = in_time("the server neither answers nor closes", stream.read(&mut buffer)).await {
        answer.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// One answer on a connection that stays open.
async fn one_answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    while !String::from_utf8_lossy(&answer).contains("\r\n\r\n") {
        answer.push(in_time("the server does not answer", stream.read_u8()).await.unwrap());
    }
    let head = String::from_utf8(answer).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    head + &String::from_utf8(body).unwrap()
}

fn status(answer: &str) -> &str {
    answer.get("HTTP/1.1 ".len()..).and_then(|rest| rest.get(..3)).unwrap_or(answer)
}

#[tokio::test]
async fn what_is_no_sound_request_is_refused_and_the_connection_closed() {
    let server = Listening::with(RequestLimits::default()).await;
    let request = |line: &str, headers: &str| format!("{line} HTTP/1.1\r\nhost: a\r\n{headers}\r\n").into_bytes();
    let post = |headers: &str, body: &str| {
        let head = format!("POST /api/v1/enrol HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n{headers}\r\n");
        (head + body).into_bytes()
    };
    let many: String = (0..10_000).map(|number| format!("x-{number}: 1\r\n")).collect();
    let close = "connection: close\r\n";
    // A second request hides in what one reading takes for the body of the first: it must never be answered.
    let hidden = "0\r\n\r\nGET /healthz HTTP/1.1\r\nhost: a\r\n\r\n";
    let cases = [
        ("length and chunks", post("content-length: 4\r\ntransfer-encoding: chunked\r\n", hidden), "411"),
        ("chunks and length", post("transfer-encoding: chunked\r\ncontent-length: 4\r\n", hidden), "411"),
        ("chunks alone", post("transfer-encoding: chunked\r\n", hidden), "411"),
        ("an encoding that is no chunks", post("transfer-encoding: gzip\r\n", hidden), "400"),
        ("two lengths", post("content-length: 4\r\ncontent-length: 5\r\n", hidden), "400"),
        ("a length that is none", post("content-length: +4\r\n", hidden), "400"),
        ("a folded header", request("GET /healthz", "x-a: 1\r\n b\r\n"), "400"),
        ("a space before the colon", request("GET /healthz", "content-length : 4\r\n"), "400"),
        ("a header of 64 KB", request("GET /healthz", &format!("x-a: {}\r\n", "a".repeat(64 * 1024))), "431"),
        ("10,000 headers", request("GET /healthz", &many), "431"),
        ("an address of 100 KB", request(&format!("GET /{}", "a".repeat(100 * 1024)), close), "431"),
        ("an address of 20 KB", request(&format!("GET /{}", "a".repeat(20 * 1024)), close), "414"),
        ("a query of 20 KB", request(&format!("GET /healthz?{}", "a".repeat(20 * 1024)), close), "414"),
        ("TRACE", request("TRACE /healthz", close), "405"),
        ("CONNECT", request("CONNECT a.example:443", close), "404"),
        ("OPTIONS *", request("OPTIONS *", close), "404"),
        ("an encoded NUL", request("GET /healthz%00", close), "404"),
        ("an encoded step up", request("GET /assets/..%2f..%2fetc/passwd", close), "404"),
        ("a step up", request("GET /assets/../../etc/passwd", close), "404"),
        ("two slashes", request("GET //healthz", close), "404"),
        ("a path parameter", request("GET /healthz;x", close), "404"),
        ("another case", request("GET /HealthZ", close), "404"),
        ("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(), "400"),
    ];
    for (case, bytes, expected) in cases {
        let answer = server.answer_to(&bytes).await;
        assert_eq!(status(&answer), expected, "{case}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{case}: one answer and no second: {answer}");
        // As the OpenAPI document says.
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let before_the_api = ["400", "431"].contains(&expected);
        assert_eq!(body.is_empty(), before_the_api, "{case}: {answer}");
        assert!(head.contains("connection: close"), "{case}: {answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn an_encoded_body_is_not_decoded() {
    let server = Listening::with(RequestLimits::default()).await;
    for encoding in ["gzip", "br", "zstd", "gzip, gzip", "rubbish"] {
        let head = "POST /api/v1/enrol HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\nconnection: close\r\n";
        let answer = server.answer_to(format!("{head}content-encoding: {encoding}\r\ncontent-length: 2\r\n\r\n{{}}").as_bytes()).await;
        assert_eq!(status(&answer), "415", "{answer}");
    }
    server.stop().await;
}

/// One byte now and then keeps no connection: the whole head has to come in time. What was answered before stays answered.
#[tokio::test]
async fn a_slow_head_and_an_idle_connection_are_closed() {
    let limits = RequestLimits { head_timeout: Duration::from_millis(300), ..RequestLimits::default() };
    let server = Listening::with(limits).await;
    let mut idle = server.connect().await;
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    assert_eq!(status(&one_answer(&mut idle).await), "200");
    assert_eq!(rest(&mut idle).await, "", "an idle connection is closed");
    assert_eq!(rest(&mut server.connect().await).await, "", "so is one that says nothing at all");
    let (mut reader, mut writer) = server.connect().await.into_split();
    let drip = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        while writer.write_all(b"x").await.is_ok() {
            ticks.tick().await;
        }
    });
    let mut answer = Vec::new();
    drop(in_time("a head that never ends is waited for", reader.read_to_end(&mut answer)).await);
    assert!(!String::from_utf8_lossy(&answer).contains("200"), "the head never ended");
    in_time("the connection stays", drip).await.unwrap();
    server.stop().await;
}

/// Who asks and does not read the answers keeps no connection either.
#[tokio::test]
async fn who_reads_no_answer_is_let_go() {
    let (request_timeout, head_timeout) = (Duration::from_millis(200), Duration::from_millis(200));
    let server = Listening::with(RequestLimits { request_timeout, head_timeout, ..RequestLimits::default() }).await;
    let mut stream = server.connect().await;
    let asked = async {
        // Answers fill what the systems keep between both, then the server cannot write and so reads no more.
        while stream.write_all(b"GET /api/v1/openapi.json HTTP/1.1\r\nhost: a\r\n\r\n").await.is_ok() {}
    };
    in_time("the server keeps who reads nothing", asked).await;
    server.stop().await;
}

/// Over the limit a connection waits until another ends; one address gets half of them and is closed beyond.
#[tokio::test]
async fn connections_have_a_limit_and_an_address_half_of_it() {
    let server = Listening::with(RequestLimits { connections_max: 4, ..RequestLimits::default() }).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = server.connect().await;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        assert_eq!(status(&one_answer(&mut stream).await), "200");
        held.push(stream);
    }
    let third = server.answer_to(b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert_eq!(third, "", "the third of one address is closed without an answer");
    // Another address of this machine is not affected.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::new(127, 0, 0, 2), 0).into()).unwrap();
    let mut other = socket.connect(server.address).await.unwrap();
    other.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    assert_eq!(status(&one_answer(&mut other).await), "200");
    drop(held);
    server.stop().await;
}

/// A certificate authority made for a test.
pub(crate) fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
}

/// Writes a certificate for `localhost`, signed by `authority`, into `directory`.
pub(crate) fn certify(authority: &CertifiedIssuer<'static, KeyPair>, directory: &Path) -> TlsFiles {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, authority).unwrap();
    let files = TlsFiles { certificate: directory.join("certificate.pem"), key: directory.join("key.pem") };
    fs::write(&files.certificate, certificate.pem()).unwrap();
    fs::write(&files.key, key.serialize_pem()).unwrap();
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).unwrap();
    files
}

async fn bound_with_tls(files: &TlsFiles) -> Result<Server, ServerError> {
    let transport = Transport::Tls(files.clone());
    let settings = Settings { listen: (Ipv4Addr::LOCALHOST, 0).into(), transport, ..Settings::default() };
    Server::bind(settings, Fleet::new(SqliteStore::in_memory().unwrap())).await
}

fn https_client(trusted: &str) -> reqwest::Client {
    drop(ring::default_provider().install_default());
    let trusted = reqwest::Certificate::from_pem(trusted.as_bytes()).unwrap();
    // No connection is kept, so that each request meets the certificate in force.
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([trusted])
        .pool_max_idle_per_host(0)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_trusts_the_authority_it_was_given_and_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, another) = (authority(), authority());
    let server = bound_with_tls(&certify(&ours, directory.path())).await.unwrap();
    let url = format!("https://localhost:{}", server.app().settings.listen.port());
    assert!(server.url().starts_with("https://"), "{}", server.url());
    let token = server.enrolment_token(EnrolmentTokenOptions::default()).await.unwrap();
    let listening = Listening::of(server);
    let home = AgentHome::open(directory.path().join("agent")).unwrap();
    let options = |trusted: Option<&str>| EnrolOptions {
        server: url.clone(),
        token: token.clone(),
        name: Some("web-1".to_owned()),
        trusted_certificates: trusted.map(|pem| TrustedCertificates::parse(pem).unwrap()),
        ..EnrolOptions::default()
    };
    let (ours_pem, another_pem) = (ours.pem(), another.pem());
    for untrusted in [None, Some(another_pem.as_str())] {
        let refused = enrol(&home, &options(untrusted)).await.unwrap_err().to_string();
        assert!(refused.to_lowercase().contains("certificate"), "{refused}");
    }
    let identity = enrol(&home, &options(Some(&ours_pem))).await.unwrap();
    // What is trusted is kept with the identity, and replaced by enrolling again.
    assert_eq!(Identity::enrolled(&home).unwrap().server, identity.server);
    assert_eq!(enrol(&home, &options(None)).await.unwrap().server, identity.server);
    let replaced = enrol(&home, &options(Some(&another_pem))).await.unwrap();
    assert!(replaced.agent == identity.agent && replaced.server != identity.server);
    assert_eq!(Identity::enrolled(&home).unwrap().server, replaced.server);
    assert!(TrustedCertificates::parse("no certificate").is_err());
    assert!(redflag_agent::ServerUrl::parse(&url, PlainHttp::LoopbackOnly).is_ok());
    listening.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_cookies_are_bound_to_the_host_and_browsers_are_told_to_stay() {
    let directory = tempfile::tempdir().unwrap();
    let ours = authority();
    let server = bound_with_tls(&certify(&ours, directory.path())).await.unwrap();
    let link = server.sign_in_link().await.unwrap();
    let listening = Listening::of(server);
    let token = link.split_once("token=").unwrap().1;
    let url = format!("https://localhost:{}", listening.address.port());
    let client = https_client(&ours.pem());
    let healthy = client.get(format!("{url}/healthz")).send().await.unwrap();
    assert_eq!(healthy.headers()[header::STRICT_TRANSPORT_SECURITY], "max-age=31536000; includeSubDomains");
    let request = client.post(format!("{url}/sign-in")).header(header::ORIGIN, &url).body(format!("token={token}"));
    let signed_in = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").send().await.unwrap();
    let cookie = signed_in.headers().get(header::SET_COOKIE).unwrap_or_else(|| panic!("{signed_in:?}")).to_str().unwrap().to_owned();
    assert!(cookie.starts_with("__Host-redflag_session=") && cookie.contains("; Secure"), "{cookie}");
    let plain = listening.answer_to(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(!plain.contains("200"), "plain HTTP is not answered: {plain}");
    listening.stop().await;
}

#[tokio::test]
async fn the_newest_tls_is_spoken_and_none_before_1_2() {
    let directory = tempfile::tempdir().unwrap();
    let ours = authority();
    let listening = Listening::of(bound_with_tls(&certify(&ours, directory.path())).await.unwrap());
    let mut roots = RootCertStore::empty();
    roots.add(ours.der().clone()).unwrap();
    let roots = Arc::new(roots);
    let spoken = async |versions: &[&'static SupportedProtocolVersion]| {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_protocol_versions(versions).unwrap();
        let config = config.with_root_certificates(Arc::clone(&roots)).with_no_client_auth();
        let stream =
            TlsConnector::from(Arc::new(config)).connect("localhost".try_into().unwrap(), listening.connect().await).await.unwrap();
        let (version, suite) = (stream.get_ref().1.protocol_version(), stream.get_ref().1.negotiated_cipher_suite());
        (version.unwrap(), format!("{:?}", suite.unwrap().suite()))
    };
    let (newest, older) = (spoken(&[&TLS13, &TLS12]).await, spoken(&[&TLS12]).await);
    assert_eq!((newest.0, older.0), (ProtocolVersion::TLSv1_3, ProtocolVersion::TLSv1_2), "the newest that both know");
    for (_, suite) in [newest, older] {
        assert!(suite.contains("GCM") || suite.contains("CHACHA20_POLY1305"), "{suite} proves what it encrypts");
    }
    // The first message of a client that knows TLS 1.1 at most, with a suite, groups and ways to sign that the server knows as well.
    let mut hello = vec![0x16, 3, 1, 0, 67, 1, 0, 0, 63, 3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x2b, 1, 0, 0, 20, 0, 10, 0, 4, 0, 2, 0, 0x1d, 0, 13, 0, 8, 0, 6, 4, 3, 8, 4, 8, 7]);
    let mut stream = listening.connect().await;
    stream.write_all(&hello).await.unwrap();
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer).await);
    assert!(matches!(answer[..], [0x15, _, _, 0, 2, 2, 70]), "its version is refused, and nothing else said: {answer:?}");
    listening.stop().await;
}

#[tokio::test]
async fn without_tls_browsers_are_not_told_to_insist_on_it() {
    let harness = Harness::new();
    let answer = harness.send(Request::get("/healthz").body(Body::empty()).unwrap()).await;
    assert!(!answer.headers.contains_key(header::STRICT_TRANSPORT_SECURITY), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_certificate_is_served_and_a_broken_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let (before, after) = (authority(), authority());
    let files = certify(&before, directory.path());
    let server = bound_with_tls(&files).await.unwrap();
    let certificate = server.certificate().unwrap();
    let listening = Listening::of(server);
    let url = format!("https://localhost:{}/healthz", listening.address.port());
    let (old, new) = (https_client(&before.pem()), https_client(&after.pem()));
    assert!(old.get(&url).send().await.is_ok() && new.get(&url).send().await.is_err());
    fs::write(&files.certificate, "rubbish").unwrap();
    assert!(certificate.reload().is_err());
    assert!(old.get(&url).send().await.is_ok(), "the one before stays in force");
    certify(&after, directory.path());
    certificate.reload().unwrap();
    assert!(old.get(&url).send().await.is_err() && new.get(&url).send().await.is_ok());
    listening.stop().await;
}

#[tokio::test]
async fn a_key_that_cannot_be_used_stops_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let files = certify(&authority(), directory.path());
    let told = async |files: &TlsFiles| bound_with_tls(files).await.unwrap_err().to_string();
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(told(&files).await.contains("mode 644"));
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(bound_with_tls(&files).await.is_ok(), "a group may read it, as groups of certificates do");
    let other = KeyPair::generate().unwrap();
    fs::write(&files.key, other.serialize_pem()).unwrap();
    assert!(told(&files).await.contains("using the certificate"), "the key of another certificate");
    fs::remove_file(&files.key).unwrap();
    assert!(told(&files).await.contains("reading"));
}

/// A request as it comes from a peer.
fn from_peer(peer: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let request = Request::get("/healthz").extension(ConnectInfo::<SocketAddr>((peer.parse::<std::net::IpAddr>().unwrap(), 9).into()));
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn plain_http_comes_from_listed_proxies_that_were_reached_over_tls() {
    let settings =
        Settings { transport: Transport::BehindTlsProxy, trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()], ..Settings::default() };
    let harness = Harness::with(Fleet::new(SqliteStore::in_memory().unwrap()), settings);
    let status = async |peer, headers: &[(&str, &str)]| harness.send(from_peer(peer, headers)).await.status.as_u16();
    assert_eq!(status("10.1.2.3", &[("x-forwarded-proto", "https")]).await, 200);
    assert_eq!(status("10.1.2.3", &[]).await, 200, "a proxy that does not say");
    assert_eq!(status("::ffff:10.1.2.3", &[]).await, 200, "through an IPv6 socket");
    assert_eq!(status("127.0.0.1", &[]).await, 200, "this machine");
    let refused = harness.send(from_peer("10.1.2.3", &[("x-forwarded-proto", "http")])).await;
    assert_eq!(refused.problem(), (403, "plain_http".to_owned()));
    let stranger = harness.send(from_peer("192.0.2.1", &[("x-forwarded-proto", "https"), ("x-forwarded-for", "10.1.2.3")])).await;
    assert_eq!(stranger.problem(), (403, "plain_http".to_owned()), "what a stranger writes counts for nothing");
    assert!(harness.send(from_peer("10.1.2.3", &[])).await.headers.contains_key(header::STRICT_TRANSPORT_SECURITY));
}

#[tokio::test]
async fn beyond_loopback_a_proxy_must_be_listed() {
    let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let settings = |transport, proxies: &[&str]| Settings {
        listen,
        transport,
        trusted_proxies: proxies.iter().map(|text| text.parse().unwrap()).collect(),
        ..Settings::default()
    };
    assert!(matches!(settings(Transport::PlainLoopback, &["10.0.0.1"]).check(), Err(ServerError::PlainHttp(_))));
    assert!(matches!(settings(Transport::BehindTlsProxy, &[]).check(), Err(ServerError::NoTrustedProxy(_))));
    assert!(settings(Transport::BehindTlsProxy, &["10.0.0.1"]).check().is_ok());
    let files = TlsFiles { certificate: "c".into(), key: "k".into() };
    assert!(settings(Transport::Tls(files), &[]).check().is_ok());
}

/// The limits of time do not touch a report that is signed and whole.
#[tokio::test]
async fn a_report_passes_the_entrance() {
    let harness = Harness::new();
    let agent = harness.agent("a").await;
    let body = report(1, &[scope("apt", &[])]).to_string();
    let answer = harness.send(agent.signed(Method::POST, "/api/v1/report", body)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}
