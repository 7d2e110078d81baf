//! The report on the wire: JSON in, a checked [`Report`] out.
//!
//! The envelope is strict: unknown, duplicate or missing fields, arrays in place of objects and trailing bytes refuse the whole
//! request, before anything is stored. A broken fact rejects only itself. Facts are parsed one by one from borrowed slices, so
//! that one hostile fact costs no more than its own bytes.
//!
//! Two shapes are read: our own ([`read_report`]) and the compatible one of earlier agents ([`read_compatible_report`]).

use crate::{
    agent::HostFacts,
    event::excerpt,
    ids::{AgentId, Digest, ReportId},
    limits,
    names::{Manager, PackageKey, Text, Version},
    offer::{Offer, OfferInput},
    rejection::{Rejection, RejectionCode},
    report::{Fact, FactOutcome, Report, ReportAnswer, ReportStatus, Scope, ScopeContent},
    time::Timestamp,
    words::{ScanResult, VersionOrder},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Why a report as a whole was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EnvelopeError {
    /// The stable code: `bad_envelope`, `unknown_field`, `duplicate_field`, `missing_field`, `too_large`, `too_many_facts` or
    /// `unsupported_schema`.
    pub code: &'static str,
    /// A sentence fragment for people.
    pub message: String,
}

/// A report as our own agent sends it; `O` is a list of [`OfferInput`], or what is written as one.
#[derive(Clone, Debug, Serialize)]
pub struct ReportBody<O = Vec<OfferInput>> {
    /// The schema number, one of [`limits::REPORT_SCHEMAS`].
    pub schema: u32,
    /// The report's id.
    pub report_id: ReportId,
    /// The report's number.
    pub sequence: u64,
    /// When it was made, by the agent's clock.
    pub sent_at: Timestamp,
    /// What the agent says of its host.
    pub host: HostFacts,
    /// One entry a manager.
    pub scopes: Vec<ScopeBody<O>>,
}

/// One scope as our own agent sends it.
#[derive(Clone, Debug, Serialize)]
pub struct ScopeBody<O = Vec<OfferInput>> {
    /// The manager.
    pub package_type: Manager,
    /// How its versions are compared.
    pub version_order: VersionOrder,
    /// How the scan ended.
    pub result: ScanResult,
    /// Why it failed or is partial.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Text>,
    /// When it was scanned.
    pub scanned_at: Timestamp,
    /// When the metadata was last refreshed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata_at: Option<Timestamp>,
    /// Why the last refresh failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_error: Option<Text>,
    /// The digest that stands for the offers, when they are not sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// The offers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offers: Option<O>,
    /// What is offered no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gone: Option<Vec<GoneInput>>,
}

/// A `gone` entry on the wire.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoneInput {
    /// The package's name.
    pub package_name: String,
    /// Its architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// The version installed now; none when the package is not installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed_version: Option<String>,
}

/// The answer to a report on the wire, with one outcome per fact.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReportAnswerBody {
    /// The report.
    pub report_id: ReportId,
    /// How it was taken as a whole.
    pub status: ReportStatus,
    /// Managers whose packages the server wants in the next report.
    pub full_required: Vec<Manager>,
    /// Managers whose sudden emptiness waits for a second scan.
    pub quarantined: Vec<Manager>,
    /// Batches written.
    pub batches: u32,
    /// Events written.
    pub events: u32,
    /// Facts that became events.
    pub recorded: u64,
    /// Facts that were known.
    pub unchanged: u64,
    /// Facts rejected.
    pub rejected: u64,
    /// One outcome per fact, dense and index-aligned.
    pub outcomes: Vec<FactOutcome>,
}

impl From<&ReportAnswer> for ReportAnswerBody {
    fn from(answer: &ReportAnswer) -> Self {
        let (recorded, unchanged, rejected) = answer.outcomes.counts();
        Self {
            report_id: answer.report_id,
            status: answer.status,
            full_required: answer.full_required.clone(),
            quarantined: answer.quarantined.clone(),
            batches: answer.batches,
            events: answer.events,
            recorded,
            unchanged,
            rejected,
            outcomes: answer.outcomes.iter().cloned().collect(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    schema: u32,
    report_id: ReportId,
    sequence: u64,
    #[serde(rename = "sent_at")]
    _sent_at: Timestamp,
    #[serde(borrow, default)]
    host: Option<&'a RawValue>,
    #[serde(borrow)]
    scopes: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScopeEnvelope<'a> {
    package_type: Manager,
    version_order: VersionOrder,
    result: ScanResult,
    #[serde(default)]
    error: Option<Text>,
    scanned_at: Timestamp,
    #[serde(default)]
    metadata_at: Option<Timestamp>,
    #[serde(default)]
    refresh_error: Option<Text>,
    #[serde(default)]
    digest: Option<Digest>,
    #[serde(borrow, default)]
    offers: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    gone: Option<Vec<&'a RawValue>>,
}

/// Reads and checks a report.
///
/// # Errors
/// When the envelope is broken or over a limit; nothing of it may be stored then.
pub fn read_report(bytes: &[u8]) -> Result<Report, EnvelopeError> {
    let text = bounded_text(bytes)?;
    let envelope: Envelope<'_> = object(text)?;
    if !limits::REPORT_SCHEMAS.contains(&envelope.schema) {
        let message = format!("report schema {} is not among those accepted: {:?}", envelope.schema, limits::REPORT_SCHEMAS);
        return Err(EnvelopeError { code: "unsupported_schema", message });
    }
    if envelope.scopes.len() > limits::REPORT_SCOPES_MAX {
        let message = format!("{} scopes, more than the limit of {}", envelope.scopes.len(), limits::REPORT_SCOPES_MAX);
        return Err(EnvelopeError { code: "bad_envelope", message });
    }
    if i64::try_from(envelope.sequence).is_err() {
        return Err(EnvelopeError { code: "bad_envelope", message: "sequence: above 2^63 - 1".to_owned() });
    }
    let mut scopes: Vec<Scope> = Vec::with_capacity(envelope.scopes.len());
    for raw in envelope.scopes {
        let scope = scope(object(raw.get())?)?;
        if scopes.iter().any(|known| known.manager == scope.manager) {
            let message = format!("two scopes for {}", scope.manager);
            return Err(EnvelopeError { code: "bad_envelope", message });
        }
        scopes.push(scope);
    }
    let host = envelope.host.map(|raw| object(raw.get())).transpose()?.unwrap_or_default();
    within_fact_limit(Report {
        report_id: envelope.report_id,
        digest: Digest::of("redflag report v1", &[bytes]),
        sequence: Some(envelope.sequence),
        host,
        scopes,
    })
}

fn bounded_text(bytes: &[u8]) -> Result<&str, EnvelopeError> {
    if bytes.len() > limits::REPORT_BYTES_MAX {
        let message = format!("{} bytes, more than the limit of {}", bytes.len(), limits::REPORT_BYTES_MAX);
        return Err(EnvelopeError { code: "too_large", message });
    }
    std::str::from_utf8(bytes).map_err(|error| EnvelopeError { code: "bad_envelope", message: format!("not UTF-8: {error}") })
}

fn within_fact_limit(report: Report) -> Result<Report, EnvelopeError> {
    if report.facts() > limits::REPORT_FACTS_MAX {
        let message = format!("{} facts, more than the limit of {}", report.facts(), limits::REPORT_FACTS_MAX);
        return Err(EnvelopeError { code: "too_many_facts", message });
    }
    Ok(report)
}

fn scope(scope: ScopeEnvelope<'_>) -> Result<Scope, EnvelopeError> {
    let manager = scope.package_type;
    let bad = |message: String| EnvelopeError { code: "bad_envelope", message };
    let content = match (scope.digest, scope.offers, scope.gone) {
        (Some(digest), None, None) if scope.result == ScanResult::Complete => ScopeContent::Digest(digest),
        (Some(_), None, None) => return Err(bad(format!("{manager}: only a complete scan can be stated by its digest"))),
        (Some(_), _, _) => return Err(bad(format!("{manager}: a digest and packages exclude each other"))),
        (None, None, None) if scope.result == ScanResult::Failed => ScopeContent::Facts { offers: Vec::new(), gone: Vec::new() },
        (None, None, _) => return Err(bad(format!("{manager}: neither offers nor a digest"))),
        (None, Some(_), _) if scope.result == ScanResult::Failed => return Err(bad(format!("{manager}: a failed scan has no packages"))),
        (None, Some(offers), gone) => ScopeContent::Facts {
            offers: offers.into_iter().map(|raw| offer_fact(&manager, raw.get())).collect(),
            gone: gone.unwrap_or_default().into_iter().map(|raw| gone_fact(&manager, raw.get())).collect(),
        },
    };
    Ok(Scope {
        version_order: scope.version_order,
        result: scope.result,
        error: scope.error,
        scanned_at: scope.scanned_at,
        metadata_at: scope.metadata_at,
        refresh_error: scope.refresh_error,
        content,
        manager,
    })
}

fn offer_fact(manager: &Manager, raw: &str) -> Fact<Offer> {
    let read = || {
        let input: OfferInput = fact_object(raw)?;
        let package = PackageKey::parse_of(manager, &input.package_name, input.arch.as_deref())?;
        let offer = input.check(&package)?;
        Ok((package, offer))
    };
    fact(manager, raw, read)
}

fn gone_fact(manager: &Manager, raw: &str) -> Fact<Option<Version>> {
    let read = || {
        let input: GoneInput = fact_object(raw)?;
        let package = PackageKey::parse_of(manager, &input.package_name, input.arch.as_deref())?;
        let version = |version: &String| Version::parse_for(manager, "installed_version", version);
        let installed = input.installed_version.as_ref().map(version).transpose()?;
        Ok((package, installed))
    };
    fact(manager, raw, read)
}

fn fact<T>(manager: &Manager, raw: &str, read: impl Fn() -> Result<(PackageKey, T), Rejection>) -> Fact<T> {
    match read() {
        Ok((package, value)) => Fact::Valid(package, value),
        Err(rejection) => Fact::Invalid { package: readable_key(manager, raw), rejection, excerpt: excerpt(raw) },
    }
}

/// The key of a fact that did not pass, if it can be read at all: it shields the package from withdrawal (clause R2).
fn readable_key(manager: &Manager, raw: &str) -> Option<PackageKey> {
    #[derive(Deserialize)]
    struct Key {
        package_name: String,
        #[serde(default)]
        arch: Option<String>,
    }
    let key: Key = serde_json::from_str(raw).ok()?;
    PackageKey::parse_of(manager, &key.package_name, key.arch.as_deref()).ok()
}

/// serde reads an array in place of a struct; the contract does not.
fn object<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, EnvelopeError> {
    if !text.trim_start().starts_with('{') {
        return Err(EnvelopeError { code: "bad_envelope", message: "expected a JSON object".to_owned() });
    }
    serde_json::from_str(text).map_err(|error| {
        let message = error.to_string();
        let code = match rejection_code(&message) {
            RejectionCode::UnknownField => "unknown_field",
            RejectionCode::DuplicateField => "duplicate_field",
            RejectionCode::MissingField => "missing_field",
            _ => "bad_envelope",
        };
        EnvelopeError { code, message }
    })
}

fn fact_object<T: DeserializeOwned>(raw: &str) -> Result<T, Rejection> {
    if !raw.trim_start().starts_with('{') {
        return Err(Rejection::new(RejectionCode::Malformed, "fact", "expected a JSON object"));
    }
    serde_json::from_str(raw).map_err(|error| {
        let message = error.to_string();
        Rejection::new(rejection_code(&message), "fact", message)
    })
}

/// serde's derive has no error kinds; its messages for these three are part of its tested behaviour (and of our tests).
fn rejection_code(message: &str) -> RejectionCode {
    match message {
        message if message.starts_with("unknown field") => RejectionCode::UnknownField,
        message if message.starts_with("duplicate field") => RejectionCode::DuplicateField,
        message if message.starts_with("missing field") => RejectionCode::MissingField,
        _ => RejectionCode::Malformed,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CompatibleEnvelope<'a> {
    #[serde(default)]
    command_id: Option<String>,
    #[serde(default)]
    timestamp: Option<Timestamp>,
    #[serde(borrow)]
    updates: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CompatibleUpdate {
    package_type: String,
    package_name: String,
    #[serde(default)]
    package_description: Option<String>,
    #[serde(default)]
    current_version: Option<String>,
    available_version: String,
    #[serde(default)]
    severity: Option<String>,
    #[serde(default)]
    cve_list: Option<Vec<String>>,
    #[serde(default)]
    kb_id: Option<String>,
    #[serde(default)]
    repository_source: Option<String>,
    #[serde(default)]
    size_bytes: Option<u64>,
    #[serde(default)]
    metadata: Option<Box<RawValue>>,
}

/// Reads a report in the shape of earlier agents (clause R4b): partial scopes, so that it never withdraws; `command_id`, else
/// the body's digest, names the report. Updates whose `package_type` cannot be read are gathered under the manager `unknown`.
///
/// # Errors
/// When the envelope is broken or over a limit.
pub fn read_compatible_report(agent: AgentId, received_at: Timestamp, bytes: &[u8]) -> Result<Report, EnvelopeError> {
    let envelope: CompatibleEnvelope<'_> = object(bounded_text(bytes)?)?;
    let digest = Digest::of("redflag report v1", &[bytes]);
    let report_id = match envelope.command_id.as_deref().map(str::trim) {
        Some(id) if !id.is_empty() => {
            id.parse().unwrap_or_else(|_| ReportId::of_digest(agent, &Digest::of("redflag command id", &[id.as_bytes()])))
        }
        _ => ReportId::of_digest(agent, &digest),
    };
    let unknown = Manager::parse("unknown").expect("a manager's word");
    let mut offers: BTreeMap<Manager, Vec<Fact<Offer>>> = BTreeMap::new();
    for raw in envelope.updates {
        let (manager, fact) = compatible_fact(raw.get());
        offers.entry(manager.unwrap_or_else(|| unknown.clone())).or_default().push(fact);
    }
    let scanned_at = envelope.timestamp.unwrap_or(received_at);
    let scopes = offers.into_iter().map(|(manager, offers)| Scope {
        version_order: match manager.as_str() {
            crate::names::APT => VersionOrder::Dpkg,
            crate::names::DNF => VersionOrder::Rpm,
            _ => VersionOrder::None,
        },
        result: ScanResult::Partial,
        error: Some(Text::lossy("a report in the compatible shape does not say whether it is complete")),
        scanned_at,
        metadata_at: None,
        refresh_error: None,
        content: ScopeContent::Facts { offers, gone: Vec::new() },
        manager,
    });
    let scopes = scopes.collect();
    within_fact_limit(Report { report_id, digest, sequence: None, host: HostFacts::default(), scopes })
}

fn compatible_fact(raw: &str) -> (Option<Manager>, Fact<Offer>) {
    let read = || {
        let update: CompatibleUpdate = fact_object(raw)?;
        let manager = Manager::parse(&update.package_type)?;
        let input = OfferInput {
            package_name: update.package_name,
            current_version: update.current_version.filter(|version| !version.is_empty()),
            available_version: update.available_version,
            repository_source: update.repository_source.filter(|text| !text.is_empty()),
            severity: update.severity,
            advisories: update.kb_id.filter(|id| !id.is_empty()).into_iter().collect(),
            cve_list: update.cve_list.unwrap_or_default(),
            size_bytes: update.size_bytes,
            package_description: update.package_description.filter(|text| !text.is_empty()),
            metadata: update.metadata.filter(|raw| raw.get() != "null"),
            ..OfferInput::default()
        };
        let package = PackageKey::parse(manager.as_str(), &input.package_name, None)?;
        let offer = input.check(&package)?;
        Ok::<_, Rejection>((package, offer))
    };
    #[derive(Deserialize)]
    struct Tag {
        package_type: Manager,
    }
    let manager = serde_json::from_str(raw).ok().map(|tag: Tag| tag.package_type);
    let fact = match read() {
        Ok((package, offer)) => Fact::Valid(package, offer),
        Err(rejection) => {
            let package = manager.as_ref().and_then(|manager| readable_key(manager, raw));
            Fact::Invalid { package, rejection, excerpt: excerpt(raw) }
        }
    };
    (manager, fact)
}
