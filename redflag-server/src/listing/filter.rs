//! Which updates: the parameters that the list of updates, the list of packages and the counts share.

use super::{
    Listing as _,
    parameters::{Parameters, Written},
};
use crate::problem::Problem;
use axum::http::Uri;
use redflag_core::query::{PageSize, PageStart, Search, Sort, StatusFilter, UpdateFilter, UpdateQuery};

/// The filter alone, for counts: everything of a list but order and page.
///
/// # Errors
/// A 400 problem that names the parameter at fault.
pub fn filter_from_uri(uri: &Uri) -> Result<UpdateFilter, Problem> {
    let query = UpdateQuery::from_uri(uri)?;
    let UpdateQuery { filter, sort, start, size } = query;
    if (sort, &start, size) != (Sort::default(), &PageStart::default(), PageSize::default()) {
        return Err(Problem::parameter("page", "counts have neither order nor pages"));
    }
    Ok(filter)
}

/// Takes the filter out of parameters that say more.
///
/// # Errors
/// A 400 problem that names the parameter at fault.
pub(crate) fn take(given: &mut Parameters) -> Result<UpdateFilter, Problem> {
    Ok(UpdateFilter {
        status: given.take("status")?.unwrap_or_default(),
        agent: given.take("agent_id")?,
        manager: given.take("package_type")?,
        severity: given.take("severity")?,
        availability: given.take("availability")?,
        security: given.take("security")?,
        search: given.take_with("search", Search::new)?,
    })
}

/// A filter as the query string that [`filter_from_uri`] reads, in one form.
pub(crate) fn query_string(filter: &UpdateFilter) -> String {
    UpdateQuery { filter: filter.clone(), ..UpdateQuery::default() }.href("").trim_start_matches('?').to_owned()
}

pub(super) fn write(written: &mut Written, filter: &UpdateFilter) {
    let UpdateFilter { status, agent, manager, severity, availability, security, search } = filter;
    match status {
        StatusFilter::Open => {}
        StatusFilter::Any => written.add("status", Some("any")),
        StatusFilter::Is(status) => written.add("status", Some(status)),
    }
    written.add("agent_id", *agent);
    written.add("package_type", manager.as_ref());
    written.add("severity", *severity);
    written.add("availability", *availability);
    written.add("security", *security);
    written.add("search", search.as_ref().map(Search::as_str));
}
