//! Who may do what: the route table with its policies, and the credentials of operators and agents.
//!
//! Deny by default: a route is registered with a [`Policy`] or not at all, and the guard of that policy runs before anything
//! of the request's body is read.

mod client;
mod enrolment;
pub(crate) mod entrance;
mod guard;
mod operators;
mod policy;
pub(crate) mod replay;
mod signature;

pub(crate) use client::subscriber;
pub use client::{ClientAddress, TrustedProxy};
pub use enrolment::{EnrolmentTokenOptions, SEATS_MAX, issue_token, take_seat};
pub(crate) use guard::same_origin;
pub use operators::{Operator, Role, SignInLink, issue_sign_in_link, session_cookie, sign_in, sign_out};
pub use policy::{Policy, PolicyRouter, RouteEntry, Surface};
pub use signature::AgentCredential;
