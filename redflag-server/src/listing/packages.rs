//! The list of packages.

use super::{
    Listing, Numbered, filter, page_number,
    parameters::{Parameters, Sorts, Written},
};
use crate::problem::Problem;
use axum::http::Uri;
use redflag_core::query::{PackageQuery, PackageSortKey};

const SORTS: Sorts<PackageSortKey> = Sorts(&[("hosts", PackageSortKey::Hosts), ("name", PackageSortKey::Name)]);

impl Listing for PackageQuery {
    fn from_uri(uri: &Uri) -> Result<Self, Problem> {
        let mut given = Parameters::read(uri)?;
        let filter = filter::take(&mut given)?;
        let (sort, reverse) = given.take_with("sort", |word| SORTS.read(word))?.unwrap_or_default();
        let query = Self { filter, sort, reverse, page: given.page()?.unwrap_or_default(), size: given.page_size()? };
        given.finish()?;
        Ok(query)
    }

    fn parameters(&self) -> Vec<(&'static str, String)> {
        let mut written = Written::default();
        filter::write(&mut written, &self.filter);
        written.add("sort", SORTS.word(self.sort, self.reverse));
        written.page(self.page, self.size);
        written.finish()
    }
}

impl Numbered for PackageQuery {
    fn at_page(&self, number: u32) -> Self {
        Self { page: page_number(number), ..self.clone() }
    }
}
