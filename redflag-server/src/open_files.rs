//! The limit of open files, of which each connection takes one.
//!
//! Systems start programs with a low one, for the sake of programs that cannot count further, and let each raise it for itself.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files that are no connections: the database, the listener, the log, the certificate while it is read; with a margin.
const OTHERS: u64 = 128;
/// The least number of connections a server takes.
const CONNECTIONS_MIN: u64 = 2;

/// Raises the limit of this process as far as it may be raised, and answers how many connections it then has files for, `wanted` at most.
/// When those are fewer, the log says so, and what to do.
pub(crate) fn connections_within(wanted: usize) -> usize {
    let limit = raised();
    let possible = possible(limit, wanted);
    if possible < wanted {
        tracing::warn!(
            open_files = limit,
            "at most {possible} connections are taken, not {wanted}: this process may not open more files; raise the limit of open files \
             (LimitNOFILE= of the unit, ulimit -Hn) or take fewer connections (--connections-max)"
        );
    }
    possible
}

/// The limit after it was raised; none where there is none.
fn raised() -> Option<u64> {
    let before = getrlimit(Resource::Nofile);
    let after = Rlimit { current: before.maximum, maximum: before.maximum };
    if before == after || setrlimit(Resource::Nofile, after).is_ok() { after.current } else { before.current }
}

fn possible(limit: Option<u64>, wanted: usize) -> usize {
    let Some(limit) = limit else { return wanted };
    usize::try_from(limit.saturating_sub(OTHERS).max(CONNECTIONS_MIN)).map_or(wanted, |possible| possible.min(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_connections_as_files_are_left_for_and_no_more_than_wanted() {
        for (limit, wanted, expected) in [
            (None, 16_384, 16_384),
            (Some(u64::MAX), 16_384, 16_384),
            (Some(16_384 + OTHERS), 16_384, 16_384),
            (Some(16_384 + OTHERS - 1), 16_384, 16_383),
            (Some(1_024), 16_384, 896),
            (Some(OTHERS + 3), 16_384, 3),
            (Some(OTHERS + 1), 16_384, 2),
            (Some(0), 16_384, 2),
        ] {
            assert_eq!(possible(limit, wanted), expected, "{limit:?}");
        }
    }
}
