//! A registry with moods: it stands before the real one and passes requests on, demands a token, or answers with trouble.

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// The gate's address in every world.
pub(crate) const GATE: &str = "127.0.0.1:5001";
/// `anna:secret`, as `docker login` keeps it and as it is sent.
pub(crate) const LOGIN: &str = "YW5uYTpzZWNyZXQ=";
const TOKEN: &str = "a.token-of_the~lab";

/// What the gate does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Mood {
    /// Passes it on.
    Open,
    /// Passes it on with a token, which `anna` gets at this place.
    Token { realm: String },
    /// Passes it on with the password itself.
    Basic,
    /// Answers with this status and these headers.
    Answer(u16, Vec<(&'static str, String)>),
    /// Passes it on, but takes HEAD for unknown and leaves the digest out.
    WithoutHead,
    /// Answers with more bytes than anybody should read.
    Endless,
}

/// A running gate.
pub(crate) struct Gate {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    behind: &'static str,
    mood: Mutex<Mood>,
    requests: Mutex<Vec<String>>,
}

impl Gate {
    /// Opens it before the registry at `behind`.
    pub(crate) async fn open(behind: &'static str) -> Self {
        let listener = TcpListener::bind(GATE).await.expect("the gate's port is free in this world");
        let shared = Arc::new(Shared { behind, mood: Mutex::new(Mood::Open), requests: Mutex::default() });
        let served = shared.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = served.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let shared = shared.clone();
                        async move { Ok::<_, Infallible>(shared.answer(request).await) }
                    });
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { shared, task }
    }

    /// Changes what it does.
    pub(crate) fn set(&self, mood: Mood) {
        *self.shared.mood.lock().expect("nobody panics with it") = mood;
    }

    /// The requests it has seen since it was last asked, as `METHOD PATH`.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.requests.lock().expect("nobody panics with it"))
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let target = request.uri().path_and_query().map_or_else(String::new, ToString::to_string);
        self.requests.lock().expect("nobody panics with it").push(format!("{} {target}", request.method()));
        let mood = self.mood.lock().expect("nobody panics with it").clone();
        let authorization =
            request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        match mood {
            Mood::Open => self.pass(request).await,
            Mood::Answer(status, headers) => status_with(status, &headers, ""),
            Mood::Basic if authorization == format!("Basic {LOGIN}") => self.pass(request).await,
            Mood::Basic => status_with(401, &[("www-authenticate", "Basic realm=\"lab\"".into())], ""),
            Mood::Token { .. } if target.starts_with("/token?") => match authorization == format!("Basic {LOGIN}") {
                true => status_with(200, &[], &format!("{{\"token\":\"{TOKEN}\",\"expires_in\":60}}")),
                false => status_with(401, &[], ""),
            },
            Mood::Token { .. } if authorization == format!("Bearer {TOKEN}") => self.pass(request).await,
            Mood::Token { realm } => {
                let scope = "repository:lab/web:pull";
                status_with(401, &[("www-authenticate", format!("Bearer realm=\"{realm}\",service=\"lab\",scope=\"{scope}\""))], "")
            }
            Mood::WithoutHead if request.method() == hyper::Method::HEAD => status_with(405, &[], ""),
            Mood::WithoutHead => {
                let mut response = self.pass(request).await;
                response.headers_mut().remove("docker-content-digest");
                response
            }
            Mood::Endless => {
                let mut response =
                    status_with(200, &[("content-type", "application/vnd.oci.image.index.v1+json".into())], &" ".repeat(8 << 20));
                if request.method() == hyper::Method::HEAD {
                    *response.body_mut() = Full::default();
                }
                response
            }
        }
    }

    async fn pass(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let stream = TcpStream::connect(self.behind).await.expect("the registry behind the gate");
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a connection");
        tokio::spawn(connection);
        let (mut parts, body) = request.into_parts();
        parts.headers.remove(header::AUTHORIZATION);
        let body = Full::new(body.collect().await.expect("a body").to_bytes());
        let (parts, body) = sender.send_request(Request::from_parts(parts, body)).await.expect("an answer").into_parts();
        Response::from_parts(parts, Full::new(body.collect().await.expect("a body").to_bytes()))
    }
}

fn status_with(status: u16, headers: &[(&'static str, String)], body: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_owned())));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    for (name, value) in headers {
        response.headers_mut().insert(*name, value.parse().expect("a header's value"));
    }
    response
}
