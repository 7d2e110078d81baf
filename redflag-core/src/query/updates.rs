//! Pages of updates: where they start, what they hold, and the reference evaluator.

use super::{PageNumber, PageSize, Position, QueryError, Sort, UpdateFilter, UpdateStats};
use crate::{
    counters::CounterKey,
    ids::{AgentId, Digest, UpdateId},
    limits,
    names::Text,
    state::PackageState,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

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
            stats.add(&CounterKey::of(state), 1);
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
