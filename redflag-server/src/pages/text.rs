//! How numbers, words and times read on a page.

use redflag_core::{agent::about, event::Actor, time::Timestamp};
use std::time::Duration;

/// `number` in groups of three digits.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && at % 3 == first {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A word of a closed set as people write it.
pub(crate) fn spaced(word: &str) -> String {
    word.replace('-', " ")
}

/// `count` with its noun in the right number.
pub(crate) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

/// A version short enough for a row: of a digest, its algorithm and its first twelve digits.
pub(crate) fn version(text: impl std::fmt::Display) -> String {
    const DIGITS: usize = 12;
    let text = text.to_string();
    match text.split_once(':') {
        Some((algorithm, digits)) if digits.len() >= 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            format!("{algorithm}:{}…", &digits[..DIGITS])
        }
        _ => text,
    }
}

/// What a tool printed, as a terminal would show it: line by line, of a line that it wrote over itself the last version, tabs as spaces.
pub(crate) fn printed(output: &str) -> Vec<String> {
    let line = |line: &str| line.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default().replace('\t', "    ");
    output.split_terminator('\n').map(line).collect()
}

/// A size in the largest unit that leaves at least 1.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let (mut whole, mut tenths) = (bytes, 0);
    while whole >= 1_024 && unit + 1 < UNITS.len() {
        tenths = whole % 1_024 * 10 / 1_024;
        whole /= 1_024;
        unit += 1;
    }
    if unit == 0 { format!("{whole} {}", UNITS[unit]) } else { format!("{whole}.{tenths} {}", UNITS[unit]) }
}

/// The start of a day (`2026-12-31`), in UTC; none of an empty text, as a form sends it for "none".
pub(crate) fn start_of_day(day: &str) -> Result<Option<Timestamp>, String> {
    if day.is_empty() {
        return Ok(None);
    }
    format!("{day}T00:00:00Z").parse().map(Some).map_err(|error: redflag_core::time::InvalidTimestamp| error.to_string())
}

/// Who did something, as a page says it.
pub(crate) fn actor(actor: &Actor) -> String {
    match actor {
        Actor::Agent => "the agent".to_owned(),
        Actor::Operator(name) => name.to_string(),
        Actor::System(part) => format!("RedFlag ({part})"),
    }
}

/// A point in time, said three ways.
#[derive(Clone, Debug)]
pub(crate) struct When {
    /// For machines.
    pub(crate) iso: String,
    /// To the second, in UTC.
    pub(crate) exact: String,
    /// As seen from now.
    pub(crate) ago: String,
}

impl When {
    /// `at`, as seen from `now`.
    pub(crate) fn seen_from(now: Timestamp, at: Timestamp) -> Self {
        let iso = at.to_string();
        let exact = format!("{} UTC", iso.get(..19).unwrap_or(&iso).replace('T', " "));
        let (past, future) = (now.since(at), at.since(now));
        let ago = match (past, future) {
            (Duration::ZERO, future) if future >= Duration::from_secs(1) => format!("in {}", about(future)),
            (past, _) if past < Duration::from_secs(5) => "just now".to_owned(),
            (past, _) => format!("{} ago", about(past)),
        };
        Self { iso, exact, ago }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_from_the_right() {
        let shown: Vec<_> = [0, 12, 999, 1_000, 3_772, 50_000, 1_234_567].map(grouped).into();
        assert_eq!(shown, ["0", "12", "999", "1,000", "3,772", "50,000", "1,234,567"]);
    }

    #[test]
    fn only_digests_are_cut() {
        assert_eq!(version(format!("sha256:{}", "0a".repeat(32))), "sha256:0a0a0a0a0a0a…");
        assert_eq!(version("1:3.0.7-27.el9"), "1:3.0.7-27.el9");
    }

    #[test]
    fn what_a_tool_printed_is_shown_as_on_a_terminal() {
        assert_eq!(printed("one\r\n 10 %\r 50 %\r100 %\n\n\ttwo"), ["one", "100 %", "", "    two"]);
        assert!(printed("").is_empty());
    }

    #[test]
    fn sizes_keep_one_decimal() {
        assert_eq!([0, 1_023, 1_024, 1_536, 5 << 30].map(size), ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 GiB"]);
    }

    #[test]
    fn times_are_seen_from_now() {
        let now: Timestamp = "2026-11-23T08:00:00Z".parse().unwrap();
        let seen = |at: &str| When::seen_from(now, at.parse().unwrap());
        assert_eq!(seen("2026-11-23T07:57:00.5Z").ago, "2 min ago");
        assert_eq!(seen("2026-11-23T07:59:58Z").ago, "just now");
        assert_eq!(seen("2026-11-25T08:00:00Z").ago, "in 2 days");
        assert_eq!(seen("2026-11-23T07:57:00.123456Z").exact, "2026-11-23 07:57:00 UTC");
    }
}
