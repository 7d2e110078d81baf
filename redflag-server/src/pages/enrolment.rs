//! Enrolling hosts: the exact commands, the key to compare, and tokens, which are shown once.

use super::{
    commands::SignerView,
    frame::{Answer, Frame, Place, page},
    server_url,
    text::When,
};
use crate::{
    access::{self, EnrolmentTokenOptions, Operator, Role, administration},
    app::{App, AppState},
    listing::no_parameters,
    problem::Problem,
};
use askama::Template;
use axum::{
    extract::{Form, State},
    http::Uri,
};
use redflag_core::names::Text;
use serde::Deserialize;
use std::time::Duration;

/// The times for which a token can be made, in hours and in words.
const LIFETIMES: [(u32, &str); 5] = [(1, "1 hour"), (8, "8 hours"), (24, "1 day"), (168, "7 days"), (720, "30 days")];
const LIFETIME: u32 = 24;

/// How a host is enrolled: what the steps in `enrol.html` need.
#[derive(Clone, Debug)]
pub(super) struct Enrolment {
    pub(super) server: String,
    pub(super) signer: SignerView,
    /// A token just made.
    pub(super) token: Option<String>,
}

impl Enrolment {
    /// With a token that is still to be made.
    pub(super) fn at(app: &App) -> Self {
        Self { server: server_url(app), signer: SignerView::of(app), token: None }
    }
}

#[derive(Template)]
#[template(path = "enrolment.html")]
struct EnrolmentPage {
    frame: Frame,
    enrolment: Enrolment,
    made: Option<Made>,
    /// Whether the operator may make tokens.
    makes: bool,
    lifetimes: [(u32, &'static str); 5],
    lifetime: u32,
    seats_max: u32,
}

/// What a token just made allows.
struct Made {
    seats: u64,
    expires: When,
    label: Option<Text>,
}

/// `GET /enrol`.
pub(super) async fn show(State(app): State<AppState>, operator: Operator, uri: Uri) -> Answer {
    no_parameters(&uri)?;
    answer(&app, &operator, Enrolment::at(&app), None).await
}

async fn answer(app: &App, operator: &Operator, enrolment: Enrolment, made: Option<Made>) -> Answer {
    page(&EnrolmentPage {
        frame: Frame::within(app, Place::Agents, operator).await?,
        enrolment,
        made,
        makes: operator.role >= Role::Admin,
        lifetimes: LIFETIMES,
        lifetime: LIFETIME,
        seats_max: access::SEATS_MAX,
    })
}

/// What the form sends; the guard has checked the field `csrf`.
#[derive(Debug, Deserialize)]
pub(super) struct TokenForm {
    seats: String,
    hours: String,
    #[serde(default)]
    label: String,
}

impl TokenForm {
    fn read(&self) -> Result<EnrolmentTokenOptions, Problem> {
        let seats = self.seats.parse().ok().filter(|seats| (1..=access::SEATS_MAX).contains(seats));
        let seats = seats.ok_or_else(|| Problem::parameter("seats", format!("must be 1 to {}", access::SEATS_MAX)))?;
        let hours = LIFETIMES.iter().find(|(hours, _)| hours.to_string() == self.hours);
        let (hours, _) = hours.ok_or_else(|| Problem::parameter("hours", "is none of those offered"))?;
        let label = Some(self.label.trim()).filter(|label| !label.is_empty());
        let label =
            label.map(|label| Text::parse_as("label", label)).transpose().map_err(|error| Problem::parameter("label", error.message))?;
        Ok(EnrolmentTokenOptions { seats, expires_in: Duration::from_secs(u64::from(*hours) * 3_600), label })
    }
}

/// `POST /enrol`: the token is in the answer and nowhere else.
pub(super) async fn make(State(app): State<AppState>, operator: Operator, Form(form): Form<TokenForm>) -> Answer {
    let options = form.read()?;
    let (token, expires_at) = administration::make_enrolment_token(&app, &operator, options.clone()).await?;
    let enrolment = Enrolment { token: Some(token.expose().to_owned()), ..Enrolment::at(&app) };
    let expires = When::seen_from(expires_at.saturating_sub(options.expires_in), expires_at);
    let made = Made { seats: options.seats.into(), expires, label: options.label };
    answer(&app, &operator, enrolment, Some(made)).await
}
