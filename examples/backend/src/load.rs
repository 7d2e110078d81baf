//! Loading: what a unit of work asked to see, inside its write transaction, so that nothing changes until it commits.

use crate::{
    documents::{all, find},
    error::Failure,
    tables::{self, AGENTS, BATCHES, CHOSEN_IDS, REPORT_NUMBERS, REPORTS, STATES},
};
use redb::{ReadableTable, WriteTransaction};
use redflag_core::{
    ids::{AgentId, EventId, ReportId},
    names::PackageKey,
    report::StoredReport,
    state::PackageState,
    work::{ChosenEventId, Loaded, Needs, StateNeeds},
};
use std::collections::HashMap;

/// Loads what `needs` names. Of an agent nobody enrolled there is nothing.
pub(crate) fn load(transaction: &WriteTransaction, needs: &Needs) -> Result<Loaded, Failure> {
    Ok(Loaded {
        removed: None,
        head: find(&transaction.open_table(AGENTS)?, tables::agent(needs.agent))?,
        states: states(transaction, needs.agent, &needs.states)?,
        batch: match needs.batch {
            Some(batch) => find(&transaction.open_table(BATCHES)?, (tables::agent(needs.agent), tables::batch(batch)))?,
            None => None,
        },
        report: match needs.report {
            Some(report) => find_report(transaction, needs.agent, report)?,
            None => None,
        },
        events: chosen_ids(transaction, needs.agent, &needs.events)?,
    })
}

fn find_report(transaction: &WriteTransaction, agent: AgentId, report: ReportId) -> Result<Option<StoredReport>, Failure> {
    let numbers = transaction.open_table(REPORT_NUMBERS)?;
    let Some(number) = numbers.get((tables::agent(agent), tables::report(report)))? else { return Ok(None) };
    find(&transaction.open_table(REPORTS)?, (tables::agent(agent), number.value()))
}

fn states(transaction: &WriteTransaction, agent: AgentId, needs: &StateNeeds) -> Result<HashMap<PackageKey, PackageState>, Failure> {
    let states = transaction.open_table(STATES)?;
    let mut found: Vec<PackageState> = Vec::new();
    match needs {
        StateNeeds::None => {}
        StateNeeds::Packages(packages) => {
            for package in packages {
                found.extend(find(&states, tables::package(agent, package))?);
            }
        }
        StateNeeds::Managers(managers) => {
            for manager in managers {
                found.extend(all(states.range(tables::packages_of_manager(agent, manager))?)?);
            }
        }
    }
    Ok(found.into_iter().map(|state| (state.package.clone(), state)).collect())
}

fn chosen_ids(transaction: &WriteTransaction, agent: AgentId, events: &[EventId]) -> Result<HashMap<EventId, ChosenEventId>, Failure> {
    let chosen_ids = transaction.open_table(CHOSEN_IDS)?;
    let mut found = HashMap::new();
    for event in events {
        if let Some(chosen) = find(&chosen_ids, (tables::agent(agent), tables::event(*event)))? {
            found.insert(*event, chosen);
        }
    }
    Ok(found)
}
