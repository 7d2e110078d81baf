//! A container engine, asked over its socket: the part of the Docker Engine API that scanning and recreating need.
//!
//! Docker (API 1.41 and later) and Podman's compatible API speak it. Every request is a connection of its own with a limit on its
//! time and on the size of its answer. Nothing is decided here: what an answer means is the business of the scanner and the
//! installer. It is hyper without a client above it: the executor, which is root, does without reqwest, and a client of the whole API
//! would be many times as large.

mod error;
mod facts;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
pub mod view;
mod write;

pub(crate) use error::EngineError;
pub(crate) use facts::{ContainerFacts, ContainerSummary, ImageFacts, SYSTEMD_UNIT, State};

use facts::{PodmanImageFacts, VersionFacts};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header,
};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::net::UnixStream;

/// The oldest API that is spoken; Docker 20.10 brought it.
const API_VERSION_MIN: ApiVersion = ApiVersion(1, 41);
/// Most bytes of one answer: 16 MiB are thousands of containers.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longest time an ordinary request may take.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(60);
/// Where engines listen that belong to the whole host.
pub(crate) const SOCKETS: [&str; 2] = ["/run/docker.sock", "/run/podman/podman.sock"];
/// Where engines of a single user listen, below `XDG_RUNTIME_DIR`.
#[cfg(feature = "agent")]
const USER_SOCKETS: [&str; 2] = ["docker.sock", "podman/podman.sock"];

/// A version of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ApiVersion(u32, u32);

impl ApiVersion {
    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        // Podman gives its own version with three parts in some fields.
        Some(Self(major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
    }
}

/// An engine that answered, and the API version agreed with it; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    socket: PathBuf,
    version: ApiVersion,
    podman: bool,
}

/// Where the engine of the whole host listens: the first that is there, or else where one would be. What runs as root takes no orders
/// from its environment.
pub(crate) async fn of_root() -> PathBuf {
    for socket in SOCKETS.map(PathBuf::from) {
        if usable(&socket).await {
            return socket;
        }
    }
    SOCKETS[0].into()
}

/// The socket `DOCKER_HOST` names, or else the first usual one that this user may use: the executor's view, the host's, the user's own.
#[cfg(feature = "agent")]
pub(crate) async fn socket_of_host() -> Option<PathBuf> {
    if let Some(host) = std::env::var_os("DOCKER_HOST") {
        return host.to_str()?.strip_prefix("unix://").map(PathBuf::from);
    }
    let user = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let user = user.iter().flat_map(|directory| USER_SOCKETS.map(|socket| directory.join(socket)));
    let host = [view::SOCKET, SOCKETS[0], SOCKETS[1]].map(PathBuf::from);
    for socket in host.into_iter().chain(user) {
        if usable(&socket).await {
            return Some(socket);
        }
    }
    None
}

/// Whether an engine is behind `socket` and this user may use it. One that does not run just now counts, because its socket tells of it;
/// a view of none does not.
pub(crate) async fn usable(socket: &Path) -> bool {
    match UnixStream::connect(socket).await {
        Ok(_) => !Engine::version(socket).await.is_err_and(|error| error.is_absent()),
        Err(error) => error.kind() == io::ErrorKind::ConnectionRefused,
    }
}

impl Engine {
    /// Asks the engine at `socket` who it is and agrees on the oldest version both sides know.
    ///
    /// # Errors
    /// When it does not answer, or is older than [`API_VERSION_MIN`].
    pub(crate) async fn open(socket: &Path) -> Result<Self, EngineError> {
        let facts = Self::version(socket).await?;
        let newest = ApiVersion::parse(&facts.api_version).unwrap_or(ApiVersion(0, 0));
        if newest < API_VERSION_MIN {
            return Err(EngineError::TooOld { version: facts.version, api_version: facts.api_version });
        }
        let oldest = facts.api_version_min.as_deref().and_then(ApiVersion::parse).unwrap_or(API_VERSION_MIN);
        let podman = facts.components.iter().any(|component| component.name.starts_with("Podman"));
        Ok(Self { socket: socket.to_owned(), version: API_VERSION_MIN.max(oldest), podman })
    }

    /// What the engine at `socket` says of itself.
    async fn version(socket: &Path) -> Result<VersionFacts, EngineError> {
        let engine = Self { socket: socket.to_owned(), version: API_VERSION_MIN, podman: false };
        engine.send(Method::GET, "/version".into(), None).await
    }

    /// All containers, running or not.
    pub(crate) async fn containers(&self) -> Result<Vec<ContainerSummary>, EngineError> {
        self.send(Method::GET, self.target(&["containers", "json"]) + "?all=true", None).await
    }

    /// One container, by name or id.
    pub(crate) async fn container(&self, name: &str) -> Result<ContainerFacts, EngineError> {
        self.send(Method::GET, self.target(&["containers", name, "json"]), None).await
    }

    /// One image by id. What Podman has dropped from an image whose tag has moved is looked up.
    pub(crate) async fn image(&self, id: &str) -> Result<ImageFacts, EngineError> {
        let mut facts = self.image_facts(id).await?;
        if self.podman {
            let more = self.podman_image_facts(id).await?;
            // Its own digest is that of the tag; the list holds the platform's manifest too and is in no useful order.
            let repositories = more.names_history.iter().filter_map(|name| Some(name.rsplit_once([':', '@'])?.0));
            let repositories = repositories.map(|name| name.strip_suffix("@sha256").unwrap_or(name));
            let first: Vec<_> = repositories.map(|repository| format!("{repository}@{}", more.digest)).collect();
            facts.repo_digests.splice(0..0, first);
        }
        Ok(facts)
    }

    async fn image_facts(&self, id: &str) -> Result<ImageFacts, EngineError> {
        self.send(Method::GET, self.target(&["images", id, "json"]), None).await
    }

    async fn podman_image_facts(&self, id: &str) -> Result<PodmanImageFacts, EngineError> {
        let bare = id.strip_prefix("sha256:").unwrap_or(id);
        self.send(Method::GET, self.target(&["libpod", "images", bare, "json"]), None).await
    }

    /// A path below the agreed version of the API. Whatever could end a part of it is escaped.
    fn target(&self, segments: &[&str]) -> String {
        let segments = segments.iter().map(|segment| format!("/{}", escaped(segment)));
        format!("/v{}.{}{}", self.version.0, self.version.1, segments.collect::<String>())
    }

    /// A request whose answer is JSON.
    async fn send<T: DeserializeOwned>(&self, method: Method, target: String, body: Option<&Value>) -> Result<T, EngineError> {
        let name = format!("{method} {}", path(&target));
        let bytes = self.bytes(&name, REQUEST_TIME_MAX, method, target, body).await?;
        serde_json::from_slice(&bytes).map_err(|source| EngineError::Unreadable { request: name, source })
    }

    async fn bytes(
        &self,
        name: &str,
        time_max: Duration,
        method: Method,
        target: String,
        body: Option<&Value>,
    ) -> Result<Bytes, EngineError> {
        let request = Request::builder().method(method);
        let request = if body.is_some() { request.header(header::CONTENT_TYPE, "application/json") } else { request };
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let answer = async { checked(name, self.exchange(name, request, target, body).await?).await?.read(name).await };
        within(name, time_max, answer).await?
    }

    async fn exchange(
        &self,
        name: &str,
        request: hyper::http::request::Builder,
        target: String,
        body: Vec<u8>,
    ) -> Result<Response<Incoming>, EngineError> {
        let request = request.uri(target).header(header::HOST, "engine").body(Full::new(Bytes::from(body)));
        let request = request.map_err(|source| EngineError::Request { request: name.to_owned(), source })?;
        send_to(&self.socket, name, request).await
    }
}

/// What may stand in a part of a path or query as it is: what is unreserved in a URL, and the colon of image names.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

fn escaped(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

/// A target without its query, for messages.
fn path(target: &str) -> &str {
    target.split('?').next().unwrap_or(target)
}

/// Sends one request over a connection of its own.
async fn send_to(socket: &Path, name: &str, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, EngineError> {
    let connect = |source| EngineError::Connect { socket: socket.to_owned(), source };
    let http = |source| EngineError::Http { request: name.to_owned(), source };
    let stream = UnixStream::connect(socket).await.map_err(connect)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
    // Ends by itself when the answer has been read or dropped; what goes wrong shows there.
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(http)
}

/// Gives up after `time_max`.
async fn within<T>(request: &str, time_max: Duration, work: impl Future<Output = T>) -> Result<T, EngineError> {
    tokio::time::timeout(time_max, work).await.map_err(|_| EngineError::Time { request: request.to_owned(), time_max })
}

/// Turns an answer that says no into an error with the engine's own words. "Already so" (304) is done.
async fn checked(name: &str, response: Response<Incoming>) -> Result<Response<Incoming>, EngineError> {
    let status = response.status();
    if status.is_success() || status == StatusCode::NOT_MODIFIED {
        return Ok(response);
    }
    let body = response.read(name).await.unwrap_or_default();
    let message = serde_json::from_slice::<Value>(&body).ok().and_then(|body| Some(body.get("message")?.as_str()?.to_owned()));
    let message = message.unwrap_or_else(|| "no message".into());
    Err(EngineError::Answer { request: name.to_owned(), status: status.as_u16(), message })
}

trait Read {
    async fn read(self, name: &str) -> Result<Bytes, EngineError>;
}

impl Read for Response<Incoming> {
    async fn read(self, name: &str) -> Result<Bytes, EngineError> {
        let request = || name.to_owned();
        let body = Limited::new(self.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(|error| match error.downcast() {
            Ok(source) => EngineError::Http { request: request(), source: *source },
            Err(_) => EngineError::TooLong { request: request(), bytes_max: ANSWER_BYTES_MAX },
        })?;
        Ok(body.to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_place_in_the_path() {
        let engine = Engine { socket: "/nonexistent".into(), version: API_VERSION_MIN, podman: false };
        assert_eq!(engine.target(&["containers", "web", "json"]), "/v1.41/containers/web/json");
        assert_eq!(engine.target(&["containers", "../b?c d", "json"]), "/v1.41/containers/..%2Fb%3Fc%20d/json");
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(ApiVersion::parse("1.100").unwrap() > ApiVersion::parse("1.41").unwrap());
        assert_eq!(ApiVersion::parse("4.3.1"), Some(ApiVersion(4, 3)));
        assert_eq!(ApiVersion::parse("x"), None);
    }
}
