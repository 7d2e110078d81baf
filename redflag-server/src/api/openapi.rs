//! The OpenAPI document, made from the handlers themselves.

use super::{
    agents, batches, command_steps, commands, commands_of_agents, decisions, feed, halting, operations, packages, past, removal, reports,
    session, trend, updates,
};
use crate::{listing, problem::Problem};
use axum::{
    http::{Uri, header},
    response::{IntoResponse, Response},
};
use redflag_core::{
    command::lifecycle::CommandState,
    words::{AvailabilityKind, Severity, Status},
};
use std::sync::LazyLock;
use utoipa::{
    Modify, OpenApi,
    openapi::{Content, ObjectBuilder, Ref, RefOr, ResponseBuilder, Schema, Type, path::Parameter},
};

#[derive(OpenApi)]
#[openapi(
    modifiers(&Problems),
    info(
        title = "RedFlag",
        description = "Which package updates wait on every machine of a fleet, their whole history, and decisions about them. \
                       Operators carry a session cookie, and on every POST and DELETE the header `x-csrf-token`; agents sign every request \
                       (RFC 9421). Errors are RFC 9457 problems with a stable `code`."
    ),
    paths(
        reports::enrol,
        reports::report,
        reports::compatible_report,
        commands_of_agents::lease,
        commands_of_agents::start,
        commands_of_agents::result,
        commands_of_agents::output,
        agents::list,
        agents::one,
        removal::agent,
        updates::list,
        updates::one,
        updates::history,
        updates::events,
        past::state,
        updates::stats,
        packages::list,
        trend::show,
        feed::list,
        decisions::approve,
        decisions::withdraw_approval,
        decisions::ignore,
        decisions::reopen,
        operations::select,
        operations::start,
        operations::one,
        commands::list,
        commands::one,
        command_steps::request,
        command_steps::cancel,
        command_steps::retry,
        command_steps::confirm,
        halting::show,
        halting::set,
        halting::lift,
        batches::list,
        batches::one,
        session::show,
        document,
    )
)]
struct Document;

/// What every operation can answer beside its own: requests the guard turns away, and a database that is not there.
const EVERYWHERE: [(&str, &str); 3] =
    [("403", "not allowed, or caused by another site"), ("408", "it took too long"), ("503", "the database is not available")];
/// The same for operations with a body.
const WITH_BODY: [(&str, &str); 2] = [("413", "the body is too large"), ("415", "the body is not JSON, or encoded")];

/// Says of problems what holds for all: their media type (RFC 9457), and those that any operation can answer.
struct Problems;

impl Modify for Problems {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let operations = document
            .paths
            .paths
            .values_mut()
            .flat_map(|item| [&mut item.get, &mut item.post, &mut item.delete].into_iter().filter_map(Option::as_mut));
        for operation in operations {
            for parameter in operation.parameters.iter_mut().flatten() {
                if let RefOr::T(parameter) = parameter {
                    name_words(parameter);
                }
            }
            let with_body: &[_] = if operation.request_body.is_some() { &WITH_BODY } else { &[] };
            let responses = &mut operation.responses.responses;
            for (status, description) in EVERYWHERE.iter().chain(with_body) {
                let problem = || ResponseBuilder::new().description(*description).content(JSON_TYPE, Content::new(Some(problem()))).build();
                responses.entry((*status).to_owned()).or_insert_with(|| RefOr::T(problem()));
            }
            for response in responses.values_mut() {
                let RefOr::T(response) = response else { continue };
                let of_problem = |content: &RefOr<Content>| matches!(content, RefOr::T(content) if content.schema == Some(problem()));
                if response.content.get(JSON_TYPE).is_some_and(of_problem) {
                    let content = response.content.shift_remove(JSON_TYPE);
                    response.content.extend(content.map(|content| (PROBLEM_TYPE.to_owned(), content)));
                }
            }
        }
    }
}

/// Lists the words a parameter takes, as core defines them (clause S8); an empty value counts as absent.
fn name_words(parameter: &mut Parameter) {
    let words: Vec<&str> = match parameter.name.as_str() {
        "status" => Status::ALL.iter().map(|word| word.as_str()).chain(["open", "any"]).collect(),
        "state" => CommandState::ALL.iter().map(|word| word.as_str()).chain(["open", "any"]).collect(),
        "severity" => Severity::ALL.iter().map(|word| word.as_str()).collect(),
        "availability" => AvailabilityKind::ALL.iter().map(|word| word.as_str()).collect(),
        _ => return,
    };
    let words = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words.into_iter().chain([""]))).build();
    parameter.schema = Some(RefOr::T(Schema::Object(words)));
}

fn problem() -> RefOr<Schema> {
    RefOr::Ref(Ref::from_schema_name("ProblemBody"))
}

const JSON_TYPE: &str = "application/json";
const PROBLEM_TYPE: &str = "application/problem+json";

static JSON: LazyLock<String> = LazyLock::new(|| Document::openapi().to_pretty_json().expect("the document always serialises"));

/// This document.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "meta", responses((status = 200, body = Object)))]
pub(super) async fn document(uri: Uri) -> Result<Response, Problem> {
    listing::no_parameters(&uri)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], JSON.as_str()).into_response())
}
