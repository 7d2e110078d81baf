//! The server's address, noted in its database for the commands that print links.

use redflag_core::{Fleet, store::Expected};

const SETTINGS: &str = "settings";
const URL: &str = "url";

/// Notes the server's address for `sign-in-link`; answers whether no server ran on this database before.
pub(crate) async fn note(fleet: &Fleet, url: &str) -> anyhow::Result<bool> {
    let store = fleet.store();
    loop {
        let known = store.get(SETTINGS, URL).await?;
        let expected = known.as_ref().map_or(Expected::Absent, |record| Expected::Revision(record.revision));
        if known.as_ref().is_some_and(|record| record.value == url) || store.put(SETTINGS, URL, url, expected).await?.is_some() {
            return Ok(known.is_none());
        }
    }
}

/// The address of the server that ran last.
pub(crate) async fn get(fleet: &Fleet) -> anyhow::Result<Option<String>> {
    Ok(fleet.store().get(SETTINGS, URL).await?.map(|record| record.value))
}
