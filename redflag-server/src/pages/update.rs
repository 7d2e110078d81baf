//! One update: its offer, where it stands, what can be decided, and its whole life.

use super::{
    command_row::CommandView,
    frame::{Answer, Frame, Place, page_with},
    life::{self, Entry, HistoryRow},
    plan_view,
    text::{self, When},
    update_command::{self, Review},
    update_row::{UpdateView, possible},
};
use crate::{
    access::{Operator, Role},
    app::{App, AppState},
    ids,
    listing::no_parameters,
    problem::Problem,
};
use askama::Template;
use axum::{
    extract::{Form, Path, State},
    http::{StatusCode, Uri},
    response::{IntoResponse as _, Redirect},
};
use redflag_core::{
    event::EventWord,
    ids::UpdateId,
    names::Text,
    offer::{Candidate, OfferDigest},
    query::UpdateRow,
    rejection::{Rejection, RejectionCode},
    state::Standing,
    time::Timestamp,
    words::{IgnoreScope, Status},
    work::Decision,
};
use serde::Deserialize;
use std::sync::Arc;

#[derive(Template)]
#[template(path = "update.html")]
struct UpdatePage {
    frame: Frame,
    conflict: Option<Conflict>,
    row: UpdateView,
    candidate: Arc<Candidate>,
    size: Option<String>,
    digest: String,
    short_digest: String,
    discovered: When,
    standing: Vec<(&'static str, String)>,
    standing_times: Vec<(&'static str, When)>,
    /// A command about it that has not ended, or whose plan waits for a second look.
    command: Option<CommandView>,
    review: Option<Review>,
    decisions: Decisions,
    /// Whose keys sign what an approval leads to.
    signing: String,
    timeline: Vec<Entry>,
    history: Vec<HistoryRow>,
}

/// Why a decision was not taken.
struct Conflict {
    title: &'static str,
    detail: String,
}

/// What the operator can decide now.
struct Decisions {
    approve: bool,
    withdraw: bool,
    ignore: bool,
    reopen: bool,
}

impl Decisions {
    fn of(status: Status, operator: &Operator) -> Self {
        let may = |event| operator.role >= Role::Approver && possible(event, status);
        Self {
            approve: may(EventWord::Approved),
            withdraw: may(EventWord::ApprovalWithdrawn),
            ignore: may(EventWord::Ignored),
            reopen: may(EventWord::Reopened),
        }
    }

    fn is_empty(&self) -> bool {
        !(self.approve || self.withdraw || self.ignore || self.reopen)
    }
}

/// `GET /updates/{id}`.
pub(super) async fn show(State(app): State<AppState>, operator: Operator, Path(id): Path<String>, uri: Uri) -> Answer {
    no_parameters(&uri)?;
    let (id, row) = find(&app, &id).await?;
    answer(&app, &operator, &id, &row, None).await
}

/// A decision as the forms send it; the guard has checked the field `csrf`.
#[derive(Debug, Deserialize)]
pub(super) struct DecisionForm {
    decision: String,
    offer_digest: String,
    #[serde(default)]
    comment: String,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    until: String,
    /// The list to come back to.
    #[serde(default)]
    back: String,
}

/// `POST /updates/{id}/decision`.
pub(super) async fn decide(
    State(app): State<AppState>,
    operator: Operator,
    Path(id): Path<String>,
    Form(form): Form<DecisionForm>,
) -> Answer {
    let (id, _) = find(&app, &id).await?;
    let decision = form.read()?;
    let decisions = vec![(id.package.clone(), decision)];
    let receipt = app.fleet.decide(id.agent, ids::batch_id(), operator.name.clone(), decisions, app.now()).await?;
    let rejection = receipt.rejections().next().map(|(_, rejection)| rejection.clone());
    match rejection {
        None => Ok(Redirect::to(&form.way_back(&id)).into_response()),
        Some(rejection) => {
            let (id, row) = find(&app, &id.to_string()).await?;
            answer(&app, &operator, &id, &row, Some(&rejection)).await
        }
    }
}

async fn find(app: &App, id: &str) -> Result<(UpdateId, UpdateRow), Problem> {
    let unknown = || Problem::not_found("no update has this address");
    let id: UpdateId = id.parse().map_err(|_| unknown())?;
    let row = app.fleet.store().update(&id).await?.ok_or_else(unknown)?;
    Ok((id, row))
}

async fn answer(app: &App, operator: &Operator, id: &UpdateId, row: &UpdateRow, rejection: Option<&Rejection>) -> Answer {
    let store = app.fleet.store();
    let (events, history) = (store.events(id).await?, store.history(id).await?);
    let (now, state) = (app.now(), &row.state);
    let digest = state.offer_digest().to_string();
    let (mut standing, standing_times) = standing(&state.standing, now);
    let command = update_command::find(app, id, &state.standing, &events).await?;
    if command.is_none() && state.status() == Status::Approved {
        standing.push(("Command", "none yet: it is planned when its agent asks for commands".to_owned()));
    }
    let status = if rejection.is_some() { StatusCode::CONFLICT } else { StatusCode::OK };
    let template = UpdatePage {
        frame: Frame::within(app, Place::Updates, operator).await?,
        conflict: rejection.map(conflict),
        row: UpdateView::new(row, now),
        candidate: Arc::clone(&state.offer.candidate),
        size: state.offer.candidate.size_bytes.map(text::size),
        short_digest: digest[..16].to_owned(),
        digest,
        discovered: When::seen_from(now, state.discovered_at),
        standing,
        standing_times,
        review: command.as_ref().filter(|_| state.status() == Status::NeedsReview).and_then(|record| Review::of(record, operator)),
        command: command.map(|record| CommandView::new(&row.agent_name, &record, now)),
        decisions: Decisions::of(state.status(), operator),
        signing: plan_view::signing(&app.settings.terms),
        timeline: life::timeline(id, &events, now),
        history: life::history(id.agent, &history, now),
    };
    page_with(status, &template)
}

fn conflict(rejection: &Rejection) -> Conflict {
    match rejection.code {
        RejectionCode::OfferChanged => Conflict {
            title: "The offer changed since you looked",
            detail: "Nothing was decided. Below is what is offered now: look at it, then decide.".to_owned(),
        },
        _ => Conflict { title: "Nothing was decided", detail: format!("{}.", rejection.message) },
    }
}

impl DecisionForm {
    fn read(&self) -> Result<Decision, Problem> {
        let offer_digest: OfferDigest = self.offer_digest.parse().map_err(|error| bad("offer_digest", &error))?;
        let comment = self.comment.trim();
        let comment =
            if comment.is_empty() { None } else { Some(Text::parse_as("comment", comment).map_err(|error| bad("comment", &error))?) };
        match self.decision.as_str() {
            "approve" => Ok(Decision::Approve { offer_digest, comment }),
            "withdraw-approval" => Ok(Decision::WithdrawApproval { comment }),
            "reopen" => Ok(Decision::Reopen { comment }),
            "ignore" => {
                let scope: IgnoreScope = self.scope.parse().map_err(|error| bad("scope", &error))?;
                Ok(Decision::Ignore {
                    offer_digest,
                    scope,
                    until: text::start_of_day(&self.until).map_err(|error| bad("until", &error))?,
                    reason: comment,
                })
            }
            other => Err(Problem::parameter("decision", format!("unknown decision {}", redflag_core::rejection::quoted(other)))),
        }
    }

    /// The row in the list the decision was made in, or the update's page. Only our own list is a way back.
    fn way_back(&self, id: &UpdateId) -> String {
        let ours = self.back == "/updates" || self.back.starts_with("/updates?");
        let plain = self.back.bytes().all(|byte| byte.is_ascii_graphic());
        if ours && plain { format!("{}#u-{id}", self.back) } else { format!("/updates/{id}") }
    }
}

fn bad(field: &'static str, error: &impl ToString) -> Problem {
    Problem::parameter(field, error.to_string())
}

type Facts = (Vec<(&'static str, String)>, Vec<(&'static str, When)>);

/// What belongs to the status: who, why, and the times.
fn standing(standing: &Standing, now: Timestamp) -> Facts {
    let mut facts: Vec<(&'static str, String)> = Vec::new();
    let mut times: Vec<(&'static str, When)> = Vec::new();
    let approval = match standing {
        Standing::Approved(approval) | Standing::NeedsReview { approval, .. } => Some(&**approval),
        Standing::Queued(dispatch) | Standing::Installing(dispatch) | Standing::Failed { dispatch, .. } => Some(&dispatch.approval),
        _ => None,
    };
    if let Some(approval) = approval {
        facts.push(("Approved by", text::actor(&approval.actor)));
        facts.extend(approval.comment.as_ref().map(|comment| ("Comment", comment.to_string())));
        times.push(("Approved", When::seen_from(now, approval.at)));
    }
    match standing {
        Standing::Pending | Standing::Approved(_) | Standing::Queued(_) | Standing::Installing(_) => {}
        Standing::Ignored(ignore) => {
            let scope = if ignore.scope == IgnoreScope::Package { "every version of the package" } else { "this version" };
            facts.push(("Ignored by", text::actor(&ignore.actor)));
            facts.push(("Covers", scope.to_owned()));
            facts.extend(ignore.reason.as_ref().map(|reason| ("Reason", reason.to_string())));
            times.push(("Ignored", When::seen_from(now, ignore.at)));
            times.extend(ignore.until.map(|until| ("Until", When::seen_from(now, until))));
        }
        Standing::NeedsReview { reason, .. } => facts.push(("Why", reason.to_string())),
        Standing::Installed { version, command } => {
            facts.push(("Version seen", version.to_string()));
            facts.push(("Cause", life::cause(*command)));
        }
        Standing::Failed { reason, .. } => facts.push(("Why", reason.to_string())),
        Standing::RolledBack { version, reason, .. } => {
            facts.push(("Why", reason.to_string()));
            facts.push(("Runs again", version.to_string()));
        }
        Standing::Withdrawn { reason } => facts.push(("Why", text::spaced(reason.as_str()))),
    }
    (facts, times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_list_is_a_way_back() {
        let agent = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3".parse().unwrap();
        let id = UpdateId { agent, package: redflag_core::names::PackageKey::parse("apt", "bash", None).unwrap() };
        let back = |back: &str| {
            let form = DecisionForm {
                decision: String::new(),
                offer_digest: String::new(),
                comment: String::new(),
                scope: String::new(),
                until: String::new(),
                back: back.to_owned(),
            };
            form.way_back(&id)
        };
        assert_eq!(back("/updates?page=2"), format!("/updates?page=2#u-{id}"));
        for elsewhere in ["", "https://evil.example", "//evil.example", "/updates/../x", "/updates?\r\nSet-Cookie: a=b"] {
            assert_eq!(back(elsewhere), format!("/updates/{id}"), "{elsewhere:?}");
        }
    }
}
