//! What work uses up: time, processor time of both sides, and write-ahead log.

use crate::cluster::{Cluster, number, on_processor};
use sqlx::PgConnection;
use std::time::{Duration, Instant};

/// What was used up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) wall: Duration,
    /// Processor time of every thread of this process.
    pub(crate) client: Duration,
    /// Processor time of every process of the server.
    pub(crate) server: Duration,
    /// Bytes of write-ahead log.
    pub(crate) wal: u64,
}

impl Cost {
    /// Processor time of both sides.
    pub(crate) fn cpu(&self) -> Duration {
        self.client + self.server
    }

    /// The share of one of `times`.
    pub(crate) fn each(self, times: u32) -> Self {
        Self { wall: self.wall / times, client: self.client / times, server: self.server / times, wal: self.wal / u64::from(times) }
    }
}

/// Measures work on one server.
pub(crate) struct Meter<'a> {
    cluster: &'a Cluster,
    connection: PgConnection,
}

impl<'a> Meter<'a> {
    pub(crate) async fn new(cluster: &'a Cluster) -> Self {
        Self { cluster, connection: cluster.connect().await }
    }

    /// A connection for everything that is not measured.
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Does `work`; what reading the meters takes is not counted.
    pub(crate) async fn measure<T>(&mut self, work: impl AsyncFnOnce() -> T) -> (Cost, T) {
        let wal_before = self.wal().await;
        let server_before = self.cluster.cpu();
        let client_before = client();
        let before = Instant::now();
        let answer = work().await;
        let wall = before.elapsed();
        let client = client().saturating_sub(client_before);
        let server = self.cluster.cpu().saturating_sub(server_before);
        let wal = self.wal().await - wal_before;
        (Cost { wall, client, server, wal }, answer)
    }

    async fn wal(&mut self) -> u64 {
        let bytes = number(&mut self.connection, "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint").await;
        bytes.try_into().expect("a position")
    }
}

/// Processor time of every thread of this process so far.
pub(crate) fn client() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    tasks.filter_map(Result::ok).map(|task| on_processor(&task.path().join("schedstat").to_string_lossy())).sum()
}

/// The median of each part.
pub(crate) fn median(costs: &[Cost]) -> Cost {
    Cost {
        wall: middle(costs.iter().map(|cost| cost.wall)),
        client: middle(costs.iter().map(|cost| cost.client)),
        server: middle(costs.iter().map(|cost| cost.server)),
        wal: middle(costs.iter().map(|cost| cost.wal)),
    }
}

/// The value in the middle.
fn middle<T: Copy + Ord>(values: impl Iterator<Item = T>) -> T {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values[values.len() / 2]
}

pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
