use std::{net::SocketAddr, time::Duration};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{Error, Health, Metrics};

const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Serves `/live`, `/ready` and `/metrics` until `stop`; returns the address it listens on at once.
///
/// Bind early: a port that is taken must end the process before it joins a consumer group.
pub async fn serve(
    listen: &str,
    health: Health,
    metrics: Metrics,
    stop: CancellationToken,
) -> Result<SocketAddr, Error> {
    let failed = |source| Error::Listen { address: listen.to_owned(), source };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let upkeep = metrics.clone();
    let router = Router::new()
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/metrics", get(|State((_, metrics)): State<(Health, Metrics)>| async move { metrics.render() }))
        .with_state((health, metrics));
    let upkept = stop.clone();
    tokio::spawn(async move {
        // Without it, histograms keep every sample for as long as nobody scrapes.
        while upkept.run_until_cancelled(tokio::time::sleep(UPKEEP_EVERY)).await.is_some() {
            upkeep.upkeep();
        }
    });
    tokio::spawn(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "the health server ended");
        }
    });
    Ok(address)
}

async fn live(State((health, _)): State<(Health, Metrics)>) -> (StatusCode, String) {
    match health.dead() {
        None => (StatusCode::OK, "live\n".to_owned()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

async fn ready(State((health, _)): State<(Health, Metrics)>) -> (StatusCode, &'static str) {
    if health.is_ready() { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n") }
}
