//! Pages for people (to be filled in): the routes of the pages, and the sign-in page that `crate::sign_in` shows.

use crate::access::PolicyRouter;
use axum::{
    http::StatusCode,
    response::{Html, IntoResponse, Response},
};

/// Registers the pages; every one with its policy.
pub(crate) fn routes(router: PolicyRouter) -> PolicyRouter {
    router
}

/// The sign-in page: with `token` one button that posts it to `/sign-in` (field `token`), without it how to get a link;
/// `problem` says why the last try failed. It must be rendered without a session.
pub(crate) fn sign_in_page(status: StatusCode, token: Option<&str>, problem: Option<&str>) -> Response {
    // Only characters of our own secrets get into the page.
    let token = token.filter(|token| token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
    let button = token.map_or(String::new(), |token| {
        format!(
            r#"<form method="post" action="/sign-in"><input type="hidden" name="token" value="{token}"><button>Sign in</button></form>"#
        )
    });
    let problem = problem.unwrap_or_default();
    (status, Html(format!("<!doctype html><title>Sign in</title><p>{problem}</p>{button}"))).into_response()
}
