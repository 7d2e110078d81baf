//! The operator of a request, by session or by API token: exactly one of them.

use super::{
    account::AccountName,
    api_tokens,
    role::{Role, Scope},
    sessions::{self, Began, Presented},
};
use crate::{
    app::{App, AppState},
    problem::Problem,
};
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use redflag_core::{audit::entry::By, names::Text, time::Timestamp};

/// The operator of a request.
///
/// As an extractor it is there on routes with [`super::Policy::Operator`] and [`super::Policy::Person`] only.
#[derive(Clone, Debug)]
pub struct Operator {
    /// The account's name, as decisions record it.
    pub name: Text,
    /// What the operator may do.
    pub role: Role,
    /// The session's CSRF token, for the field `csrf` of forms and the header `x-csrf-token`; none with an API token, which no browser
    /// sends by itself.
    pub csrf: Option<String>,
    /// How the session began; none with an API token.
    pub began: Option<Began>,
    /// When the session or the API token ends; a session that nobody uses ends before ([`super::SESSION_IDLE_MAX`]).
    pub expires_at: Timestamp,
    /// The account.
    pub account: AccountName,
    /// Whether the account has a second factor.
    pub second_factor: bool,
}

impl Operator {
    /// Who it is, as the audit log says it.
    #[must_use]
    pub fn by(&self) -> By {
        By::Operator { name: self.name.clone() }
    }
}

impl FromRequestParts<AppState> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _app: &AppState) -> Result<Self, Problem> {
        parts.extensions.get().cloned().ok_or_else(Problem::unauthorized)
    }
}

/// The operator whose credential a request brings, for a route that API tokens reach by `scope`, or not at all.
///
/// # Errors
/// 400 for more than one credential, 401 without one that holds, 403 for an API token that does not reach that far, 503 when the store
/// fails.
pub(super) async fn authenticate(app: &App, headers: &HeaderMap, scope: Option<Scope>) -> Result<Operator, Problem> {
    let session = sessions::presented(&app.settings, headers);
    match (bearer(headers)?, session) {
        (Some(token), Presented::Nothing) => api_tokens::authenticate(app, token, scope).await,
        (Some(_), _) => Err(ambiguous("an API token and a session cookie")),
        (None, Presented::One(id)) => {
            let session = sessions::authenticate(app, &id).await?;
            session.ok_or_else(|| Problem::unauthorized().because("the session is unknown or has ended"))
        }
        (None, Presented::Nothing) => Err(Problem::unauthorized().because("it brings no credential")),
        (None, Presented::Wrong) => Err(Problem::unauthorized().because("its cookie is no session's")),
    }
}

/// The token in `Authorization`. Other schemes belong to proxies in front, and are nothing to us.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), another) = (values.next(), values.next()) else { return Ok(None) };
    if another.is_some() {
        return Err(ambiguous("two Authorization headers"));
    }
    let value = value.to_str().map_err(|_| Problem::unauthorized())?;
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    Ok(scheme.eq_ignore_ascii_case("bearer").then_some(token))
}

fn ambiguous(what: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "two_credentials", format!("a request brings one credential, not {what}"))
}
