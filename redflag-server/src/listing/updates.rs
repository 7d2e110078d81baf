//! The list of updates.

use super::{
    Listing, Numbered, filter, page_number,
    parameters::{Parameters, Written},
};
use crate::problem::Problem;
use axum::http::Uri;
use redflag_core::query::{Cursor, PageNumber, PageStart, Sort, UpdateQuery};

impl Listing for UpdateQuery {
    fn from_uri(uri: &Uri) -> Result<Self, Problem> {
        let mut given = Parameters::read(uri)?;
        let filter = filter::take(&mut given)?;
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
        let mut written = Written::default();
        filter::write(&mut written, &self.filter);
        written.add("sort", (self.sort != Sort::default()).then_some(self.sort));
        match &self.start {
            PageStart::Number(number) => written.page(*number, self.size),
            PageStart::After(cursor) => {
                written.add("after", Some(cursor.as_str()));
                written.page(PageNumber::default(), self.size);
            }
        }
        written.finish()
    }
}

impl Numbered for UpdateQuery {
    fn at_page(&self, number: u32) -> Self {
        Self { start: PageStart::Number(page_number(number)), ..self.clone() }
    }
}
