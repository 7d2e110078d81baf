//! Properties: whatever is signed reads back as it was, and nothing that differs in any way is read at all.

use crate::lab::*;
use proptest::prelude::*;
use redflag_core::command::{
    payload::{Action, Command, Order, SideEffect},
    refusal::RefusalCode,
};
use serde_json::Value;
use std::collections::BTreeSet;

fn commands() -> impl Strategy<Value = Command> {
    let names = prop::collection::btree_set("[a-z][a-z0-9+.]{1,12}", 1..4);
    let side_effects = prop::collection::btree_set(prop::sample::select(SideEffect::ALL), 0..4);
    (names, side_effects, any::<bool>(), 1..100_u64, "\\PC{1,12}").prop_map(|(names, side_effects, plan, step, actor)| {
        let items: Vec<_> = names.iter().map(|name| item("apt", name, "1.0-1", "1.0-2")).collect();
        let action = if plan { Action::Plan { items } } else { Action::Install(Order { side_effects, ..order(items) }) };
        let mut command = Command { counter: FLOOR + step, ..command(action) };
        command.approvals[0].actor = redflag_core::names::Text::lossy(&actor);
        command
    })
}

/// Every single bit, not a sample.
#[test]
fn no_flipped_bit_goes_unnoticed() {
    let envelope = signed(&install(), &[SERVER]);
    assert!(judge(&envelope).is_ok());
    for bit in 0..envelope.len() * 8 {
        let mut flipped = envelope.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(judge(&flipped).is_err(), "bit {bit}");
    }
}

/// Every truncation, and every byte doubled or left out.
#[test]
fn no_byte_may_be_missing_or_added() {
    let envelope = signed(&install(), &[SERVER]);
    for at in 0..envelope.len() {
        let (before, behind) = envelope.split_at(at);
        assert!(judge(before).is_err(), "cut at {at}");
        assert!(judge(&[before, &behind[1..]].concat()).is_err(), "without byte {at}");
        assert!(judge(&[before, &behind[..1], behind].concat()).is_err(), "byte {at} twice");
    }
}

proptest! {
    #[test]
    fn what_is_signed_reads_back_and_a_flipped_bit_does_not(command in commands(), bit in any::<prop::sample::Index>()) {
        let mut envelope = signed(&command, &[SERVER]);
        let verified = judge(&envelope).unwrap();
        prop_assert_eq!(verified.command(), &command);
        let bit = bit.index(envelope.len() * 8);
        envelope[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(judge(&envelope).is_err());
    }

    /// The payload is signed as it stands here: it is its form that is refused.
    #[test]
    fn keys_in_another_order_or_twice_are_refused(
        command in commands(), object in any::<prop::sample::Index>(), swap in any::<prop::sample::Index>(), twice in any::<bool>(),
    ) {
        let value: Value = serde_json::from_slice(&command.to_bytes()).unwrap();
        let mut countdown = object.index(count_objects(&value)) + 1;
        let written = write(&value, &mut countdown, &|fields| {
            let (at, count) = (swap.index(fields.len()), fields.len());
            if twice || count == 1 { fields.insert(at, fields[at].clone()) } else { fields.swap(at, (at + 1) % count) }
        });
        prop_assert_eq!(judge(&signed_text(&written)).unwrap_err(), RefusalCode::Malformed, "{}", written);
    }

    #[test]
    fn no_bytes_make_it_panic(payload in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(judge(&payload).is_err());
        prop_assert!(judge(&signed_bytes(redflag_core::command::envelope::PAYLOAD_TYPE, &payload)).is_err());
    }
}

fn count_objects(value: &Value) -> usize {
    match value {
        Value::Object(fields) => 1 + fields.values().map(count_objects).sum::<usize>(),
        Value::Array(values) => values.iter().map(count_objects).sum(),
        _ => 0,
    }
}

/// A key and its value, as text.
type Field = (String, String);

/// Writes JSON as it was signed, but for one object, whose fields `change` gets: the `countdown`-th.
fn write(value: &Value, countdown: &mut usize, change: &dyn Fn(&mut Vec<Field>)) -> String {
    match value {
        Value::Object(fields) => {
            *countdown = countdown.wrapping_sub(1);
            let chosen = *countdown == 0;
            let sorted: std::collections::BTreeMap<_, _> = fields.iter().collect();
            let mut fields: Vec<_> =
                sorted.into_iter().map(|(key, value)| (Value::from(key.as_str()).to_string(), write(value, countdown, change))).collect();
            if chosen {
                change(&mut fields);
            }
            let fields: Vec<_> = fields.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(values) => {
            let values: Vec<_> = values.iter().map(|value| write(value, countdown, change)).collect();
            format!("[{}]", values.join(","))
        }
        other => other.to_string(),
    }
}

/// The writer of these tests, left to itself, writes what was signed: else the property above would prove nothing.
#[test]
fn the_writer_of_these_tests_changes_nothing_by_itself() {
    let bytes =
        Command { action: Action::Install(Order { side_effects: BTreeSet::from([SideEffect::Removal]), ..order(vec![]) }), ..install() }
            .to_bytes();
    let value = serde_json::from_slice(&bytes).unwrap();
    let mut none = 0;
    assert_eq!(write(&value, &mut none, &|_| {}).as_bytes(), bytes);
}
