//! One account, as administrators see it: role, standing, links, API tokens.

use super::{
    account::TokenRow,
    frame::{Answer, Frame, Place, page},
    server_url,
    text::When,
    users,
};
use crate::{
    access::{self, AccountError, AccountName, Operator, Role, Standing, administration},
    api::id::{Id, Ids},
    app::{App, AppState},
    listing::no_parameters,
    problem::Problem,
};
use askama::Template;
use axum::{
    extract::{Form, State},
    http::Uri,
    response::{IntoResponse as _, Redirect},
};
use serde::Deserialize;

#[derive(Template)]
#[template(path = "user.html")]
struct UserPage {
    frame: Frame,
    name: AccountName,
    href: String,
    role: Role,
    standing: &'static str,
    disabled: bool,
    second_factor: bool,
    /// Whether it is the operator's own, of which nobody changes role and standing.
    own: bool,
    made: When,
    roles: &'static [Role],
    tokens: Vec<TokenRow>,
    sessions: u64,
    /// A link just made.
    link: Option<Link>,
}

/// A link just made.
struct Link {
    url: String,
    expires: When,
}

/// `GET /users/{name}`.
pub(super) async fn show(State(app): State<AppState>, operator: Operator, Id(name): Id<AccountName>, uri: Uri) -> Answer {
    no_parameters(&uri)?;
    page(&of(&app, &operator, name).await?)
}

async fn of(app: &App, operator: &Operator, name: AccountName) -> Result<UserPage, Problem> {
    let store = app.fleet.store();
    let account = access::account(store, &name).await?.ok_or(AccountError::Unknown(name))?;
    let tokens = access::api_tokens(store, Some(&account.name)).await?;
    Ok(UserPage {
        frame: Frame::within(app, Place::Users, operator).await?,
        href: users::href(&account.name),
        role: account.role,
        standing: users::standing(&account),
        disabled: account.standing == Standing::Disabled,
        second_factor: account.has_second_factor(),
        own: account.name == operator.account,
        made: When::seen_from(app.now(), account.created_at),
        roles: Role::ALL,
        tokens: TokenRow::of(app, &tokens),
        sessions: access::sessions_of(store, &account, app.now()).await? as u64,
        link: None,
        name: account.name,
    })
}

/// What the form sends; the guard has checked the field `csrf`.
#[derive(Debug, Deserialize)]
pub(super) struct RoleForm {
    role: String,
}

/// `POST /users/{name}/role`.
pub(super) async fn set_role(
    State(app): State<AppState>,
    operator: Operator,
    Id(name): Id<AccountName>,
    Form(form): Form<RoleForm>,
) -> Answer {
    let role = form.role.parse().map_err(|why: String| Problem::parameter("role", why))?;
    back(&administration::change_role(&app, &operator, &name, role).await?.name)
}

/// `POST /users/{name}/disable`.
pub(super) async fn disable(State(app): State<AppState>, operator: Operator, Id(name): Id<AccountName>) -> Answer {
    back(&administration::change_standing(&app, &operator, &name, Standing::Disabled).await?.name)
}

/// `POST /users/{name}/enable`.
pub(super) async fn enable(State(app): State<AppState>, operator: Operator, Id(name): Id<AccountName>) -> Answer {
    back(&administration::change_standing(&app, &operator, &name, Standing::Enabled).await?.name)
}

/// `POST /users/{name}/remove-second-factor`.
pub(super) async fn remove_second_factor(State(app): State<AppState>, operator: Operator, Id(name): Id<AccountName>) -> Answer {
    back(&administration::remove_second_factor(&app, &operator, &name).await?.name)
}

/// `POST /users/{name}/link`: the link is in the answer and nowhere else.
pub(super) async fn link(State(app): State<AppState>, operator: Operator, Id(name): Id<AccountName>) -> Answer {
    let link = administration::link(&app, &operator, &name).await?;
    let link = Link { url: link.url(&server_url(&app)), expires: When::seen_from(app.now(), link.expires_at) };
    page(&UserPage { link: Some(link), ..of(&app, &operator, name).await? })
}

/// `POST /users/{name}/tokens/{id}/revoke`.
pub(super) async fn revoke_token(State(app): State<AppState>, operator: Operator, Ids(name, id): Ids<AccountName, String>) -> Answer {
    administration::revoke_token(&app, &operator, &name, &id).await?;
    back(&name)
}

fn back(name: &AccountName) -> Answer {
    Ok(Redirect::to(&users::href(name)).into_response())
}
