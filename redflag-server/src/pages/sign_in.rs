//! The sign-in page, which is shown without a session.

use crate::{access::ACCOUNT_NAME_BYTES_MAX, problem::Problem};
use askama::Template;
use axum::{
    http::StatusCode,
    response::{Html, IntoResponse, Response},
};

/// Who stands at the door.
pub(crate) enum Door {
    /// Somebody with a link of an account that has a second factor.
    Code {
        /// Its token.
        token: String,
        /// Whether a code came that does not hold.
        wrong: bool,
    },
    /// Somebody whose link did not open.
    Used,
    /// Nobody known yet.
    Closed,
    /// Somebody whose name and password did not open.
    Wrong {
        /// The name.
        name: String,
    },
    /// Somebody who has to wait.
    Limited {
        /// The name.
        name: String,
        /// How long, in seconds.
        seconds: u64,
    },
}

impl Door {
    fn name(&self) -> &str {
        match self {
            Self::Wrong { name } | Self::Limited { name, .. } => name,
            Self::Closed | Self::Used | Self::Code { .. } => "",
        }
    }

    /// Whether nothing but a code is asked for.
    const fn wants_code(&self) -> bool {
        matches!(self, Self::Code { .. })
    }
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    door: Door,
    name_bytes_max: usize,
}

/// The sign-in page: a form for name and password, one for the token of a link, and one that the page's module shows to who
/// opened a link.
pub(crate) fn sign_in_page(status: StatusCode, door: Door) -> Response {
    match (SignInPage { door, name_bytes_max: ACCOUNT_NAME_BYTES_MAX }).render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => Problem::internal(&error).into_response(),
    }
}
