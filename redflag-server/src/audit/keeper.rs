//! What a server does for the log by itself: it says on which terms it started, seals the feed, and signs checkpoints.

pub use super::start::begin;

use super::refusals;
use crate::app::App;
use redflag_core::store::{StoreError, StoreErrorKind};
use std::{convert::Infallible, time::Duration};

/// How long batches gather before they are sealed together.
const GATHER: Duration = Duration::from_secs(1);
/// How often a checkpoint is signed when there is something new.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);
/// How long the log rests when the database fails under it.
const REST: Duration = Duration::from_secs(5);

/// Seals the feed and signs checkpoints for as long as the server runs.
pub async fn keep(app: &App) -> ! {
    tokio::select! {
        never = seal_for_ever(app) => never,
        never = sign_for_ever(app) => never,
    }
}

/// Seals what is there and signs a checkpoint over it, as a server does when it stops.
///
/// # Errors
/// When the store fails.
pub async fn finish(app: &App) -> Result<(), StoreError> {
    app.audit.seal_feed().await?;
    refusals::tell_of_the_rest(app).await?;
    app.audit.checkpoint(&app.audit_key).await.map(drop)
}

async fn seal_for_ever(app: &App) -> ! {
    loop {
        let Err(error) = follow(app).await;
        let damaged = *error.kind() == StoreErrorKind::Corrupt;
        app.metrics.audit_log_damaged(damaged);
        if damaged {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the feed cannot be sealed into the audit log; reports are taken all the same; tried again"
            );
        } else {
            tracing::warn!(error = &error as &dyn std::error::Error, "the feed cannot be sealed into the audit log; tried again");
        }
        tokio::time::sleep(REST).await;
    }
}

async fn follow(app: &App) -> Result<Infallible, StoreError> {
    loop {
        app.audit.seal_feed().await?;
        let sealed = app.audit.place().await?.sealed;
        app.metrics.audit_log_damaged(false);
        app.fleet.store().feed_grown(sealed).await?;
        tokio::time::sleep(GATHER).await;
    }
}

async fn sign_for_ever(app: &App) -> ! {
    loop {
        let signed = async {
            refusals::tell_of_the_rest(app).await?;
            app.audit.checkpoint(&app.audit_key).await
        };
        if let Err(error) = signed.await {
            tracing::warn!(error = &error as &dyn std::error::Error, "no checkpoint of the audit log was signed; tried again");
        }
        tokio::time::sleep(CHECKPOINT_EVERY).await;
    }
}
