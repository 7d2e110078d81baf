//! What surrounds every page: where one is, who is signed in, and how a template becomes an answer.

use super::{problem::PageProblem, text::When};
use crate::{
    access::{Operator, Role},
    app::App,
    halt::{self, Halt},
    problem::Problem,
};
use askama::Template;
use axum::{
    http::StatusCode,
    response::{Html, IntoResponse, Response},
};

/// A place of the main navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The fleet at a glance.
    Overview,
    /// The list of updates.
    Updates,
    /// The list of agents.
    Agents,
    /// The queue of commands.
    Commands,
    /// The list of batches.
    Batches,
    /// The audit log.
    Audit,
    /// The accounts of operators, for administrators.
    Users,
    /// The operator's own account, which stands beside the navigation.
    Account,
}

impl Place {
    /// The places of the navigation, in the order shown.
    const NAVIGATION: &'static [Self] =
        &[Self::Overview, Self::Updates, Self::Agents, Self::Commands, Self::Batches, Self::Audit, Self::Users];

    /// The places of the navigation that an operator of this role may open.
    pub(crate) fn open_to(role: Role) -> impl Iterator<Item = Self> {
        Self::NAVIGATION.iter().copied().filter(move |place| *place != Self::Users || role >= Role::Admin)
    }

    /// Its URL.
    pub(crate) const fn href(self) -> &'static str {
        match self {
            Self::Overview => "/",
            Self::Updates => "/updates",
            Self::Agents => "/agents",
            Self::Commands => "/commands",
            Self::Batches => "/batches",
            Self::Audit => "/audit",
            Self::Users => "/users",
            Self::Account => "/account",
        }
    }

    /// Its name.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Updates => "Updates",
            Self::Agents => "Agents",
            Self::Commands => "Commands",
            Self::Batches => "Batches",
            Self::Audit => "Audit log",
            Self::Users => "Users",
            Self::Account => "Your account",
        }
    }
}

/// What surrounds a page.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// The place the page belongs to.
    pub(crate) place: Place,
    /// Whether the page is the place itself, and not something within it.
    pub(crate) exact: bool,
    /// Who is signed in.
    pub(crate) operator: String,
    /// What they may do.
    pub(crate) role: Role,
    /// The session's CSRF token, for forms.
    pub(crate) csrf: String,
    /// That commands are halted, while they are: every page says so.
    pub(crate) halted: Option<Halted>,
}

/// An emergency halt in force.
#[derive(Clone, Debug)]
pub(crate) struct Halted {
    /// Who halted the commands.
    pub(crate) by: String,
    /// Why.
    pub(crate) reason: String,
    /// Since when.
    pub(crate) since: When,
}

impl Frame {
    /// The frame of a place's own page.
    ///
    /// # Errors
    /// 503 when the store fails.
    pub(crate) async fn of(app: &App, place: Place, operator: &Operator) -> Result<Self, Problem> {
        let halted = halt::halted(app.fleet.store()).await?.map(|Halt { by, at, reason }| Halted {
            by: by.to_string(),
            reason: reason.to_string(),
            since: When::seen_from(app.now(), at),
        });
        Ok(Self {
            place,
            exact: true,
            operator: operator.name.to_string(),
            role: operator.role,
            csrf: operator.csrf.clone().unwrap_or_default(),
            halted,
        })
    }

    /// The frame of a page within a place.
    ///
    /// # Errors
    /// As [`Frame::of`].
    pub(crate) async fn within(app: &App, place: Place, operator: &Operator) -> Result<Self, Problem> {
        Ok(Self { exact: false, ..Self::of(app, place, operator).await? })
    }
}

/// A page, or the page that says why there is none.
pub(crate) type Answer = Result<Response, PageProblem>;

/// The page that `template` renders.
pub(crate) fn page(template: &impl Template) -> Answer {
    page_with(StatusCode::OK, template)
}

/// The page that `template` renders, with `status`.
pub(crate) fn page_with(status: StatusCode, template: &impl Template) -> Answer {
    let html = template.render().map_err(|error| Problem::internal(&error))?;
    Ok((status, Html(html)).into_response())
}
