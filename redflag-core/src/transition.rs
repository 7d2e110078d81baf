//! The transition table (clause S3): what each event kind does in each state, and what it may not do.
//!
//! | event | no state | pending | approved | ignored | needs-review | queued | installing | installed | failed | rolled-back | withdrawn |
//! |---|---|---|---|---|---|---|---|---|---|---|---|
//! | discovered | opens | – | – | – | – | – | – | opens | – | – | opens |
//! | revised | – | same? | same? | same? | same? | same? | keeps | – | same? | same? | – |
//! | withdrawn | – | withdrawn | withdrawn | withdrawn | withdrawn | withdrawn | withdrawn | – | withdrawn | withdrawn | – |
//! | installed-observed | – | installed | installed | installed | installed | installed | installed | – | installed | installed | – |
//! | approved | – | approved | – | – | approved | – | – | – | approved | approved | – |
//! | approval-withdrawn | – | – | pending | – | pending | pending | – | – | – | – | – |
//! | ignored | – | ignored | ignored | ignored | ignored | – | – | – | ignored | ignored | – |
//! | reopened | – | – | – | pending | pending | – | – | – | pending | pending | – |
//! | review-requested | – | – | needs-review | – | – | – | – | – | – | – | – |
//! | install-queued | – | – | queued | – | – | – | – | – | queued | – | – |
//! | install-started | – | – | – | – | – | installing | – | – | – | – | – |
//! | install-succeeded | – | – | – | – | – | installing | installing | – | – | – | – |
//! | install-failed | – | – | – | – | – | failed | failed | – | – | – | – |
//! | install-expired | – | – | – | – | – | failed | failed | – | – | – | – |
//! | rolled-back | – | – | – | – | – | – | rolled-back | – | rolled-back | – | – |
//!
//! `opens`: the update becomes pending, or ignored where the operator ignores the whole package (clause S4). `same?`: nothing
//! changes while the offer digest is the same; another version, origin or installed version opens it anew, so no decision
//! carries over. `keeps`: the offer is noted, the running command goes on. `–`: a typed rejection.

use crate::{event::EventWord, words::Status};

/// What an event kind does in one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// A typed rejection; nothing changes.
    Forbidden,
    /// The update opens: pending, or ignored where the whole package is.
    Opens,
    /// The standing stays while the offer digest does; otherwise the update opens anew.
    KeepsSameOffer,
    /// The standing stays whatever the offer.
    Keeps,
    /// The update gets this status.
    Becomes(Status),
}

/// The cell for `event` in a package without state (`None`) or with `status`.
#[must_use]
pub const fn transition(event: EventWord, status: Option<Status>) -> Transition {
    let column = match status {
        None => 0,
        Some(status) => status.code() as usize + 1,
    };
    TABLE[event.code() as usize][column]
}

const NO: Transition = Transition::Forbidden;
const OPEN: Transition = Transition::Opens;
const SAME: Transition = Transition::KeepsSameOffer;
const KEEP: Transition = Transition::Keeps;
const PENDING: Transition = Transition::Becomes(Status::Pending);
const APPROVED: Transition = Transition::Becomes(Status::Approved);
const IGNORED: Transition = Transition::Becomes(Status::Ignored);
const REVIEW: Transition = Transition::Becomes(Status::NeedsReview);
const QUEUED: Transition = Transition::Becomes(Status::Queued);
const INSTALLING: Transition = Transition::Becomes(Status::Installing);
const INSTALLED: Transition = Transition::Becomes(Status::Installed);
const FAILED: Transition = Transition::Becomes(Status::Failed);
const ROLLED_BACK: Transition = Transition::Becomes(Status::RolledBack);
const WITHDRAWN: Transition = Transition::Becomes(Status::Withdrawn);

// Rows in the order of `EventWord`, columns: no state, then the order of `Status`.
#[rustfmt::skip]
const TABLE: [[Transition; 11]; 15] = [
    [OPEN, NO,        NO,        NO,        NO,        NO,         NO,          OPEN, NO,          NO,          OPEN],
    [NO,   SAME,      SAME,      SAME,      SAME,      SAME,       KEEP,        NO,   SAME,        SAME,        NO],
    [NO,   WITHDRAWN, WITHDRAWN, WITHDRAWN, WITHDRAWN, WITHDRAWN,  WITHDRAWN,   NO,   WITHDRAWN,   WITHDRAWN,   NO],
    [NO,   INSTALLED, INSTALLED, INSTALLED, INSTALLED, INSTALLED,  INSTALLED,   NO,   INSTALLED,   INSTALLED,   NO],
    [NO,   APPROVED,  NO,        NO,        APPROVED,  NO,         NO,          NO,   APPROVED,    APPROVED,    NO],
    [NO,   NO,        PENDING,   NO,        PENDING,   PENDING,    NO,          NO,   NO,          NO,          NO],
    [NO,   IGNORED,   IGNORED,   IGNORED,   IGNORED,   NO,         NO,          NO,   IGNORED,     IGNORED,     NO],
    [NO,   NO,        NO,        PENDING,   PENDING,   NO,         NO,          NO,   PENDING,     PENDING,     NO],
    [NO,   NO,        REVIEW,    NO,        NO,        NO,         NO,          NO,   NO,          NO,          NO],
    [NO,   NO,        QUEUED,    NO,        NO,        NO,         NO,          NO,   QUEUED,      NO,          NO],
    [NO,   NO,        NO,        NO,        NO,        INSTALLING, NO,          NO,   NO,          NO,          NO],
    [NO,   NO,        NO,        NO,        NO,        INSTALLING, INSTALLING,  NO,   NO,          NO,          NO],
    [NO,   NO,        NO,        NO,        NO,        FAILED,     FAILED,      NO,   NO,          NO,          NO],
    [NO,   NO,        NO,        NO,        NO,        FAILED,     FAILED,      NO,   NO,          NO,          NO],
    [NO,   NO,        NO,        NO,        NO,        NO,         ROLLED_BACK, NO,   ROLLED_BACK, NO,          NO],
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The documented table is read from this file and compared with the code, cell by cell.
    #[test]
    fn the_documented_table_is_the_one_in_force() {
        let rows: Vec<Vec<&str>> = include_str!("transition.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("//! | "))
            .map(|line| line.trim_end_matches(" |").split(" | ").collect())
            .collect();
        assert_eq!(rows.len(), 1 + EventWord::ALL.len());
        for (row, event) in rows[1..].iter().zip(EventWord::ALL) {
            assert_eq!((row[0], row.len()), (event.as_str(), rows[0].len()));
            for (cell, column) in row[1..].iter().zip(0..) {
                let status = if column == 0 { None } else { Status::from_code(column - 1) };
                let name = status.map_or("no state", Status::as_str);
                assert_eq!(rows[0][usize::from(column) + 1], name);
                let expected = match *cell {
                    "–" => Transition::Forbidden,
                    "opens" => Transition::Opens,
                    "same?" => Transition::KeepsSameOffer,
                    "keeps" => Transition::Keeps,
                    word => Transition::Becomes(word.parse().unwrap()),
                };
                assert_eq!(transition(*event, status), expected, "{event} in {name}");
            }
        }
    }
}
