//! The list of commands, which is walked by cursors: its order never changes, so a cursor is a place in it.

use super::{
    Listing,
    parameters::{Parameters, Written},
};
use crate::problem::Problem;
use axum::http::Uri;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use redflag_core::{
    ids::Digest,
    limits,
    query::{CommandFilter, CommandPosition, CommandQuery, PageNumber, QueryError},
};
use serde::{Deserialize, Serialize};

/// The version of the cursors' format.
const VERSION: u32 = 1;

/// A place in the list, bound to its filter.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cursor {
    v: u32,
    query: String,
    position: CommandPosition,
}

impl Listing for CommandQuery {
    fn from_uri(uri: &Uri) -> Result<Self, Problem> {
        let mut given = Parameters::read(uri)?;
        let agent = given.take("agent_id")?;
        let state = given.take("state")?.unwrap_or_default();
        let size = given.page_size()?;
        let after = given.take::<String>("after")?;
        given.finish()?;
        let query = Self { agent, state, after: None, size };
        let after = after.map(|after| position(&after, &query)).transpose()?;
        Ok(Self { after, ..query })
    }

    fn parameters(&self) -> Vec<(&'static str, String)> {
        let mut written = Written::default();
        written.add("agent_id", self.agent);
        written.add("state", (self.state != CommandFilter::Any).then_some(self.state));
        written.page(PageNumber::default(), self.size);
        written.add("after", self.after.map(|after| command_cursor(self, after)));
        written.finish()
    }
}

/// The cursor behind which the list of `query` goes on from `position`; opaque to clients.
pub(crate) fn command_cursor(query: &CommandQuery, position: CommandPosition) -> String {
    let cursor = Cursor { v: VERSION, query: fingerprint(query), position };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&cursor).expect("cursors always serialise"))
}

fn position(after: &str, query: &CommandQuery) -> Result<CommandPosition, QueryError> {
    let error = |message: &str| QueryError::new("after", message);
    if after.len() > limits::CURSOR_BYTES_MAX {
        return Err(error("not a cursor"));
    }
    let bytes = URL_SAFE_NO_PAD.decode(after).map_err(|_| error("not a cursor"))?;
    let cursor: Cursor = serde_json::from_slice(&bytes).map_err(|_| error("not a cursor"))?;
    if cursor.v != VERSION {
        return Err(error("a cursor of another version; start again from the first page"));
    }
    if cursor.query != fingerprint(query) {
        return Err(error("a cursor of another query; start again from the first page"));
    }
    Ok(cursor.position)
}

fn fingerprint(query: &CommandQuery) -> String {
    let filter = serde_json::to_vec(&(query.agent, query.state.to_string())).expect("queries always serialise");
    Digest::of("redflag command cursor v1", &[&filter]).to_string()[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use redflag_core::time::Timestamp;

    fn read(href: &str) -> Result<CommandQuery, Problem> {
        CommandQuery::from_uri(&href.parse().unwrap())
    }

    #[test]
    fn a_url_leads_back_to_its_query_also_within_the_list() {
        let first = read("/commands?agent_id=0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3&state=open&page_size=100").unwrap();
        let (agent, command) = (first.agent.unwrap(), "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b4".parse().unwrap());
        let position = CommandPosition { requested_at: Timestamp::MAX, agent, command };
        let within = CommandQuery { after: Some(position), ..first };
        for query in [first, within, CommandQuery::default()] {
            assert_eq!(read(&query.href("/commands")).unwrap(), query);
        }
        assert_eq!(CommandQuery::default().href("/commands"), "/commands");

        let cursor = command_cursor(&within, position);
        for other in ["state=queued", "state=any", "agent_id=0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b5&state=open"] {
            let problem = read(&format!("/commands?{other}&after={cursor}")).unwrap_err();
            assert!(problem.named() == Some("after") && problem.detail().contains("another query"), "{problem:?}");
        }
    }

    #[test]
    fn what_is_no_cursor_or_filter_is_named() {
        let newer = URL_SAFE_NO_PAD.encode(r#"{"v":2,"query":"","position":{"requested_at":"2026-11-23T08:00:00Z","agent":"0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3","command":"0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3"}}"#);
        for (query, parameter) in [
            ("after=abc".to_owned(), "after"),
            (format!("after={newer}"), "after"),
            (format!("after={}", "A".repeat(limits::CURSOR_BYTES_MAX + 1)), "after"),
            ("state=running".to_owned(), "state"),
            ("agent_id=1".to_owned(), "agent_id"),
            ("page=2".to_owned(), "page"),
        ] {
            assert_eq!(read(&format!("/commands?{query}")).unwrap_err().named(), Some(parameter), "{query}");
        }
        assert!(read(&format!("/commands?after={newer}")).unwrap_err().detail().contains("another version"));
    }
}
