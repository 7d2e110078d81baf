//! Errors as clients see them: RFC 9457 problems with a stable code, and the one mapping from store errors.

use crate::audit::DamagedEnd;
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use redflag_core::{
    query::QueryError,
    rejection::{Rejection, RejectionCode},
    store::{StoreError, StoreErrorKind},
    wire::EnvelopeError,
    work::Refusal,
};
use serde::Serialize;
use std::{error::Error, time::Duration};
use utoipa::ToSchema;

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    parameter: Option<String>,
    /// In seconds.
    retry_after: Option<u64>,
    /// What the log says, and the client does not hear.
    why: Option<String>,
}

/// A problem beside the page that says it, which nobody has to write anew.
#[derive(Clone)]
struct OnPage(Problem);

/// A [`Problem`] as it stands in `application/problem+json`.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProblemBody {
    /// Always `about:blank`: the code says more than a page could.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// The stable reason, for machines.
    code: &'static str,
    /// A sentence fragment for people.
    detail: String,
    /// The query parameter or field at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<String>,
}

/// Seconds after which a client may try again when the database was not available.
const RETRY_AFTER_SECONDS: u64 = 5;

impl Problem {
    /// A problem of `status` and `code`.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), parameter: None, retry_after: None, why: None }
    }

    /// Nothing here, or nothing that the caller may see.
    pub fn not_found(what: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", what)
    }

    /// No credential, or none that holds; the same words for every reason.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "no valid credential for this request")
    }

    /// A credential that does not suffice.
    pub fn forbidden(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, detail)
    }

    /// The parameter `parameter` is at fault.
    pub fn parameter(parameter: impl Into<String>, detail: impl Into<String>) -> Self {
        let problem = Self::new(StatusCode::BAD_REQUEST, "bad_parameter", detail);
        Self { parameter: Some(parameter.into()), ..problem }
    }

    /// A defect of ours; `error` goes to the log, not to the client.
    pub fn internal(error: &(dyn Error + 'static)) -> Self {
        tracing::error!(error, "a request failed by a defect");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the server failed; its log says more")
    }

    /// The same, with the time after which another try makes sense, in whole seconds rounded up.
    #[must_use]
    pub fn with_retry_after(self, after: Duration) -> Self {
        Self { retry_after: Some(after.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX)), ..self }
    }

    /// The same, with a reason that only the log says.
    #[must_use]
    pub(crate) fn because(self, why: impl Into<String>) -> Self {
        Self { why: Some(why.into()), ..self }
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The stable reason.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.code
    }

    /// The parameter or field at fault.
    #[must_use]
    pub fn named(&self) -> Option<&str> {
        self.parameter.as_deref()
    }

    /// After how many seconds another try makes sense, where that is known.
    #[must_use]
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after.or((self.status == StatusCode::SERVICE_UNAVAILABLE).then_some(RETRY_AFTER_SECONDS))
    }

    /// The words for people.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The words for the log.
    pub(crate) fn why(&self) -> &str {
        self.why.as_deref().unwrap_or(&self.detail)
    }

    /// Leaves the problem with the page that says it, for the log.
    pub(crate) fn left_with(self, mut page: Response) -> Response {
        page.extensions_mut().insert(OnPage(self));
        page
    }

    /// The problem that an answer says, be it on a page or not.
    pub(crate) fn said_by(answer: &Response) -> Option<&Self> {
        let on_page = answer.extensions().get().map(|OnPage(problem)| problem);
        on_page.or_else(|| answer.extensions().get())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (retry_after, said) = (self.retry_after_seconds(), self.clone());
        let Self { status, code, detail, parameter, .. } = self;
        let title = status.canonical_reason().unwrap_or("Error");
        let body = ProblemBody { kind: "about:blank", title, status: status.as_u16(), code, detail, parameter };
        let json = serde_json::to_vec(&body).expect("problems always serialise");
        let mut response = (status, [(header::CONTENT_TYPE, "application/problem+json")], json).into_response();
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        // For the guard, which tells people on a page, and the log.
        response.extensions_mut().insert(said);
        // RFC 9110, 15.5.2. Of the ways to prove who one is, only this has a registered name; browsers do not ask for it.
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        Self::parameter(error.parameter, error.message)
    }
}

impl From<EnvelopeError> for Problem {
    fn from(error: EnvelopeError) -> Self {
        let status = match error.code {
            "too_large" | "too_many_facts" => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.code, error.message)
    }
}

impl From<&Refusal> for Problem {
    fn from(refusal: &Refusal) -> Self {
        let (status, code) = match refusal {
            Refusal::UnknownAgent { .. } => (StatusCode::NOT_FOUND, "not_found"),
            Refusal::AgentExists { .. } => (StatusCode::CONFLICT, "agent_exists"),
            Refusal::AgentRemoved { .. } => (StatusCode::CONFLICT, "agent_removed"),
            Refusal::BatchIdReused { .. } => (StatusCode::CONFLICT, "batch_id_reused"),
            Refusal::ReportIdReused { .. } => (StatusCode::CONFLICT, "report_id_reused"),
            Refusal::BatchTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "batch_too_large"),
            Refusal::UnknownCommand { .. } => (StatusCode::NOT_FOUND, "not_found"),
            Refusal::CommandIdReused { .. } => (StatusCode::CONFLICT, "command_id_reused"),
            Refusal::IllegalStep { .. } => (StatusCode::CONFLICT, "illegal_step"),
            Refusal::TooManyCommands { .. } => (StatusCode::CONFLICT, "too_many_commands"),
            Refusal::CommandUnderWay { .. } => (StatusCode::CONFLICT, "command_under_way"),
            Refusal::NotApproved { .. } => (StatusCode::CONFLICT, "not_approved"),
            Refusal::OtherPlan { .. } => (StatusCode::CONFLICT, "other_plan"),
            Refusal::CounterMoved { .. } => (StatusCode::CONFLICT, "counter_moved"),
            Refusal::InvalidCommand(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_command"),
            _ => (StatusCode::CONFLICT, "refused"),
        };
        Self::new(status, code, refusal.to_string())
    }
}

impl From<&Rejection> for Problem {
    /// A decision that was rejected.
    fn from(rejection: &Rejection) -> Self {
        let status = match rejection.code {
            RejectionCode::UnknownPackage => StatusCode::NOT_FOUND,
            _ => StatusCode::CONFLICT,
        };
        Self::new(status, rejection.code.as_str(), rejection.to_string())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let unavailable = |code| Self::new(StatusCode::SERVICE_UNAVAILABLE, code, error.to_string());
        match error.kind() {
            StoreErrorKind::Refused(refusal) => refusal.into(),
            StoreErrorKind::Query(query) => query.clone().into(),
            StoreErrorKind::Unavailable => {
                tracing::warn!(error = &error as &(dyn Error + 'static), "the database is not available");
                unavailable("unavailable")
            }
            StoreErrorKind::OutcomeUnknown => {
                tracing::warn!(error = &error as &(dyn Error + 'static), "the outcome of a commit is unknown");
                unavailable("outcome_unknown")
            }
            StoreErrorKind::SchemaTooNew => unavailable("schema_too_new"),
            StoreErrorKind::Corrupt if error.source().is_some_and(|source| source.is::<DamagedEnd>()) => {
                tracing::error!(error = &error as &(dyn Error + 'static), "what must be put down in the audit log is refused");
                let detail =
                    "the end of the audit log cannot be read, so nothing is done that must be put down; the server's log says more";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "audit_log_damaged", detail)
            }
            StoreErrorKind::Pruned => Self::new(StatusCode::GONE, "pruned", error.to_string()),
            _ => Self::internal(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_of_a_store_has_its_status_and_code() {
        let agent = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3".parse().unwrap();
        let batch = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b4".parse().unwrap();
        let report = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b5".parse().unwrap();
        let command = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b6".parse().unwrap();
        let refused = StoreErrorKind::Refused;
        for (kind, status, code) in [
            (refused(Refusal::UnknownAgent { agent }), 404, "not_found"),
            (refused(Refusal::AgentExists { agent }), 409, "agent_exists"),
            (refused(Refusal::AgentRemoved { agent }), 409, "agent_removed"),
            (refused(Refusal::AgentMoved { agent }), 409, "refused"),
            (refused(Refusal::BatchIdReused { batch }), 409, "batch_id_reused"),
            (refused(Refusal::ReportIdReused { report }), 409, "report_id_reused"),
            (refused(Refusal::BatchTooLarge { events: 10_001 }), 413, "batch_too_large"),
            (refused(Refusal::UnknownCommand { command }), 404, "not_found"),
            (refused(Refusal::CommandIdReused { command }), 409, "command_id_reused"),
            (refused(Refusal::TooManyCommands { agent }), 409, "too_many_commands"),
            (refused(Refusal::OtherPlan { command }), 409, "other_plan"),
            (refused(Refusal::CounterMoved { command, next: 2 }), 409, "counter_moved"),
            (StoreErrorKind::Query(QueryError::new("after", "not a cursor")), 400, "bad_parameter"),
            (StoreErrorKind::Unavailable, 503, "unavailable"),
            (StoreErrorKind::OutcomeUnknown, 503, "outcome_unknown"),
            (StoreErrorKind::SchemaTooNew, 503, "schema_too_new"),
            (StoreErrorKind::Pruned, 410, "pruned"),
            (StoreErrorKind::DataRefused, 500, "internal"),
            (StoreErrorKind::Misconfigured, 500, "internal"),
            (StoreErrorKind::Corrupt, 500, "internal"),
        ] {
            let problem = Problem::from(StoreError::caused(kind.clone(), "a secret of the database"));
            assert_eq!((problem.status().as_u16(), problem.code()), (status, code), "{kind:?}");
            assert!(!problem.detail().contains("secret"), "{kind:?}: causes stay in the log");
            let retry = problem.into_response().headers().contains_key(header::RETRY_AFTER);
            assert_eq!(retry, status == 503, "{kind:?}");
        }
    }
}
