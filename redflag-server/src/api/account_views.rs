//! Accounts and API tokens as JSON.

use crate::access::{Account, ApiToken, Standing};
use serde::Serialize;
use utoipa::ToSchema;

/// An account.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AccountView {
    /// Its name, as decisions record it.
    name: String,
    /// `viewer`, `approver` or `admin`.
    role: &'static str,
    /// Whether it is disabled: it cannot sign in, and nothing made for it works.
    disabled: bool,
    /// Whether it has a password; without one it signs in by a link.
    has_password: bool,
    /// Whether signing in takes a code of its second factor too.
    has_second_factor: bool,
    /// When it was made.
    created_at: String,
}

impl From<&Account> for AccountView {
    fn from(account: &Account) -> Self {
        Self {
            name: account.name.to_string(),
            role: account.role.as_str(),
            disabled: account.standing == Standing::Disabled,
            has_password: account.has_password(),
            has_second_factor: account.has_second_factor(),
            created_at: account.created_at.to_string(),
        }
    }
}

/// An API token, without the token itself.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ApiTokenView {
    /// What names it.
    id: String,
    /// Whose it is.
    account: String,
    /// What it is for.
    label: String,
    /// What it may do, as far as its account may: `read`, `decide`, `command`, `enrol`, `administer`.
    scopes: Vec<&'static str>,
    /// When it was made.
    created_at: String,
    /// When it ends.
    expires_at: String,
    /// When it was used last, to the hour; null if never.
    last_used_at: Option<String>,
}

impl From<&ApiToken> for ApiTokenView {
    fn from(token: &ApiToken) -> Self {
        Self {
            id: token.id.clone(),
            account: token.account.to_string(),
            label: token.label.to_string(),
            scopes: token.scopes.iter().map(|scope| scope.as_str()).collect(),
            created_at: token.created_at.to_string(),
            expires_at: token.expires_at.to_string(),
            last_used_at: token.last_used_at.map(|at| at.to_string()),
        }
    }
}
