//! Problems as pages: what is wrong, and what to do next.

use crate::problem::Problem;
use askama::Template;
use axum::{
    http::{StatusCode, header},
    response::{AppendHeaders, Html, IntoResponse, Response},
};

/// A problem that is answered with a page.
#[derive(Clone, Debug)]
pub(crate) struct PageProblem(Problem);

impl<P: Into<Problem>> From<P> for PageProblem {
    fn from(problem: P) -> Self {
        Self(problem.into())
    }
}

/// Whether the form that was sent can say why nothing was done, and ask again.
pub(super) const fn asks_again(problem: &Problem) -> bool {
    matches!(problem.status(), StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN | StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS)
}

/// A page that says the problem in words of its own, with the time after which another try makes sense.
pub(crate) fn said_on(page: impl IntoResponse, problem: Problem) -> Response {
    let retry_after = problem.retry_after_seconds().map(|seconds| AppendHeaders([(header::RETRY_AFTER, seconds)]));
    problem.left_with((retry_after, page).into_response())
}

/// `problem` as a page, for what is refused before a page's handler runs.
pub(crate) fn problem_page(problem: Problem) -> Response {
    PageProblem(problem).into_response()
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage {
    title: &'static str,
    detail: String,
    advice: &'static str,
    back: &'static str,
    back_title: &'static str,
}

impl IntoResponse for PageProblem {
    fn into_response(self) -> Response {
        let status = self.0.status();
        let (title, advice) = words(status);
        let detail = match self.0.named() {
            Some(parameter) => format!("The parameter {parameter}: {}.", self.0.detail()),
            None => sentence(self.0.detail()),
        };
        let page = ProblemPage { title, detail, advice, back: "/", back_title: "Go to the overview" };
        match page.render() {
            Ok(html) => said_on((status, Html(html)), self.0),
            Err(_) => self.0.into_response(),
        }
    }
}

fn words(status: StatusCode) -> (&'static str, &'static str) {
    match status {
        StatusCode::BAD_REQUEST => ("This address cannot be read", "Correct it in the address bar, or start again."),
        StatusCode::NOT_FOUND => ("Nothing here", "It may have been removed, or the address is wrong."),
        StatusCode::GONE => ("No longer kept", "Retention has taken that part of the log; later parts are there."),
        StatusCode::FORBIDDEN => ("Not allowed", "Ask an administrator for a role that may do this, or sign in again."),
        StatusCode::CONFLICT => ("Not done", "Something changed in the meantime: look at it again, then decide."),
        StatusCode::UNPROCESSABLE_ENTITY | StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            ("This form cannot be read", "Go back, load the page anew, and send it again.")
        }
        StatusCode::PAYLOAD_TOO_LARGE => ("Too much at once", "Go back, and send less."),
        StatusCode::REQUEST_TIMEOUT => ("It took too long", "Look whether it was done, then try again."),
        StatusCode::SERVICE_UNAVAILABLE => ("The database does not answer", "Nothing is lost. Try again in a few seconds."),
        _ => ("Something went wrong", "The server's log says more."),
    }
}

fn sentence(fragment: &str) -> String {
    let mut characters = fragment.chars();
    let first = characters.next().map(|first| first.to_uppercase().collect::<String>()).unwrap_or_default();
    format!("{first}{}.", characters.as_str())
}
