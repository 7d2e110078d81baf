//! The life of a command (clause C1): what each step does in each state, and what it may not do.
//!
//! | step | awaiting-signature | queued | leased | started | succeeded | failed | refused | expired | cancelled |
//! |---|---|---|---|---|---|---|---|---|---|
//! | sign | queued | – | – | – | – | – | – | – | – |
//! | overtake | – | awaiting-signature | – | – | – | – | – | – | – |
//! | recall | stays | awaiting-signature | – | – | – | – | – | – | – |
//! | lease | – | leased | stays | – | – | – | – | – | – |
//! | release | – | – | queued | – | – | – | – | – | – |
//! | start | – | started | started | stays | stays | stays | stays | stays | stays |
//! | succeed | – | succeeded | succeeded | succeeded | late | late | late | late | late |
//! | fail | – | failed | failed | failed | late | late | late | late | late |
//! | refuse | – | refused | refused | refused | late | late | late | late | late |
//! | expire | expired | expired | expired | expired | – | – | – | – | – |
//! | cancel | cancelled | cancelled | cancelled | cancelled | stays | stays | stays | stays | stays |
//! | retry | – | – | – | – | – | stays | stays | stays | stays |
//!
//! `stays`: nothing changes, and the command is answered as it is. `late`: the result is kept beside the one in force and changes
//! nothing else. `–`: refused. What an agent says of a queued command is heard only when it was delivered before: its lease ran out
//! meanwhile.

use crate::words::words;

words! {
    /// Where a command stands. The last five are terminal: they absorb (clause C1).
    "command state" CommandState {
        /// Keys of people have to sign it first.
        AwaitingSignature = "awaiting-signature",
        /// It waits for its agent.
        Queued = "queued",
        /// Its agent has it, as far as is known, and has not begun.
        Leased = "leased",
        /// Its agent has begun, or was told that it may.
        Started = "started",
        /// The agent claims that it was carried out.
        Succeeded = "succeeded",
        /// The agent says that it could not be carried out, or that it was undone.
        Failed = "failed",
        /// The agent would not carry it out.
        Refused = "refused",
        /// It was not carried out in time, or nobody said so.
        Expired = "expired",
        /// It was called off.
        Cancelled = "cancelled",
    }
}

impl CommandState {
    /// Whether the command has still to end.
    #[must_use]
    pub const fn open(self) -> bool {
        matches!(self, Self::AwaitingSignature | Self::Queued | Self::Leased | Self::Started)
    }
}

words! {
    /// What can happen to a command, in the order of the table.
    "command step" CommandEvent {
        /// As many keys have signed it as must.
        Sign = "sign",
        /// A later counter was delivered before the one its signatures bind.
        Overtake = "overtake",
        /// A key that signed it does not count any more; what was delivered is cancelled instead.
        Recall = "recall",
        /// It is handed to its agent.
        Lease = "lease",
        /// Its lease ran out.
        Release = "release",
        /// Its agent is about to begin.
        Start = "start",
        /// Its agent claims success.
        Succeed = "succeed",
        /// Its agent tells of a failure.
        Fail = "fail",
        /// Its agent will not do it.
        Refuse = "refuse",
        /// Its time or its attempts ran out.
        Expire = "expire",
        /// It is called off.
        Cancel = "cancel",
        /// It is asked for again, as another command.
        Retry = "retry",
    }
}

/// What a step does in one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// Refused; nothing changes.
    Forbidden,
    /// Nothing changes, and that is the answer.
    Stays,
    /// What came is kept as late.
    Late,
    /// The command is in this state afterwards.
    To(CommandState),
}

/// The cell for `event` in `state`.
#[must_use]
pub const fn moves(event: CommandEvent, state: CommandState) -> Move {
    TABLE[event.code() as usize][state.code() as usize]
}

/// Whether something leads from one state to another.
pub(super) fn leads(from: CommandState, to: CommandState) -> bool {
    CommandEvent::ALL.iter().any(|event| moves(*event, from) == Move::To(to))
}

const NO: Move = Move::Forbidden;
const STAYS: Move = Move::Stays;
const LATE: Move = Move::Late;
const SIGNING: Move = Move::To(CommandState::AwaitingSignature);
const QUEUED: Move = Move::To(CommandState::Queued);
const LEASED: Move = Move::To(CommandState::Leased);
const STARTED: Move = Move::To(CommandState::Started);
const DONE: Move = Move::To(CommandState::Succeeded);
const FAILED: Move = Move::To(CommandState::Failed);
const REFUSED: Move = Move::To(CommandState::Refused);
const EXPIRED: Move = Move::To(CommandState::Expired);
const CANCELLED: Move = Move::To(CommandState::Cancelled);

// Rows in the order of `CommandEvent`, columns in that of `CommandState`.
#[rustfmt::skip]
const TABLE: [[Move; 9]; 12] = [
    [QUEUED,    NO,        NO,        NO,        NO,    NO,    NO,    NO,    NO],
    [NO,        SIGNING,   NO,        NO,        NO,    NO,    NO,    NO,    NO],
    [STAYS,     SIGNING,   NO,        NO,        NO,    NO,    NO,    NO,    NO],
    [NO,        LEASED,    STAYS,     NO,        NO,    NO,    NO,    NO,    NO],
    [NO,        NO,        QUEUED,    NO,        NO,    NO,    NO,    NO,    NO],
    [NO,        STARTED,   STARTED,   STAYS,     STAYS, STAYS, STAYS, STAYS, STAYS],
    [NO,        DONE,      DONE,      DONE,      LATE,  LATE,  LATE,  LATE,  LATE],
    [NO,        FAILED,    FAILED,    FAILED,    LATE,  LATE,  LATE,  LATE,  LATE],
    [NO,        REFUSED,   REFUSED,   REFUSED,   LATE,  LATE,  LATE,  LATE,  LATE],
    [EXPIRED,   EXPIRED,   EXPIRED,   EXPIRED,   NO,    NO,    NO,    NO,    NO],
    [CANCELLED, CANCELLED, CANCELLED, CANCELLED, STAYS, STAYS, STAYS, STAYS, STAYS],
    [NO,        NO,        NO,        NO,        NO,    STAYS, STAYS, STAYS, STAYS],
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The documented table is read from this file and compared with the code, cell by cell.
    #[test]
    fn the_documented_table_is_the_one_in_force() {
        let rows: Vec<Vec<&str>> = include_str!("lifecycle.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("//! | "))
            .map(|line| line.trim_end_matches(" |").split(" | ").collect())
            .collect();
        assert_eq!(rows.len(), 1 + CommandEvent::ALL.len());
        assert_eq!(rows[0][1..], CommandState::ALL.iter().map(|state| state.as_str()).collect::<Vec<_>>());
        for (row, event) in rows[1..].iter().zip(CommandEvent::ALL) {
            assert_eq!((row[0], row.len()), (event.as_str(), 1 + CommandState::ALL.len()));
            for (cell, state) in row[1..].iter().zip(CommandState::ALL) {
                let expected = match *cell {
                    "–" => Move::Forbidden,
                    "stays" => Move::Stays,
                    "late" => Move::Late,
                    word => Move::To(word.parse().unwrap()),
                };
                assert_eq!(moves(*event, *state), expected, "{event} in {state}");
            }
        }
    }

    #[test]
    fn terminal_states_absorb() {
        for event in CommandEvent::ALL {
            for state in CommandState::ALL.iter().filter(|state| !state.open()) {
                assert!(!matches!(moves(*event, *state), Move::To(_)), "{event} in {state}");
            }
        }
    }

    #[test]
    fn every_open_state_ends_without_the_agent() {
        for state in CommandState::ALL.iter().filter(|state| state.open()) {
            assert_eq!(moves(CommandEvent::Expire, *state), Move::To(CommandState::Expired));
            assert_eq!(moves(CommandEvent::Cancel, *state), Move::To(CommandState::Cancelled));
        }
    }
}
