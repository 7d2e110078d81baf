//! Why a container engine gave no answer that can be used.

use std::{io, path::PathBuf, time::Duration};

/// An engine could not be asked, or said no.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    #[error("connecting to the container engine at {}: {source}", socket.display())]
    Connect { socket: PathBuf, source: io::Error },
    #[error("{request}: {source}")]
    Request { request: String, source: hyper::http::Error },
    #[error("{request}: {source}")]
    Http { request: String, source: hyper::Error },
    #[error("{request}: no answer within {} s", time_max.as_secs())]
    Time { request: String, time_max: Duration },
    #[error("{request}: the answer is longer than {bytes_max} bytes")]
    TooLong { request: String, bytes_max: usize },
    #[error("{request}: {status}: {message}")]
    Answer { request: String, status: u16, message: String },
    #[error("{request}: the answer cannot be read: {source}")]
    Unreadable { request: String, source: serde_json::Error },
    #[error("pulling {image}: {message}")]
    Pull { image: String, message: String },
    #[error("the container engine {version} speaks API {api_version}, which is too old")]
    TooOld { version: String, api_version: String },
}

impl EngineError {
    /// Whether there is no engine at all: no socket, or a view that says so.
    pub(crate) fn is_absent(&self) -> bool {
        match self {
            Self::Connect { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::Answer { status, .. } => *status == 503,
            _ => false,
        }
    }

    /// Whether the engine knows nothing by that name.
    pub(crate) const fn is_not_found(&self) -> bool {
        matches!(self, Self::Answer { status: 404, .. })
    }
}
