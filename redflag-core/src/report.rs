//! Reports: what one agent says after scanning, and what follows from it (clauses R1 to R4).
//!
//! [`diff`] compares one scope of a report with the states known and derives events; it is pure and deterministic. The reading
//! of a report from bytes is in [`crate::wire`].

use crate::{
    agent::{AgentHead, HostFacts, LastReport, ScopeHead},
    batch::{Item, Planner},
    event::{Actor, Event, EventKind, Source},
    ids::{BatchId, Digest, EventId, ReportId},
    limits,
    names::{Manager, PackageKey, Text, Version},
    offer::Offer,
    rejection::{Rejection, RejectionCode},
    state::{Context, PackageState},
    time::Timestamp,
    version_order,
    words::{ScanResult, VersionOrder, WithdrawalReason},
    work::{Answer, Changes, Decided, Loaded, Needs, RecordReport, Refusal, StateNeeds, known_agent},
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};

/// A report, read and checked; facts that did not pass are in it with their rejection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its id, the agent's choice (clause R1a).
    pub report_id: ReportId,
    /// The digest of its content: the same id with another digest is refused.
    pub digest: Digest,
    /// Its number, which grows from report to report (clause R3); none where the agent does not number them, which makes the
    /// order of arrival count.
    pub sequence: Option<u64>,
    /// What the agent says of its host.
    pub host: HostFacts,
    /// One entry a manager, in the order sent; no manager twice.
    pub scopes: Vec<Scope>,
}

/// What a report says of one manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The manager.
    pub manager: Manager,
    /// How its versions are compared.
    pub version_order: VersionOrder,
    /// How the scan ended.
    pub result: ScanResult,
    /// Why it failed or is partial.
    pub error: Option<Text>,
    /// When it was scanned, by the agent's clock.
    pub scanned_at: Timestamp,
    /// When the manager's metadata was last refreshed, by the agent's clock.
    pub metadata_at: Option<Timestamp>,
    /// Why the last refresh failed.
    pub refresh_error: Option<Text>,
    /// The packages, or the digest that stands for them.
    pub content: ScopeContent,
}

/// The packages of a scope, or the digest that stands for them (clause R4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScopeContent {
    /// Nothing changed since the scope with this digest was acknowledged.
    Digest(Digest),
    /// Every fact.
    Facts {
        /// What is offered now.
        offers: Vec<Fact<Offer>>,
        /// What was offered in the last acknowledged report and is not any more: the version installed now, or none.
        gone: Vec<Fact<Option<Version>>>,
    },
}

/// One fact of a report, or what is left of one that did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact<T> {
    /// Read and checked.
    Valid(PackageKey, T),
    /// Not.
    Invalid {
        /// The package, where it could be read: it is shielded from withdrawal (clause R2).
        package: Option<PackageKey>,
        /// Why.
        rejection: Rejection,
        /// The start of the fact as it was sent.
        excerpt: String,
    },
}

impl<T> Fact<T> {
    const fn package(&self) -> Option<&PackageKey> {
        match self {
            Self::Valid(package, _) => Some(package),
            Self::Invalid { package, .. } => package.as_ref(),
        }
    }
}

impl Scope {
    fn facts(&self) -> usize {
        match &self.content {
            ScopeContent::Digest(_) => 0,
            ScopeContent::Facts { offers, gone } => offers.len() + gone.len(),
        }
    }
}

impl Report {
    /// How many facts it holds.
    #[must_use]
    pub fn facts(&self) -> usize {
        self.scopes.iter().map(Scope::facts).sum()
    }
}

/// The digest by which agent and server agree that a scope's offers are the same (clause R4): SHA-256 over the canonical
/// encoding, which is the JSON of every (package key, offer) in key order, one a line.
#[must_use]
pub fn scope_digest<'a>(manager: &Manager, offers: impl IntoIterator<Item = (&'a PackageKey, &'a Offer)>) -> Digest {
    let mut offers: Vec<_> = offers.into_iter().collect();
    offers.sort_unstable_by_key(|(package, _)| *package);
    let mut canonical = Vec::with_capacity(offers.len() * 256);
    for pair in offers {
        serde_json::to_writer(&mut canonical, &pair).expect("offers always serialise into memory");
        canonical.push(b'\n');
    }
    Digest::of("redflag scope v1", &[manager.as_str().as_bytes(), b"\n", &canonical])
}

/// What became of one fact of a report (clause R1a).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum FactOutcome {
    /// It became an event.
    Recorded,
    /// It was known already, or says nothing that counts.
    Unchanged,
    /// It was not taken.
    Rejected(Rejection),
}

/// Outcomes of facts, dense and index-aligned, kept as runs because most are alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FactOutcomes(Vec<(FactOutcome, u32)>);

impl FactOutcomes {
    /// Adds the outcome of the next fact.
    pub fn push(&mut self, outcome: FactOutcome) {
        match self.0.last_mut() {
            Some((last, count)) if *last == outcome => *count += 1,
            _ => self.0.push((outcome, 1)),
        }
    }

    /// One outcome per fact, in order.
    pub fn iter(&self) -> impl Iterator<Item = &FactOutcome> {
        self.0.iter().flat_map(|(outcome, count)| std::iter::repeat_n(outcome, *count as usize))
    }

    /// How many facts were recorded, unchanged and rejected.
    #[must_use]
    pub fn counts(&self) -> (u64, u64, u64) {
        self.0.iter().fold((0, 0, 0), |(recorded, unchanged, rejected), (outcome, count)| match outcome {
            FactOutcome::Recorded => (recorded + u64::from(*count), unchanged, rejected),
            FactOutcome::Unchanged => (recorded, unchanged + u64::from(*count), rejected),
            FactOutcome::Rejected(_) => (recorded, unchanged, rejected + u64::from(*count)),
        })
    }
}

crate::words::words! {
    /// How a report as a whole was taken.
    "report status" ReportStatus {
        /// It changed something, or had something rejected.
        Recorded = "recorded",
        /// Everything in it was known.
        Unchanged = "unchanged",
        /// It arrived after a newer one: noted, nothing overwritten (clause R3).
        Stale = "stale",
    }
}

/// The answer to a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportAnswer {
    /// The report.
    pub report_id: ReportId,
    /// How it was taken as a whole.
    pub status: ReportStatus,
    /// Managers whose digest the server does not share: the agent sends their packages in its next report.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub full_required: Vec<Manager>,
    /// Managers whose sudden emptiness waits for a second scan (clause R2).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quarantined: Vec<Manager>,
    /// Batches written.
    pub batches: u32,
    /// Events written, including withdrawals, which no fact stands for.
    pub events: u32,
    /// One outcome per fact: for each scope in order its offers, then its gone entries.
    pub outcomes: FactOutcomes,
}

/// A report as it is stored, so that a retry gets the same answer. Only reports that wrote events or rejections, or came too
/// late, are stored; an unchanged one is remembered in the agent's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredReport {
    /// Its id.
    pub report_id: ReportId,
    /// The digest of its content.
    pub digest: Digest,
    /// Its number.
    pub sequence: u64,
    /// When the store received it.
    pub received_at: Timestamp,
    /// What was answered.
    pub answer: ReportAnswer,
}

/// What one scope of a report changes.
#[derive(Clone, Debug, Default)]
pub struct ScopeDiff {
    /// Events and rejected facts in order, each with the fact it stands for; withdrawals stand for none.
    pub(crate) items: Vec<(Option<usize>, DiffItem)>,
    /// Whether the scan is implausibly empty and waits for a second one; nothing is derived then.
    pub quarantined: bool,
    /// Whether any fact was rejected, so that the digest cannot be agreed on.
    pub rejected: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum DiffItem {
    Change(PackageKey, EventKind),
    Rejected { package: Option<PackageKey>, rejection: Rejection, excerpt: String },
}

impl ScopeDiff {
    /// The changes derived, in order.
    pub fn changes(&self) -> impl Iterator<Item = (&PackageKey, &EventKind)> {
        self.items.iter().filter_map(|(_, item)| match item {
            DiffItem::Change(package, kind) => Some((package, kind)),
            DiffItem::Rejected { .. } => None,
        })
    }
}

/// Compares one scope with the states known of its manager (clauses R1 and R2).
///
/// `quarantined_at` is the scan time of an implausible empty scan that waits for confirmation.
#[must_use]
pub fn diff(states: &HashMap<PackageKey, PackageState>, scope: &Scope, quarantined_at: Option<Timestamp>) -> ScopeDiff {
    let mut diff = ScopeDiff::default();
    let ScopeContent::Facts { offers, gone } = &scope.content else { return diff };
    if scope.result == ScanResult::Failed {
        return diff;
    }
    let known = |package: &PackageKey| states.get(package);
    let open = |package: &PackageKey| known(package).filter(|state| state.status().open());
    let mut seen: HashMap<&PackageKey, &Offer> = HashMap::with_capacity(offers.len());
    for (fact, offer) in offers.iter().enumerate() {
        match offer {
            Fact::Valid(package, offer) => match seen.insert(package, offer) {
                None => diff.offer(fact, package, offer, open(package), scope.version_order),
                Some(first) => {
                    if first != offer {
                        diff.conflict(fact, package);
                    }
                    seen.insert(package, first);
                }
            },
            Fact::Invalid { package, rejection, excerpt } => diff.reject(fact, package.clone(), rejection.clone(), excerpt.clone()),
        }
    }
    let mut gone_installed: BTreeMap<&PackageKey, (usize, &Option<Version>)> = BTreeMap::new();
    let mut contradicted: HashSet<&PackageKey> = HashSet::new();
    for (fact, entry) in (offers.len()..).zip(gone) {
        match entry {
            Fact::Valid(package, _) if seen.contains_key(package) => diff.conflict(fact, package),
            Fact::Valid(package, installed) => {
                if gone_installed.entry(package).or_insert((fact, installed)).1 != installed {
                    contradicted.insert(package);
                    diff.conflict(fact, package);
                }
            }
            Fact::Invalid { package, rejection, excerpt } => diff.reject(fact, package.clone(), rejection.clone(), excerpt.clone()),
        }
    }
    let unreadable = offers.iter().any(|fact| fact.package().is_none()) || gone.iter().any(|fact| fact.package().is_none());
    if scope.result == ScanResult::Partial || unreadable {
        return diff;
    }
    let shielded: HashSet<&PackageKey> = offers
        .iter()
        .filter_map(Fact::package)
        .chain(gone.iter().filter_map(|fact| match fact {
            Fact::Invalid { package, .. } => package.as_ref(),
            Fact::Valid(..) => None,
        }))
        .chain(contradicted)
        .collect();
    let mut absent: Vec<&PackageState> = states
        .values()
        .filter(|state| state.package.manager == scope.manager && state.status().open() && !shielded.contains(&state.package))
        .collect();
    absent.sort_unstable_by(|a, b| a.package.cmp(&b.package));
    let closings: Vec<_> = absent.iter().map(|state| closing(scope.version_order, state, gone_installed.get(&state.package))).collect();
    if offers.is_empty() && collapsed(&absent, &closings) && quarantined_at.is_none_or(|at| at == scope.scanned_at) {
        diff.quarantined = true;
        return diff;
    }
    for (state, closing) in absent.into_iter().zip(closings) {
        let fact = gone_installed.get(&state.package).map(|(fact, _)| *fact);
        diff.items.push((fact, DiffItem::Change(state.package.clone(), closing)));
    }
    diff
}

/// Clause R2: at least [`limits::COLLAPSE_OFFERS_MIN`] open offers vanish at once, and not all because they were installed or
/// their packages removed.
fn collapsed(absent: &[&PackageState], closings: &[EventKind]) -> bool {
    let unexplained = |closing: &EventKind| matches!(closing, EventKind::Withdrawn { reason: WithdrawalReason::NoLongerOffered });
    absent.len() >= limits::COLLAPSE_OFFERS_MIN as usize && closings.iter().any(unexplained)
}

/// The version that an offer of another candidate shows to be installed, where that is the one `state` offered or newer.
fn installed_since(order: VersionOrder, state: &PackageState, offer: &Offer) -> Option<Version> {
    let offered = &state.offer.candidate.version;
    let installed = offer.installed.as_ref().filter(|installed| state.offer.installed.as_ref() != Some(installed))?;
    let moved_on = offer.candidate.version != *offered && version_order::reached(order, installed, offered);
    moved_on.then(|| installed.clone())
}

fn closing(order: VersionOrder, state: &PackageState, gone: Option<&(usize, &Option<Version>)>) -> EventKind {
    match gone {
        Some((_, Some(installed))) if version_order::reached(order, installed, &state.offer.candidate.version) => {
            EventKind::InstalledObserved { version: installed.clone() }
        }
        Some((_, None)) if state.offer.installed.is_some() => EventKind::Withdrawn { reason: WithdrawalReason::PackageRemoved },
        _ => EventKind::Withdrawn { reason: WithdrawalReason::NoLongerOffered },
    }
}

impl ScopeDiff {
    fn offer(&mut self, fact: usize, package: &PackageKey, offer: &Offer, open: Option<&PackageState>, order: VersionOrder) {
        let mut change = |kind| self.items.push((Some(fact), DiffItem::Change(package.clone(), kind)));
        let offer = || offer.clone();
        match open {
            None => change(EventKind::Discovered { offer: offer() }),
            Some(state) if state.offer == offer() => {}
            Some(state) => match installed_since(order, state, &offer()) {
                // What was offered is installed, and something newer is offered already: both are told.
                Some(version) => {
                    change(EventKind::InstalledObserved { version });
                    change(EventKind::Discovered { offer: offer() });
                }
                None => change(EventKind::Revised { offer: offer() }),
            },
        }
    }

    fn conflict(&mut self, fact: usize, package: &PackageKey) {
        let message = format!("two different facts about {package} in one report");
        let rejection = Rejection::new(RejectionCode::ConflictingFact, "package_name", message);
        self.reject(fact, Some(package.clone()), rejection, String::new());
    }

    fn reject(&mut self, fact: usize, package: Option<PackageKey>, rejection: Rejection, excerpt: String) {
        self.rejected = true;
        self.items.push((Some(fact), DiffItem::Rejected { package, rejection, excerpt }));
    }
}

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
        let next = || head.last_report.map_or(1, |last| (last.sequence + 1).min(i64::MAX.unsigned_abs()));
        self.report.sequence.unwrap_or_else(next)
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
        let report = Some(self.stored(head, &answer));
        let head = AgentHead { last_contact_at: Some(self.received_at), ..head.clone() };
        let changes = Changes { head: Some(head), report, ..Changes::default() };
        Decided { changes, answer: Answer::Report(answer) }
    }

    fn record(&self, head: &AgentHead, loaded: &Loaded) -> Decided {
        let mut answer = self.answer(ReportStatus::Unchanged);
        let mut scopes = head.scopes.clone();
        let mut outcomes = vec![FactOutcome::Unchanged; self.report.facts()];
        let mut items: Vec<(Option<usize>, Item)> = Vec::new();
        let mut ends: Vec<(usize, &Manager)> = Vec::new();
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
            for (fact, item) in diff.items {
                let ordinal = items.len() as u64;
                items.push((fact.map(|fact| fact + facts_before), self.item(item, scope, ordinal)));
            }
            scopes.insert(scope.manager.clone(), scope_head);
            ends.push((items.len(), &scope.manager));
            facts_before += scope.facts();
        }
        let context = Context { actor: Actor::Agent, received_at: self.received_at };
        let mut planner = Planner::new(loaded, &self.withheld, head, context);
        for rejected in self.plan(&mut planner, items, &mut outcomes, &mut answer) {
            // Whatever was not taken must come again, so no digest may stand for it.
            let of = ends.iter().find(|(end, _)| rejected < *end).and_then(|(_, manager)| scopes.get_mut(*manager));
            of.into_iter().for_each(|scope| scope.digest = None);
        }
        outcomes.into_iter().for_each(|outcome| answer.outcomes.push(outcome));
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
        changes.report = (answer.batches > 0).then(|| self.stored(head, &answer));
        Decided { changes, answer: Answer::Report(answer) }
    }

    fn item(&self, item: DiffItem, scope: &Scope, ordinal: u64) -> Item {
        match item {
            DiffItem::Change(package, kind) => Item::valid(Event {
                id: EventId::of_report(self.agent, self.report.report_id, ordinal),
                package,
                kind,
                observed_at: Some(scope.scanned_at),
            }),
            DiffItem::Rejected { package, rejection, excerpt } => Item { event: Err(rejection), package, raw: excerpt },
        }
    }

    /// Cuts the items into batches; where they are cut is unobservable in states and outcomes (clause B12). Answers the places
    /// of the rejected ones.
    fn plan(
        &self,
        planner: &mut Planner<'_>,
        items: Vec<(Option<usize>, Item)>,
        outcomes: &mut [FactOutcome],
        answer: &mut ReportAnswer,
    ) -> Vec<usize> {
        let mut rejected = Vec::new();
        let size = self.batch_events.clamp(1, limits::BATCH_EVENTS_MAX) as usize;
        let mut items = items.into_iter().peekable();
        while items.peek().is_some() {
            let (facts, batch): (Vec<_>, Vec<_>) = items.by_ref().take(size).unzip();
            let (agent, report_id) = (self.agent, self.report.report_id);
            let id = BatchId::of_report(agent, report_id, answer.batches);
            let first = answer.batches as usize * size;
            let receipt = planner.batch(id, Source::Report { report_id }, self.report.digest, batch);
            rejected.extend(receipt.rejections().map(|(index, _)| first + index as usize));
            answer.batches += 1;
            answer.events += receipt.accepted;
            let rejections: HashMap<u32, &Rejection> = receipt.rejections().collect();
            for (index, fact) in (0..).zip(facts) {
                if let Some(fact) = fact {
                    let rejected = rejections.get(&index).map(|rejection| FactOutcome::Rejected((*rejection).clone()));
                    match (&outcomes[fact], rejected) {
                        // A fact can stand for two events; it is recorded only if both were.
                        (FactOutcome::Rejected(_), _) => {}
                        (_, rejected) => outcomes[fact] = rejected.unwrap_or(FactOutcome::Recorded),
                    }
                }
            }
        }
        rejected
    }

    fn scope_head(&self, scope: &Scope, known: Option<&ScopeHead>, diff: &ScopeDiff) -> ScopeHead {
        let unreadable = matches!(&scope.content, ScopeContent::Facts { offers, gone }
            if offers.iter().any(|fact| fact.package().is_none()) || gone.iter().any(|fact| fact.package().is_none()));
        let result = if scope.result == ScanResult::Complete && unreadable { ScanResult::Partial } else { scope.result };
        let error = scope.error.clone().or_else(|| unreadable.then(|| Text::lossy("a fact without a readable package key")));
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
