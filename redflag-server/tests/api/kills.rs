//! `kill -9` of the server's binary while agents report: what was acknowledged is there, whole and once.

use crate::{
    listing::fleet_report,
    process::{Running, client, deliver, enrol, output},
    support::{TestAgent, report, scope},
};
use redflag_core::{
    Fleet,
    agent::{AgentHead, Enrolment},
    conformance::{
        Witness,
        generate::{Rng, at, hostile_offer, offer, report_id},
    },
    limits,
    query::UpdateFilter,
    store::StateStore as _,
    wire::{ReportAnswerBody, read_report},
    work::{Answer, RecordReport, UnitOfWork, Withheld},
};
use redflag_faults::Campaign;
use redflag_server::{Settings, open_fleet};
use redflag_store_sqlite::{Options, SqliteStore};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::Semaphore, task::JoinSet};

/// Hosts of one fleet.
const HOSTS: usize = 3;
/// Packages that a host may have updates of.
const PACKAGES: usize = 24;
/// Kills of one fleet, after which another one begins.
const KILLS: u32 = 12;

/// A host that reports. What it offers changes from report to report.
struct Host {
    agent: TestAgent,
    rng: Rng,
    offers: BTreeMap<usize, Value>,
    /// Every report it made, in order.
    reports: Vec<String>,
    /// The answers to these, as far as they came.
    answers: Vec<String>,
}

impl Host {
    fn new(rng: Rng) -> Self {
        Self { agent: TestAgent::new(), rng, offers: BTreeMap::new(), reports: Vec::new(), answers: Vec::new() }
    }

    /// The next report: some offers are new, some are gone, one always changes, and now and then one is not to be taken.
    fn scan(&mut self) {
        let (rng, sequence) = (&mut self.rng, self.reports.len() as u64 + 1);
        let mut gone = Vec::new();
        for number in 1..PACKAGES {
            match rng.below(10) {
                0..3 => drop(self.offers.insert(number, json!(offer(rng, "apt", number)))),
                3 => gone.extend(self.offers.remove(&number)),
                _ => {}
            }
        }
        let mut changing = json!(offer(rng, "apt", 0));
        changing["available_version"] = json!(format!("1.{sequence}-1"));
        self.offers.insert(0, changing);
        let mut offers: Vec<Value> = self.offers.values().cloned().collect();
        offers.extend(rng.chance(20).then(|| json!(hostile_offer(rng, "apt"))));
        let mut scope = scope("apt", &offers);
        let installed = |lost: &Value| json!({"package_name": lost["package_name"], "arch": lost["arch"], "installed_version": lost["available_version"]});
        scope["gone"] = gone.iter().map(installed).collect();
        let mut report = report(sequence, &[scope]);
        report["report_id"] = json!(report_id(sequence));
        self.reports.push(report.to_string());
    }

    /// Reports again and again until the server is gone; what got no answer comes again first.
    async fn report_until_cut_off(mut self, client: reqwest::Client, url: String, answered: Arc<Semaphore>) -> Self {
        loop {
            if self.answers.len() == self.reports.len() {
                self.scan();
            }
            let report = &self.reports[self.answers.len()];
            let Some(answer) = deliver(&client, &url, &self.agent, report).await else { return self };
            self.answers.push(answer);
            answered.add_permits(1);
        }
    }

    /// The unit of work that report number `number` is, received when the store says.
    fn work(&self, number: usize) -> UnitOfWork {
        let report = Arc::new(read_report(self.reports[number].as_bytes()).unwrap());
        let withheld = Withheld::default();
        let batch_events = limits::BATCH_EVENTS_DEFAULT;
        UnitOfWork::RecordReport(RecordReport { agent: self.agent.id, report, received_at: at(0), batch_events, withheld })
    }
}

/// A fleet whose server is killed again and again.
struct Victim {
    database: String,
    client: reqwest::Client,
    running: Running,
    hosts: Vec<Host>,
    witness: Witness,
    /// How many reports of each host the witness knows.
    known: Vec<usize>,
    rng: Rng,
    cut_off: usize,
}

impl Victim {
    async fn new(database: String, mut rng: Rng) -> Self {
        let (client, running) = (client(), Running::start(&database, 1).await);
        let (_, token, _) = output(&database, &["enrolment-token", "--seats", &HOSTS.to_string()]).await;
        let hosts: Vec<Host> = (0..HOSTS).map(|_| Host::new(Rng::new(rng.next()))).collect();
        let fleet = opened(&database).await;
        let mut streams = Vec::new();
        for host in &hosts {
            enrol(&client, &running.url, token.trim(), &host.agent).await;
            let AgentHead { agent, name, public_key, tags, enrolled_at, .. } = fleet.store().agent(host.agent.id).await.unwrap().unwrap();
            streams.push(vec![UnitOfWork::EnrolAgent(Enrolment { agent, name, public_key, tags, enrolled_at })]);
        }
        let mut witness = Witness::new(streams);
        for stream in 0..HOSTS {
            witness.answered(stream).await.unwrap();
        }
        Self { database, client, running, hosts, witness, known: vec![0; HOSTS], rng, cut_off: 0 }
    }

    /// Kills the server in the middle of reports.
    async fn kill(&mut self) {
        let answered = Arc::new(Semaphore::new(0));
        let mut reporting = JoinSet::new();
        for (number, host) in self.hosts.drain(..).enumerate() {
            let task = host.report_until_cut_off(self.client.clone(), self.running.url.clone(), Arc::clone(&answered));
            reporting.spawn(async move { (number, task.await) });
        }
        drop(answered.acquire_many(u32::try_from(self.rng.below(12)).unwrap()).await.unwrap());
        tokio::time::sleep(Duration::from_micros(self.rng.next() % 8_000)).await;
        self.running.child.start_kill().unwrap();
        self.running.child.wait().await.unwrap();
        let mut hosts = reporting.join_all().await;
        hosts.sort_unstable_by_key(|(number, _)| *number);
        self.hosts.extend(hosts.into_iter().map(|(_, host)| host));
        self.cut_off += self.hosts.iter().filter(|host| host.answers.len() < host.reports.len()).count();
    }

    /// Compares what is there with what was answered. The server may run; none of its predecessors may be at it any more.
    async fn audit(&mut self) {
        let fleet = opened(&self.database).await;
        for (stream, host) in self.hosts.iter().enumerate() {
            (self.known[stream]..host.reports.len()).for_each(|number| self.witness.submitted(stream, host.work(number)));
            self.known[stream] = host.reports.len();
        }
        self.witness.date_reports(fleet.store()).await.unwrap();
        for (stream, host) in self.hosts.iter().enumerate() {
            // The first work of a stream is the enrolment.
            let noted = self.witness.positions()[stream] - 1;
            for answer in &host.answers[noted..] {
                let Ok(Answer::Report(expected)) = self.witness.answered(stream).await else { panic!("a report is never refused here") };
                assert_eq!(*answer, serde_json::to_string(&ReportAnswerBody::from(&expected)).unwrap(), "what host {stream} was answered");
            }
        }
        self.witness.audit(fleet.store()).await.unwrap();
        self.witness.audit_feed(fleet.store()).await.unwrap();
    }

    /// Starts the server again and asks for the newest answers once more.
    async fn restart(&mut self) {
        self.running = Running::start(&self.database, 1).await;
        for host in &self.hosts {
            let Some((answer, report)) = host.answers.last().zip(host.reports.get(host.answers.len().saturating_sub(1))) else { continue };
            let again = deliver(&self.client, &self.running.url, &host.agent, report).await.expect("the restarted server answers");
            assert_eq!(again, *answer, "an answer given before the kill");
        }
    }
}

/// The fleet, beside its server.
async fn opened(database: &str) -> Fleet {
    open_fleet(&Settings { database: database.to_owned(), ..Settings::default() }).await.unwrap()
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
        assert!(second.contains("\"recorded\":3772,"), "{killed}: {second}");
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

/// Kills the server of one fleet again and again; answers how many reports were cut off. `settled` returns once nothing is under way
/// in the database any more.
async fn kill_again_and_again(campaign: &mut Campaign, database: String, rng: Rng, settled: impl Fn()) -> usize {
    let mut victim = Victim::new(database, rng).await;
    for _ in 0..KILLS {
        if campaign.cycle() {
            victim.kill().await;
            victim.restart().await;
            settled();
            victim.audit().await;
            victim.witness.findings().whole().unwrap();
        }
    }
    victim.running.kill().await;
    let fleet = opened(&victim.database).await;
    campaign.add(&victim.witness.settle(fleet.store()).await.unwrap());
    victim.cut_off
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_on_sqlite_loses_nothing_it_answered() {
    let mut campaign = Campaign::new("server on SQLite killed", "-p redflag-server --test api a_killed_server_on_sqlite", 24);
    let mut cut_off = 0;
    while let Some((_, rng)) = campaign.seed() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("fleet.db").to_str().unwrap().to_owned();
        cut_off += kill_again_and_again(&mut campaign, database, rng, || {}).await;
    }
    assert!(cut_off > 0, "no kill came in the middle of a report");
    campaign.end(&format!("{cut_off} reports cut off"));
}

/// A commit of the killed server may still be under way in PostgreSQL when the next server starts.
#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_on_postgres_loses_nothing_it_answered() {
    let mut campaign = Campaign::new("server on PostgreSQL killed", "-p redflag-server --test api a_killed_server_on_postgres", 24);
    let cluster = redflag_faults::Cluster::new(&[]);
    let mut cut_off = 0;
    while let Some((_, rng)) = campaign.seed() {
        cut_off += kill_again_and_again(&mut campaign, cluster.url(), rng, || cluster.wait_until_idle()).await;
        cluster.sql("DROP SCHEMA redflag CASCADE");
    }
    assert!(cut_off > 0, "no kill came in the middle of a report");
    campaign.end(&format!("{cut_off} reports cut off"));
}

/// An older file in place of the newest one: the harness misses what was answered in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_harness_sees_a_file_that_was_put_back() {
    let directory = tempfile::tempdir().unwrap();
    let (file, older) = (directory.path().join("fleet.db"), directory.path().join("older.db"));
    let mut victim = Victim::new(file.to_str().unwrap().to_owned(), Rng::new(1)).await;
    victim.kill().await;
    // Opening and closing it takes the write-ahead log into the file.
    drop(opened(&victim.database).await);
    std::fs::copy(&file, &older).unwrap();
    victim.running = Running::start(&victim.database, 1).await;
    while victim.witness.findings().lost == 0 {
        victim.kill().await;
        drop(opened(&victim.database).await);
        std::fs::copy(&older, &file).unwrap();
        victim.audit().await;
    }
    assert_eq!((victim.witness.findings().torn, victim.witness.findings().duplicates), (0, 0), "{}", victim.witness.findings());
}
