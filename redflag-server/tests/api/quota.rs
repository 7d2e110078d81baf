//! What one agent, and what one stranger, may cost.

use crate::support::{Answer, Harness, TestAgent, offer, random_id, report, scope};
use async_trait::async_trait;
use axum::{
    body::{Body, Bytes, HttpBody},
    extract::ConnectInfo,
    http::{Method, Request, header},
};
use hyper::body::Frame;
use redflag_agent::{
    Agent, AgentHome, Delivery, EnrolOptions, Progress, Retries, Stage, enrol,
    scan::{Scan, Scanner},
};
use redflag_core::{
    Fleet,
    names::{Manager, PackageKey, Version},
    offer::{Availability, Candidate, Offer},
    words::VersionOrder,
};
use redflag_server::{AgentQuota, EnrolmentTokenOptions, Server, Settings};
use redflag_store_sqlite::SqliteStore;
use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

fn harness(quota: AgentQuota) -> Harness {
    Harness::with(Fleet::new(SqliteStore::in_memory().unwrap()), Settings { quota, ..Settings::default() })
}

fn retry_after(answer: &Answer) -> u64 {
    answer.headers[header::RETRY_AFTER].to_str().unwrap().parse().unwrap()
}

/// A body that nobody may read.
struct Unreadable;

impl HttpBody for Unreadable {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        panic!("the body was read")
    }
}

#[tokio::test]
async fn over_its_bytes_an_agent_is_told_to_wait_before_its_body_is_read() {
    let harness = harness(AgentQuota { bytes_at_once: 100, bytes_per_second: 1, ..AgentQuota::default() });
    let (greedy, modest) = (harness.agent("greedy").await, harness.agent("modest").await);
    harness.reported(&greedy, 1, "apt", &[]).await;
    let (parts, _) = greedy.signed(Method::POST, "/api/v1/report", "x".repeat(1_000)).into_parts();
    let refused = harness.send(Request::from_parts(parts, Body::new(Unreadable))).await;
    assert_eq!(refused.problem(), (429, "quota".to_owned()));
    assert!(retry_after(&refused) > 1, "{refused:?}");
    let lease = harness.send(greedy.signed(Method::POST, "/api/v1/commands/lease", "{}")).await;
    assert_eq!(lease.problem(), (429, "quota".to_owned()), "whatever it asks for");
    harness.reported(&modest, 1, "apt", &[]).await;
}

#[tokio::test]
async fn events_count_once_they_are_written() {
    let harness = harness(AgentQuota { events_at_once: 2, events_per_second: 1, ..AgentQuota::default() });
    let agent = harness.agent("a").await;
    let offers: Vec<_> = (0..50).map(|number| offer(&format!("p{number}"), "1", "2", "low")).collect();
    let taken = harness.reported(&agent, 1, "dnf", &offers).await;
    assert_eq!(taken["events"], 50, "what was worked on is not thrown away");
    let refused = harness.report(&agent, &report(2, &[scope("dnf", &offers)])).await;
    assert_eq!(refused.problem(), (429, "quota".to_owned()));
    assert!((45..=49).contains(&retry_after(&refused)), "{refused:?}");
}

/// An apt that offers another version of forty packages whenever it is asked.
#[derive(Debug)]
struct Restless(AtomicU32);

#[async_trait]
impl Scanner for Restless {
    fn manager(&self) -> Manager {
        Manager::parse("apt").unwrap()
    }

    fn version_order(&self) -> VersionOrder {
        VersionOrder::Dpkg
    }

    async fn present(&self) -> bool {
        true
    }

    async fn scan(&self) -> Scan {
        let version = self.0.fetch_add(1, Ordering::Relaxed) + 2;
        let mut scan = Scan::begun(self.manager(), self.version_order());
        for number in 0..40 {
            let key = PackageKey::parse("apt", &format!("p{number}"), Some("amd64")).unwrap();
            let candidate = Arc::new(Candidate::new(Version::parse(&version.to_string()).unwrap()));
            let installed = Version::parse("1").unwrap();
            scan.installed.insert(key.clone(), installed.clone());
            scan.offers.insert(key, Offer { installed: Some(installed), candidate, availability: Availability::INSTALLABLE });
        }
        scan
    }
}

/// Counts the waits for which a report was kept.
#[derive(Debug, Default)]
struct Waits(Vec<Duration>);

impl Progress for Waits {
    fn stage(&mut self, stage: &Stage) {
        if let Stage::Retrying { after, error } = stage {
            assert!(error.contains("budget of events"), "{error}");
            self.0.push(*after);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_agent_over_its_quota_waits_as_told_and_loses_nothing() {
    let fleet = Fleet::new(SqliteStore::in_memory().unwrap());
    let quota = AgentQuota { events_at_once: 10, events_per_second: 40, ..AgentQuota::default() };
    let settings = Settings { listen: (Ipv4Addr::LOCALHOST, 0).into(), quota, ..Settings::default() };
    let server = Server::bind(settings, fleet.clone()).await.unwrap();
    let (url, token) = (server.url(), server.enrolment_token(EnrolmentTokenOptions::default()).await.unwrap());
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(server.run(shutdown.clone()));
    let directory = tempfile::tempdir().unwrap();
    let home = AgentHome::open(directory.path().join("agent")).unwrap();
    let identity = enrol(&home, &EnrolOptions { server: url, token, ..EnrolOptions::default() }).await.unwrap();
    let mut agent = Agent::open(home, vec![Box::new(Restless(AtomicU32::new(0)))]).unwrap().with_retries(Retries::default().endless());
    let mut waits = Waits::default();
    for _ in 0..3 {
        let summary = agent.report(&mut waits).await.unwrap();
        assert!(matches!(summary.delivery, Delivery::Delivered(_)), "{summary:?}");
    }
    let head = fleet.store().agent(identity.agent).await.unwrap().unwrap();
    assert_eq!(head.last_report.unwrap().sequence, 3);
    assert!(head.events >= 120, "every offer of every report is there: {}", head.events);
    assert!(!waits.0.is_empty() && waits.0.iter().all(|wait| *wait >= Duration::from_secs(1)), "it waited as told: {waits:?}");
    shutdown.cancel();
    serving.await.unwrap().unwrap();
}

fn from(address: Ipv4Addr, mut request: Request<Body>) -> Request<Body> {
    request.extensions_mut().insert(ConnectInfo(SocketAddr::new(IpAddr::V4(address), 9)));
    request
}

/// Row 62 of the corpus: strangers from one address are turned away, and nobody else is, not even beside them.
#[tokio::test]
async fn bad_credentials_by_the_thousand_trouble_nobody_who_is_known() {
    const BESIEGER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
    let harness = Harness::new();
    let known = harness.agent("beside them").await;
    let report = |agent: &TestAgent, sequence| {
        let body = report(sequence, &[scope("apt", &[])]).to_string();
        agent.signed(Method::POST, "/api/v1/report", body)
    };
    assert_eq!(harness.send(from(BESIEGER, report(&known, 1))).await.status, 200);
    let enrolment = |token: &str| {
        let body = TestAgent::new().enrolment(token, "stranger").to_string();
        Request::post("/api/v1/enrol").header(header::CONTENT_TYPE, "application/json").body(Body::from(body)).unwrap()
    };
    let stranger = TestAgent::new();
    let mut answers = std::collections::BTreeMap::<u16, u32>::new();
    for _ in 0..10_000 {
        let token = random_id();
        for request in [enrolment(&token), stranger.signed(Method::POST, "/api/v1/report", "{}")] {
            let answer = harness.send(from(BESIEGER, request)).await;
            *answers.entry(answer.status.as_u16()).or_default() += 1;
        }
    }
    assert_eq!(answers.values().sum::<u32>(), 20_000);
    assert!(answers.keys().eq(&[401, 429]) && answers[&401] < 1_000, "{answers:?}");
    let refused = harness.send(from(BESIEGER, enrolment(&random_id()))).await;
    assert_eq!(refused.problem(), (429, "too_many_failures".to_owned()));
    assert_eq!(retry_after(&refused), 1);
    assert_eq!(harness.send(from(BESIEGER, report(&known, 2))).await.status, 200, "an agent that is known, from the same address");
    assert_eq!(harness.send(from(ELSEWHERE, enrolment(&random_id()))).await.status, 401, "a stranger from elsewhere");
    let token = harness.token(1).await;
    assert_eq!(harness.send(from(ELSEWHERE, enrolment(&token))).await.status, 201);
}
