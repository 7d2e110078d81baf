//! Through a real PgBouncer that hands out server processes by transaction, fewer of them than there are connections.

use crate::server::{Schemas, Server};
use redflag_core::conformance::assert_check;
use redflag_store_postgres::Pooling;
use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};
use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// Server processes it shares out.
const SERVER_PROCESSES: u32 = 3;

/// A PgBouncer that ends with the test.
pub(crate) struct Pooler {
    process: Child,
    directory: TempDir,
    options: PgConnectOptions,
}

impl Pooler {
    /// Starts one before `server` and waits until it answers.
    pub(crate) async fn before(server: &Server) -> Self {
        let directory = TempDir::with_prefix("redflag-pooler-").expect("a temporary directory");
        // It runs as another user than root, who must be able to make its socket here.
        fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).expect("the directory is opened");
        let path = directory.path().display();
        let options: PgConnectOptions = server.url().parse().expect("a URL");
        let socket = options.get_socket().expect("a socket's directory").display();
        let settings = format!(
            "[databases]\n* = host={socket} port={} user={}\n\
             [pgbouncer]\nlisten_addr =\nunix_socket_dir = {path}\nauth_type = any\nuser = postgres\n\
             pool_mode = transaction\ndefault_pool_size = {SERVER_PROCESSES}\nignore_startup_parameters = extra_float_digits\n",
            options.get_port(),
            options.get_username()
        );
        let file = directory.path().join("pgbouncer.ini");
        fs::write(&file, settings).expect("the settings are written");
        let process = Command::new("pgbouncer").arg("--quiet").arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let process = process.expect("PgBouncer starts (Debian package: pgbouncer)");
        let mut pooler = Self { process, options, directory };
        let url = pooler.url();
        while PgConnection::connect(&url).await.is_err() {
            let ended = pooler.process.try_wait().expect("the process can be asked");
            assert_eq!(ended, None, "PgBouncer ended; run it by hand: pgbouncer {}", file.display());
            tokio::task::yield_now().await;
        }
        pooler
    }

    /// The database of the server, through the pooler.
    pub(crate) fn url(&self) -> String {
        let (path, database) = (self.directory.path().display(), self.options.get_database().expect("a database"));
        format!("postgres:///?host={path}&port=6432&dbname={database}&user={}", self.options.get_username())
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // It may have ended by itself, which the test has noticed.
        let _ended = self.process.kill();
        let _ended = self.process.wait();
    }
}

/// What it changes is how statements are sent and where they arrive, the same for all: a few checks that between them use every
/// port show it, migrations included, and some need more connections than there are server processes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_needs_to_be_kept_on_a_connection() {
    let server = Server::shared();
    let pooler = Pooler::before(&server).await;
    let harness = Schemas::at(server, pooler.url(), Pooling::Transaction);
    for check in [
        "every_field_of_an_offer_reads_back_exactly",
        "every_event_sees_the_ones_before_it",
        "a_report_is_stored_whole_and_visible_at_once",
        "installed_versions_are_kept_as_history",
        "pages_by_cursor_survive_writes",
        "one_of_twenty_racing_writers_wins",
        "one_batch_from_eight_connections_has_one_effect",
        "a_dropped_report_is_stored_whole_or_not_at_all",
    ] {
        assert_check(&harness, check).await;
    }
}

/// The pooler does what is said of it: statements prepared on one connection meet those of another.
#[tokio::test]
async fn statements_prepared_once_a_connection_do_not_pass_it() {
    let server = Server::shared();
    let pooler = Pooler::before(&server).await;
    let mut refused = 0;
    for _ in 0..=SERVER_PROCESSES {
        let mut connection = PgConnection::connect(&pooler.url()).await.expect("the pooler accepts connections");
        refused += u32::from(sqlx::query("SELECT 1").execute(&mut connection).await.is_err());
    }
    assert!(refused > 0, "every connection has a server process of its own");
}
