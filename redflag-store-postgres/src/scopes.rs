//! How what is known of each manager stands in the agent's rows.
//!
//! Most reports change nothing but times. Those that move on their own, `scanned_at` and `metadata_at`, stand in an array in the row
//! that every report writes; those that are the time of the report are named by that. What is left, as JSON, stays as it is from
//! report to report and stands in a row of its own, which such reports need not write.

use crate::{error::Failure, stored::json};
use redflag_core::{
    agent::ScopeHead,
    ids::Digest,
    names::{Manager, Text},
    time::Timestamp,
    words::{ScanResult, VersionOrder},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Two columns: the scopes without what moves, as JSON, and what does.
pub(crate) struct ScopeColumns {
    pub(crate) scopes: String,
    pub(crate) times: Vec<Option<i64>>,
}

/// A [`ScopeHead`] without the times that move on their own.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct StoredScope {
    version_order: VersionOrder,
    result: ScanResult,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Text>,
    received_at: StoredTime,
    complete_at: StoredTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh_error: Option<Text>,
    offers: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quarantined_at: Option<Timestamp>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum StoredTime {
    /// When the newest report was received.
    WithReport,
    At(Timestamp),
    Never,
}

impl StoredTime {
    fn of(time: Option<Timestamp>, report_received_at: Option<Timestamp>) -> Self {
        match time {
            None => Self::Never,
            Some(_) if time == report_received_at => Self::WithReport,
            Some(time) => Self::At(time),
        }
    }

    /// None where the row names a report that it does not have.
    fn read(&self, report_received_at: Option<Timestamp>) -> Option<Option<Timestamp>> {
        match self {
            Self::WithReport => report_received_at.map(Some),
            Self::At(time) => Some(Some(*time)),
            Self::Never => Some(None),
        }
    }
}

impl ScopeColumns {
    /// The columns of `scopes` in the row of an agent whose newest report was received at `report_received_at`.
    pub(crate) fn of(scopes: &BTreeMap<Manager, ScopeHead>, report_received_at: Option<Timestamp>) -> Self {
        let (mut stored, mut times) = (BTreeMap::new(), Vec::with_capacity(scopes.len() * 2));
        for (manager, scope) in scopes {
            let ScopeHead {
                version_order,
                result,
                error,
                scanned_at,
                received_at,
                complete_at,
                digest,
                metadata_at,
                refresh_error,
                offers,
                quarantined_at,
            } = scope.clone();
            times.extend([Some(scanned_at.as_micros()), metadata_at.map(Timestamp::as_micros)]);
            let received_at = StoredTime::of(Some(received_at), report_received_at);
            let complete_at = StoredTime::of(complete_at, report_received_at);
            stored.insert(
                manager,
                StoredScope { version_order, result, error, received_at, complete_at, digest, refresh_error, offers, quarantined_at },
            );
        }
        Self { scopes: json(&stored), times }
    }

    /// The scopes of these columns.
    pub(crate) fn read(&self, report_received_at: Option<Timestamp>) -> Result<BTreeMap<Manager, ScopeHead>, Failure> {
        let corrupt = || Failure::corrupt(format!("scopes {:?} with times {:?}", self.scopes, self.times));
        let stored: BTreeMap<Manager, StoredScope> = serde_json::from_str(&self.scopes).map_err(|_| corrupt())?;
        if stored.len() * 2 != self.times.len() {
            return Err(corrupt());
        }
        let time = |micros: Option<i64>| micros.map(Timestamp::from_micros).transpose().map_err(|_| corrupt());
        let scope = |((manager, stored), times): ((Manager, StoredScope), &[Option<i64>])| {
            let scope = ScopeHead {
                version_order: stored.version_order,
                result: stored.result,
                error: stored.error,
                scanned_at: time(times[0])?.ok_or_else(corrupt)?,
                received_at: stored.received_at.read(report_received_at).flatten().ok_or_else(corrupt)?,
                complete_at: stored.complete_at.read(report_received_at).ok_or_else(corrupt)?,
                digest: stored.digest,
                metadata_at: time(times[1])?,
                refresh_error: stored.refresh_error,
                offers: stored.offers,
                quarantined_at: stored.quarantined_at,
            };
            Ok((manager, scope))
        };
        stored.into_iter().zip(self.times.chunks(2)).map(scope).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redflag_core::conformance::generate::{at, manager, text};

    fn scope() -> ScopeHead {
        ScopeHead {
            version_order: VersionOrder::Rpm,
            result: ScanResult::Complete,
            error: None,
            scanned_at: at(1),
            received_at: at(2),
            complete_at: Some(at(2)),
            digest: Some(Digest::of("test", &[])),
            metadata_at: None,
            refresh_error: None,
            offers: 3,
            quarantined_at: None,
        }
    }

    #[test]
    fn every_scope_reads_back_exactly() {
        let all = [
            scope(),
            ScopeHead { received_at: at(3), ..scope() },
            ScopeHead { complete_at: None, result: ScanResult::Partial, error: Some(text("why")), ..scope() },
            ScopeHead { complete_at: Some(at(3)), metadata_at: Some(at(0)), refresh_error: Some(text("why")), ..scope() },
            ScopeHead { digest: None, quarantined_at: Some(at(1)), ..scope() },
        ];
        let scopes: BTreeMap<_, _> = (b'a'..).zip(all).map(|(name, scope)| (manager(&char::from(name).to_string()), scope)).collect();
        for report_received_at in [None, Some(at(2)), Some(at(3)), Some(at(9))] {
            let columns = ScopeColumns::of(&scopes, report_received_at);
            assert_eq!(columns.read(report_received_at).unwrap(), scopes);
        }
    }

    #[test]
    fn a_report_that_only_moves_times_leaves_the_json_as_it_is() {
        let before = BTreeMap::from([(manager("dnf"), scope())]);
        let after = ScopeHead { scanned_at: at(8), received_at: at(9), complete_at: Some(at(9)), metadata_at: Some(at(8)), ..scope() };
        let after = BTreeMap::from([(manager("dnf"), after)]);
        assert_eq!(ScopeColumns::of(&before, Some(at(2))).scopes, ScopeColumns::of(&after, Some(at(9))).scopes);
    }

    #[test]
    fn columns_that_do_not_fit_each_other_are_damage() {
        let scopes = BTreeMap::from([(manager("dnf"), scope())]);
        let columns = ScopeColumns::of(&scopes, Some(at(2)));
        assert!(columns.read(None).is_err(), "a time of a report that is not there");
        assert!(ScopeColumns { times: Vec::new(), ..ScopeColumns::of(&scopes, None) }.read(None).is_err());
        assert!(ScopeColumns { times: vec![None, None], ..ScopeColumns::of(&scopes, None) }.read(None).is_err());
    }
}
