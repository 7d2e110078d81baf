//! A hundred thousand lives of commands, among lost answers, late messages, deaths and jumping clocks (clauses C1 to C5).
#![cfg(feature = "conformance")]
#![expect(clippy::unwrap_used, reason = "what fails in a test's helper fails the test")]

mod support;

use redflag_core::{
    MemoryStore,
    command::lifecycle::CommandState,
    conformance::{Life, live},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};
use support::{for_all, now, replaying};

/// Commands whose lives the ordinary run plays.
const COMMANDS: u64 = 100_000;

#[test]
fn every_command_ends_and_takes_effect_at_most_once() {
    let (commands, late, effects, deaths) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let ends = std::sync::Mutex::new(BTreeMap::<CommandState, u64>::new());
    for_all("every_command_ends_and_takes_effect_at_most_once", 3_100, |seed| {
        let lived = now(live(Arc::new(MemoryStore::new()), seed, Life::default())).unwrap();
        commands.fetch_add(lived.ends.values().sum(), Relaxed);
        late.fetch_add(lived.late, Relaxed);
        effects.fetch_add(lived.effects, Relaxed);
        deaths.fetch_add(lived.deaths, Relaxed);
        let mut ends = ends.lock().unwrap();
        lived.ends.into_iter().for_each(|(state, count)| *ends.entry(state).or_default() += count);
    });
    let ends = ends.into_inner().unwrap();
    println!("{commands:?} commands, {effects:?} effects, {late:?} late results, {deaths:?} deaths: {ends:?}");
    if !replaying() {
        assert!(commands.into_inner() >= COMMANDS);
        for state in CommandState::ALL.iter().filter(|state| !state.open()) {
            assert!(ends.get(state).is_some_and(|count| *count >= COMMANDS / 1_000), "hardly a command ends {state}: {ends:?}");
        }
        assert!(late.into_inner() >= COMMANDS / 1_000 && deaths.into_inner() >= COMMANDS / 1_000);
    }
}
