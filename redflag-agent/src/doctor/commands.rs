//! Whether commands reach this host: the key that may sign them, and the executor they are handed to.

use super::Finding;
use crate::{
    executor::{
        policy::{DEFAULT_POLICY, Policy},
        service::DEFAULT_SOCKET,
    },
    home::AgentHome,
    identity::Identity,
    status::{CommandStatus, Status},
};
use redflag_core::command::payload::SigningMode;
use std::path::Path;
use tokio::net::UnixStream;

pub(super) fn server_key(root: &Path, home: &AgentHome, identity: &Identity) -> Finding {
    const CHECK: &str = "server key";
    let path = root.join(DEFAULT_POLICY.trim_start_matches('/'));
    let Some(signer) = &identity.signer else {
        if Status::read(home).commands.executor.is_none() && !path.exists() {
            return Finding::skipped(CHECK, "none is pinned: this agent reports, and takes no commands");
        }
        return Finding::warning(CHECK, "none is pinned, so no commands are taken")
            .remedy("ask the server's operator for its public key and run `redflag-agent trust-server-key KEY`");
    };
    let pinned = format!("pinned, with the fingerprint {} ({})", signer.fingerprint(), signer.mode());
    // Who is not root may be unable to read the policy; then it is the executor that says so.
    match Policy::read(&path) {
        Ok(policy) if signer.mode() == SigningMode::ServerSigns && !policy.signers.contains(signer.key()) => {
            Finding::warning(CHECK, format!("{pinned}, but {} does not list it: the executor refuses what it signs", path.display()))
                .remedy("if this key is to command the host, add as root the lines that `redflag-agent status` prints")
        }
        _ => Finding::ok(CHECK, pinned),
    }
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
        for (key, verdict) in [(LISTED, Verdict::Ok), (OTHER, Verdict::Warning)] {
            identity.signer = Some(PinnedSigner::parse(key, SigningMode::ServerSigns).unwrap());
            assert_eq!(judged(&identity).verdict, verdict, "{key}");
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
