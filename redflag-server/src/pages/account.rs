//! The operator's own account: password, sessions, API tokens, which are shown once.

use super::{
    frame::{Answer, Frame, Place, page, page_with},
    problem::{asks_again, said_on},
    text::When,
};
use crate::{
    access::{self, ApiToken, Began, ClientAddress, NewApiToken, Operator, PASSWORD_CHARACTERS_MIN, Role, Scope, administration},
    api::{id::Id, own_account::token_options},
    app::{App, AppState},
    listing::no_parameters,
    problem::Problem,
};
use askama::Template;
use axum::{
    extract::{Form, State},
    http::{HeaderMap, Uri, header},
    response::{AppendHeaders, IntoResponse as _, Redirect},
};
use redflag_core::names::Text;
use serde::Deserialize;
use std::collections::BTreeSet;

/// For how many days a token can be made on the page.
const DAYS: [u32; 4] = [7, 30, 90, 366];
const DAYS_FIRST: u32 = 90;

/// An API token as a row.
#[derive(Clone, Debug)]
pub(super) struct TokenRow {
    pub(super) id: String,
    pub(super) label: String,
    pub(super) scopes: Vec<&'static str>,
    pub(super) expires: When,
    pub(super) last_used: Option<When>,
}

impl TokenRow {
    /// A row for each token.
    pub(super) fn of(app: &App, tokens: &[ApiToken]) -> Vec<Self> {
        let seen = |at| When::seen_from(app.now(), at);
        let row = |token: &ApiToken| Self {
            id: token.id.clone(),
            label: token.label.to_string(),
            scopes: token.scopes.iter().map(|scope| scope.as_str()).collect(),
            expires: seen(token.expires_at),
            last_used: token.last_used_at.map(seen),
        };
        tokens.iter().map(row).collect()
    }
}

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage {
    frame: Frame,
    role: Role,
    has_password: bool,
    /// Whether the password in force has to be given with a new one.
    asks_current: bool,
    characters_min: usize,
    second_factor: bool,
    sessions: u64,
    tokens: Vec<TokenRow>,
    /// A token just made.
    made: Option<String>,
    /// Why the last thing asked for was not done.
    failure: Option<String>,
    days: [u32; 4],
    days_first: u32,
    scopes: Vec<(Scope, &'static str)>,
}

/// `GET /account`.
pub(super) async fn show(State(app): State<AppState>, operator: Operator, uri: Uri) -> Answer {
    no_parameters(&uri)?;
    page(&of(&app, &operator).await?)
}

async fn of(app: &App, operator: &Operator) -> Result<AccountPage, Problem> {
    let store = app.fleet.store();
    // The guard has just read it, and accounts are never deleted.
    let account = access::account(store, &operator.account).await?.ok_or_else(Problem::unauthorized)?;
    let tokens = access::api_tokens(store, Some(&account.name)).await?;
    Ok(AccountPage {
        frame: Frame::of(app, Place::Account, operator).await?,
        role: account.role,
        has_password: account.has_password(),
        asks_current: account.has_password() && operator.began != Some(Began::Link),
        characters_min: PASSWORD_CHARACTERS_MIN,
        second_factor: account.has_second_factor(),
        sessions: access::sessions_of(store, &account, app.now()).await? as u64,
        tokens: TokenRow::of(app, &tokens),
        made: None,
        failure: None,
        days: DAYS,
        days_first: DAYS_FIRST,
        scopes: Scope::ALL.iter().map(|scope| (*scope, meaning(*scope))).collect(),
    })
}

fn meaning(scope: Scope) -> &'static str {
    match scope {
        Scope::Read => "see lists, objects and the feed",
        Scope::Decide => "approve, ignore and reopen updates",
        Scope::Command => "ask commands of hosts, call them off, accept plans",
        Scope::Enrol => "make enrolment tokens",
        Scope::Administer => "change accounts, remove agents",
    }
}

/// The page again, with why what was asked for was not done.
async fn refused(app: &App, operator: &Operator, problem: Problem) -> Answer {
    if !asks_again(&problem) {
        return Err(problem.into());
    }
    let failure = Some(problem.detail().to_owned());
    let shown = page_with(problem.status(), &AccountPage { failure, ..of(app, operator).await? })?;
    Ok(said_on(shown, problem))
}

/// What the form sends; the guard has checked the field `csrf`.
#[derive(Deserialize)]
pub(super) struct PasswordForm {
    #[serde(default)]
    current: String,
    new: String,
    again: String,
}

/// `POST /account/password`.
pub(super) async fn set_password(
    State(app): State<AppState>,
    operator: Operator,
    headers: HeaderMap,
    client: ClientAddress,
    Form(form): Form<PasswordForm>,
) -> Answer {
    if form.new != form.again {
        return refused(&app, &operator, Problem::parameter("again", "the two new passwords are not the same")).await;
    }
    match access::change_password(&app, &operator, &headers, client, &form.current, &form.new).await {
        Ok(cookie) => Ok((AppendHeaders([(header::SET_COOKIE, cookie)]), Redirect::to("/account")).into_response()),
        Err(problem) => refused(&app, &operator, problem).await,
    }
}

/// `POST /account/sign-out`: every session ends, this one too.
pub(super) async fn sign_out_everywhere(State(app): State<AppState>, operator: Operator, headers: HeaderMap) -> Answer {
    access::sign_out_everywhere(&app, &operator).await?;
    let cookie = access::sign_out(&app, &headers).await?;
    Ok((AppendHeaders([(header::SET_COOKIE, cookie)]), [access::CLEAR_SITE_DATA], Redirect::to("/sign-in")).into_response())
}

/// What the form sends; the guard has checked the field `csrf`. A box that is not ticked is not sent.
#[derive(Debug, Deserialize)]
pub(super) struct TokenForm {
    label: String,
    days: String,
    read: Option<String>,
    decide: Option<String>,
    command: Option<String>,
    enrol: Option<String>,
    administer: Option<String>,
}

impl TokenForm {
    fn scopes(&self) -> BTreeSet<Scope> {
        let ticked = |scope: &Scope| match scope {
            Scope::Read => self.read.is_some(),
            Scope::Decide => self.decide.is_some(),
            Scope::Command => self.command.is_some(),
            Scope::Enrol => self.enrol.is_some(),
            Scope::Administer => self.administer.is_some(),
        };
        Scope::ALL.iter().copied().filter(ticked).collect()
    }
}

/// `POST /account/tokens`: the token is in the answer and nowhere else.
pub(super) async fn make_token(State(app): State<AppState>, operator: Operator, Form(form): Form<TokenForm>) -> Answer {
    match made(&app, &operator, &form).await {
        Ok(token) => page(&AccountPage { made: Some(token.expose()), ..of(&app, &operator).await? }),
        Err(problem) => refused(&app, &operator, problem).await,
    }
}

async fn made(app: &App, operator: &Operator, form: &TokenForm) -> Result<NewApiToken, Problem> {
    let label = Text::parse_as("label", form.label.trim()).map_err(|error| Problem::parameter("label", error.message))?;
    let days = form.days.parse().map_err(|_| Problem::parameter("days", "is none of those offered"))?;
    administration::make_token(app, operator, token_options(operator, label, form.scopes(), days)?).await
}

/// `POST /account/tokens/{id}/revoke`.
pub(super) async fn revoke_token(State(app): State<AppState>, operator: Operator, Id(id): Id<String>) -> Answer {
    administration::revoke_token(&app, &operator, &operator.account, &id).await?;
    Ok(Redirect::to("/account").into_response())
}
