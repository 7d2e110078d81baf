//! The unit of work that records a report: from the comparison of its scopes to batches, the agent's head and the answer.

use crate::{
    agent::{AgentHead, HostFacts, LastReport, ScopeHead},
    batch::{Item, Planner},
    diff::{DiffItem, ScopeDiff, diff},
    event::{Actor, Event, Source},
    ids::{BatchId, Digest, EventId},
    limits,
    names::{Manager, Text},
    report::{Fact, FactOutcome, FactOutcomes, ReportAnswer, ReportStatus, Scope, ScopeContent, StoredReport, scope_digest},
    state::Context,
    words::ScanResult,
    work::{Answer, Changes, Decided, Loaded, Needs, RecordReport, Refusal, StateNeeds, known_agent},
};
use std::collections::BTreeMap;

impl RecordReport {
    pub(crate) fn needs(&self) -> Needs {
        let with_facts = |scope: &&Scope| matches!(scope.content, ScopeContent::Facts { .. }) && scope.result != ScanResult::Failed;
        let managers: Vec<_> = self.report.scopes.iter().filter(with_facts).map(|scope| scope.manager.clone()).collect();
        let states = if managers.is_empty() { StateNeeds::None } else { StateNeeds::Managers(managers) };
        Needs { states, report: Some(self.report.report_id), ..Needs::head(self.agent) }
    }

    pub(crate) fn decide(&self, loaded: &Loaded) -> Result<Decided, Refusal> {
        let head = known_agent(self.agent, loaded)?;
        let report = &self.report;
        if let Some(stored) = &loaded.report {
            return self.same_content(stored.digest).map(|()| Decided::nothing(Answer::Report(stored.answer.clone())));
        }
        match &head.last_report {
            // A retry of a report that left no row: it is judged again, and finds nothing to do.
            Some(last) if last.report_id == report.report_id => self.same_content(last.digest)?,
            Some(last) if report.sequence.is_some_and(|sequence| sequence <= last.sequence) => return Ok(self.stale(head)),
            _ => {}
        }
        Ok(self.record(head, loaded))
    }

    fn same_content(&self, digest: Digest) -> Result<(), Refusal> {
        let report = self.report.report_id;
        if digest == self.report.digest { Ok(()) } else { Err(Refusal::ReportIdReused { report }) }
    }

    fn answer(&self, status: ReportStatus) -> ReportAnswer {
        ReportAnswer {
            report_id: self.report.report_id,
            status,
            full_required: Vec::new(),
            quarantined: Vec::new(),
            batches: 0,
            events: 0,
            outcomes: FactOutcomes::default(),
        }
    }

    fn sequence(&self, head: &AgentHead) -> u64 {
        let next = |last: LastReport| match last.report_id == self.report.report_id {
            // A retry keeps the number it was given.
            true => last.sequence,
            false => (last.sequence + 1).min(i64::MAX.unsigned_abs()),
        };
        self.report.sequence.unwrap_or_else(|| head.last_report.map_or(1, next))
    }

    fn stored(&self, head: &AgentHead, answer: &ReportAnswer) -> StoredReport {
        StoredReport {
            report_id: self.report.report_id,
            digest: self.report.digest,
            sequence: self.sequence(head),
            received_at: self.received_at,
            answer: answer.clone(),
        }
    }

    /// Clause R3: noted, nothing overwritten.
    fn stale(&self, head: &AgentHead) -> Decided {
        let mut answer = self.answer(ReportStatus::Stale);
        (0..self.report.facts()).for_each(|_| answer.outcomes.push(FactOutcome::Unchanged));
        let reports = vec![self.stored(head, &answer)];
        let head = AgentHead { last_contact_at: Some(self.received_at), ..head.clone() };
        let changes = Changes { head: Some(head), reports, ..Changes::default() };
        Decided { changes, answer: Answer::Report(answer) }
    }

    fn record(&self, head: &AgentHead, loaded: &Loaded) -> Decided {
        let mut answer = self.answer(ReportStatus::Unchanged);
        let mut scopes = head.scopes.clone();
        let mut parts = Vec::with_capacity(self.report.scopes.len());
        let mut facts_before = 0;
        for scope in &self.report.scopes {
            let known = scopes.get(&scope.manager);
            if let ScopeContent::Digest(digest) = scope.content
                && known.and_then(|known| known.digest) != Some(digest)
            {
                answer.full_required.push(scope.manager.clone());
                continue;
            }
            let diff = diff(&loaded.states, scope, known.and_then(|known| known.quarantined_at));
            if diff.quarantined {
                answer.quarantined.push(scope.manager.clone());
            }
            let scope_head = self.scope_head(scope, known, &diff);
            parts.push(Part { scope, facts_before, items: diff.items });
            scopes.insert(scope.manager.clone(), scope_head);
            facts_before += scope.facts();
        }
        let context = Context { actor: Actor::Agent, received_at: self.received_at };
        let mut planner = Planner::new(loaded, &self.withheld, head, context);
        for manager in self.plan(&mut planner, parts, &mut answer) {
            // Whatever was not taken must come again, so no digest may stand for it.
            scopes.get_mut(manager).into_iter().for_each(|scope| scope.digest = None);
        }
        if answer.batches > 0 {
            answer.status = ReportStatus::Recorded;
        }
        let sequence = self.sequence(head);
        let mut changes = planner.finish(|head| {
            head.scopes = scopes;
            if self.report.host != HostFacts::default() {
                head.host.clone_from(&self.report.host);
            }
            head.last_contact_at = Some(self.received_at);
            head.last_report =
                Some(LastReport { report_id: self.report.report_id, digest: self.report.digest, sequence, received_at: self.received_at });
        });
        changes.reports.extend((answer.batches > 0).then(|| self.stored(head, &answer)));
        Decided { changes, answer: Answer::Report(answer) }
    }

    fn item(&self, item: DiffItem<'_>, scope: &Scope, ordinal: u64) -> Item {
        let event = match item {
            DiffItem::Change(package, change) => Ok(Event {
                id: EventId::of_report(self.agent, self.report.report_id, ordinal),
                package: package.clone(),
                kind: change.event(),
                observed_at: Some(scope.scanned_at),
            }),
            DiffItem::Rejected(invalid) => Err(invalid),
        };
        Item { event }
    }

    /// Cuts what was derived into batches; where it is cut is unobservable in states and outcomes (clause B12). Answers the managers
    /// of which anything was rejected.
    fn plan<'a>(&self, planner: &mut Planner<'_>, parts: Vec<Part<'a>>, answer: &mut ReportAnswer) -> Vec<&'a Manager> {
        let (agent, report_id) = (self.agent, self.report.report_id);
        let size = self.batch_events.clamp(1, limits::BATCH_EVENTS_MAX) as usize;
        let facts: Vec<_> = parts.iter().flat_map(Part::facts).collect();
        let items = parts.into_iter().flat_map(|part| part.items.into_iter().map(move |(_, item)| (part.scope, item)));
        let mut items = (0..).zip(items).map(|(ordinal, (scope, item))| self.item(item, scope, ordinal));
        let mut recorded = vec![false; self.report.facts()];
        let mut rejected = BTreeMap::new();
        let mut managers = Vec::new();
        planner.expect(facts.len());
        for facts in facts.chunks(size) {
            let id = BatchId::of_report(agent, report_id, answer.batches);
            let receipt = planner.batch(id, Source::Report { report_id }, self.report.digest, items.by_ref().take(facts.len()));
            answer.batches += 1;
            answer.events += receipt.accepted;
            let mut rejections = receipt.rejections().peekable();
            for (index, (manager, fact)) in (0..).zip(facts) {
                let rejection = rejections.next_if(|(rejected, _)| *rejected == index);
                managers.extend(rejection.is_some().then_some(*manager));
                match (*fact, rejection) {
                    (None, _) => {}
                    // A fact can stand for two events; it is recorded only if both were.
                    (Some(fact), Some((_, rejection))) => drop(rejected.entry(fact).or_insert_with(|| rejection.clone())),
                    (Some(fact), None) => recorded[fact] = true,
                }
            }
        }
        for (fact, recorded) in recorded.into_iter().enumerate() {
            let known = if recorded { FactOutcome::Recorded } else { FactOutcome::Unchanged };
            answer.outcomes.push(rejected.remove(&fact).map_or(known, FactOutcome::Rejected));
        }
        managers
    }

    fn scope_head(&self, scope: &Scope, known: Option<&ScopeHead>, diff: &ScopeDiff<'_>) -> ScopeHead {
        let result = scope.trusted_result();
        let distrusted = || (result != scope.result).then(|| Text::lossy("a fact without a readable package key"));
        let error = scope.error.clone().or_else(distrusted);
        let valid_offers = || match &scope.content {
            ScopeContent::Facts { offers, .. } => offers
                .iter()
                .filter_map(|fact| match fact {
                    Fact::Valid(package, offer) => Some((package, offer)),
                    Fact::Invalid { .. } => None,
                })
                .collect(),
            ScopeContent::Digest(_) => Vec::new(),
        };
        let (digest, offers) = match (&scope.content, result) {
            (_, ScanResult::Failed) => (known.and_then(|known| known.digest), known.map_or(0, |known| known.offers)),
            (ScopeContent::Digest(digest), _) => (Some(*digest), known.map_or(0, |known| known.offers)),
            (ScopeContent::Facts { .. }, ScanResult::Complete) if !diff.rejected && !diff.quarantined => {
                let offers = valid_offers();
                (Some(scope_digest(&scope.manager, offers.iter().copied())), offers.len() as u64)
            }
            (ScopeContent::Facts { .. }, _) => (None, valid_offers().len() as u64),
        };
        let complete = result == ScanResult::Complete && !diff.quarantined;
        ScopeHead {
            version_order: scope.version_order,
            result,
            error,
            scanned_at: scope.scanned_at,
            received_at: self.received_at,
            complete_at: if complete { Some(self.received_at) } else { known.and_then(|known| known.complete_at) },
            digest,
            metadata_at: scope.metadata_at,
            refresh_error: scope.refresh_error.clone(),
            offers,
            quarantined_at: match (diff.quarantined, result) {
                (true, _) => Some(scope.scanned_at),
                // A failed or partial scan confirms nothing.
                (false, ScanResult::Failed | ScanResult::Partial) => known.and_then(|known| known.quarantined_at),
                (false, ScanResult::Complete) => None,
            },
        }
    }
}

/// What was derived from one scope.
struct Part<'a> {
    scope: &'a Scope,
    /// Facts of the scopes before it.
    facts_before: usize,
    items: Vec<(Option<usize>, DiffItem<'a>)>,
}

impl<'a> Part<'a> {
    /// For each item its manager, and the fact of the whole report that it stands for.
    fn facts(&self) -> impl Iterator<Item = (&'a Manager, Option<usize>)> + use<'a, '_> {
        let manager = &self.scope.manager;
        self.items.iter().map(move |(fact, _)| (manager, fact.map(|fact| fact + self.facts_before)))
    }
}
