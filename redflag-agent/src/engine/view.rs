//! The view of the engine that an unprivileged reader gets: five questions, and of their answers only what a scan reads.
//!
//! Whoever may write to an engine's socket is root, so the agent may not. The executor, which is root, serves this view in its place:
//! `GET` of `/_ping`, `/version`, `/containers/json`, `/containers/NAME/json` and `/images/ID/json` (with Podman also
//! `/libpod/images/ID/json`), with or without the version of the API before it. Everything else is 403.
//!
//! Nothing is passed through. A request is taken apart by a strict grammar and asked anew; an answer is read into the types of
//! `facts`, which have no field for environment, commands, mounts or foreign labels, and written out from them.

use super::{Engine, EngineError, ImageFacts, facts};
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use serde_json::json;
use std::{
    convert::Infallible,
    io,
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    time::timeout,
};

/// Where the view listens.
pub const SOCKET: &str = "/run/redflag/engine.sock";

/// Most connections at a time; more wait.
const CONNECTIONS_MAX: u32 = 8;
/// Longest time a reader may take to send its request.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest time one connection may take in all.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(180);
/// Most bytes of a request.
const REQUEST_BYTES_MAX: usize = 8 * 1024;
/// Longest name of a container that is asked about.
const NAME_BYTES_MAX: usize = 255;

/// Serves the engine at `engine`, which need not be there, to those users whom `accepts` lets in, until `shutdown`, or until nobody has come for as long as
/// `idle`. Whoever is not let in is hung up on.
///
/// # Errors
/// When connections cannot be accepted.
///
/// Cancel safe: nothing that is served changes anything.
pub async fn serve(
    listener: &UnixListener,
    engine: PathBuf,
    accepts: impl Fn(u32) -> bool,
    idle: Option<Duration>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let (engine, places, mut shutdown) = (Arc::new(engine), Arc::new(Semaphore::new(CONNECTIONS_MAX as usize)), pin!(shutdown));
    loop {
        let next = async {
            let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
            listener.accept().await.map(|(stream, _)| (place, stream))
        };
        let (place, stream) = tokio::select! {
            biased;
            () = &mut shutdown => return Ok(()),
            next = next => next?,
            () = passed(idle) => break,
        };
        if !stream.peer_cred().is_ok_and(|peer| accepts(peer.uid())) {
            continue;
        }
        let engine = engine.clone();
        tokio::spawn(async move {
            // A reader that is slow, goes away or sends nonsense has only itself to blame.
            let _ = timeout(CONNECTION_TIME_MAX, serve_one(stream, engine)).await;
            drop(place);
        });
    }
    // Whoever came before is answered.
    places.acquire_many(CONNECTIONS_MAX).await.map(drop).map_err(io::Error::other)
}

async fn passed(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// One connection, one request.
async fn serve_one(stream: UnixStream, engine: Arc<PathBuf>) -> hyper::Result<()> {
    let service = service_fn(move |request: Request<Incoming>| {
        let engine = engine.clone();
        async move { Ok::<_, Infallible>(answer(&request, &engine).await) }
    });
    hyper::server::conn::http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(REQUEST_BYTES_MAX)
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIME_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

/// A question the view answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question<'a> {
    Ping,
    Version,
    Containers { all: bool },
    Container(&'a str),
    Image(&'a str),
    PodmanImage(&'a str),
}

impl<'a> Question<'a> {
    /// Reads the target of a request; none for everything the view does not answer.
    fn parse(target: &'a str) -> Option<Self> {
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let mut segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        if segments.len() > 1 && is_api_version(segments[0]) {
            segments.remove(0);
        }
        match (segments.as_slice(), query) {
            (["_ping"], None) => Some(Self::Ping),
            (["version"], None) => Some(Self::Version),
            (["containers", "json"], None) => Some(Self::Containers { all: false }),
            (["containers", "json"], Some("all=true" | "all=1")) => Some(Self::Containers { all: true }),
            (["containers", name, "json"], None) if is_name(name) => Some(Self::Container(name)),
            (["images", id, "json"], None) if is_image_id(id) => Some(Self::Image(id)),
            (["libpod", "images", id, "json"], None) if is_image_id(id) => Some(Self::PodmanImage(id)),
            _ => None,
        }
    }
}

/// The name or id that a target asks about, if the view answers it.
#[cfg(feature = "fuzzing")]
pub(super) fn taken(target: &str) -> Option<&str> {
    match Question::parse(target)? {
        Question::Container(part) | Question::Image(part) | Question::PodmanImage(part) => Some(part),
        Question::Ping | Question::Version | Question::Containers { .. } => None,
    }
}

/// `v1.41`
fn is_api_version(text: &str) -> bool {
    let number = |text: &str| (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    text.strip_prefix('v').and_then(|text| text.split_once('.')).is_some_and(|(major, minor)| number(major) && number(minor))
}

/// The engines' own grammar of names, which ids keep too: no dot at the start, no slash, no escapes.
fn is_name(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    first && text.len() <= NAME_BYTES_MAX && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

/// 64 hexadecimal digits, with or without `sha256:`.
fn is_image_id(text: &str) -> bool {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

async fn answer(request: &Request<Incoming>, socket: &Path) -> Response<Full<Bytes>> {
    let target = request.uri().path_and_query().map(hyper::http::uri::PathAndQuery::as_str);
    // A target with a host is a request to a proxy, and none to us.
    let target = target.filter(|_| request.method() == Method::GET && request.uri().authority().is_none());
    let Some(question) = target.and_then(Question::parse) else {
        return message(StatusCode::FORBIDDEN, "the view of the engine does not answer this");
    };
    match asked(question, socket).await {
        Ok(answer) => answer,
        Err(EngineError::Answer { status: 404, message: text, .. }) => message(StatusCode::NOT_FOUND, &text),
        Err(error) if error.is_absent() => message(StatusCode::SERVICE_UNAVAILABLE, "this host has no container engine"),
        Err(error) => message(StatusCode::BAD_GATEWAY, &error.to_string()),
    }
}

async fn asked(question: Question<'_>, socket: &Path) -> Result<Response<Full<Bytes>>, EngineError> {
    let engine = Engine::open(socket).await?;
    Ok(match question {
        Question::Ping => response(StatusCode::OK, "text/plain; charset=utf-8", b"OK".to_vec()),
        Question::Version => json_of(&Engine::version(socket).await?),
        Question::Containers { all } => {
            let mut containers = engine.containers().await?;
            containers.retain(|container| all || container.state == "running");
            json_of(&containers)
        }
        Question::Container(name) => json_of(&engine.container(name).await?),
        Question::Image(id) => {
            let facts: ImageFacts = engine.image_facts(id).await?;
            json_of(&facts)
        }
        Question::PodmanImage(id) => {
            let facts: facts::PodmanImageFacts = engine.podman_image_facts(id).await?;
            json_of(&facts)
        }
    })
}

fn json_of(facts: &impl Serialize) -> Response<Full<Bytes>> {
    let body = serde_json::to_vec(facts).expect("facts are texts, numbers and lists of them");
    response(StatusCode::OK, "application/json", body)
}

/// An error as engines write it.
fn message(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    response(status, "application/json", json!({ "message": text }).to_string().into_bytes())
}

fn response(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "a369b54de8c241b707acaf85df8b8292c5a318640498f0fefbdde070bff48ecf";

    #[test]
    fn the_questions_of_a_scan_are_understood() {
        let image = format!("sha256:{ID}");
        for (target, question) in [
            ("/_ping".to_owned(), Question::Ping),
            ("/v1.41/_ping".to_owned(), Question::Ping),
            ("/version".to_owned(), Question::Version),
            ("/containers/json".to_owned(), Question::Containers { all: false }),
            ("/v1.41/containers/json?all=true".to_owned(), Question::Containers { all: true }),
            ("/v1.41/containers/shop_web-1.a/json".to_owned(), Question::Container("shop_web-1.a")),
            (format!("/v1.41/images/{image}/json"), Question::Image(&image)),
            (format!("/v1.41/libpod/images/{ID}/json"), Question::PodmanImage(ID)),
        ] {
            assert_eq!(Question::parse(&target), Some(question), "{target}");
        }
    }

    #[test]
    fn everything_else_is_not() {
        for target in [
            "",
            "/",
            "*",
            "_ping",
            "//_ping",
            "/_ping/",
            "/_ping?x",
            "/info",
            "/v1.41",
            "/v1.41/",
            "/v1/version",
            "/v1.41/v1.41/version",
            "/v1.1234/version",
            "/V1.41/version",
            "/containers",
            "/containers/json/",
            "/containers/json?all=true&size=1",
            "/containers/json?filters={}",
            "/containers/../json",
            "/containers/./json",
            "/containers/.hidden/json",
            "/containers//json",
            "/containers/a%2Fb/json",
            "/containers/a%2e%2e/json",
            "/containers/web/json?size=1",
            "/containers/web/logs",
            "/containers/web/top",
            "/containers/web/archive?path=/etc",
            "/containers/web/json#x",
            "/containers/web;x/json",
            "/containers/-web/json",
            "/containers/web/../../info/json",
            "/images/json",
            "/images/web/json",
            "/images/sha256:abc/json",
            "/images/lab/web:latest/json",
            "/secrets",
            "/swarm",
            "/libpod/containers/web/json",
            "/libpod/images/web/json",
            "/events",
            "/exec/1/json",
        ] {
            assert_eq!(Question::parse(target), None, "{target}");
        }
        assert_eq!(Question::parse(&format!("/containers/{}/json", "a".repeat(NAME_BYTES_MAX + 1))), None);
        assert_eq!(Question::parse(&format!("/images/{}/json", ID.to_uppercase())), None);
    }

    proptest! {
        #[test]
        fn what_is_asked_stands_in_the_target_and_holds_nothing_that_steers(target in "\\PC*|(/(v1\\.41|containers|images|json|libpod|[a-z.%/?]{0,6})){0,5}") {
            if let Some(Question::Container(part) | Question::Image(part) | Question::PodmanImage(part)) = Question::parse(&target) {
                prop_assert!(target.contains(part) && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-:".contains(&b)) && !part.starts_with('.'));
            }
        }
    }
}
