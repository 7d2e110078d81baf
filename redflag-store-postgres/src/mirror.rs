//! The mirror: which agent has a state of which package, of which kind and changed when, kept in memory (clauses Q2 and Q4).
//!
//! Every list is found in it, on any page and in any order, and every count; the database is only asked for the rows of the page,
//! by key. Tables and indexes that could answer the same would have to be written with every report.
//!
//! It is a cache of any number of processes: every unit of work leaves in `state_changes` what it changed, with the number of its
//! transaction, and a mirror knows the snapshot that it shows. A reader takes the newest mirror, begins its transaction, and adds
//! the changes that its own snapshot sees and the mirror's did not: what it then lists is exactly what its transaction sees,
//! whoever wrote it. Changes say what states became, not by how much they differ, so that adding one twice does no harm.
//!
//! Where changes are missing, because they were pruned or because the server was started anew (and may be another one, on which
//! the newest transactions never were), the mirror is filled from the states again.

mod class;
mod host;
mod lists;
mod roster;
mod states;
#[cfg(test)]
mod tests;
mod timeline;

use crate::{
    error::Failure,
    stored::{get, package_key},
    transaction::{Transaction, Transactions},
};
pub(crate) use class::Kind;
use class::kind_column;
pub(crate) use lists::{Row, Start};
use redflag_core::store::{Mode, StoreError};
use redflag_core::{
    ids::AgentId,
    names::{PackageKey, Text},
};
use sqlx::{Row as _, postgres::PgRow};
pub(crate) use states::Mirror;
use states::{Change, ChangedState, Filling};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The newest mirror of a process.
#[derive(Debug, Default)]
pub(crate) struct Mirrors {
    newest: Mutex<Option<Arc<Seen>>>,
    /// Held while one is filled, so that only one is.
    filling: tokio::sync::Mutex<()>,
}

/// A mirror with the moment that it shows.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    moment: Moment,
    pub(crate) mirror: Arc<Mirror>,
}

/// A moment of a database server.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Moment {
    /// When the server was started, in microseconds: numbers of transactions mean something as long as it runs.
    server: i64,
    /// Which transactions are visible, as PostgreSQL writes it.
    snapshot: String,
    /// The first number that no transaction had yet: grows from moment to moment.
    next_transaction: u64,
}

impl Mirrors {
    fn slot(&self) -> MutexGuard<'_, Option<Arc<Seen>>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A mirror to begin with, to be taken before the transaction begins for which it is brought up to date.
    pub(crate) async fn newest(&self, transactions: &Transactions) -> Result<Arc<Seen>, Failure> {
        if let Some(newest) = self.slot().clone() {
            return Ok(newest);
        }
        let _one_at_a_time = self.filling.lock().await;
        if let Some(newest) = self.slot().clone() {
            return Ok(newest);
        }
        let mut transaction = transactions.read().await?;
        let filled = Arc::new(Seen::filled(&mut transaction).await?);
        transaction.done().await?;
        *self.slot() = Some(Arc::clone(&filled));
        Ok(filled)
    }

    /// The states that `transaction` sees, from a mirror that is older than it.
    pub(crate) async fn seen_by(&self, transaction: &mut Transaction, older: &Seen) -> Result<Arc<Mirror>, Failure> {
        let seen = older.brought_up_to(transaction).await?;
        let mirror = Arc::clone(&seen.mirror);
        let mut newest = self.slot();
        let supersedes =
            |known: &Arc<Seen>| known.moment.server != seen.moment.server || known.moment.next_transaction <= seen.moment.next_transaction;
        if newest.as_ref().is_none_or(supersedes) {
            *newest = Some(Arc::new(seen));
        }
        Ok(mirror)
    }
}

/// Agents whose states are read at once.
const AGENTS_AT_ONCE: i64 = 32;

/// The moment that a transaction sees, in columns of `m`.
///
/// A standby does not tell which transactions are under way, so there a moment is that of the oldest of them: what came later is
/// added again and again.
macro_rules! moment {
    ($more:literal) => {
        concat!(
            "(SELECT (EXTRACT(EPOCH FROM pg_postmaster_start_time()) * 1000000)::bigint AS server,
                CASE WHEN pg_is_in_recovery() THEN concat(pg_snapshot_xmin(n.now), ':', pg_snapshot_xmin(n.now), ':') ELSE n.now::text END
                    AS snapshot",
            $more,
            " FROM (SELECT pg_current_snapshot() AS now) AS n) AS m"
        )
    };
}

const NOW: &str = concat!("SELECT m.server, m.snapshot FROM ", moment!(""));

/// What the snapshot sees that the snapshot `$1` did not, and whether some of it may have been pruned. There is always a row.
pub(crate) const CHANGES: &str = concat!(
    "SELECT m.server, m.snapshot, m.pruned, c.agent_ref,
            (SELECT a.agent_id FROM agents AS a WHERE a.agent_ref = c.agent_ref),
            (SELECT a.name FROM agents AS a WHERE a.agent_ref = c.agent_ref),
            c.changed_at, c.package_refs, c.kinds
     FROM ",
    moment!(", EXISTS (SELECT FROM pruned_state_changes AS p WHERE p.xid >= pg_snapshot_xmin($1::text::pg_snapshot)) AS pruned"),
    " LEFT JOIN state_changes AS c
         ON c.xid >= pg_snapshot_xmin($1::text::pg_snapshot) AND NOT pg_visible_in_snapshot(c.xid, $1::text::pg_snapshot)
     ORDER BY c.change_ref"
);

/// All states of agents, one row each.
macro_rules! states {
    ($which:literal) => {
        concat!(
            "SELECT s.agent_ref, array_agg(s.package_ref), array_agg(",
            kind_column!(),
            "), array_agg(s.changed_at) FROM current_package_state AS s ",
            $which
        )
    };
}

/// Of the next agents; the rows stand in the order of the primary key, so that none is kept waiting for others.
pub(crate) const STATES: &str = states!("WHERE s.agent_ref > $1 GROUP BY s.agent_ref ORDER BY s.agent_ref LIMIT $2");

pub(crate) const STATES_OF_AGENT: &str = states!("WHERE s.agent_ref = $1 GROUP BY s.agent_ref");

/// Changes of this many states are kept at least, for mirrors that are brought up to date seldom.
const PRUNE: &str = "
    SELECT pg_advisory_xact_lock(hashtextextended('redflag state changes ' || current_schema(), 0));
    WITH aged AS (
        SELECT c.change_ref, SUM(c.states) OVER newer AS states, ROW_NUMBER() OVER newer AS number
        FROM state_changes AS c
        WINDOW newer AS (ORDER BY c.change_ref DESC)
    ), old AS (
        SELECT a.change_ref FROM aged AS a WHERE a.states > 500000 OR a.number > 10000 ORDER BY a.change_ref DESC LIMIT 1
    ), gone AS (
        DELETE FROM state_changes AS c USING old AS o
        WHERE c.change_ref <= o.change_ref AND c.xid < pg_snapshot_xmin(pg_current_snapshot())
        RETURNING c.xid
    ), newest AS (
        SELECT g.xid FROM gone AS g ORDER BY g.xid DESC LIMIT 1
    ), superseded AS (
        DELETE FROM pruned_state_changes AS p USING newest AS n WHERE p.xid < n.xid
    )
    INSERT INTO pruned_state_changes (xid) SELECT n.xid FROM newest AS n ON CONFLICT DO NOTHING";

/// Deletes changes that are so old that filling a mirror anew is faster than adding them.
///
/// Those of transactions that some transaction under way cannot see yet stay: no snapshot taken from now on can miss what goes.
pub(crate) async fn prune(transactions: &Transactions) -> Result<(), Failure> {
    transactions.message(PRUNE).await.map(|_| ())
}

/// Deletes changes of transactions that are yet to come: they came with a dump, from another server with numbers of its own.
pub(crate) async fn forget_foreign(transactions: &Transactions) -> Result<(), StoreError> {
    let mut transaction = transactions.write().await?;
    let foreign = "SELECT 1 FROM state_changes WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())
                   UNION ALL SELECT 1 FROM pruned_state_changes WHERE xid >= pg_snapshot_xmax(pg_current_snapshot()) LIMIT 1";
    // A server that only reads is only asked.
    if transaction.row(sqlx::query(foreign)).await?.is_some() {
        transaction.execute(sqlx::query("DELETE FROM state_changes WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())")).await?;
        transaction.execute(sqlx::query("DELETE FROM pruned_state_changes WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())")).await?;
    }
    transaction.end(Mode::Commit).await
}

impl Seen {
    /// Every state that `transaction` sees.
    async fn filled(transaction: &mut Transaction) -> Result<Self, Failure> {
        let now = transaction.row(sqlx::query(NOW)).await?.ok_or_else(|| Failure::corrupt("a server that knows no time"))?;
        let moment = Moment::read(&now)?;
        let packages = transaction.rows(sqlx::query("SELECT package_ref, manager, name, arch FROM packages")).await?;
        let packages = packages.iter().map(package).collect::<Result<_, _>>()?;
        let agents = transaction.rows(sqlx::query("SELECT agent_ref, agent_id, name FROM agents")).await?;
        let agents = agents.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?, get(row, 2)?))).collect::<Result<_, Failure>>()?;
        let mut filling = Filling::new(packages, agents);
        let mut after = 0;
        loop {
            let found = transaction.rows(sqlx::query(STATES).bind(after).bind(AGENTS_AT_ONCE)).await?;
            for row in &found {
                after = get(row, 0)?;
                filling.agent(after, &states(row)?)?;
            }
            if found.is_empty() {
                return Ok(Self { moment, mirror: Arc::new(filling.finish()) });
            }
        }
    }

    /// What `transaction` sees.
    async fn brought_up_to(&self, transaction: &mut Transaction) -> Result<Self, Failure> {
        let rows = transaction.rows(sqlx::query(CHANGES).bind(&self.moment.snapshot)).await?;
        let first = rows.first().ok_or_else(|| Failure::corrupt("a server that knows no time"))?;
        let (moment, pruned): (_, bool) = (Moment::read(first)?, get(first, 2)?);
        if moment.server != self.moment.server || pruned {
            return Self::filled(transaction).await;
        }
        let mut changes = Vec::new();
        for row in &rows {
            if let Some(agent_ref) = get(row, 3)? {
                changes.push(change(transaction, row, agent_ref).await?);
            }
        }
        if changes.is_empty() {
            return Ok(Self { moment, mirror: Arc::clone(&self.mirror) });
        }
        let unknown = self.mirror.unknown_packages(&changes);
        let packages = if unknown.is_empty() { Vec::new() } else { packages(transaction, unknown).await? };
        Ok(Self { moment, mirror: Arc::new(self.mirror.after(packages, &changes)?) })
    }
}

impl Moment {
    /// The first two columns of a row.
    fn read(row: &PgRow) -> Result<Self, Failure> {
        let snapshot: String = get(row, 1)?;
        let next_transaction = snapshot.split(':').nth(1).and_then(|number| number.parse().ok());
        let next_transaction = next_transaction.ok_or_else(|| Failure::corrupt(format!("snapshot {snapshot:?}")))?;
        Ok(Self { server: row.try_get(0)?, snapshot, next_transaction })
    }
}

/// A row of [`CHANGES`].
async fn change(transaction: &mut Transaction, row: &PgRow, agent_ref: i32) -> Result<Change, Failure> {
    let Some(id) = get::<Option<AgentId>>(row, 4)? else {
        return Ok(Change { agent_ref, agent: None, whole: true, states: Vec::new() });
    };
    let agent = Some((id, get::<Text>(row, 5)?));
    match row.try_get::<Option<i64>, _>(6)? {
        Some(at) => Ok(Change { agent_ref, agent, whole: false, states: changed(row, at)? }),
        None => {
            let all = transaction.row(sqlx::query(STATES_OF_AGENT).bind(agent_ref)).await?;
            Ok(Change { agent_ref, agent, whole: true, states: all.map_or(Ok(Vec::new()), |row| states(&row))? })
        }
    }
}

/// The states named in a row of [`CHANGES`].
fn changed(row: &PgRow, at: i64) -> Result<Vec<ChangedState>, Failure> {
    let (packages, kinds): (Vec<i32>, Vec<i16>) = (row.try_get(7)?, row.try_get(8)?);
    let state = |(package_ref, kind)| ChangedState { package_ref, kind: Kind(kind), at };
    Ok(packages.into_iter().zip(kinds).map(state).collect())
}

/// The states in a row of [`STATES`].
fn states(row: &PgRow) -> Result<Vec<ChangedState>, Failure> {
    let (packages, kinds, times): (Vec<i32>, Vec<i16>, Vec<i64>) = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
    let state = |((package_ref, kind), at)| ChangedState { package_ref, kind: Kind(kind), at };
    Ok(packages.into_iter().zip(kinds).zip(times).map(state).collect())
}

async fn packages(transaction: &mut Transaction, refs: Vec<i32>) -> Result<Vec<(i32, PackageKey)>, Failure> {
    let select = sqlx::query("SELECT package_ref, manager, name, arch FROM packages WHERE package_ref = ANY($1)").bind(refs);
    transaction.rows(select).await?.iter().map(package).collect()
}

fn package(row: &PgRow) -> Result<(i32, PackageKey), Failure> {
    Ok((get(row, 0)?, package_key(row, 1)?))
}
