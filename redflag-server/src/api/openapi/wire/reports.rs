//! What agents report, and what is answered.

use super::fields::{availability, manager, null, optional_text, report_status, texts, version_order};
use redflag_core::limits;
use utoipa::{
    ToSchema,
    openapi::{ArrayBuilder, ObjectBuilder, Ref, RefOr, Schema, schema::AnyOfBuilder},
};

/// A report, schema 1. Each manager has one scope.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct ReportBody {
    /// The schema.
    #[schema(minimum = 1, maximum = 1)]
    schema: u32,
    /// The report's id: the same again has one effect.
    #[schema(format = Uuid)]
    report_id: String,
    /// The report's number: a lower or equal one than the last is stale.
    #[schema(maximum = 9_223_372_036_854_775_807_u64)]
    sequence: u64,
    /// When it was made, by the agent's clock.
    #[schema(format = DateTime)]
    sent_at: String,
    host: Option<HostBody>,
    /// One entry a manager.
    #[schema(max_items = 32)]
    scopes: Vec<ScopeBody>,
}

/// What an agent says of its host.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct HostBody {
    #[schema(schema_with = optional_text)]
    hostname: Option<String>,
    #[schema(schema_with = optional_text)]
    os: Option<String>,
    #[schema(schema_with = optional_text)]
    kernel: Option<String>,
    #[schema(schema_with = optional_text)]
    arch: Option<String>,
    #[schema(schema_with = optional_text)]
    agent_version: Option<String>,
    virtualisation: Option<VirtualisationBody>,
    #[schema(format = DateTime)]
    booted_at: Option<String>,
    #[schema(schema_with = reboot_reasons)]
    reboot_reasons: Option<Vec<String>>,
    #[schema(schema_with = services)]
    services_to_restart: Option<Vec<String>>,
    /// A digest of the machine's id.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    machine_digest: Option<String>,
}

/// In what a host runs.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct VirtualisationBody {
    #[schema(pattern = "^(physical|virtual-machine|container)$")]
    kind: String,
    #[schema(schema_with = optional_text)]
    technology: Option<String>,
}

/// What one manager knows: a complete scan as its digest, a scan with its offers, or why there was none.
#[derive(ToSchema)]
#[serde(untagged)]
pub(in crate::api) enum ScopeBody {
    Unchanged(UnchangedScope),
    Scanned(ScannedScope),
    Failed(FailedScope),
}

/// What a scope has in common with others, and what `$result` and `$more` make of it. One struct a kind, because of `allOf` no schema could
/// say that nothing else stands there.
macro_rules! scope {
    ($(#[$doc:meta])* $name:ident: $result:literal { $($more:tt)* }) => {
        $(#[$doc])*
        #[derive(ToSchema)]
        #[serde(deny_unknown_fields)]
        pub(in crate::api) struct $name {
            #[schema(schema_with = manager)]
            package_type: String,
            #[schema(schema_with = version_order)]
            version_order: String,
            #[schema(pattern = $result)]
            result: String,
            #[schema(schema_with = optional_text)]
            error: Option<String>,
            #[schema(format = DateTime)]
            scanned_at: String,
            #[schema(format = DateTime)]
            metadata_at: Option<String>,
            #[schema(schema_with = optional_text)]
            refresh_error: Option<String>,
            $($more)*
        }
    };
}

scope! {
    /// The offers are those of the digest that the server acknowledged.
    UnchangedScope: "^complete$" {
        #[schema(pattern = "^[0-9a-f]{64}$")]
        digest: String,
    }
}

scope! {
    /// A scan with its offers; only a complete one closes what it does not offer.
    ScannedScope: "^(complete|partial)$" {
        /// What is offered. A fact that is no offer is rejected by itself, and the rest is kept.
        #[schema(schema_with = offers)]
        offers: Vec<OfferBody>,
        /// What is offered no more, likewise.
        #[schema(schema_with = gone)]
        gone: Option<Vec<GoneBody>>,
    }
}

scope! {
    /// A scan that failed says nothing about packages.
    FailedScope: "^failed$" {}
}

/// One package that could be updated.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct OfferBody {
    #[schema(max_length = 255)]
    package_name: String,
    #[schema(max_length = 32)]
    arch: Option<String>,
    /// The version installed now; none for a new dependency.
    #[schema(max_length = 255)]
    current_version: Option<String>,
    #[schema(max_length = 255)]
    available_version: String,
    /// Repository or origin.
    repository_source: Option<String>,
    /// The source's word for the severity; what is none of ours counts as unknown.
    severity: Option<String>,
    security: bool,
    #[schema(max_items = 256)]
    advisories: Vec<String>,
    #[schema(max_items = 256)]
    cve_list: Vec<String>,
    #[schema(maximum = 9_223_372_036_854_775_807_u64)]
    size_bytes: Option<u64>,
    package_description: Option<String>,
    #[schema(schema_with = availability)]
    availability: Option<String>,
    availability_reason: Option<String>,
    /// Anything else, at most 4 KiB and 8 levels deep.
    #[schema(value_type = Option<Object>)]
    metadata: Option<()>,
}

/// One package that is offered no more.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct GoneBody {
    #[schema(max_length = 255)]
    package_name: String,
    #[schema(max_length = 32)]
    arch: Option<String>,
    /// The version installed now; none when it is not installed.
    #[schema(max_length = 255)]
    installed_version: Option<String>,
}

/// A report in the shape of earlier agents.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct CompatibleReportBody {
    /// Names the report; else its content does.
    command_id: Option<String>,
    #[schema(format = DateTime)]
    timestamp: Option<String>,
    /// What is offered. What cannot be read is rejected by itself.
    #[schema(schema_with = compatible_updates)]
    updates: Vec<CompatibleUpdateBody>,
}

/// One update in the shape of earlier agents.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct CompatibleUpdateBody {
    #[schema(schema_with = manager)]
    package_type: String,
    #[schema(max_length = 255)]
    package_name: String,
    package_description: Option<String>,
    #[schema(max_length = 255)]
    current_version: Option<String>,
    #[schema(max_length = 255)]
    available_version: String,
    severity: Option<String>,
    #[schema(max_items = 256)]
    cve_list: Option<Vec<String>>,
    kb_id: Option<String>,
    repository_source: Option<String>,
    #[schema(maximum = 9_223_372_036_854_775_807_u64)]
    size_bytes: Option<u64>,
    #[schema(value_type = Option<Object>)]
    metadata: Option<()>,
}

/// How a report was taken.
#[derive(ToSchema)]
pub(in crate::api) struct ReportAnswerBody {
    report_id: String,
    #[schema(schema_with = report_status)]
    status: String,
    /// Managers whose packages the server wants in the next report.
    full_required: Vec<String>,
    /// Managers whose sudden emptiness waits for a second scan.
    quarantined: Vec<String>,
    /// Batches written.
    batches: u32,
    /// Events written.
    events: u32,
    /// Facts that became events.
    recorded: u64,
    /// Facts that were known.
    unchanged: u64,
    /// Facts rejected.
    rejected: u64,
    /// One outcome per fact, dense and index-aligned.
    outcomes: Vec<FactOutcome>,
}

/// What became of one fact.
#[derive(ToSchema)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub(in crate::api) enum FactOutcome {
    Recorded,
    Unchanged,
    Rejected {
        /// The stable reason.
        code: String,
        /// The field at fault.
        field: String,
        /// A sentence fragment for people.
        message: String,
    },
}

/// What became of one event of a batch.
#[derive(ToSchema)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub(in crate::api) enum Outcome {
    Accepted,
    Duplicate {
        /// The batch that brought it first.
        batch: String,
        /// Its index there.
        index: u32,
    },
    Rejected {
        /// The stable reason.
        code: String,
        /// The field at fault.
        field: String,
        /// A sentence fragment for people.
        message: String,
    },
}

fn reboot_reasons() -> Schema {
    texts(limits::REBOOT_REASONS_MAX)
}

fn services() -> Schema {
    texts(limits::SERVICES_MAX)
}

/// A list of facts: what is no `fact` is rejected by itself, so it may stand there.
fn facts(fact: &str) -> Schema {
    let anything = ObjectBuilder::new().schema_type(utoipa::openapi::schema::SchemaType::AnyValue).build();
    let item = AnyOfBuilder::new().item(Ref::from_schema_name(fact)).item(anything).build();
    Schema::Array(ArrayBuilder::new().items(RefOr::T(Schema::AnyOf(item))).build())
}

fn offers() -> Schema {
    facts("OfferBody")
}

fn gone() -> Schema {
    Schema::AnyOf(AnyOfBuilder::new().item(facts("GoneBody")).item(null()).build())
}

fn compatible_updates() -> Schema {
    facts("CompatibleUpdateBody")
}
