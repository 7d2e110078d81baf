//! The command line of `redflag-executor`. It is read by hand: an argument parser for people would be most of the program.

use super::{
    Executor, ExecutorOptions,
    answer::{Answer, Outcome},
    policy::Policy,
    service,
};
use crate::{
    engine::{self, view},
    install::installers,
    output::{note, print},
};
use lexopt::{Arg, Parser, ValueExt as _};
use redflag_core::limits;
use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};
use tokio::{
    net::UnixListener,
    signal::unix::{Signal, SignalKind, signal},
};

/// Exit code of a command line that is not understood.
const EXIT_USAGE: u8 = 2;
/// How long a service that systemd started waits for a next command.
const IDLE: Duration = Duration::from_secs(60);

const HELP: &str = "\
Carries out signed commands on this host, as far as its policy allows

Usage: redflag-executor run ENVELOPE     carry out one command, and print what became of it
       redflag-executor check ENVELOPE   everything but the execution: print what would be done
       redflag-executor serve            answer at the socket that systemd passes, or at --listen
       redflag-executor view             let the agent look at the container engine, at such a socket

ENVELOPE is a file, or - for standard input.

Options:
  --policy FILE       what is allowed on this host [default: /etc/redflag/executor.toml]
  --state-dir DIR     where the journal is kept [default: /var/lib/redflag-executor]
  --listen PATH       the socket to make (`serve`, `view`), which must not exist
  --engine PATH       the engine to be looked at (`view`) [default: docker's socket, or else podman's]
  -h, --help          this text
  -V, --version       the version

Examples:
  redflag-executor check command.json
  redflag-executor run - <command.json
  redflag-executor serve --listen /run/redflag/executor.sock
  redflag-executor view --listen /run/redflag/engine.sock

Prints one line of JSON per command. Exit codes: 0 carried out; 1 begun and failed, or the program itself failed; 2 the command line
is not understood; 3 refused, and nothing has changed; 4 begun, and its end was not seen.
";

#[derive(Debug, PartialEq, Eq)]
enum Request {
    Run(PathBuf),
    Check(PathBuf),
    Serve { listen: Option<PathBuf> },
    View { listen: Option<PathBuf>, engine: Option<PathBuf> },
    Help,
    Version,
}

/// Does what the command line asks for.
pub async fn main() -> ExitCode {
    let (request, options) = match parse(Parser::from_env()) {
        Ok(parsed) => parsed,
        Err(error) => {
            note(&format!("error: {error}; see redflag-executor --help"));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match carry_out(request, options).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            note(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn parse(mut parser: Parser) -> Result<(Request, ExecutorOptions), lexopt::Error> {
    let mut options = ExecutorOptions::default();
    let (mut words, mut listen, mut engine) = (Vec::new(), None, None);
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("policy") => options.policy = parser.value()?.into(),
            Arg::Long("state-dir") => options.state_dir = parser.value()?.into(),
            Arg::Long("listen") => listen = Some(parser.value()?.into()),
            Arg::Long("engine") => engine = Some(parser.value()?.into()),
            Arg::Short('h') | Arg::Long("help") => return Ok((Request::Help, options)),
            Arg::Short('V') | Arg::Long("version") => return Ok((Request::Version, options)),
            Arg::Value(word) => words.push(word.string()?),
            other => return Err(other.unexpected()),
        }
    }
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let request = match (words.as_slice(), listen, engine) {
        (["run", envelope], None, None) => Request::Run(envelope.into()),
        (["check", envelope], None, None) => Request::Check(envelope.into()),
        (["serve"], listen, None) => Request::Serve { listen },
        (["view"], listen, engine) => Request::View { listen, engine },
        ([], ..) => return Err("a word is missing: run, check, serve or view".into()),
        _ => return Err(format!("{:?} with these options is not understood", words.join(" ")).into()),
    };
    Ok((request, options))
}

async fn carry_out(request: Request, options: ExecutorOptions) -> io::Result<u8> {
    match request {
        Request::Help => print(HELP.trim_end()).map(|()| 0),
        Request::Version => print(concat!("redflag-executor ", env!("CARGO_PKG_VERSION"))).map(|()| 0),
        Request::Serve { listen } => serve(listen.as_deref(), &options).await.map(|()| 0),
        Request::View { listen, engine } => view(listen.as_deref(), engine, &options).await.map(|()| 0),
        Request::Run(envelope) => {
            // Whoever asks this process to end gets the end of the command first: a package manager is not left halfway.
            let _uninterrupted = signals()?;
            let envelope = read_envelope(&envelope)?;
            let answer = match Executor::open(options, installers()).await {
                Ok(mut executor) => executor.run(&envelope).await,
                Err(error) => Answer::not_ready(&error),
            };
            tell(&answer)
        }
        Request::Check(envelope) => {
            let envelope = read_envelope(&envelope)?;
            let answer = match Executor::open(options, installers()).await {
                Ok(mut executor) => executor.check(&envelope).await,
                Err(error) => Answer::not_ready(&error),
            };
            tell(&answer)
        }
    }
}

fn tell(answer: &Answer) -> io::Result<u8> {
    answer.notes.iter().for_each(|text| note(text));
    print(&answer.to_json())?;
    Ok(Outcome::exit_code(&answer.outcome))
}

fn signals() -> io::Result<[Signal; 2]> {
    Ok([signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?])
}

/// Reads an envelope from a file, or from standard input if that is `-`: all of it, or one byte more than any may have.
pub(crate) fn read_envelope(path: &Path) -> io::Result<Vec<u8>> {
    let in_words = |error: io::Error| io::Error::other(format!("could not read {}: {error}", path.display()));
    let source: Box<dyn Read> = if path == Path::new("-") { Box::new(io::stdin()) } else { Box::new(File::open(path).map_err(in_words)?) };
    let mut envelope = Vec::new();
    source.take(limits::COMMAND_ENVELOPE_BYTES_MAX as u64 + 1).read_to_end(&mut envelope).map_err(in_words)?;
    Ok(envelope)
}

async fn serve(listen: Option<&Path>, options: &ExecutorOptions) -> io::Result<()> {
    let (shutdown, (listener, idle)) = (asked_to_end()?, listener(listen)?);
    service::serve(&listener, options, installers, idle, shutdown).await
}

/// Nothing it serves changes anything; who may look is asked of the policy, anew for everyone who comes.
async fn view(listen: Option<&Path>, engine: Option<PathBuf>, options: &ExecutorOptions) -> io::Result<()> {
    let (shutdown, (listener, idle)) = (asked_to_end()?, listener(listen)?);
    let engine = match engine {
        Some(engine) => engine,
        // None need be there: the view says so then, and systemd has no failing service to give up on.
        None => engine::of_root().await,
    };
    let accepts = |user| Policy::read(&options.policy).is_ok_and(|policy| policy.accepts_from(user));
    view::serve(&listener, engine, accepts, idle, shutdown).await
}

fn asked_to_end() -> io::Result<impl Future<Output = ()>> {
    let [mut terminate, mut interrupt] = signals()?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Where to listen, and how long to wait for a next client: for ever at a socket of our own.
fn listener(listen: Option<&Path>) -> io::Result<(UnixListener, Option<Duration>)> {
    match listen {
        Some(path) => Ok((listen_at(path)?, None)),
        None => Ok((passed_by_systemd()?, Some(IDLE))),
    }
}

/// A socket of our own. Anybody may connect: who is heard is decided by the kernel's word on who it is.
fn listen_at(path: &Path) -> io::Result<UnixListener> {
    let in_words = |error: io::Error| io::Error::other(format!("could not listen at {}: {error}", path.display()));
    let listener = UnixListener::bind(path).map_err(in_words)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o666)).map_err(in_words)?;
    note(&format!("listening at {}", path.display()));
    Ok(listener)
}

fn passed_by_systemd() -> io::Result<UnixListener> {
    let listener = listenfd::ListenFd::from_env().take_unix_listener(0)?;
    let listener = listener.ok_or_else(|| io::Error::other("no socket was passed (LISTEN_FDS); use --listen PATH"))?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Request, String> {
        parse(Parser::from_args(words)).map(|(request, _)| request).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_is_understood_or_refused() {
        assert_eq!(parsed(&["run", "-"]), Ok(Request::Run("-".into())));
        assert_eq!(parsed(&["check", "--policy=p", "a.json"]), Ok(Request::Check("a.json".into())));
        assert_eq!(parsed(&["serve", "--listen", "s"]), Ok(Request::Serve { listen: Some("s".into()) }));
        assert_eq!(parsed(&["view", "--engine", "e"]), Ok(Request::View { listen: None, engine: Some("e".into()) }));
        assert_eq!(parsed(&["run", "--help"]), Ok(Request::Help));
        for words in [
            &[][..],
            &["run"],
            &["run", "a", "b"],
            &["sign", "a"],
            &["run", "a", "--listen", "s"],
            &["serve", "--engine", "e"],
            &["run", "--force"],
        ] {
            assert!(parsed(words).is_err(), "{words:?}");
        }
        let (_, options) = parse(Parser::from_args(["serve", "--policy", "p", "--state-dir", "d"])).unwrap();
        assert_eq!((options.policy, options.state_dir), ("p".into(), "d".into()));
    }
}
