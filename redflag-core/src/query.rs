//! Queries: filters, sorts, pages and cursors, with a reference evaluator (clauses Q1 to Q4).
//!
//! The evaluator works over any iterator of states, so that a small backend is complete without writing SQL; what it answers is
//! what every backend must answer.

use crate::{
    agent::AgentHead,
    batch::BatchRecord,
    ids::{AgentId, Digest, UpdateId},
    limits,
    names::{Manager, PackageKey, Text},
    rejection::quoted,
    state::PackageState,
    time::Timestamp,
    words::{AvailabilityKind, Severity, Status},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use std::{cmp::Ordering, collections::BTreeMap, str::FromStr};

/// A query that cannot be answered as asked (clause Q3).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{parameter}: {message}")]
pub struct QueryError {
    /// The parameter at fault.
    pub parameter: &'static str,
    /// A sentence fragment for people.
    pub message: String,
}

impl QueryError {
    /// An error of `parameter`.
    pub fn new(parameter: &'static str, message: impl Into<String>) -> Self {
        Self { parameter, message: message.into() }
    }
}

/// Which updates by status (clause S6: open ones unless something else is asked for).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum StatusFilter {
    /// Those that wait to be installed, whatever was decided.
    #[default]
    Open,
    /// All, closed ones too.
    Any,
    /// Those of one status.
    Is(Status),
}

impl StatusFilter {
    /// Whether `status` passes.
    #[must_use]
    pub fn matches(self, status: Status) -> bool {
        match self {
            Self::Open => status.open(),
            Self::Any => true,
            Self::Is(wanted) => wanted == status,
        }
    }
}

impl FromStr for StatusFilter {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, QueryError> {
        match text {
            "open" => Ok(Self::Open),
            "any" => Ok(Self::Any),
            word => match word.parse() {
                Ok(status) => Ok(Self::Is(status)),
                Err(error) => Err(QueryError::new("status", format!("{error}; or: open, any"))),
            },
        }
    }
}

/// A literal text to look for in package names: ASCII letters match in either case, nothing else has a meaning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Search(String);

impl Search {
    /// A search for `text`; surrounding space is cut off.
    ///
    /// # Errors
    /// When nothing is left, or more than [`limits::SEARCH_BYTES_MAX`] bytes.
    pub fn new(text: &str) -> Result<Self, QueryError> {
        let text = text.trim();
        if text.is_empty() || text.len() > limits::SEARCH_BYTES_MAX || text.contains('\0') {
            let message = format!("must be 1 to {} bytes without NUL: {}", limits::SEARCH_BYTES_MAX, quoted(text));
            return Err(QueryError::new("search", message));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }

    /// The text in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `name` holds it.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        name.to_ascii_lowercase().contains(&self.0)
    }
}

/// Which updates; every part narrows, none given means open updates of the whole fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UpdateFilter {
    /// By status.
    pub status: StatusFilter,
    /// Of one agent.
    pub agent: Option<AgentId>,
    /// Of one manager.
    pub manager: Option<Manager>,
    /// Of one severity.
    pub severity: Option<Severity>,
    /// Of one availability.
    pub availability: Option<AvailabilityKind>,
    /// Security updates (`true`) or others (`false`).
    pub security: Option<bool>,
    /// With a text in the package name.
    pub search: Option<Search>,
}

impl UpdateFilter {
    /// Whether a state passes.
    #[must_use]
    pub fn matches(&self, agent: AgentId, state: &PackageState) -> bool {
        let candidate = &state.offer.candidate;
        self.status.matches(state.status())
            && self.agent.is_none_or(|wanted| wanted == agent)
            && self.manager.as_ref().is_none_or(|wanted| *wanted == state.package.manager)
            && self.severity.is_none_or(|wanted| wanted == candidate.severity)
            && self.availability.is_none_or(|wanted| wanted == state.offer.availability.kind)
            && self.security.is_none_or(|wanted| wanted == candidate.security)
            && self.search.as_ref().is_none_or(|search| search.matches(state.package.name.as_str()))
    }
}

/// What a list is ordered by. Equal rows are ordered by package name, manager, architecture and agent id, so the order is total.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SortKey {
    /// Most serious first.
    #[default]
    Severity,
    /// By package name, in byte order.
    Name,
    /// By the agent's name, in byte order.
    Agent,
    /// Oldest change first.
    LastChange,
}

/// An order of a list: its key, forwards or wholly reversed. In text: `severity`, `name`, `agent` or `last-change`, with `-`
/// before it for the reverse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sort {
    /// The key.
    pub key: SortKey,
    /// Whether the whole order is reversed.
    pub reverse: bool,
}

impl FromStr for Sort {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, QueryError> {
        let (reverse, word) = text.strip_prefix('-').map_or((false, text), |word| (true, word));
        let key = match word {
            "severity" => SortKey::Severity,
            "name" => SortKey::Name,
            "agent" => SortKey::Agent,
            "last-change" => SortKey::LastChange,
            _ => {
                let message = format!(
                    "unknown sort {}; known are: severity, name, agent, last-change, each with or without a leading '-'",
                    quoted(text)
                );
                return Err(QueryError::new("sort", message));
            }
        };
        Ok(Self { key, reverse })
    }
}

impl std::fmt::Display for Sort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = match self.key {
            SortKey::Severity => "severity",
            SortKey::Name => "name",
            SortKey::Agent => "agent",
            SortKey::LastChange => "last-change",
        };
        write!(f, "{}{word}", if self.reverse { "-" } else { "" })
    }
}

/// How many rows a page holds: 1 to [`limits::PAGE_SIZE_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSize(u32);

impl PageSize {
    /// A page of `rows`.
    ///
    /// # Errors
    /// Outside 1 to [`limits::PAGE_SIZE_MAX`].
    pub fn new(rows: u32) -> Result<Self, QueryError> {
        if (1..=limits::PAGE_SIZE_MAX).contains(&rows) {
            Ok(Self(rows))
        } else {
            Err(QueryError::new("page_size", format!("must be 1 to {}, not {rows}", limits::PAGE_SIZE_MAX)))
        }
    }

    /// Rows on the page.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Default for PageSize {
    fn default() -> Self {
        Self(limits::PAGE_SIZE_DEFAULT)
    }
}

/// The number of a page, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageNumber(u32);

impl PageNumber {
    /// Page `number`.
    ///
    /// # Errors
    /// For page 0.
    pub fn new(number: u32) -> Result<Self, QueryError> {
        if number == 0 { Err(QueryError::new("page", "pages are numbered from 1")) } else { Ok(Self(number)) }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Rows before this page.
    #[must_use]
    pub fn offset(self, size: PageSize) -> u64 {
        u64::from(self.0 - 1) * u64::from(size.0)
    }
}

impl Default for PageNumber {
    fn default() -> Self {
        Self(1)
    }
}

/// Where a page of updates starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageStart {
    /// At a page number, for people.
    Number(PageNumber),
    /// Right after the row a cursor names: misses and repeats no unchanged row while others write (clause Q1).
    After(Cursor),
}

impl Default for PageStart {
    fn default() -> Self {
        Self::Number(PageNumber::default())
    }
}

/// A page of updates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpdateQuery {
    /// Which.
    pub filter: UpdateFilter,
    /// In which order.
    pub sort: Sort,
    /// From where.
    pub start: PageStart,
    /// How many.
    pub size: PageSize,
}

impl UpdateQuery {
    /// The position after which the page starts, when it starts at a cursor.
    ///
    /// # Errors
    /// When the cursor was not made by this query (clause Q3).
    pub fn after(&self) -> Result<Option<Position>, QueryError> {
        match &self.start {
            PageStart::Number(_) => Ok(None),
            PageStart::After(cursor) => cursor.position(self).map(Some),
        }
    }

    /// The cursor for what comes after `row`.
    #[must_use]
    pub fn cursor_after(&self, row: &UpdateRow) -> Cursor {
        Cursor::new(self, &Position::of(row))
    }

    fn fingerprint(&self) -> String {
        let query = serde_json::to_vec(&(&self.filter, self.sort)).expect("queries always serialise");
        Digest::of("redflag cursor v1", &[&query]).to_string()[..16].to_owned()
    }
}

/// An opaque place in a list, bound to its filter and sort.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Cursor(String);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CursorBody {
    v: u32,
    query: String,
    position: Position,
}

impl Cursor {
    const VERSION: u32 = 1;

    fn new(query: &UpdateQuery, position: &Position) -> Self {
        let body = CursorBody { v: Self::VERSION, query: query.fingerprint(), position: position.clone() };
        Self(URL_SAFE_NO_PAD.encode(serde_json::to_vec(&body).expect("cursors always serialise")))
    }

    /// The cursor as text, safe in URLs.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn position(&self, query: &UpdateQuery) -> Result<Position, QueryError> {
        let error = |message: &str| QueryError::new("after", message);
        let bytes = URL_SAFE_NO_PAD.decode(&self.0).map_err(|_| error("not a cursor"))?;
        let body: CursorBody = serde_json::from_slice(&bytes).map_err(|_| error("not a cursor"))?;
        if body.v != Self::VERSION {
            return Err(error("a cursor of another version; start again from the first page"));
        }
        if body.query != query.fingerprint() {
            return Err(error("a cursor of another query; start again from the first page"));
        }
        Ok(body.position)
    }
}

impl FromStr for Cursor {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, QueryError> {
        if text.is_empty() || text.len() > limits::CURSOR_BYTES_MAX {
            return Err(QueryError::new("after", "not a cursor"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Everything a row can be ordered by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The severity.
    pub severity: Severity,
    /// When it last changed.
    pub changed_at: Timestamp,
    /// The agent's name.
    pub agent_name: Text,
    /// The agent.
    pub agent: AgentId,
    /// The package.
    pub package: PackageKey,
}

impl Position {
    /// The position of a row.
    #[must_use]
    pub fn of(row: &UpdateRow) -> Self {
        Self {
            severity: row.state.offer.candidate.severity,
            changed_at: row.state.changed_at,
            agent_name: row.agent_name.clone(),
            agent: row.agent,
            package: row.state.package.clone(),
        }
    }

    /// The order of two rows under `sort`; equal only for the same row.
    #[must_use]
    pub fn compare(&self, other: &Self, sort: Sort) -> Ordering {
        let by_package = || {
            let arch = |position: &Self| position.package.arch.as_ref().map_or(String::new(), |arch| arch.as_str().to_owned());
            let (a, b) = (&self.package, &other.package);
            a.name.cmp(&b.name).then_with(|| a.manager.cmp(&b.manager)).then_with(|| arch(self).cmp(&arch(other)))
        };
        let by_agent = || self.agent.cmp(&other.agent);
        let order = match sort.key {
            SortKey::Severity => self.severity.cmp(&other.severity).then_with(by_package).then_with(by_agent),
            SortKey::Name => by_package().then_with(by_agent),
            SortKey::Agent => self.agent_name.cmp(&other.agent_name).then_with(by_agent).then_with(by_package),
            SortKey::LastChange => self.changed_at.cmp(&other.changed_at).then_with(by_package).then_with(by_agent),
        };
        if sort.reverse { order.reverse() } else { order }
    }
}

/// One update in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateRow {
    /// The agent.
    pub agent: AgentId,
    /// Its name.
    pub agent_name: Text,
    /// The package's state.
    pub state: PackageState,
}

impl UpdateRow {
    /// The update's public id.
    #[must_use]
    pub fn id(&self) -> UpdateId {
        UpdateId { agent: self.agent, package: self.state.package.clone() }
    }
}

/// One page of updates with what belongs to the whole list; all of one moment (clause Q2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdatePage {
    /// The rows.
    pub items: Vec<UpdateRow>,
    /// Counts over every row that passes the filter; `stats.total` is the list's length.
    pub stats: UpdateStats,
    /// Where the next page starts; none after the last row.
    pub next: Option<Cursor>,
}

/// Counts over the updates that pass a filter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UpdateStats {
    /// All of them.
    pub total: u64,
    /// Open ones that can be installed now.
    pub installable: u64,
    /// Open security updates.
    pub security: u64,
    /// By status; words with none are absent.
    pub by_status: BTreeMap<Status, u64>,
    /// By severity.
    pub by_severity: BTreeMap<Severity, u64>,
    /// By manager.
    pub by_manager: BTreeMap<Manager, u64>,
    /// By availability.
    pub by_availability: BTreeMap<AvailabilityKind, u64>,
}

impl UpdateStats {
    /// Counts `count` states of one kind.
    pub fn add(&mut self, key: &crate::counters::CounterKey, count: u64) {
        if count == 0 {
            return;
        }
        self.total += count;
        let open = key.status.open();
        if open && key.availability == AvailabilityKind::Installable {
            self.installable += count;
        }
        if open && key.security {
            self.security += count;
        }
        *self.by_status.entry(key.status).or_default() += count;
        *self.by_severity.entry(key.severity).or_default() += count;
        *self.by_manager.entry(key.manager.clone()).or_default() += count;
        *self.by_availability.entry(key.availability).or_default() += count;
    }
}

/// Answers a query over all states: the reference every backend is compared with.
///
/// # Errors
/// When the query's cursor belongs to another query.
pub fn evaluate<'a>(
    states: impl IntoIterator<Item = (AgentId, &'a Text, &'a PackageState)>,
    query: &UpdateQuery,
) -> Result<UpdatePage, QueryError> {
    let after = query.after()?;
    let mut stats = UpdateStats::default();
    let mut rows: Vec<(Position, UpdateRow)> = Vec::new();
    for (agent, agent_name, state) in states {
        if query.filter.matches(agent, state) {
            stats.add(&crate::counters::CounterKey::of(state), 1);
            let row = UpdateRow { agent, agent_name: agent_name.clone(), state: state.clone() };
            rows.push((Position::of(&row), row));
        }
    }
    rows.sort_unstable_by(|(a, _), (b, _)| a.compare(b, query.sort));
    let start = match (&after, &query.start) {
        (Some(after), _) => rows.partition_point(|(position, _)| position.compare(after, query.sort).is_le()),
        (None, PageStart::Number(number)) => usize::try_from(number.offset(query.size)).unwrap_or(usize::MAX),
        (None, PageStart::After(_)) => 0,
    };
    let more = rows.len() > start.saturating_add(query.size.get() as usize);
    let items: Vec<_> = rows.into_iter().skip(start).take(query.size.get() as usize).map(|(_, row)| row).collect();
    let next = if more { items.last().map(|row| query.cursor_after(row)) } else { None };
    Ok(UpdatePage { items, stats, next })
}

/// What a list of agents is ordered by; equal rows by name, then id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AgentSortKey {
    /// By name, in byte order.
    #[default]
    Name,
    /// Longest silent first; never heard of before all others.
    LastContact,
    /// Fewest open updates first.
    Updates,
}

/// A page of agents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentQuery {
    /// With a text in the name.
    pub search: Option<Search>,
    /// Ordered by.
    pub sort: AgentSortKey,
    /// Whether the whole order is reversed.
    pub reverse: bool,
    /// Which page.
    pub page: PageNumber,
    /// How many.
    pub size: PageSize,
}

/// One agent in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentRow {
    /// What is kept of it.
    pub head: AgentHead,
    /// Counts over its open updates.
    pub open: UpdateStats,
}

/// One page of agents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentPage {
    /// The rows.
    pub items: Vec<AgentRow>,
    /// All agents that pass.
    pub total: u64,
}

/// Answers a query over all agents: the reference every backend is compared with.
#[must_use]
pub fn evaluate_agents(agents: impl IntoIterator<Item = AgentRow>, query: &AgentQuery) -> AgentPage {
    let passes = |row: &AgentRow| query.search.as_ref().is_none_or(|search| search.matches(row.head.name.as_str()));
    let mut rows: Vec<AgentRow> = agents.into_iter().filter(passes).collect();
    rows.sort_unstable_by(|a, b| {
        let order = match query.sort {
            AgentSortKey::Name => Ordering::Equal,
            AgentSortKey::LastContact => a.head.last_contact_at.cmp(&b.head.last_contact_at),
            AgentSortKey::Updates => a.open.total.cmp(&b.open.total),
        };
        let order = order.then_with(|| a.head.name.cmp(&b.head.name)).then_with(|| a.head.agent.cmp(&b.head.agent));
        if query.reverse { order.reverse() } else { order }
    });
    let total = rows.len() as u64;
    let start = usize::try_from(query.page.offset(query.size)).unwrap_or(usize::MAX);
    AgentPage { items: rows.into_iter().skip(start).take(query.size.get() as usize).collect(), total }
}

/// A page of batches, newest first: by receive time, then agent id, then number, all descending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchQuery {
    /// Of one agent.
    pub agent: Option<AgentId>,
    /// Only those with rejected events.
    pub with_rejections: bool,
    /// Which page.
    pub page: PageNumber,
    /// How many.
    pub size: PageSize,
}

/// One batch in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchRow {
    /// The name of the batch's agent.
    pub agent_name: Text,
    /// The batch.
    pub record: BatchRecord,
}

/// One page of batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchPage {
    /// The rows.
    pub items: Vec<BatchRow>,
    /// All batches that pass.
    pub total: u64,
}
