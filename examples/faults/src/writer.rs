//! A process that writes until it is killed and says what was acknowledged: the test's own binary, started once more.
//!
//! The parent keeps the acknowledgements. They are printed one a line, so what a pipe took before the kill is read after it.
#![expect(clippy::print_stdout, reason = "standard output is how acknowledgements leave a process that will be killed")]

use crate::process::{Signal, bound, signal, wait_stopped};
use redflag_core::{
    conformance::{Shape, history, streams, submit},
    ids::Digest,
    store::BatchStore,
};
use std::{
    env,
    fmt::Write as _,
    io::{BufRead as _, BufReader, Lines},
    os::unix::process::ExitStatusExt as _,
    process::{Child, ChildStdout, Stdio},
    sync::Arc,
};
use tokio::task::JoinSet;

/// Set in the writing process.
const PLAN: &str = "REDFLAG_FAULTS_PLAN";
const ACKNOWLEDGED: &str = "acknowledged ";
const FAILED: &str = "failed ";
const DONE: &str = "done";

/// What a process is to write: the history of a seed, each stream from its position on.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// The shape of its history.
    pub shape: Shape,
    /// How many works of each stream are done.
    pub positions: Vec<usize>,
}

/// A process that writes.
#[derive(Debug)]
pub struct Writer {
    child: Child,
    output: Lines<BufReader<ChildStdout>>,
    read: Vec<(usize, Digest)>,
}

impl Plan {
    /// The plan this process was started with; none in the test itself.
    #[must_use]
    pub fn of_this_process() -> Option<Self> {
        let plan = env::var(PLAN).ok()?;
        let mut numbers = plan.split(' ').map(|number| number.parse::<u64>().expect("a plan is made of numbers"));
        let mut next = || usize::try_from(numbers.next().expect("a plan has all its numbers")).expect("a number of this machine's size");
        let (seed, agents) = (next() as u64, next());
        let shape = Shape { agents: u32::try_from(agents).expect("few agents"), steps: next(), packages: next() };
        Some(Self { seed, shape, positions: (0..agents).map(|_| next()).collect() })
    }

    fn to_text(&self) -> String {
        let Self { seed, shape: Shape { agents, steps, packages }, positions } = self;
        let mut text = format!("{seed} {agents} {steps} {packages}");
        for position in positions {
            write!(text, " {position}").expect("a text can be written to");
        }
        text
    }
}

/// Submits the rest of every stream of the plan to `store`, stream beside stream, and prints each acknowledgement. When all is
/// submitted, waits to be killed.
pub async fn write_until_killed(store: Arc<dyn BatchStore>, plan: &Plan) {
    let mut writing = JoinSet::new();
    for (stream, works) in streams(history(plan.seed, plan.shape)).into_iter().enumerate() {
        let (store, done) = (Arc::clone(&store), plan.positions[stream]);
        // One write a line: a line is never half in the pipe.
        writing.spawn(async move { submit(&store, &works[done..], |digest| println!("{ACKNOWLEDGED}{stream} {digest}")).await });
    }
    for failed in writing.join_all().await.into_iter().flatten() {
        println!("{FAILED}{failed:?}");
    }
    println!("{DONE}");
    std::future::pending::<()>().await;
}

impl Writer {
    /// Starts the test called `test` of this binary once more, with the plan and `variables` in its environment.
    #[must_use]
    pub fn start(test: &str, plan: &Plan, variables: &[(&str, &str)]) -> Self {
        let this = env::current_exe().expect("a test knows its binary");
        let mut command = bound(&[]);
        command.arg(this).args(["--exact", test, "--nocapture"]).env(PLAN, plan.to_text()).envs(variables.iter().copied());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("a test binary can be started");
        let output = child.stdout.take().expect("its output is a pipe");
        Self { child, output: BufReader::new(output).lines(), read: Vec::new() }
    }

    /// Waits until so many further works are acknowledged, or all of them are.
    pub fn wait_for(&mut self, acknowledgements: usize) {
        let enough = self.read.len() + acknowledgements;
        while self.read.len() < enough && self.read_line() {}
    }

    /// Reads a line; answers whether there may be more.
    fn read_line(&mut self) -> bool {
        let Some(line) = self.output.next() else { return false };
        let line = line.expect("a pipe can be read");
        assert!(!line.contains(FAILED), "the writer could not write: {line}");
        // The test harness prints the test's name before the first one.
        if let Some((_, acknowledged)) = line.rsplit_once(ACKNOWLEDGED) {
            let (stream, digest) = acknowledged.split_once(' ').expect("a stream and a digest");
            self.read.push((stream.parse().expect("a stream's number"), digest.parse().expect("a digest")));
        }
        !line.ends_with(DONE)
    }

    /// Stops every thread of it where it is.
    pub fn freeze(&self) {
        signal(self.child.id(), Signal::STOP);
        wait_stopped(self.child.id());
    }

    /// Kills it; answers what it said to be acknowledged, by stream, in order.
    #[must_use]
    pub fn kill(mut self) -> Vec<(usize, Digest)> {
        self.child.kill().expect("a child can be killed");
        let status = self.child.wait().expect("a killed child ends");
        // One that never began, or ended by itself, was not killed, and its cycle shows nothing.
        assert_eq!(status.signal(), Some(9), "the writer ended by itself: {status}");
        while self.read_line() {}
        std::mem::take(&mut self.read)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Gone already but when the test panicked.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
