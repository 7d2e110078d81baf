//! The agent at work: scan, put the report into the outbox, deliver, remember what the server acknowledged. What it does about commands
//! in between is in `agent/command_loop.rs`.

mod command_loop;

use crate::{
    clock,
    commands::CommandOptions,
    counters::Counters,
    delivery::{self, Link, Retries, Verdict},
    durable,
    error::{Error, Result},
    home::{AgentHome, HomeLock},
    host::{self, Machine},
    identity::Identity,
    ledger::Ledger,
    outbox::{Depth, Outbox, Waiting},
    progress::{Progress, Silent, Stage},
    report::{self, Envelope, ScopeSummary},
    scan::{Scan, Scanner},
    server::{Server, Signature},
    status::{LastDelivery, Status, Trouble},
    witness,
};
use command_loop::CommandLoop;
use redflag_core::{agent::HostFacts, ids::ReportId, names::Manager, report::ReportStatus, wire, wire::ReportAnswerBody};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const LEDGER: &str = "acknowledged.json";

/// An enrolled agent; holds its state directory until dropped.
#[derive(Debug)]
pub struct Agent {
    home: AgentHome,
    _lock: HomeLock,
    machine: Machine,
    identity: Identity,
    counters: Counters,
    outbox: Outbox,
    status: Status,
    scanners: Vec<Box<dyn Scanner>>,
    retries: Retries,
}

/// What came of [`Agent::report`].
#[derive(Clone, Debug, Serialize)]
pub struct ReportSummary {
    /// The report.
    pub report_id: ReportId,
    /// Its number.
    pub sequence: u64,
    /// What it says, per manager.
    pub scopes: Vec<ScopeSummary>,
    /// What came of sending it.
    pub delivery: Delivery,
}

/// What came of sending reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Delivery {
    /// The server has taken everything.
    Delivered(Counts),
    /// The server does not answer; the reports wait in the outbox.
    Waiting {
        /// Why, and what to look at.
        reason: String,
        /// How much waits.
        depth: Depth,
    },
    /// The server refused the newest report for good; it lies in the quarantine.
    SetAside {
        /// What it said.
        reason: String,
    },
}

/// What the server did with the reports delivered in one go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Reports delivered, older ones that waited included.
    pub reports: u64,
    /// Batches written.
    pub batches: u64,
    /// Events written.
    pub events: u64,
    /// Facts that became events.
    pub recorded: u64,
    /// Facts that were known.
    pub unchanged: u64,
    /// Facts rejected.
    pub rejected: u64,
    /// Managers whose sudden emptiness waits for a second scan.
    pub quarantined: Vec<Manager>,
    /// Reports that arrived after a newer one.
    pub stale: u64,
}

impl Counts {
    fn add(&mut self, answer: &ReportAnswerBody) {
        self.reports += 1;
        self.batches += u64::from(answer.batches);
        self.events += u64::from(answer.events);
        self.recorded += answer.recorded;
        self.unchanged += answer.unchanged;
        self.rejected += answer.rejected;
        self.quarantined.clone_from(&answer.quarantined);
        self.stale += u64::from(answer.status == ReportStatus::Stale);
    }
}

/// How [`Agent::run`] works.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Time from one scan to the next, give or take a tenth, so that a fleet does not report in step.
    pub interval: Duration,
    /// How commands are carried out; none to observe only.
    pub commands: Option<CommandOptions>,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self { interval: Duration::from_mins(15), commands: None }
    }
}

impl RunOptions {
    /// How long the first report after a start waits: not at all if it is the first of all, else for a random part of the interval.
    /// A fleet whose agents all start anew, as after an update of theirs, must not report in step.
    fn first_wait(&self, last_sequence: u64) -> Duration {
        if last_sequence == 0 { Duration::ZERO } else { clock::random_up_to(self.interval) }
    }

    /// How long from one scan to the next.
    fn next_wait(&self) -> Duration {
        self.interval.mul_f64(0.9) + clock::random_up_to(self.interval.mul_f64(0.2))
    }
}

impl Agent {
    /// Opens the agent enrolled in `home`, to scan with `scanners`.
    ///
    /// # Errors
    /// [`Error::NotEnrolled`]; [`Error::OtherMachine`]; [`Error::Busy`] while another process works with the same directory; when a
    /// file is damaged.
    pub fn open(home: AgentHome, scanners: Vec<Box<dyn Scanner>>) -> Result<Self> {
        let lock = home.lock()?;
        let identity = Identity::enrolled(&home)?;
        let machine = Machine::settle(&home)?;
        let (outbox, found) = Outbox::open(&home)?;
        let mut status = Status::read(&home);
        for damage in found {
            tracing::error!("{damage}");
            status.trouble = Some(Trouble::new(format!("outbox damaged: {damage}")));
        }
        // Found here already, so that damage shows with the start and not only with the first report.
        read_ledger(&home, &mut status)?;
        status.write(&home)?;
        Ok(Self {
            counters: Counters::open(&home)?,
            _lock: lock,
            machine,
            identity,
            outbox,
            status,
            scanners,
            retries: Retries::default(),
            home,
        })
    }

    /// The same agent with other patience.
    #[must_use]
    pub fn with_retries(self, retries: Retries) -> Self {
        Self { retries, ..self }
    }

    /// Who it is.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(crate) const fn retries(&self) -> Retries {
        self.retries
    }

    /// Posts a body once, signed.
    pub(crate) async fn post(&mut self, server: &Server, path: &str, body: Vec<u8>) -> Result<Vec<u8>> {
        let counter = self.counters.next_signature()?;
        let signature = Signature { agent: self.identity.agent, key: &self.identity.key, counter, signed_at: clock::now() };
        server.post(path, body, Some(signature)).await
    }

    /// Goes along with the server's audit log. What goes wrong with it stops no report: it is logged, and tried again after the next.
    async fn look_at_the_audit_log(&mut self) {
        let looked = async {
            let (home, server) = (self.home.clone(), Server::new(self.identity.server.clone())?);
            witness::look(self, &home, &server).await
        };
        match looked.await {
            Ok(()) => {}
            Err(Error::Refused { status: 404, .. }) => tracing::debug!("the server shows no audit log; it may be older than this agent"),
            Err(error) => tracing::warn!("the server's audit log was not looked at: {}", crate::error::with_causes(&error)),
        }
    }

    /// How much waits in the outbox.
    #[must_use]
    pub fn outbox_depth(&self) -> Depth {
        self.outbox.depth()
    }

    /// Scans every manager of this host, puts the report into the outbox and delivers what waits there.
    ///
    /// A server that does not answer is no error: the report is kept, and said to be.
    ///
    /// # Errors
    /// [`Error::Unauthorized`], and when state cannot be kept.
    ///
    /// # Cancel safety
    /// What is in the outbox is delivered by a later call.
    pub async fn report(&mut self, progress: &mut dyn Progress) -> Result<ReportSummary> {
        let (report_id, sequence, scopes) = self.scan(progress).await?;
        let delivery = self.deliver(&self.retries.clone(), progress).await?;
        if matches!(delivery, Delivery::Delivered(_)) {
            self.look_at_the_audit_log().await;
        }
        Ok(ReportSummary { report_id, sequence, scopes, delivery })
    }

    /// Reports at every interval until `shutdown`. The first report of all leaves at once; after a later start the first one waits
    /// for a random part of the interval. In between it carries commands out, where the options say how; else nothing runs and little is
    /// kept in memory.
    ///
    /// # Errors
    /// [`Error::Unauthorized`], and when the outbox can no longer promise to keep reports; everything else is logged, shown in
    /// the status, and tried again.
    pub async fn run(&mut self, options: &RunOptions, shutdown: CancellationToken) -> Result<()> {
        shutdown.run_until_cancelled(self.run_for_ever(options)).await.unwrap_or(Ok(()))
    }

    async fn run_for_ever(&mut self, options: &RunOptions) -> Result<()> {
        let mut commands = CommandLoop::open(self, options.commands.as_ref())?;
        let mut next = Instant::now() + options.first_wait(self.counters.last().sequence);
        loop {
            match &mut commands {
                Some(commands) => commands.attend(self, next).await?,
                None => tokio::time::sleep_until(next).await,
            }
            next = Instant::now() + options.next_wait();
            let outcome = self.report(&mut Silent).await.map(|summary| log_summary(&summary));
            self.survive(outcome)?;
            let patient = async {
                if self.outbox.depth().reports > 0 {
                    let outcome = self.deliver(&self.retries.endless(), &mut Silent).await.map(|_| ());
                    self.survive(outcome)?;
                }
                Ok(())
            };
            tokio::time::timeout_at(next, patient).await.unwrap_or(Ok(()))?;
        }
    }

    /// Lets the loop go on after what another try may heal.
    fn survive(&mut self, outcome: Result<()>) -> Result<()> {
        let Err(error) = outcome else { return Ok(()) };
        self.note_trouble(&error);
        if matches!(error, Error::Unauthorized { .. }) || self.outbox.broken() {
            return Err(error);
        }
        tracing::error!("{}", crate::error::with_causes(&error));
        Ok(())
    }

    /// Asks every manager and makes the report of what they say durable. Of the scans nothing is kept: the next report, also a full
    /// one that the server asks for, looks again.
    async fn scan(&mut self, progress: &mut dyn Progress) -> Result<(ReportId, u64, Vec<ScopeSummary>)> {
        let mut scans = Vec::new();
        for scanner in &self.scanners {
            if !scanner.present().await {
                continue;
            }
            progress.stage(&Stage::Scanning { manager: scanner.manager() });
            let scan = scanner.scan().await;
            progress.stage(&Stage::Scanned { manager: scan.manager.clone(), result: scan.result, updates: scan.offers.len() as u64 });
            scans.push(scan);
        }
        let managers: Vec<_> = scans.iter().map(|scan| &scan.manager).collect();
        let host = host::facts(&self.machine, &managers).await;
        self.enqueue(&scans, host, progress)
    }

    /// Builds the report of `scans` and makes it durable.
    fn enqueue(&mut self, scans: &[Scan], host: HostFacts, progress: &mut dyn Progress) -> Result<(ReportId, u64, Vec<ScopeSummary>)> {
        let mut known = self.ledger()?;
        for waiting in self.outbox.waiting() {
            known.expect(&parsed(&waiting?)?);
        }
        let envelope =
            Envelope { report_id: clock::new_report_id(), sequence: self.counters.next_sequence()?, sent_at: clock::now(), host };
        let mut built = report::build(&envelope, scans, &known)?;
        if self.outbox.overflows_with(built.body.len()) {
            self.supersede()?;
            let known = self.ledger()?;
            built = report::build(&envelope, scans, &known)?;
        }
        let report = Waiting { report_id: envelope.report_id, body: built.body };
        self.outbox.push(&report)?;
        self.status.scopes.clone_from(&built.scopes);
        self.status.host = envelope.host;
        self.status.write(&self.home)?;
        progress.stage(&Stage::Kept { report_id: report.report_id, bytes: report.body.len() as u64 });
        Ok((envelope.report_id, envelope.sequence, built.scopes))
    }

    /// Makes room: what waits is dropped, because a full report of the newest scans says all of it. What those reports named
    /// is kept in the ledger, since any of them may have arrived.
    fn supersede(&mut self) -> Result<()> {
        let Depth { reports, bytes } = self.outbox.depth();
        tracing::warn!(reports, bytes, "the outbox is full; its reports are superseded by one full report");
        let mut ledger = self.ledger()?;
        for waiting in self.outbox.waiting() {
            ledger.doubt(&parsed(&waiting?)?);
        }
        durable::replace_json(&self.home.file(LEDGER), &ledger)?;
        self.outbox.supersede()
    }

    /// Delivers what waits, and one full report more if the server asks for it.
    async fn deliver(&mut self, retries: &Retries, progress: &mut dyn Progress) -> Result<Delivery> {
        // Made for each delivery: between scans an agent keeps neither a connection nor the authorities it trusts in memory.
        let server = Server::new(self.identity.server.clone())?;
        let mut counts = Counts::default();
        let mut full_sent = false;
        loop {
            let (full_required, refused) = match self.drain(&server, retries, progress, &mut counts).await {
                Ok(drained) => drained,
                Err(error @ Error::Unreachable { .. }) => {
                    self.note_trouble(&error);
                    self.status.write(&self.home)?;
                    return Ok(Delivery::Waiting { reason: error.to_string(), depth: self.outbox.depth() });
                }
                Err(error) => {
                    self.note_trouble(&error);
                    self.status.write(&self.home)?;
                    return Err(error);
                }
            };
            if let Some(reason) = refused {
                return Ok(Delivery::SetAside { reason });
            }
            if full_required.is_empty() {
                return Ok(Delivery::Delivered(counts));
            }
            if full_sent {
                tracing::warn!(?full_required, "the server asks again for packages it was just sent; they follow with the next report");
                return Ok(Delivery::Delivered(counts));
            }
            tracing::info!(?full_required, "the server asks for all packages");
            self.scan(progress).await?;
            full_sent = true;
        }
    }

    /// Empties the outbox. Returns what the last answer asks for, or why the last report was refused.
    async fn drain(
        &mut self,
        server: &Server,
        retries: &Retries,
        progress: &mut dyn Progress,
        counts: &mut Counts,
    ) -> Result<(Vec<Manager>, Option<String>)> {
        let mut last = (Vec::new(), None);
        while let Some((report, behind)) = delivery::next(&self.outbox)? {
            let mut next_counter = || self.counters.next_signature();
            let mut link = Link { server, identity: &self.identity, next_counter: &mut next_counter };
            match delivery::send(&mut link, &report, behind, retries, progress).await? {
                Verdict::Taken(answer) => {
                    self.acknowledge(&report, &answer)?;
                    counts.add(&answer);
                    progress.stage(&Stage::Delivered { report_id: report.report_id });
                    last = (answer.full_required, None);
                }
                Verdict::Refused(error) => {
                    let path = self.outbox.set_aside(&report, &error.to_string())?;
                    tracing::error!(file = %path.display(), "{error}; the report is set aside");
                    self.note_trouble(&error);
                    self.status.write(&self.home)?;
                    last = (Vec::new(), Some(error.to_string()));
                }
            }
        }
        Ok(last)
    }

    /// Notes the answer, then drops the report: after a crash in between it is sent again, and answered the same.
    fn acknowledge(&mut self, report: &Waiting, answer: &ReportAnswerBody) -> Result<()> {
        let known = self.ledger()?;
        let mut ledger = known.clone();
        ledger.acknowledge(&parsed(report)?, answer);
        if ledger != known {
            durable::replace_json(&self.home.file(LEDGER), &ledger)?;
        }
        self.outbox.remove(report.report_id)?;
        self.status.trouble = None;
        if answer.status == ReportStatus::Stale {
            let message = "the server has newer reports of this agent: its state directory was restored from a copy, or runs twice";
            tracing::error!("{message}");
            self.status.trouble = Some(Trouble::new(format!("{message}; enrol anew with an empty state directory")));
        }
        self.status.last_delivery = Some(LastDelivery::new(report.report_id, answer));
        self.status.write(&self.home)
    }

    /// What the server is known to hold: thousands of packages, so it is read when it is needed and not kept in between.
    fn ledger(&mut self) -> Result<Ledger> {
        read_ledger(&self.home, &mut self.status)
    }

    fn note_trouble(&mut self, error: &Error) {
        self.status.trouble = Some(Trouble::new(crate::error::with_causes(error)));
    }
}

/// A damaged ledger is set aside: without it the next report is full, and only lacks what left since the last one.
fn read_ledger(home: &AgentHome, status: &mut Status) -> Result<Ledger> {
    let path = home.file(LEDGER);
    match durable::read_json(&path) {
        Ok(ledger) => Ok(ledger.unwrap_or_default()),
        Err(error @ Error::Damaged { .. }) => {
            let kept = home.directory("quarantine")?.join(LEDGER);
            std::fs::rename(&path, &kept).map_err(Error::state("set aside", &path))?;
            tracing::error!(kept = %kept.display(), "{error}; the next report will be full");
            status.trouble = Some(Trouble::new(format!("{error}; set aside, the next report will be full")));
            Ok(Ledger::default())
        }
        Err(error) => Err(error),
    }
}

/// What waits was built here and checked by its checksum, so it reads back.
fn parsed(report: &Waiting) -> Result<redflag_core::report::Report> {
    wire::read_report(&report.body)
        .map_err(|error| Error::invalid(format!("report {} in the outbox is not readable: {error}", report.report_id)))
}

fn log_summary(summary: &ReportSummary) {
    let ReportSummary { report_id, sequence, delivery, .. } = summary;
    match delivery {
        Delivery::Delivered(counts) => {
            let Counts { events, recorded, unchanged, rejected, .. } = counts;
            tracing::info!(%report_id, sequence, events, recorded, unchanged, rejected, "reported");
        }
        Delivery::Waiting { reason, depth } => {
            tracing::warn!(%report_id, sequence, waiting = depth.reports, "kept in the outbox: {reason}")
        }
        Delivery::SetAside { reason } => tracing::error!(%report_id, sequence, "set aside: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `count` waits fall into each tenth of the time from `from` to `to`.
    fn tenths(count: u32, from: Duration, to: Duration, mut wait: impl FnMut() -> Duration) -> [u32; 10] {
        let mut tenths = [0; 10];
        for _ in 0..count {
            let part = (wait() - from).as_secs_f64() / (to - from).as_secs_f64();
            tenths[((part * 10.0) as usize).min(9)] += 1;
        }
        tenths
    }

    #[test]
    fn a_fleet_that_starts_at_once_reports_evenly_over_the_interval() {
        let options = RunOptions::default();
        let even = |tenths: [u32; 10]| assert!(tenths.iter().all(|count| (800..1_200).contains(count)), "{tenths:?}");
        even(tenths(10_000, Duration::ZERO, options.interval, || options.first_wait(7)));
        even(tenths(10_000, options.interval.mul_f64(0.9), options.interval.mul_f64(1.1), || options.next_wait()));
        assert_eq!(options.first_wait(0), Duration::ZERO, "a new host is not kept waiting");
    }
}
