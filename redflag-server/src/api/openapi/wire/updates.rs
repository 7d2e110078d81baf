//! Where an update stands, and what happened to it.

use super::fields::{ignore_scope, status};
use utoipa::ToSchema;

/// Who caused something; an agent has no name here.
#[derive(ToSchema)]
pub(in crate::api) struct Actor {
    #[serde(rename = "type")]
    #[schema(pattern = "^(agent|operator|system)$")]
    kind: String,
    name: Option<String>,
}

/// Where an update stands; what else stands there belongs to the status.
#[derive(ToSchema)]
pub(in crate::api) struct Standing {
    #[schema(schema_with = status)]
    status: String,
    #[schema(schema_with = ignore_scope)]
    scope: Option<String>,
    until: Option<String>,
    actor: Option<Actor>,
    at: Option<String>,
    offer_digest: Option<String>,
    comment: Option<String>,
    reason: Option<String>,
    approval: Option<Approval>,
    dispatch: Option<Dispatch>,
    command: Option<String>,
    version: Option<String>,
}

/// Who approved which offer.
#[derive(ToSchema)]
pub(in crate::api) struct Approval {
    offer_digest: String,
    actor: Actor,
    at: String,
    comment: Option<String>,
}

/// A command that carries out an approval.
#[derive(ToSchema)]
pub(in crate::api) struct Dispatch {
    command: String,
    approval: Approval,
}

/// What happened to an update; what else stands there belongs to the kind.
#[derive(ToSchema)]
pub(in crate::api) struct EventChange {
    kind: String,
}
