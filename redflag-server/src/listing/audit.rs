//! The filter of the audit log in a URL.

use super::parameters::{Parameters, encoded};
use crate::{audit::AuditFilter, problem::Problem};
use redflag_core::names::Text;

/// Takes what narrows a list of entries.
///
/// # Errors
/// 400 for a kind that there is not, and for text that is none.
pub(crate) fn take_audit(given: &mut Parameters) -> Result<AuditFilter, Problem> {
    let kind = given.take("kind")?;
    let by = given.take_with("by", |text| Text::parse(text).map_err(|rejection| rejection.message))?;
    Ok(AuditFilter { kind, by })
}

/// The page of the audit log with the entries below a number.
pub(crate) fn audit_href(AuditFilter { kind, by }: &AuditFilter, before: u64) -> String {
    let kind = kind.map_or_else(String::new, |kind| format!("&kind={kind}"));
    let by = by.as_ref().map_or_else(String::new, |by| format!("&by={}", encoded(by.as_str())));
    format!("/audit?before={before}{kind}{by}")
}
