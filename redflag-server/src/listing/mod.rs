//! Lists and their URLs: strict query parameters in, the same parameters out with one thing changed.
//!
//! API and pages share this, so a page's URL and the API's mean the same list. A parameter that is unknown, stands twice or has
//! an unknown value is an error that names it (clause Q3); an empty value, as a form sends it for "all", counts as absent.

mod agents;
mod audit;
mod batches;
mod commands;
mod filter;
mod packages;
mod parameters;
mod updates;

pub(crate) use audit::{audit_href, take_audit};
pub(crate) use commands::command_cursor;
pub use filter::filter_from_uri;
pub(crate) use filter::{query_string as filter_query, take as take_filter};
pub(crate) use parameters::Parameters;

use crate::problem::Problem;
use axum::http::Uri;
use redflag_core::query::{PageNumber, PageSize};

/// A query that a URL can carry.
pub trait Listing: Sized {
    /// Reads the query part of a URL.
    ///
    /// # Errors
    /// A 400 problem that names the parameter at fault.
    fn from_uri(uri: &Uri) -> Result<Self, Problem>;

    /// The parameters that lead here again, those with their default left out, in a fixed order.
    fn parameters(&self) -> Vec<(&'static str, String)>;

    /// `path` with the parameters; percent-encoded, ready for an attribute once escaped as HTML.
    fn href(&self, path: &str) -> String {
        let parameters = self.parameters();
        if parameters.is_empty() {
            return path.to_owned();
        }
        let pairs: Vec<_> = parameters.iter().map(|(name, value)| format!("{name}={}", parameters::encoded(value))).collect();
        format!("{path}?{}", pairs.join("&"))
    }
}

/// A list whose pages have numbers.
pub trait Numbered: Listing {
    /// The same list from page `number`, which counts from 1.
    #[must_use]
    fn at_page(&self, number: u32) -> Self;
}

/// Refuses every query parameter, for routes that have none.
///
/// # Errors
/// A 400 problem that names the first.
pub fn no_parameters(uri: &Uri) -> Result<(), Problem> {
    Parameters::read(uri)?.finish()
}

/// A list of `total` rows fills this many pages, at least one.
#[must_use]
pub fn pages(total: u64, size: PageSize) -> u32 {
    u32::try_from(total.div_ceil(u64::from(size.get())).max(1)).unwrap_or(u32::MAX)
}

fn page_number(number: u32) -> PageNumber {
    PageNumber::new(number.max(1)).expect("at least 1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use redflag_core::query::{AgentQuery, BatchQuery, PackageQuery, UpdateQuery};

    fn read<L: Listing>(query: &str) -> Result<L, Problem> {
        L::from_uri(&format!("/x?{query}").parse().unwrap())
    }

    #[test]
    fn a_url_leads_back_to_its_query() {
        for query in [
            "",
            "status=any&package_type=docker&severity=critical&availability=kept-back&security=true&search=g%2B%2B%25_%26&sort=-agent&page_size=500&page=3",
            "status=approved&agent_id=0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3&after=abc",
        ] {
            let listing: UpdateQuery = read(query).unwrap();
            let href = listing.href("/updates");
            assert_eq!(UpdateQuery::from_uri(&href.parse().unwrap()).unwrap(), listing, "{href}");
        }
        let agents: AgentQuery = read("search=web&sort=-last-contact&page=2").unwrap();
        assert_eq!(agents.href("/agents"), "/agents?search=web&sort=-last-contact&page=2");
        let packages: PackageQuery = read("package_type=dnf&sort=-hosts&page_size=100").unwrap();
        assert_eq!(packages.href("/packages"), "/packages?package_type=dnf&sort=-hosts&page_size=100");
        assert_eq!(read::<PackageQuery>("sort=hosts").unwrap().href("/packages"), "/packages");
        let batches: BatchQuery = read("with_rejections=true").unwrap();
        assert_eq!(batches.at_page(4).href("/batches"), "/batches?with_rejections=true&page=4");
    }

    #[test]
    fn what_is_unknown_or_out_of_range_is_named() {
        for (query, parameter) in [
            ("page=0", "page"),
            ("page=-1", "page"),
            ("page=x", "page"),
            ("page=4294967296", "page"),
            ("page_size=0", "page_size"),
            ("page_size=501", "page_size"),
            ("status=updated", "status"),
            ("severity=high", "severity"),
            ("package_type=A%20B", "package_type"),
            ("sort=name%3B--", "sort"),
            ("security=1", "security"),
            ("agent_id=1", "agent_id"),
            ("availability=now", "availability"),
            ("nonsense=1", "nonsense"),
            ("page=1&page=2", "page"),
            ("after=abc&page=2", "after"),
        ] {
            let problem = read::<UpdateQuery>(query).unwrap_err();
            assert_eq!((problem.status().as_u16(), problem.named()), (400, Some(parameter)), "{query}: {problem:?}");
        }
        assert_eq!(read::<PackageQuery>("sort=agent").unwrap_err().named(), Some("sort"));
        assert_eq!(read::<PackageQuery>("after=abc").unwrap_err().named(), Some("after"), "packages have no cursor");
    }

    #[test]
    fn a_problem_quotes_the_value_at_fault_once() {
        for (query, value) in [("page=%D9%A1", "\"١\""), ("severity=high", "\"high\""), ("sort=-age", "\"-age\""), ("security=1", "\"1\"")]
        {
            let detail = read::<UpdateQuery>(query).unwrap_err().detail().to_owned();
            assert_eq!(detail.matches(value).count(), 1, "{query}: {detail}");
        }
    }

    #[test]
    fn limits_are_inclusive_and_empty_values_count_as_absent() {
        assert_eq!(read::<UpdateQuery>("page_size=500").unwrap().size.get(), 500);
        assert_eq!(read::<UpdateQuery>("status=&severity=&search=&page=").unwrap(), UpdateQuery::default());
        assert_eq!((pages(0, PageSize::default()), pages(50, PageSize::default()), pages(51, PageSize::default())), (1, 1, 2));
    }
}
