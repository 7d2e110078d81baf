//! What every request has to keep before a route is looked for: whence it may come, how long its address may be, and how its body is
//! delimited.

use super::client::{self, ClientAddress};
use crate::{
    app::{App, AppState},
    problem::Problem,
    settings::Transport,
};
use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use redflag_core::{audit::entry::By, rejection::quoted};

/// Most bytes of a request's path and query.
pub(crate) const URI_BYTES_MAX: usize = 16 * 1024;
/// How a listed proxy says by which scheme a client came to it.
const FORWARDED_PROTO: &str = "x-forwarded-proto";

/// Answers a request that does not keep the rules; a connection is closed after it.
pub(crate) async fn rules(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match refusal(&app, &parts) {
        None => next.run(Request::from_parts(parts, body)).await,
        Some(problem) => {
            let route = quoted(&format!("{} {}", parts.method, parts.uri.path()));
            app.told.refusal(ClientAddress::of(&app, &parts), &By::Stranger, &route, &problem);
            let mut response = problem.into_response();
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            response
        }
    }
}

fn refusal(app: &App, parts: &Parts) -> Option<Problem> {
    let uri = &parts.uri;
    if uri.path().len() + uri.query().map_or(0, str::len) > URI_BYTES_MAX {
        return Some(Problem::new(StatusCode::URI_TOO_LONG, "uri_too_long", format!("more than the limit of {URI_BYTES_MAX} bytes")));
    }
    // With no second way to say where a body ends, no two programs on the way can disagree about it; and what a body will cost is known
    // before it is read.
    if parts.headers.contains_key(header::TRANSFER_ENCODING) {
        return Some(Problem::new(
            StatusCode::LENGTH_REQUIRED,
            "length_required",
            "a body needs a content-length; chunks are not read here",
        ));
    }
    match app.settings.transport {
        Transport::BehindTlsProxy => plain_http(app, parts),
        Transport::PlainLoopback | Transport::Tls(_) => None,
    }
}

/// Refuses what came over a network without encryption: past the proxy that ends TLS, or to it in plain HTTP.
fn plain_http(app: &App, parts: &Parts) -> Option<Problem> {
    let peer = client::peer(parts)?;
    let listed = app.settings.trusted_proxies.iter().any(|proxy| proxy.contains(peer));
    if !listed && !peer.is_loopback() {
        return Some(Problem::forbidden("plain_http", format!("{peer} is no listed proxy, and plain HTTP is taken from no other")));
    }
    let scheme = parts.headers.get(FORWARDED_PROTO).filter(|_| listed)?;
    let encrypted = scheme.as_bytes().eq_ignore_ascii_case(b"https");
    (!encrypted).then(|| Problem::forbidden("plain_http", format!("the proxy was reached by {scheme:?}, not https")))
}
