//! What the audit log says of accounts and API tokens.

use super::{
    account::{Account, Standing},
    api_tokens::ApiToken,
};
use redflag_core::{
    audit::{
        AuditKind, FactName,
        entry::{By, Note},
    },
    time::Timestamp,
};

/// That something was done about an account, and how it is now.
#[must_use]
pub fn account_note(kind: AuditKind, by: By, account: &Account, at: Timestamp) -> Note {
    let state = match account.standing {
        Standing::Enabled => "enabled",
        Standing::Disabled => "disabled",
    };
    let note = Note::new(kind, by, at).with(FactName::Account, &account.name);
    note.with(FactName::Role, account.role).with(FactName::State, state)
}

/// That something was done about an API token.
#[must_use]
pub fn api_token_note(kind: AuditKind, by: By, token: &ApiToken, at: Timestamp) -> Note {
    let scopes: Vec<String> = token.scopes.iter().map(ToString::to_string).collect();
    Note::new(kind, by, at)
        .with(FactName::Account, &token.account)
        .with(FactName::Token, &token.id)
        .with(FactName::Name, &token.label)
        .with(FactName::Scopes, scopes.join(" "))
        .with(FactName::ExpiresAt, token.expires_at)
}
