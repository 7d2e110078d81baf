//! Which updates: what the list of updates and the list of packages share. The form with its menus, the chips of filters in force, and
//! the way from one list to the other.

use super::{
    list::{Chip, Choice, Select, carried},
    packages,
    text::spaced,
    updates,
};
use crate::listing::Listing;
use redflag_core::{
    agent::AgentHead,
    ids::AgentId,
    names::Manager,
    query::{AgentQuery, PackageQuery, PageSize, Search, StatusFilter, UpdateFilter, UpdateQuery},
    store::{Store, StoreError},
    words::{AvailabilityKind, Severity, Status},
};

/// Up to this many agents the filter is a menu; above, agents are chosen from their own list.
const AGENTS_IN_MENU_MAX: u32 = 200;

/// The form above a list.
#[derive(Clone, Debug)]
pub(crate) struct FilterForm {
    pub(crate) action: &'static str,
    pub(crate) search: String,
    pub(crate) selects: Vec<Select>,
    pub(crate) security: bool,
    pub(crate) hidden: Vec<(&'static str, String)>,
}

/// One of the two ways to look at the same updates.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) title: &'static str,
    pub(crate) href: String,
    pub(crate) current: bool,
}

/// What the menus offer, and whom the filter names.
#[derive(Clone, Debug)]
pub(super) struct Menus {
    managers: Vec<Manager>,
    /// None when there are too many for a menu.
    agents: Vec<AgentHead>,
    chosen: Option<AgentHead>,
}

impl FilterForm {
    /// The form of `list` at `action`, of which `filter` is a part.
    pub(super) fn new(action: &'static str, list: &impl Listing, filter: &UpdateFilter, menus: &Menus) -> Self {
        let mut selects = vec![
            Select { name: "status", title: "Status", options: status_choices(filter.status) },
            select("severity", "Severity", filter.severity.map(Severity::as_str), Severity::ALL.iter().map(|word| word.as_str())),
            Select { name: "package_type", title: "Manager", options: manager_choices(filter.manager.as_ref(), &menus.managers) },
            select(
                "availability",
                "Availability",
                filter.availability.map(AvailabilityKind::as_str),
                AvailabilityKind::ALL.iter().map(|word| word.as_str()),
            ),
        ];
        let mut carry = vec!["sort", "page_size"];
        if menus.agents.is_empty() {
            carry.push("agent_id");
        } else {
            selects.push(Select { name: "agent_id", title: "Agent", options: agent_choices(filter.agent, &menus.agents) });
        }
        Self {
            action,
            search: filter.search.as_ref().map_or("", Search::as_str).to_owned(),
            selects,
            security: filter.security == Some(true),
            hidden: carried(list, &carry),
        }
    }
}

impl Menus {
    /// Reads them.
    pub(super) async fn load(store: &dyn Store, filter: &UpdateFilter) -> Result<Self, StoreError> {
        let everything = store.stats(&UpdateFilter { status: StatusFilter::Any, ..UpdateFilter::default() }).await?;
        let menu = AgentQuery { size: PageSize::new(AGENTS_IN_MENU_MAX)?, ..AgentQuery::default() };
        let found = store.agents(&menu).await?;
        let few = found.total <= u64::from(AGENTS_IN_MENU_MAX);
        let agents = if few { found.items.into_iter().map(|row| row.head).collect() } else { Vec::new() };
        let chosen = match filter.agent {
            Some(agent) => store.agent(agent).await?,
            None => None,
        };
        Ok(Self { managers: everything.by_manager.into_keys().collect(), agents, chosen })
    }

    /// A chip for each part of the filter; `href` leads to the list with another filter.
    pub(super) fn chips(&self, filter: &UpdateFilter, href: impl Fn(UpdateFilter) -> String) -> Vec<Chip> {
        let mut chips = Vec::new();
        let mut chip = |title: Option<String>, without: UpdateFilter| {
            chips.extend(title.map(|title| Chip { title, href: href(without) }));
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
        let name = |id: AgentId| self.chosen.as_ref().map_or_else(|| id.to_string(), |head| head.name.to_string());
        chip(filter.agent.map(|id| format!("on {}", name(id))), UpdateFilter { agent: None, ..same() });
        let availability = filter.availability.map(|word| format!("availability {}", spaced(word.as_str())));
        chip(availability, UpdateFilter { availability: None, ..same() });
        let security = filter.security.map(|security| if security { "security" } else { "not security" }.to_owned());
        chip(security, UpdateFilter { security: None, ..same() });
        chip(filter.search.as_ref().map(|search| format!("“{}”", search.as_str())), UpdateFilter { search: None, ..same() });
        chips
    }
}

/// The filter's status in words.
pub(super) fn status(filter: &UpdateFilter) -> String {
    match filter.status {
        StatusFilter::Open => "open".to_owned(),
        StatusFilter::Any => "of any status".to_owned(),
        StatusFilter::Is(status) => spaced(status.as_str()),
    }
}

/// Both ways to look at the updates that pass `filter`, from the one at `path`.
pub(super) fn views(path: &str, filter: &UpdateFilter) -> [View; 2] {
    let updates = UpdateQuery { filter: filter.clone(), ..UpdateQuery::default() };
    let packages = PackageQuery { filter: filter.clone(), ..PackageQuery::default() };
    [
        View { title: "By update", href: updates.href(updates::PATH), current: path == updates::PATH },
        View { title: "By package", href: packages.href(packages::PATH), current: path == packages::PATH },
    ]
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
