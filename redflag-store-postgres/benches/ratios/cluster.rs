//! A PostgreSQL server of the benchmark's own, as durable as one in service, and what it uses up.

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};
use std::{
    fs::{self, File},
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};
use tempfile::TempDir;

/// Where Debian's package `postgresql-15` keeps the server's programs.
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";

/// What differs from the settings a new server has. Neither durability nor the planner is touched; autovacuum would turn up
/// somewhere in the middle of a round.
pub(crate) const SETTINGS: [(&str, &str); 8] = [
    ("fsync", "on"),
    ("full_page_writes", "on"),
    ("synchronous_commit", "on"),
    ("shared_buffers", "2GB"),
    ("wal_buffers", "64MB"),
    ("max_wal_size", "8GB"),
    ("checkpoint_timeout", "30min"),
    ("autovacuum", "off"),
];

/// A server that ends, and whose files go, with the benchmark.
pub(crate) struct Cluster {
    directory: TempDir,
    user: Option<(u32, u32)>,
    postmaster: u32,
}

impl Cluster {
    /// Starts a server in a directory of its own under `REDFLAG_BENCH_DIRECTORY`, else that of temporary files.
    pub(crate) fn start() -> Self {
        let parent = std::env::var_os("REDFLAG_BENCH_DIRECTORY").map_or_else(std::env::temp_dir, PathBuf::from);
        let directory = TempDir::with_prefix_in("redflag-ratios-", parent).expect("a temporary directory");
        let user = unprivileged_user();
        if let Some((user, group)) = user {
            chown(directory.path(), Some(user), Some(group)).expect("the directory is given away");
        }
        let mut cluster = Self { directory, user, postmaster: 0 };
        cluster.run("initdb", &["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]);
        let settings = SETTINGS.iter().map(|(name, value)| format!("{name} = {value}\n")).collect::<String>();
        let private = format!("listen_addresses = ''\nunix_socket_directories = '{}'\n", cluster.path().display());
        fs::write(cluster.data().join("postgresql.auto.conf"), settings + &private).expect("the settings are written");
        cluster.run("pg_ctl", &["start", "--wait", "--silent"]);
        let pid = fs::read_to_string(cluster.data().join("postmaster.pid")).expect("the server runs");
        cluster.postmaster = pid.lines().next().and_then(|line| line.parse().ok()).expect("a process id");
        cluster
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(Path::new(PROGRAMS).join(program));
        command.arg("-D").arg(self.data()).current_dir(self.path());
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        // What the server prints must not hold the pipe of this process open.
        let log = self.path().join("log");
        let output = File::create(&log).expect("a log");
        let errors = output.try_clone().expect("a log");
        let status = self.command(program).args(arguments).stdout(output).stderr(errors).status();
        let status = status.unwrap_or_else(|error| panic!("{program} does not start (Debian package: postgresql-15): {error}"));
        assert!(status.success(), "{program}: {status}\n{}", fs::read_to_string(&log).unwrap_or_default());
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@localhost/postgres?host={}", self.path().display())
    }

    pub(crate) async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url()).await.expect("the server accepts connections")
    }

    /// Processor time of every process of the server so far, from Linux's accounting in nanoseconds.
    pub(crate) fn cpu(&self) -> Duration {
        self.processes().map(|process| on_processor(&format!("/proc/{process}/schedstat"))).sum()
    }

    /// Every process of the server.
    pub(crate) fn processes(&self) -> impl Iterator<Item = u32> {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.postmaster)).expect("Linux");
        let children: Vec<u32> = children.split_whitespace().filter_map(|child| child.parse().ok()).collect();
        children.into_iter().chain([self.postmaster])
    }

    /// The file system that holds the data, with the disk under it.
    pub(crate) fn file_system(&self) -> String {
        let Output { stdout, .. } =
            Command::new("df").args(["--output=fstype,source"]).arg(self.path()).output().expect("df is part of every system");
        let text = String::from_utf8_lossy(&stdout).into_owned();
        text.lines().nth(1).unwrap_or("unknown").split_whitespace().collect::<Vec<_>>().join(" on ")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // A failure leaves a message and the directory's removal; there is nobody left to tell.
        let _stopped = self.command("pg_ctl").args(["stop", "--mode=immediate", "--silent"]).status();
    }
}

/// PostgreSQL refuses to run as root; Debian's package brings a user for it.
fn unprivileged_user() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| -> u32 {
        let output = Command::new("id").args(arguments).output().expect("id is part of every system");
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        text.parse().unwrap_or_else(|_| panic!("id {arguments:?}: {text:?}"))
    };
    (id(&["-u"]) == 0).then(|| (id(&["-u", "postgres"]), id(&["-g", "postgres"])))
}

/// Time a process or thread has run, from its `schedstat`; none once it has ended.
pub(crate) fn on_processor(path: &str) -> Duration {
    let line = fs::read_to_string(path).unwrap_or_default();
    Duration::from_nanos(line.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}

/// The only number that a statement of ours answers.
pub(crate) async fn number(connection: &mut PgConnection, sql: &str) -> i64 {
    let row = connection.fetch_one(AssertSqlSafe(sql)).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    row.get(0)
}

/// Runs a script of ours.
pub(crate) async fn script(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}
