//! What every handler shares.

use crate::{
    access::{Attempts, Passwords, Quotas, Strangers, Told, replay::ReplayGuard},
    audit::{AuditKey, AuditLog, refusals::Refusals},
    clock,
    dispatch::{Handed, Outputs, Wakers},
    metrics::Metrics,
    operations::UnderWay,
    settings::Settings,
    signing_key::SigningKey,
};
use redflag_core::{Fleet, command::payload::SigningMode, time::Timestamp};
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
    /// The audit log of the fleet.
    pub audit: AuditLog,
    /// The key that signs checkpoints of the audit log.
    pub audit_key: AuditKey,
    pub(crate) passwords: Passwords,
    pub(crate) attempts: Attempts,
    pub(crate) refusals: Refusals,
    pub(crate) replays: ReplayGuard,
    pub(crate) quotas: Quotas,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) strangers: Strangers,
    pub(crate) told: Told,
    pub(crate) wakers: Wakers,
    pub(crate) outputs: Outputs,
    pub(crate) handed: Handed,
    pub(crate) operations: UnderWay,
    /// Cancelled when a shutdown begins, so that requests that wait for something end at once.
    pub(crate) stopping: CancellationToken,
}

impl App {
    /// The application over `fleet`, with keys that live as long as the process.
    #[must_use]
    pub fn new(fleet: Fleet, settings: Settings) -> AppState {
        Self::with_keys(fleet, settings, SigningKey::new(), AuditKey::new())
    }

    /// The application over `fleet`, which signs commands and checkpoints with these keys.
    #[must_use]
    pub fn with_keys(fleet: Fleet, settings: Settings, signing_key: SigningKey, audit_key: AuditKey) -> AppState {
        let fleet = fleet.with_batch_events(settings.batch_events);
        Arc::new(Self {
            audit: AuditLog::new(fleet.clone()),
            fleet,
            quotas: Quotas::new(settings.quota),
            strangers: Strangers::default(),
            told: Told::default(),
            metrics: Arc::default(),
            settings,
            signing_key,
            audit_key,
            passwords: Passwords::default(),
            attempts: Attempts::default(),
            refusals: Refusals::default(),
            replays: ReplayGuard::default(),
            wakers: Wakers::default(),
            outputs: Outputs::default(),
            handed: Handed::default(),
            operations: UnderWay::default(),
            stopping: CancellationToken::new(),
        })
    }

    /// The key that was prepared to sign next, read anew because another process prepares it; none where the server does not sign, and
    /// when it cannot be used, which is logged.
    pub(crate) fn next_signing_key(&self) -> Option<SigningKey> {
        let path = self.settings.signing_key.as_deref().filter(|_| self.settings.terms.mode == SigningMode::ServerSigns)?;
        SigningKey::prepared(path).unwrap_or_else(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, "the key that was prepared is not announced");
            None
        })
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        clock::now()
    }
}
