//! What the property tests share: the naive specification, and running the store's ready futures without a runtime.

#![expect(dead_code, reason = "each test binary uses its own part of this module")]
#![expect(clippy::print_stdout, reason = "a failure says how to replay it")]
#![expect(clippy::disallowed_methods, reason = "the volume of tests is set from outside; core itself reads no environment")]

pub(crate) mod naive;
pub(crate) mod wrapped;

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

/// The result of a future that never waits, which is what the memory store's futures are.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the memory store never waits"),
    }
}

/// How many cases a property tries: `REDFLAG_CASES` when set, else `ordinary`. With `REDFLAG_SEED` only that seed is tried.
pub(crate) fn seeds(ordinary: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a whole number"));
    match number("REDFLAG_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("REDFLAG_CASES").unwrap_or(ordinary),
    }
}

/// Whether one seed is replayed, so that nothing can be said about all of them.
pub(crate) fn replaying() -> bool {
    std::env::var_os("REDFLAG_SEED").is_some()
}

/// Tries `property` with every seed; a failure says which seed fails and how to replay it.
pub(crate) fn for_all(test: &str, ordinary: u64, property: impl Fn(u64)) {
    for seed in seeds(ordinary) {
        let replay = Replay { test, seed };
        property(seed);
        std::mem::forget(replay);
    }
}

struct Replay<'a> {
    test: &'a str,
    seed: u64,
}

impl Drop for Replay<'_> {
    fn drop(&mut self) {
        println!("seed {} fails; replay: REDFLAG_SEED={} cargo test -p redflag-core --all-features {}", self.seed, self.seed, self.test);
    }
}
