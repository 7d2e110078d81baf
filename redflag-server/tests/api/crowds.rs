//! More connections than there is use for, held by who says nothing or next to nothing, at the real binary.

use crate::{
    process::{Running, client, deliver, enrol, output},
    support::{TestAgent, report, scope},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    fs,
    net::Ipv4Addr,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{interval, timeout},
};

/// Longest wait for what a server does after its thirty seconds.
const PATIENCE: Duration = Duration::from_secs(120);
/// Addresses from which the crowd comes; one alone may hold half of all connections.
const ADDRESSES: usize = 4;

/// How a connection of the crowd behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behaviour {
    /// It says nothing.
    Idle,
    /// It begins a request and sends one byte of its head in a second.
    Slow,
}

/// Connections that are held until the server closes them.
#[derive(Default)]
struct Crowd(JoinSet<()>);

impl Crowd {
    /// `count` more, of both behaviours, from the address 127.0.1.`host`.
    async fn come(&mut self, server: &str, host: usize, count: usize) {
        for number in 0..count {
            let behaviour = if number % 2 == 0 { Behaviour::Idle } else { Behaviour::Slow };
            let stream = connect(server, host).await;
            self.0.spawn(held(stream, behaviour));
        }
    }

    async fn all_end(self) {
        timeout(PATIENCE, self.0.join_all()).await.expect("the server closes every connection that says nothing");
    }
}

async fn connect(server: &str, host: usize) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::new(127, 0, 1, host.try_into().unwrap()), 0).into()).unwrap();
    socket.connect(server.parse().unwrap()).await.unwrap()
}

async fn held(mut stream: TcpStream, behaviour: Behaviour) {
    let mut said: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: a\r\nx-slow: ";
    let (mut seconds, mut buffer) = (interval(Duration::from_secs(1)), [0; 512]);
    loop {
        tokio::select! {
            read = stream.read(&mut buffer) => if !matches!(read, Ok(1..)) { return },
            _ = seconds.tick(), if behaviour == Behaviour::Slow => {
                if stream.write_all(said).await.is_err() {
                    return;
                }
                said = b"x";
            }
        }
    }
}

/// Whether a request on a connection of its own, from an address of its own, is answered.
async fn answered(server: &str, host: usize) -> bool {
    let mut stream = connect(server, host).await;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    let read = timeout(PATIENCE, stream.read_to_string(&mut answer)).await;
    read.is_ok_and(|read| read.is_ok()) && answer.starts_with("HTTP/1.1 200 ")
}

fn raise_own_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

impl Running {
    fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    fn resident_kibibytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id().unwrap())).unwrap();
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id().unwrap())).unwrap().count()
    }

    /// Ends it and answers its log.
    async fn stop(mut self) -> String {
        self.signal("TERM").await;
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).await.unwrap();
        assert!(self.child.wait().await.unwrap().success(), "{log}");
        log
    }
}

/// `REDFLAG_CONNECTIONS` of them; the server is started with 256 files it may open, and more if it asks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_says_nothing_keeps_nobody_out_and_is_let_go() {
    let count = std::env::var("REDFLAG_CONNECTIONS").map_or(2_000, |count| count.parse().expect("REDFLAG_CONNECTIONS is a number"));
    raise_own_limit();
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("fleet.db");
    let server = Running::start_under("-Sn 256", &database, 3).await;
    let token = output(&database, &["enrolment-token", "--json"]).await.1;
    let token: serde_json::Value = serde_json::from_str(&token).unwrap();
    let (client, agent) = (client(), TestAgent::new());
    enrol(&client, &server.url, token["token"].as_str().unwrap(), &agent).await;
    let (files_before, memory_before, begun) = (server.open_files(), server.resident_kibibytes(), Instant::now());

    let mut crowd = Crowd::default();
    for host in 1..=ADDRESSES {
        crowd.come(server.address(), host, count / ADDRESSES).await;
    }
    // Connections are accepted in the order they came in.
    assert!(answered(server.address(), 100).await);
    let (came, count) = (begun.elapsed(), crowd.0.len());
    let mut slowest = Duration::ZERO;
    for sequence in 1..=20 {
        let asked = Instant::now();
        let report = report(sequence, &[scope("apt", &[])]).to_string();
        assert!(deliver(&client, &server.url, &agent, &report).await.is_some(), "an agent reports as ever");
        assert!(answered(server.address(), 100).await, "and so does who comes new");
        slowest = slowest.max(asked.elapsed());
    }
    let (files, memory) = (server.open_files(), server.resident_kibibytes());
    assert!(files >= files_before + count, "all of them are still there: {files} files, {files_before} before");
    let each = memory.saturating_sub(memory_before) as f64 / count as f64;
    println!(
        "{count} connections within {came:.1?}; a report and a new connection beside them {slowest:.1?} at the slowest; resident memory \
         {memory_before} KiB before, {memory} KiB with them, {each:.1} KiB each"
    );
    assert!(each < 64.0, "{each} KiB each");

    crowd.all_end().await;
    assert!(answered(server.address(), 100).await);
    println!("all closed by the server {:.1?} after the first came; resident memory {} KiB", begun.elapsed(), server.resident_kibibytes());
    let log = server.stop().await;
    assert!(log.is_empty(), "nothing to warn of: {log}");
}

/// With files for 128 connections the server takes so many and no more, says so, and never runs out of files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_few_files_takes_fewer_connections_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let server = Running::start_under("-n 256", directory.path().join("fleet.db"), 3).await;
    let mut crowd = Crowd::default();
    crowd.come(server.address(), 1, 64).await;
    crowd.come(server.address(), 2, 63).await;
    assert!(answered(server.address(), 100).await, "one place is left");
    crowd.come(server.address(), 2, 1).await;
    crowd.come(server.address(), 3, 60).await;
    crowd.come(server.address(), 4, 60).await;
    assert!(answered(server.address(), 100).await, "who comes then waits until the first have been let go");
    drop(crowd);
    assert!(answered(server.address(), 100).await);
    let log = server.stop().await;
    assert!(log.contains("at most 128 connections are taken, not 16384") && log.contains("open_files=256"), "{log}");
    assert_eq!(log.lines().count(), 1, "and nothing else went wrong: {log}");
}
