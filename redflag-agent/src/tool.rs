//! A tool of the host, run once: fixed environment, bounded time, bounded output, nothing left behind.
//!
//! A command runs in its own process group without standard input, in the C.UTF-8 locale and in UTC, with none of the caller's
//! environment. Whatever ends the wait early (time limit, output limit, the caller dropping the future) kills
//! the whole group.

use crate::Printed;
use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    ffi::OsString,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Child,
};

/// Most bytes of standard output that are read.
pub(crate) const OUTPUT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most bytes of standard error that are kept; more is read and dropped.
pub(crate) const STDERR_BYTES_MAX: usize = 16 * 1024;
/// Longest time one command may take.
pub(crate) const TOOL_TIME_MAX: Duration = Duration::from_secs(600);
/// How long the streams of a command that has ended are waited for.
const STREAMS_CLOSE_TIME_MAX: Duration = Duration::from_secs(2);
/// Where commands are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command to run: a program, the arguments that always come first, and limits.
#[derive(Clone, Debug)]
pub(crate) struct Tool {
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
    time_max: Duration,
    output_bytes_max: usize,
}

/// What a command that ran to its end left behind.
#[derive(Debug)]
pub(crate) struct Output {
    /// Its exit code.
    pub code: i32,
    /// Its standard output; never cut.
    pub stdout: String,
    /// The start of its standard error.
    pub stderr: String,
}

/// How a command ended whose output is only told, not read; see [`Tool::run_for_end`].
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code, or why there is none.
    pub code: Result<i32, ToolError>,
    /// The end of its standard output, followed by the end of its standard error.
    pub output: String,
}

/// Why there is no output.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolError {
    #[error("starting {program}: {source}")]
    Start { program: String, source: std::io::Error },
    #[error("reading the output of {program}: {source}")]
    Read { program: String, source: std::io::Error },
    #[error("{program} took longer than {} s", time_max.as_secs_f32())]
    Time { program: String, time_max: Duration },
    #[error("{program} wrote more than {bytes_max} bytes")]
    OutputTooLong { program: String, bytes_max: usize },
    #[error("{program} was ended by signal {signal}")]
    Signal { program: String, signal: i32 },
    #[error("{program} ended with exit code {code}: {message}")]
    ExitCode { program: String, code: i32, message: String },
}

impl Tool {
    pub(crate) fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            time_max: TOOL_TIME_MAX,
            output_bytes_max: OUTPUT_BYTES_MAX,
        }
    }

    /// Adds arguments that every run gets, before its own.
    pub(crate) fn with<S: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Adds variables to the fixed environment.
    pub(crate) fn with_environment(mut self, variables: impl IntoIterator<Item = (&'static str, OsString)>) -> Self {
        self.environment.extend(variables);
        self
    }

    /// Gives every run this time instead of [`TOOL_TIME_MAX`].
    pub(crate) fn with_time_max(self, time_max: Duration) -> Self {
        Self { time_max, ..self }
    }

    /// Whether the program can be found.
    pub(crate) fn found(&self) -> bool {
        let program = Path::new(&self.program);
        program.is_absolute() && program.exists() || PATH.split(':').any(|directory| Path::new(directory).join(program).is_file())
    }

    /// The command as people would type it, without its arguments' long tail.
    fn name(&self) -> String {
        let program = Path::new(&self.program).file_name().unwrap_or(&self.program).to_string_lossy().into_owned();
        let words = self.arguments.iter().map(|word| word.to_string_lossy());
        let words: Vec<_> = words.filter(|word| !word.starts_with('-') && !word.contains(['=', '/', '$', '%'])).take(2).collect();
        [&[program.into()][..], &words].concat().join(" ")
    }

    /// Runs it and insists on exit code 0.
    pub(crate) async fn run(&self) -> Result<Output, ToolError> {
        self.run_with_codes(&[0]).await
    }

    /// Runs it and insists on one of `codes`. Cancel safe: dropping kills the process group.
    pub(crate) async fn run_with_codes(&self, codes: &[i32]) -> Result<Output, ToolError> {
        let output = match tokio::time::timeout(self.time_max, self.output()).await {
            Ok(output) => output?,
            Err(_) => return Err(ToolError::Time { program: self.name(), time_max: self.time_max }),
        };
        if codes.contains(&output.code) {
            return Ok(output);
        }
        let message = [&output.stderr, &output.stdout].into_iter().map(|text| message_of(text)).find(|text| !text.is_empty());
        Err(ToolError::ExitCode { program: self.name(), code: output.code, message: message.unwrap_or_else(|| "no message".into()) })
    }

    /// Runs it to whatever end and keeps the last `bytes_max` bytes of each of its streams; both go to `printed` as they come. For commands that change the host:
    /// they may print without limit, and a daemon they leave behind may keep their streams open.
    pub(crate) async fn run_for_end(&self, bytes_max: usize, printed: &Printed) -> Ended {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let ended = tokio::time::timeout(self.time_max, self.end(bytes_max, printed, &mut stdout, &mut stderr)).await;
        let code = ended.unwrap_or_else(|_| Err(ToolError::Time { program: self.name(), time_max: self.time_max }));
        let end = |bytes: &[u8]| String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(bytes_max)..]).into_owned();
        Ended { code, output: end(&stdout) + &end(&stderr) }
    }

    async fn end(&self, bytes_max: usize, printed: &Printed, stdout: &mut Vec<u8>, stderr: &mut Vec<u8>) -> Result<i32, ToolError> {
        let mut group = Group(self.start().map_err(|source| ToolError::Start { program: self.name(), source })?);
        let (out, err) = (group.0.stdout.take().expect("it is piped"), group.0.stderr.take().expect("it is piped"));
        let read =
            async { tokio::try_join!(read_end(out, bytes_max, printed, stdout), read_end(err, bytes_max, printed, stderr)).map(drop) };
        let mut read = std::pin::pin!(read);
        let mut all_read = false;
        let status = loop {
            tokio::select! {
                done = &mut read, if !all_read => {
                    done.map_err(|source| ToolError::Read { program: self.name(), source })?;
                    all_read = true;
                }
                status = group.0.wait() => break status,
            }
        };
        if !all_read {
            // What it printed lies in the pipes; who still holds them open is not waited for.
            let _ = tokio::time::timeout(STREAMS_CLOSE_TIME_MAX, read).await;
        }
        let status = status.map_err(|source| ToolError::Read { program: self.name(), source })?;
        exit_code(status).map_err(|signal| ToolError::Signal { program: self.name(), signal })
    }

    async fn output(&self) -> Result<Output, ToolError> {
        let program = || self.name();
        let mut group = Group(self.start().map_err(|source| ToolError::Start { program: program(), source })?);
        let stdout = group.0.stdout.take().expect("standard output is piped");
        let stderr = group.0.stderr.take().expect("standard error is piped");
        let (stdout, stderr) = tokio::try_join!(read_all(stdout, self.output_bytes_max), read_start(stderr, STDERR_BYTES_MAX))
            .map_err(|source| ToolError::Read { program: program(), source })?;
        let Some(stdout) = stdout else {
            return Err(ToolError::OutputTooLong { program: program(), bytes_max: self.output_bytes_max });
        };
        let status = group.0.wait().await.map_err(|source| ToolError::Read { program: program(), source })?;
        // Bytes that are no text can stand in a description; in a name or version the grammar refuses their replacement.
        let stdout = String::from_utf8(stdout).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        let code = exit_code(status).map_err(|signal| ToolError::Signal { program: program(), signal })?;
        Ok(Output { code, stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() })
    }

    fn start(&self) -> std::io::Result<Child> {
        let mut command = tokio::process::Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .envs([("PATH", PATH), ("LC_ALL", "C.UTF-8"), ("LANGUAGE", "C"), ("TZ", "UTC"), ("TERM", "dumb"), ("HOME", "/nonexistent")])
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    }
}

/// A child that leads a process group; dropped before its end, the whole group is killed.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // The id is none once the child has been waited for: then there is nothing of ours left to kill.
        let leader = self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(leader) = leader {
            // It may have ended in this very moment; then there is nobody left to signal.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

fn exit_code(status: ExitStatus) -> Result<i32, i32> {
    status.code().ok_or_else(|| status.signal().unwrap_or_default())
}

/// Everything, or none if it is more than `bytes_max`.
async fn read_all(source: impl AsyncRead + Unpin, bytes_max: usize) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    source.take(bytes_max as u64 + 1).read_to_end(&mut bytes).await?;
    Ok((bytes.len() <= bytes_max).then_some(bytes))
}

/// The first `bytes_max` bytes; the rest is read, so that the writer never blocks, and dropped.
async fn read_start(mut source: impl AsyncRead + Unpin, bytes_max: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    (&mut source).take(bytes_max as u64).read_to_end(&mut bytes).await?;
    tokio::io::copy(&mut source, &mut tokio::io::sink()).await?;
    Ok(bytes)
}

/// Reads all and keeps the last `bytes_max` bytes, or up to twice as many, in `end` at every moment.
async fn read_end(mut source: impl AsyncRead + Unpin, bytes_max: usize, printed: &Printed, end: &mut Vec<u8>) -> std::io::Result<()> {
    loop {
        let known = end.len();
        if source.read_buf(end).await? == 0 {
            return Ok(());
        }
        printed.add(&end[known..]);
        // Twice as many before any are thrown away, so that not every read moves them.
        if end.len() >= 2 * bytes_max {
            end.drain(..end.len() - bytes_max);
        }
    }
}

/// The part of a tool's message that names the trouble: its error lines, else its last lines.
pub(crate) fn message_of(text: &str) -> String {
    const LINES: usize = 4;
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let errors: Vec<&str> = lines.iter().copied().filter(|line| line.starts_with("E:") || line.starts_with("Error")).take(LINES).collect();
    let kept = if errors.is_empty() { &lines[lines.len().saturating_sub(LINES)..] } else { &errors[..] };
    kept.join("; ")
}

/// Notes that output which does not end with the end of a line was cut.
pub(crate) fn whole_lines(command: &str, text: &str, gaps: &mut Vec<String>) {
    if !text.is_empty() && !text.ends_with('\n') {
        gaps.push(format!("{command}: the last line was cut"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};

    fn shell(script: &str) -> Tool {
        Tool::new("sh").with(["-c", script])
    }

    #[tokio::test]
    async fn the_environment_is_fixed_and_nothing_of_the_callers_comes_through() {
        let output = shell("env").with_environment([("APT_CONFIG", "x".into())]).run().await.unwrap();
        let names: Vec<_> = output.stdout.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
        for name in names {
            let ours = ["PATH", "LC_ALL", "LANGUAGE", "TZ", "TERM", "HOME", "APT_CONFIG"];
            let shells = ["PWD", "OLDPWD", "SHLVL", "_"];
            assert!(ours.contains(&name) || shells.contains(&name), "{name} came through");
        }
        assert!(output.stdout.contains("LC_ALL=C.UTF-8\n") && output.stdout.contains("APT_CONFIG=x\n"));
    }

    #[tokio::test]
    async fn an_exit_code_that_is_not_expected_is_an_error_with_the_tools_own_words() {
        let error = shell("echo noise >&2; echo 'E: it is broken' >&2; exit 100").run().await.unwrap_err().to_string();
        assert!(error.ends_with("ended with exit code 100: E: it is broken"), "{error}");
        assert_eq!(shell("exit 100").run_with_codes(&[0, 100]).await.unwrap().code, 100);
        let error = shell("kill -9 $$").run().await.unwrap_err().to_string();
        assert!(error.ends_with("was ended by signal 9"), "{error}");
    }

    #[tokio::test]
    async fn output_is_taken_up_to_its_limit_and_refused_beyond() {
        let mut tool = shell("printf 12345678");
        tool.output_bytes_max = 8;
        assert_eq!(tool.run().await.unwrap().stdout, "12345678");
        tool.output_bytes_max = 7;
        assert!(matches!(tool.run().await, Err(ToolError::OutputTooLong { .. })));
        let endless = Tool { output_bytes_max: 1 << 20, ..Tool::new("yes") };
        assert!(matches!(endless.run().await, Err(ToolError::OutputTooLong { .. })));
    }

    #[tokio::test]
    async fn long_complaints_are_cut_and_never_block_the_writer() {
        let output = shell("head -c 1000000 /dev/zero | tr '\\0' x >&2; echo done").run().await.unwrap();
        assert_eq!((output.stdout.as_str(), output.stderr.len()), ("done\n", STDERR_BYTES_MAX));
    }

    #[tokio::test]
    async fn of_a_command_that_changes_the_host_the_end_is_kept_however_it_ends() {
        let script = "yes noise | head -n 200000; echo last; echo why >&2; exit 3";
        let ended = shell(script).run_for_end(64, &Printed::default()).await;
        assert_eq!(ended.code.unwrap(), 3);
        assert!(ended.output.ends_with("noise\nlast\nwhy\n") && ended.output.len() <= 68, "{}", ended.output);
        let ended = shell("echo begun; sleep 600").with_time_max(Duration::from_secs(3)).run_for_end(64, &Printed::default()).await;
        assert!(matches!(ended.code, Err(ToolError::Time { .. })) && ended.output == "begun\n", "{ended:?}");
    }

    #[tokio::test]
    async fn a_daemon_that_keeps_the_streams_open_is_not_waited_for() {
        let ended = shell("echo done; setsid sleep 60 & echo $!").run_for_end(64, &Printed::default()).await;
        assert_eq!(ended.code.unwrap(), 0);
        let mut lines = ended.output.lines();
        assert_eq!(lines.next(), Some("done"));
        let daemon = Pid::from_raw(lines.next().unwrap().parse().unwrap()).unwrap();
        rustix::process::kill_process(daemon, Signal::KILL).expect("the daemon still runs");
    }

    #[tokio::test]
    async fn a_command_may_not_take_longer_than_its_time() {
        let mut tool = shell("sleep 600");
        tool.time_max = Duration::from_millis(10);
        let error = tool.run().await.unwrap_err();
        assert!(matches!(error, ToolError::Time { .. }), "{error}");
    }

    #[tokio::test]
    async fn dropping_a_running_command_kills_its_children_too() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
        // A child of the shell holds the pipe open; it is read to its end only when that child is gone.
        let script = format!("(echo started; exec sleep 600) > {} & wait", pipe.display());
        let running = tokio::spawn(async move { shell(&script).run().await });
        let (started, has_started) = tokio::sync::oneshot::channel();
        let (ended, has_ended) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(std::fs::File::open(pipe).unwrap()).lines();
            started.send(lines.next().unwrap().unwrap()).unwrap();
            ended.send(lines.next().is_none()).unwrap();
        });
        assert_eq!(has_started.await.unwrap(), "started");
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
        let ended = tokio::time::timeout(Duration::from_secs(60), has_ended).await;
        assert!(ended.expect("the child is killed with the shell").unwrap());
    }
}
