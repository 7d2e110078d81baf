//! A PostgreSQL server that can be killed, started again and followed by a standby. Needs root and Debian's `postgresql-15`.
//!
//! The server says on its log that it is ready, and the end of the log says that the last of its processes is gone, however they
//! ended: neither is found out by trying again and again.

use crate::{
    disk::Tmpfs,
    process::{Signal, bound, output, signal},
};
use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
    sync::{Arc, Condvar, Mutex, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
/// Debian's `nobody` and `nogroup`: the server refuses to run as root.
const NOBODY: &str = "65534";
const PORT: &str = "5432";
const USER: &str = "redflag";
const READY: &str = "database system is ready to accept";
/// Most that one server's data may take.
const KIBIBYTES: u32 = 512 * 1_024;
/// Longer than any start or end takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A PostgreSQL server, reached by a socket beside its data. `fsync` is on.
///
/// Its data lies in memory unless somebody says where else: the end of a process takes nothing from the kernel, so a real disk would
/// only make every cycle slower.
#[derive(Debug)]
pub struct Cluster {
    settings: Vec<String>,
    running: Option<Running>,
    directory: PathBuf,
    /// That directory, unless it is somebody else's.
    own: Option<Tmpfs>,
    template: Arc<TempDir>,
}

#[derive(Debug)]
struct Running {
    postmaster: Child,
    log: Arc<Log>,
}

/// What the server said, and whether its last process has gone.
#[derive(Debug, Default)]
struct Log {
    said: Mutex<(Vec<String>, bool)>,
    more: Condvar,
}

impl Cluster {
    /// A new server, started, with these settings beside the usual ones (`name=value`).
    #[must_use]
    pub fn new(settings: &[&str]) -> Self {
        let own = Tmpfs::new(KIBIBYTES);
        let mut cluster = Self::within(own.path(), settings);
        cluster.own = Some(own);
        cluster
    }

    /// A new server, started, whose data lies within `directory`.
    #[must_use]
    pub fn within(directory: &Path, settings: &[&str]) -> Self {
        let mut cluster = Self::empty(directory, settings);
        cluster.fill();
        cluster.start();
        cluster
    }

    /// A new server, started, whose write-ahead log lies within `directory`, its data elsewhere.
    #[must_use]
    pub fn logging_to(directory: &Path, settings: &[&str]) -> Self {
        let own = Tmpfs::new(KIBIBYTES);
        let mut cluster = Self::empty(own.path(), settings);
        cluster.own = Some(own);
        cluster.fill();
        let (place, log) = (cluster.data().join("pg_wal"), directory.join("pg_wal"));
        output(Command::new("mv").arg(&place).arg(&log));
        symlink(&log, &place).expect("the log has just been moved");
        fs::set_permissions(directory, fs::Permissions::from_mode(0o777)).expect("the directory is ours");
        cluster.start();
        cluster
    }

    fn empty(directory: &Path, settings: &[&str]) -> Self {
        // The server's user must reach what root made.
        fs::set_permissions(directory, fs::Permissions::from_mode(0o777)).expect("the directory is ours");
        let settings = settings.iter().map(ToString::to_string).collect();
        Self { settings, running: None, directory: directory.to_owned(), own: None, template: template() }
    }

    fn fill(&self) {
        output(Command::new("cp").arg("-a").arg(self.template.path().join("data")).arg(self.data()));
    }

    /// Where the data lies.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.join(format!(".s.PGSQL.{PORT}"))
    }

    /// The URL of its one database.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://{USER}@localhost:{PORT}/postgres?host={}", self.directory.display())
    }

    /// Starts it and waits until it takes connections.
    ///
    /// A server tells by device and inode whether an earlier one of the same data still runs. A file system in memory can have got the
    /// device of one that has just gone, while the last process of the server there still goes; then it is started again.
    pub fn start(&mut self) {
        let begun = Instant::now();
        loop {
            let (mut postmaster, log) = self.spawn();
            if log.comes_or_ends(READY) {
                self.running = Some(Running { postmaster, log });
                return;
            }
            postmaster.wait().expect("a server that ended can be waited for");
            let mistaken = log.tail().contains("pre-existing shared memory block");
            assert!(mistaken && begun.elapsed() < PATIENCE, "the server ended:\n{}", log.tail());
        }
    }

    fn spawn(&self) -> (Child, Arc<Log>) {
        let mut command = program("postgres");
        command.arg("-D").arg(self.data()).arg("-k").arg(&self.directory).args(["-p", PORT]);
        let usual = ["listen_addresses=", "fsync=on", "shared_buffers=16MB", "max_connections=40", "max_wal_size=64MB", "lc_messages=C"];
        for setting in usual.into_iter().chain(self.settings.iter().map(String::as_str)) {
            command.args(["-c", setting]);
        }
        let mut postmaster =
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("PostgreSQL starts (Debian package: postgresql-15)");
        let log = Log::of(postmaster.stderr.take().expect("its log is a pipe"));
        (postmaster, log)
    }

    /// Waits until it takes connections, whatever it is about; starts it if it has ended by itself, and answers whether it had.
    pub fn wait_until_it_answers(&mut self) -> bool {
        let begun = Instant::now();
        while !self.psql("SELECT 1").output().is_ok_and(|answer| answer.status.success()) {
            let Running { postmaster, log } = self.running.as_mut().expect("a running server");
            if log.ended() {
                postmaster.wait().expect("a server that ended can be waited for");
                self.start();
                return true;
            }
            assert!(begun.elapsed() < PATIENCE, "no answer for {PATIENCE:?}:\n{}", log.tail());
        }
        false
    }

    /// Kills every process of it at once, and waits until all are gone.
    pub fn kill(&mut self) {
        let processes = self.processes();
        self.kill_postmaster_and(|| processes.iter().for_each(|(process, _)| signal(*process, Signal::KILL)));
    }

    /// Kills the postmaster alone, and waits until its orphans noticed and went, too.
    pub fn kill_postmaster(&mut self) {
        self.kill_postmaster_and(|| {});
    }

    fn kill_postmaster_and(&mut self, others: impl FnOnce()) {
        let Running { mut postmaster, log } = self.running.take().expect("a running server");
        postmaster.kill().expect("our child can be killed");
        others();
        postmaster.wait().expect("a killed child ends");
        log.wait_for_end();
    }

    /// Kills one process: the server ends all others, recovers, and is waited for.
    pub fn kill_process(&mut self, process: u32) {
        let log = &self.running.as_ref().expect("a running server").log;
        let said = log.lines();
        signal(process, Signal::KILL);
        log.wait_for(READY, said);
    }

    /// Its processes but for the postmaster, each with what it says it does.
    #[must_use]
    pub fn processes(&self) -> Vec<(u32, String)> {
        let postmaster = self.running.as_ref().expect("a running server").postmaster.id();
        let parent = format!("PPid:\t{postmaster}\n");
        let processes = fs::read_dir("/proc").expect("processes can be listed").flatten();
        let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let of_ours = |process: u32| {
            // A process may go at any time.
            let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
            let title = fs::read(format!("/proc/{process}/cmdline")).ok()?;
            status.contains(&parent).then(|| (process, String::from_utf8_lossy(&title).trim_end_matches(['\0', ' ']).to_owned()))
        };
        numbers.filter_map(of_ours).collect()
    }

    /// The processes that serve clients.
    #[must_use]
    pub fn backends(&self) -> Vec<(u32, String)> {
        let title = format!("postgres: {USER} ");
        self.processes().into_iter().filter(|(_, does)| does.starts_with(&title)).collect()
    }

    /// Runs a statement and answers its result as text.
    pub fn sql(&self, statement: &str) -> String {
        output(&mut self.psql(statement)).trim().to_owned()
    }

    fn psql(&self, statement: &str) -> Command {
        let mut psql = program("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statement, &self.url()]);
        psql
    }

    /// Waits until no client has a transaction open: what reached the server before its connection was cut has ended, too.
    pub fn wait_until_idle(&self) {
        let busy = "SELECT count(*) FROM pg_stat_activity
            WHERE backend_type = 'client backend' AND state <> 'idle' AND pid <> pg_backend_pid()";
        self.wait_until(busy, "0");
    }

    /// A standby of this server, called `name`, started: it follows, asynchronously until [`Cluster::synchronise`].
    #[must_use]
    pub fn standby(&self, name: &str) -> Self {
        let own = Tmpfs::new(KIBIBYTES);
        let mut standby = Self::empty(own.path(), &[]);
        standby.settings.push(format!("cluster_name={name}"));
        let mut backup = program("pg_basebackup");
        backup.arg("-d").arg(self.url()).arg("-D").arg(standby.data());
        output(backup.args(["-R", "-X", "stream", "--checkpoint=fast", "--no-sync"]));
        standby.start();
        standby.own = Some(own);
        standby
    }

    /// Commits are acknowledged only once the standby of this name has them on its disk, from the moment this returns.
    pub fn synchronise(&self, name: &str) {
        self.sql(&format!("ALTER SYSTEM SET synchronous_standby_names = '{name}'"));
        self.sql("SELECT pg_reload_conf()");
        let state = format!("SELECT sync_state FROM pg_stat_replication WHERE application_name = '{name}'");
        self.wait_until(&state, "sync");
    }

    /// Asks until the answer is the one that is waited for: of this the server says nothing on its log.
    fn wait_until(&self, statement: &str, answer: &str) {
        let begun = Instant::now();
        while self.sql(statement) != answer {
            assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} for {answer:?} from {statement}");
        }
    }

    /// Makes a standby a server that takes writes, and waits for it.
    pub fn promote(&self) {
        let Running { postmaster, log } = self.running.as_ref().expect("a running server");
        let said = log.lines();
        fs::write(self.data().join("promote"), "").expect("the data directory is there");
        signal(postmaster.id(), Signal::USR1);
        log.wait_for(READY, said);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.running.is_some() {
            self.kill();
        }
    }
}

impl Log {
    fn of(pipe: ChildStderr) -> Arc<Self> {
        let log = Arc::new(Self::default());
        let reading = Arc::clone(&log);
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines() {
                // Bytes that are no text are in nobody's way.
                reading.say(|said| said.0.push(line.unwrap_or_default()));
            }
            reading.say(|said| said.1 = true);
        });
        log
    }

    fn say(&self, change: impl FnOnce(&mut (Vec<String>, bool))) {
        change(&mut self.said.lock().unwrap_or_else(PoisonError::into_inner));
        self.more.notify_all();
    }

    fn lines(&self) -> usize {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).0.len()
    }

    fn ended(&self) -> bool {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    /// Waits for a line with `words` from line `first` on.
    fn wait_for(&self, words: &str, first: usize) {
        let spoken = |said: &(Vec<String>, bool)| said.0[first..].iter().any(|line| line.contains(words));
        let ended = self.wait(|said| spoken(said) || said.1, words);
        assert!(!ended || spoken(&self.said.lock().unwrap_or_else(PoisonError::into_inner)), "the server ended:\n{}", self.tail());
    }

    /// Whether a line with `words` comes before the end.
    fn comes_or_ends(&self, words: &str) -> bool {
        let spoken = |said: &(Vec<String>, bool)| said.0.iter().any(|line| line.contains(words));
        self.wait(|said| spoken(said) || said.1, words);
        spoken(&self.said.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn wait_for_end(&self) {
        self.wait(|said| said.1, "its end");
    }

    /// Waits until `done`; answers whether the log has ended.
    fn wait(&self, done: impl Fn(&(Vec<String>, bool)) -> bool, what: &str) -> bool {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.more.wait_timeout_while(said, PATIENCE, |said| !done(said));
        let (said, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        let ended = said.1;
        drop(said);
        assert!(!timeout.timed_out(), "waited {PATIENCE:?} for {what}:\n{}", self.tail());
        ended
    }

    fn tail(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.0[said.0.len().saturating_sub(30)..].join("\n")
    }
}

/// The data of a new server, made once for all that live at the same time.
fn template() -> Arc<TempDir> {
    static TEMPLATE: Mutex<Weak<TempDir>> = Mutex::new(Weak::new());
    let mut template = TEMPLATE.lock().unwrap_or_else(PoisonError::into_inner);
    template.upgrade().unwrap_or_else(|| {
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).expect("the directory is ours");
        let mut initdb = program("initdb");
        initdb.arg("-D").arg(directory.path().join("data"));
        output(initdb.args(["-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--wal-segsize=1", "--no-sync"]));
        let made = Arc::new(directory);
        *template = Arc::downgrade(&made);
        made
    })
}

/// A program of PostgreSQL, as a user that may run it.
fn program(name: &str) -> Command {
    let mut command = bound(&["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]);
    command.arg(Path::new(PROGRAMS).join(name)).env("LC_ALL", "C.UTF-8").current_dir("/").stdin(Stdio::null());
    command
}
