//! The executor's socket: one connection, one envelope, one answer, one at a time.
//!
//! A client sends the bytes of an envelope, closes its sending side, and reads lines of JSON: parts of what an installation prints, as
//! they come, then the answer. Who it is says the kernel (`SO_PEERCRED`); the policy lists who may. Nothing here believes what is sent:
//! the executor verifies it.

use super::{
    Executor, ExecutorOptions,
    answer::{Answer, Part},
    policy,
};
use crate::{Printed, install::Installer, output::note};
use redflag_core::{command::refusal::RefusalCode, limits};
use std::{io, path::Path, pin::pin, time::Duration};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::oneshot,
    time::timeout,
};

/// Where the executor listens when systemd starts it.
pub const DEFAULT_SOCKET: &str = "/run/redflag/executor.sock";

/// Longest time a client may take to send its envelope, or to take its answer.
const CLIENT_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest time a client waits: for its own command, and for one that is before it.
const ANSWER_TIME_MAX: Duration = policy::TIME_MAX.saturating_mul(2);
/// Most bytes of one line: a plan of the largest command, with everything beside it.
const LINE_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// How long what is printed is gathered before it is sent on.
const GATHERED_FOR: Duration = Duration::from_millis(250);

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

/// Sends an envelope to the executor at `socket` and waits for its answer, as long as any policy may let a command take. What an
/// installation prints is told to `printed` as it comes.
///
/// # Errors
/// When nobody listens, the answer does not come in time, or it is too long.
pub async fn ask(socket: &Path, envelope: &[u8], printed: &mut (dyn FnMut(String) + Send)) -> io::Result<Vec<u8>> {
    let exchange = async {
        let mut stream = UnixStream::connect(socket).await?;
        // An executor that refuses before it has read everything answers all the same.
        let sent = async { stream.write_all(envelope).await.and(stream.shutdown().await) }.await;
        match (sent, read_answer(stream, printed).await) {
            (_, Ok(answer)) if !answer.is_empty() => Ok(answer),
            (Err(error), _) | (_, Err(error)) => Err(error),
            (Ok(()), Ok(answer)) => Ok(answer),
        }
    };
    timeout(ANSWER_TIME_MAX, exchange).await.unwrap_or_else(|elapsed| Err(elapsed.into()))
}

/// The line that is no part of what is printed; empty when the executor went away before it.
async fn read_answer(stream: UnixStream, printed: &mut (dyn FnMut(String) + Send)) -> io::Result<Vec<u8>> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        (&mut stream).take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut line).await?;
        if line.len() as u64 > LINE_BYTES_MAX {
            return Err(io::Error::other("the answer is too long"));
        }
        match serde_json::from_slice::<Part>(&line) {
            Ok(part) => printed(part.printed),
            Err(_) => return Ok(line),
        }
    }
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
    Ok(run(executor, &envelope, stream.get_mut()).await)
}

/// Runs a command and sends on what it prints. A client that went away stops nothing.
async fn run(executor: &mut Executor, envelope: &[u8], client: &mut UnixStream) -> Answer {
    let printed = Printed::default();
    let (running, ended) = oneshot::channel::<()>();
    let run = async {
        let answer = executor.run_and_print(envelope, &printed).await;
        drop(running);
        answer
    };
    let (answer, told) = tokio::join!(run, tell(&printed, client, ended));
    if let Err(error) = told {
        note(&format!("a client went away before the end: {error}"));
    }
    answer
}

/// Sends on what is printed, until the command has ended and all is sent, or the client is gone.
async fn tell(printed: &Printed, client: &mut UnixStream, mut ended: oneshot::Receiver<()>) -> io::Result<()> {
    let (mut read, mut over) = (0, false);
    while !over {
        tokio::select! {
            () = tokio::time::sleep(GATHERED_FOR) => {}
            _ = &mut ended => over = true,
        }
        if let Some(text) = printed.more(&mut read) {
            let line = Part::to_json(&text) + "\n";
            timeout(CLIENT_TIME_MAX, client.write_all(line.as_bytes())).await??;
        }
    }
    Ok(())
}

/// An answer in a few words, for the log.
fn summary(answer: &Answer) -> String {
    let command = answer.command_id.map_or_else(|| "no command".to_owned(), |id| format!("command {id}"));
    format!("{command}: {}", answer.outcome.summary())
}
