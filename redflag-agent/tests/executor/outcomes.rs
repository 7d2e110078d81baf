//! What is carried out, and what is answered.

use crate::lab::*;
use redflag_agent::executor::answer::{Found, Outcome};
use redflag_core::command::{
    payload::{Action, SideEffect},
    plan::Change,
    refusal::RefusalCode,
};
use std::collections::BTreeSet;

#[tokio::test]
async fn an_approved_installation_is_checked_carried_out_and_not_repeated() {
    let lab = Lab::new();
    let command = install(1, &["app", "lib"]);
    let envelope = signed(&command);
    let checked = lab.check(&envelope).await;
    let Outcome::WouldRun { plan: Some(plan) } = &checked.outcome else { panic!("{checked:?}") };
    assert_eq!((plan.changes.len(), lab.host().ledger().len()), (2, 0));
    let answer = lab.run(&envelope).await;
    assert!(matches!(&answer.outcome, Outcome::Installed(installed) if installed.output == "done\n"), "{answer:?}");
    assert_eq!((answer.command_id, answer.outcome.exit_code()), (Some(command.id), 0));
    let ledger = ["app 2.0-1", "lib 2.0-1"];
    assert_eq!(lab.host().ledger(), ledger);
    let again = lab.run(&envelope).await;
    assert_eq!(refusal(&again), RefusalCode::Replayed);
    assert!(matches!(refused(&again).earlier.as_deref(), Some(Outcome::Installed(_))), "{again:?}");
    assert_eq!(lab.host().ledger(), ledger);
}

#[tokio::test]
async fn a_plan_changes_nothing_and_its_digest_is_what_an_order_needs() {
    let lab = Lab::new();
    let new = Change { from: None, ..change(&item("helper")) };
    lab.host().also(std::slice::from_ref(&new));
    let answer = lab.run(&signed(&command(1, Action::Plan { items: vec![item("app")] }))).await;
    let Outcome::Planned { plan, plan_digest, excess } = &answer.outcome else { panic!("{answer:?}") };
    assert_eq!((plan.changes.len(), excess.len(), lab.host().ledger().len()), (2, 1, 0));
    let mut order = order(&[item("app")]);
    order.plan_digest = *plan_digest;
    order.side_effects = BTreeSet::from([SideEffect::NewPackage]);
    lab.write_policy(|policy| policy.replace("side_effects = []", "side_effects = [\"new-package\"]"));
    let answer = lab.run(&signed(&command(2, Action::Install(order)))).await;
    assert!(matches!(answer.outcome, Outcome::Installed(_)), "{answer:?}");
}

#[tokio::test]
async fn a_failure_is_typed_and_cleaned_of_what_a_terminal_would_obey() {
    let lab = Lab::new();
    lab.host().trouble(Trouble::Fails);
    let answer = lab.run(&signed(&install(1, &["app"]))).await;
    assert_eq!(answer.outcome.exit_code(), 1);
    let json = answer.to_json();
    assert!(
        json.contains("\"status\":\"failed\"") && json.contains("\"code\":\"failed\"") && json.contains("\u{fffd}[2Jbroken\\n"),
        "{json}"
    );
    assert!(!json.contains("\\u00"), "{json}");
}

#[tokio::test]
async fn what_takes_too_long_is_ended_and_looked_at() {
    let lab = Lab::new();
    lab.write_policy(|policy| policy + "[limits]\nminutes = 1\n");
    lab.host().trouble(Trouble::Hangs);
    let mut executor = lab.open().await.unwrap();
    tokio::time::pause();
    let answer = executor.run(&signed(&install(1, &["app"]))).await;
    let Outcome::Interrupted { reason, found: Found::NotDone, items } = &answer.outcome else { panic!("{answer:?}") };
    assert_eq!((reason.as_str(), items.len(), answer.outcome.exit_code()), ("it took longer than 60 s", 1, 4));
}

#[tokio::test]
async fn a_cancelled_command_is_not_carried_out_and_a_late_cancellation_says_so() {
    let lab = Lab::new();
    let (first, second) = (install(1, &["app"]), install(2, &["lib"]));
    lab.run(&signed(&first)).await;
    let cancel = |counter, command: &redflag_core::command::payload::Command| command_of(counter, command.id);
    let answer = lab.run(&signed(&cancel(3, &second))).await;
    assert!(matches!(answer.outcome, Outcome::Cancelled), "{answer:?}");
    assert_eq!(refusal(&lab.refuses(&signed(&second)).await), RefusalCode::Replayed);
    let late = lab.run(&signed(&cancel(4, &first))).await;
    assert!(matches!(&late.outcome, Outcome::TooLate { earlier } if matches!(**earlier, Outcome::Installed(_))), "{late:?}");
}

fn command_of(counter: u64, cancelled: redflag_core::ids::CommandId) -> redflag_core::command::payload::Command {
    command(counter, Action::Cancel { command: cancelled })
}

#[tokio::test]
async fn the_host_is_restarted_by_a_fixed_command() {
    let lab = Lab::new();
    let answer = lab.run(&signed(&command(1, Action::Reboot))).await;
    assert!(matches!(answer.outcome, Outcome::Rebooting), "{answer:?}");
    assert_eq!(lab.host().ledger(), ["reboot"]);
}

#[tokio::test]
async fn metadata_is_refreshed_where_the_policy_allows_it() {
    let lab = Lab::new();
    let refresh = |counter| signed(&command(counter, Action::RefreshMetadata { manager: "apt".parse().unwrap() }));
    assert_eq!(refusal(&lab.refuses(&refresh(1)).await), RefusalCode::ActionForbidden);
    lab.write_policy(|policy| policy.replace("\"reboot\"", "\"reboot\", \"refresh-metadata\""));
    assert!(matches!(lab.run(&refresh(1)).await.outcome, Outcome::Refreshed));
    assert_eq!(lab.host().ledger(), ["refresh"]);
}

#[tokio::test]
async fn one_executor_works_at_a_time() {
    let lab = Lab::new();
    let first = lab.open().await.unwrap();
    let second = lab.open().await.unwrap_err();
    assert!(matches!(second, redflag_agent::Error::Busy { .. }), "{second}");
    drop(first);
    lab.open().await.unwrap();
}
