//! Deletions: what is about to go is sealed first, and that it goes is put down before it does.

use super::AuditLog;
use redflag_core::{
    audit::{
        AuditKind, FactName,
        entry::{By, Note},
    },
    ids::AgentId,
    names::Text,
    store::StoreError,
    time::Timestamp,
};

impl AuditLog {
    /// To be called before an agent is removed; one that is not there leaves no entry.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn before_removal(&self, agent: AgentId, by: By, reason: &Text, now: Timestamp) -> Result<(), StoreError> {
        let Some(head) = self.fleet().store().agent(agent).await? else { return Ok(()) };
        self.seal_feed().await?;
        let note = Note::new(AuditKind::AgentRemoval, by, now).with(FactName::Agent, agent);
        self.note(note.with(FactName::Name, &head.name).with(FactName::Reason, reason).with(FactName::Count, head.batches)).await
    }

    /// To be called before what was received before a time is taken away, of one agent or all.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn before_pruning(&self, agent: Option<AgentId>, by: By, before: Timestamp, now: Timestamp) -> Result<(), StoreError> {
        self.seal_feed().await?;
        self.note(Note::new(AuditKind::Pruning, by, now).with(FactName::Window, before).with_some(FactName::Agent, agent)).await
    }
}
