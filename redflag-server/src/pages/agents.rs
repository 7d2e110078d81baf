//! The list of agents: search, status, order and pages, all in the URL.

use super::{
    agent_row::{AgentView, Clock},
    enrolment::Enrolment,
    frame::{Answer, Frame, Place, page},
    list::{Chip, Choice, Column, Order, Pager, carried},
    roll,
};
use crate::{
    access::Operator,
    app::{App, AppState},
    listing::{Listing, Numbered},
    problem::Problem,
};
use askama::Template;
use axum::{extract::State, http::Uri};
use redflag_core::{
    agent::AgentStatusWord,
    query::{AgentPage, AgentQuery, AgentSortKey, Search},
    store::StoreError,
};

const PATH: &str = "/agents";

/// A page of agents: what the store can ask for, and their status, which it cannot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AgentListing {
    query: AgentQuery,
    status: Option<AgentStatusWord>,
}

impl AgentListing {
    /// Where the agents of one status are listed.
    pub(super) fn of_status(status: AgentStatusWord) -> String {
        Self { status: Some(status), ..Self::default() }.href(PATH)
    }
}

impl Listing for AgentListing {
    fn from_uri(uri: &Uri) -> Result<Self, Problem> {
        let given: Vec<&str> = uri.query().unwrap_or_default().split('&').collect();
        let (status, rest): (Vec<&str>, Vec<&str>) = given.iter().partition(|pair| pair.starts_with("status="));
        let status = match status.as_slice() {
            [] | ["status="] => None,
            [pair] => Some(pair["status=".len()..].parse().map_err(|error| Problem::parameter("status", format!("{error}")))?),
            _ => return Err(Problem::parameter("status", "stands twice")),
        };
        let rest: Uri = format!("{PATH}?{}", rest.join("&")).parse().map_err(|_| Problem::parameter("search", "not a query"))?;
        Ok(Self { query: AgentQuery::from_uri(&rest)?, status })
    }

    fn parameters(&self) -> Vec<(&'static str, String)> {
        let status = self.status.map(|status| ("status", status.to_string()));
        status.into_iter().chain(self.query.parameters()).collect()
    }
}

impl Numbered for AgentListing {
    fn at_page(&self, number: u32) -> Self {
        Self { query: self.query.at_page(number), ..self.clone() }
    }
}

#[derive(Template)]
#[template(path = "agents.html")]
struct AgentsPage {
    frame: Frame,
    lead: String,
    enrolment: Enrolment,
    search: String,
    statuses: Vec<Choice>,
    hidden: Vec<(&'static str, String)>,
    chips: Vec<Chip>,
    columns: Columns,
    rows: Vec<AgentView>,
    pager: Pager,
    first_href: String,
}

struct Columns {
    name: Column,
    last_contact: Column,
    updates: Column,
}

/// `GET /agents`.
pub(super) async fn list(State(app): State<AppState>, operator: Operator, uri: Uri) -> Answer {
    let listing = AgentListing::from_uri(&uri)?;
    let clock = Clock::of(&app);
    let found = find(&app, &listing, clock).await?;
    let first = listing.at_page(1);
    let AgentListing { query, status } = &listing;
    let resized = |size| AgentListing { query: AgentQuery { size, ..query.clone() }, ..first.clone() };
    page(&AgentsPage {
        frame: Frame::of(&app, Place::Agents, &operator).await?,
        lead: status.map_or_else(|| "enrolled".to_owned(), |status| status.to_string()),
        enrolment: Enrolment::at(&app),
        search: query.search.as_ref().map_or("", Search::as_str).to_owned(),
        statuses: Choice::of_words("all", status.map(AgentStatusWord::as_str), AgentStatusWord::ALL.iter().map(|word| word.as_str())),
        hidden: carried(&listing, &["sort", "page_size"]),
        chips: chips(&first),
        columns: columns(&first),
        rows: found.items.iter().map(|row| AgentView::new(row, clock)).collect(),
        pager: Pager::new(PATH, &listing, found.total, query.page.get(), query.size, resized),
        first_href: first.href(PATH),
    })
}

async fn find(app: &App, listing: &AgentListing, clock: Clock) -> Result<AgentPage, StoreError> {
    let AgentListing { query, status } = listing;
    let Some(wanted) = status else { return app.fleet.store().agents(query).await };
    let roll = roll::call(app.fleet.store(), query, clock).await?;
    let passing: Vec<_> = roll.into_iter().filter(|(_, status)| status.status == *wanted).map(|(row, _)| row).collect();
    let total = passing.len() as u64;
    let start = usize::try_from(query.page.offset(query.size)).unwrap_or(usize::MAX);
    Ok(AgentPage { items: passing.into_iter().skip(start).take(query.size.get() as usize).collect(), total })
}

fn chips(first: &AgentListing) -> Vec<Chip> {
    let mut chips = Vec::new();
    if let Some(status) = first.status {
        chips.push(Chip { title: status.to_string(), href: AgentListing { status: None, ..first.clone() }.href(PATH) });
    }
    if let Some(search) = &first.query.search {
        let without = AgentQuery { search: None, ..first.query.clone() };
        chips.push(Chip { title: format!("“{}”", search.as_str()), href: AgentListing { query: without, ..first.clone() }.href(PATH) });
    }
    chips
}

fn columns(first: &AgentListing) -> Columns {
    let column = |title, sort| {
        let order = (first.query.sort == sort).then(|| Order::reversed(first.query.reverse));
        Column::new(title, order, |order| {
            let query = AgentQuery { sort, reverse: order == Order::Descending, ..first.query.clone() };
            AgentListing { query, ..first.clone() }.href(PATH)
        })
    };
    Columns {
        name: column("Agent", AgentSortKey::Name),
        last_contact: column("Last contact", AgentSortKey::LastContact),
        updates: column("Open updates", AgentSortKey::Updates),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_leads_back_to_its_listing() {
        for href in ["/agents", "/agents?status=offline&search=web&sort=-updates&page_size=200&page=3"] {
            assert_eq!(AgentListing::from_uri(&href.parse().unwrap()).unwrap().href(PATH), href);
        }
        for (href, parameter) in
            [("/agents?status=gone", "status"), ("/agents?status=online&status=offline", "status"), ("/agents?x=1", "x")]
        {
            assert_eq!(AgentListing::from_uri(&href.parse().unwrap()).unwrap_err().named(), Some(parameter), "{href}");
        }
    }
}
