//! SIGTERM, Ctrl-C and SIGHUP.

use anyhow::{Context as _, bail};
use redflag_server::Certificate;
use std::io;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled by either.
pub(crate) fn cancelled_on_signal() -> io::Result<CancellationToken> {
    let shutdown = CancellationToken::new();
    let cancelled = shutdown.clone();
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: shutting down"),
            _ = tokio::signal::ctrl_c() => tracing::info!("interrupted: shutting down"),
        }
        cancelled.cancel();
    });
    Ok(shutdown)
}

/// From now on SIGHUP makes a server read its certificate again.
pub(crate) fn reload_on_hangup(certificate: Certificate) -> io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            if let Err(error) = certificate.reload() {
                tracing::error!(error = &error as &dyn std::error::Error, "SIGHUP: the certificate before stays in force");
            }
        }
    });
    Ok(())
}

/// Runs `work`, but drops it and fails when either arrives.
pub(crate) async fn or_interrupted<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for signals")?;
    tokio::select! {
        done = work => done,
        _ = terminate.recv() => bail!("stopped by SIGTERM"),
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
    }
}
