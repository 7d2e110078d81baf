//! The programs themselves: `redflag-executor` at its command line and at its socket, and `redflag-agent execute` before it.
//!
//! Nothing here is ever allowed to restart the host or to install on it: the policy of these tests allows to cancel, and no more.

use crate::{
    lab::*,
    service::{NOBODY, Service, answer, own, write},
};
use assert_cmd::cargo::cargo_bin;
use redflag_agent::clock;
use redflag_core::{
    command::{payload::Action, refusal::RefusalCode},
    ids::CommandId,
    limits,
};
use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    process::{Command, Output, Stdio},
};

/// A lab any user may look into, whose policy lets commands be cancelled and nothing else.
fn lab() -> Lab {
    let lab = Lab::new();
    fs::set_permissions(lab.path(), PermissionsExt::from_mode(0o755)).unwrap();
    lab.write_policy(|policy| {
        policy.replace("actions = [\"plan\", \"install\", \"recreate\", \"reboot\", \"cancel\"]", "actions = [\"cancel\"]")
    });
    lab
}

fn cancel(counter: u64) -> Vec<u8> {
    signed(&command(counter, Action::Cancel { command: CommandId::from_uuid(clock::new_uuid()).unwrap() }))
}

fn executor(lab: &Lab, words: &[&str]) -> Output {
    Command::new(cargo_bin!("redflag-executor")).args(words).args(own(lab)).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn the_executor_explains_itself_and_its_exit_codes_say_what_became_of_a_command() {
    let lab = lab();
    let help = executor(&lab, &["--help"]);
    let text = String::from_utf8(help.stdout).unwrap();
    assert!(help.status.success() && text.contains("Examples:") && text.contains("Exit codes:"), "{text}");
    let envelope = write(&lab, &cancel(1));
    for (words, code, word) in [
        (&["check", &envelope][..], 0, "\"status\":\"would-run\""),
        (&["run", &envelope], 0, "\"status\":\"cancelled\""),
        (&["run", &envelope], 3, "\"code\":\"replayed\""),
        (&["check", &envelope], 3, "\"code\":\"replayed\""),
        (&["run", "/dev/null"], 3, "\"code\":\"malformed\""),
        (&["run", "/dev/zero"], 3, "\"code\":\"too-large\""),
    ] {
        let output = executor(&lab, words);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains(word), "{words:?}: {output:?}");
    }
    assert_eq!(executor(&lab, &["run", "/nonexistent"]).status.code(), Some(1));
    assert_eq!(executor(&lab, &["sign", &envelope]).status.code(), Some(2), "it has no key to sign with");
}

#[test]
fn an_executor_that_cannot_work_refuses_and_says_why() {
    let lab = lab();
    let envelope = write(&lab, &cancel(1));
    fs::remove_file(lab.options().policy).unwrap();
    let output = executor(&lab, &["run", &envelope]);
    assert_eq!((output.status.code(), refusal(&answer(&output))), (Some(3), RefusalCode::NotReady));
    assert!(refused(&answer(&output)).refusal.message.contains("executor.toml"), "{output:?}");
}

#[test]
fn the_unprivileged_agent_hands_commands_over_where_the_policy_lists_its_user() {
    let lab = lab();
    let service = Service::listening(&lab);
    let envelope = write(&lab, &cancel(1));
    let refused_user = service.execute(Some(NOBODY), &envelope, &["--json"]);
    assert_eq!((refused_user.status.code(), refusal(&answer(&refused_user))), (Some(3), RefusalCode::ForeignUser));
    let policy = fs::read_to_string(lab.options().policy).unwrap();
    fs::write(lab.options().policy, format!("users = [\"nobody\"]\n{policy}")).unwrap();
    let output = service.execute(Some(NOBODY), &envelope, &[]);
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success() && text.ends_with(": cancelled\n"), "{output:?}");
    let again = service.execute(Some(NOBODY), &envelope, &[]);
    let text = String::from_utf8(again.stdout).unwrap();
    assert_eq!(again.status.code(), Some(3));
    assert!(text.contains("refused: replayed: its counter is 1, and 1 was seen; when it came before: cancelled"), "{text}");
    drop(service);
}

#[test]
fn the_socket_that_systemd_passes_is_served() {
    let lab = lab();
    let socket = lab.path().join("socket");
    let mut command = Command::new("systemd-socket-activate");
    command.arg("--listen").arg(&socket).arg(cargo_bin!("redflag-executor")).arg("serve").args(own(&lab));
    let service = Service::start(command, socket);
    let envelope = write(&lab, &cancel(1));
    let output = service.execute(None, &envelope, &["--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(service.execute(None, &envelope, &[]).status.code(), Some(3));
}

#[test]
fn clients_that_send_too_much_or_nothing_do_not_keep_the_others_waiting_for_long() {
    let lab = lab();
    let service = Service::listening(&lab);
    let silent = UnixStream::connect(&service.socket).unwrap();
    let mut large = UnixStream::connect(&service.socket).unwrap();
    // It may be answered, and closed, before all of it was taken.
    let _ = large.write_all(&vec![b' '; 2 * limits::COMMAND_ENVELOPE_BYTES_MAX]);
    let mut text = String::new();
    // Closed with unread bytes before it, an answer can be lost on its way: then there is an error and no answer.
    if large.read_to_string(&mut text).is_ok() && !text.is_empty() {
        assert!(text.contains("too-large"), "{text}");
    }
    let output = service.execute(None, &write(&lab, &cancel(1)), &[]);
    assert!(output.status.success(), "{output:?}");
    drop(silent);
}

/// What a client gets that sends one request to a socket, as another user.
fn request(socket: &Path, user: &str, request: &str) -> String {
    const CLIENT: &str = "
import socket, sys
client = socket.socket(socket.AF_UNIX)
client.connect(sys.argv[1])
try:
    client.sendall(sys.argv[2].encode())
    while part := client.recv(4096):
        print(part.decode(), end='')
except OSError:
    pass
";
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", user, "--clear-groups", "/usr/bin/python3", "-c", CLIENT]).arg(socket);
    let output = command.arg(format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n")).output().unwrap();
    assert!(output.status.success(), "this test needs apt-get install python3 util-linux: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_view_of_the_engine_is_for_those_whom_the_policy_lists() {
    let lab = lab();
    let socket = lab.path().join("view");
    let mut command = Command::new(cargo_bin!("redflag-executor"));
    command.args(["view", "--engine", "/nonexistent"]).args(own(&lab)).arg("--listen").arg(&socket);
    let view = Service::start(command, socket);
    assert_eq!(request(&view.socket, NOBODY, "GET /_ping"), "", "hung up on");
    let policy = fs::read_to_string(lab.options().policy).unwrap();
    fs::write(lab.options().policy, format!("users = [\"nobody\"]\n{policy}")).unwrap();
    assert!(request(&view.socket, NOBODY, "POST /containers/create").starts_with("HTTP/1.1 403 "));
    let ping = request(&view.socket, NOBODY, "GET /_ping");
    assert!(ping.starts_with("HTTP/1.1 5"), "let in, and the engine is not there: {ping}");
}

#[test]
fn asked_to_end_it_ends_and_leaves_the_way_free() {
    let lab = lab();
    let mut service = Service::listening(&lab);
    assert!(service.execute(None, &write(&lab, &cancel(1)), &[]).status.success());
    redflag_faults::signal(service.child.id(), redflag_faults::Signal::TERM);
    assert!(service.child.wait().unwrap().success());
    assert_eq!(executor(&lab, &["run", &write(&lab, &cancel(2))]).status.code(), Some(0), "nobody holds its state");
}

#[test]
fn without_a_service_the_agent_starts_the_executor_it_is_told_to() {
    let lab = lab();
    let started = lab.path().join("executor");
    let [policy, state] = own(&lab);
    let script = format!("#!/bin/sh\nexec {} \"$@\" {policy} {state}\n", cargo_bin!("redflag-executor").display());
    fs::write(&started, script).unwrap();
    fs::set_permissions(&started, PermissionsExt::from_mode(0o755)).unwrap();
    let envelope = write(&lab, &cancel(1));
    let agent = |words: &[&str]| Command::new(cargo_bin!("redflag-agent")).arg("execute").args(words).output().unwrap();
    let output = agent(&[&envelope, "--json", "--executor", started.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let nobody_there = agent(&[&envelope, "--socket", "/nonexistent"]);
    assert_eq!(nobody_there.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nobody_there.stderr).contains("redflag-executor.socket"), "{nobody_there:?}");
    let no_answer = agent(&[&envelope, "--executor", "/bin/true"]);
    assert!(String::from_utf8_lossy(&no_answer.stderr).contains("no answer"), "{no_answer:?}");
}
