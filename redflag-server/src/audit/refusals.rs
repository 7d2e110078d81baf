//! Refused sign-ins, told together: a stranger can make any number of them, and must not be able to fill the log.

use crate::app::App;
use redflag_core::{
    audit::{
        AuditKind, FactName,
        entry::{By, Note},
    },
    store::StoreError,
    time::Timestamp,
};
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// At most one entry in this time.
const BETWEEN: Duration = Duration::from_secs(60);

/// What was refused and is in no entry yet.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<Pending>);

#[derive(Debug, Default)]
struct Pending {
    count: u64,
    told_at: Option<Timestamp>,
}

impl Refusals {
    /// How many there are to be told of, when it is time.
    fn due(&self, now: Timestamp, more: u64) -> Option<u64> {
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pending.count = pending.count.saturating_add(more);
        if pending.count == 0 || pending.told_at.is_some_and(|told_at| (told_at..told_at.saturating_add(BETWEEN)).contains(&now)) {
            return None;
        }
        pending.told_at = Some(now);
        Some(std::mem::take(&mut pending.count))
    }
}

/// Tells of one more refusal, at once or, soon after another, later together with those that come until then.
///
/// # Errors
/// When the store fails.
pub(crate) async fn refused(app: &App) -> Result<(), StoreError> {
    tell(app, 1).await
}

/// Tells of what was not told yet, when it is time.
///
/// # Errors
/// When the store fails.
pub(super) async fn tell_of_the_rest(app: &App) -> Result<(), StoreError> {
    tell(app, 0).await
}

async fn tell(app: &App, more: u64) -> Result<(), StoreError> {
    let now = app.now();
    let Some(count) = app.refusals.due(now, more) else { return Ok(()) };
    app.audit.note(Note::new(AuditKind::SignInRefused, By::Stranger, now).with(FactName::Count, count)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_within_a_minute_is_two_entries() {
        let (refusals, start) = (Refusals::default(), Timestamp::EPOCH);
        assert_eq!(refusals.due(start, 1), Some(1), "the first is told at once");
        for _ in 0..1_000 {
            assert_eq!(refusals.due(start.saturating_add(BETWEEN / 2), 1), None);
        }
        assert_eq!(refusals.due(start.saturating_add(BETWEEN), 0), Some(1_000));
        assert_eq!(refusals.due(start.saturating_add(BETWEEN * 3), 0), None, "there is nothing more to tell");
        assert_eq!(refusals.due(start.saturating_add(BETWEEN / 2), 1), Some(1), "a clock that is set back holds nothing up");
    }
}
