//! Pages of packages of one agent; those of the whole fleet come from the tally.

use crate::{
    error::Failure,
    lists,
    log::all,
    sql::Statement,
    stored::{get, package_key},
};
use redflag_core::query::{PackagePage, PackageQuery, PackageRow, UpdateFilter};
use rusqlite::{Connection, Row};

/// A page of the packages of the agent that `query` names.
pub(crate) fn page_of_agent(connection: &Connection, query: &PackageQuery) -> Result<PackagePage, Failure> {
    let statement = states_statement(&query.filter);
    Ok(query.cut(all(connection, statement.sql(), statement.parameters(), row)?))
}

/// The states of one agent, one of each package.
pub(crate) fn states_statement(filter: &UpdateFilter) -> Statement {
    let mut statement = Statement::new(
        "SELECT p.manager, p.name, p.arch, s.severity, s.security
         FROM agents AS a
         CROSS JOIN current_package_state AS s ON s.agent_ref = a.agent_ref
         CROSS JOIN packages AS p ON p.package_ref = s.package_ref
         WHERE TRUE",
    );
    lists::narrow(&mut statement, filter);
    statement
}

fn row(row: &Row<'_>) -> Result<PackageRow, Failure> {
    let security: bool = get(row, 4)?;
    Ok(PackageRow { package: package_key(row, 0)?, hosts: 1, severity: get(row, 3)?, security: u64::from(security) })
}
