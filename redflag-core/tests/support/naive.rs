//! A deliberately naive specification of core: one event at a time, plain lists, linear search, written from the contract's
//! clauses. It uses core's data types and its readers of names and versions, and none of its judgement.

use redflag_core::{
    agent::{AgentHead, LastReport, ScopeHead},
    event::{Actor, Event, EventKind, RecordedEvent, Source, validate},
    ids::{AgentId, BatchId, Digest, EventId, ReportId},
    names::{Manager, PackageKey, Text, Version},
    offer::Offer,
    rejection::RejectionCode,
    report::{Fact, Scope, ScopeContent, scope_digest},
    state::{Approval, Dispatch, Ignore, PackageState, Standing, VersionChange},
    time::Timestamp,
    version_order,
    words::{IgnoreScope, ScanResult, Status, VersionOutcome, WithdrawalReason},
    work::{Decide, Decision, RecordReport, Refusal, SubmitBatch, UnitOfWork},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Accepted,
    Duplicate(BatchId, u32),
    Rejected(RejectionCode),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FactSays {
    Recorded,
    Unchanged,
    Rejected(RejectionCode),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Receipt {
        number: u64,
        outcomes: Vec<Outcome>,
    },
    Report {
        status: &'static str,
        full_required: Vec<Manager>,
        quarantined: Vec<Manager>,
        batches: u32,
        events: u32,
        outcomes: Vec<FactSays>,
    },
    Enrolled,
    Refused(Refusal),
}

#[derive(Debug, Default)]
pub(crate) struct Naive {
    pub agents: Vec<NaiveAgent>,
}

#[derive(Debug)]
pub(crate) struct NaiveAgent {
    pub head: AgentHead,
    pub states: Vec<PackageState>,
    pub log: Vec<RecordedEvent>,
    pub history: Vec<VersionChange>,
    /// Batch, index, code of every rejected event.
    pub rejections: Vec<(BatchId, u32, RejectionCode)>,
    batches: Vec<(BatchId, Digest, Answer)>,
    chosen: Vec<(EventId, Digest, BatchId, u32)>,
    reports: Vec<(ReportId, Digest, Answer)>,
}

/// Which cells of the transition table hold something; everything else is forbidden (clause S3).
fn may(event: &str, status: Option<Status>) -> bool {
    let status = status.map_or("none", Status::as_str);
    let open = ["pending", "approved", "ignored", "needs-review", "queued", "installing", "failed", "rolled-back"];
    match event {
        "discovered" => ["none", "installed", "withdrawn"].contains(&status),
        "revised" | "withdrawn" | "installed-observed" => open.contains(&status),
        "approved" => ["pending", "needs-review", "failed", "rolled-back"].contains(&status),
        "approval-withdrawn" => ["approved", "needs-review", "queued"].contains(&status),
        "ignored" => ["pending", "approved", "ignored", "needs-review", "failed", "rolled-back"].contains(&status),
        "reopened" => ["ignored", "needs-review", "failed", "rolled-back"].contains(&status),
        "review-requested" => status == "approved",
        "install-queued" => ["approved", "failed"].contains(&status),
        "install-started" => status == "queued",
        "install-succeeded" | "install-failed" | "install-expired" => ["queued", "installing"].contains(&status),
        "rolled-back" => ["installing", "failed"].contains(&status),
        _ => false,
    }
}

fn commanded(standing: &Standing) -> Option<Box<Dispatch>> {
    match standing {
        Standing::Queued(dispatch) | Standing::Installing(dispatch) | Standing::Failed { dispatch, .. } => Some(dispatch.clone()),
        _ => None,
    }
}

/// What one event makes of a state.
pub(crate) fn step(before: Option<&PackageState>, event: &Event, actor: &Actor, at: Timestamp) -> Result<PackageState, RejectionCode> {
    if matches!(event.kind, EventKind::Unknown { .. }) {
        return Err(RejectionCode::UnknownKind);
    }
    if !may(event.kind.as_str(), before.map(PackageState::status)) {
        return Err(if before.is_none() { RejectionCode::UnknownPackage } else { RejectionCode::IllegalTransition });
    }
    let revision = before.map_or(1, |state| state.revision + 1);
    if let EventKind::Discovered { offer } | EventKind::Revised { offer } = &event.kind {
        let ignore = before.and_then(|state| state.package_ignore.clone());
        let reopened = PackageState {
            package: event.package.clone(),
            offer: offer.clone(),
            standing: match &ignore {
                Some(ignore) => Standing::Ignored(ignore.clone()),
                None => Standing::Pending,
            },
            package_ignore: ignore,
            revision,
            discovered_at: at,
            changed_at: at,
        };
        // Clause S4: the same offer never touches a decision; a running command goes on whatever is offered meanwhile.
        return Ok(match before {
            Some(state)
                if state.status().open()
                    && (state.offer.digest(&state.package) == offer.digest(&event.package) || state.status() == Status::Installing) =>
            {
                PackageState { offer: offer.clone(), revision, changed_at: at, ..state.clone() }
            }
            _ => reopened,
        });
    }
    let mut after = before.expect("other kinds need a state").clone();
    after.revision = revision;
    after.changed_at = at;
    let shown = after.offer.digest(&after.package);
    let same_offer = |digest| if digest == shown { Ok(()) } else { Err(RejectionCode::OfferChanged) };
    let running = |command| match commanded(&after.standing) {
        Some(dispatch) if dispatch.command == command => Ok(dispatch),
        _ => Err(RejectionCode::CommandMismatch),
    };
    after.standing = match &event.kind {
        EventKind::Withdrawn { reason } => Standing::Withdrawn { reason: *reason },
        EventKind::InstalledObserved { version } => Standing::Installed { version: version.clone(), command: ran(&after.standing) },
        EventKind::Approved { offer_digest, comment } => {
            same_offer(*offer_digest)?;
            let approval = Approval { offer_digest: *offer_digest, actor: actor.clone(), at, comment: comment.clone() };
            Standing::Approved(Box::new(approval))
        }
        EventKind::Ignored { offer_digest, scope, until, reason } => {
            same_offer(*offer_digest)?;
            let ignore = Box::new(Ignore { scope: *scope, until: *until, actor: actor.clone(), at, reason: reason.clone() });
            after.package_ignore = if *scope == IgnoreScope::Package { Some(ignore.clone()) } else { None };
            Standing::Ignored(ignore)
        }
        EventKind::ApprovalWithdrawn { .. } => Standing::Pending,
        EventKind::Reopened { .. } => {
            after.package_ignore = None;
            Standing::Pending
        }
        EventKind::ReviewRequested { reason } => match &after.standing {
            Standing::Approved(approval) => Standing::NeedsReview { approval: approval.clone(), reason: reason.clone() },
            _ => unreachable!("the table lets only an approved update come here"),
        },
        EventKind::InstallQueued { command } => {
            let approval = match &after.standing {
                Standing::Approved(approval) => Approval::clone(approval),
                Standing::Failed { dispatch, .. } => dispatch.approval.clone(),
                _ => unreachable!("the table lets only approved and failed updates come here"),
            };
            same_offer(approval.offer_digest)?;
            Standing::Queued(Box::new(Dispatch { command: *command, approval }))
        }
        EventKind::InstallStarted { command } | EventKind::InstallSucceeded { command } => Standing::Installing(running(*command)?),
        EventKind::InstallFailed { command, reason } => Standing::Failed { dispatch: running(*command)?, reason: reason.clone() },
        EventKind::InstallExpired { command } => {
            Standing::Failed { dispatch: running(*command)?, reason: Text::parse("the command expired").unwrap() }
        }
        EventKind::RolledBack { command, version, reason } => {
            running(*command)?;
            Standing::RolledBack { command: *command, version: version.clone(), reason: reason.clone() }
        }
        EventKind::Discovered { .. } | EventKind::Revised { .. } | EventKind::Unknown { .. } => unreachable!("handled above"),
    };
    Ok(after)
}

/// The command that may have installed what is seen: one that started or failed, never one that still waits.
fn ran(standing: &Standing) -> Option<redflag_core::ids::CommandId> {
    match standing {
        Standing::Installing(dispatch) | Standing::Failed { dispatch, .. } => Some(dispatch.command),
        _ => None,
    }
}

/// Versions that were installed, failed or were rolled back.
pub(crate) fn remembered(before: Option<&PackageState>, event: &Event, at: Timestamp, sequence: u64) -> Option<VersionChange> {
    let before = before?;
    let offered = before.offer.candidate.version.clone();
    let (to_version, outcome, command, reason) = match &event.kind {
        EventKind::InstalledObserved { version } => (version.clone(), VersionOutcome::Installed, ran(&before.standing), None),
        EventKind::InstallFailed { command, reason } => (offered, VersionOutcome::Failed, Some(*command), Some(reason.clone())),
        EventKind::RolledBack { command, version, reason } => {
            (version.clone(), VersionOutcome::RolledBack, Some(*command), Some(reason.clone()))
        }
        _ => return None,
    };
    let from_version = before.offer.installed.clone();
    Some(VersionChange { package: event.package.clone(), from_version, to_version, outcome, command, reason, at, sequence })
}

impl Naive {
    pub(crate) fn run(&mut self, work: &UnitOfWork) -> Answer {
        let agent = match work {
            UnitOfWork::EnrolAgent(enrolment) => {
                return match self.agents.iter().find(|known| known.head.agent == enrolment.agent) {
                    Some(known) if known.head.public_key == enrolment.public_key => Answer::Enrolled,
                    Some(_) => Answer::Refused(Refusal::AgentExists { agent: enrolment.agent }),
                    None => {
                        self.agents.push(NaiveAgent::new(AgentHead::enrolled(enrolment)));
                        Answer::Enrolled
                    }
                };
            }
            UnitOfWork::SubmitBatch(work) => work.batch.agent(),
            UnitOfWork::RecordReport(work) => work.agent,
            UnitOfWork::Decide(work) => work.agent,
            other => unreachable!("the specification is of events, not of the life of a log: {other:?}"),
        };
        let Some(known) = self.agents.iter_mut().find(|known| known.head.agent == agent) else {
            return Answer::Refused(Refusal::UnknownAgent { agent });
        };
        match work {
            UnitOfWork::SubmitBatch(work) => known.submit(work),
            UnitOfWork::RecordReport(work) => known.report(work),
            UnitOfWork::Decide(work) => known.decide(work),
            other => unreachable!("answered above: {other:?}"),
        }
    }

    pub(crate) fn agent(&self, agent: AgentId) -> Option<&NaiveAgent> {
        self.agents.iter().find(|known| known.head.agent == agent)
    }
}

impl NaiveAgent {
    fn new(head: AgentHead) -> Self {
        Self {
            head,
            states: Vec::new(),
            log: Vec::new(),
            history: Vec::new(),
            rejections: Vec::new(),
            batches: Vec::new(),
            chosen: Vec::new(),
            reports: Vec::new(),
        }
    }

    fn state(&self, package: &PackageKey) -> Option<&PackageState> {
        self.states.iter().find(|state| state.package == *package)
    }

    /// One event: it happens wholly or not at all.
    fn happen(&mut self, event: &Event, place: (BatchId, u32), actor: &Actor, source: Source, at: Timestamp) -> Result<(), RejectionCode> {
        let before = self.state(&event.package).cloned();
        let after = step(before.as_ref(), event, actor, at)?;
        self.head.events += 1;
        self.history.extend(remembered(before.as_ref(), event, at, self.head.events));
        self.log.push(RecordedEvent {
            event: event.clone(),
            sequence: self.head.events,
            revision: self.log.iter().filter(|known| known.event.package == event.package).count() as u64 + 1,
            batch: place.0,
            index: place.1,
            actor: actor.clone(),
            source,
            received_at: at,
        });
        self.states.retain(|state| state.package != event.package);
        self.states.push(after);
        Ok(())
    }

    fn known(&self, batch: BatchId, digest: Digest) -> Option<Answer> {
        let (_, known, answer) = self.batches.iter().find(|(id, ..)| *id == batch)?;
        Some(if *known == digest { answer.clone() } else { Answer::Refused(Refusal::BatchIdReused { batch }) })
    }

    fn submit(&mut self, work: &SubmitBatch) -> Answer {
        let batch = &work.batch;
        if let Some(answer) = self.known(batch.id(), batch.digest()) {
            return answer;
        }
        if batch.events().is_empty() {
            return Answer::Receipt { number: 0, outcomes: Vec::new() };
        }
        self.head.batches += 1;
        let mut outcomes = Vec::new();
        for (index, input) in (0..).zip(batch.events()) {
            let outcome = match validate(input) {
                Err(rejection) => Outcome::Rejected(rejection.code),
                Ok(event) => match self.chosen.iter().find(|(id, ..)| *id == event.id) {
                    Some((_, digest, batch, index)) if *digest == event.digest() => Outcome::Duplicate(*batch, *index),
                    Some(_) => Outcome::Rejected(RejectionCode::EventIdReused),
                    None => match self.happen(&event, (batch.id(), index), batch.actor(), Source::Submitted, work.received_at) {
                        Ok(()) => {
                            self.chosen.push((event.id, event.digest(), batch.id(), index));
                            Outcome::Accepted
                        }
                        Err(code) => Outcome::Rejected(code),
                    },
                },
            };
            if let Outcome::Rejected(code) = outcome {
                self.rejections.push((batch.id(), index, code));
            }
            outcomes.push(outcome);
        }
        let answer = Answer::Receipt { number: self.head.batches, outcomes };
        self.batches.push((batch.id(), batch.digest(), answer.clone()));
        answer
    }

    fn decide(&mut self, work: &Decide) -> Answer {
        // The content of a decision is who decided what; here its text stands for its digest.
        let digest = Digest::of("naive", &[format!("{:?} {:?}", work.operator, work.decisions).as_bytes()]);
        if let Some(answer) = self.known(work.batch, digest) {
            return answer;
        }
        let actor = Actor::Operator(work.operator.clone());
        let mut outcomes = Vec::new();
        for (index, (package, decision)) in (0..).zip(&work.decisions) {
            let kind = match decision.clone() {
                Decision::Approve { offer_digest, comment } => EventKind::Approved { offer_digest, comment },
                Decision::WithdrawApproval { comment } => EventKind::ApprovalWithdrawn { comment },
                Decision::Ignore { offer_digest, scope, until, reason } => EventKind::Ignored { offer_digest, scope, until, reason },
                Decision::Reopen { comment } => EventKind::Reopened { comment },
            };
            let event = Event { id: EventId::of_batch(work.agent, work.batch, index), package: package.clone(), kind, observed_at: None };
            outcomes.push(match self.happen(&event, (work.batch, index), &actor, Source::Decision, work.received_at) {
                Ok(()) => Outcome::Accepted,
                Err(code) => Outcome::Rejected(code),
            });
        }
        if !outcomes.contains(&Outcome::Accepted) {
            return Answer::Receipt { number: 0, outcomes };
        }
        self.head.batches += 1;
        for (index, outcome) in (0..).zip(&outcomes) {
            if let Outcome::Rejected(code) = outcome {
                self.rejections.push((work.batch, index, *code));
            }
        }
        let answer = Answer::Receipt { number: self.head.batches, outcomes };
        self.batches.push((work.batch, digest, answer.clone()));
        answer
    }

    fn report(&mut self, work: &RecordReport) -> Answer {
        let report = &work.report;
        if let Some((_, digest, answer)) = self.reports.iter().find(|(id, ..)| *id == report.report_id) {
            let reused = Answer::Refused(Refusal::ReportIdReused { report: report.report_id });
            return if *digest == report.digest { answer.clone() } else { reused };
        }
        let facts: usize = report.scopes.iter().map(|scope| facts(scope).len()).sum();
        if let Some(last) = self.head.last_report {
            if last.report_id == report.report_id {
                if last.digest != report.digest {
                    return Answer::Refused(Refusal::ReportIdReused { report: report.report_id });
                }
            } else if report.sequence.is_some_and(|sequence| sequence <= last.sequence) {
                self.head.last_contact_at = Some(work.received_at);
                let outcomes = vec![FactSays::Unchanged; facts];
                let (full_required, quarantined) = (Vec::new(), Vec::new());
                let answer = Answer::Report { status: "stale", full_required, quarantined, batches: 0, events: 0, outcomes };
                self.reports.push((report.report_id, report.digest, answer.clone()));
                return answer;
            }
        }
        self.record(work)
    }

    fn record(&mut self, work: &RecordReport) -> Answer {
        let report = &work.report;
        let at = work.received_at;
        let (mut full_required, mut quarantined, mut outcomes) = (Vec::new(), Vec::new(), Vec::new());
        let (mut items, mut events) = (0_u64, 0);
        let mut heads = self.head.scopes.clone();
        for scope in &report.scopes {
            let known = heads.get(&scope.manager).cloned();
            if let ScopeContent::Digest(digest) = &scope.content
                && known.as_ref().and_then(|known| known.digest) != Some(*digest)
            {
                full_required.push(scope.manager.clone());
                continue;
            }
            let judged = judge(&self.states, scope, known.as_ref().and_then(|known| known.quarantined_at));
            if judged.quarantined {
                quarantined.push(scope.manager.clone());
            }
            let mut says = vec![FactSays::Unchanged; facts(scope).len()];
            for (fact, item) in &judged.items {
                let size = u64::from(work.batch_events);
                let batch = BatchId::of_report(work.agent, report.report_id, u32::try_from(items / size).unwrap());
                let place = (batch, u32::try_from(items % size).unwrap());
                let said = match item {
                    Err((code, _)) => {
                        self.rejections.push((place.0, place.1, *code));
                        FactSays::Rejected(*code)
                    }
                    Ok((package, kind)) => {
                        let id = EventId::of_report(work.agent, report.report_id, items);
                        let (package, kind) = (package.clone(), kind.clone());
                        let event = Event { id, package, kind, observed_at: Some(scope.scanned_at) };
                        let source = Source::Report { report_id: report.report_id };
                        self.happen(&event, place, &Actor::Agent, source, at).expect("a derived event is always possible");
                        events += 1;
                        FactSays::Recorded
                    }
                };
                items += 1;
                if let Some(fact) = fact {
                    says[*fact] = said;
                }
            }
            outcomes.extend(says);
            heads.insert(scope.manager.clone(), scan(scope, known, &judged, at));
        }
        let batches = u32::try_from(items.div_ceil(u64::from(work.batch_events))).unwrap();
        let sequence = match (report.sequence, self.head.last_report) {
            (Some(sequence), _) => sequence,
            (None, None) => 1,
            // The same report again has the number it was given.
            (None, Some(last)) if last.report_id == report.report_id => last.sequence,
            (None, Some(last)) => last.sequence + 1,
        };
        self.head.scopes = heads;
        self.head.batches += u64::from(batches);
        if report.host != redflag_core::agent::HostFacts::default() {
            self.head.host = report.host.clone();
        }
        self.head.last_contact_at = Some(at);
        self.head.last_report = Some(LastReport { report_id: report.report_id, digest: report.digest, sequence, received_at: at });
        let status = if batches > 0 { "recorded" } else { "unchanged" };
        let answer = Answer::Report { status, full_required, quarantined, batches, events, outcomes };
        if batches > 0 {
            self.reports.push((report.report_id, report.digest, answer.clone()));
        }
        answer
    }
}

/// Every fact of a scope: its key where it can be read, and whether it passed.
fn facts(scope: &Scope) -> Vec<(Option<PackageKey>, bool)> {
    fn fact<T>(fact: &Fact<T>) -> (Option<PackageKey>, bool) {
        match fact {
            Fact::Valid(package, _) => (Some(package.clone()), true),
            Fact::Invalid { package, .. } => (package.clone(), false),
        }
    }
    match &scope.content {
        ScopeContent::Digest(_) => Vec::new(),
        ScopeContent::Facts { offers, gone } => offers.iter().map(fact).chain(gone.iter().map(fact)).collect(),
    }
}

type Item = Result<(PackageKey, EventKind), (RejectionCode, Option<PackageKey>)>;

struct Judged {
    /// Events and rejections in order, each with the fact it stands for.
    items: Vec<(Option<usize>, Item)>,
    quarantined: bool,
    partial: bool,
}

/// What a scope says, compared with the states as they are (clauses R1 and R2).
fn judge(states: &[PackageState], scope: &Scope, waiting: Option<Timestamp>) -> Judged {
    let mut judged = Judged { items: Vec::new(), quarantined: false, partial: false };
    let ScopeContent::Facts { offers, gone } = &scope.content else { return judged };
    if scope.result == ScanResult::Failed {
        return judged;
    }
    let all = facts(scope);
    judged.partial = scope.result == ScanResult::Partial || all.iter().any(|(package, _)| package.is_none());
    let open: Vec<&PackageState> = states.iter().filter(|state| state.package.manager == scope.manager && state.status().open()).collect();
    let mut said: Vec<(&PackageKey, &Offer)> = Vec::new();
    for (fact, entry) in offers.iter().enumerate() {
        match entry {
            Fact::Invalid { package, rejection, .. } => judged.items.push((Some(fact), Err((rejection.code, package.clone())))),
            Fact::Valid(package, offer) => match said.iter().find(|(known, _)| *known == package) {
                Some((_, first)) if *first == offer => {}
                Some(_) => judged.items.push((Some(fact), Err((RejectionCode::ConflictingFact, Some(package.clone()))))),
                None => {
                    said.push((package, offer));
                    let before = open.iter().find(|state| state.package == *package);
                    let kinds = match before {
                        None => vec![EventKind::Discovered { offer: offer.clone() }],
                        Some(state) if state.offer == *offer => continue,
                        Some(state) => match (&state.offer.installed, &offer.installed) {
                            (old, Some(new))
                                if old.as_ref() != Some(new)
                                    && offer.candidate.version != state.offer.candidate.version
                                    && version_order::reached(scope.version_order, new, &state.offer.candidate.version) =>
                            {
                                vec![EventKind::InstalledObserved { version: new.clone() }, EventKind::Discovered { offer: offer.clone() }]
                            }
                            _ => vec![EventKind::Revised { offer: offer.clone() }],
                        },
                    };
                    judged.items.extend(kinds.into_iter().map(|kind| (Some(fact), Ok((package.clone(), kind)))));
                }
            },
        }
    }
    let mut left: Vec<(&PackageKey, &Option<Version>, usize)> = Vec::new();
    for (fact, entry) in (offers.len()..).zip(gone) {
        match entry {
            Fact::Invalid { package, rejection, .. } => judged.items.push((Some(fact), Err((rejection.code, package.clone())))),
            Fact::Valid(package, installed) => {
                let contradicts = said.iter().any(|(known, _)| *known == package)
                    || left.iter().any(|(known, first, _)| *known == package && *first != installed);
                if contradicts {
                    judged.items.push((Some(fact), Err((RejectionCode::ConflictingFact, Some(package.clone())))));
                } else if !left.iter().any(|(known, ..)| *known == package) {
                    left.push((package, installed, fact));
                }
            }
        }
    }
    if judged.partial {
        return judged;
    }
    let offered = |package: &PackageKey| offers.iter().any(|fact| matches!(fact, Fact::Valid(known, _) if known == package));
    let rejected = |package: &PackageKey| judged.items.iter().any(|(_, item)| matches!(item, Err((_, Some(known))) if known == package));
    let mut absent: Vec<&PackageState> =
        open.iter().copied().filter(|state| !offered(&state.package) && !rejected(&state.package)).collect();
    absent.sort_by(|a, b| a.package.cmp(&b.package));
    let closings: Vec<(Option<usize>, Item)> = absent
        .iter()
        .map(|state| {
            let entry = left.iter().find(|(package, ..)| **package == state.package);
            (entry.map(|(_, _, fact)| *fact), Ok((state.package.clone(), close(scope, state, entry.map(|(_, installed, _)| *installed)))))
        })
        .collect();
    let unexplained =
        closings.iter().any(|(_, item)| matches!(item, Ok((_, EventKind::Withdrawn { reason: WithdrawalReason::NoLongerOffered }))));
    if offers.is_empty() && absent.len() >= 50 && unexplained && waiting.is_none_or(|at| at == scope.scanned_at) {
        judged.quarantined = true;
    } else {
        judged.items.extend(closings);
    }
    judged
}

fn close(scope: &Scope, state: &PackageState, gone: Option<&Option<Version>>) -> EventKind {
    match gone {
        Some(Some(installed)) if version_order::reached(scope.version_order, installed, &state.offer.candidate.version) => {
            EventKind::InstalledObserved { version: installed.clone() }
        }
        Some(None) if state.offer.installed.is_some() => EventKind::Withdrawn { reason: WithdrawalReason::PackageRemoved },
        _ => EventKind::Withdrawn { reason: WithdrawalReason::NoLongerOffered },
    }
}

/// What is kept of a scan (clauses R2, R4 and R6).
fn scan(scope: &Scope, known: Option<ScopeHead>, judged: &Judged, at: Timestamp) -> ScopeHead {
    let result = if scope.result == ScanResult::Complete && judged.partial { ScanResult::Partial } else { scope.result };
    let valid: Vec<(&PackageKey, &Offer)> = match &scope.content {
        ScopeContent::Facts { offers, .. } => offers
            .iter()
            .filter_map(|fact| match fact {
                Fact::Valid(package, offer) => Some((package, offer)),
                Fact::Invalid { .. } => None,
            })
            .collect(),
        ScopeContent::Digest(_) => Vec::new(),
    };
    let by_digest = matches!(scope.content, ScopeContent::Digest(_));
    let doubt = judged.quarantined || judged.items.iter().any(|(_, item)| item.is_err());
    let before = known.as_ref();
    ScopeHead {
        version_order: scope.version_order,
        result,
        error: match (&scope.error, judged.partial && scope.result == ScanResult::Complete) {
            (Some(error), _) => Some(error.clone()),
            (None, true) => Some(Text::parse("a fact without a readable package key").unwrap()),
            (None, false) => None,
        },
        scanned_at: scope.scanned_at,
        received_at: at,
        complete_at: if result == ScanResult::Complete && !judged.quarantined {
            Some(at)
        } else {
            before.and_then(|known| known.complete_at)
        },
        digest: match result {
            ScanResult::Failed => before.and_then(|known| known.digest),
            ScanResult::Complete if by_digest => before.and_then(|known| known.digest),
            ScanResult::Complete if !doubt => Some(scope_digest(&scope.manager, valid.iter().copied())),
            _ => None,
        },
        metadata_at: scope.metadata_at,
        refresh_error: scope.refresh_error.clone(),
        offers: if by_digest || result == ScanResult::Failed { before.map_or(0, |known| known.offers) } else { valid.len() as u64 },
        quarantined_at: if judged.quarantined {
            Some(scope.scanned_at)
        } else if result == ScanResult::Complete {
            None
        } else {
            before.and_then(|known| known.quarantined_at)
        },
    }
}
