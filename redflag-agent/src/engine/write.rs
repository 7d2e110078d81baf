//! The writing half of an engine: what recreating a container takes. The executor's view serves none of it.

use super::{Engine, EngineError, REQUEST_TIME_MAX, Read as _, checked, escaped, path, within};
use crate::scan::docker::containers::Platform;
use http_body_util::BodyExt as _;
use hyper::{Method, Request, http::request::Builder};
use serde_json::{Value, json};
use std::time::Duration;

/// Longest silence of a pull.
const PULL_SILENCE_MAX: Duration = Duration::from_secs(300);
/// Longest time a pull may take.
const PULL_TIME_MAX: Duration = Duration::from_secs(3600);
/// Most bytes of one line of a pull's progress.
const PULL_LINE_BYTES_MAX: usize = 64 * 1024;
/// Longest time a container may take to stop, by its own settings.
const STOP_TIME_MAX: Duration = Duration::from_secs(600);
/// How often the removal of a container is tried that the engine refuses to remove.
const REMOVAL_TRIES: u32 = 20;
/// How long is waited in between.
const BETWEEN_REMOVALS: Duration = Duration::from_millis(500);

impl Engine {
    /// Whether it is Podman.
    pub(crate) const fn is_podman(&self) -> bool {
        self.podman
    }

    /// One container with everything the engine says, which the executor's view does not give.
    pub(crate) async fn container_in_full(&self, name: &str) -> Result<Value, EngineError> {
        self.send(Method::GET, self.target(&["containers", name, "json"]), None).await
    }

    /// What Podman says of a container beyond the compatible API.
    pub(crate) async fn podman_container(&self, name: &str) -> Result<Value, EngineError> {
        self.send(Method::GET, self.target(&["libpod", "containers", name, "json"]), None).await
    }

    /// One image with everything the engine says, by id or reference.
    pub(crate) async fn image_in_full(&self, image: &str) -> Result<Value, EngineError> {
        let segments: Vec<_> = ["images"].into_iter().chain(image.split('/')).chain(["json"]).collect();
        self.send(Method::GET, self.target(&segments), None).await
    }

    /// The platforms a registry has `image` for, asked by the engine with its own mirrors and exceptions. Podman cannot be asked.
    pub(crate) async fn platforms(&self, image: &str, credentials: Option<&str>) -> Result<Vec<Platform>, EngineError> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Distribution {
            #[serde(default)]
            platforms: Vec<Platform>,
        }
        let name = format!("looking {image} up");
        let segments: Vec<_> = ["distribution"].into_iter().chain(image.split('/')).chain(["json"]).collect();
        let request = with_credentials(Request::builder(), credentials);
        let answer =
            async { checked(&name, self.exchange(&name, request, self.target(&segments), Vec::new()).await?).await?.read(&name).await };
        let bytes = within(&name, REQUEST_TIME_MAX, answer).await??;
        let distribution: Distribution =
            serde_json::from_slice(&bytes).map_err(|source| EngineError::Unreadable { request: name, source })?;
        Ok(distribution.platforms)
    }

    /// Pulls `image`, which names its digest; `credentials` is the value of `X-Registry-Auth`.
    ///
    /// # Errors
    /// When the engine cannot be asked, says that it failed, is silent for [`PULL_SILENCE_MAX`] or takes [`PULL_TIME_MAX`].
    pub(crate) async fn pull(&self, image: &str, credentials: Option<&str>) -> Result<(), EngineError> {
        let target = self.target(&["images", "create"]) + "?fromImage=" + &escaped(image);
        let request = with_credentials(Request::builder().method(Method::POST), credentials);
        let name = format!("pulling {image}");
        let pulling = async {
            let response = within(&name, PULL_SILENCE_MAX, self.exchange(&name, request, target, Vec::new())).await??;
            let mut response = checked(&name, response).await?;
            let mut line = Vec::new();
            while let Some(frame) = within(&name, PULL_SILENCE_MAX, response.frame()).await? {
                let frame = frame.map_err(|source| EngineError::Http { request: name.clone(), source })?;
                for byte in frame.into_data().unwrap_or_default() {
                    if byte == b'\n' {
                        progress(image, &std::mem::take(&mut line))?;
                    } else if line.len() < PULL_LINE_BYTES_MAX {
                        line.push(byte);
                    } else {
                        return Err(EngineError::TooLong { request: name.clone(), bytes_max: PULL_LINE_BYTES_MAX });
                    }
                }
            }
            progress(image, &line)
        };
        within(&name, PULL_TIME_MAX, pulling).await?
    }

    /// Lets `repository:tag` of this host name the image.
    pub(crate) async fn tag(&self, image: &str, repository: &str, tag: &str) -> Result<(), EngineError> {
        let query = format!("?repo={}&tag={}", escaped(repository), escaped(tag));
        self.act(Method::POST, self.target(&["images", image, "tag"]) + &query, None).await
    }

    /// Creates a container from a configuration and returns its id.
    pub(crate) async fn create(&self, name: &str, configuration: &Value) -> Result<String, EngineError> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Created {
            id: String,
        }
        let target = self.target(&["containers", "create"]) + "?name=" + &escaped(name);
        let created: Created = self.send(Method::POST, target, Some(configuration)).await?;
        Ok(created.id)
    }

    /// Joins a container to a further network.
    pub(crate) async fn join(&self, name: &str, network: &str, endpoint: &Value) -> Result<(), EngineError> {
        let body = json!({"Container": name, "EndpointConfig": endpoint});
        self.act(Method::POST, self.target(&["networks", network, "connect"]), Some(&body)).await
    }

    /// Starts a container; one that runs already is left alone.
    pub(crate) async fn start(&self, name: &str) -> Result<(), EngineError> {
        self.act(Method::POST, self.target(&["containers", name, "start"]), None).await
    }

    /// Stops a container, with its own signal and patience; one that does not run is left alone.
    pub(crate) async fn stop(&self, name: &str) -> Result<(), EngineError> {
        self.act_within(STOP_TIME_MAX, Method::POST, self.target(&["containers", name, "stop"]), None).await
    }

    /// Gives a container another name.
    pub(crate) async fn rename(&self, name: &str, to: &str) -> Result<(), EngineError> {
        self.act(Method::POST, self.target(&["containers", name, "rename"]) + "?name=" + &escaped(to), None).await
    }

    /// Removes a container, running or not. Its volumes stay.
    ///
    /// One that ends, or is started again, in this very moment an engine refuses to remove (Podman: "container state improper"). The
    /// way back to an old container depends on it, so it is tried again.
    pub(crate) async fn remove(&self, name: &str) -> Result<(), EngineError> {
        self.remove_trying(name, BETWEEN_REMOVALS).await
    }

    async fn remove_trying(&self, name: &str, between: Duration) -> Result<(), EngineError> {
        let target = self.target(&["containers", name]) + "?force=true";
        let mut tries = 1;
        loop {
            match self.act(Method::DELETE, target.clone(), None).await {
                Err(error) if tries > 1 && error.is_not_found() => return Ok(()),
                Err(EngineError::Answer { status: 409 | 500, message, .. }) if tries < REMOVAL_TRIES => {
                    tracing::info!(container = name, "not removed yet: {message}");
                    tries += 1;
                    tokio::time::sleep(between).await;
                }
                removed => return removed,
            }
        }
    }

    /// Changes when a container is started again by the engine itself. Podman cannot.
    pub(crate) async fn set_restart_policy(&self, name: &str, policy: &Value) -> Result<(), EngineError> {
        self.act(Method::POST, self.target(&["containers", name, "update"]), Some(&json!({ "RestartPolicy": policy }))).await
    }

    /// Removes an image that nothing uses; the engine refuses otherwise.
    pub(crate) async fn remove_image(&self, id: &str) -> Result<(), EngineError> {
        self.act(Method::DELETE, self.target(&["images", id]), None).await
    }

    /// Runs a container's health check now. Podman leaves that to timers of systemd, which not every host has.
    pub(crate) async fn check_health(&self, name: &str) -> Result<(), EngineError> {
        self.act(Method::GET, self.target(&["libpod", "containers", name, "healthcheck"]), None).await
    }

    /// A request whose answer is that it was done.
    async fn act(&self, method: Method, target: String, body: Option<&Value>) -> Result<(), EngineError> {
        self.act_within(REQUEST_TIME_MAX, method, target, body).await
    }

    async fn act_within(&self, time_max: Duration, method: Method, target: String, body: Option<&Value>) -> Result<(), EngineError> {
        let name = format!("{method} {}", path(&target));
        self.bytes(&name, time_max, method, target, body).await.map(drop)
    }
}

fn with_credentials(request: Builder, credentials: Option<&str>) -> Builder {
    match credentials {
        Some(credentials) => request.header("X-Registry-Auth", credentials),
        None => request,
    }
}

/// Judges one line of a pull's progress: the answer's status says nothing, a line may hold an error.
pub(super) fn progress(image: &str, line: &[u8]) -> Result<(), EngineError> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    #[derive(serde::Deserialize)]
    struct Line {
        error: Option<String>,
    }
    let line: Line =
        serde_json::from_slice(line).map_err(|source| EngineError::Unreadable { request: format!("pulling {image}"), source })?;
    line.error.map_or(Ok(()), |message| Err(EngineError::Pull { image: image.to_owned(), message }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::API_VERSION_MIN;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::UnixListener,
    };

    /// An engine that answers one request after the other with these statuses, and how often it was asked.
    async fn answering(statuses: &[u16]) -> (Result<(), EngineError>, usize) {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("engine.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let engine = Engine { socket, version: API_VERSION_MIN, podman: true };
        let mut asked = 0;
        let answer = async {
            for status in statuses {
                let (mut stream, _) = listener.accept().await.unwrap();
                asked += 1;
                let mut request = [0; 1024];
                let length = stream.read(&mut request).await.unwrap();
                assert!(request[..length].starts_with(b"DELETE /v1.41/containers/web?force=true "));
                let text = format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}");
                stream.write_all(text.as_bytes()).await.unwrap();
            }
            std::future::pending::<()>().await;
        };
        let removed = tokio::select! {
            removed = engine.remove_trying("web", Duration::ZERO) => removed,
            () = answer => unreachable!("it waits for ever"),
        };
        (removed, asked)
    }

    #[tokio::test]
    async fn a_container_that_is_about_to_end_is_removed_when_it_has() {
        for (statuses, good) in [
            (&[204][..], true),
            (&[500, 409, 204], true),
            (&[500, 404], true),
            (&[404], false),
            (&[403], false),
            (&[500; REMOVAL_TRIES as usize], false),
        ] {
            let (removed, asked) = answering(statuses).await;
            assert_eq!((removed.is_ok(), asked), (good, statuses.len()), "{statuses:?}: {removed:?}");
        }
    }

    #[test]
    fn a_pull_is_judged_by_its_lines() {
        for line in ["", "\r", r#"{"status":"Pulling fs layer","progressDetail":{},"id":"a3e0ac9571c6"}"#] {
            assert!(progress("x", line.as_bytes()).is_ok(), "{line}");
        }
        let error = progress("x", br#"{"errorDetail":{"message":"no"},"error":"manifest unknown"}"#).unwrap_err();
        assert_eq!(error.to_string(), "pulling x: manifest unknown");
        assert!(matches!(progress("x", b"<html>"), Err(EngineError::Unreadable { .. })));
    }
}
