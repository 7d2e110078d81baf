//! Whether commands reach this host: the key that may sign them, and the executor they are handed to.

use super::Finding;
use crate::{
    commands::judge::unprepared,
    executor::{
        policy::{DEFAULT_POLICY, Policy},
        service::DEFAULT_SOCKET,
    },
    home::AgentHome,
    identity::Identity,
    signer::Pins,
    status::{CommandStatus, Status},
};
use redflag_core::command::payload::SigningMode;
use std::path::Path;
use tokio::net::UnixStream;

pub(super) fn server_key(root: &Path, home: &AgentHome, identity: &Identity) -> Finding {
    const CHECK: &str = "server key";
    let path = root.join(DEFAULT_POLICY.trim_start_matches('/'));
    let Some(pins) = &identity.pins else {
        if Status::read(home).commands.executor.is_none() && !path.exists() {
            return Finding::skipped(CHECK, "none is pinned: this agent reports, and takes no commands");
        }
        return Finding::warning(CHECK, "none is pinned, so no commands are taken")
            .remedy("ask the server's operator for its public key and run `redflag-agent trust-server-key KEY`");
    };
    let (current, mode) = (pins.current().fingerprint(), pins.current().mode());
    let next = pins.next().map_or(String::new(), |next| format!(", and the next one, {}", next.fingerprint()));
    let pinned = format!("pinned, with the fingerprint {current} ({mode}){next}");
    // Who is not root may be unable to read the policy; then it is the executor that says so.
    match Policy::read(&path) {
        Ok(policy) if mode == SigningMode::OperatorSigns => people(policy, pins, CHECK, pinned, &path),
        Ok(policy) if mode == SigningMode::ServerSigns && !pins.all().all(|signer| policy.signers.contains(signer.key())) => {
            let all = if pins.next().is_some() {
                "list both: the executor refuses what the other signs"
            } else {
                "list it: the executor refuses what it signs"
            };
            Finding::warning(CHECK, format!("{pinned}, but {} does not {all}", path.display()))
                .remedy("if this key is to command the host, add as root the lines that `redflag-agent status` prints")
        }
        _ => match unprepared(pins, Status::read(home).commands.next_key_id) {
            Some(message) => {
                Finding::warning(CHECK, message).remedy("ask the server's operator for the key that was prepared, and run the command")
            }
            None => Finding::ok(CHECK, pinned),
        },
    }
}

/// Where people sign, the policy lists their keys, and no key of a server.
fn people(policy: Policy, pins: &Pins, check: &'static str, pinned: String, path: &Path) -> Finding {
    let of_servers = policy.signers.iter().any(|key| key.mode() == SigningMode::ServerSigns || key.id() == pins.current().key_id());
    let of_people = policy.signers.iter().filter(|key| key.mode() == SigningMode::OperatorSigns).count();
    let path = path.display();
    if of_servers {
        return Finding::warning(check, format!("{pinned}, but {path} obeys a server's key: a taken server can command this host"))
            .remedy("take the key of the server out of the policy, as root, and leave those of people");
    }
    Finding::ok(check, format!("{pinned}; {path} obeys {of_people} keys of people, and {} signatures are needed", policy.signatures_min))
}

pub(super) async fn taken(home: &AgentHome) -> Finding {
    const CHECK: &str = "commands";
    let CommandStatus { executor, held_up, trouble, .. } = Status::read(home).commands;
    let Some(socket) = executor else {
        return Finding::skipped(CHECK, "none are taken: this agent only observes");
    };
    // The check of the executor looks at the default one, and tells more.
    if socket != Path::new(DEFAULT_SOCKET)
        && let Err(error) = UnixStream::connect(&socket).await
    {
        return Finding::problem(CHECK, format!("the executor does not listen at {}: {error}", socket.display()))
            .remedy("start it, or run the agent with another --executor");
    }
    match held_up.or(trouble) {
        Some(trouble) => Finding::warning(CHECK, format!("{} ({})", trouble.message, trouble.at))
            .remedy("read `redflag-agent status` and the log; what the server has not heard of is tried again"),
        None => Finding::ok(CHECK, format!("taken, and handed to the executor at {}", socket.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Verdict, *};
    use crate::{
        server::{PlainHttp, ServerUrl},
        signer::PinnedSigner,
        status::Trouble,
    };
    use redflag_core::names::Text;

    /// The key in the example of a policy, and another one.
    const LISTED: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    const OTHER: &str = "PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=";

    fn home() -> (tempfile::TempDir, AgentHome) {
        let directory = tempfile::tempdir().unwrap();
        let home = AgentHome::open(directory.path().join("state")).unwrap();
        (directory, home)
    }

    #[test]
    fn a_key_that_is_missing_where_an_executor_is_set_up_is_found_and_so_is_one_that_the_policy_does_not_list() {
        let (root, home) = home();
        let server = ServerUrl::parse("http://127.0.0.1:8080", PlainHttp::LoopbackOnly).unwrap();
        let mut identity = Identity::new(server, Text::lossy("web-01"));
        let judged = |identity: &Identity| server_key(root.path(), &home, identity);
        assert_eq!(judged(&identity).verdict, Verdict::Skipped);
        let policy = root.path().join(DEFAULT_POLICY.trim_start_matches('/'));
        std::fs::create_dir_all(policy.parent().unwrap()).unwrap();
        let example = include_str!("../../systemd/executor.toml").replace("users = [\"redflag-agent\"]", "users = [\"root\"]");
        std::fs::write(&policy, example).unwrap();
        let missing = judged(&identity);
        assert!(missing.verdict == Verdict::Warning && missing.remedy.unwrap().contains("trust-server-key"));
        let signer = |key| PinnedSigner::parse(key, SigningMode::ServerSigns).unwrap();
        for (key, verdict) in [(OTHER, Verdict::Warning), (LISTED, Verdict::Ok)] {
            identity.pins = Some(Pins::only(signer(key)));
            assert_eq!(judged(&identity).verdict, verdict, "{key}");
        }
        // The server announces its next key; then that is pinned, and then the policy has it too.
        let mut status = Status::default();
        status.commands.next_key_id = Some(signer(OTHER).key_id());
        status.write(&home).unwrap();
        let announced = judged(&identity);
        assert!(announced.verdict == Verdict::Warning && announced.message.contains("--next"), "{announced:?}");
        let pins = Pins::only(signer(LISTED)).with_next(signer(OTHER)).unwrap();
        identity.pins = Some(pins.clone());
        let unlisted = judged(&identity);
        assert!(unlisted.verdict == Verdict::Warning && unlisted.message.contains("does not list both"), "{unlisted:?}");
        let block = pins.current().policy_block("redflag.example").unwrap();
        std::fs::write(&policy, std::fs::read_to_string(&policy).unwrap().replace(&block, &pins.policy_blocks("redflag.example"))).unwrap();
        let ready = judged(&identity);
        assert!(ready.verdict == Verdict::Ok && pins.all().all(|signer| ready.message.contains(&signer.fingerprint())), "{ready:?}");
    }

    #[test]
    fn where_people_sign_a_policy_that_obeys_the_server_is_found() {
        let (root, home) = home();
        let server = ServerUrl::parse("http://127.0.0.1:8080", PlainHttp::LoopbackOnly).unwrap();
        let mut identity = Identity::new(server, Text::lossy("web-01"));
        identity.pins = Some(Pins::only(PinnedSigner::parse(OTHER, SigningMode::OperatorSigns).unwrap()));
        let policy = root.path().join(DEFAULT_POLICY.trim_start_matches('/'));
        std::fs::create_dir_all(policy.parent().unwrap()).unwrap();
        let example = include_str!("../../systemd/executor.toml").replace("users = [\"redflag-agent\"]", "users = [\"root\"]");
        let of_people = example.replace("mode = \"server-signs\"", "mode = \"operator-signs\"");
        let other = PinnedSigner::parse(OTHER, SigningMode::ServerSigns).unwrap().policy_block("people").unwrap();
        let disguised = format!("{of_people}\n{}\n", other.replace("server-signs", "operator-signs"));
        for (text, verdict) in [(example, Verdict::Warning), (of_people, Verdict::Ok), (disguised, Verdict::Warning)] {
            std::fs::write(&policy, text).unwrap();
            let found = server_key(root.path(), &home, &identity);
            assert!(found.verdict == verdict && found.message.contains("operator-signs"), "{found:?}");
        }
    }

    #[tokio::test]
    async fn an_executor_that_is_not_there_and_trouble_with_commands_are_found() {
        let (directory, home) = home();
        assert_eq!(taken(&home).await.verdict, Verdict::Skipped);
        let socket = directory.path().join("executor.sock");
        let mut status = Status::default();
        status.commands.executor = Some(socket.clone());
        status.write(&home).unwrap();
        let absent = taken(&home).await;
        assert!(absent.verdict == Verdict::Problem && absent.message.contains("does not listen"), "{absent:?}");
        let _listening = tokio::net::UnixListener::bind(&socket).unwrap();
        assert_eq!(taken(&home).await.verdict, Verdict::Ok);
        status.commands.held_up = Some(Trouble::new("commands are halted: x".to_owned()));
        status.write(&home).unwrap();
        let halted = taken(&home).await;
        assert!(halted.verdict == Verdict::Warning && halted.message.contains("halted"), "{halted:?}");
    }
}
