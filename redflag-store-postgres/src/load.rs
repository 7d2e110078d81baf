//! Loading: what a unit of work must see, read inside its write transaction, behind the lock on its agent.

use crate::{
    catalog::{Catalog, Named, StateRefs},
    commands,
    error::Failure,
    removal,
    rows::{self, HEAD_COLUMNS, REPORT_COLUMNS, batch_columns, head_columns, head_tables, report_columns},
    stored::{count, get, read},
    transaction::{Statement, Transaction},
};
use hashbrown::HashMap as FastMap;
use redflag_core::{
    batch::BatchRecord,
    ids::{AgentId, BatchId, EventId, ReportId},
    names::PackageKey,
    offer::{Availability, Offer},
    state::{self, PackageState},
    work::{ChosenEventId, Loaded, Needs, StateNeeds},
};
use sqlx::{Row as _, postgres::PgRow};
use std::collections::HashMap;
use uuid::Uuid;

/// What [`states`] reads, one array a column, of states `AS s`.
macro_rules! select_states {
    ($from:literal) => {
        concat!(
            "SELECT array_agg(s.package_ref), array_agg(s.candidate_ref), array_agg(s.installed_ref), array_agg(s.reason_ref),
                    array_agg(s.availability), array_agg(s.revision), array_agg(s.last_sequence), array_agg(s.discovered_at),
                    array_agg(s.changed_at), array_agg(s.detail) ",
            $from
        )
    };
}

const OF_AGENT: &str = select_states!("FROM current_package_state AS s WHERE s.agent_ref = $1");

const OF_PACKAGES: &str = select_states!("FROM current_package_state AS s WHERE s.agent_ref = $1 AND s.package_ref = ANY($2)");

/// Those of agents and packages by ref, in the order of these.
pub(crate) const BY_KEY: &str = select_states!(
    "FROM (
         SELECT s.*
         FROM UNNEST($1::integer[], $2::integer[]) WITH ORDINALITY AS k (agent_ref, package_ref, place)
         JOIN current_package_state AS s ON s.agent_ref = k.agent_ref AND s.package_ref = k.package_ref
         ORDER BY k.place
     ) AS s"
);

/// What a unit of work sees, and what writing its changes needs beside them.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) loaded: Loaded,
    /// The agent's ref, also when it was removed.
    pub(crate) agent_ref: Option<i32>,
    /// Which version of the agent's row was found: another one once anything of the agent has changed.
    version: Option<String>,
    /// By the ref of its package: the newest event of each state loaded.
    pub(crate) last_sequences: FastMap<i32, i32>,
}

impl Found {
    /// Whether the agent is still as it was found.
    pub(crate) async fn still_holds(&self, transaction: &mut Transaction, agent: AgentId) -> Result<bool, Failure> {
        let select = sqlx::query("SELECT xmin::text FROM agents WHERE agent_id = $1").bind(agent.as_uuid());
        match (transaction.row(select).await?, &self.version) {
            (Some(row), Some(version)) => Ok(get::<String>(&row, 0)? == *version),
            (None, None) => Ok(removal::find(transaction, agent).await?.map(|(_, removed)| removed) == self.loaded.removed),
            _ => Ok(false),
        }
    }
}

/// The column after those of the head and of the report.
const AGENT_REF: usize = HEAD_COLUMNS + REPORT_COLUMNS;

/// Loads what `needs` names.
pub(crate) async fn load(transaction: &mut Transaction, catalog: &Catalog, needs: &Needs) -> Result<Found, Failure> {
    let select = concat!(
        "SELECT ",
        head_columns!(),
        ", ",
        report_columns!(),
        ", a.agent_ref, a.xmin::text FROM",
        head_tables!(),
        "LEFT JOIN reports AS r ON r.agent_ref = a.agent_ref AND r.report_id = $2
         WHERE a.agent_id = $1"
    );
    let select = sqlx::query(select).bind(needs.agent.as_uuid()).bind(needs.report.map(ReportId::as_uuid));
    let Some(row) = transaction.row(select).await? else {
        let (agent_ref, removed) = removal::find(transaction, needs.agent).await?.unzip();
        return Ok(Found { loaded: Loaded { removed, ..Loaded::default() }, agent_ref, ..Found::default() });
    };
    let agent_ref: i32 = get(&row, AGENT_REF)?;
    let report = match get::<Option<ReportId>>(&row, HEAD_COLUMNS)? {
        Some(_) => Some(rows::report(&row, HEAD_COLUMNS)?),
        None => None,
    };
    let batch = match needs.batch {
        Some(batch) => stored_batch(transaction, agent_ref, needs.agent, batch).await?,
        None => None,
    };
    let commands = commands::load(transaction, agent_ref, &needs.commands).await?;
    let about = needs.states_about(&commands);
    let (stored, wanted) = match &*about {
        StateNeeds::None => (States::default(), None),
        StateNeeds::Packages(packages) => (states_of_packages(transaction, catalog, agent_ref, packages).await?, None),
        // Which managers the packages have is known here already: to leave some out in the database would cost more.
        StateNeeds::Managers(managers) => (states(transaction, sqlx::query(OF_AGENT).bind(agent_ref)).await?, Some(managers)),
    };
    let last_sequences = stored.refs.iter().zip(&stored.last_sequences).map(|(refs, last)| (refs.package, *last)).collect();
    let named = catalog.named(transaction, &stored.refs).await?;
    let states = by_package(named, &stored, |package| wanted.is_none_or(|managers| managers.contains(&package.manager)))?;
    let events = chosen_ids(transaction, agent_ref, &needs.events).await?;
    let loaded = Loaded { head: Some(rows::head(&row, 0)?), removed: None, states, batch, report, events, commands };
    Ok(Found { loaded, agent_ref: Some(agent_ref), version: Some(get(&row, AGENT_REF + 1)?), last_sequences })
}

async fn stored_batch(
    transaction: &mut Transaction,
    agent_ref: i32,
    agent: AgentId,
    batch: BatchId,
) -> Result<Option<BatchRecord>, Failure> {
    let select = sqlx::query(concat!("SELECT ", batch_columns!(), " FROM update_batches AS b WHERE b.agent_ref = $1 AND b.batch_id = $2"))
        .bind(agent_ref)
        .bind(batch.as_uuid());
    transaction.row(select).await?.map(|row| rows::batch(&row, 0, agent)).transpose()
}

/// States as they are stored, one array a column.
#[derive(Default)]
struct States {
    refs: Vec<StateRefs>,
    availability: Vec<i16>,
    revisions: Vec<i32>,
    last_sequences: Vec<i32>,
    discovered_at: Vec<i64>,
    changed_at: Vec<i64>,
    details: Vec<Option<String>>,
}

async fn states_of_packages(
    transaction: &mut Transaction,
    catalog: &Catalog,
    agent_ref: i32,
    packages: &[PackageKey],
) -> Result<States, Failure> {
    let refs = catalog.package_refs(transaction, packages).await?;
    states(transaction, sqlx::query(OF_PACKAGES).bind(agent_ref).bind(refs)).await
}

async fn states(transaction: &mut Transaction, select: Statement<'_>) -> Result<States, Failure> {
    let Some(row) = transaction.row(select).await? else { return Ok(States::default()) };
    // Of no rows there are no arrays.
    let Some(packages) = row.try_get::<Option<Vec<i32>>, _>(0)? else { return Ok(States::default()) };
    let candidates: Vec<i32> = row.try_get(1)?;
    let (installed, reasons): (Vec<Option<i32>>, Vec<Option<i32>>) = (row.try_get(2)?, row.try_get(3)?);
    let refs = packages.into_iter().zip(candidates).zip(installed.into_iter().zip(reasons));
    Ok(States {
        refs: refs.map(|((package, candidate), (installed, reason))| StateRefs { package, candidate, installed, reason }).collect(),
        availability: row.try_get(4)?,
        revisions: row.try_get(5)?,
        last_sequences: row.try_get(6)?,
        discovered_at: row.try_get(7)?,
        changed_at: row.try_get(8)?,
        details: row.try_get(9)?,
    })
}

/// The states of these agents and packages by ref, in the order of these; those that are not there are left out.
pub(crate) async fn states_by_key(
    transaction: &mut Transaction,
    catalog: &Catalog,
    agents: Vec<i32>,
    packages: Vec<i32>,
) -> Result<Vec<PackageState>, Failure> {
    let stored = states(transaction, sqlx::query(BY_KEY).bind(agents).bind(packages)).await?;
    let named = catalog.named(transaction, &stored.refs).await?;
    named.into_iter().enumerate().map(|(place, named)| stored.state(place, named)).collect()
}

/// The states whose package is `wanted`.
fn by_package(named: Vec<Named>, stored: &States, wanted: impl Fn(&PackageKey) -> bool) -> Result<state::States, Failure> {
    let wanted = named.into_iter().enumerate().filter(|(_, named)| wanted(&named.package));
    wanted.map(|(place, named)| stored.state(place, named)).collect()
}

impl States {
    /// The state at a place, whose refs stand for these.
    fn state(&self, place: usize, Named { package, candidate, installed, reason }: Named) -> Result<PackageState, Failure> {
        let (standing, package_ignore) = PackageState::read_detail_json(self.details[place].as_deref())
            .map_err(|error| Failure::corrupt(format!("the detail of the state of {package}: {error}")))?;
        Ok(PackageState {
            package,
            revision: read::<u32>(self.revisions[place])?.into(),
            discovered_at: read(self.discovered_at[place])?,
            changed_at: read(self.changed_at[place])?,
            standing,
            package_ignore,
            offer: Offer { installed, availability: Availability { kind: read(self.availability[place])?, reason }, candidate },
        })
    }
}

async fn chosen_ids(transaction: &mut Transaction, agent_ref: i32, events: &[EventId]) -> Result<HashMap<EventId, ChosenEventId>, Failure> {
    if events.is_empty() {
        return Ok(HashMap::new());
    }
    let select = sqlx::query(
        "SELECT k.event_id, k.sequence, k.digest, b.batch_id, k.batch_index
         FROM chosen_event_ids AS k
         JOIN update_batches AS b ON b.agent_ref = k.agent_ref AND b.number = k.batch_number
         WHERE k.agent_ref = $1 AND k.event_id = ANY($2)",
    )
    .bind(agent_ref)
    .bind(events.iter().map(|event| event.as_uuid()).collect::<Vec<Uuid>>());
    let known = |row: PgRow| {
        let (event, index) = (get(&row, 0)?, get::<u16>(&row, 4)?.into());
        Ok((event, ChosenEventId { event, sequence: count(&row, 1)?, digest: get(&row, 2)?, batch: get(&row, 3)?, index }))
    };
    transaction.rows(select).await?.into_iter().map(known).collect()
}
