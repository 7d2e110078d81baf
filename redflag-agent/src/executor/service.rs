//! The executor's socket: one connection, one envelope, one answer, one at a time.
//!
//! A client sends the bytes of an envelope, closes its sending side, and reads one line of JSON. Who it is says the kernel
//! (`SO_PEERCRED`); the policy lists who may. Nothing here believes what is sent: the executor verifies it.

use super::{Executor, ExecutorOptions, answer::Answer, policy};
use crate::{install::Installer, output::note};
use redflag_core::{command::refusal::RefusalCode, limits};
use std::{io, path::Path, pin::pin, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    time::timeout,
};

/// Where the executor listens when systemd starts it.
pub const DEFAULT_SOCKET: &str = "/run/redflag/executor.sock";

/// Longest time a client may take to send its envelope, or to take its answer.
const CLIENT_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest time a client waits: for its own command, and for one that is before it.
const ANSWER_TIME_MAX: Duration = policy::TIME_MAX.saturating_mul(2);
/// Most bytes of an answer: a plan of the largest command, with everything beside it.
const ANSWER_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Serves `listener` until `shutdown`, or until nobody has come for as long as `idle`. A command that was begun is brought to its end
/// before.
///
/// # Errors
/// When connections cannot be accepted.
pub async fn serve(
    listener: &UnixListener,
    options: &ExecutorOptions,
    installers: fn() -> Vec<Box<dyn Installer>>,
    idle: Option<Duration>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let (mut executor, mut shutdown) = (None, pin!(shutdown));
    loop {
        let stream = tokio::select! {
            biased;
            () = &mut shutdown => return Ok(()),
            accepted = listener.accept() => accepted?.0,
            () = passed(idle) => return Ok(()),
        };
        if let Err(error) = serve_one(stream, &mut executor, options, installers).await {
            note(&format!("a client went away: {error}"));
        }
    }
}

/// Sends an envelope to the executor at `socket` and waits for its answer, as long as any policy may let a command take.
///
/// # Errors
/// When nobody listens, the answer does not come in time, or it is too long.
pub async fn ask(socket: &Path, envelope: &[u8]) -> io::Result<Vec<u8>> {
    let exchange = async {
        let mut stream = UnixStream::connect(socket).await?;
        // An executor that refuses before it has read everything answers all the same.
        let sent = async { stream.write_all(envelope).await.and(stream.shutdown().await) }.await;
        let mut answer = Vec::new();
        let read = stream.take(ANSWER_BYTES_MAX + 1).read_to_end(&mut answer).await;
        match (sent, read) {
            (Err(error), _) | (_, Err(error)) if answer.is_empty() => Err(error),
            _ if answer.len() as u64 > ANSWER_BYTES_MAX => Err(io::Error::other("the answer is too long")),
            _ => Ok(answer),
        }
    };
    timeout(ANSWER_TIME_MAX, exchange).await.unwrap_or_else(|elapsed| Err(elapsed.into()))
}

async fn passed(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

async fn serve_one(
    mut stream: UnixStream,
    executor: &mut Option<Executor>,
    options: &ExecutorOptions,
    installers: fn() -> Vec<Box<dyn Installer>>,
) -> io::Result<()> {
    let user = stream.peer_cred()?.uid();
    let answer = answer_to(user, &mut stream, executor, options, installers).await?;
    let line = answer.to_json() + "\n";
    note(&format!("user {user}: {}", summary(&answer)));
    let written = async { stream.write_all(line.as_bytes()).await.and(stream.shutdown().await) };
    timeout(CLIENT_TIME_MAX, written).await.unwrap_or_else(|elapsed| Err(elapsed.into()))
}

async fn answer_to(
    user: u32,
    stream: &mut UnixStream,
    executor: &mut Option<Executor>,
    options: &ExecutorOptions,
    installers: fn() -> Vec<Box<dyn Installer>>,
) -> io::Result<Answer> {
    if executor.is_none() {
        match Executor::open(options.clone(), installers()).await {
            Ok(opened) => *executor = Some(opened),
            Err(error) => return Ok(Answer::not_ready(&error)),
        }
    }
    let executor = executor.as_mut().expect("it was opened above");
    executor.notes().iter().for_each(|text| note(text));
    match executor.policy() {
        Ok(policy) if policy.accepts_from(user) => {}
        Ok(_) => return Ok(Answer::refused(RefusalCode::ForeignUser, format!("the policy does not list user {user}"))),
        Err(error) => return Ok(Answer::not_ready(&error)),
    }
    let (mut envelope, mut stream) = (Vec::new(), stream.take(limits::COMMAND_ENVELOPE_BYTES_MAX as u64 + 1));
    timeout(CLIENT_TIME_MAX, stream.read_to_end(&mut envelope)).await.unwrap_or_else(|elapsed| Err(elapsed.into()))?;
    Ok(executor.run(&envelope).await)
}

/// An answer in a few words, for the log.
fn summary(answer: &Answer) -> String {
    let command = answer.command_id.map_or_else(|| "no command".to_owned(), |id| format!("command {id}"));
    format!("{command}: {}", answer.outcome.summary())
}
