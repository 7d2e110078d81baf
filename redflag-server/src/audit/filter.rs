//! Which entries of the log somebody wants to see.

use redflag_core::{
    audit::{AuditKind, entry::Entry},
    names::Text,
};

/// What narrows a list of entries; without it all pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Of this kind only.
    pub kind: Option<AuditKind>,
    /// By this one only, as [`redflag_core::audit::entry::By::is`] takes it.
    pub by: Option<Text>,
}

impl AuditFilter {
    /// Whether an entry passes.
    #[must_use]
    pub fn passes(&self, entry: &Entry) -> bool {
        self.kind.is_none_or(|kind| kind == entry.kind) && self.by.as_ref().is_none_or(|who| entry.by.is(who.as_str()))
    }
}
