//! The list of agents.

use super::{
    Listing, Numbered, page_number,
    parameters::{Parameters, Sorts, Written},
};
use crate::problem::Problem;
use axum::http::Uri;
use redflag_core::query::{AgentQuery, AgentSortKey, Search};

const SORTS: Sorts<AgentSortKey> =
    Sorts(&[("name", AgentSortKey::Name), ("last-contact", AgentSortKey::LastContact), ("updates", AgentSortKey::Updates)]);

impl Listing for AgentQuery {
    fn from_uri(uri: &Uri) -> Result<Self, Problem> {
        let mut given = Parameters::read(uri)?;
        let (sort, reverse) = given.take_with("sort", |word| SORTS.read(word))?.unwrap_or_default();
        let search = given.take_with("search", Search::new)?;
        let query = Self { search, sort, reverse, page: given.page()?.unwrap_or_default(), size: given.page_size()? };
        given.finish()?;
        Ok(query)
    }

    fn parameters(&self) -> Vec<(&'static str, String)> {
        let mut written = Written::default();
        written.add("search", self.search.as_ref().map(Search::as_str));
        written.add("sort", SORTS.word(self.sort, self.reverse));
        written.page(self.page, self.size);
        written.finish()
    }
}

impl Numbered for AgentQuery {
    fn at_page(&self, number: u32) -> Self {
        Self { page: page_number(number), ..self.clone() }
    }
}
