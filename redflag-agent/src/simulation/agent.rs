//! One simulated agent: it keeps in memory what a real one keeps on disk, and holds every answer against what it must be.

use super::{
    catalogue::Catalogue,
    host::SimulatedHost,
    profile::Behaviour,
    tally::{Kind, Tally},
};
use crate::{
    clock,
    delivery::{self, Link, Retries, Verdict},
    error::{Error, Result},
    identity::Identity,
    ledger::Ledger,
    outbox::Waiting,
    progress::Silent,
    report::{self, Envelope},
    server::Server,
};
use redflag_core::{report::ReportStatus, wire, wire::ReportAnswerBody, words::ScanResult};
use std::time::{Duration, Instant};

/// Further than any server may accept.
const SKEW: Duration = Duration::from_hours(1);

/// Whether a report that must have no effect may also be taken as a late one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Late {
    Too,
    Never,
}

#[derive(Debug)]
pub(super) struct SimulatedAgent {
    pub(super) host: SimulatedHost,
    identity: Identity,
    server: Server,
    ledger: Ledger,
    counter: u64,
    sequence: u64,
    /// Whether the server has found out that it was cloned.
    quarantined: bool,
}

impl SimulatedAgent {
    pub(super) fn new(host: SimulatedHost, identity: Identity, server: Server) -> Self {
        Self { host, identity, server, ledger: Ledger::default(), counter: 0, sequence: 0, quarantined: false }
    }

    /// Reports for the first time.
    pub(super) async fn first(&mut self) -> Result<Tally> {
        let mut tally = Tally::default();
        self.report(Kind::First, &mut tally).await?;
        Ok(tally)
    }

    /// Lives through one round.
    pub(super) async fn live(&mut self, behaviour: Behaviour, round: u32, catalogues: &[Catalogue]) -> Result<Tally> {
        let mut tally = Tally::default();
        if self.quarantined {
            return Ok(tally);
        }
        if matches!(behaviour, Behaviour::Change | Behaviour::LoseAnswer) {
            self.host.live(round, catalogues);
        }
        match behaviour {
            Behaviour::Change => drop(self.report(Kind::Change, &mut tally).await?),
            Behaviour::Idle => self.idle(&mut tally).await?,
            Behaviour::Clone => self.with_a_clone(&mut tally).await?,
            Behaviour::Skew => self.with_a_wrong_clock(&mut tally).await?,
            Behaviour::LoseAnswer => self.losing_the_answer(&mut tally).await?,
        }
        Ok(tally)
    }

    async fn idle(&mut self, tally: &mut Tally) -> Result<()> {
        // A scan that failed or was partial, and a scope the server has doubts about, are said again in full.
        let whole = self.host.scans().iter().all(|scan| scan.result == ScanResult::Complete);
        let agreed = self.ledger.scopes.values().all(|scope| scope.agreed.is_some());
        let answer = self.report(Kind::Idle, tally).await?;
        let unchanged = answer.status == ReportStatus::Unchanged && answer.events == 0 && answer.batches == 0;
        if whole && agreed && !(unchanged && answer.full_required.is_empty()) {
            tally.wrong(format!("{}: nothing changed, and the answer is {}", self.host.name, shown(&answer)));
        }
        Ok(())
    }

    /// The original reports; a copy that was made before then does so with numbers that are used up. Within the same second its
    /// signature is a replay; later it is a new one, and the report is late.
    async fn with_a_clone(&mut self, tally: &mut Tally) -> Result<()> {
        let (counter, sequence) = (self.counter, self.sequence);
        self.report(Kind::Idle, tally).await?;
        let report = self.build(sequence + 1)?;
        self.must_be_refused("a clone's report", &report, counter + 1, Duration::ZERO, Late::Too, tally).await
    }

    async fn with_a_wrong_clock(&mut self, tally: &mut Tally) -> Result<()> {
        let report = self.build(self.sequence + 1)?;
        self.counter += 1;
        self.must_be_refused("a report signed an hour ago", &report, self.counter, SKEW, Late::Never, tally).await?;
        self.report(Kind::Idle, tally).await.map(drop)
    }

    /// Sends the report, forgets the answer, and sends the same bytes again.
    async fn losing_the_answer(&mut self, tally: &mut Tally) -> Result<()> {
        self.sequence += 1;
        let report = self.build(self.sequence)?;
        let lost = self.send(Kind::Change, &report, tally).await?;
        tally.answered(&lost, report.body.len());
        let answer = self.send(Kind::Again, &report, tally).await?;
        if shown(&answer) != shown(&lost) {
            tally.wrong(format!("{}: the same bytes were answered with {} and then {}", self.host.name, shown(&lost), shown(&answer)));
        }
        self.acknowledge(&report, &answer)
    }

    /// Reports, and once more in full if the server asks for it. Gives the last answer.
    async fn report(&mut self, kind: Kind, tally: &mut Tally) -> Result<ReportAnswerBody> {
        let mut full = false;
        loop {
            self.sequence += 1;
            let report = self.build(self.sequence)?;
            let scans = self.host.scans();
            let count = |result| scans.iter().filter(|scan| scan.result == result).count() as u64;
            if !full {
                tally.summary.failed_scans += count(ScanResult::Failed);
                tally.summary.partial_scans += count(ScanResult::Partial);
            }
            let answer = self.send(kind, &report, tally).await?;
            tally.answered(&answer, report.body.len());
            self.judge(&answer, tally);
            self.acknowledge(&report, &answer)?;
            if answer.full_required.is_empty() || full {
                return Ok(answer);
            }
            full = true;
        }
    }

    /// What holds for every answer to an agent whose numbers grow and whose facts are well formed.
    fn judge(&self, answer: &ReportAnswerBody, tally: &mut Tally) {
        if answer.status == ReportStatus::Stale || answer.rejected > 0 {
            tally.wrong(format!("{}: a good report was answered with {}", self.host.name, shown(answer)));
        }
    }

    fn build(&self, sequence: u64) -> Result<Waiting> {
        let (report_id, sent_at, host) = (clock::new_report_id(), clock::now(), self.host.facts.clone());
        let envelope = Envelope { report_id, sequence, sent_at, host };
        Ok(Waiting { report_id, body: report::build(&envelope, &self.host.scans(), &self.ledger)?.body })
    }

    fn acknowledge(&mut self, report: &Waiting, answer: &ReportAnswerBody) -> Result<()> {
        let parsed = wire::read_report(&report.body)
            .map_err(|error| Error::invalid(format!("the report of {} is not readable: {error}", self.host.name)))?;
        self.ledger.acknowledge(&parsed, answer);
        Ok(())
    }

    async fn send(&mut self, kind: Kind, report: &Waiting, tally: &mut Tally) -> Result<ReportAnswerBody> {
        let counter = &mut self.counter;
        let mut next_counter = || {
            *counter += 1;
            Ok(*counter)
        };
        let mut link = Link { server: &self.server, identity: &self.identity, next_counter: &mut next_counter };
        let started = Instant::now();
        let verdict = delivery::send(&mut link, report, 0, &Retries::default(), &mut Silent).await?;
        tally.took(kind, started.elapsed());
        match verdict {
            Verdict::Taken(answer) => Ok(answer),
            Verdict::Refused(error) => Err(error),
        }
    }

    async fn must_be_refused(
        &mut self,
        what: &str,
        report: &Waiting,
        counter: u64,
        ago: Duration,
        late: Late,
        tally: &mut Tally,
    ) -> Result<()> {
        let started = Instant::now();
        let answer = delivery::post(&self.server, &self.identity, counter, clock::now().saturating_sub(ago), report).await;
        tally.took(Kind::Refused, started.elapsed());
        match answer {
            Err(Error::Unauthorized { .. }) => tally.summary.refused += 1,
            // Found out; from now on nothing of either is taken.
            Err(Error::Unreachable { message, .. }) if late == Late::Too && message.contains("quarantine") => {
                tally.summary.refused += 1;
                self.quarantined = true;
            }
            Err(error) => return Err(error),
            Ok(answer) if late == Late::Too && answer.status == ReportStatus::Stale && answer.events == 0 => {
                tally.answered(&answer, report.body.len());
            }
            Ok(answer) => tally.wrong(format!("{}: {what} was answered with {}", self.host.name, shown(&answer))),
        }
        Ok(())
    }
}

/// An answer in a few words, without its outcomes.
fn shown(answer: &ReportAnswerBody) -> String {
    let ReportAnswerBody { status, batches, events, recorded, unchanged, rejected, full_required, .. } = answer;
    format!(
        "{status}: {events} events in {batches} batches, {recorded} recorded, {unchanged} unchanged, {rejected} rejected, {} asked for",
        full_required.len()
    )
}
