//! The accounts of operators, and making one.

use super::{
    frame::{Answer, Frame, Place, page, page_with},
    text::When,
};
use crate::{
    access::{self, ACCOUNT_NAME_BYTES_MAX, AccountName, Operator, Role, Standing, administration},
    app::{App, AppState},
    listing::no_parameters,
    problem::Problem,
};
use askama::Template;
use axum::{
    extract::{Form, State},
    http::{StatusCode, Uri},
    response::{IntoResponse as _, Redirect},
};
use serde::Deserialize;

/// An account as a row.
struct Row {
    name: String,
    href: String,
    role: Role,
    standing: &'static str,
    disabled: bool,
    made: When,
}

#[derive(Template)]
#[template(path = "users.html")]
struct UsersPage {
    frame: Frame,
    rows: Vec<Row>,
    total: u64,
    roles: &'static [Role],
    /// The name that was not taken.
    name: String,
    /// Why.
    failure: Option<String>,
    name_bytes_max: usize,
}

/// The address of an account.
pub(super) fn href(name: &AccountName) -> String {
    format!("/users/{name}")
}

/// How an account signs in, in words.
pub(super) fn standing(account: &access::Account) -> &'static str {
    match (account.standing, account.has_password()) {
        (Standing::Disabled, _) => "disabled",
        (Standing::Enabled, true) => "by password",
        (Standing::Enabled, false) => "by link only",
    }
}

/// `GET /users`.
pub(super) async fn list(State(app): State<AppState>, operator: Operator, uri: Uri) -> Answer {
    no_parameters(&uri)?;
    page(&of(&app, &operator).await?)
}

async fn of(app: &App, operator: &Operator) -> Result<UsersPage, Problem> {
    let accounts = access::accounts(app.fleet.store()).await?;
    let row = |account: &access::Account| Row {
        name: account.name.to_string(),
        href: href(&account.name),
        role: account.role,
        standing: standing(account),
        disabled: account.standing == Standing::Disabled,
        made: When::seen_from(app.now(), account.created_at),
    };
    Ok(UsersPage {
        frame: Frame::of(app, Place::Users, operator).await?,
        rows: accounts.iter().map(row).collect(),
        total: accounts.len() as u64,
        roles: Role::ALL,
        name: String::new(),
        failure: None,
        name_bytes_max: ACCOUNT_NAME_BYTES_MAX,
    })
}

/// What the form sends; the guard has checked the field `csrf`.
#[derive(Debug, Deserialize)]
pub(super) struct AccountForm {
    name: String,
    role: String,
}

/// `POST /users`: leads to the account made, where a link can be had for it.
pub(super) async fn add(State(app): State<AppState>, operator: Operator, Form(form): Form<AccountForm>) -> Answer {
    match made(&app, &operator, &form).await {
        Ok(account) => Ok(Redirect::to(&href(&account.name)).into_response()),
        Err(problem) if matches!(problem.status(), StatusCode::BAD_REQUEST | StatusCode::CONFLICT) => {
            let failure = Some(problem.detail().to_owned());
            page_with(problem.status(), &UsersPage { name: form.name, failure, ..of(&app, &operator).await? })
        }
        Err(problem) => Err(problem.into()),
    }
}

async fn made(app: &App, operator: &Operator, form: &AccountForm) -> Result<access::Account, Problem> {
    let name = form.name.trim().parse().map_err(|why: String| Problem::parameter("name", why))?;
    let role = form.role.parse().map_err(|why: String| Problem::parameter("role", why))?;
    administration::add(app, operator, name, role).await
}
