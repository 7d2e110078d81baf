//! What every handler shares.

use crate::{access::replay::ReplayGuard, clock, operations::UnderWay, settings::Settings};
use redflag_core::{Fleet, time::Timestamp};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The state of the application as handlers extract it.
pub type AppState = Arc<App>;

/// What every handler shares: the fleet, the settings, and the little memory that need not survive a restart.
#[derive(Debug)]
pub struct App {
    /// The fleet.
    pub fleet: Fleet,
    /// The settings in force.
    pub settings: Settings,
    pub(crate) replays: ReplayGuard,
    pub(crate) operations: UnderWay,
    /// Cancelled when a shutdown begins, so that requests that wait for something end at once.
    pub(crate) stopping: CancellationToken,
}

impl App {
    /// The application over `fleet`.
    #[must_use]
    pub fn new(fleet: Fleet, settings: Settings) -> AppState {
        let fleet = fleet.with_batch_events(settings.batch_events);
        Arc::new(Self {
            fleet,
            settings,
            replays: ReplayGuard::default(),
            operations: UnderWay::default(),
            stopping: CancellationToken::new(),
        })
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        clock::now()
    }
}
