//! Signing in and out. Opening a sign-in link has no effect: its page has one button, and only pressing it consumes the link, so
//! that a mail scanner or a preview cannot. The link's token stands behind a `#`, which browsers send to nobody: no log on the way has it.

use crate::{
    access::{self, ByLink, ClientAddress, Operator, Policy, PolicyRouter, Role},
    app::{App, AppState},
    audit::refusals,
    pages::{self, Door, PageProblem},
    problem::Problem,
};
use axum::{
    extract::{Form, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use redflag_core::audit::{AuditKind, entry::Note};
use serde::Deserialize;
use std::fmt;

/// Registers the routes.
pub(crate) fn routes(router: PolicyRouter) -> PolicyRouter {
    router.get("/sign-in", Policy::Public, show).post("/sign-in", Policy::Public, sign_in).post(
        "/sign-out",
        Policy::Person(Role::Viewer),
        sign_out,
    )
}

/// What the forms of the page send: the token of a link, or a name and a password; and a code, which only a second factor needs.
#[derive(Default, Deserialize)]
#[serde(default)]
struct SignIn {
    token: Option<String>,
    name: String,
    password: String,
    code: String,
}

impl fmt::Debug for SignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignIn(…)")
    }
}

async fn show() -> Response {
    pages::sign_in_page(StatusCode::OK, Door::Closed)
}

async fn sign_in(
    State(app): State<AppState>,
    headers: HeaderMap,
    client: ClientAddress,
    Form(form): Form<SignIn>,
) -> Result<Response, PageProblem> {
    access::same_origin(&app, &headers)?;
    let tried = match form.token {
        Some(token) => by_link(&app, &headers, client, token, &form.code).await,
        None => {
            let signed_in = access::sign_in_by_password(&app, &headers, client, &form.name, &form.password, &form.code).await;
            signed_in.map(|signed_in| signed_in.ok_or_else(|| Door::Wrong { name: form.name.clone() }))
        }
    };
    match tried {
        Ok(Ok(cookie)) => Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response()),
        // Nobody was refused who is only asked for the next thing.
        Ok(Err(door @ Door::Code { wrong: false, .. })) => Ok(pages::sign_in_page(StatusCode::OK, door)),
        Ok(Err(door)) => {
            refusals::refused(&app).await?;
            Ok(pages::sign_in_page(StatusCode::UNAUTHORIZED, door))
        }
        Err(problem) if problem.status() == StatusCode::TOO_MANY_REQUESTS => {
            refusals::refused(&app).await?;
            Ok(limited(problem, form.name))
        }
        Err(problem) => Err(problem.into()),
    }
}

/// The cookie of a session, or before which door one stands.
async fn by_link(
    app: &App,
    headers: &HeaderMap,
    client: ClientAddress,
    token: String,
    code: &str,
) -> Result<Result<String, Door>, Problem> {
    Ok(match access::sign_in_by_link(app, headers, client, &token, code).await? {
        ByLink::SignedIn(cookie) => Ok(cookie),
        ByLink::WantsCode => Err(Door::Code { token, wrong: false }),
        ByLink::WrongCode => Err(Door::Code { token, wrong: true }),
        ByLink::Unusable => Err(Door::Used),
    })
}

fn limited(problem: Problem, name: String) -> Response {
    let seconds = problem.retry_after_seconds().unwrap_or_default();
    let page = pages::sign_in_page(problem.status(), Door::Limited { name, seconds });
    pages::said_on(page, problem)
}

async fn sign_out(State(app): State<AppState>, operator: Operator, headers: HeaderMap) -> Result<Response, PageProblem> {
    let cookie = access::sign_out(&app, &headers).await?;
    app.audit.note(Note::new(AuditKind::SignedOut, operator.by(), app.now())).await?;
    tracing::info!(account = operator.name.as_str(), "signed out");
    Ok(([(header::SET_COOKIE, cookie)], [access::CLEAR_SITE_DATA], Redirect::to("/sign-in")).into_response())
}
