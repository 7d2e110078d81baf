//! Windows: hours of the week, in UTC, within which an action may be begun.

use redflag_core::{command::payload::ActionKind, time::Timestamp};
use serde::Deserialize;
use std::collections::BTreeSet;

const MINUTES_PER_DAY: u16 = 24 * 60;

/// Hours of some days within which some actions may be begun; they may end later.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    actions: BTreeSet<ActionKind>,
    /// The days on which it begins; every day when none is named.
    #[serde(default)]
    days: BTreeSet<Weekday>,
    from: Minute,
    /// Up to the next day when it is not after `from`.
    to: Minute,
}

impl Window {
    /// Whether it says anything about `action`.
    #[must_use]
    pub fn is_for(&self, action: ActionKind) -> bool {
        self.actions.contains(&action)
    }

    /// Whether it is open at `time`.
    #[must_use]
    pub fn contains(&self, time: Timestamp) -> bool {
        let minutes = time.as_micros().div_euclid(60_000_000);
        let day = minutes.div_euclid(i64::from(MINUTES_PER_DAY));
        let minute = u16::try_from(minutes.rem_euclid(i64::from(MINUTES_PER_DAY))).expect("a day has fewer minutes");
        let begins_on = |day: i64| self.days.is_empty() || self.days.contains(&Weekday::of(day));
        let (Minute(from), Minute(to)) = (self.from, self.to);
        if from < to {
            return begins_on(day) && (from..to).contains(&minute);
        }
        begins_on(day) && minute >= from || begins_on(day - 1) && minute < to
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Weekday {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Weekday {
    /// Of a day counted from 1970-01-01, which was a Thursday.
    const fn of(day: i64) -> Self {
        match day.rem_euclid(7) {
            0 => Self::Thu,
            1 => Self::Fri,
            2 => Self::Sat,
            3 => Self::Sun,
            4 => Self::Mon,
            5 => Self::Tue,
            _ => Self::Wed,
        }
    }
}

/// A minute of the day, written `22:30`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct Minute(u16);

impl TryFrom<String> for Minute {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let part = |part: &str, limit: u16| {
            let digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse::<u16>().ok().filter(|number| digits && *number < limit)
        };
        let read = || {
            let (hours, minutes) = text.split_once(':')?;
            Some(Self(part(hours, 24)? * 60 + part(minutes, 60)?))
        };
        read().ok_or_else(|| format!("{text:?} is no time from 00:00 to 23:59"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(days: &str, from: &str, to: &str) -> Window {
        toml::from_str(&format!("actions = [\"install\"]\ndays = [{days}]\nfrom = \"{from}\"\nto = \"{to}\"")).unwrap()
    }

    fn open(window: &Window, time: &str) -> bool {
        window.contains(time.parse().unwrap())
    }

    #[test]
    fn a_window_has_its_days_and_hours_and_may_pass_midnight() {
        // 2026-11-25 is a Wednesday.
        let day = window("\"wed\"", "09:00", "17:30");
        assert!(open(&day, "2026-11-25T09:00:00Z") && open(&day, "2026-11-25T17:29:59.999999Z"));
        assert!(!open(&day, "2026-11-25T08:59:59.999999Z") && !open(&day, "2026-11-25T17:30:00Z"));
        assert!(!open(&day, "2026-11-24T12:00:00Z") && !open(&day, "2026-11-26T12:00:00Z"));
        let night = window("\"wed\"", "22:00", "04:00");
        assert!(open(&night, "2026-11-25T22:00:00Z") && open(&night, "2026-11-26T03:59:00Z"));
        assert!(!open(&night, "2026-11-25T03:59:00Z") && !open(&night, "2026-11-26T04:00:00Z"));
        assert!(!open(&night, "2026-11-26T22:00:00Z"), "the night belongs to the day it begins on");
        let always = window("", "00:00", "00:00");
        assert!(open(&always, "2026-11-25T00:00:00Z") && open(&always, "1969-12-31T23:59:00Z"));
    }

    #[test]
    fn hours_are_written_in_one_way() {
        for text in ["9:00", "24:00", "22:60", "22", "22:00:00", "+2:00", ""] {
            assert!(Minute::try_from(text.to_owned()).is_err(), "{text:?}");
        }
    }
}
