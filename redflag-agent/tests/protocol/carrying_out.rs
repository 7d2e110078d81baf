//! Commands from the server's queue to the executor and back: once, whatever is lost or dies in between.

use crate::{
    command_lab::{Host, SUCCEEDED, poll_and_kill, reason, refresh, refused, run_until},
    desk::{Mishap, SERVER, STRANGER, public},
    stand_in::{StandIn, Whim},
    support::{Fault, Lab, TestServer, home},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use redflag_agent::{
    Error, Identity, RunOptions, Silent,
    commands::inbox::{Kept, Step},
    quarantine::quarantined,
    status::CommandStatus,
};
use redflag_core::{
    command::{
        lifecycle::CommandState,
        payload::{Action, ActionKind, Command, SigningMode},
        plan::Plan,
        record::{Claim, Success},
        refusal::RefusalCode,
    },
    ids::Digest,
    signing,
};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn an_approval_becomes_an_installation_and_its_proof() {
    let host = Host::approved().await;
    host.run_until(async || host.server().open().await.is_empty() && host.inbox().is_empty()).await;
    let results = host.server().results();
    assert!(matches!(&results[0].1, Claim::Succeeded(Success { plan: Some(plan), .. }) if plan.changes.len() == 1), "{results:?}");
    let installed = Claim::Succeeded(Success { plan: None, reboot_required: Some(false), output: "done\n".into() });
    assert_eq!((&results[1].1, results.len()), (&installed, 2));
    assert_eq!(host.executor.done(), [results[0].0, results[1].0]);
    assert_eq!(host.server().arrived().len(), 2, "the report before, and the proof");
    let last = host.status().last.unwrap();
    assert_eq!((last.id, last.action, last.end.as_str()), (results[1].0, Some(ActionKind::Install), "succeeded"));
}

/// What a death could lose is on the disk before anybody else knows of it.
#[tokio::test]
async fn each_step_is_written_before_the_next_one_is_told() {
    let host = Host::new().await;
    host.server().desk.with(|papers| papers.watched = Some(home(&host.lab.directory)));
    let id = host.order(refresh()).await;
    host.run_until(async || host.settled(id).await).await;
    let seen = host.server().desk.with(|papers| papers.seen.clone());
    assert_eq!(seen, [("start".to_owned(), "received"), ("result".to_owned(), "ended")]);
    assert_eq!(host.executor.with(|memory| memory.seen.clone()), ["started"]);
}

/// What the server ended meanwhile was begun all the same: its end is told, and the server keeps it as late.
#[tokio::test]
async fn the_end_of_a_begun_command_is_told_also_when_the_server_has_given_it_up() {
    let host = Host::new().await;
    let kept = Kept { step: Step::Started, ..host.taken(refresh()).await };
    host.start(kept.id).await;
    host.cancel(kept.id).await;
    host.keep(&kept).await;
    host.run_until(async || host.inbox().is_empty()).await;
    assert_eq!((host.times_done(kept.id), host.claimed(kept.id)), (1, SUCCEEDED));
    let record = host.server().record(host.lab.identity.agent, kept.id).await;
    assert_eq!((record.state, record.late.len()), (CommandState::Cancelled, 1));
}

/// Every state that a death between two steps leaves behind: what lies on the disk, what the server has heard, what the executor has done.
#[tokio::test]
async fn whatever_a_death_leaves_behind_is_gone_on_with_and_done_once() {
    let host = Host::new().await;
    for (case, step, started, had) in [
        ("written, and the start is not told", Step::Received, false, false),
        ("the start was answered, and that is not written", Step::Received, true, false),
        ("started, and not handed over", Step::Started, true, false),
        ("the executor has done it, and its answer is lost", Step::Started, true, true),
        ("ended, and the server has not heard it", Step::Ended { claim: SUCCEEDED }, true, true),
    ] {
        let kept = Kept { step, ..host.taken(refresh()).await };
        if started {
            host.start(kept.id).await;
        }
        if had {
            let answer = redflag_agent::executor::service::ask(&host.executor.socket, kept.envelope.as_bytes(), &mut |_| ()).await.unwrap();
            assert!(String::from_utf8(answer).unwrap().contains("refreshed"), "{case}");
        }
        let reports = host.server().arrived().len();
        host.keep(&kept).await;
        host.run_until(async || host.settled(kept.id).await).await;
        assert_eq!((host.times_done(kept.id), host.claimed(kept.id)), (1, SUCCEEDED), "{case}");
        assert_eq!(host.state(kept.id).await, CommandState::Succeeded, "{case}");
        assert!(host.server().arrived().len() > reports, "{case}: it is proven by a report");
    }
    let owed = Kept { step: Step::Answered, ..host.taken(refresh()).await };
    let reports = host.server().arrived().len();
    host.keep(&owed).await;
    // The server has heard of the start and the end; otherwise it would hand the command out again.
    host.start(owed.id).await;
    host.run_until(async || host.inbox().is_empty()).await;
    assert_eq!((host.server().arrived().len(), host.times_done(owed.id)), (reports + 1, 0), "the report alone is owed");
}

/// A process killed at any point of its work.
#[tokio::test]
async fn an_agent_stopped_at_any_moment_has_every_command_done_once_and_heard_of() {
    let host = Host::new().await;
    host.lab.agent().report(&mut Silent).await.unwrap();
    for stop in 1_u32.. {
        let id = host.order(refresh()).await;
        poll_and_kill(host.lab.agent(), &host.options(), stop).await;
        let uninterrupted = host.settled(id).await;
        host.run_until(async || host.settled(id).await).await;
        assert_eq!((host.times_done(id), host.claimed(id)), (1, SUCCEEDED), "stopped at {stop}");
        if uninterrupted {
            assert!(stop > 5, "the agent was never stopped");
            break;
        }
    }
}

#[tokio::test]
async fn lost_answers_of_the_server_are_mended_by_saying_it_again() {
    let host = Host::new().await;
    host.server().desk.with(|papers| {
        papers.on_lease.extend([Mishap::LoseAnswer, Mishap::LoseRequest, Mishap::Refuse(503)]);
        papers.on_start.extend([Mishap::LoseAnswer, Mishap::LoseRequest, Mishap::Refuse(429)]);
        papers.on_result.extend([Mishap::LoseAnswer, Mishap::LoseRequest, Mishap::Refuse(500)]);
    });
    let id = host.order(refresh()).await;
    host.run_until(async || host.settled(id).await).await;
    assert_eq!((host.times_done(id), host.claimed(id)), (1, SUCCEEDED));
    assert_eq!((host.server().results().len(), host.server().desk.with(|papers| papers.starts.len())), (2, 2));
    assert_eq!(host.state(id).await, CommandState::Succeeded);
}

#[tokio::test]
async fn what_the_server_refuses_for_good_is_shown_and_blocks_nothing() {
    let host = Host::new().await;
    host.server().desk.with(|papers| {
        papers.on_start.extend([Mishap::Refuse(409)]);
        papers.on_result.extend([Mishap::Refuse(404)]);
    });
    let unheard = host.order(refresh()).await;
    host.run_until(async || host.times_done(unheard) == 1 && host.inbox().is_empty()).await;
    assert!(host.status().trouble.unwrap().message.contains("404"));
    assert_eq!(host.state(unheard).await, CommandState::Started, "the server knows when to give it up");
    let next = host.order(refresh()).await;
    host.run_until(async || host.settled(next).await).await;
    assert_eq!((host.claimed(next), host.status().trouble), (SUCCEEDED, None));
}

/// A server may take less than this agent sends: what can be cut is cut, and the end is heard.
#[tokio::test]
async fn a_result_that_is_too_large_for_the_server_is_told_shorter() {
    let host = Host::new().await;
    let printed = Claim::Succeeded(Success { output: "x".repeat(9_000), ..Success::default() });
    let planned = Claim::Succeeded(Success { plan: Some(Plan::default()), ..Success::default() });
    for (claim, state) in [(printed, CommandState::Succeeded), (planned, CommandState::Failed)] {
        let kept = Kept { step: Step::ended(claim), ..host.taken(refresh()).await };
        host.start(kept.id).await;
        host.keep(&kept).await;
        host.server().desk.with(|papers| papers.on_result.extend([Mishap::Refuse(413)]));
        host.run_until(async || host.settled(kept.id).await).await;
        assert_eq!(host.state(kept.id).await, state);
        match host.claimed(kept.id) {
            Claim::Succeeded(success) => assert!(success.output.contains("takes no more") && success.output.len() < 100),
            claim => assert!(reason(&claim).contains("more than the server takes")),
        }
    }
}

#[tokio::test]
async fn a_command_that_was_called_off_meanwhile_is_not_begun() {
    let host = Host::new().await;
    let kept = host.taken(refresh()).await;
    host.keep(&kept).await;
    host.cancel(kept.id).await;
    host.run_until(async || host.inbox().is_empty()).await;
    assert_eq!((host.executor.done().len(), host.server().results().len()), (0, 0));
    assert!(host.status().last.unwrap().end.contains("not begun: it is cancelled"));
}

#[tokio::test]
async fn what_another_key_signed_is_never_handed_over_until_a_person_trusts_it() {
    let host = Host::new().await;
    host.server().desk.with(|papers| (papers.announced, papers.signing) = (Some(STRANGER), STRANGER));
    let id = host.order(refresh()).await;
    host.run_until(async || host.settled(id).await && host.status().held_up.is_some()).await;
    assert_eq!(refused(&host.claimed(id)), RefusalCode::UnknownKey);
    assert_eq!((host.executor.with(|memory| memory.asked.len()), host.server().desk.with(|papers| papers.starts.len())), (0, 0));
    let CommandStatus { held_up, trouble, .. } = host.status();
    let (held_up, trouble) = (held_up.unwrap().message, trouble.unwrap().message);
    for fingerprint in [SERVER, STRANGER].map(|seed| signing::fingerprint(&public(seed))) {
        assert!(held_up.contains(&fingerprint), "{held_up}");
    }
    assert!(held_up.contains("trust-server-key") && trouble.contains("unknown-key"), "{held_up}; {trouble}");

    // What is pinned while the agent runs counts at once.
    let mut command = assert_cmd::Command::new(assert_cmd::cargo::cargo_bin!("redflag-agent"));
    command.args(["trust-server-key", &STANDARD.encode(public(STRANGER)), "--state-dir"]).arg(host.lab.directory.path().join("state"));
    let mut pinned = Some(tokio::task::spawn_blocking(move || command.output().unwrap()));
    let mut next = None;
    host.run_until(async || {
        if let Some(pinned) = pinned.take() {
            assert!(pinned.await.unwrap().status.success());
            next = Some(host.order(refresh()).await);
        }
        host.settled(next.unwrap()).await
    })
    .await;
    assert_eq!(host.claimed(next.unwrap()), SUCCEEDED);
    assert_eq!((host.status().held_up, host.status().trouble), (None, None));
}

#[tokio::test]
async fn envelopes_that_are_not_what_they_should_be_are_refused_with_their_code() {
    let host = Host::new().await;
    let forgeries: [(fn(&mut Command), _); 4] = [
        (|command| command.audience.agent = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3".parse().unwrap(), RefusalCode::WrongAudience),
        (|command| command.audience.key_id = signing::key_id(&[3; 32]), RefusalCode::WrongAgentKey),
        (|command| command.id = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3".parse().unwrap(), RefusalCode::Malformed),
        (|command| command.mode = SigningMode::OperatorSigns, RefusalCode::WrongMode),
    ];
    for (forge, code) in forgeries {
        host.server().desk.with(|papers| papers.forge = Some(forge));
        let id = host.order(refresh()).await;
        host.run_until(async || host.settled(id).await).await;
        assert_eq!(refused(&host.claimed(id)), code);
        assert!(host.status().trouble.unwrap().message.contains(code.as_str()));
    }
    assert_eq!(host.executor.with(|memory| memory.asked.len()), 0);
}

#[tokio::test]
async fn where_people_sign_the_agent_relays_and_the_executor_judges() {
    let server = TestServer::commanding().await;
    server.desk.with(|papers| papers.mode = Some(SigningMode::OperatorSigns));
    let lab = Lab::at(server).await;
    let host = Host { executor: StandIn::start(lab.directory.path(), &lab.apt), lab };
    // Of a key that the agent does not know.
    host.server().desk.with(|papers| papers.signing = STRANGER);
    let id = host.order(refresh()).await;
    host.run_until(async || host.settled(id).await).await;
    assert_eq!((host.claimed(id), host.status().last.unwrap().action), (SUCCEEDED, None));
}

/// A pause that no test outlasts: what happens within it happens once.
fn long_pause(host: &Host) -> RunOptions {
    let mut options = host.options();
    options.commands.as_mut().unwrap().pause = Duration::from_hours(1);
    options
}

#[tokio::test]
async fn while_commands_are_halted_nothing_is_begun_and_the_server_is_left_alone() {
    let host = Host::new().await;
    let kept = host.taken(refresh()).await;
    host.keep(&kept).await;
    host.server().desk.with(|papers| papers.halted = true);
    run_until(host.lab.agent(), &long_pause(&host), async || host.inbox().is_empty()).await;
    assert_eq!(host.server().desk.with(|papers| (papers.starts.len(), papers.leases.len())), (1, 0), "asked once whether it may begin");

    let before = host.server().desk.with(|papers| papers.requests);
    let mut looks = 0;
    run_until(host.lab.agent(), &long_pause(&host), async || {
        looks += u32::from(host.status().held_up.is_some_and(|trouble| trouble.message.contains("the change freeze")));
        looks > 1_000
    })
    .await;
    assert_eq!((host.server().desk.with(|papers| papers.requests) - before, host.executor.done().len()), (1, 0), "no tight loop");

    host.server().desk.with(|papers| papers.halted = false);
    host.run_until(async || host.settled(kept.id).await && host.status().held_up.is_none()).await;
    assert_eq!(host.claimed(kept.id), SUCCEEDED);
}

#[tokio::test]
async fn an_older_server_is_asked_rarely_and_reported_to_all_the_same() {
    let host = Host::new().await;
    host.server().desk.with(|papers| papers.announced = None);
    let mut looks = 0;
    run_until(host.lab.agent(), &long_pause(&host), async || {
        looks += u32::from(host.status().held_up.is_some_and(|trouble| trouble.message.contains("hands out no commands")));
        looks > 1_000 && !host.server().arrived().is_empty()
    })
    .await;
    assert_eq!(host.server().desk.with(|papers| papers.requests), 1);
}

#[tokio::test]
async fn without_a_pinned_key_or_an_executor_nothing_is_asked_for() {
    let server = TestServer::start().await;
    let lab = Lab::at(server).await;
    let host = Host { executor: StandIn::start(lab.directory.path(), &lab.apt), lab };
    assert_eq!(host.lab.identity.pins, None);
    host.server().desk.with(|papers| (papers.announced, papers.signing) = (Some(SERVER), SERVER));
    host.order(refresh()).await;
    host.run_until(async || host.status().held_up.is_some()).await;
    assert!(host.status().held_up.unwrap().message.contains("no key of the server is pinned"));
    let arrived = host.server().arrived().len();
    let observing = RunOptions { interval: Duration::from_millis(500), ..RunOptions::default() };
    run_until(host.lab.agent(), &observing, async || host.server().arrived().len() > arrived + 2).await;
    assert_eq!(host.server().desk.with(|papers| papers.requests), 0);
    assert_eq!(host.status(), CommandStatus::default());
}

#[tokio::test]
async fn a_poll_gives_way_to_a_scan_that_is_due() {
    let host = Host::new().await;
    host.server().desk.with(|papers| papers.on_lease.extend([Mishap::Hang; 64]));
    let options = RunOptions { interval: Duration::from_millis(500), ..host.options() };
    // It is asked again after a scan, although no poll was ever answered.
    let hung = || 64 - host.server().desk.with(|papers| papers.on_lease.len());
    run_until(host.lab.agent(), &options, async || host.server().arrived().len() > 2 && hung() > 1).await;
    host.server().desk.with(|papers| papers.on_lease.clear());
    let id = host.order(refresh()).await;
    host.run_until(async || host.settled(id).await).await;
    assert_eq!(host.claimed(id), SUCCEEDED);
}

#[tokio::test]
async fn a_result_that_nobody_answers_keeps_no_scan_waiting() {
    let host = Host::new().await;
    let id = host.order(refresh()).await;
    host.server().desk.with(|papers| papers.on_result.extend([Mishap::Hang; 3]));
    let options = RunOptions { interval: Duration::from_millis(500), ..host.options() };
    run_until(host.lab.agent(), &options, async || host.settled(id).await).await;
    assert_eq!((host.times_done(id), host.claimed(id)), (1, SUCCEEDED));
    assert!(host.server().arrived().len() > 3);
}

#[tokio::test]
async fn a_scan_waits_for_the_executor_and_not_for_ever() {
    let host = Host::new().await;
    let id = host.order(refresh()).await;
    host.executor.with(|memory| memory.whims.extend([Whim::Hang; 2]));
    let mut options = RunOptions { interval: Duration::from_millis(500), ..host.options() };
    options.commands.as_mut().unwrap().scan_patience = Duration::from_millis(20);
    run_until(host.lab.agent(), &options, async || host.settled(id).await).await;
    assert_eq!((host.times_done(id), host.claimed(id)), (1, SUCCEEDED));
    assert_eq!(host.executor.with(|memory| memory.asked.len()), 3);
}

#[tokio::test]
async fn an_agent_the_server_forgot_stops_asking_for_commands_too() {
    let host = Host::new().await;
    host.lab.agent().report(&mut Silent).await.unwrap();
    host.server().forget(host.lab.identity.agent);
    let error = host.lab.agent().run(&host.options(), CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
}

#[tokio::test]
async fn an_executor_that_dies_babbles_or_is_busy_is_asked_again_for_a_while() {
    use Whim::{Babble, DieAfter, DieBefore, Refuse};
    const BUSY: Whim = Refuse(RefusalCode::Busy);
    let host = Host::new().await;
    for (whims, done) in [(vec![DieBefore], 1), (vec![DieAfter, Babble], 1), (vec![BUSY, BUSY, Refuse(RefusalCode::NotReady)], 1)] {
        host.executor.with(|memory| memory.whims.extend(whims.clone()));
        let id = host.order(refresh()).await;
        host.run_until(async || host.settled(id).await).await;
        assert_eq!((host.times_done(id), host.claimed(id)), (done, SUCCEEDED), "{whims:?}");
    }
    for (whims, expected) in [
        (vec![BUSY; 4], Some(RefusalCode::Busy)),
        (vec![Refuse(RefusalCode::NotReady); 4], Some(RefusalCode::NotReady)),
        (vec![Refuse(RefusalCode::ForeignUser)], Some(RefusalCode::ForeignUser)),
        (vec![DieBefore; 4], None),
        (vec![DieAfter, BUSY, BUSY, BUSY], None),
        (vec![DieAfter, Refuse(RefusalCode::Replayed)], None),
    ] {
        host.executor.with(|memory| memory.whims.extend(whims.clone()));
        let id = host.order(refresh()).await;
        host.run_until(async || host.settled(id).await).await;
        match expected {
            Some(code) => assert_eq!((refused(&host.claimed(id)), host.times_done(id)), (code, 0), "{whims:?}"),
            // It may have been carried out, so it was not refused.
            None => assert!(reason(&host.claimed(id)).contains("whether it was carried out is not known"), "{whims:?}"),
        }
        assert!(host.executor.with(|memory| memory.whims.is_empty()), "{whims:?}");
    }
    std::fs::remove_file(&host.executor.socket).unwrap();
    let id = host.order(refresh()).await;
    host.run_until(async || host.settled(id).await).await;
    assert_eq!(refused(&host.claimed(id)), RefusalCode::NotReady, "nobody has had it");
}

#[tokio::test]
async fn a_rescan_is_the_agents_own_affair() {
    let host = Host::new().await;
    host.lab.agent().report(&mut Silent).await.unwrap();
    let id = host.order(Action::Rescan).await;
    host.run_until(async || host.settled(id).await).await;
    assert_eq!((host.claimed(id), host.executor.with(|memory| memory.asked.len())), (SUCCEEDED, 0));
    assert_eq!(host.server().arrived().len(), 2);
    host.server().desk.with(|papers| papers.signing = STRANGER);
    let foreign = host.order(Action::Rescan).await;
    host.run_until(async || host.settled(foreign).await).await;
    assert_eq!((refused(&host.claimed(foreign)), host.server().arrived().len()), (RefusalCode::UnknownKey, 2));
}

#[tokio::test]
async fn a_damaged_file_is_set_aside_loudly_and_blocks_nothing() {
    let host = Host::new().await;
    let kept = host.taken(refresh()).await;
    host.keep(&kept).await;
    let path = host.lab.directory.path().join(format!("state/commands/{}.json", kept.id));
    std::fs::write(&path, "{").unwrap();
    host.run_until(async || host.settled(kept.id).await).await;
    assert_eq!(host.claimed(kept.id), SUCCEEDED, "the server handed it out again");
    assert_eq!(quarantined(&home(&host.lab.directory)).unwrap().len(), 1);
    std::fs::write(&path, "{").unwrap();
    host.run_until(async || host.status().trouble.is_some()).await;
    assert!(host.status().trouble.unwrap().message.contains("cannot be trusted"));
}

#[tokio::test]
async fn the_status_names_what_is_under_way_and_how_the_last_command_ended() {
    let host = Host::new().await;
    let last = host.order(refresh()).await;
    host.run_until(async || host.settled(last).await).await;
    let kept = Kept { step: Step::Started, ..host.taken(Action::Reboot).await };
    host.keep(&kept).await;
    let status = async |further: &'static [&'static str]| {
        let mut command = assert_cmd::Command::new(assert_cmd::cargo::cargo_bin!("redflag-agent"));
        command.arg("--state-dir").arg(host.lab.directory.path().join("state")).arg("status").args(further);
        String::from_utf8(tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap().stdout).unwrap()
    };
    let text = status(&[]).await;
    for part in [
        &format!("under way    reboot {} (started ", kept.id),
        &format!("last command refresh-metadata {last}: succeeded ("),
        &format!("server key   {} (server-signs)", signing::fingerprint(&public(SERVER))),
        "handed to the executor at ",
        &format!("public_key = \"{}\"", Digest::from_bytes(public(SERVER))),
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let json: serde_json::Value = serde_json::from_str(&status(&["--json"]).await).unwrap();
    assert_eq!(json["signer"]["public_key"], STANDARD.encode(public(SERVER)));
    assert_eq!(json["signer"]["key_id"], signing::key_id(&public(SERVER)).to_string());
    assert_eq!((&json["commands_under_way"][0]["step"], &json["commands"]["last"]["end"]), (&"started".into(), &"succeeded".into()));
}

#[tokio::test]
async fn trusting_a_key_takes_the_exact_one() {
    let host = Host::new().await;
    let trust = async |key: String| {
        let mut command = assert_cmd::Command::new(assert_cmd::cargo::cargo_bin!("redflag-agent"));
        command.args(["trust-server-key", &key, "--json", "--state-dir"]).arg(host.lab.directory.path().join("state"));
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    };
    let stranger = STANDARD.encode(public(STRANGER));
    for wrong in [stranger[..43].to_owned(), STANDARD.encode([0; 32]), signing::fingerprint(&public(STRANGER))] {
        let output = trust(wrong).await;
        assert!(output.status.code() == Some(1) && String::from_utf8_lossy(&output.stderr).contains("cannot be pinned"), "{output:?}");
    }
    let pinned = || Identity::read_pins(&home(&host.lab.directory)).unwrap().unwrap().current().fingerprint();
    assert_eq!(pinned(), signing::fingerprint(&public(SERVER)));
    let output = trust(stranger).await;
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["old"]["fingerprint"], signing::fingerprint(&public(SERVER)));
    assert_eq!((json["new"]["fingerprint"].as_str(), output.status.code()), (Some(pinned().as_str()), Some(0)));
    assert_eq!(pinned(), signing::fingerprint(&public(STRANGER)));
    assert_eq!(Identity::enrolled(&home(&host.lab.directory)).unwrap().agent, host.lab.identity.agent);
}

#[tokio::test]
async fn a_proof_that_does_not_arrive_at_once_does_not_wait_for_the_next_scan() {
    let host = Host::new().await;
    host.lab.agent().report(&mut Silent).await.unwrap();
    let id = host.order(refresh()).await;
    // More than one report has patience for.
    host.server().fail(std::iter::repeat_n(Fault::LoseRequest, 8));
    host.run_until(async || host.settled(id).await && host.server().arrived().len() == 2).await;
}
