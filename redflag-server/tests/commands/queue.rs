//! The queue of commands and the halt from the command line.

use crate::fleet::Place;
use redflag_core::{
    Fleet,
    agent::Enrolment,
    command::{
        plan::{Change, Plan},
        record::{Claim, CommandRecord, Failure, Success, Terms},
        step::Step,
    },
    ids::AgentId,
    names::{PackageKey, Text, Version},
    query::UpdateQuery,
    wire::read_report,
    work::Decision,
};
use redflag_server::{clock, ids};
use serde_json::json;

/// A fleet with an agent whose update of bash is approved and planned, together with what nobody asked for.
async fn planned(place: &Place) -> (Fleet, AgentId, CommandRecord, Plan) {
    let (fleet, now) = (place.fleet("fleet.db"), clock::now());
    let agent: AgentId = ids::batch_id().to_string().parse().unwrap();
    let enrolment = Enrolment { agent, name: Text::lossy("web-01"), public_key: [7; 32], tags: Vec::new(), enrolled_at: now };
    fleet.enrol(enrolment).await.unwrap();
    let offer = json!({"package_name": "bash", "arch": "amd64", "current_version": "1-1", "available_version": "1-2", "severity": "low"});
    let scope =
        json!({"package_type": "apt", "version_order": "dpkg", "result": "complete", "scanned_at": now, "offers": [offer], "gone": []});
    let body = json!({"schema": 1, "report_id": ids::batch_id(), "sequence": 1, "sent_at": now, "host": {}, "scopes": [scope]});
    fleet.record_report(agent, read_report(body.to_string().as_bytes()).unwrap(), now).await.unwrap();
    let row = fleet.store().updates(&UpdateQuery::default()).await.unwrap().items.remove(0);
    let decision = Decision::Approve { offer_digest: row.state.offer_digest(), comment: None };
    fleet.decide(agent, ids::batch_id(), Text::lossy("ada"), vec![(row.state.package, decision)], now).await.unwrap();
    let planning = fleet.request_approved(agent, &Terms::default(), now).await.unwrap().commands.remove(0);
    begun(&fleet, agent, &planning).await;
    let item = &planning.action.items()[0];
    let asked = Change { package: item.package.clone(), from: Some(item.from.clone()), to: Some(item.to.clone()), origin: None };
    let removal = Change {
        package: PackageKey::parse("apt", "ksh", Some("amd64")).unwrap(),
        from: Some(Version::parse("1-0").unwrap()),
        to: None,
        origin: None,
    };
    let plan = Plan::of([asked, removal]);
    let output = "The following packages will be REMOVED:\n  ksh\u{1b}[0m\n".to_owned();
    let claim = Claim::Succeeded(Success { plan: Some(plan.clone()), output, ..Success::default() });
    fleet.command(agent, Step::Finish { command: planning.id, claim }, clock::now()).await.unwrap();
    (fleet, agent, planning, plan)
}

async fn begun(fleet: &Fleet, agent: AgentId, record: &CommandRecord) {
    fleet.command(agent, Step::Lease { limit: 16 }, clock::now()).await.unwrap();
    fleet.command(agent, Step::Start { command: record.id }, clock::now()).await.unwrap();
}

fn said(place: &Place, arguments: &[&str]) -> String {
    String::from_utf8(place.run("fleet.db", arguments).success().get_output().stdout.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_is_shown_accepted_called_off_and_asked_for_again() {
    let place = Place { directory: tempfile::tempdir().unwrap() };
    let (fleet, agent, planning, plan) = planned(&place).await;
    let (agent_id, id, digest) = (agent.to_string(), planning.id.to_string(), plan.digest().to_string());
    let listed = said(&place, &["commands"]);
    assert!(
        listed.contains("succeeded") && listed.contains("plan apt bash:amd64 on web-01") && listed.ends_with("1 of 1 commands\n"),
        "{listed}"
    );
    assert!(listed.contains(&format!("{agent_id} {id}")), "{listed}");
    let shown = said(&place, &["command", "show", &agent_id, &id]);
    for words in
        ["approved    ", "by ada", &format!("plan        {digest} of 2 packages"), "! the plan removes apt ksh:amd64", "|   ksh\u{fffd}[0m"]
    {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let document = place.json("fleet.db", &["command", "show", &agent_id, &id]);
    assert_eq!((&document["plan"]["plan_digest"], &document["plan"]["excess"][0]["side_effect"]), (&json!(digest), &json!("removal")));
    assert_eq!(
        (&document["state"], &document["plan"]["confirmable"], &document["led_to"]),
        (&json!("succeeded"), &json!(true), &json!([]))
    );

    let other = "0".repeat(64);
    let refused = place.fails("fleet.db", &["command", "confirm", &agent_id, &id, "--plan-digest", &other], 1);
    assert!(refused.contains("brought no such plan"), "{refused}");
    let install = ids::command_id().to_string();
    let confirm =
        ["command", "confirm", &agent_id, &id, "--plan-digest", &digest, "--comment", "ksh may go", "--name", "grace", "--id", &install];
    let accepted = place.json("fleet.db", &confirm);
    assert_eq!((&accepted["id"], &accepted["state"], &accepted["follows"]), (&json!(install), &json!("queued"), &json!(id)), "{accepted}");
    assert_eq!(accepted["request"]["by"]["name"], "grace", "{accepted}");
    assert_eq!(place.json("fleet.db", &confirm)["revision"], accepted["revision"], "the same again has one effect");
    assert_eq!(place.json("fleet.db", &["command", "show", &agent_id, &id])["led_to"], json!([install]));

    let record = fleet.store().command(agent, install.parse().unwrap()).await.unwrap().unwrap();
    begun(&fleet, agent, &record).await;
    let failure = Failure { reason: Text::lossy("dpkg was interrupted"), rolled_back: false, output: String::new() };
    fleet.command(agent, Step::Finish { command: record.id, claim: Claim::Failed(failure) }, clock::now()).await.unwrap();
    let again = place.json("fleet.db", &["command", "retry", &agent_id, &install, "--name", "grace"]);
    assert_eq!((&again["follows"], &again["state"]), (&json!(install), &json!("queued")), "{again}");
    let again = again["id"].as_str().unwrap();
    let open = place.json("fleet.db", &["commands", "--state", "open", "--agent", &agent_id]);
    assert_eq!((&open["total"], &open["commands"][0]["id"]), (&json!(1), &json!(again)));
    let cancelled = said(&place, &["command", "cancel", &agent_id, again, "--reason", "not today", "--name", "grace"]);
    assert!(cancelled.contains("state       cancelled: not today") && cancelled.contains("by operator grace"), "{cancelled}");
    assert_eq!(place.json("fleet.db", &["commands", "--limit", "1"])["commands"].as_array().unwrap().len(), 1);
    assert_eq!(place.json("fleet.db", &["commands", "--state", "open"])["total"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_usage_and_what_is_unknown_are_told_apart() {
    let place = Place { directory: tempfile::tempdir().unwrap() };
    let (_, agent, planning, _) = planned(&place).await;
    let (agent, id) = (agent.to_string(), planning.id.to_string());
    let unknown = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3";
    for (arguments, code, words) in [
        (&["command", "show", &agent, unknown][..], 1, "no command 0192f0c1"),
        (&["command", "show", unknown, &id], 1, "no command"),
        (&["command", "cancel", &agent, unknown], 1, "unknown command 0192f0c1"),
        (&["command", "retry", unknown, &id], 1, "unknown agent 0192f0c1"),
        (&["command", "retry", &agent, &id], 1, "is succeeded: retry is not possible"),
        (&["command", "confirm", &agent, &id], 2, "--plan-digest"),
        (&["command", "show", "web-01", &id], 2, "web-01"),
        (&["commands", "--state", "running"], 2, "running"),
        (&["halt", "--reason", "x", "--lift"], 2, "--lift"),
        (&["halt", "--reason", ""], 2, "--reason"),
    ] {
        let said = place.fails("fleet.db", arguments, code);
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    assert!(place.fails("nothing.db", &["commands"], 1).contains("no database at nothing.db"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_are_halted_once_and_lifted() {
    let place = Place { directory: tempfile::tempdir().unwrap() };
    drop(place.store("fleet.db"));
    assert_eq!(said(&place, &["halt"]), "commands are not halted\n");
    let halted = place.json("fleet.db", &["halt", "--reason", "a bad mirror", "--name", "ada"]);
    assert_eq!(
        (&halted["halted"], &halted["halt"]["by"], &halted["halt"]["reason"]),
        (&json!(true), &json!("ada"), &json!("a bad mirror"))
    );
    let again = place.json("fleet.db", &["halt", "--reason", "another", "--name", "grace"]);
    assert_eq!(again, halted, "what is set stays as it was set");
    assert!(said(&place, &["halt"]).contains("by ada: a bad mirror"));
    let lifted = place.json("fleet.db", &["halt", "--lift"]);
    assert_eq!((&lifted["halted"], &lifted["lifted"]), (&json!(false), &halted["halt"]));
    assert_eq!(said(&place, &["halt", "--lift"]), "commands are not halted\n", "the same again changes nothing");
}
