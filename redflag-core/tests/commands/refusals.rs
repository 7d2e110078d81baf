//! One refusal code per reason, at the limit and one beyond it.

use crate::lab::*;
use redflag_core::{
    command::{
        payload::{Action, ActionKind, Command, CommandApproval, Order, SideEffect, SigningMode},
        plan::Item,
        refusal::RefusalCode,
        verify::{Authentic, PinnedKey},
    },
    limits,
    names::Text,
};
use std::{collections::BTreeSet, time::Duration};

fn judge_command(command: &Command) -> Result<(), RefusalCode> {
    judge(&signed(command, &[SERVER])).map(|verified| assert_eq!(verified.command(), command))
}

fn judge_items(items: Vec<Item>) -> Result<(), RefusalCode> {
    judge_command(&command(Action::Install(order(items))))
}

#[test]
fn every_action_of_the_closed_set_is_read_as_it_was_signed() {
    let digest = format!("sha256:{}", "cd".repeat(32));
    let container = item("docker", "registry.example/web:1@web", &format!("sha256:{}", "ab".repeat(32)), &digest);
    let wide = Order {
        side_effects: BTreeSet::from([SideEffect::NewPackage, SideEffect::OtherPackage, SideEffect::Removal]),
        ..order(vec![item("dnf", "bash", "5-1", "5-2"), item("dnf", "zlib", "1:1-1", "1:1-2")])
    };
    let actions = [
        Action::Rescan,
        Action::RefreshMetadata { manager: "dnf".parse().unwrap() },
        Action::Plan { items: wide.items.clone() },
        Action::Install(wide),
        Action::Recreate(order(vec![container])),
        Action::Reboot,
        Action::Cancel { command: "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2ff".parse().unwrap() },
    ];
    assert_eq!(actions.each_ref().map(Action::kind), *ActionKind::ALL);
    for action in actions {
        assert_eq!(judge_command(&command(action.clone())), Ok(()), "{action:?}");
    }
}

#[test]
fn signatures_count_only_from_pinned_keys_of_the_commands_mode() {
    let by =
        |mode: SigningMode, seeds: &[u8]| judge(&signed(&Command { mode, ..install() }, seeds)).map(|verified| verified.signers().len());
    assert_eq!(by(SigningMode::ServerSigns, &[SERVER]), Ok(1));
    assert_eq!(by(SigningMode::OperatorSigns, &[OPERATOR, SECOND_OPERATOR]), Ok(2));
    assert_eq!(by(SigningMode::ServerSigns, &[]), Err(RefusalCode::TooFewSignatures));
    assert_eq!(by(SigningMode::ServerSigns, &[STRANGER]), Err(RefusalCode::UnknownKey));
    assert_eq!(by(SigningMode::ServerSigns, &[SERVER, STRANGER]), Err(RefusalCode::UnknownKey), "one bad one spoils the rest");
    assert_eq!(by(SigningMode::OperatorSigns, &[SERVER]), Err(RefusalCode::WrongMode));
    assert_eq!(by(SigningMode::ServerSigns, &[OPERATOR]), Err(RefusalCode::WrongMode));
    assert_eq!(by(SigningMode::OperatorSigns, &[OPERATOR, SERVER]), Err(RefusalCode::WrongMode));
    let four_eyes = Authentic::read(&signed(&install(), &[SERVER]), &pinned(), 2);
    assert_eq!(four_eyes.unwrap_err().code, RefusalCode::TooFewSignatures);
}

#[test]
fn what_several_keys_of_one_person_sign_counts_once() {
    let envelope = signed(&Command { mode: SigningMode::OperatorSigns, ..install() }, &[OPERATOR, SECOND_OPERATOR]);
    let held_by = |names: [&str; 2]| {
        let key = |(seed, name)| PinnedKey::new(&public(seed), SigningMode::OperatorSigns).unwrap().held_by(Text::lossy(name));
        [OPERATOR, SECOND_OPERATOR].into_iter().zip(names).map(key).collect::<Vec<_>>()
    };
    assert_eq!(PinnedKey::countable(&held_by(["ada", "ada"])), 1);
    assert_eq!(Authentic::read(&envelope, &held_by(["ada", "ada"]), 2).unwrap_err().code, RefusalCode::TooFewSignatures);
    assert!(Authentic::read(&envelope, &held_by(["ada", "ada"]), 1).is_ok());
    assert!(Authentic::read(&envelope, &held_by(["ada", "grace"]), 2).is_ok());
    assert_eq!(PinnedKey::countable(&pinned()), 2, "the keys of one mode");
}

#[test]
fn other_forms_of_a_signature_and_weak_keys_are_refused() {
    let envelope = String::from_utf8(signed(&install(), &[SERVER])).unwrap();
    let other = signed(&Command { counter: FLOOR + 2, ..install() }, &[SERVER]);
    let signature_of = |envelope: &str| envelope.split("\"sig\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let moved = envelope.replace(&signature_of(&envelope), &signature_of(std::str::from_utf8(&other).unwrap()));
    assert_eq!(judge(moved.as_bytes()), Err(RefusalCode::BadSignature), "a signature of another command");
    let malleable = envelope.replace(&signature_of(&envelope), &plus_group_order(&signature_of(&envelope)));
    assert_eq!(judge(malleable.as_bytes()), Err(RefusalCode::BadSignature), "the same scalar, plus the order of the group");
    // The neutral element, for which any signature would do, and a number that is no point's.
    for first in [1, 2] {
        let mut bytes = [0; 32];
        bytes[0] = first;
        assert!(PinnedKey::new(&bytes, SigningMode::ServerSigns).is_err(), "{first}");
    }
}

/// The signature with `s + L` for `s`, which a lenient verifier takes for the same one (RFC 8032, section 8.4).
fn plus_group_order(signature: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0x10,
    ];
    let mut bytes = STANDARD.decode(signature).unwrap();
    let mut carry = 0;
    for (byte, add) in bytes[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        [*byte, _] = sum.to_le_bytes();
        carry = sum >> 8;
    }
    STANDARD.encode(bytes)
}

#[test]
fn a_command_is_for_one_agent_under_one_key() {
    let foreign = |change: fn(&mut Command)| {
        let mut command = install();
        change(&mut command);
        judge_command(&command)
    };
    let other_agent = |command: &mut Command| command.audience.agent = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2ff".parse().unwrap();
    assert_eq!(foreign(other_agent), Err(RefusalCode::WrongAudience));
    let other_key = |command: &mut Command| command.audience.key_id = redflag_core::signing::key_id(&public(STRANGER));
    assert_eq!(foreign(other_key), Err(RefusalCode::WrongAgentKey));
}

#[test]
fn counters_grow_and_do_not_jump() {
    let counted = |counter| judge_command(&Command { counter, ..install() });
    assert_eq!(counted(0), Err(RefusalCode::Malformed));
    assert_eq!(counted(1), Err(RefusalCode::Replayed));
    assert_eq!(counted(FLOOR), Err(RefusalCode::Replayed));
    assert_eq!(counted(FLOOR + 1), Ok(()));
    assert_eq!(counted(COUNTER_LAST), Ok(()));
    assert_eq!(counted(COUNTER_LAST + 1), Err(RefusalCode::CounterJump));
    assert_eq!(counted(limits::COMMAND_COUNTER_MAX), Err(RefusalCode::CounterJump));
    assert_eq!(counted(limits::COMMAND_COUNTER_MAX + 1), Err(RefusalCode::Malformed));
    let last = Command { counter: limits::COMMAND_COUNTER_MAX, ..install() };
    assert!(judge_at(&signed(&last, &[SERVER]), now(), limits::COMMAND_COUNTER_MAX - 1).is_ok());
}

#[test]
fn a_command_has_its_time_give_or_take_the_tolerance_of_clocks() {
    let command = install();
    let envelope = signed(&command, &[SERVER]);
    let at = |now| judge_at(&envelope, now, FLOOR).map(|_| ());
    let step = Duration::from_micros(1);
    let (first, last) = (command.not_before.saturating_sub(TOLERANCE), command.expires_at.saturating_add(TOLERANCE));
    assert_eq!(at(first.saturating_sub(step)), Err(RefusalCode::NotYetValid));
    assert_eq!(at(first), Ok(()));
    assert_eq!(at(last.saturating_sub(step)), Ok(()));
    assert_eq!(at(last), Err(RefusalCode::Expired));
    let lasting = |lifetime| {
        let not_before = install().not_before;
        judge_command(&Command { expires_at: not_before.saturating_add(lifetime), ..install() })
    };
    assert_eq!(lasting(limits::COMMAND_LIFETIME_MAX), Ok(()));
    assert_eq!(lasting(limits::COMMAND_LIFETIME_MAX + step), Err(RefusalCode::LifetimeTooLong));
    assert_eq!(lasting(Duration::ZERO), Err(RefusalCode::Malformed));
}

#[test]
fn items_are_newer_versions_within_the_grammar_of_one_manager() {
    let bash = |from, to| item("apt", "bash", from, to);
    assert_eq!(judge_items(vec![bash("1", "2"), item("apt", "zlib1g", "1", "2")]), Ok(()));
    assert_eq!(judge_items(vec![]), Err(RefusalCode::Malformed));
    assert_eq!(judge_items(vec![item("apt", "zlib1g", "1", "2"), bash("1", "2")]), Err(RefusalCode::Malformed), "not sorted");
    assert_eq!(judge_items(vec![bash("1", "2"), bash("1", "3")]), Err(RefusalCode::Malformed), "twice");
    assert_eq!(judge_items(vec![bash("1", "2"), item("dnf", "zlib", "1-1", "1-2")]), Err(RefusalCode::Malformed), "two managers");
    for (manager, from, to) in
        [("apt", "1.10", "1.9"), ("apt", "1:1", "2"), ("apt", "1", "1"), ("apt", "0:1", "1"), ("dnf", "2-1", "2~rc1-1")]
    {
        assert_eq!(judge_items(vec![item(manager, "bash", from, to)]), Err(RefusalCode::Downgrade), "{from} to {to}");
    }
    assert_eq!(judge_items(vec![bash("1", "2^3")]), Err(RefusalCode::OutOfGrammar));
    let many = |count| judge_items((0..count).map(|i| item("apt", &format!("p{i:05}"), "1", "2")).collect());
    assert_eq!(many(limits::COMMAND_ITEMS_MAX), Ok(()));
    assert_eq!(many(limits::COMMAND_ITEMS_MAX + 1), Err(RefusalCode::Malformed));
}

#[test]
fn containers_are_recreated_by_digest_and_never_installed() {
    let digest = format!("sha256:{}", "cd".repeat(32));
    let container = |to: &str| item("docker", "registry.example/web:1@web", "sha256:old", to);
    let recreate = |items| judge_command(&command(Action::Recreate(order(items))));
    assert_eq!(recreate(vec![container(&digest)]), Ok(()));
    assert_eq!(recreate(vec![container("latest")]), Err(RefusalCode::OutOfGrammar));
    assert_eq!(recreate(vec![container(&digest[..70])]), Err(RefusalCode::OutOfGrammar));
    assert_eq!(recreate(vec![item("apt", "bash", "1", "2")]), Err(RefusalCode::Malformed));
    assert_eq!(judge_items(vec![container(&digest)]), Err(RefusalCode::Malformed));
}

#[test]
fn approvals_and_signatures_are_bounded() {
    let approved = |count| {
        let approval = |i| CommandApproval { actor: Text::lossy(&format!("operator {i}")), at: now() };
        judge_command(&Command { approvals: (0..count).map(approval).collect(), ..install() })
    };
    assert_eq!(approved(limits::COMMAND_APPROVALS_MAX), Ok(()));
    assert_eq!(approved(limits::COMMAND_APPROVALS_MAX + 1), Err(RefusalCode::Malformed));
    let strangers: Vec<u8> = (100..).take(limits::COMMAND_SIGNATURES_MAX).collect();
    assert_eq!(judge(&signed(&install(), &strangers)), Err(RefusalCode::UnknownKey), "at the limit they are looked at");
    assert_eq!(judge(&signed(&install(), &[&strangers[..], &[99]].concat())), Err(RefusalCode::Malformed));
}

#[test]
fn payloads_of_other_versions_and_shapes_are_told_apart() {
    let good = String::from_utf8(install().to_bytes()).unwrap();
    let code = |from: &str, to: &str| {
        let changed = good.replacen(from, to, 1);
        assert_ne!(changed, good, "{from}");
        judge(&signed_text(&changed)).unwrap_err()
    };
    assert!(judge(&signed_text(&good)).is_ok(), "the hand-made envelope is the real one");
    assert_eq!(code("\"schema\":1", "\"schema\":2"), RefusalCode::UnsupportedSchema);
    assert_eq!(code("\"kind\":\"install\"", "\"kind\":\"shell\""), RefusalCode::UnknownAction);
    assert_eq!(code("\"kind\":\"install\"", "\"kind\":\"reboot\""), RefusalCode::Malformed, "fields of another action");
    assert_eq!(code("\"counter\":42", "\"counter\":42.0"), RefusalCode::Malformed);
    assert_eq!(code("\"counter\":42", "\"counter\":\"42\""), RefusalCode::Malformed);
    assert_eq!(code("\"counter\":42", "\"counter\":-42"), RefusalCode::Malformed);
    assert_eq!(code("T19:00:00Z", "T19:00:00.0Z"), RefusalCode::Malformed, "another form of the same time");
    assert_eq!(code("T19:00:00Z", "T20:00:00+01:00"), RefusalCode::Malformed);
    assert_eq!(code("\"mode\":\"server-signs\"", "\"mode\":\"server-signs\",\"mood\":1"), RefusalCode::Malformed);
    assert_eq!(
        judge(&signed_bytes("application/vnd.redflag.checkpoint.v1+json", good.as_bytes())).unwrap_err(),
        RefusalCode::WrongPayloadType
    );
    for text in ["", "null", "[]", "{}", "\u{feff}{}", &"[".repeat(100_000)] {
        assert_eq!(judge(&signed_text(text)), Err(RefusalCode::Malformed), "{text:.10}");
        assert_eq!(judge(text.as_bytes()), Err(RefusalCode::Malformed), "{text:.10}");
    }
}
