//! The shapes of core's wire types for the OpenAPI document. Core writes and reads them and knows no OpenAPI; the fuzzer of
//! `scripts/api-fuzz` holds what the server takes and answers against what stands here.

#![expect(dead_code, reason = "states shapes for the OpenAPI document; `redflag_core` reads and writes them")]

pub(in crate::api) mod audit;
pub(in crate::api) mod commands;
pub(in crate::api) mod delivery;
pub(in crate::api) mod reports;
pub(in crate::api) mod updates;

mod fields;

pub(in crate::api) use fields::tags;
