//! What the campaigns share: the process that writes, and the audit of what it leaves.

use async_trait::async_trait;
use redflag_core::{
    batch::{BatchRecord, RejectedItem},
    conformance::{Shape, Witness, generate::Rng, history, streams},
    ids::{AgentId, BatchId},
    store::{BatchStore, Guarantees, Mode, StoreError},
    work::{Answer, UnitOfWork},
};
use redflag_faults::{Plan, Writer, write_until_killed};
use redflag_store_sqlite::{Options, SqliteStore, Synchronous};
use rusqlite::Connection;
use std::{env, path::Path, sync::Arc, time::Duration};

/// Set in the writing process.
const FILE: &str = "REDFLAG_FAULTS_FILE";
const WEAKNESS: &str = "REDFLAG_FAULTS_WEAKNESS";

/// What is planted so that the harness can be seen to catch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weakness {
    /// Nothing: the store as it is.
    None,
    /// `synchronous` is `NORMAL`: a commit is acknowledged before it is on the disk.
    Unsynced,
    /// A commit is acknowledged before it is made.
    Early,
}

const WEAKNESSES: [(&str, Weakness); 3] = [("none", Weakness::None), ("unsynced", Weakness::Unsynced), ("early", Weakness::Early)];

/// One fleet, written by processes that end, with what was acknowledged of it.
pub(crate) struct Fleet {
    pub(crate) witness: Witness,
    test: &'static str,
    seed: u64,
    shape: Shape,
    weakness: Weakness,
}

impl Fleet {
    pub(crate) fn new(test: &'static str, seed: u64, shape: Shape, weakness: Weakness) -> Self {
        Self { witness: Witness::new(streams(history(seed, shape))), test, seed, shape, weakness }
    }

    /// A process that writes the rest to `file`, in the middle of it: so many works are acknowledged, and the next are under way.
    pub(crate) async fn writer(&self, file: &Path, rng: &mut Rng) -> Writer {
        let (name, _) = WEAKNESSES.iter().find(|(_, weakness)| *weakness == self.weakness).unwrap();
        let plan = Plan { seed: self.seed, shape: self.shape, positions: self.witness.positions() };
        let mut writer = Writer::start(self.test, &plan, &[(FILE, file.to_str().unwrap()), (WEAKNESS, name)]);
        writer.wait_for(rng.below(30));
        tokio::time::sleep(Duration::from_micros(rng.next() % 5_000)).await;
        writer
    }

    /// Kills the writer and notes what it said.
    pub(crate) async fn ended(&mut self, writer: Writer) {
        for (stream, digest) in writer.kill() {
            self.witness.acknowledged(stream, digest).await;
        }
    }

    /// Opens what is left and compares it with what was acknowledged.
    pub(crate) async fn audit(&mut self, file: &Path) {
        let store = SqliteStore::open(file, Options::default()).unwrap();
        self.witness.audit(&store).await.unwrap();
        self.witness.audit_feed(&store).await.unwrap();
        let checked = Connection::open(file).unwrap().query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0)).unwrap();
        assert_eq!(checked, "ok", "seed {}", self.seed);
    }

    /// Compares everything at the end.
    pub(crate) async fn settle(self, file: &Path) -> redflag_core::conformance::Findings {
        let store = SqliteStore::open(file, Options::default()).unwrap();
        self.witness.settle(&store).await.unwrap_or_else(|failure| panic!("seed {}: {failure}", self.seed))
    }
}

/// In the writing process, writes until it is killed; in the test itself, does nothing.
pub(crate) async fn write_if_told() {
    let Some(plan) = Plan::of_this_process() else { return };
    let (file, name) = (env::var_os(FILE).unwrap(), env::var(WEAKNESS).unwrap());
    let (_, weakness) = WEAKNESSES.iter().find(|(known, _)| *known == name).unwrap();
    let synchronous = if *weakness == Weakness::Unsynced { Synchronous::Normal } else { Synchronous::Full };
    let store = SqliteStore::open(Path::new(&file), Options { synchronous, ..Options::default() }).unwrap();
    let store: Arc<dyn BatchStore> = if *weakness == Weakness::Early { Arc::new(AcknowledgesEarly(store)) } else { Arc::new(store) };
    write_until_killed(store, &plan).await;
}

/// Answers what a rehearsal answered, and commits afterwards.
#[derive(Debug)]
struct AcknowledgesEarly(SqliteStore);

#[async_trait]
impl BatchStore for AcknowledgesEarly {
    async fn run(&self, work: &UnitOfWork, _: Mode) -> Result<Answer, StoreError> {
        let answer = self.0.run(work, Mode::Rehearse).await;
        let (store, work) = (self.0.clone(), work.clone());
        tokio::spawn(async move { store.run(&work, Mode::Commit).await });
        answer
    }

    async fn batch(&self, agent: AgentId, batch: BatchId) -> Result<Option<BatchRecord>, StoreError> {
        self.0.batch(agent, batch).await
    }

    async fn rejections(&self, agent: AgentId, batch: BatchId) -> Result<Vec<RejectedItem>, StoreError> {
        self.0.rejections(agent, batch).await
    }

    fn guarantees(&self) -> Guarantees {
        self.0.guarantees()
    }
}
