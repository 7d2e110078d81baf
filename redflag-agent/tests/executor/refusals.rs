//! What is refused: each for its own reason, and without any effect.

use crate::lab::*;
use redflag_agent::executor::answer::Outcome;
use redflag_core::{
    command::{
        payload::{Action, Command, Order, SideEffect},
        plan::{Change, Plan},
        refusal::RefusalCode,
    },
    names::{Text, Version},
    signing,
};
use std::{collections::BTreeSet, os::unix::fs::PermissionsExt, time::Duration};

/// The code with which a varied command is refused by a host that nothing else is wrong with.
async fn varied(change: impl FnOnce(&mut Command)) -> RefusalCode {
    let lab = Lab::new();
    let mut command = install(5, &["app"]);
    change(&mut command);
    refusal(&lab.refuses(&signed(&command)).await)
}

#[tokio::test]
async fn commands_that_are_foreign_stale_or_out_of_turn() {
    let hour = Duration::from_hours(1);
    assert_eq!(
        varied(|command| command.audience.agent = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2ff".parse().unwrap()).await,
        RefusalCode::WrongAudience
    );
    assert_eq!(varied(|command| command.audience.key_id = signing::key_id(&[0; 32])).await, RefusalCode::WrongAgentKey);
    assert_eq!(
        varied(|command| command.expires_at = command.not_before.saturating_add(Duration::from_micros(1))).await,
        RefusalCode::Expired
    );
    let later = |command: &mut Command| {
        command.not_before = command.not_before.saturating_add(hour);
        command.expires_at = command.expires_at.saturating_add(hour);
    };
    assert_eq!(varied(later).await, RefusalCode::NotYetValid);
    assert_eq!(varied(|command| command.expires_at = command.not_before.saturating_add(24 * 9 * hour)).await, RefusalCode::LifetimeTooLong);
    assert_eq!(varied(|command| command.counter = 1_001).await, RefusalCode::CounterJump);
    assert_eq!(varied(|command| command.approvals.clear()).await, RefusalCode::TooFewApprovals);
    let lab = Lab::new();
    assert_eq!(refusal(&lab.refuses(&signed_by(&install(1, &["app"]), STRANGER)).await), RefusalCode::UnknownKey);
}

#[tokio::test]
async fn commands_that_come_again_or_after_later_ones() {
    let lab = Lab::new();
    let commands = [3, 1, 2].map(|counter| signed(&install(counter, &["app"])));
    assert!(matches!(lab.run(&commands[0]).await.outcome, Outcome::Installed(_)));
    for envelope in &commands {
        assert_eq!(refusal(&lab.refuses(envelope).await), RefusalCode::Replayed);
    }
}

#[tokio::test]
async fn altered_bytes() {
    let lab = Lab::new();
    let envelope = signed(&install(1, &["app"]));
    let mut executor = lab.open().await.unwrap();
    for at in (0..envelope.len()).step_by(7) {
        let mut altered = envelope.clone();
        altered[at] ^= 1;
        assert!(matches!(executor.run(&altered).await.outcome, Outcome::Refused(_)), "byte {at}");
    }
    assert!(lab.host().ledger().is_empty());
    assert!(matches!(executor.run(&envelope).await.outcome, Outcome::Installed(_)), "the unaltered one is good");
}

#[tokio::test]
async fn downgrades() {
    let downgrade = |command: &mut Command| {
        let Action::Install(order) = &mut command.action else { unreachable!() };
        order.items[0].from = Version::parse("1:0.1-1").unwrap();
    };
    assert_eq!(varied(downgrade).await, RefusalCode::Downgrade);
}

/// What the dry run shows, and what becomes of an order for `app` alone that was approved with exactly that plan.
async fn beyond(also: Change, allowed: &[SideEffect]) -> (RefusalCode, usize) {
    let lab = Lab::new();
    let kept = (also.package != item("app").package).then(|| change(&item("app")));
    let plan = Plan::of(kept.into_iter().chain([also.clone()]));
    lab.host().also(&[also]);
    lab.write_policy(|policy| policy.replace("side_effects = []", "side_effects = [\"new-package\", \"removal\"]"));
    let order = Order { plan_digest: plan.digest(), side_effects: allowed.iter().copied().collect(), ..order(&[item("app")]) };
    let answer = lab.refuses(&signed(&command(1, Action::Install(order)))).await;
    (refusal(&answer), refused(&answer).excess.len())
}

#[tokio::test]
async fn plans_that_go_further_than_what_was_approved() {
    let other = change(&item("other"));
    let new = Change { from: None, ..other.clone() };
    let gone = Change { to: None, ..other.clone() };
    let newer = Change { to: Some(Version::parse("3.0-1").unwrap()), ..change(&item("app")) };
    assert_eq!(beyond(new.clone(), &[]).await, (RefusalCode::ExtraPackage, 1));
    assert_eq!(beyond(gone.clone(), &[]).await, (RefusalCode::Removal, 1));
    assert_eq!(beyond(gone, &[SideEffect::NewPackage]).await, (RefusalCode::Removal, 1), "another permission");
    assert_eq!(beyond(other.clone(), &[]).await, (RefusalCode::OtherPackage, 1));
    assert_eq!(beyond(other, &[SideEffect::OtherPackage]).await, (RefusalCode::OtherPackage, 1), "ordered, but not allowed on this host");
    assert_eq!(beyond(newer, &[]).await, (RefusalCode::OtherVersion, 1));
}

#[tokio::test]
async fn plans_from_another_origin_or_other_than_the_approved_one() {
    let lab = Lab::new();
    let mut from_here = item("app");
    from_here.origin = Some(Text::lossy("here"));
    lab.host().also(&[Change { origin: Some(Text::lossy("elsewhere")), ..change(&from_here) }]);
    let answer = lab.refuses(&signed(&command(1, Action::Install(order(&[from_here]))))).await;
    assert_eq!(refusal(&answer), RefusalCode::OtherOrigin);
    let lab = Lab::new();
    let with_helper = Order { side_effects: BTreeSet::from([SideEffect::NewPackage]), ..order(&[item("app")]) };
    lab.host().also(&[Change { from: None, ..change(&item("helper")) }]);
    lab.write_policy(|policy| policy.replace("side_effects = []", "side_effects = [\"new-package\"]"));
    let answer = lab.refuses(&signed(&command(1, Action::Install(with_helper)))).await;
    assert_eq!(refusal(&answer), RefusalCode::PlanChanged, "the permission is there, but it is another plan");
    lab.write_policy(|policy| policy.replace("side_effects = []", "side_effects = [\"new-package\"]\n[deny]\npackages = [\"help*\"]"));
    let helped = Plan::of([change(&item("app")), Change { from: None, ..change(&item("helper")) }]);
    let with_helper =
        Order { side_effects: BTreeSet::from([SideEffect::NewPackage]), plan_digest: helped.digest(), ..order(&[item("app")]) };
    let answer = lab.refuses(&signed(&command(1, Action::Install(with_helper)))).await;
    assert_eq!(refusal(&answer), RefusalCode::PackageForbidden, "what comes along is under the policy too");
}

#[tokio::test]
async fn items_whose_installed_version_is_another() {
    let lab = Lab::new();
    lab.run(&signed(&install(1, &["app"]))).await;
    let answer = lab.refuses(&signed(&install(2, &["app"]))).await;
    assert_eq!(refusal(&answer), RefusalCode::NoPlan);
    assert!(format!("{:?}", refused(&answer).error).contains("installed: \"2.0-1\""), "{answer:?}");
    // What was refused before anything was begun has not used up its counter.
    assert!(matches!(lab.run(&signed(&install(2, &["lib"]))).await.outcome, Outcome::Installed(_)));
}

/// The code with which the policy, after `change`, refuses an installation of `app`.
async fn under(change: impl FnOnce(String) -> String) -> RefusalCode {
    let lab = Lab::new();
    lab.write_policy(change);
    refusal(&lab.refuses(&signed(&install(1, &["app"]))).await)
}

#[tokio::test]
async fn whatever_the_policy_of_the_host_forbids() {
    assert_eq!(under(|policy| policy.replace("\"install\", ", "")).await, RefusalCode::ActionForbidden);
    assert_eq!(under(|policy| policy.replace("[\"apt\"]", "[\"dnf\"]")).await, RefusalCode::ManagerForbidden);
    assert_eq!(under(|policy| policy.replace("packages = [\"*\"]", "packages = [\"lib*\"]")).await, RefusalCode::PackageForbidden);
    assert_eq!(under(|policy| policy + "[deny]\npackages = [\"a?p\"]\n").await, RefusalCode::PackageForbidden);
    assert_eq!(under(|policy| policy + "[require]\napprovals = 2\n").await, RefusalCode::TooFewApprovals);
    let closed = "[[window]]\nactions = [\"install\"]\ndays = [\"DAY\"]\nfrom = \"00:00\"\nto = \"00:00\"\n";
    // Four days from now, whatever day it is.
    let day =
        ["thu", "fri", "sat", "sun", "mon", "tue", "wed"][((redflag_agent::clock::now().as_micros() / 86_400_000_000 + 4) % 7) as usize];
    assert_eq!(under(|policy| policy + &closed.replace("DAY", day)).await, RefusalCode::OutsideWindow);
    let lab = Lab::new();
    lab.write_policy(|policy| policy + &closed.replace("DAY", day).replace("install", "reboot"));
    assert!(matches!(lab.run(&signed(&install(1, &["app"]))).await.outcome, Outcome::Installed(_)), "a window for something else");
}

#[tokio::test]
async fn everything_while_the_policy_cannot_be_trusted() {
    assert_eq!(under(|policy| policy.replace("[allow]", "[allows]")).await, RefusalCode::NotReady);
    let lab = Lab::new();
    let (policy, envelope) = (lab.options().policy, signed(&install(1, &["app"])));
    std::fs::set_permissions(&policy, PermissionsExt::from_mode(0o664)).unwrap();
    let answer = lab.refuses(&envelope).await;
    assert_eq!(refusal(&answer), RefusalCode::NotReady);
    assert!(refused(&answer).refusal.message.contains("chmod go-w"), "{answer:?}");
    std::fs::set_permissions(&policy, PermissionsExt::from_mode(0o644)).unwrap();
    std::os::unix::fs::chown(&policy, Some(65_534), None).unwrap();
    assert!(refused(&lab.refuses(&envelope).await).refusal.message.contains("chown root"));
    std::fs::rename(&policy, lab.path().join("real.toml")).unwrap();
    std::os::unix::fs::symlink(lab.path().join("real.toml"), &policy).unwrap();
    assert!(refused(&lab.refuses(&envelope).await).refusal.message.contains("plain file"));
}

#[tokio::test]
async fn actions_that_are_not_the_executors() {
    let lab = Lab::new();
    let answer = lab.refuses(&signed(&command(1, Action::Rescan))).await;
    assert_eq!(refusal(&answer), RefusalCode::ActionForbidden);
    lab.write_policy(|policy| policy.replace("managers = [\"apt\"]", "managers = [\"dnf\"]"));
    let dnf = |mut item: redflag_core::command::plan::Item| {
        item.package.manager = "dnf".parse().unwrap();
        item
    };
    let answer = lab.refuses(&signed(&command(1, Action::Install(order(&[dnf(item("app"))]))))).await;
    assert_eq!(refusal(&answer), RefusalCode::ManagerForbidden, "allowed, but not driven here");
}
