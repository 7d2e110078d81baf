//! The agent against a server of the test's own, over real connections.

mod delivery;
mod enrolment;
mod reports;
mod support;
