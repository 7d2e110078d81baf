//! Who may call what, from the route table itself.

use crate::access::{Policy, RouteEntry};
use axum::http::Method;
use utoipa::openapi::{
    OpenApi, RefOr,
    path::Operation,
    security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
};

const SESSION: &str = "session";
const CSRF: &str = "csrf";
const TOKEN: &str = "token";
const AGENT: &str = "agent";

/// Adds to every operation of `table` who may call it, and by which credential.
pub(super) fn complete(document: &mut OpenApi, table: &[RouteEntry]) {
    let components = document.components.get_or_insert_default();
    components.security_schemes.extend(schemes().map(|(name, scheme)| (name.to_owned(), RefOr::T(scheme))));
    for entry in table {
        let Some(item) = document.paths.paths.get_mut(entry.path) else { continue };
        let operation = match entry.method {
            Method::POST => &mut item.post,
            Method::DELETE => &mut item.delete,
            _ => &mut item.get,
        };
        if let Some(operation) = operation {
            guard(operation, entry);
        }
    }
}

fn schemes() -> impl Iterator<Item = (&'static str, SecurityScheme)> {
    let session = "The cookie of a session; over TLS its name begins with `__Host-`.";
    let csrf = "The token of the session, as `GET /api/v1/session` tells it, on everything but GET; with an `Origin` or `Sec-Fetch-Site` of our own.";
    let agent = "A signature after RFC 9421, with `Signature-Input` and `Content-Digest`, by the key that the agent enrolled.";
    let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("An API token of an account.")).build();
    [
        (SESSION, SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::with_description("redflag_session", session)))),
        (CSRF, SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description("x-csrf-token", csrf)))),
        (TOKEN, SecurityScheme::Http(token)),
        (AGENT, SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description("signature", agent)))),
    ]
    .into_iter()
}

fn guard(operation: &mut Operation, entry: &RouteEntry) {
    let none = || Vec::<String>::new();
    let session = || {
        let session = SecurityRequirement::new(SESSION, none());
        if entry.method == Method::GET { session } else { session.add(CSRF, none()) }
    };
    let (who, ways) = match entry.policy {
        Policy::Public => ("For anybody.".to_owned(), Vec::new()),
        Policy::Agent => ("For agents.".to_owned(), vec![SecurityRequirement::new(AGENT, none())]),
        Policy::Operator(role, scope) => {
            let who = format!("Needs the role `{role}`, and of an API token the scope `{scope}`.");
            (who, vec![session(), SecurityRequirement::new(TOKEN, none())])
        }
        Policy::Person(role) => (format!("Needs the role `{role}` and a session; no API token reaches it."), vec![session()]),
    };
    operation.security = Some(ways);
    let description = operation.description.get_or_insert_default();
    if !description.is_empty() {
        description.push_str("\n\n");
    }
    description.push_str(&who);
}
