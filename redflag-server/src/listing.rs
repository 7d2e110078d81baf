//! Lists and their URLs: strict query parameters in, the same parameters out with one thing changed.
//!
//! API and pages share this, so a page's URL and the API's mean the same list. A parameter that is unknown, stands twice or has
//! an unknown value is an error that names it (clause Q3); an empty value, as a form sends it for "all", counts as absent.

use crate::problem::Problem;
use axum::http::Uri;
use redflag_core::{
    query::{
        AgentQuery, AgentSortKey, BatchQuery, Cursor, PageNumber, PageSize, PageStart, QueryError, Search, Sort, StatusFilter,
        UpdateFilter, UpdateQuery,
    },
    rejection::quoted,
};
use std::{fmt::Display, str::FromStr};

/// A query that a URL can carry.
pub trait Listing: Sized {
    /// Reads the query part of a URL.
    ///
    /// # Errors
    /// A 400 problem that names the parameter at fault.
    fn from_uri(uri: &Uri) -> Result<Self, Problem>;

    /// The parameters that lead here again, those with their default left out, in a fixed order.
    fn parameters(&self) -> Vec<(&'static str, String)>;

    /// The same list from page `number`, which counts from 1.
    #[must_use]
    fn at_page(&self, number: u32) -> Self;

    /// `path` with the parameters; percent-encoded, ready for an attribute once escaped as HTML.
    fn href(&self, path: &str) -> String {
        let parameters = self.parameters();
        if parameters.is_empty() {
            return path.to_owned();
        }
        let pairs: Vec<_> = parameters.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        format!("{path}?{}", pairs.join("&"))
    }
}

impl Listing for UpdateQuery {
    fn from_uri(uri: &Uri) -> Result<Self, Problem> {
        let mut given = Parameters::read(uri)?;
        let filter = UpdateFilter {
            status: given.take("status")?.unwrap_or_default(),
            agent: given.take("agent_id")?,
            manager: given.take("package_type")?,
            severity: given.take("severity")?,
            availability: given.take("availability")?,
            security: given.take("security")?,
            search: given.take_with("search", Search::new)?,
        };
        let sort = given.take("sort")?.unwrap_or_default();
        let page = given.page()?;
        let start = match (given.take::<Cursor>("after")?, page) {
            (Some(_), Some(_)) => return Err(Problem::parameter("after", "a cursor and a page number exclude each other")),
            (Some(cursor), None) => PageStart::After(cursor),
            (None, page) => PageStart::Number(page.unwrap_or_default()),
        };
        let query = Self { filter, sort, start, size: given.page_size()? };
        given.finish()?;
        Ok(query)
    }

    fn parameters(&self) -> Vec<(&'static str, String)> {
        let UpdateFilter { status, agent, manager, severity, availability, security, search } = &self.filter;
        let mut written = Written::default();
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
        written.add("sort", (self.sort != Sort::default()).then_some(self.sort));
        match &self.start {
            PageStart::Number(number) => written.page(*number, self.size),
            PageStart::After(cursor) => {
                written.add("after", Some(cursor.as_str()));
                written.page(PageNumber::default(), self.size);
            }
        }
        written.0
    }

    fn at_page(&self, number: u32) -> Self {
        Self { start: PageStart::Number(page_number(number)), ..self.clone() }
    }
}

impl Listing for AgentQuery {
    fn from_uri(uri: &Uri) -> Result<Self, Problem> {
        let mut given = Parameters::read(uri)?;
        let (sort, reverse) = given.take_with("sort", agent_sort)?.unwrap_or_default();
        let search = given.take_with("search", Search::new)?;
        let query = Self { search, sort, reverse, page: given.page()?.unwrap_or_default(), size: given.page_size()? };
        given.finish()?;
        Ok(query)
    }

    fn parameters(&self) -> Vec<(&'static str, String)> {
        let mut written = Written::default();
        written.add("search", self.search.as_ref().map(Search::as_str));
        let word = AGENT_SORTS.iter().find(|(_, key)| *key == self.sort).map_or("name", |(word, _)| *word);
        let sort = format!("{}{word}", if self.reverse { "-" } else { "" });
        written.add("sort", (sort != "name").then_some(sort));
        written.page(self.page, self.size);
        written.0
    }

    fn at_page(&self, number: u32) -> Self {
        Self { page: page_number(number), ..self.clone() }
    }
}

impl Listing for BatchQuery {
    fn from_uri(uri: &Uri) -> Result<Self, Problem> {
        let mut given = Parameters::read(uri)?;
        let query = Self {
            agent: given.take("agent_id")?,
            with_rejections: given.take("with_rejections")?.unwrap_or_default(),
            page: given.page()?.unwrap_or_default(),
            size: given.page_size()?,
        };
        given.finish()?;
        Ok(query)
    }

    fn parameters(&self) -> Vec<(&'static str, String)> {
        let mut written = Written::default();
        written.add("agent_id", self.agent);
        written.add("with_rejections", self.with_rejections.then_some(true));
        written.page(self.page, self.size);
        written.0
    }

    fn at_page(&self, number: u32) -> Self {
        Self { page: page_number(number), ..self.clone() }
    }
}

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

const AGENT_SORTS: [(&str, AgentSortKey); 3] =
    [("name", AgentSortKey::Name), ("last-contact", AgentSortKey::LastContact), ("updates", AgentSortKey::Updates)];

fn agent_sort(text: &str) -> Result<(AgentSortKey, bool), QueryError> {
    let (reverse, word) = text.strip_prefix('-').map_or((false, text), |word| (true, word));
    let known = AGENT_SORTS.iter().find(|(known, _)| *known == word);
    let unknown = || {
        let message = format!("unknown sort {}; known are: name, last-contact, updates, each with or without a leading '-'", quoted(text));
        QueryError::new("sort", message)
    };
    known.map(|(_, key)| (*key, reverse)).ok_or_else(unknown)
}

fn page_number(number: u32) -> PageNumber {
    PageNumber::new(number.max(1)).expect("at least 1")
}

/// The parameters of a URL that were not taken yet.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn read(uri: &Uri) -> Result<Self, Problem> {
        let axum::extract::Query(pairs) = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| Problem::new(axum::http::StatusCode::BAD_REQUEST, "bad_query", error.to_string()))?;
        for (index, (name, value)) in pairs.iter().enumerate() {
            // Bytes that are no UTF-8 decode to the replacement character, which nobody means to look for.
            if name.contains('\u{fffd}') || value.contains('\u{fffd}') {
                return Err(Problem::parameter(name, "is not UTF-8"));
            }
            if pairs[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(Problem::parameter(name, "stands twice"));
            }
        }
        Ok(Self(pairs))
    }

    fn take<T: FromStr<Err: Display>>(&mut self, name: &'static str) -> Result<Option<T>, Problem> {
        self.take_with(name, T::from_str)
    }

    fn take_with<T, E: Display>(&mut self, name: &'static str, read: impl FnOnce(&str) -> Result<T, E>) -> Result<Option<T>, Problem> {
        let Some(index) = self.0.iter().position(|(known, _)| known == name) else { return Ok(None) };
        let (_, value) = self.0.swap_remove(index);
        if value.is_empty() {
            return Ok(None);
        }
        read(&value).map(Some).map_err(|error| Problem::parameter(name, complaint(name, &value, &error.to_string())))
    }

    fn page(&mut self) -> Result<Option<PageNumber>, Problem> {
        let number = self.take_with("page", whole_number)?;
        Ok(number.map(PageNumber::new).transpose()?)
    }

    fn page_size(&mut self) -> Result<PageSize, Problem> {
        let rows = self.take_with("page_size", whole_number)?;
        Ok(rows.map(PageSize::new).transpose()?.unwrap_or_default())
    }

    fn finish(self) -> Result<(), Problem> {
        match self.0.into_iter().next() {
            Some((name, _)) => Err(Problem::parameter(quoted(&name).trim_matches('"'), "unknown parameter")),
            None => Ok(()),
        }
    }
}

fn whole_number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("must be a whole number from 1 to {}", u32::MAX))
}

/// Names the value at fault once and the parameter not at all: the problem has a member for it.
fn complaint(name: &str, value: &str, error: &str) -> String {
    let error = error.strip_prefix(name).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(error);
    let value = quoted(value);
    if error.contains(&value) { error.to_owned() } else { format!("{error} ({value})") }
}

#[derive(Default)]
struct Written(Vec<(&'static str, String)>);

impl Written {
    fn add(&mut self, name: &'static str, value: Option<impl Display>) {
        self.0.extend(value.map(|value| (name, value.to_string())));
    }

    fn page(&mut self, number: PageNumber, size: PageSize) {
        self.add("page_size", (size != PageSize::default()).then(|| size.get()));
        self.add("page", (number != PageNumber::default()).then(|| number.get()));
    }
}

/// `value` percent-encoded but for the unreserved characters of RFC 3986.
fn encoded(value: &str) -> String {
    use std::fmt::Write as _;
    value.bytes().fold(String::with_capacity(value.len()), |mut text, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(byte)),
            byte => write!(text, "%{byte:02X}").expect("writing into a string cannot fail"),
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
