//! Loading: what a unit of work asked to see, inside its write transaction, so that nothing changes until it commits.

use crate::{
    commands,
    documents::{all, find, find_by_id},
    error::Failure,
    tables::{self, AGENTS, BATCH_NUMBERS, BATCHES, CHOSEN_IDS, REMOVED, REPORT_NUMBERS, REPORTS, STATES},
};
use redb::{ReadableTable as _, WriteTransaction};
use redflag_core::{
    ids::{AgentId, EventId},
    state::States,
    work::{ChosenEventId, Loaded, Needs, StateNeeds},
};
use std::collections::HashMap;

/// Loads what `needs` names. Of an agent nobody enrolled there is nothing, and of one that was removed, only that.
pub(crate) fn load(transaction: &WriteTransaction, needs: &Needs) -> Result<Loaded, Failure> {
    let agent = tables::agent(needs.agent);
    let (batches, batch_numbers) = (transaction.open_table(BATCHES)?, transaction.open_table(BATCH_NUMBERS)?);
    let (reports, report_numbers) = (transaction.open_table(REPORTS)?, transaction.open_table(REPORT_NUMBERS)?);
    let commands = commands::load(transaction, needs.agent, &needs.commands)?;
    Ok(Loaded {
        head: find(&transaction.open_table(AGENTS)?, agent)?,
        removed: find(&transaction.open_table(REMOVED)?, agent)?,
        states: states(transaction, needs.agent, &needs.states_about(&commands))?,
        batch: match needs.batch {
            Some(batch) => find_by_id(&batch_numbers, &batches, (agent, tables::batch(batch)))?,
            None => None,
        },
        report: match needs.report {
            Some(report) => find_by_id(&report_numbers, &reports, (agent, tables::report(report)))?,
            None => None,
        },
        events: chosen_ids(transaction, needs.agent, &needs.events)?,
        commands,
    })
}

fn states(transaction: &WriteTransaction, agent: AgentId, needs: &StateNeeds) -> Result<States, Failure> {
    let states = transaction.open_table(STATES)?;
    let mut found = States::default();
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
    Ok(found)
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
