use std::{future::Future, str::FromStr, sync::Arc, time::Duration};

use anyhow::Context;
use docfleet_outbox::{Error, Event, Registry};
use docfleet_telemetry::{Health, ServiceConfig, Settings};
use serde::de::DeserializeOwned;
use sqlx::{PgPool, postgres::PgConnectOptions};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{KafkaConfig, PostgresConfig, RetryConfig, database::pool_options};

/// What a worker is built from. Cheap to clone.
#[derive(Clone)]
pub struct Setup {
    /// Name of the worker: its consumer group, its place in inbox and metrics.
    pub name: &'static str,
    pub settings: Settings,
    /// Connects when first used; a database that is away does not keep a process from starting.
    pub pool: PgPool,
    pub registry: Registry,
    /// The region that this process runs in.
    pub region: String,
    pub health: Health,
    /// Cancelled when the process is to end.
    pub shutdown: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) broken: mpsc::UnboundedSender<String>,
}

impl Setup {
    /// `broken` receives why a background task ended before its time.
    pub fn new(
        name: &'static str,
        settings: Settings,
        shutdown: CancellationToken,
        broken: mpsc::UnboundedSender<String>,
    ) -> anyhow::Result<Self> {
        let pool = pool_of(&settings.section("postgres")?, name)?;
        let registry = Registry::new(&settings.section("registry")?)?;
        let region = settings.section::<ServiceConfig>("service")?.region;
        let (health, tasks) = (Health::default(), TaskTracker::new());
        Ok(Self { name, settings, pool, registry, region, health, shutdown, tasks, broken })
    }

    /// A section of the configuration; its defaults where it is absent.
    ///
    /// # Errors
    /// An unknown key or a value of the wrong kind.
    pub fn section<T: DeserializeOwned + Default>(&self, name: &str) -> anyhow::Result<T> {
        Ok(self.settings.section(name)?)
    }

    /// Registers the schema of an event that this worker writes. Waits for a registry that is away.
    ///
    /// # Errors
    /// When the registry refuses the schema as incompatible, or the process is to end.
    pub async fn pin<E: Event>(&self) -> anyhow::Result<()> {
        let retry: RetryConfig = self.section("retry")?;
        let mut waits = 0;
        loop {
            match self.registry.pin::<E>().await {
                Ok(_) => return Ok(()),
                Err(Error::RegistryUnavailable(detail)) => {
                    tracing::warn!(%detail, event = E::NAME, "waiting for the registry")
                }
                Err(error) => return Err(error).context(E::NAME),
            }
            tokio::select! {
                () = tokio::time::sleep(retry.wait(waits, rand::random())) => waits += 1,
                () = self.shutdown.cancelled() => anyhow::bail!("shutting down"),
            }
        }
    }

    /// Runs a task beside the consumer. It is to end soon after `shutdown` is cancelled; when it ends earlier, or with an
    /// error, or in a panic, the process ends.
    pub fn spawn(&self, task: &'static str, future: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        let (shutdown, broken) = (self.shutdown.clone(), self.broken.clone());
        let running = tokio::spawn(future);
        self.tasks.spawn(async move {
            let why = match running.await {
                Ok(Ok(())) if shutdown.is_cancelled() => return,
                Ok(Ok(())) => "ended before its time".to_owned(),
                Ok(Err(error)) => format!("{error:#}"),
                Err(error) => error.to_string(),
            };
            // Nobody listens any more when the process is ending already.
            broken.send(format!("task {task}: {why}")).ok();
        });
    }

    /// Resolves when all background tasks have ended; call it after `shutdown` was cancelled.
    pub async fn background_ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    pub(crate) fn kafka(&self) -> anyhow::Result<KafkaConfig> {
        self.section("kafka")
    }

    /// Wakes idle relays for as long as the process lives: one NOTIFY for many commits, as each takes a database-wide
    /// lock while it commits.
    pub(crate) fn relay_waker(&self) -> Arc<tokio::sync::Notify> {
        const COALESCE: Duration = Duration::from_millis(2);
        let wake = Arc::new(tokio::sync::Notify::new());
        let (woken, pool, shutdown) = (Arc::clone(&wake), self.pool.clone(), self.shutdown.clone());
        self.spawn("wake-relays", async move {
            loop {
                tokio::select! {
                    () = woken.notified() => {}
                    () = shutdown.cancelled() => return Ok(()),
                }
                let notify =
                    sqlx::query("SELECT pg_notify($1, '')").bind(docfleet_outbox::WAKE_UP_CHANNEL).execute(&pool);
                if let Err(error) = notify.await {
                    // A hint only: the relays poll.
                    tracing::debug!(%error, "wake-up of the relays");
                }
                tokio::time::sleep(COALESCE).await;
            }
        });
        wake
    }
}

fn pool_of(config: &PostgresConfig, name: &str) -> anyhow::Result<PgPool> {
    let statement_timeout = format!("{}ms", config.statement_timeout.as_millis());
    let options = PgConnectOptions::from_str(&config.url).context("postgres.url")?.application_name(name).options([
        ("statement_timeout", statement_timeout.as_str()),
        // A process that was stopped in the middle of a settlement must not hold its locks for ever.
        ("idle_in_transaction_session_timeout", "60s"),
        ("lock_timeout", "20s"),
    ]);
    Ok(pool_options(config).max_connections(config.max_connections).connect_lazy_with(options))
}
