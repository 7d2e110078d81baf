//! Waking the agents that wait for commands.

use crate::app::App;
use redflag_core::{event::Source, feed::FeedPosition, ids::AgentId, limits, store::StoreError};
use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::Notify;

/// How long the feed rests when the database fails under it.
const REST: Duration = Duration::from_secs(5);

/// Who waits for commands; small, and only of agents that ever did.
#[derive(Debug, Default)]
pub(crate) struct Wakers(Mutex<HashMap<AgentId, Arc<Notify>>>);

impl Wakers {
    /// What to wait for.
    pub(crate) fn of(&self, agent: AgentId) -> Arc<Notify> {
        Arc::clone(self.0.lock().expect("nothing panics under this lock").entry(agent).or_default())
    }

    /// Lets an agent that waits look again.
    pub(crate) fn wake(&self, agent: AgentId) {
        if let Some(waker) = self.0.lock().expect("nothing panics under this lock").get(&agent) {
            waker.notify_waiters();
        }
    }

    /// Lets every agent that waits look again.
    pub(crate) fn wake_all(&self) {
        self.0.lock().expect("nothing panics under this lock").values().for_each(|waker| waker.notify_waiters());
    }
}

/// Wakes the agents about which something is decided, by whatever process, for as long as the server runs.
pub(crate) async fn follow_feed(app: &App) -> ! {
    let mut position = FeedPosition(0);
    loop {
        let Err(error) = follow(app, &mut position).await;
        tracing::warn!(error = &error as &dyn std::error::Error, "the feed cannot be followed; agents find commands when they ask again");
        tokio::time::sleep(REST).await;
    }
}

async fn follow(app: &App, position: &mut FeedPosition) -> Result<Infallible, StoreError> {
    let store = app.fleet.store();
    if *position == FeedPosition(0) {
        // Who asks from now on sees what was decided before.
        *position = store.feed_grown(*position).await?;
    }
    loop {
        store.feed_grown(*position).await?;
        for entry in store.feed(*position, limits::FEED_ENTRIES_DEFAULT).await? {
            *position = entry.position;
            let reported = entry.record.as_ref().is_none_or(|record| matches!(record.source, Source::Report { .. }));
            if !reported {
                app.wakers.wake(entry.agent);
            }
        }
    }
}
