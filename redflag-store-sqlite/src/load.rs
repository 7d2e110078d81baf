//! Loading: what a unit of work must see, read inside its write transaction.

use crate::{
    catalog::{Catalog, OfferRefs, Package},
    commands,
    error::Failure,
    removed,
    rows::{self, report_columns},
    sql,
    stored::get,
};
use redflag_core::{
    ids::{EventId, ReportId},
    report::StoredReport,
    state::{PackageState, States},
    work::{ChosenEventId, Loaded, Needs, StateNeeds},
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::HashMap;

/// Loads what `needs` names, with the agent's ref when it is enrolled or was removed.
pub(crate) fn load(connection: &Connection, catalog: &mut Catalog, needs: &Needs) -> Result<(Option<i64>, Loaded), Failure> {
    let Some((agent_ref, head)) = rows::head(connection, needs.agent)? else {
        let (agent_ref, removed) = removed::find(connection, needs.agent)?.unzip();
        return Ok((agent_ref, Loaded { removed, ..Loaded::default() }));
    };
    let mut reader = Reader { connection, catalog, agent_ref };
    let batch = needs.batch.map(|batch| rows::find_batch(connection, agent_ref, needs.agent, batch)).transpose()?.flatten();
    let report = needs.report.map(|report| reader.report(report)).transpose()?.flatten();
    let commands = commands::load(connection, agent_ref, &needs.commands)?;
    let states = reader.states(&needs.states_about(&commands))?;
    let events = reader.chosen_ids(&needs.events)?;
    Ok((Some(agent_ref), Loaded { head: Some(head), removed: None, states, batch, report, events, commands }))
}

struct Reader<'a> {
    connection: &'a Connection,
    catalog: &'a mut Catalog,
    agent_ref: i64,
}

impl Reader<'_> {
    fn report(&self, report: ReportId) -> Result<Option<StoredReport>, Failure> {
        let mut select = self.connection.prepare_cached(concat!(
            "SELECT ",
            report_columns!(),
            " FROM reports AS r WHERE r.agent_ref = ?1 AND r.report_id = ?2"
        ))?;
        select.query_row(params![self.agent_ref, report.as_uuid().as_bytes()], |row| Ok(rows::report(row))).optional()?.transpose()
    }

    fn states(&mut self, needs: &StateNeeds) -> Result<States, Failure> {
        let mut states = States::default();
        match needs {
            StateNeeds::None => {}
            StateNeeds::Packages(packages) => {
                let mut select = self.connection.prepare_cached(STATE)?;
                for key in packages {
                    let Some(package) = self.catalog.find(self.connection, key)? else { continue };
                    let mut found = select.query([sql::key(self.agent_ref, self.catalog.reference(package))?])?;
                    if let Some(row) = found.next()? {
                        states.insert(self.state(row, package)?);
                    }
                }
            }
            StateNeeds::Managers(managers) => {
                let mut select = self.connection.prepare_cached(STATES)?;
                let mut found = select.query(sql::keys(self.agent_ref)?)?;
                while let Some(row) = found.next()? {
                    let package = self.catalog.package_of(self.connection, get(row, 0)?)?;
                    if managers.contains(&self.catalog.key(package).manager) {
                        states.insert(self.state(row, package)?);
                    }
                }
            }
        }
        Ok(states)
    }

    fn state(&mut self, row: &Row<'_>, package: Package) -> Result<PackageState, Failure> {
        let refs = OfferRefs { candidate: get(row, 1)?, installed: get(row, 2)?, availability: get(row, 3)?, reason: get(row, 4)? };
        let detail = row.get_ref(8)?.as_str_or_null().map_err(rusqlite::Error::from)?;
        let (standing, package_ignore) = PackageState::read_detail_json(detail)
            .map_err(|error| Failure::corrupt(format!("the detail of the state of {}: {error}", self.catalog.key(package))))?;
        Ok(PackageState {
            offer: self.catalog.offer(self.connection, package, refs)?,
            package: self.catalog.key(package).clone(),
            standing,
            package_ignore,
            revision: get(row, 5)?,
            discovered_at: get(row, 6)?,
            changed_at: get(row, 7)?,
        })
    }

    fn chosen_ids(&self, events: &[EventId]) -> Result<HashMap<EventId, ChosenEventId>, Failure> {
        let mut select = self.connection.prepare_cached(
            "SELECT k.sequence, k.digest, b.batch_id, e.batch_index
             FROM chosen_event_ids AS k
             JOIN update_events AS e ON e.event_key = ?3 + k.sequence
             JOIN update_batches AS b ON b.agent_ref = e.agent_ref AND b.number = e.batch_number
             WHERE k.agent_ref = ?1 AND k.event_id = ?2",
        )?;
        let mut chosen = HashMap::new();
        for event in events {
            let mut found = select.query(params![self.agent_ref, event.as_uuid().as_bytes(), sql::key(self.agent_ref, 0)?])?;
            if let Some(row) = found.next()? {
                let known =
                    ChosenEventId { event: *event, sequence: get(row, 0)?, digest: get(row, 1)?, batch: get(row, 2)?, index: get(row, 3)? };
                chosen.insert(*event, known);
            }
        }
        Ok(chosen)
    }
}

macro_rules! select_states {
    ($rest:literal) => {
        concat!(
            "SELECT package_ref, candidate_ref, installed_ref, availability, reason_ref, revision, discovered_at, changed_at, detail
             FROM current_package_state WHERE ",
            $rest
        )
    };
}

pub(crate) const STATE: &str = select_states!("state_key = ?1");
pub(crate) const STATES: &str = select_states!("state_key BETWEEN ?1 AND ?2 ORDER BY state_key");
