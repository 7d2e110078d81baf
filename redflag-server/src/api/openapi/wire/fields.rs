//! Single fields: what the schema of a text, a number or a word is.

use super::super::super::reports::TAGS_MAX;
use redflag_core::{
    command::{
        lifecycle::CommandState,
        payload::{SideEffect, SigningMode},
        refusal::RefusalCode,
    },
    limits,
    report::ReportStatus,
    words::{AvailabilityKind, IgnoreScope, Status, VersionOrder},
};
use utoipa::openapi::{ArrayBuilder, Object, ObjectBuilder, Schema, Type, schema::AnyOfBuilder};

/// A text of the contract: not empty, without NUL; its limit is in bytes, which no schema can say.
pub(super) fn text() -> Object {
    ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).pattern(Some("^[^\\x00]+$")).build()
}

/// A number of 64 bits; the formats of OpenAPI know only those with a sign.
pub(super) fn any_u64() -> Object {
    whole_number(u64::MAX)
}

pub(super) fn any_u32() -> Object {
    whole_number(u32::MAX.into())
}

fn whole_number(maximum: u64) -> Object {
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0_u64)).maximum(Some(maximum)).build()
}

pub(super) fn optional_u64() -> Schema {
    nullable(any_u64())
}

pub(super) fn optional_text() -> Schema {
    nullable(text())
}

pub(super) fn optional_version() -> Schema {
    let version = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(limits::VERSION_BYTES_MAX));
    nullable(version.pattern(Some("^[!-,.-~][!-~]*$")).build())
}

pub(super) fn manager() -> Object {
    let manager = ObjectBuilder::new().schema_type(Type::String).max_length(Some(limits::MANAGER_BYTES_MAX));
    manager.pattern(Some("^[a-z][a-z0-9._-]*$")).build()
}

pub(super) fn texts(items_max: usize) -> Schema {
    let texts = ArrayBuilder::new().items(text()).max_items(Some(items_max)).build();
    Schema::AnyOf(AnyOfBuilder::new().item(texts).item(null()).build())
}

/// The words that mark an agent, which may be absent.
pub(in crate::api) fn tags() -> Schema {
    Schema::Array(ArrayBuilder::new().items(text()).max_items(Some(TAGS_MAX)).build())
}

pub(super) fn nullable(schema: Object) -> Schema {
    Schema::AnyOf(AnyOfBuilder::new().item(schema).item(null()).build())
}

pub(super) fn null() -> Object {
    ObjectBuilder::new().schema_type(Type::Null).build()
}

pub(super) fn word_of<'a>(words: impl Iterator<Item = &'a str>) -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).build()
}

macro_rules! words_of {
    ($($name:ident: $words:ident),+ $(,)?) => {$(
        pub(super) fn $name() -> Object {
            word_of($words::ALL.iter().map(|word| word.as_str()))
        }
    )+};
}

words_of! {
    version_order: VersionOrder, report_status: ReportStatus, signing_mode: SigningMode, command_state: CommandState,
    refusal_code: RefusalCode, availability: AvailabilityKind, status: Status, ignore_scope: IgnoreScope,
}

pub(super) fn side_effects() -> Schema {
    let effects = ArrayBuilder::new().items(word_of(SideEffect::ALL.iter().map(|word| word.as_str()))).unique_items(true);
    Schema::Array(effects.build())
}
