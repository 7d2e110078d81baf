//! How often one may try to sign in: limits per account and per address, in tables of fixed size.
//!
//! A try counts when it begins, so that a thousand at once are a thousand tries; one that succeeds is taken back. What was counted
//! drains away with time. Names that are no account's count as well, so that being limited tells nothing.
//!
//! A table holds digests under a key of this process, in small groups. Where a group is full, the entry with the least in it makes room:
//! whoever sprays names or addresses displaces other sprayed ones, and not an account that is being guessed at.

use redflag_core::time::Timestamp;
use std::{
    hash::{BuildHasher as _, Hash, RandomState},
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Tries that one account takes at once.
pub(crate) const TRIES_OF_ACCOUNT: u32 = 10;
/// After how long one more try of an account is possible.
const ACCOUNT_DRAIN: Duration = Duration::from_secs(60);
/// Tries that one address makes at once, for any accounts.
pub(crate) const TRIES_OF_ADDRESS: u32 = 30;
/// After how long one more try of an address is possible.
const ADDRESS_DRAIN: Duration = Duration::from_secs(10);
const GROUPS: usize = 1_024;
const ENTRIES_OF_GROUP: usize = 8;

/// The tries to sign in of this process.
#[derive(Debug)]
pub(crate) struct Attempts {
    accounts: Mutex<Table>,
    addresses: Mutex<Table>,
}

impl Default for Attempts {
    fn default() -> Self {
        Self {
            accounts: Mutex::new(Table::new(TRIES_OF_ACCOUNT, ACCOUNT_DRAIN)),
            addresses: Mutex::new(Table::new(TRIES_OF_ADDRESS, ADDRESS_DRAIN)),
        }
    }
}

impl Attempts {
    /// Counts a try.
    ///
    /// # Errors
    /// When it is one too many: after how long another is possible.
    pub(super) fn begin(&self, account: &str, address: IpAddr, now: Timestamp) -> Result<(), Duration> {
        let (account, now) = (account.to_ascii_lowercase(), now.as_micros());
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        addresses.take(&address, now)?;
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        // The address keeps its count: it was a try at an account that takes none.
        accounts.take(&account.as_str(), now)
    }

    /// Takes a try back that succeeded, and forgets what was tried at the account before.
    pub(super) fn succeeded(&self, account: &str, address: IpAddr) {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner).forget(&account.to_ascii_lowercase().as_str());
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).give_back(&address);
    }
}

/// Leaky buckets under keyed digests.
#[derive(Debug)]
struct Table {
    hasher: RandomState,
    groups: Box<[[Entry; ENTRIES_OF_GROUP]]>,
    drain: i64,
    /// When a bucket would be empty that is full now.
    full: i64,
}

/// One bucket: when it will be empty, in microseconds. An entry that was never used was empty at the beginning of time.
#[derive(Clone, Copy, Debug)]
struct Entry {
    key: u64,
    empty_at: i64,
}

impl Table {
    fn new(tries: u32, drain: Duration) -> Self {
        let drain = i64::try_from(drain.as_micros()).expect("drains are short");
        let unused = Entry { key: 0, empty_at: i64::MIN };
        let groups = vec![[unused; ENTRIES_OF_GROUP]; GROUPS].into_boxed_slice();
        Self { hasher: RandomState::new(), groups, drain, full: drain * i64::from(tries) }
    }

    /// Puts one try into the bucket of `who`, or answers after how long it has room.
    fn take(&mut self, who: &impl Hash, now: i64) -> Result<(), Duration> {
        let (drain, full) = (self.drain, self.full);
        let entry = self.entry(who);
        let filled = entry.empty_at.max(now).saturating_add(drain);
        let over = filled.saturating_sub(now).saturating_sub(full);
        if over > 0 {
            return Err(Duration::from_micros(over.unsigned_abs()));
        }
        entry.empty_at = filled;
        Ok(())
    }

    fn give_back(&mut self, who: &impl Hash) {
        let drain = self.drain;
        let entry = self.entry(who);
        entry.empty_at = entry.empty_at.saturating_sub(drain);
    }

    fn forget(&mut self, who: &impl Hash) {
        self.entry(who).empty_at = i64::MIN;
    }

    /// The entry of `who`, or the one of its group with the least in it, made theirs.
    fn entry(&mut self, who: &impl Hash) -> &mut Entry {
        let key = self.hasher.hash_one(who);
        let place = usize::try_from(key % GROUPS as u64).expect("there are few groups");
        let group = &mut self.groups[place];
        let known = group.iter().position(|entry| entry.key == key);
        let found = known.or_else(|| (0..ENTRIES_OF_GROUP).min_by_key(|place| group[*place].empty_at)).expect("groups have entries");
        if known.is_none() {
            group[found] = Entry { key, empty_at: i64::MIN };
        }
        &mut group[found]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000 + seconds * 1_000_000).unwrap()
    }

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::from_bits(number))
    }

    #[test]
    fn an_account_takes_ten_tries_and_then_one_a_minute() {
        let attempts = Attempts::default();
        for number in 0..TRIES_OF_ACCOUNT {
            assert_eq!(attempts.begin("ada", address(number), at(0)), Ok(()), "{number}");
        }
        assert_eq!(attempts.begin("Ada", address(99), at(0)), Err(Duration::from_secs(60)), "names fold");
        assert_eq!(attempts.begin("ada", address(99), at(59)), Err(Duration::from_secs(1)));
        assert_eq!(attempts.begin("ada", address(99), at(60)), Ok(()));
        assert_eq!(attempts.begin("ada", address(99), at(60)), Err(Duration::from_secs(60)));
        assert_eq!(attempts.begin("bob", address(99), at(60)), Ok(()), "others are not concerned");
    }

    #[test]
    fn an_address_makes_thirty_tries_and_then_one_in_ten_seconds() {
        let attempts = Attempts::default();
        for number in 0..TRIES_OF_ADDRESS {
            assert_eq!(attempts.begin(&format!("a{number}"), ADDRESS, at(0)), Ok(()));
        }
        assert_eq!(attempts.begin("another", ADDRESS, at(0)), Err(Duration::from_secs(10)));
        assert_eq!(attempts.begin("another", address(7), at(0)), Ok(()));
    }

    #[test]
    fn who_succeeds_is_never_limited() {
        let attempts = Attempts::default();
        for _ in 0..1_000 {
            assert_eq!(attempts.begin("ada", ADDRESS, at(0)), Ok(()));
            attempts.succeeded("ada", ADDRESS);
        }
    }

    #[test]
    fn a_hundred_thousand_names_and_addresses_take_no_more_memory_and_free_no_besieged_account() {
        let attempts = Attempts::default();
        let size = || size_of_val(&*attempts.accounts.lock().unwrap().groups);
        let before = size();
        for number in 0..TRIES_OF_ACCOUNT {
            attempts.begin("ada", address(number), at(0)).unwrap();
        }
        for number in 0..100_000 {
            attempts.begin(&format!("name-{number}"), address(1_000 + number), at(0)).unwrap();
        }
        assert_eq!(size(), before);
        assert!(before <= 256 * 1024, "{before} bytes");
        assert!(attempts.begin("ada", address(500_000), at(1)).is_err());
    }
}
