use std::time::Duration;

use docfleet_telemetry::{Health, Metrics, ServiceConfig, Settings, TelemetryConfig};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::{App, Error, idempotency, relay_bell, router::router, server};

/// Runs the service until SIGTERM or SIGINT.
pub async fn run(settings: &Settings) -> Result<(), Error> {
    let _flushed_at_the_end =
        docfleet_telemetry::install("document-api", &settings.section::<TelemetryConfig>("telemetry")?)?;
    let stop = stop_on_signals()?;
    let (health, health_stop) = (Health::default(), CancellationToken::new());
    let service: ServiceConfig = settings.section("service")?;
    // Every port is bound before anything else: one that is taken must end the process at once.
    docfleet_telemetry::serve(&service.listen, health.clone(), Metrics::install()?, health_stop.clone()).await?;
    let app = App::open(settings)?;
    not_of_another_region(&app).await?;
    let address = app.api.listen.clone();
    let listener = TcpListener::bind(&address).await.map_err(|source| Error::Listen { address, source })?;

    let served = match pinned(&app, &stop).await {
        Ok(true) => {
            health.set_ready(true);
            tracing::info!(address = %app.api.listen, region = %app.region, "ready");
            let (health, told) = (health.clone(), stop.clone());
            tokio::spawn(async move {
                told.cancelled().await;
                health.set_ready(false);
            });
            serve(app, listener, stop).await
        }
        Ok(false) => Ok(()),
        Err(error) => Err(error),
    };
    health_stop.cancel();
    served
}

/// Answers requests on `listener`, with everything that runs beside them, until `stop`; then drains.
///
/// # Errors
/// [`Error::CutOff`] when requests were still running at the end of `[api].shutdown_drain`.
pub async fn serve(app: App, listener: TcpListener, stop: CancellationToken) -> Result<(), Error> {
    let ringing = tokio::spawn(relay_bell::ring(app.clone(), stop.clone()));
    let expiry = tokio::spawn(idempotency::expire_old_keys(app.clone(), stop.clone()));
    server::serve(&app, listener, router(app.clone()), stop).await?;
    // Both end by `stop`. A panic in one is on standard error, and none of what they do is a promise.
    drop(tokio::join!(ringing, expiry));
    app.pool.close().await;
    Ok(())
}

/// Asks the blob store whose it is. One that is away is asked again by the first request.
async fn not_of_another_region(app: &App) -> Result<(), Error> {
    match app.blobs.probe().await {
        Err(wrong @ docfleet_blobs::Error::StoreOfOtherRegion { .. }) => Err(wrong.into()),
        Err(error) => {
            tracing::warn!(%error, "the blob store does not say whose it is");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Waits for a registry that is away. False when the process is to end before it answered.
async fn pinned(app: &App, stop: &CancellationToken) -> Result<bool, Error> {
    const RETRY: Duration = Duration::from_secs(1);
    loop {
        match app.pin_schemas().await {
            Ok(()) => return Ok(true),
            Err(docfleet_outbox::Error::RegistryUnavailable(detail)) => {
                tracing::warn!(%detail, "waiting for the registry")
            }
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(false),
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

fn stop_on_signals() -> Result<CancellationToken, Error> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("draining");
        stopping.cancel();
    });
    Ok(stop)
}
