//! What holds for every operation, said once: how problems look, which any of them can answer, and the words of parameters.

use redflag_core::{
    audit::AuditKind,
    command::lifecycle::CommandState,
    words::{AvailabilityKind, Severity, Status},
};
use utoipa::{
    Modify,
    openapi::{
        Content, ObjectBuilder, OpenApi, Ref, RefOr, Required, Response, ResponseBuilder, Schema, Type,
        path::{Operation, Parameter, ParameterIn},
        schema::AdditionalProperties,
    },
};

const JSON_TYPE: &str = "application/json";
const PROBLEM_TYPE: &str = "application/problem+json";

/// What every operation can answer beside its own: requests the guard turns away, and a database that is not there.
const EVERYWHERE: [(&str, &str); 5] = [
    ("403", "not allowed, or caused by another site"),
    ("408", "it took too long"),
    ("414", "path and query are too long"),
    ("429", "too much in too short a time; `Retry-After` says when to try again"),
    ("503", "the database is not available"),
];
/// The same for operations with a body.
const WITH_BODY: [(&str, &str); 3] =
    [("411", "the body comes without its length"), ("413", "the body is too large"), ("415", "the body is not JSON, or encoded")];

/// Adds what is common to the document that the handlers make.
pub(super) struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut OpenApi) {
        let schemas = document.components.iter_mut().flat_map(|components| components.schemas.values_mut());
        schemas.for_each(close_variants);
        for (path, item) in &mut document.paths.paths {
            for operation in [&mut item.get, &mut item.post, &mut item.delete].into_iter().flatten() {
                name_uniquely(operation, path);
                complete(operation);
            }
        }
    }
}

/// Operations are named by their handlers, many of which are a `list` or a `one`: the resource goes before it.
fn name_uniquely(operation: &mut Operation, path: &str) {
    let resource =
        path.trim_start_matches("/api/v1").trim_start_matches('/').split(['/', '.']).next().unwrap_or_default().replace('-', "_");
    if let Some(name) = &mut operation.operation_id {
        *name = format!("{resource}_{name}");
    }
}

fn complete(operation: &mut Operation) {
    for parameter in operation.parameters.iter_mut().flatten() {
        if let RefOr::T(parameter) = parameter {
            name_words(parameter);
            allow_empty(parameter);
        }
    }
    let with_body: &[_] = if operation.request_body.is_some() { &WITH_BODY } else { &[] };
    let responses = &mut operation.responses.responses;
    for (status, description) in EVERYWHERE.iter().chain(with_body) {
        let response = ResponseBuilder::new().description(*description).content(JSON_TYPE, Content::new(Some(problem())));
        responses.entry((*status).to_owned()).or_insert_with(|| RefOr::T(response.build()));
    }
    for (status, response) in responses {
        if let RefOr::T(response) = response {
            if response.description.is_empty() {
                response.description = meaning(status).to_owned();
            }
            name_problem_type(response);
        }
    }
}

/// What can be asked for has variants with fields of their own and takes no others; utoipa says so of structs only.
fn close_variants(schema: &mut RefOr<Schema>) {
    let RefOr::T(Schema::OneOf(one_of)) = schema else { return };
    for variant in &mut one_of.items {
        if let RefOr::T(Schema::Object(variant)) = variant {
            variant.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
        }
    }
}

/// What a status means where the handler says nothing more of it.
fn meaning(status: &str) -> &'static str {
    match status {
        "200" => "the answer",
        "201" => "made",
        "202" => "begun",
        "204" => "done",
        "400" => "the request is not what the document says",
        "401" => "no valid credential",
        "404" => "nothing here, or nothing that the caller may see",
        "409" => "not possible as things stand",
        "429" => "too many requests",
        _ => "refused",
    }
}

/// Problems have a media type of their own (RFC 9457).
fn name_problem_type(response: &mut Response) {
    let of_problem = |content: &RefOr<Content>| matches!(content, RefOr::T(content) if content.schema == Some(problem()));
    if response.content.get(JSON_TYPE).is_some_and(of_problem) {
        let content = response.content.shift_remove(JSON_TYPE);
        response.content.extend(content.map(|content| (PROBLEM_TYPE.to_owned(), content)));
    }
}

/// A parameter of a query that may be absent counts as absent when its value is empty, as forms send it.
fn allow_empty(parameter: &mut Parameter) {
    if parameter.parameter_in == ParameterIn::Query && parameter.required != Required::True {
        parameter.extensions.get_or_insert_default().insert("allowEmptyValue".to_owned(), true.into());
    }
}

/// Lists the words a parameter takes, as core defines them (clause S8).
fn name_words(parameter: &mut Parameter) {
    let words: Vec<&str> = match parameter.name.as_str() {
        "status" => Status::ALL.iter().map(|word| word.as_str()).chain(["open", "any"]).collect(),
        "state" => CommandState::ALL.iter().map(|word| word.as_str()).chain(["open", "any"]).collect(),
        "kind" => AuditKind::ALL.iter().map(|word| word.as_str()).collect(),
        "severity" => Severity::ALL.iter().map(|word| word.as_str()).collect(),
        "availability" => AvailabilityKind::ALL.iter().map(|word| word.as_str()).collect(),
        _ => return,
    };
    let words = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).build();
    parameter.schema = Some(RefOr::T(Schema::Object(words)));
}

fn problem() -> RefOr<Schema> {
    RefOr::Ref(Ref::from_schema_name("ProblemBody"))
}
