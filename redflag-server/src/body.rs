//! JSON bodies: the media type, then a strict object.

use crate::problem::Problem;
use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header},
};
use serde::de::DeserializeOwned;

/// The bytes of a body that says it is JSON; 415 otherwise.
#[derive(Clone, Debug)]
pub(crate) struct JsonBytes(pub(crate) Bytes);

/// A JSON object of the shape of `T`, whose fields are all known.
#[derive(Clone, Debug)]
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<S: Send + Sync> FromRequest<S> for JsonBytes {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !says_json(request.headers()) {
            let detail = "the content-type must be application/json";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type", detail));
        }
        let bytes = Bytes::from_request(request, state).await;
        bytes.map(Self).map_err(|error| Problem::new(error.status(), "bad_body", error.body_text()))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let JsonBytes(bytes) = JsonBytes::from_request(request, state).await?;
        let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, "bad_envelope", detail);
        // serde reads an array in place of a struct; the contract does not.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(bad("expected a JSON object".to_owned()));
        }
        serde_json::from_slice(&bytes).map(Self).map_err(|error| bad(error.to_string()))
    }
}

/// `application/json`, with no parameter but `charset=utf-8`.
fn says_json(headers: &HeaderMap) -> bool {
    let mut kinds = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(kind), None) = (kinds.next(), kinds.next()) else { return false };
    let Ok(kind) = kind.to_str() else { return false };
    let mut parts = kind.split(';').map(str::trim);
    parts.next().is_some_and(|media| media.eq_ignore_ascii_case("application/json"))
        && parts.all(|parameter| parameter.eq_ignore_ascii_case("charset=utf-8"))
}
