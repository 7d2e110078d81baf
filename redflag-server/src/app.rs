//! What every handler shares.

use crate::{
    access::replay::ReplayGuard,
    clock,
    dispatch::{Outputs, Wakers},
    operations::UnderWay,
    settings::Settings,
    signing_key::SigningKey,
};
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
    /// The key that signs commands.
    pub signing_key: SigningKey,
    pub(crate) replays: ReplayGuard,
    pub(crate) wakers: Wakers,
    pub(crate) outputs: Outputs,
    pub(crate) operations: UnderWay,
    /// Cancelled when a shutdown begins, so that requests that wait for something end at once.
    pub(crate) stopping: CancellationToken,
}

impl App {
    /// The application over `fleet`, with a signing key that lives as long as the process.
    #[must_use]
    pub fn new(fleet: Fleet, settings: Settings) -> AppState {
        Self::with_signing_key(fleet, settings, SigningKey::new())
    }

    /// The application over `fleet`, which signs commands with this key.
    #[must_use]
    pub fn with_signing_key(fleet: Fleet, settings: Settings, signing_key: SigningKey) -> AppState {
        let fleet = fleet.with_batch_events(settings.batch_events);
        Arc::new(Self {
            fleet,
            settings,
            signing_key,
            replays: ReplayGuard::default(),
            wakers: Wakers::default(),
            outputs: Outputs::default(),
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
