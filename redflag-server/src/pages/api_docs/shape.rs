//! JSON Schema in words: what a value is, with a link where it is a shape of its own.

use super::{members, text};
use serde_json::Value;

/// What a value is.
pub(super) struct Kind {
    /// In words.
    pub(super) words: String,
    /// The shape it is, or is a list of.
    pub(super) shape: Option<String>,
}

/// A named shape of the document.
pub(super) struct Shape {
    pub(super) name: String,
    pub(super) words: String,
    pub(super) forms: Vec<Form>,
}

/// One form of a shape: most have one.
pub(super) struct Form {
    pub(super) words: String,
    /// The shape that it is.
    pub(super) shape: Option<String>,
    pub(super) fields: Vec<Field>,
}

/// One field of an object.
pub(super) struct Field {
    pub(super) name: String,
    pub(super) required: bool,
    pub(super) kind: Kind,
    pub(super) words: String,
}

/// Every shape of the document, by its name.
pub(super) fn all(document: &Value) -> Vec<Shape> {
    members(&document["components"]["schemas"]).map(|(name, schema)| Shape::read(name, schema)).collect()
}

impl Shape {
    fn read(name: &str, schema: &Value) -> Self {
        let variants = schema["oneOf"].as_array().or(schema["allOf"].as_array());
        let forms = variants.map_or_else(|| vec![Form::read(schema)], |variants| variants.iter().map(Form::read).collect());
        Self { name: name.to_owned(), words: text(&schema["description"]), forms }
    }
}

impl Form {
    /// The fields of an object; those of what it is made of besides are told by the link.
    fn read(schema: &Value) -> Self {
        let required = |name: &str| schema["required"].as_array().is_some_and(|names| names.iter().any(|known| known == name));
        let fields = members(&schema["properties"]).map(|(name, field)| Field {
            name: name.clone(),
            required: required(name),
            kind: Kind::of(field),
            words: text(&field["description"]),
        });
        Self { fields: fields.collect(), shape: Kind::of(schema).shape, words: text(&schema["description"]) }
    }
}

impl Kind {
    /// What a schema says in words.
    pub(super) fn of(schema: &Value) -> Self {
        if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
            return Self { words: String::new(), shape: Some(name.to_owned()) };
        }
        if let Some(ways) = schema["anyOf"].as_array().or(schema["oneOf"].as_array()).or(schema["allOf"].as_array()) {
            let ways: Vec<_> = ways.iter().map(Self::of).collect();
            let words: Vec<_> = ways.iter().map(|way| way.words.as_str()).filter(|words| !words.is_empty()).collect();
            return Self { words: words.join(" or "), shape: ways.iter().find_map(|way| way.shape.clone()) };
        }
        if schema.get("items").is_some() {
            let item = Self::of(&schema["items"]);
            return Self { words: format!("list of {}", item.words).trim_end().to_owned(), shape: item.shape };
        }
        Self { words: plain(schema), shape: None }
    }
}

/// A value without parts.
fn plain(schema: &Value) -> String {
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().map(|word| word.as_str().map_or_else(|| word.to_string(), str::to_owned)).collect::<Vec<_>>().join(", ");
    }
    let kinds = schema["type"].as_array().map_or_else(|| vec![text(&schema["type"])], |kinds| kinds.iter().map(text).collect());
    let kinds: Vec<_> = kinds.into_iter().filter(|kind| !kind.is_empty()).collect();
    let mut words = if kinds.is_empty() { "anything".to_owned() } else { kinds.join(" or ") };
    let mut add = |what: &str, value: &Value| {
        if !value.is_null() {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            words.push_str(&format!(", {what}{value}"));
        }
    };
    add("", &schema["format"]);
    add("at least ", &schema["minimum"]);
    add("at most ", &schema["maximum"]);
    add("characters at least ", &schema["minLength"]);
    add("characters at most ", &schema["maxLength"]);
    add("like ", &schema["pattern"]);
    words
}
