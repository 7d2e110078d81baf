//! Deciding about many updates at once: a page that counts exactly what one button would decide about, and a page that shows how far
//! that has come.

use super::{
    frame::{Answer, Frame, Place, page, page_with},
    list::Chip,
    plan_view,
    text::{self, When},
    update_filter::{self, Menus},
    updates,
};
use crate::{
    access::Operator,
    app::AppState,
    ids,
    listing::{self, Listing as _, Parameters},
    operations::{self, Confirmed, Kept},
    problem::Problem,
};
use askama::Template;
use axum::{
    extract::{Form, Path, State},
    http::{StatusCode, Uri},
    response::{IntoResponse as _, Redirect},
};
use redflag_core::{
    bulk::{BulkDecision, Selected, Selection},
    feed::FeedPosition,
    ids::OperationId,
    names::Text,
    query::{UpdateFilter, UpdateQuery},
    words::IgnoreScope,
};
use serde::Deserialize;

pub(super) const PATH: &str = "/bulk";
/// Seconds after which the page of an operation under way looks again.
const REFRESH_SECONDS: u32 = 2;

#[derive(Template)]
#[template(path = "bulk.html")]
struct BulkPage {
    frame: Frame,
    /// Why the last try did not begin.
    conflict: Option<&'static str>,
    lead: String,
    chips: Vec<Chip>,
    filter: String,
    back: String,
    as_of: u64,
    choices: Vec<Choice>,
    /// Whose keys sign what an approval leads to.
    signing: String,
}

/// One decision that could be made, and about how many.
struct Choice {
    word: &'static str,
    title: &'static str,
    /// What is said of the updates decided about.
    outcome: &'static str,
    selected: Selected,
    primary: bool,
    ignore: bool,
}

#[derive(Template)]
#[template(path = "operation.html")]
struct OperationPage {
    frame: Frame,
    title: String,
    kept: Kept,
    id: OperationId,
    back: String,
    lead: String,
    percent: u64,
    started: When,
    finished: Option<When>,
    comment: Option<Text>,
    /// Seconds until the page looks again; none at the end.
    refresh: Option<u32>,
}

/// Where one decides about everything that passes `filter`.
pub(super) fn href(filter: &UpdateFilter) -> String {
    UpdateQuery { filter: filter.clone(), ..UpdateQuery::default() }.href(PATH)
}

/// `GET /bulk`: looking at it decides nothing.
pub(super) async fn show(State(app): State<AppState>, operator: Operator, uri: Uri) -> Answer {
    let mut given = Parameters::read(&uri)?;
    let filter = listing::take_filter(&mut given)?;
    given.finish()?;
    choose(&app, &operator, filter, None).await
}

async fn choose(app: &AppState, operator: &Operator, filter: UpdateFilter, conflict: Option<&'static str>) -> Answer {
    let store = app.fleet.store();
    let selection = app.fleet.selection_now(filter).await?;
    let filter = &selection.filter;
    let menus = Menus::load(store, filter).await?;
    let template = BulkPage {
        frame: Frame::within(app, Place::Updates, operator).await?,
        conflict,
        lead: update_filter::status(filter),
        chips: menus.chips(filter, |filter| href(&filter)),
        filter: listing::filter_query(filter),
        back: updates::href(filter),
        as_of: selection.as_of.0,
        choices: choices(app, &selection).await?,
        signing: plan_view::signing(&app.settings.terms),
    };
    page_with(if conflict.is_some() { StatusCode::CONFLICT } else { StatusCode::OK }, &template)
}

async fn choices(app: &AppState, selection: &Selection) -> Result<Vec<Choice>, Problem> {
    let ignore = BulkDecision::Ignore { scope: IgnoreScope::Version, until: None, reason: None };
    let all = [
        ("approve", "Approve", "approved", BulkDecision::Approve { comment: None }),
        ("ignore", "Ignore", "ignored", ignore),
        ("reopen", "Reopen", "reopened", BulkDecision::Reopen { comment: None }),
        ("withdraw-approval", "Withdraw approval of", "withdrawn", BulkDecision::WithdrawApproval { comment: None }),
    ];
    let decisions = all.each_ref().map(|(_, _, _, decision)| decision.clone());
    let selected = app.fleet.select_each(selection, &decisions).await?;
    let choice = |((word, title, outcome, _), selected)| Choice {
        word,
        title,
        outcome,
        selected,
        primary: word == "approve",
        ignore: word == "ignore",
    };
    Ok(all.into_iter().zip(selected).map(choice).filter(|choice| choice.selected.possible > 0).collect())
}

/// What the form sends; the guard has checked the field `csrf`.
#[derive(Debug, Deserialize)]
pub(super) struct BulkForm {
    filter: String,
    as_of: u64,
    possible: u64,
    decision: String,
    #[serde(default)]
    comment: String,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    until: String,
}

impl BulkForm {
    fn read(self, operator: &Operator) -> Result<Confirmed, Problem> {
        let bad = |field: &'static str, error: String| Problem::parameter(field, error);
        let Self { filter, as_of, possible, decision, comment, scope, until } = self;
        let comment = Some(comment.trim()).filter(|comment| !comment.is_empty());
        let comment = comment.map(|comment| Text::parse_as("comment", comment).map_err(|error| bad("comment", error.message)));
        let scope = Some(scope).filter(|scope| !scope.is_empty()).map(|scope| scope.parse::<IgnoreScope>());
        let until = text::start_of_day(&until).map_err(|error| bad("until", error))?;
        let scope = scope.transpose().map_err(|error| bad("scope", error.to_string()))?;
        Ok(Confirmed {
            operator: operator.name.clone(),
            decision: operations::decision(&decision, comment.transpose()?, scope, until)?,
            filter: listing::filter_query(&operations::filter_of(&filter)?),
            as_of: FeedPosition(as_of),
            possible,
        })
    }
}

/// `POST /bulk`.
pub(super) async fn confirm(State(app): State<AppState>, operator: Operator, Form(form): Form<BulkForm>) -> Answer {
    let confirmed = form.read(&operator)?;
    let filter = operations::filter_of(&confirmed.filter)?;
    let id = ids::operation_id();
    match operations::start(&app, id, confirmed).await {
        Ok(_) => Ok(Redirect::to(&format!("/operations/{id}")).into_response()),
        Err(problem) if problem.status() == StatusCode::CONFLICT => {
            choose(&app, &operator, filter, Some("What was shown can no longer be told exactly. Nothing was decided: look again.")).await
        }
        Err(problem) => Err(problem.into()),
    }
}

/// `GET /operations/{id}`.
pub(super) async fn operation(State(app): State<AppState>, operator: Operator, Path(id): Path<String>, uri: Uri) -> Answer {
    listing::no_parameters(&uri)?;
    let id: OperationId = id.parse().map_err(|_| Problem::not_found("no operation has this address"))?;
    let kept = operations::find(&app, id).await?;
    let filter = operations::filter_of(&kept.confirmed.filter)?;
    let counts = kept.counts;
    let seen = counts.done + counts.changed + counts.failed;
    let now = app.now();
    page(&OperationPage {
        frame: Frame::within(&app, Place::Updates, &operator).await?,
        title: title(&kept),
        id,
        back: updates::href(&filter),
        lead: update_filter::status(&filter),
        percent: (seen * 100).checked_div(kept.selected.possible).unwrap_or(100),
        started: When::seen_from(now, kept.started_at),
        finished: kept.finished_at.map(|at| When::seen_from(now, at)),
        comment: comment(&kept.confirmed.decision).cloned(),
        refresh: kept.finished_at.is_none().then_some(REFRESH_SECONDS),
        kept,
    })
}

fn title(kept: &Kept) -> String {
    let updates = text::counted(kept.selected.possible, "update", "updates");
    match kept.confirmed.decision {
        BulkDecision::Approve { .. } => format!("Approve {updates}"),
        BulkDecision::WithdrawApproval { .. } => format!("Withdraw the approval of {updates}"),
        BulkDecision::Ignore { .. } => format!("Ignore {updates}"),
        BulkDecision::Reopen { .. } => format!("Reopen {updates}"),
    }
}

const fn comment(decision: &BulkDecision) -> Option<&Text> {
    match decision {
        BulkDecision::Approve { comment } | BulkDecision::WithdrawApproval { comment } | BulkDecision::Reopen { comment } => {
            comment.as_ref()
        }
        BulkDecision::Ignore { reason, .. } => reason.as_ref(),
    }
}
