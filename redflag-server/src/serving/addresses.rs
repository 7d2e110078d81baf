//! How many connections each address holds, so that none takes the places of all others.

use crate::access::subscriber;
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// Counts of connections by address; as large as there are connections.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    held: Arc<Mutex<HashMap<IpAddr, usize>>>,
    each_max: usize,
}

/// The place of one connection, free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    addresses: Addresses,
    address: IpAddr,
}

impl Addresses {
    /// Each address may hold `each_max`.
    pub(super) fn new(each_max: usize) -> Self {
        Self { held: Arc::default(), each_max }
    }

    /// A place for a connection from `address`; none when the address holds as many as it may.
    pub(super) fn enter(&self, address: IpAddr) -> Option<Place> {
        let address = subscriber(address);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(address).or_default();
        if *count >= self.each_max {
            return None;
        }
        *count += 1;
        Some(Place { addresses: self.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.addresses.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = held.get_mut(&self.address) else { return };
        *count -= 1;
        if *count == 0 {
            held.remove(&self.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_holds_its_limit_and_no_more_and_others_are_unaffected() {
        let addresses = Addresses::new(2);
        let from = |address: &str| addresses.enter(address.parse().unwrap());
        let (first, second) = (from("192.0.2.1").unwrap(), from("::ffff:192.0.2.1").unwrap());
        assert!(from("192.0.2.1").is_none() && from("192.0.2.2").is_some());
        drop(first);
        assert!(from("192.0.2.1").is_some(), "a place is free again");
        drop(second);
        assert!(addresses.held.lock().unwrap().is_empty(), "nothing is kept of who has gone");
        let _held = [from("2001:db8::1").unwrap(), from("2001:db8::2").unwrap()];
        assert!(from("2001:db8::3").is_none() && from("2001:db8:0:1::3").is_some(), "of IPv6 a /64 counts as one");
    }
}
