//! Connections: accepted up to a limit, encrypted where the server does that itself, read with limits of time and bytes, and let go at a
//! shutdown.
//!
//! What hyper refuses by itself (a broken head with 400, one over its limits with 431) has no body, and the connection ends after it; a head
//! that is late ends it without an answer. hyper gives no hand in that, and a second reader of heads in front of it, for the sake of words,
//! would be one more that could disagree with it. The OpenAPI document says so.

mod addresses;
mod stall;
pub(crate) mod tls;

use crate::{access::TrustedProxy, metrics::Metrics, settings::RequestLimits};
use addresses::Addresses;
use axum::{Router, body::Body, extract::ConnectInfo};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use stall::StallLimit;
use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};
use tls::Tls;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

/// How long nothing is accepted after the system refused a connection, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// The least that hyper buffers.
const BUFFER_BYTES_MIN: usize = 64 * 1024;

/// What serves the connections of one listener.
pub(crate) struct Serving {
    pub(crate) router: Router,
    pub(crate) limits: RequestLimits,
    pub(crate) trusted_proxies: Vec<TrustedProxy>,
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) shutdown: CancellationToken,
}

impl Serving {
    /// Serves until `shutdown` is cancelled; then accepts nothing more and waits until the requests under way have ended.
    ///
    /// Cancel safety: dropped, what is under way goes on unwatched.
    pub(crate) async fn run(self, listener: TcpListener) {
        let serving = Arc::new(self);
        let connections = TaskTracker::new();
        let free = Arc::new(Semaphore::new(serving.limits.connections_max));
        let addresses = Addresses::new(serving.limits.connections_max.div_ceil(2));
        let accepting = async {
            loop {
                // The semaphore is never closed, so a permit comes.
                let Ok(permit) = Arc::clone(&free).acquire_owned().await else { return };
                let (stream, peer) = accepted(&listener).await;
                let proxy = serving.trusted_proxies.iter().any(|proxy| proxy.contains(peer.ip().to_canonical()));
                let place = if proxy { None } else { Some(addresses.enter(peer.ip())) };
                if matches!(place, Some(None)) {
                    serving.metrics.refused_connection();
                    tracing::debug!(%peer, "a connection was closed: its address holds as many as one may");
                    continue;
                }
                let serving = Arc::clone(&serving);
                serving.metrics.connected();
                connections.spawn(async move {
                    if let Err(error) = serving.connection(stream, peer).await {
                        tracing::debug!(%peer, error = &*error, "a connection ended");
                    }
                    serving.metrics.disconnected();
                    drop((place, permit));
                });
            }
        };
        tokio::select! {
            () = accepting => {}
            () = serving.shutdown.cancelled() => {}
        }
        drop(listener);
        connections.close();
        connections.wait().await;
    }

    async fn connection(&self, stream: TcpStream, peer: SocketAddr) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return Ok(self.http(stream, peer).await?) };
        let handshake = tokio::time::timeout(self.limits.head_timeout, tls.acceptor().accept(stream));
        let stream = tokio::select! {
            stream = handshake => stream??,
            () = self.shutdown.cancelled() => return Ok(()),
        };
        Ok(self.http(stream, peer).await?)
    }

    async fn http(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: SocketAddr) -> hyper::Result<()> {
        let router = &self.router;
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            router.clone().oneshot(request)
        });
        // A request may be silent for as long as its answer takes, and no longer.
        let stream = StallLimit::new(stream, self.limits.request_timeout + self.limits.head_timeout);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head_timeout)
            .max_header_size(self.limits.head_bytes_max)
            .max_buf_size(self.limits.head_bytes_max.max(BUFFER_BYTES_MIN))
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => return ended,
            () = self.shutdown.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    }
}

async fn accepted(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // It went before we came.
            Err(error) if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) => {}
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "no connection can be accepted for {ACCEPT_PAUSE:?}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
