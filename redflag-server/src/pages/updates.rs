//! The list of updates: filters, search, order and pages, all in the URL.

use super::{
    frame::{Answer, Frame, Place, page},
    list::{Chip, Choice, Column, Order, Pager, Select, carried},
    text::spaced,
    update_row::UpdateView,
};
use crate::{
    access::{Operator, Role},
    app::AppState,
    listing::Listing as _,
};
use askama::Template;
use axum::{extract::State, http::Uri};
use redflag_core::{
    agent::AgentHead,
    ids::AgentId,
    names::Manager,
    query::{AgentQuery, PageSize, PageStart, Search, Sort, SortKey, StatusFilter, UpdateFilter, UpdateQuery},
    words::{AvailabilityKind, Severity, Status},
};

/// Up to this many agents the filter is a menu; above, agents are chosen from their own list.
const AGENTS_IN_MENU_MAX: u32 = 200;
const PATH: &str = "/updates";

#[derive(Template)]
#[template(path = "updates.html")]
struct UpdatesPage {
    frame: Frame,
    lead: String,
    form: FilterForm,
    chips: Vec<Chip>,
    columns: Columns,
    rows: Vec<UpdateView>,
    pager: Pager,
    /// Where this very page is, to come back to after a decision.
    here: String,
    first_href: String,
    /// Whether the operator may decide.
    decides: bool,
}

struct FilterForm {
    search: String,
    selects: Vec<Select>,
    security: bool,
    hidden: Vec<(&'static str, String)>,
}

struct Columns {
    name: Column,
    agent: Column,
    severity: Column,
    last_change: Column,
}

/// `GET /updates`.
pub(super) async fn list(State(app): State<AppState>, operator: Operator, uri: Uri) -> Answer {
    let query = UpdateQuery::from_uri(&uri)?;
    let store = app.fleet.store();
    let found = store.updates(&query).await?;
    let everything = store.stats(&UpdateFilter { status: StatusFilter::Any, ..UpdateFilter::default() }).await?;
    let menu = AgentQuery { size: PageSize::new(AGENTS_IN_MENU_MAX)?, ..AgentQuery::default() };
    let agents = store.agents(&menu).await?;
    let chosen = match query.filter.agent {
        Some(agent) => store.agent(agent).await?,
        None => None,
    };
    let offered: Vec<AgentHead> =
        if agents.total > u64::from(AGENTS_IN_MENU_MAX) { Vec::new() } else { agents.items.into_iter().map(|row| row.head).collect() };
    let managers: Vec<Manager> = everything.by_manager.into_keys().collect();
    let now = app.now();
    let first = query.at_page(1);
    page(&UpdatesPage {
        frame: Frame::of(Place::Updates, &operator),
        lead: lead(&query.filter),
        form: form(&query, &managers, &offered),
        chips: chips(&query, chosen.as_ref()),
        columns: columns(&query),
        rows: found.items.iter().map(|row| UpdateView::new(row, now)).collect(),
        pager: Pager::new(PATH, &query, found.stats.total, page_number(&query), query.size, |size| UpdateQuery { size, ..first.clone() }),
        here: query.href(PATH),
        first_href: first.href(PATH),
        decides: operator.role >= Role::Approver,
    })
}

fn page_number(query: &UpdateQuery) -> u32 {
    match &query.start {
        PageStart::Number(number) => number.get(),
        PageStart::After(_) => 1,
    }
}

fn lead(filter: &UpdateFilter) -> String {
    match filter.status {
        StatusFilter::Open => "open".to_owned(),
        StatusFilter::Any => "of any status".to_owned(),
        StatusFilter::Is(status) => spaced(status.as_str()),
    }
}

fn form(query: &UpdateQuery, managers: &[Manager], agents: &[AgentHead]) -> FilterForm {
    let filter = &query.filter;
    let mut selects = vec![
        Select { name: "status", title: "Status", options: status_choices(filter.status) },
        select("severity", "Severity", filter.severity.map(Severity::as_str), Severity::ALL.iter().map(|word| word.as_str())),
        Select { name: "package_type", title: "Manager", options: manager_choices(filter.manager.as_ref(), managers) },
        select(
            "availability",
            "Availability",
            filter.availability.map(AvailabilityKind::as_str),
            AvailabilityKind::ALL.iter().map(|word| word.as_str()),
        ),
    ];
    let mut carry = vec!["sort", "page_size"];
    if agents.is_empty() {
        carry.push("agent_id");
    } else {
        selects.push(Select { name: "agent_id", title: "Agent", options: agent_choices(filter.agent, agents) });
    }
    FilterForm {
        search: filter.search.as_ref().map_or("", Search::as_str).to_owned(),
        selects,
        security: filter.security == Some(true),
        hidden: carried(query, &carry),
    }
}

fn select(name: &'static str, title: &'static str, chosen: Option<&str>, words: impl Iterator<Item = &'static str>) -> Select {
    Select { name, title, options: Choice::of_words("all", chosen, words) }
}

fn status_choices(chosen: StatusFilter) -> Vec<Choice> {
    let mut choices = vec![Choice::new("", "open", chosen == StatusFilter::Open), Choice::new("any", "any", chosen == StatusFilter::Any)];
    choices.extend(
        Status::ALL.iter().map(|status| Choice::new(status.as_str(), spaced(status.as_str()), chosen == StatusFilter::Is(*status))),
    );
    choices
}

fn manager_choices(chosen: Option<&Manager>, managers: &[Manager]) -> Vec<Choice> {
    let mut choices = vec![Choice::new("", "all", chosen.is_none())];
    // A manager nothing is known of can still be asked for by URL; the menu must not hide that.
    let strange = chosen.filter(|chosen| !managers.contains(chosen));
    choices.extend(managers.iter().chain(strange).map(|manager| Choice::new(manager.as_str(), manager.as_str(), chosen == Some(manager))));
    choices
}

fn agent_choices(chosen: Option<AgentId>, agents: &[AgentHead]) -> Vec<Choice> {
    let mut choices = vec![Choice::new("", "all", chosen.is_none())];
    choices.extend(agents.iter().map(|head| Choice::new(head.agent.to_string(), head.name.as_str(), chosen == Some(head.agent))));
    if let Some(stranger) = chosen.filter(|chosen| !agents.iter().any(|head| head.agent == *chosen)) {
        choices.push(Choice::new(stranger.to_string(), stranger.to_string(), true));
    }
    choices
}

fn chips(query: &UpdateQuery, agent: Option<&AgentHead>) -> Vec<Chip> {
    let filter = &query.filter;
    let mut chips = Vec::new();
    let mut chip = |title: Option<String>, without: UpdateFilter| {
        let href = || UpdateQuery { filter: without, ..query.at_page(1) }.href(PATH);
        chips.extend(title.map(|title| Chip { title, href: href() }));
    };
    let same = || filter.clone();
    let status = match filter.status {
        StatusFilter::Open => None,
        StatusFilter::Any => Some("any status".to_owned()),
        StatusFilter::Is(status) => Some(format!("status {}", spaced(status.as_str()))),
    };
    chip(status, UpdateFilter { status: StatusFilter::Open, ..same() });
    chip(filter.severity.map(|word| format!("severity {word}")), UpdateFilter { severity: None, ..same() });
    chip(filter.manager.as_ref().map(|manager| format!("manager {manager}")), UpdateFilter { manager: None, ..same() });
    let agent_name = filter.agent.map(|id| agent.map_or_else(|| id.to_string(), |head| head.name.to_string()));
    chip(agent_name.map(|name| format!("on {name}")), UpdateFilter { agent: None, ..same() });
    chip(filter.availability.map(|word| format!("availability {}", spaced(word.as_str()))), UpdateFilter { availability: None, ..same() });
    let security = filter.security.map(|security| if security { "security" } else { "not security" }.to_owned());
    chip(security, UpdateFilter { security: None, ..same() });
    chip(filter.search.as_ref().map(|search| format!("“{}”", search.as_str())), UpdateFilter { search: None, ..same() });
    chips
}

fn columns(query: &UpdateQuery) -> Columns {
    let column = |title, key| {
        let order = (query.sort.key == key).then(|| Order::reversed(query.sort.reverse));
        Column::new(title, order, |order| {
            UpdateQuery { sort: Sort { key, reverse: order == Order::Descending }, ..query.at_page(1) }.href(PATH)
        })
    };
    Columns {
        name: column("Package", SortKey::Name),
        agent: column("Agent", SortKey::Agent),
        severity: column("Severity", SortKey::Severity),
        last_change: column("Changed", SortKey::LastChange),
    }
}
