//! The API's own documentation: every operation and shape of the OpenAPI document on one page, without anything from elsewhere.

mod shape;

use super::frame::{Answer, Frame, Place, page};
use crate::{access::Operator, api::openapi, app::AppState};
use askama::Template;
use axum::extract::State;
use serde_json::Value;
use shape::{Kind, Shape};
use std::collections::BTreeMap;

#[derive(Template)]
#[template(path = "api_docs.html")]
struct ApiDocsPage {
    frame: Frame,
    groups: Vec<Group>,
    shapes: Vec<Shape>,
}

/// The operations of one tag.
struct Group {
    name: String,
    operations: Vec<Operation>,
}

struct Operation {
    anchor: String,
    method: String,
    path: String,
    summary: String,
    /// Its description in paragraphs; the last says who may call it.
    words: Vec<String>,
    parameters: Vec<Parameter>,
    body: Option<Kind>,
    answers: Vec<Answered>,
    /// How it is called from a shell.
    example: String,
}

struct Parameter {
    name: String,
    place: String,
    required: bool,
    kind: Kind,
    words: String,
}

struct Answered {
    status: String,
    words: String,
    kind: Option<Kind>,
}

/// `GET /docs/api`.
pub(super) async fn show(State(app): State<AppState>, operator: Operator) -> Answer {
    let frame = Frame::within(&app, Place::Overview, &operator).await?;
    let document = &openapi::of(&app).value;
    let url = super::server_url(&app);
    page(&ApiDocsPage { frame, groups: groups(document, &url), shapes: shape::all(document) })
}

fn groups(document: &Value, url: &str) -> Vec<Group> {
    let mut groups: BTreeMap<String, Vec<Operation>> = BTreeMap::new();
    for (path, item) in members(&document["paths"]) {
        for (method, operation) in members(item) {
            let group = text(&operation["tags"][0]);
            groups.entry(group).or_default().push(Operation::read(method, path, operation, url));
        }
    }
    groups.into_iter().map(|(name, operations)| Group { name, operations }).collect()
}

impl Operation {
    fn read(method: &str, path: &str, operation: &Value, url: &str) -> Self {
        let body = operation["requestBody"]["content"]["application/json"].get("schema").map(Kind::of);
        let answers = members(&operation["responses"]).map(|(status, response)| Answered {
            status: status.clone(),
            words: text(&response["description"]),
            kind: members(&response["content"]).next().map(|(_, content)| Kind::of(&content["schema"])),
        });
        let words = text(&operation["description"]);
        Self {
            anchor: format!("{method}{}", path.replace(['/', '{', '}'], "-")),
            method: method.to_uppercase(),
            path: path.to_owned(),
            summary: text(&operation["summary"]),
            words: words.split("\n\n").map(str::to_owned).collect(),
            parameters: operation["parameters"].as_array().into_iter().flatten().map(Parameter::read).collect(),
            answers: answers.collect(),
            example: example(method, path, operation, body.is_some(), url),
            body,
        }
    }
}

impl Parameter {
    fn read(parameter: &Value) -> Self {
        Self {
            name: text(&parameter["name"]),
            place: text(&parameter["in"]),
            required: parameter["required"] == true,
            kind: Kind::of(&parameter["schema"]),
            words: text(&parameter["description"]),
        }
    }
}

/// A call by curl, with an API token where one reaches the operation. Secrets come from the environment, not from the command line's
/// history.
fn example(method: &str, path: &str, operation: &Value, with_body: bool, url: &str) -> String {
    let ways = operation["security"].as_array().into_iter().flatten();
    let credential = ways.flat_map(members).map(|(scheme, _)| scheme.as_str()).last();
    let mut parts = vec!["curl".to_owned()];
    if method != "get" {
        parts.push(format!("--request {}", method.to_uppercase()));
    }
    match credential {
        Some("token") => parts.push("--oauth2-bearer \"$REDFLAG_TOKEN\"".to_owned()),
        Some("agent") => parts.push("--header @signed-headers".to_owned()),
        Some(_) => parts.push("--header @session-headers".to_owned()),
        None => {}
    }
    if with_body {
        parts.push("--json @body.json".to_owned());
    }
    parts.push(format!("'{url}{path}'"));
    parts.join(" ")
}

/// The members of an object, in their order; none of anything else.
fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// A text in paragraphs, each a line: where a comment was wrapped in the source means nothing.
fn text(value: &Value) -> String {
    let paragraphs = value.as_str().unwrap_or_default().split("\n\n").map(|paragraph| paragraph.replace('\n', " "));
    paragraphs.collect::<Vec<_>>().join("\n\n")
}
