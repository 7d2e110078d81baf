//! A socket before an engine that goes dead in the middle of things: what a kill of the installer looks like to the engine.

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, Response,
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};
use tokio::{
    net::{UnixListener, UnixStream},
    task::JoinHandle,
};

/// A socket that passes requests on until a number of them have changed something.
pub(crate) struct Cut {
    pub(crate) socket: PathBuf,
    changes: Arc<Mutex<Changes>>,
    task: JoinHandle<()>,
}

struct Changes {
    left: usize,
    made: Vec<String>,
}

impl Cut {
    /// Opens it at `socket`, before the engine at `behind`, for `changes_max` changes.
    pub(crate) fn open(socket: PathBuf, behind: &Path, changes_max: usize) -> Self {
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).expect("a socket");
        let changes = Arc::new(Mutex::new(Changes { left: changes_max, made: Vec::new() }));
        let (behind, shared) = (behind.to_owned(), changes.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (behind, shared) = (behind.clone(), shared.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request| pass(request, behind.clone(), shared.clone()));
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { socket, changes, task }
    }

    /// The changes it let through, as `METHOD PATH`.
    pub(crate) fn made(&self) -> Vec<String> {
        self.changes.lock().expect("nobody panics with it").made.clone()
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(request: Request<Incoming>, behind: PathBuf, changes: Arc<Mutex<Changes>>) -> io::Result<Response<Full<Bytes>>> {
    {
        let mut changes = changes.lock().expect("nobody panics with it");
        if request.method() != Method::GET {
            if changes.left == 0 {
                // Once dead it stays dead, also for questions.
                changes.left = usize::MAX;
                changes.made.push("dead".into());
            }
            if changes.made.last().is_none_or(|last| last != "dead") {
                changes.left -= 1;
                let made = format!("{} {}", request.method(), request.uri().path());
                changes.made.push(made);
            }
        }
        if changes.made.last().is_some_and(|last| last == "dead") {
            return Err(io::Error::other("dead"));
        }
    }
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(UnixStream::connect(behind).await?)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let (parts, body) = request.into_parts();
    let body = Full::new(body.collect().await.map_err(io::Error::other)?.to_bytes());
    let answer = sender.send_request(Request::from_parts(parts, body)).await.map_err(io::Error::other)?;
    let (parts, body) = answer.into_parts();
    Ok(Response::from_parts(parts, Full::new(body.collect().await.map_err(io::Error::other)?.to_bytes())))
}
