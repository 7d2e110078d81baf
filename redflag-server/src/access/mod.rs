//! Who may do what: the route table with its policies, accounts, and the credentials of operators and agents.
//!
//! Deny by default: a route is registered with a [`Policy`] or not at all, and the guard of that policy runs before anything
//! of the request's body is read.

mod account;
mod api_tokens;
mod attempts;
mod buckets;
mod client;
mod enrolment;
mod expiring;
mod guard;
mod links;
mod notes;
mod operator;
mod own;
mod password;
mod policy;
mod quota;
mod role;
mod second_factor;
mod sessions;
mod shared_replays;
mod sign_in;
mod signature;
mod strangers;
mod told;

pub(crate) mod administration;
pub(crate) mod entrance;
pub(crate) mod replay;

pub use account::{
    ACCOUNT_NAME_BYTES_MAX, ACCOUNTS_MAX, Account, AccountError, AccountName, Standing, account, accounts, add_account,
    remove_second_factor, set_password, set_role, set_standing,
};
pub use api_tokens::{
    API_TOKEN_LIFETIME_MAX, API_TOKEN_PREFIX, API_TOKENS_MAX, ApiToken, ApiTokenOptions, NewApiToken, api_tokens, issue_api_token,
    revoke_api_token,
};
pub(crate) use attempts::Attempts;
pub(crate) use client::subscriber;
pub use client::{ClientAddress, TrustedProxy};
pub use enrolment::{EnrolmentTokenOptions, SEATS_MAX, issue_token, take_seat, token_note};
pub(crate) use guard::same_origin;
pub use links::{SignInLink, issue_sign_in_link, link_note};
pub use notes::{account_note, api_token_note};
pub use operator::Operator;
pub(crate) use own::{Wanted, change_password, remove_own_second_factor, set_second_factor, sign_out_everywhere};
pub use password::{PASSWORD_BYTES_MAX, PASSWORD_CHARACTERS_MIN, Password, PasswordHash, Passwords};
pub use policy::{Policy, PolicyRouter, RouteEntry, Surface};
pub use quota::AgentQuota;
pub(crate) use quota::Quotas;
pub use role::{Role, Scope};
pub use second_factor::{FactorSecret, RECOVERY_CODES};
pub use sessions::{Began, SESSION_IDLE_MAX, SESSION_LIFETIME, SESSIONS_MAX, session_cookie, sign_out};
pub(crate) use sessions::{CLEAR_SITE_DATA, sessions_of};
pub(crate) use shared_replays::forget as forget_signatures;
pub(crate) use sign_in::{ByLink, sign_in_by_link, sign_in_by_password};
pub use signature::AgentCredential;
pub(crate) use strangers::Strangers;
pub(crate) use told::Told;
