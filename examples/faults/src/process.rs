//! Processes: signals, and the events that tell that one was stopped.

pub use rustix::process::Signal;

use rustix::process::{Pid, WaitOptions, kill_process, waitpid};
use std::process::Command;

/// Sends a signal; a process that is gone already is no error.
pub fn signal(process: u32, signal: Signal) {
    match kill_process(pid(process), signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => panic!("sending {signal:?} to process {process}: {error}"),
    }
}

/// Waits until every thread of a child that was sent `SIGSTOP` stands still: none is inside a system call any more.
pub fn wait_stopped(child: u32) {
    let status = waitpid(Some(pid(child)), WaitOptions::UNTRACED).expect("the child can be waited for");
    let stopped = status.is_some_and(|(_, status)| status.stopped());
    assert!(stopped, "child {child} ended instead of standing still: {status:?}");
}

fn pid(process: u32) -> Pid {
    i32::try_from(process).ok().and_then(Pid::from_raw).expect("a process id")
}

/// A command line that begins a program which the kernel kills when the thread that starts it ends: a test that is killed leaves no
/// processes behind. `options` are further ones of `setpriv`; the program follows.
pub(crate) fn bound(options: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).args(options);
    command
}

/// Runs a program to its end and answers its output; it must succeed.
pub fn run(program: &str, arguments: &[&str]) -> String {
    output(Command::new(program).args(arguments))
}

pub(crate) fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("starting {command:?}: {error}"));
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    assert!(output.status.success(), "{command:?} failed ({}): {}", output.status, text(output.stderr));
    text(output.stdout)
}
