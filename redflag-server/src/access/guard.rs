//! The guard in front of every handler: credential first, then the body within its limit, then the CSRF token.

use super::{
    client::ClientAddress,
    operator,
    policy::{Policy, RouteEntry, Surface},
    role::{Role, Scope},
    signature,
};
use crate::{app::AppState, pages, problem::Problem};
use axum::{
    body::{Body, Bytes, HttpBody as _},
    extract::Request,
    http::{HeaderMap, Method, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use redflag_core::{audit::entry::By, signing};
use std::{error::Error, io, sync::Arc, time::Instant};
use subtle::ConstantTimeEq;

/// The header in which scripts send the CSRF token; forms send it in the field `csrf`.
const CSRF_HEADER: &str = "x-csrf-token";
/// The code of the problem of who has to set up a second factor first.
const NEEDS_SECOND_FACTOR: &str = "second_factor_needed";
/// Most bytes of the words of axum that a problem repeats.
const REFUSAL_BYTES_MAX: usize = 4_096;

/// Lets a request through to its handler, with the identity its credential proved, or answers it; all within its time.
pub(super) async fn guard(app: AppState, entry: Arc<RouteEntry>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let (parts, body) = request.into_parts();
    let client = ClientAddress::of(&app, &parts);
    let mut by = By::Stranger;
    let response = guarded(&app, &entry, Request::from_parts(parts, body), next, &mut by).await;
    app.metrics.answered(entry.policy, response.status(), began.elapsed());
    if let Some(problem) = Problem::said_by(&response) {
        app.told.refusal(client, &by, &format!("{} {}", entry.method, entry.path), problem);
    }
    response
}

/// Answers a request, and says who it was of once its credential has proved that.
async fn guarded(app: &AppState, entry: &RouteEntry, request: Request, next: Next, by: &mut By) -> Response {
    let limit = app.settings.limits.request_timeout;
    let answer = async { told_as_it_should(entry, next.run(admit(app, entry, request, by).await?).await).await };
    let late = |_| Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", format!("the request took longer than {limit:?}"));
    match tokio::time::timeout(limit, answer).await.map_err(late).flatten() {
        Ok(response) => response,
        Err(problem) if problem.status() == StatusCode::UNAUTHORIZED && for_people(entry) => Redirect::to("/sign-in").into_response(),
        Err(problem) if problem.code() == NEEDS_SECOND_FACTOR && for_people(entry) => Redirect::to(pages::SECOND_FACTOR).into_response(),
        Err(problem) if entry.surface() == Surface::Page => pages::problem_page(problem),
        Err(problem) => problem.into_response(),
    }
}

/// Gives back as a problem what was refused without the words of this surface: what an extractor of axum refuses (a form that cannot be
/// read, a path that is no UTF-8), which is plain text as no refusal of our own is; and on pages for people, what is said in JSON. Done
/// here, no handler can forget it.
async fn told_as_it_should(entry: &RouteEntry, mut response: Response) -> Result<Response, Problem> {
    if for_people(entry)
        && let Some(problem) = response.extensions_mut().remove::<Problem>()
    {
        return Err(problem);
    }
    let status = response.status();
    let plain = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if !plain || !(status.is_client_error() || status.is_server_error()) {
        return Ok(response);
    }
    let words = axum::body::to_bytes(response.into_body(), REFUSAL_BYTES_MAX).await.unwrap_or_default();
    let words = String::from_utf8_lossy(&words).into_owned();
    Err(match status {
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Problem::new(status, "content_type", words),
        _ if status.is_client_error() => Problem::new(status, "unreadable", words),
        _ => Problem::internal(&io::Error::other(words)),
    })
}

/// Whether it is a page for who is signed in; who is not is sent to the sign-in page.
fn for_people(entry: &RouteEntry) -> bool {
    entry.surface() == Surface::Page && matches!(entry.policy, Policy::Operator(..) | Policy::Person(_))
}

async fn admit(app: &AppState, entry: &RouteEntry, request: Request, by: &mut By) -> Result<Request, Problem> {
    let (mut parts, body) = request.into_parts();
    let limits = app.settings.limits;
    match entry.policy {
        Policy::Public => {
            let body = bounded(&parts.headers, body, limits.body_bytes_max).await?;
            Ok(Request::from_parts(parts, Body::from(body)))
        }
        Policy::Agent => {
            // The signature covers the digest of the body, so a stranger's body is never read.
            let credential = signature::verify(app, &parts).await?;
            *by = By::Agent { agent: credential.agent };
            // As long as it says it is; the server's own connections take none that does not say.
            app.quotas.admit(credential.agent, body.size_hint().upper().unwrap_or(limits.report_bytes_max as u64))?;
            let body = bounded(&parts.headers, body, limits.report_bytes_max).await?;
            let claimed = parts.headers.get(signing::CONTENT_DIGEST).map(|value| value.as_bytes());
            if claimed != Some(signing::content_digest(&body).as_bytes()) {
                return Err(Problem::unauthorized().because("the body is not the one that was signed"));
            }
            parts.extensions.insert(credential);
            Ok(Request::from_parts(parts, Body::from(body)))
        }
        Policy::Operator(role, scope) => admit_operator(app, entry, (role, Some(scope)), parts, body, by).await,
        Policy::Person(role) => admit_operator(app, entry, (role, None), parts, body, by).await,
    }
}

async fn admit_operator(
    app: &AppState,
    entry: &RouteEntry,
    (role, scope): (Role, Option<Scope>),
    mut parts: Parts,
    body: Body,
    by: &mut By,
) -> Result<Request, Problem> {
    let operator = operator::authenticate(app, &parts.headers, scope).await?;
    *by = operator.by();
    let lacks_factor = operator.csrf.is_some() && !operator.second_factor;
    if app.settings.second_factor_required && lacks_factor && !entry.before_second_factor() {
        return Err(Problem::forbidden(NEEDS_SECOND_FACTOR, "this server asks everybody for a second factor: set one up at your account"));
    }
    if operator.role < role {
        return Err(Problem::forbidden("role", format!("this needs the role {role}; {} is a {}", operator.name, operator.role)));
    }
    let body = bounded(&parts.headers, body, app.settings.limits.body_bytes_max).await?;
    if let Some(token) = operator.csrf.as_deref().filter(|_| parts.method != Method::GET && parts.method != Method::HEAD) {
        same_origin(app, &parts.headers)?;
        csrf(token, &parts.headers, &body)?;
    }
    parts.extensions.insert(operator);
    Ok(Request::from_parts(parts, Body::from(body)))
}

/// Reads a body of at most `bytes_max`, and nothing of one that says it is longer.
async fn bounded(headers: &HeaderMap, body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", format!("more than the limit of {bytes_max} bytes"));
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
        let message = format!("content-encoding {encoding:?} is not read here");
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_encoding", message));
    }
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > bytes_max as u64) {
        return Err(too_large());
    }
    axum::body::to_bytes(body, bytes_max).await.map_err(|error| {
        let over_limit = error.source().is_some_and(|source| source.is::<http_body_util::LengthLimitError>());
        if over_limit { too_large() } else { Problem::new(StatusCode::BAD_REQUEST, "body_cut_off", "the body ended early") }
    })
}

/// Refuses a mutation that another site may have caused: a browser says where a request comes from, in `Origin` or
/// `Sec-Fetch-Site`; one of them must, and none may say otherwise.
pub(crate) fn same_origin(app: &AppState, headers: &HeaderMap) -> Result<(), Problem> {
    let refused = |detail: String| Err(Problem::forbidden("cross_site", detail));
    let site = headers.get("sec-fetch-site");
    if let Some(site) = site.filter(|site| *site != "same-origin") {
        return refused(format!("sec-fetch-site is {site:?}, not same-origin"));
    }
    let Some(origin) = headers.get(header::ORIGIN) else {
        return if site.is_some() { Ok(()) } else { refused("neither origin nor sec-fetch-site says where this comes from".to_owned()) };
    };
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    let known = authority.is_some_and(|authority| signature::authorities(app, headers).any(|own| own.eq_ignore_ascii_case(authority)));
    if known { Ok(()) } else { refused(format!("origin {origin:?} is not this server")) }
}

fn csrf(expected: &str, headers: &HeaderMap, body: &[u8]) -> Result<(), Problem> {
    let form = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
    let presented = match headers.get(CSRF_HEADER) {
        Some(value) => Some(value.as_bytes().to_vec()),
        // The token is made of characters that forms leave as they are.
        None if form => body.split(|byte| *byte == b'&').find_map(|field| field.strip_prefix(b"csrf=")).map(<[u8]>::to_vec),
        None => None,
    };
    let held = presented.is_some_and(|presented| bool::from(presented.ct_eq(expected.as_bytes())));
    if held { Ok(()) } else { Err(Problem::forbidden("csrf", "the CSRF token is missing or of another session")) }
}
