//! Leaky buckets: what is taken now drains with time, and too much waits. Time is that of the process, so that a clock that is set
//! changes nothing.

use std::{
    hash::{BuildHasher as _, Hash, RandomState},
    time::{Duration, Instant},
};

const MICROS_PER_SECOND: u128 = 1_000_000;
const GROUPS: usize = 1_024;
const ENTRIES_OF_GROUP: usize = 8;

/// Microseconds since this was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopwatch(Instant);

impl Default for Stopwatch {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Stopwatch {
    pub(super) fn now(&self) -> i64 {
        i64::try_from(self.0.elapsed().as_micros()).unwrap_or(i64::MAX)
    }
}

/// How much may be taken at once, and how much drains in how many seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    at_once: u64,
    drained: u64,
    seconds: u64,
}

impl Rate {
    /// So much at once, and then so much a second.
    pub(super) const fn per_second(at_once: u64, drained: u64) -> Self {
        Self { at_once, drained, seconds: 1 }
    }

    /// So much at once, and then one in so many seconds.
    pub(super) const fn one_in(at_once: u64, seconds: u64) -> Self {
        Self { at_once, drained: 1, seconds }
    }

    /// How long `amount` takes to drain, in microseconds.
    fn drains_in(&self, amount: u64) -> i64 {
        let seconds = u128::from(amount) * u128::from(self.seconds);
        let micros = seconds.saturating_mul(MICROS_PER_SECOND) / u128::from(self.drained.max(1));
        i64::try_from(micros).unwrap_or(i64::MAX)
    }
}

/// One bucket, as the time at which it will be empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bucket {
    empty_at: i64,
}

impl Bucket {
    /// Whether there is room for anything at all.
    ///
    /// # Errors
    /// After how long there is, when there is not.
    pub(super) fn room(&self, rate: Rate, now: i64) -> Result<(), Duration> {
        let over = self.empty_at.saturating_sub(now).saturating_sub(rate.drains_in(rate.at_once));
        if over < 0 { Ok(()) } else { Err(Duration::from_micros(over.unsigned_abs() + 1)) }
    }

    /// Puts one in, if it fits.
    ///
    /// # Errors
    /// After how long it would, when it does not.
    fn take(&mut self, rate: Rate, now: i64) -> Result<(), Duration> {
        let mut filled = *self;
        filled.put(1, rate, now);
        let over = filled.empty_at.saturating_sub(now).saturating_sub(rate.drains_in(rate.at_once));
        if over > 0 {
            return Err(Duration::from_micros(over.unsigned_abs()));
        }
        *self = filled;
        Ok(())
    }

    /// Puts `amount` in, whether there is room or not.
    pub(super) fn put(&mut self, amount: u64, rate: Rate, now: i64) {
        self.empty_at = self.empty_at.max(now).saturating_add(rate.drains_in(amount));
    }
}

/// Buckets of many that nobody has enrolled, in a table of fixed size under keyed digests, in small groups. Where a group is full, the
/// one with the least in it makes room: who sprays names displaces other sprayed ones.
#[derive(Debug)]
pub(super) struct Table {
    hasher: RandomState,
    rate: Rate,
    groups: Box<[[(u64, Bucket); ENTRIES_OF_GROUP]]>,
}

impl Table {
    pub(super) fn new(rate: Rate) -> Self {
        let groups = vec![[(0, Bucket::default()); ENTRIES_OF_GROUP]; GROUPS].into_boxed_slice();
        Self { hasher: RandomState::new(), rate, groups }
    }

    /// Whether the bucket of `who` has room.
    ///
    /// # Errors
    /// After how long it has, when it has not.
    pub(super) fn room(&self, who: &impl Hash, now: i64) -> Result<(), Duration> {
        let (key, place) = self.place(who);
        self.groups[place].iter().find(|(known, _)| *known == key).map_or(Ok(()), |(_, bucket)| bucket.room(self.rate, now))
    }

    /// Puts one into the bucket of `who`, whether there is room or not.
    pub(super) fn put(&mut self, who: &impl Hash, now: i64) {
        let rate = self.rate;
        self.bucket(who).put(1, rate, now);
    }

    /// Puts one into the bucket of `who`, if it fits.
    ///
    /// # Errors
    /// After how long it would, when it does not.
    pub(super) fn take(&mut self, who: &impl Hash, now: i64) -> Result<(), Duration> {
        let rate = self.rate;
        self.bucket(who).take(rate, now)
    }

    /// Takes one out of the bucket of `who` again.
    pub(super) fn give_back(&mut self, who: &impl Hash) {
        let one = self.rate.drains_in(1);
        let bucket = self.bucket(who);
        bucket.empty_at = bucket.empty_at.saturating_sub(one);
    }

    /// Empties the bucket of `who`.
    pub(super) fn empty(&mut self, who: &impl Hash) {
        *self.bucket(who) = Bucket::default();
    }

    /// The bucket of `who`, or the one of its group with the least in it, made theirs.
    fn bucket(&mut self, who: &impl Hash) -> &mut Bucket {
        let (key, place) = self.place(who);
        let group = &mut self.groups[place];
        let known = group.iter().position(|(known, _)| *known == key);
        let found = known.or_else(|| (0..ENTRIES_OF_GROUP).min_by_key(|entry| group[*entry].1.empty_at)).expect("groups have entries");
        if known.is_none() {
            group[found] = (key, Bucket::default());
        }
        &mut group[found].1
    }

    fn place(&self, who: &impl Hash) -> (u64, usize) {
        let key = self.hasher.hash_one(who);
        (key, usize::try_from(key % GROUPS as u64).expect("there are few groups"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;
    const RATE: Rate = Rate::per_second(10, 2);

    #[test]
    fn a_bucket_takes_what_fits_and_drains() {
        let mut bucket = Bucket::default();
        for _ in 0..10 {
            assert_eq!(bucket.room(RATE, 100 * SECOND), Ok(()));
            bucket.put(1, RATE, 100 * SECOND);
        }
        let wait = bucket.room(RATE, 100 * SECOND).unwrap_err();
        assert!(wait <= Duration::from_micros(1), "as much as at once is full: {wait:?}");
        assert!(bucket.room(RATE, 101 * SECOND).is_ok());
        // One that was taken whole although it did not fit has to drain first.
        bucket.put(100, RATE, 101 * SECOND);
        assert_eq!(bucket.room(RATE, 101 * SECOND).unwrap_err().as_secs(), 49);
        assert!(bucket.room(RATE, 150 * SECOND).is_err() && bucket.room(RATE, 151 * SECOND).is_ok());
        bucket.put(u64::MAX, Rate::per_second(1, 0), i64::MAX - 1);
        assert!(bucket.room(RATE, 0).is_err(), "extremes do not overflow");
    }

    #[test]
    fn a_hundred_thousand_strangers_take_no_more_memory_and_free_none_that_is_full() {
        let mut table = Table::new(RATE);
        let bytes = size_of_val(&*table.groups);
        (0..10).for_each(|_| table.put(&"besieger", 0));
        for stranger in 0..100_000_u32 {
            assert_eq!(table.room(&stranger, 0), Ok(()), "a stranger's first");
            table.put(&stranger, 0);
        }
        assert_eq!(size_of_val(&*table.groups), bytes);
        assert!(bytes <= 256 * 1024, "{bytes} bytes");
        assert!(table.room(&"besieger", 0).is_err());
        assert!(table.room(&"besieger", 6 * SECOND).is_ok());
    }
}
