//! Time as the contract stores it: whole microseconds since the Unix epoch, written as RFC 3339 text in UTC.
//!
//! Core reads no clock; every time comes in as a value. Times never order anything (clause B11).

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, str::FromStr, time::Duration};

/// A point in time in whole microseconds (clause B13), between the years 0001 and 9999.
///
/// Finer parts are cut off when parsing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// A text or number that is no [`Timestamp`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a time between the years 0001 and 9999 in RFC 3339 form: {value:?}")]
pub struct InvalidTimestamp {
    value: String,
}

impl Timestamp {
    /// 0001-01-01T00:00:00Z.
    pub const MIN: Self = Self(-62_135_596_800_000_000);
    /// 9999-12-30T22:00:00Z, the last time that can be shown at every offset from UTC.
    pub const MAX: Self = Self(253_402_207_200_000_000);
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// The time that lies `micros` microseconds after the Unix epoch.
    ///
    /// # Errors
    /// When it lies outside [`Timestamp::MIN`] to [`Timestamp::MAX`].
    pub fn from_micros(micros: i64) -> Result<Self, InvalidTimestamp> {
        if (Self::MIN.0..=Self::MAX.0).contains(&micros) { Ok(Self(micros)) } else { Err(InvalidTimestamp { value: micros.to_string() }) }
    }

    /// The operating system's time as a [`Timestamp`]; times out of range become the nearest bound.
    #[must_use]
    pub fn from_system_time(time: std::time::SystemTime) -> Self {
        let micros = match time.duration_since(std::time::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
        };
        Self(micros.clamp(Self::MIN.0, Self::MAX.0))
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The time `duration` later, at most [`Timestamp::MAX`].
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(micros).min(Self::MAX.0))
    }

    /// The time `duration` earlier, at least [`Timestamp::MIN`].
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(micros).max(Self::MIN.0))
    }

    /// How long ago `earlier` was; zero when it lies in the future.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        u64::try_from(self.0.saturating_sub(earlier.0)).map_or(Duration::ZERO, Duration::from_micros)
    }
}

/// A day in UTC, as whole days since 1970-01-01; written `2026-11-25`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(i32);

impl Day {
    /// The day `number` days after 1970-01-01.
    ///
    /// # Errors
    /// When it lies outside the years of a [`Timestamp`].
    pub fn from_number(number: i32) -> Result<Self, InvalidTimestamp> {
        let day = Self(number);
        if (Self::of(Timestamp::MIN)..=Self::of(Timestamp::MAX)).contains(&day) {
            Ok(day)
        } else {
            Err(InvalidTimestamp { value: format!("day {number}") })
        }
    }

    /// The day a time falls on.
    #[must_use]
    pub fn of(time: Timestamp) -> Self {
        const DAY_MICROS: i64 = 86_400_000_000;
        Self(i32::try_from(time.0.div_euclid(DAY_MICROS)).expect("the years 0001 to 9999 have fewer than 2^31 days"))
    }

    /// Whole days since 1970-01-01.
    #[must_use]
    pub const fn number(self) -> i32 {
        self.0
    }

    /// The day `days` before this one; before the year 1, the first day of that year.
    #[must_use]
    pub fn before(self, days: u32) -> Self {
        Self(self.0.saturating_sub_unsigned(days)).max(Self::of(Timestamp::MIN))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let midnight = jiff::Timestamp::from_second(i64::from(self.0) * 86_400).expect("a Day lies within jiff's range");
        write!(f, "{}", midnight.strftime("%Y-%m-%d"))
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let day = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let midnight: Timestamp = format!("{day}T00:00:00Z").parse().map_err(de::Error::custom)?;
        Ok(Self::of(midnight))
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidTimestamp { value: text.chars().take(64).collect() };
        let parsed: jiff::Timestamp = text.parse().map_err(|_| invalid())?;
        Self::from_micros(parsed.as_microsecond()).map_err(|_| invalid())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = jiff::Timestamp::from_microsecond(self.0).expect("a Timestamp lies within jiff's range");
        fmt::Display::fmt(&time, f)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_is_cut_to_microseconds() {
        let time: Timestamp = "2026-11-23T10:00:00.123456789+02:00".parse().unwrap();
        assert_eq!(time.to_string(), "2026-11-23T08:00:00.123456Z");
        assert_eq!(time.to_string().parse::<Timestamp>().unwrap(), time);
    }

    #[test]
    fn days_begin_at_midnight_in_utc_also_before_1970() {
        let day = |text: &str| Day::of(text.parse().unwrap());
        assert_eq!(day("2026-11-25T00:00:00Z").to_string(), "2026-11-25");
        assert_eq!(day("2026-11-24T23:59:59.999999Z").to_string(), "2026-11-24");
        assert_eq!((day("1970-01-01T00:00:00Z").number(), day("1969-12-31T23:00:00Z").number()), (0, -1));
        assert_eq!(Day::of(Timestamp::MIN).before(1).to_string(), "0001-01-01");
        assert!(Day::from_number(Day::of(Timestamp::MAX).number()).is_ok());
        assert!(Day::from_number(Day::of(Timestamp::MAX).number() + 1).is_err());
    }

    #[test]
    fn bounds_are_inclusive() {
        for bound in [Timestamp::MIN, Timestamp::MAX] {
            assert_eq!(bound.to_string().parse::<Timestamp>().unwrap(), bound);
        }
        assert!(Timestamp::from_micros(Timestamp::MAX.0 + 1).is_err());
        assert!(Timestamp::from_micros(Timestamp::MIN.0 - 1).is_err());
        assert!("2026-11-23T10:00:00".parse::<Timestamp>().is_err(), "a time without offset is no point in time");
    }
}
