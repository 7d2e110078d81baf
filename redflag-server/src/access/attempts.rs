//! How often one may try to sign in by a password: limits per account and per address, in tables of fixed size.
//!
//! A try counts when it begins, so that a thousand at once are a thousand tries; one that succeeds is taken back. What was counted
//! drains away with time. Names that are no account's count as well, so that being limited tells nothing.

use super::buckets::{Rate, Stopwatch, Table};
use std::{
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Tries that one account takes: ten at once, and then one a minute.
const OF_ACCOUNT: Rate = Rate::one_in(10, 60);
/// Tries that one address makes, for any accounts: thirty at once, and then one in ten seconds.
const OF_ADDRESS: Rate = Rate::one_in(30, 10);

/// The tries to sign in of this process.
#[derive(Debug)]
pub(crate) struct Attempts {
    started: Stopwatch,
    accounts: Mutex<Table>,
    addresses: Mutex<Table>,
}

impl Default for Attempts {
    fn default() -> Self {
        Self { started: Stopwatch::default(), accounts: Mutex::new(Table::new(OF_ACCOUNT)), addresses: Mutex::new(Table::new(OF_ADDRESS)) }
    }
}

impl Attempts {
    /// Counts a try.
    ///
    /// # Errors
    /// When it is one too many: after how long another is possible.
    pub(super) fn begin(&self, account: &str, address: IpAddr) -> Result<(), Duration> {
        self.begin_at(account, address, self.started.now())
    }

    fn begin_at(&self, account: &str, address: IpAddr, now: i64) -> Result<(), Duration> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).take(&address, now)?;
        // The address keeps its count where the account takes none: it was a try.
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner).take(&account.to_ascii_lowercase(), now)
    }

    /// Takes a try back that succeeded, and forgets what was tried at the account before.
    pub(super) fn succeeded(&self, account: &str, address: IpAddr) {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner).empty(&account.to_ascii_lowercase());
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).give_back(&address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const SECOND: i64 = 1_000_000;

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(number))
    }

    #[test]
    fn an_account_takes_ten_tries_and_then_one_a_minute() {
        let attempts = Attempts::default();
        for number in 0..10 {
            assert_eq!(attempts.begin_at("ada", address(number), 0), Ok(()), "{number}");
        }
        let after = |account, seconds| attempts.begin_at(account, address(99), seconds * SECOND);
        assert_eq!(after("Ada", 0), Err(Duration::from_secs(60)), "names fold");
        assert_eq!(after("ada", 59), Err(Duration::from_secs(1)));
        assert_eq!(after("ada", 60), Ok(()));
        assert_eq!(after("ada", 60), Err(Duration::from_secs(60)));
        assert_eq!(after("bob", 60), Ok(()), "others are not concerned");
    }

    #[test]
    fn an_address_makes_thirty_tries_and_then_one_in_ten_seconds() {
        let attempts = Attempts::default();
        for number in 0..30 {
            assert_eq!(attempts.begin_at(&format!("a{number}"), ADDRESS, 0), Ok(()));
        }
        assert_eq!(attempts.begin_at("another", ADDRESS, 0), Err(Duration::from_secs(10)));
        assert_eq!(attempts.begin_at("another", address(7), 0), Ok(()));
    }

    #[test]
    fn who_succeeds_is_never_limited() {
        let attempts = Attempts::default();
        for _ in 0..1_000 {
            assert_eq!(attempts.begin_at("ada", ADDRESS, 0), Ok(()));
            attempts.succeeded("ada", ADDRESS);
        }
    }

    #[test]
    fn a_hundred_thousand_names_and_addresses_free_no_besieged_account() {
        let attempts = Attempts::default();
        for number in 0..10 {
            attempts.begin_at("ada", address(number), 0).unwrap();
        }
        for number in 0..100_000 {
            attempts.begin_at(&format!("name-{number}"), address(1_000 + number), 0).unwrap();
        }
        assert!(attempts.begin_at("ada", address(500_000), SECOND).is_err());
    }
}
