//! Signing in and out. Opening a sign-in link has no effect: its page has one button, and only pressing it consumes the link, so
//! that a mail scanner or a preview cannot.

use crate::{
    access::{self, Operator, Policy, PolicyRouter, Role},
    app::AppState,
    pages,
    problem::Problem,
};
use axum::{
    extract::{Form, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use serde::Deserialize;

/// Registers the routes.
pub(crate) fn routes(router: PolicyRouter) -> PolicyRouter {
    router.get("/sign-in", Policy::Public, show).post("/sign-in", Policy::Public, sign_in).post(
        "/sign-out",
        Policy::Operator(Role::Viewer),
        sign_out,
    )
}

#[derive(Debug, Deserialize)]
struct Link {
    token: Option<String>,
}

async fn show(Query(link): Query<Link>) -> Response {
    pages::sign_in_page(StatusCode::OK, link.token.as_deref(), None)
}

async fn sign_in(State(app): State<AppState>, headers: HeaderMap, Form(link): Form<Link>) -> Result<Response, Problem> {
    access::same_origin(&app, &headers)?;
    match access::sign_in(&app, link.token.as_deref().unwrap_or_default()).await? {
        Some(cookie) => Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response()),
        None => Ok(pages::sign_in_page(StatusCode::UNAUTHORIZED, None, Some("This link is unknown, used or expired."))),
    }
}

async fn sign_out(State(app): State<AppState>, operator: Operator, headers: HeaderMap) -> Result<Response, Problem> {
    let cookie = access::sign_out(&app, &headers).await?;
    tracing::info!(operator = operator.name.as_str(), "an operator signed out");
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/sign-in")).into_response())
}
