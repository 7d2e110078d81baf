//! The second factor of the operator's own account: set up with an app, shown with its recovery codes once, and removed.

use super::{
    frame::{Answer, Frame, Place, page_with},
    problem::{asks_again, said_on},
    qr::QrCode,
};
use crate::{
    access::{self, Began, ClientAddress, FactorSecret, Operator, Wanted},
    app::{App, AppState},
    listing::no_parameters,
    problem::Problem,
};
use askama::Template;
use axum::{
    extract::{Form, State},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{AppendHeaders, IntoResponse as _, Redirect},
};
use serde::Deserialize;

#[derive(Template)]
#[template(path = "second_factor.html")]
struct SecondFactorPage {
    frame: Frame,
    /// Why the last thing asked for was not done.
    failure: Option<String>,
    /// Whether this server asks everybody for a second factor.
    required: bool,
    step: Step,
}

/// What there is to do.
enum Step {
    /// Nothing is set up.
    SetUp(Box<Offered>),
    /// It was just set up.
    Done { recovery_codes: Vec<String> },
    /// It is set up.
    Remove,
}

/// A secret for the app.
struct Offered {
    /// In groups of four, for who types it.
    grouped: String,
    secret: String,
    qr: QrCode,
    /// Whether the password in force has to be given.
    asks_current: bool,
}

impl Step {
    /// For an account without a second factor, its set-up with this secret or a new one.
    async fn of(app: &App, operator: &Operator, secret: Option<FactorSecret>) -> Result<Self, Problem> {
        // The guard has just read it, and accounts are never deleted.
        let account = access::account(app.fleet.store(), &operator.account).await?.ok_or_else(Problem::unauthorized)?;
        if account.has_second_factor() {
            return Ok(Self::Remove);
        }
        let secret = secret.unwrap_or_else(FactorSecret::new);
        let written = secret.base32();
        Ok(Self::SetUp(Box::new(Offered {
            grouped: written.as_bytes().chunks(4).map(String::from_utf8_lossy).collect::<Vec<_>>().join(" "),
            qr: QrCode::of(&secret.uri(&account.name))?,
            secret: written,
            asks_current: account.has_password() && operator.began != Some(Began::Link),
        })))
    }
}

async fn answer(app: &App, operator: &Operator, step: Step, problem: Option<Problem>) -> Answer {
    let status = problem.as_ref().map_or(StatusCode::OK, Problem::status);
    let template = SecondFactorPage {
        frame: Frame::of(app, Place::Account, operator).await?,
        failure: problem.as_ref().map(|problem| problem.detail().to_owned()),
        required: app.settings.second_factor_required,
        step,
    };
    let shown = page_with(status, &template)?;
    Ok(match problem {
        Some(problem) => said_on(shown, problem),
        None => shown,
    })
}

/// `GET /account/second-factor`: another secret each time, of which nothing is kept.
pub(super) async fn show(State(app): State<AppState>, operator: Operator, uri: Uri) -> Answer {
    no_parameters(&uri)?;
    let step = Step::of(&app, &operator, None).await?;
    answer(&app, &operator, step, None).await
}

/// What the form sends; the guard has checked the field `csrf`.
#[derive(Deserialize)]
pub(super) struct FactorForm {
    #[serde(default)]
    current: String,
    secret: String,
    code: String,
}

/// `POST /account/second-factor`: the recovery codes are in the answer and nowhere else.
pub(super) async fn set(
    State(app): State<AppState>,
    operator: Operator,
    headers: HeaderMap,
    client: ClientAddress,
    Form(form): Form<FactorForm>,
) -> Answer {
    let secret = FactorSecret::parse(&form.secret).map_err(|detail| Problem::parameter("secret", detail))?;
    let wanted = Wanted { current: &form.current, secret: secret.clone(), code: &form.code };
    match access::set_second_factor(&app, &operator, &headers, client, wanted).await {
        Ok((session, recovery_codes)) => {
            // The forms of this page are of the new session already.
            let operator = Operator { csrf: Some(session.csrf), ..operator };
            let shown = answer(&app, &operator, Step::Done { recovery_codes }, None).await?;
            Ok((AppendHeaders([(header::SET_COOKIE, session.cookie)]), shown).into_response())
        }
        Err(problem) if asks_again(&problem) => {
            let step = Step::of(&app, &operator, Some(secret)).await?;
            answer(&app, &operator, step, Some(problem)).await
        }
        Err(problem) => Err(problem.into()),
    }
}

/// What the form sends; the guard has checked the field `csrf`.
#[derive(Deserialize)]
pub(super) struct CodeForm {
    code: String,
}

/// `POST /account/second-factor/remove`.
pub(super) async fn remove(
    State(app): State<AppState>,
    operator: Operator,
    headers: HeaderMap,
    client: ClientAddress,
    Form(form): Form<CodeForm>,
) -> Answer {
    match access::remove_own_second_factor(&app, &operator, &headers, client, &form.code).await {
        Ok(cookie) => Ok((AppendHeaders([(header::SET_COOKIE, cookie)]), Redirect::to("/account")).into_response()),
        Err(problem) if asks_again(&problem) => {
            let step = Step::of(&app, &operator, None).await?;
            answer(&app, &operator, step, Some(problem)).await
        }
        Err(problem) => Err(problem.into()),
    }
}
