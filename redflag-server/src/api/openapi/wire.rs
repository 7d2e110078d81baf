//! The shapes of core's wire types for the OpenAPI document. Core writes and reads them and knows no OpenAPI; the fuzzer of
//! `scripts/api-fuzz` holds what the server takes and answers against what stands here.

#![expect(dead_code, reason = "states shapes for the OpenAPI document; `redflag_core` reads and writes them")]

use super::super::reports::TAGS_MAX;
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
use utoipa::{
    ToSchema,
    openapi::{ArrayBuilder, Object, ObjectBuilder, Ref, RefOr, Schema, Type, schema::AnyOfBuilder},
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

/// The offers are those of the digest that the server acknowledged.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct UnchangedScope {
    #[schema(schema_with = manager)]
    package_type: String,
    #[schema(schema_with = version_order)]
    version_order: String,
    #[schema(pattern = "^complete$")]
    result: String,
    #[schema(schema_with = optional_text)]
    error: Option<String>,
    #[schema(format = DateTime)]
    scanned_at: String,
    #[schema(format = DateTime)]
    metadata_at: Option<String>,
    #[schema(schema_with = optional_text)]
    refresh_error: Option<String>,
    #[schema(pattern = "^[0-9a-f]{64}$")]
    digest: String,
}

/// A scan with its offers; only a complete one closes what it does not offer.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct ScannedScope {
    #[schema(schema_with = manager)]
    package_type: String,
    #[schema(schema_with = version_order)]
    version_order: String,
    #[schema(pattern = "^(complete|partial)$")]
    result: String,
    #[schema(schema_with = optional_text)]
    error: Option<String>,
    #[schema(format = DateTime)]
    scanned_at: String,
    #[schema(format = DateTime)]
    metadata_at: Option<String>,
    #[schema(schema_with = optional_text)]
    refresh_error: Option<String>,
    /// What is offered. A fact that is no offer is rejected by itself, and the rest is kept.
    #[schema(schema_with = offers)]
    offers: Vec<OfferBody>,
    /// What is offered no more, likewise.
    #[schema(schema_with = gone)]
    gone: Option<Vec<GoneBody>>,
}

/// A scan that failed says nothing about packages.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct FailedScope {
    #[schema(schema_with = manager)]
    package_type: String,
    #[schema(schema_with = version_order)]
    version_order: String,
    #[schema(pattern = "^failed$")]
    result: String,
    #[schema(schema_with = optional_text)]
    error: Option<String>,
    #[schema(format = DateTime)]
    scanned_at: String,
    #[schema(format = DateTime)]
    metadata_at: Option<String>,
    #[schema(schema_with = optional_text)]
    refresh_error: Option<String>,
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

/// An agent asks for its commands.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct LeaseBody {
    /// How many new ones it takes; more than 16 are never given.
    #[schema(schema_with = any_u32)]
    limit: u32,
    /// How many seconds it waits for one; longer than 50 is never waited.
    #[schema(schema_with = any_u32)]
    wait_seconds: u32,
}

/// A witness of the audit log asks how it went on.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct WitnessBody {
    /// The checkpoint it keeps; none for the first time.
    kept: Option<CheckpointName>,
}

/// Which checkpoint a witness keeps.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct CheckpointName {
    /// Its number.
    #[schema(schema_with = any_u64)]
    number: u64,
    /// Its digest.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    digest: String,
}

/// How the log went on: the checkpoints after the one that is kept; another one where that is none of this log's.
#[derive(ToSchema)]
pub(in crate::api) struct WitnessAnswer {
    /// The public key that signs checkpoints, in base64.
    public_key: String,
    /// Their DSSE envelopes, byte for byte as they were signed.
    checkpoints: Vec<String>,
}

/// A witness says that the log has forked.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct ForkBody {
    /// The envelope of the checkpoint it keeps.
    kept: String,
    /// The envelope of the one it was shown.
    shown: String,
    /// How it showed.
    what: String,
}

/// The commands of an agent.
#[derive(ToSchema)]
pub(in crate::api) struct LeaseAnswer {
    /// What was handed out and not begun, in the order of its counters.
    commands: Vec<LeasedCommand>,
    signer: Signer,
    /// The id of the key that was prepared to take the signer's place.
    next_key_id: Option<String>,
    /// Why nothing is handed out, while commands are halted.
    halted: Option<String>,
}

/// One command that was handed out.
#[derive(ToSchema)]
pub(in crate::api) struct LeasedCommand {
    id: String,
    /// The DSSE envelope, byte for byte as it was signed.
    envelope: String,
}

/// Whose key signs commands.
#[derive(ToSchema)]
pub(in crate::api) struct Signer {
    #[schema(schema_with = signing_mode)]
    mode: String,
    key_id: String,
    /// 32 bytes in base64.
    public_key: String,
}

/// Where a command stands. An agent may begin only when it is `started`.
#[derive(ToSchema)]
pub(in crate::api) struct CommandStanding {
    id: String,
    #[schema(schema_with = command_state)]
    state: String,
}

/// A part of what the tools of a running command print.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct OutputBody {
    /// How many bytes of output were sent before this part.
    #[schema(schema_with = any_u64)]
    offset: u64,
    /// The part, at most 64 KiB.
    text: String,
}

/// How an agent says that a command ended.
#[derive(ToSchema)]
#[serde(untagged)]
pub(in crate::api) enum ClaimBody {
    Succeeded(SucceededBody),
    Failed(FailedBody),
    Refused(RefusedBody),
}

/// It was carried out.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct SucceededBody {
    #[schema(pattern = "^succeeded$")]
    kind: String,
    plan: Option<Plan>,
    /// Whether the host asks for a reboot now.
    reboot_required: Option<bool>,
    /// The end of what the tools printed.
    #[schema(required = false)]
    output: String,
}

/// It could not be carried out, or was undone.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct FailedBody {
    #[schema(pattern = "^failed$")]
    kind: String,
    #[schema(schema_with = text)]
    reason: String,
    /// Whether the old versions were put back and run again.
    rolled_back: bool,
    /// The end of what the tools printed.
    #[schema(required = false)]
    output: String,
}

/// It was refused, and nothing was changed.
#[derive(ToSchema)]
pub(in crate::api) struct RefusedBody {
    #[schema(pattern = "^refused$")]
    kind: String,
    #[schema(schema_with = refusal_code)]
    code: String,
    /// What was wrong, in one line.
    message: String,
}

/// What an installation would change.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Plan {
    /// Every package it touches, sorted and each once.
    #[schema(max_items = 20_000)]
    changes: Vec<Change>,
    /// What has to be downloaded, where the manager tells.
    #[schema(schema_with = optional_u64)]
    download_bytes: Option<u64>,
    /// Whether the host will ask for a reboot, where that is known.
    reboot_required: Option<bool>,
}

/// One package that a plan touches.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Change {
    package: PackageKey,
    /// The version before; none for a new package.
    #[schema(schema_with = optional_version)]
    from: Option<String>,
    /// The version afterwards; none for a removal.
    #[schema(schema_with = optional_version)]
    to: Option<String>,
    /// Where it comes from, in the manager's words.
    #[schema(schema_with = optional_text)]
    origin: Option<String>,
}

/// What identifies a package on one agent.
#[derive(ToSchema)]
pub(in crate::api) struct PackageKey {
    #[schema(schema_with = manager)]
    package_type: String,
    #[schema(min_length = 1, max_length = 255, pattern = "^[!-,.-~][!-~]*$")]
    package_name: String,
    #[schema(min_length = 1, max_length = 32, pattern = "^[A-Za-z0-9_][A-Za-z0-9_-]*$")]
    arch: Option<String>,
}

/// One update to be installed.
#[derive(ToSchema)]
pub(in crate::api) struct Item {
    package: PackageKey,
    /// The version installed when it was approved.
    from: String,
    /// The version to install.
    to: String,
    /// Where it comes from, in the manager's words.
    origin: Option<String>,
}

/// What exactly a command does.
#[derive(ToSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(in crate::api) enum Action {
    Rescan,
    RefreshMetadata {
        /// Whose sources are asked.
        manager: String,
    },
    Plan {
        /// What would be installed.
        items: Vec<Item>,
    },
    Install {
        items: Vec<Item>,
        /// What else may change.
        #[schema(schema_with = side_effects)]
        side_effects: Vec<String>,
        /// The digest of the plan that was approved.
        plan_digest: String,
    },
    Recreate {
        items: Vec<Item>,
        /// What else may change.
        #[schema(schema_with = side_effects)]
        side_effects: Vec<String>,
        /// The digest of the plan that was approved.
        plan_digest: String,
    },
    Reboot,
    Cancel {
        /// The command that must not be carried out.
        command: String,
    },
}

/// On whose consent a command rests.
#[derive(ToSchema)]
pub(in crate::api) struct CommandApproval {
    actor: String,
    #[schema(format = DateTime)]
    at: String,
}

/// On which terms a command is carried out.
#[derive(ToSchema)]
pub(in crate::api) struct Terms {
    #[schema(schema_with = signing_mode)]
    mode: String,
    /// How many keys of people must sign it; 0 where the server signs.
    signatures_min: u32,
    /// What a transaction may change beyond its items without a second look.
    #[schema(schema_with = side_effects)]
    side_effects: Vec<String>,
    /// From when on the host may be changed.
    #[schema(format = DateTime)]
    not_before: Option<String>,
    /// For how many seconds it may be begun.
    lifetime_seconds: u32,
    /// For how many seconds it may run.
    run_seconds: u32,
}

/// How a command ended.
#[derive(ToSchema)]
pub(in crate::api) struct End {
    #[schema(format = DateTime)]
    at: String,
    by: Actor,
    how: Ending,
}

/// Who caused something; an agent has no name here.
#[derive(ToSchema)]
pub(in crate::api) struct Actor {
    #[serde(rename = "type")]
    #[schema(pattern = "^(agent|operator|system)$")]
    kind: String,
    name: Option<String>,
}

/// How a command ended; what else stands there belongs to the kind.
#[derive(ToSchema)]
pub(in crate::api) struct Ending {
    #[schema(pattern = "^(succeeded|failed|refused|expired|cancelled)$")]
    kind: String,
    reason: Option<String>,
    rolled_back: Option<bool>,
    plan: Option<Plan>,
    reboot_required: Option<bool>,
    output: Option<String>,
    code: Option<String>,
    message: Option<String>,
}

/// What a plan does beyond what was approved.
#[derive(ToSchema)]
pub(in crate::api) struct Excess {
    #[schema(pattern = "^(new-package|removal|other-package|other-version|other-origin|missing)$")]
    kind: String,
    change: Change,
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

/// A text of the contract: not empty, without NUL; its limit is in bytes, which no schema can say.
fn text() -> Object {
    ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).pattern(Some("^[^\\x00]+$")).build()
}

/// A number of 64 bits; the formats of OpenAPI know only those with a sign.
fn any_u64() -> Object {
    whole_number(u64::MAX)
}

fn any_u32() -> Object {
    whole_number(u32::MAX.into())
}

fn whole_number(maximum: u64) -> Object {
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0_u64)).maximum(Some(maximum)).build()
}

fn optional_u64() -> Schema {
    nullable(any_u64())
}

fn optional_text() -> Schema {
    nullable(text())
}

fn optional_version() -> Schema {
    let version = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(limits::VERSION_BYTES_MAX));
    nullable(version.pattern(Some("^[!-,.-~][!-~]*$")).build())
}

fn manager() -> Object {
    let manager = ObjectBuilder::new().schema_type(Type::String).max_length(Some(limits::MANAGER_BYTES_MAX));
    manager.pattern(Some("^[a-z][a-z0-9._-]*$")).build()
}

fn texts(items_max: usize) -> Schema {
    let texts = ArrayBuilder::new().items(text()).max_items(Some(items_max)).build();
    Schema::AnyOf(AnyOfBuilder::new().item(texts).item(null()).build())
}

/// The words that mark an agent, which may be absent.
pub(in crate::api) fn tags() -> Schema {
    Schema::Array(ArrayBuilder::new().items(text()).max_items(Some(TAGS_MAX)).build())
}

fn reboot_reasons() -> Schema {
    texts(limits::REBOOT_REASONS_MAX)
}

fn services() -> Schema {
    texts(limits::SERVICES_MAX)
}

fn nullable(schema: Object) -> Schema {
    Schema::AnyOf(AnyOfBuilder::new().item(schema).item(null()).build())
}

fn null() -> Object {
    ObjectBuilder::new().schema_type(Type::Null).build()
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

fn word_of<'a>(words: impl Iterator<Item = &'a str>) -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).build()
}

macro_rules! words_of {
    ($($name:ident: $words:ident),+ $(,)?) => {$(
        fn $name() -> Object {
            word_of($words::ALL.iter().map(|word| word.as_str()))
        }
    )+};
}

words_of! {
    version_order: VersionOrder, report_status: ReportStatus, signing_mode: SigningMode, command_state: CommandState,
    refusal_code: RefusalCode, availability: AvailabilityKind, status: Status, ignore_scope: IgnoreScope,
}

fn side_effects() -> Schema {
    let effects = ArrayBuilder::new().items(word_of(SideEffect::ALL.iter().map(|word| word.as_str()))).unique_items(true);
    Schema::Array(effects.build())
}
