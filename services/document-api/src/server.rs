//! Connections: how many, how patient, and how they end.

use std::{sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{App, Error, metric, write_timeout::WriteTimeout};

/// Of a connection's read buffer: a request's head must fit, and a body comes in pieces of at most this size.
const BUFFER_BYTES: usize = 64 * 1024;
/// What the kernel keeps of an answer that its client has not taken yet. Grown to the kernel's own maximum, megabytes, a
/// buffer would make room so rarely that a slow client looked like one that takes nothing.
const SEND_BUFFER_BYTES: usize = 256 * 1024;
/// After an error of `accept`, such as too many open files: time for one to close.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// `axum::serve` has neither a timeout for headers nor a limit of connections; this has both.
pub(crate) async fn serve(
    app: &App,
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
) -> Result<(), Error> {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(app.api.header_timeout).max_buf_size(BUFFER_BYTES);
    let connections = GracefulShutdown::new();
    // The connections inherit it.
    if let Err(error) = SockRef::from(&listener).set_send_buffer_size(SEND_BUFFER_BYTES) {
        tracing::warn!(%error, "the size of send buffers is the system's");
    }
    let slots = Arc::new(Semaphore::new(app.api.connections_max));
    while let Some((stream, slot)) = next_connection(&listener, &slots, &stop).await {
        let stream = TokioIo::new(WriteTimeout::new(stream, app.api.write_idle_timeout));
        let connection = http.serve_connection(stream, TowerToHyperService::new(router.clone()));
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            metrics::gauge!(metric::OPEN_CONNECTIONS).increment(1);
            if let Err(error) = connection.await {
                // A client that left, or sent no HTTP.
                tracing::debug!(%error, "a connection broke");
            }
            metrics::gauge!(metric::OPEN_CONNECTIONS).decrement(1);
            drop(slot);
        });
    }
    // Nobody new from here on.
    drop(listener);
    app.uploads.close();
    let drained = async {
        connections.shutdown().await;
        app.uploads.wait().await;
    };
    timeout(app.api.shutdown_drain, drained).await.map_err(|_| Error::CutOff)
}

/// None when it is time to stop.
async fn next_connection(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let accept = async {
        // First the slot: what we can not serve waits in the kernel's queue, where it costs us nothing.
        let slot = Arc::clone(slots).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    // Answers are written in one go; waiting for more only delays them. Failing, it is only slower.
                    stream.set_nodelay(true).ok();
                    return Some((stream, slot));
                }
                Err(error) => {
                    tracing::warn!(%error, "no connection could be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        accepted = accept => accepted,
    }
}
