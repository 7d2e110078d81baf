//! The list of batches.

use super::{
    Listing, Numbered, page_number,
    parameters::{Parameters, Written},
};
use crate::problem::Problem;
use axum::http::Uri;
use redflag_core::query::BatchQuery;

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
        written.finish()
    }
}

impl Numbered for BatchQuery {
    fn at_page(&self, number: u32) -> Self {
        Self { page: page_number(number), ..self.clone() }
    }
}
