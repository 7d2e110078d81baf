//! What the tests of this crate share: one real PostgreSQL a test binary, in which every store has a schema of its own.

use async_trait::async_trait;
use redflag_core::{
    conformance::Harness,
    store::{Durability, Store},
};
use redflag_store_postgres::{Options, Pooling, PostgresStore};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use std::sync::{
    Arc, Mutex, PoisonError, Weak,
    atomic::{AtomicU32, Ordering},
};
use tmp_postgrust::synchronous::ProcessGuard;

/// A server that ends with the last test that holds it.
#[derive(Clone)]
pub(crate) struct Server(Arc<ProcessGuard>);

static RUNNING: Mutex<Weak<ProcessGuard>> = Mutex::new(Weak::new());
static SCHEMAS: AtomicU32 = AtomicU32::new(0);

impl Server {
    /// The server of this test binary, started if no test holds it.
    pub(crate) fn shared() -> Self {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        Self(running.upgrade().unwrap_or_else(|| {
            let server = Self::start();
            *running = Arc::downgrade(&server);
            server
        }))
    }

    fn start() -> Arc<ProcessGuard> {
        let mut server = tmp_postgrust::new_default_process().expect("a PostgreSQL server starts (Debian package: postgresql-15)");
        // A server whose log nobody reads stops when the pipe is full.
        let log = server.stderr_reader.take().expect("the log is read here only");
        std::thread::spawn(move || log.for_each(drop));
        Arc::new(server)
    }

    /// A server of one test's own, whose settings it may change.
    pub(crate) fn own() -> Self {
        Self(Self::start())
    }

    pub(crate) fn url(&self) -> String {
        self.0.connection_string()
    }

    /// Options for a schema that no other test has. The server of the tests does without `fsync`.
    pub(crate) fn options() -> Options {
        let schema = format!("fleet_{}", SCHEMAS.fetch_add(1, Ordering::Relaxed));
        Options { schema, durability: Durability::Process, ..Options::default() }
    }

    pub(crate) async fn open(&self, options: &Options) -> PostgresStore {
        PostgresStore::connect(&self.url(), options.clone()).await.expect("the store opens")
    }
}

/// A connection into the schema of a fleet.
pub(crate) async fn into_schema(server: &Server, options: &Options) -> PgConnection {
    let mut connection = connect(server).await;
    connection.execute(AssertSqlSafe(format!("SET search_path TO {}", options.schema))).await.expect("the search path is set");
    connection
}

/// A connection, as soon as there is room in the queue of those that ask for one: a socket of this machine answers `EAGAIN` while that is
/// full (connect(2)), and tests that run beside this one ask for many.
async fn connect(server: &Server) -> PgConnection {
    loop {
        match PgConnection::connect(&server.url()).await {
            Err(sqlx::Error::Io(full)) if full.kind() == std::io::ErrorKind::WouldBlock => tokio::task::yield_now().await,
            connected => return connected.expect("the server accepts connections"),
        }
    }
}

/// Stores in schemas of their own.
pub(crate) struct Schemas {
    _server: Server,
    url: String,
    pooling: Pooling,
    /// Which store has which options, by the address of the store.
    opened: Mutex<Vec<(usize, Options)>>,
}

impl Schemas {
    pub(crate) fn new() -> Self {
        let server = Server::shared();
        let url = server.url();
        Self::at(server, url, Pooling::Session)
    }

    /// Reached by `url`, which may lead through a pooler before `server`.
    pub(crate) fn at(server: Server, url: String, pooling: Pooling) -> Self {
        Self { _server: server, url, pooling, opened: Mutex::default() }
    }

    async fn open(&self, options: Options) -> Arc<dyn Store> {
        let store = PostgresStore::connect(&self.url, options.clone()).await.expect("the store opens");
        let store: Arc<dyn Store> = Arc::new(store);
        self.opened.lock().expect("no test panics holding it").push((address(&store), options));
        store
    }
}

fn address(store: &Arc<dyn Store>) -> usize {
    Arc::as_ptr(store).cast::<()>().addr()
}

#[async_trait]
impl Harness for Schemas {
    async fn fresh(&self) -> Arc<dyn Store> {
        self.open(Options { pooling: self.pooling, ..Server::options() }).await
    }

    async fn reopen(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        let options = {
            let mut opened = self.opened.lock().expect("no test panics holding it");
            // An address may have been used before: the newest store there counts.
            let place = opened.iter().rposition(|(known, _)| *known == address(&store)).expect("a store of this harness");
            opened.remove(place).1
        };
        drop(store);
        self.open(options).await
    }
}
