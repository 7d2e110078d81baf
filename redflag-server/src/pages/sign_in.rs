//! The sign-in page, which is shown without a session.

use crate::problem::Problem;
use askama::Template;
use axum::{
    http::StatusCode,
    response::{Html, IntoResponse, Response},
};

/// What stands at the door.
#[derive(Clone, Debug)]
pub(crate) enum Door {
    /// Somebody with a link.
    Link {
        /// Its token.
        token: String,
    },
    /// Somebody whose link did not open.
    Used,
    /// Somebody without a link.
    Closed,
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    door: Door,
}

/// The sign-in page: with `token` one button that posts it to `/sign-in` (field `token`), without it how to get a link;
/// `problem` says that the last try failed.
pub(crate) fn sign_in_page(status: StatusCode, token: Option<&str>, problem: Option<&str>) -> Response {
    let door = match (token, problem) {
        (_, Some(_)) => Door::Used,
        (Some(token), None) => Door::Link { token: token.to_owned() },
        (None, None) => Door::Closed,
    };
    match (SignInPage { door }).render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => Problem::internal(&error).into_response(),
    }
}
