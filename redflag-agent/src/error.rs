//! What can go wrong in the agent, in words that say what to do next.

use std::{io, path::PathBuf, time::Duration};

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the agent could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something given by the caller cannot be used.
    #[error("{message}")]
    Invalid {
        /// What, and what would be accepted.
        message: String,
    },
    /// A file or directory of the state directory could not be used.
    #[error("could not {action} {}", path.display())]
    State {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A file of the state directory holds what the agent would never write.
    #[error("{} cannot be trusted: {message}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        message: String,
    },
    /// The host has no identity yet.
    #[error("{} holds no enrolled agent; run `redflag-agent enrol --server URL --token TOKEN` first", path.display())]
    NotEnrolled {
        /// The state directory.
        path: PathBuf,
    },
    /// The state directory belongs to another machine.
    #[error(
        "{} was enrolled on another machine, and two machines with one key confuse each other's reports; on a copy, remove the directory \
         and run `redflag-agent enrol`; if it was moved here on purpose, run `redflag-agent report --adopt` once",
        path.display()
    )]
    OtherMachine {
        /// The state directory.
        path: PathBuf,
    },
    /// Another process works with the state directory.
    #[error("another process works in {}; stop it first, or leave the work to it", path.display())]
    Busy {
        /// The state directory.
        path: PathBuf,
    },
    /// The server could not be reached, or did not answer in time: whether it acted is unknown, and asking again is safe.
    #[error("{server} did not answer: {message}")]
    Unreachable {
        /// The server.
        server: String,
        /// Why.
        message: String,
        /// When it asked to be asked again.
        retry_after: Option<Duration>,
    },
    /// The server does not accept the enrolment token.
    #[error("{server} does not accept the enrolment token: {problem}; ask an operator for a new one (`redflag-server enrolment-token`)")]
    TokenRefused {
        /// The server.
        server: String,
        /// What it said.
        problem: String,
    },
    /// The server does not accept the agent's signature.
    #[error("{server} does not accept this agent: {problem}; check the clock of this host, else enrol anew with another state directory")]
    Unauthorized {
        /// The server.
        server: String,
        /// What it said.
        problem: String,
    },
    /// The server understood the request and refuses it for good.
    #[error("{server} refused the request with {status} {code}: {detail}")]
    Refused {
        /// The server.
        server: String,
        /// The HTTP status.
        status: u16,
        /// The stable code of the problem.
        code: String,
        /// What it said.
        detail: String,
    },
}

impl Error {
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid { message: message.into() }
    }

    pub(crate) fn state(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::State { action, path, source }
    }

    pub(crate) fn damaged(path: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self::Damaged { path: path.into(), message: message.into() }
    }

    /// Whether the same request may be sent again and may then succeed.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

/// An error with everything that caused it, in one line.
#[must_use]
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
