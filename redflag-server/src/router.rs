//! The whole application as one router: routes behind their guards, and what every answer carries.

use crate::{
    access::{PolicyRouter, RouteEntry, entrance},
    api,
    app::AppState,
    pages,
    problem::Problem,
    sign_in,
};
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::{HeaderName, HeaderValue, StatusCode, Uri, header},
    middleware,
    response::{IntoResponse, Response},
};
use std::any::Any;
use tower_http::{catch_panic::CatchPanicLayer, set_header::SetResponseHeaderLayer, trace::TraceLayer};
use tracing::Span;

const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; \
     connect-src 'self'; object-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// For a year, browsers come by TLS or not at all, to names below the server's own as well: a neighbour there could plant cookies.
const STRICT_TRANSPORT_SECURITY: &str = "max-age=31536000; includeSubDomains";

/// The application, ready to be served.
pub fn router(app: &AppState) -> Router {
    let routes = routes(app).into_router().fallback(unknown_path).method_not_allowed_fallback(wrong_method);
    let always = |name: HeaderName, value: &'static str| SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value));
    let strict_transport = app.settings.transport.encrypted().then(|| HeaderValue::from_static(STRICT_TRANSPORT_SECURITY));
    let unless_set = |name: HeaderName, value: &'static str| SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value));
    routes
        .with_state(AppState::clone(app))
        // The guards read bodies within limits of their own, of bytes and of time.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(AppState::clone(app), entrance::rules))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(always(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY))
        .layer(always(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        // Not `no-referrer`: browsers then send `Origin: null` with forms, and the guard could not tell them from another site's.
        .layer(always(header::REFERRER_POLICY, "same-origin"))
        // Other sites hold no window of ours, and embed nothing of it.
        .layer(always(HeaderName::from_static("cross-origin-opener-policy"), "same-origin"))
        .layer(always(HeaderName::from_static("cross-origin-resource-policy"), "same-origin"))
        .layer(SetResponseHeaderLayer::overriding(header::STRICT_TRANSPORT_SECURITY, strict_transport))
        .layer(unless_set(header::CACHE_CONTROL, "no-store"))
        .layer(TraceLayer::new_for_http().make_span_with(span))
}

/// Every route with its policy, as data.
#[must_use]
pub fn table(app: &AppState) -> Vec<RouteEntry> {
    routes(app).table().to_vec()
}

fn routes(app: &AppState) -> PolicyRouter {
    let router = PolicyRouter::new(AppState::clone(app));
    pages::routes(sign_in::routes(api::routes(router)))
}

/// What the log says of a request. No query: people search for what they would not have logged.
fn span(request: &Request) -> Span {
    tracing::debug_span!("request", method = %request.method(), path = request.uri().path())
}

async fn unknown_path(uri: Uri) -> Response {
    let problem = Problem::not_found(format!("nothing at {}", redflag_core::rejection::quoted(uri.path())));
    if uri.path().starts_with("/api/") { problem.into_response() } else { pages::problem_page(problem) }
}

async fn wrong_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this method is not possible here")
}

fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let words = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    Problem::internal(&std::io::Error::other(words.unwrap_or("a panic without words").to_owned())).into_response()
}
