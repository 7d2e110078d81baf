//! Another key of the server: announced, pinned beforehand, followed, and no other one ever.

use crate::{
    command_lab::{Host, SUCCEEDED, poll_and_kill, refresh, refused, run_until},
    desk::{Mishap, NEXT, SERVER, STRANGER, public},
    support::{TestServer, home},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use redflag_agent::{
    Identity,
    commands::inbox::{Kept, Step},
    signer::PinnedSigner,
};
use redflag_core::{
    command::{
        lifecycle::CommandState,
        payload::{Command, SigningMode},
        refusal::RefusalCode,
    },
    ids::Digest,
    signing,
};
use std::process::Output;

fn text(seed: u8) -> String {
    STANDARD.encode(public(seed))
}

fn fingerprint(seed: u8) -> String {
    signing::fingerprint(&public(seed))
}

async fn agent(host: &Host, arguments: &[&str]) -> Output {
    let mut command = assert_cmd::Command::new(assert_cmd::cargo::cargo_bin!("redflag-agent"));
    command.env_remove("RUST_LOG").arg("--state-dir").arg(host.lab.directory.path().join("state")).args(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

async fn said(host: &Host, arguments: &[&str]) -> String {
    let output = agent(host, arguments).await;
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

async fn pin_next(host: &Host, seed: u8) {
    said(host, &["trust-server-key", "--next", &text(seed)]).await;
}

/// The server has prepared its next key, and a person has pinned that on the host.
async fn prepared() -> Host {
    let host = Host::new().await;
    host.server().desk.with(|papers| papers.next = Some(NEXT));
    pin_next(&host, NEXT).await;
    host
}

fn sign_with(host: &Host, seed: u8) {
    host.server().desk.with(|papers| (papers.announced, papers.signing, papers.next) = (Some(seed), seed, None));
}

/// The fingerprints of what is pinned, the one in force first.
fn pinned(host: &Host) -> Vec<String> {
    let pins = Identity::read_pins(&home(&host.lab.directory)).unwrap().unwrap();
    pins.all().map(PinnedSigner::fingerprint).collect()
}

#[tokio::test]
async fn an_announced_key_is_said_to_be_pinned_and_takes_commands_without_a_break() {
    let host = Host::new().await;
    host.server().desk.with(|papers| papers.next = Some(NEXT));
    let before = host.order(refresh()).await;
    host.run_until(async || host.settled(before).await).await;
    assert_eq!((pinned(&host), host.status().held_up), (vec![fingerprint(SERVER)], None), "an announcement pins nothing");
    for part in [&fingerprint(NEXT), "trust-server-key --next KEY"] {
        assert!(said(&host, &["status"]).await.contains(part), "{part}");
    }

    pin_next(&host, NEXT).await;
    assert!(!said(&host, &["status"]).await.contains("to do"));
    let old = host.order(refresh()).await;
    host.run_until(async || host.settled(old).await).await;
    assert_eq!(pinned(&host), [SERVER, NEXT].map(fingerprint), "the old key still signs");

    sign_with(&host, NEXT);
    let new = host.order(refresh()).await;
    host.run_until(async || host.settled(new).await).await;
    assert_eq!(pinned(&host), [fingerprint(NEXT)]);
    for id in [before, old, new] {
        assert_eq!((host.claimed(id), host.times_done(id)), (SUCCEEDED, 1));
    }
    assert_eq!((host.status().held_up, host.status().trouble, host.status().next_key_id), (None, None, None));
}

/// The announcement alone moves nothing: who answers in the server's place has not signed anything by that.
#[tokio::test]
async fn a_pinned_next_key_is_no_trouble_and_not_followed_before_it_has_signed_for_this_agent() {
    let host = prepared().await;
    sign_with(&host, NEXT);
    let forgeries: [(fn(&mut Command), _); 2] = [
        (|command| command.audience.agent = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3".parse().unwrap(), RefusalCode::WrongAudience),
        (|command| command.id = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3".parse().unwrap(), RefusalCode::Malformed),
    ];
    for (forge, code) in forgeries {
        host.server().desk.with(|papers| papers.forge = Some(forge));
        let id = host.order(refresh()).await;
        host.run_until(async || host.settled(id).await).await;
        assert_eq!((refused(&host.claimed(id)), host.status().held_up), (code, None));
        assert_eq!(pinned(&host), [SERVER, NEXT].map(fingerprint), "{code}");
    }
}

#[tokio::test]
async fn after_the_first_command_of_the_next_key_the_old_one_and_any_other_are_refused() {
    let host = prepared().await;
    for stranger in [STRANGER, 9] {
        sign_with(&host, stranger);
        let id = host.order(refresh()).await;
        host.run_until(async || host.settled(id).await && host.status().held_up.is_some()).await;
        assert_eq!(refused(&host.claimed(id)), RefusalCode::UnknownKey);
        let held_up = host.status().held_up.unwrap().message;
        assert!([SERVER, NEXT, stranger].iter().all(|seed| held_up.contains(&fingerprint(*seed))), "{held_up}");
        assert_eq!(pinned(&host), [SERVER, NEXT].map(fingerprint));
    }
    sign_with(&host, NEXT);
    let good = host.order(refresh()).await;
    host.run_until(async || host.settled(good).await).await;
    for stolen in [SERVER, STRANGER] {
        sign_with(&host, stolen);
        let id = host.order(refresh()).await;
        host.run_until(async || host.settled(id).await).await;
        assert_eq!(refused(&host.claimed(id)), RefusalCode::UnknownKey);
    }
    assert_eq!((pinned(&host), host.executor.done()), (vec![fingerprint(NEXT)], vec![good]));
}

/// Both lie in the inbox when the agent starts: what is pinned is looked up for each.
#[tokio::test]
async fn the_old_key_is_refused_right_after_the_next_one_has_signed() {
    let host = prepared().await;
    sign_with(&host, NEXT);
    let new = host.taken(refresh()).await;
    sign_with(&host, SERVER);
    let old = host.taken(refresh()).await;
    host.keep(&new).await;
    host.keep(&old).await;
    sign_with(&host, NEXT);
    host.run_until(async || host.settled(new.id).await && host.settled(old.id).await).await;
    assert_eq!((host.claimed(new.id), refused(&host.claimed(old.id))), (SUCCEEDED, RefusalCode::UnknownKey));
}

#[tokio::test]
async fn lost_answers_during_a_rotation_lose_no_command() {
    let host = prepared().await;
    sign_with(&host, NEXT);
    host.server().desk.with(|papers| {
        papers.on_lease.extend([Mishap::LoseAnswer, Mishap::LoseRequest]);
        papers.on_start.extend([Mishap::LoseAnswer, Mishap::LoseRequest]);
        papers.on_result.extend([Mishap::LoseAnswer, Mishap::LoseRequest]);
    });
    let id = host.order(refresh()).await;
    host.run_until(async || host.settled(id).await).await;
    assert_eq!((host.claimed(id), host.times_done(id), host.state(id).await), (SUCCEEDED, 1, CommandState::Succeeded));
    assert_eq!(pinned(&host), [fingerprint(NEXT)]);
}

/// What a death between a good signature and the switch leaves behind, in either order, and a write that was cut.
#[tokio::test]
async fn a_death_around_the_switch_ends_with_the_command_done_and_the_old_key_dropped() {
    let half_written = |host: &Host| std::fs::write(host.lab.directory.path().join("state/agent.new"), "{\"agent_id\": ").unwrap();
    for (case, kept, followed) in [
        ("neither is written", false, false),
        ("the command is, the switch is not", true, false),
        ("the switch is, the command is not", false, true),
    ] {
        let host = prepared().await;
        sign_with(&host, NEXT);
        let command = host.taken(refresh()).await;
        half_written(&host);
        if kept {
            host.keep(&Kept { step: Step::Received, ..command.clone() }).await;
        }
        if followed {
            said(&host, &["trust-server-key", &text(NEXT)]).await;
        }
        host.run_until(async || host.settled(command.id).await).await;
        assert_eq!((host.claimed(command.id), host.times_done(command.id)), (SUCCEEDED, 1), "{case}");
        assert_eq!(pinned(&host), [fingerprint(NEXT)], "{case}");
    }
}

/// A process killed at any point: no command of the next key is begun while the old one is pinned.
#[tokio::test]
async fn an_agent_stopped_at_any_moment_of_a_rotation_has_dropped_the_old_key_before_it_begins() {
    let host = Host::new().await;
    for stop in 1_u32.. {
        said(&host, &["trust-server-key", &text(SERVER)]).await;
        pin_next(&host, NEXT).await;
        sign_with(&host, NEXT);
        let (id, starts) = (host.order(refresh()).await, host.server().desk.with(|papers| papers.starts.len()));
        poll_and_kill(host.lab.agent(), &host.options(), stop).await;
        let begun = host.server().desk.with(|papers| papers.starts.len()) > starts || !host.inbox().is_empty();
        assert!(!begun || pinned(&host) == [fingerprint(NEXT)], "stopped at {stop}");
        let uninterrupted = host.settled(id).await;
        host.run_until(async || host.settled(id).await).await;
        assert_eq!((host.times_done(id), host.claimed(id), pinned(&host)), (1, SUCCEEDED, vec![fingerprint(NEXT)]), "stopped at {stop}");
        if uninterrupted {
            assert!(stop > 5, "the agent was never stopped");
            break;
        }
    }
}

#[tokio::test]
async fn a_switch_that_cannot_be_written_begins_nothing_and_loses_nothing() {
    let host = prepared().await;
    sign_with(&host, NEXT);
    let id = host.order(refresh()).await;
    let obstacle = host.lab.directory.path().join("state/agent.new");
    std::fs::create_dir(&obstacle).unwrap();
    let leases = || host.server().desk.with(|papers| papers.leases.len());
    host.run_until(async || leases() > 2).await;
    assert_eq!((host.server().desk.with(|papers| papers.starts.len()), host.inbox(), host.executor.done()), (0, vec![], vec![]));
    std::fs::remove_dir(&obstacle).unwrap();
    host.run_until(async || host.settled(id).await).await;
    assert_eq!((host.claimed(id), pinned(&host)), (SUCCEEDED, vec![fingerprint(NEXT)]));
}

#[tokio::test]
async fn a_damaged_pin_takes_no_command_and_says_so() {
    let host = prepared().await;
    sign_with(&host, NEXT);
    let path = host.lab.directory.path().join("state/agent.json");
    let whole = std::fs::read_to_string(&path).unwrap();
    let opened = host.lab.agent();
    std::fs::write(&path, whole.replace(&text(NEXT), &text(STRANGER))).unwrap();
    let id = host.order(refresh()).await;
    run_until(opened, &host.options(), async || host.status().held_up.is_some()).await;
    assert!(host.status().held_up.unwrap().message.contains("signer is not usable"));
    assert_eq!(host.executor.with(|memory| memory.asked.len()), 0);
    assert_eq!(agent(&host, &["status"]).await.status.code(), Some(1));
    assert_eq!(agent(&host, &["trust-server-key", &text(NEXT)]).await.status.code(), Some(1), "nothing is built on damage");
    std::fs::write(&path, whole).unwrap();
    host.run_until(async || host.settled(id).await).await;
    assert_eq!(host.claimed(id), SUCCEEDED);
}

#[tokio::test]
async fn both_keys_are_shown_with_the_lines_that_root_adds() {
    let host = prepared().await;
    let lines = |seed| format!("public_key = \"{}\"", Digest::from_bytes(public(seed)));
    let status = said(&host, &["status"]).await;
    for part in [format!("server key   {}", fingerprint(SERVER)), format!("next key     {}", fingerprint(NEXT)), lines(SERVER), lines(NEXT)]
    {
        assert!(status.contains(&part), "{part} is not in {status}");
    }
    let json: serde_json::Value = serde_json::from_str(&said(&host, &["status", "--json"]).await).unwrap();
    for (field, seed) in [("signer", SERVER), ("next_signer", NEXT)] {
        assert_eq!(
            (json[field]["fingerprint"].as_str(), json[field]["public_key"].as_str()),
            (Some(&*fingerprint(seed)), Some(&*text(seed)))
        );
        assert!(json[field]["policy"].as_str().unwrap().ends_with(&lines(seed)), "{json}");
    }
}

#[tokio::test]
async fn a_next_key_is_pinned_beside_the_one_in_force_and_a_key_alone_replaces_all() {
    let host = Host::new().await;
    let trust = async |arguments: &[&str]| {
        let json = said(&host, &[&["trust-server-key", "--json"], arguments].concat()).await;
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        ["old", "new", "next"].map(|field| json[field]["fingerprint"].as_str().map(str::to_owned))
    };
    let keys = |seeds: [Option<u8>; 3]| seeds.map(|seed| seed.map(fingerprint));
    assert_eq!(trust(&["--next", &text(NEXT)]).await, keys([Some(SERVER), Some(SERVER), Some(NEXT)]));
    assert_eq!(trust(&["--next", &text(STRANGER)]).await, keys([Some(SERVER), Some(SERVER), Some(STRANGER)]), "a later word counts");
    assert_eq!(trust(&["--next", &text(SERVER)]).await, keys([Some(SERVER), Some(SERVER), Some(STRANGER)]), "it is in force already");
    assert_eq!(trust(&[&text(SERVER)]).await, keys([Some(SERVER), Some(SERVER), None]), "the next one is withdrawn");
    assert_eq!(trust(&["--next", &text(NEXT)]).await[2], Some(fingerprint(NEXT)));
    assert_eq!(trust(&[&text(STRANGER)]).await, keys([Some(SERVER), Some(STRANGER), None]));
    assert_eq!(agent(&host, &["trust-server-key", "--next", "AAAA"]).await.status.code(), Some(1));
    assert_eq!(pinned(&host), [fingerprint(STRANGER)]);
}

#[tokio::test]
async fn no_next_key_is_pinned_where_none_is_in_force_or_people_sign() {
    for (announced, mode, reason) in
        [(None, SigningMode::ServerSigns, "leave --next out"), (Some(SERVER), SigningMode::OperatorSigns, "keys of people sign")]
    {
        let server = TestServer::commanding().await;
        server.desk.with(|papers| (papers.announced, papers.mode) = (announced, Some(mode)));
        let lab = crate::support::Lab::at(server).await;
        let host = Host { executor: crate::stand_in::StandIn::start(lab.directory.path(), &lab.apt), lab };
        let output = agent(&host, &["trust-server-key", "--next", &text(NEXT)]).await;
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && message.contains(reason), "{message}");
    }
}

/// The server's people sign from now on: a person of the host says so, and the server's key is not offered for the policy any more.
#[tokio::test]
async fn a_change_of_whose_keys_sign_is_followed_by_a_person_alone() {
    let host = Host::new().await;
    host.server().desk.with(|papers| (papers.mode, papers.signing) = (Some(SigningMode::OperatorSigns), STRANGER));
    let id = host.order(refresh()).await;
    host.run_until(async || host.settled(id).await && host.status().held_up.is_some()).await;
    assert_eq!(refused(&host.claimed(id)), RefusalCode::UnknownKey);
    let held_up = host.status().held_up.unwrap().message;
    assert!(held_up.contains("trust-server-key --mode operator-signs KEY"), "{held_up}");

    let hexadecimal = Digest::from_bytes(public(SERVER)).to_string();
    assert!(said(&host, &["status"]).await.contains(&hexadecimal));
    for output in [said(&host, &["trust-server-key", "--mode", "operator-signs", &text(SERVER)]).await, said(&host, &["status"]).await] {
        assert!(output.contains("operator-signs") && output.contains("signer show") && !output.contains(&hexadecimal), "{output}");
    }
    let json: serde_json::Value = serde_json::from_str(&said(&host, &["status", "--json"]).await).unwrap();
    assert_eq!((&json["signer"]["mode"], json["signer"].get("policy")), (&"operator-signs".into(), None));
    let next = host.order(refresh()).await;
    host.run_until(async || host.settled(next).await && host.status().held_up.is_none()).await;
    assert_eq!(host.claimed(next), SUCCEEDED, "relayed, whoever signed it: the executor judges");
}
