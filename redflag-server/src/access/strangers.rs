//! How often an address may come with a credential that does not hold: agents' signatures and enrolment tokens.
//!
//! Neither can be guessed; the limit saves the work of looking for them. It never stops an agent that has proved itself since this process
//! started, whatever else comes from its address.

use super::{
    buckets::{Rate, Stopwatch, Table},
    client::{ClientAddress, subscriber},
};
use crate::problem::Problem;
use axum::http::StatusCode;
use std::sync::{Mutex, PoisonError};

/// A hundred at once, and then one a second.
const FAILURES: Rate = Rate::per_second(100, 1);

/// Failures by address, in memory of fixed size.
#[derive(Debug)]
pub(crate) struct Strangers {
    started: Stopwatch,
    failures: Mutex<Table>,
}

impl Default for Strangers {
    fn default() -> Self {
        Self { started: Stopwatch::default(), failures: Mutex::new(Table::new(FAILURES)) }
    }
}

impl Strangers {
    /// Whether a credential from `address` is looked at.
    ///
    /// # Errors
    /// 429 with the time to wait, after too many that did not hold.
    pub(crate) fn admit(&self, address: ClientAddress) -> Result<(), Problem> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.room(&subscriber(address.0), self.started.now()).map_err(|wait| {
            let detail = "too many credentials from this address did not hold";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_failures", detail).with_retry_after(wait)
        })
    }

    /// Passes on what a check of a credential from `address` came to, and counts one that did not hold.
    pub(crate) fn checked<T>(&self, address: ClientAddress, result: Result<T, Problem>) -> Result<T, Problem> {
        if result.as_ref().is_err_and(|problem| problem.status() == StatusCode::UNAUTHORIZED) {
            self.failures.lock().unwrap_or_else(PoisonError::into_inner).put(&subscriber(address.0), self.started.now());
        }
        result
    }
}
