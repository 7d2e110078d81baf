//! JSON bodies: the media type, then a strict object. Large ones are parsed beside the event loop.

use crate::problem::Problem;
use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header},
};
use serde::de::DeserializeOwned;

/// Bodies above this are parsed beside the event loop, so that nobody else waits for them.
const PARSED_INLINE_BYTES_MAX: usize = 64 * 1024;

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

impl<S: Send + Sync, T: DeserializeOwned + Send + 'static> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let JsonBytes(bytes) = JsonBytes::from_request(request, state).await?;
        parsed(bytes, object).await.map(Self)
    }
}

/// What `read` makes of a body.
///
/// # Errors
/// Those of `read`.
pub(crate) async fn parsed<T, E, F>(bytes: Bytes, read: F) -> Result<T, Problem>
where
    T: Send + 'static,
    E: Into<Problem> + Send + 'static,
    F: FnOnce(&[u8]) -> Result<T, E> + Send + 'static,
{
    if bytes.len() <= PARSED_INLINE_BYTES_MAX {
        return read(&bytes).map_err(Into::into);
    }
    let parsing = tokio::task::spawn_blocking(move || read(&bytes));
    parsing.await.map_err(|error| Problem::internal(&error))?.map_err(Into::into)
}

fn object<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, "bad_envelope", detail);
    // serde reads an array in place of a struct; the contract does not.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(bad("expected a JSON object".to_owned()));
    }
    serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))
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
