//! Carries the outbox to Kafka: `lease` (which shards are ours) → `store` (unpublished rows, oldest first) → `publish`
//! (one record of an aggregate at a time) → `store` (marks, fenced by the lease's epoch).
//!
//! Why the first occurrence of each event is in order, even with two relays at work on one shard: each begins with the
//! lowest unpublished version of an aggregate and sends the next only after Kafka has acknowledged it. A relay that was
//! stopped and resumed can therefore repeat, never overtake; leases only save the repetition.

mod held;
mod lease;
mod publish;
mod store;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rdkafka::producer::{FutureProducer, Producer, PurgeConfig};
use serde::Deserialize;
use sqlx::{PgPool, postgres::PgListener};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::{
    held::Held,
    lease::{Keeper, Leases},
    store::Unpublished,
};
use crate::{
    RetryConfig, Setup,
    broker::client,
    database::{ANSWER_TIMEOUT, in_time},
    metric,
};

/// `[relay]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RelayConfig {
    /// Rows that one publisher reads, sends and marks at a time.
    pub batch_rows: i64,
    pub batch_bytes_max: i64,
    /// Batches under way at once, each over shards of its own.
    pub publishers: i16,
    /// A relay that does not answer for so long loses its shards.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    /// How long a row that Kafka refuses (too large, no such topic, no right) is left out, with what follows it.
    #[serde(with = "humantime_serde")]
    pub hold_refused: Duration,
    /// Longest pause between two looks into the table while there is nothing to do.
    #[serde(with = "humantime_serde")]
    pub idle_poll: Duration,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            batch_rows: 2_000,
            batch_bytes_max: 32 * 1024 * 1024,
            publishers: 2,
            lease: Duration::from_secs(10),
            hold_refused: Duration::from_secs(60),
            idle_poll: Duration::from_secs(1),
        }
    }
}

/// First pause of an idle publisher; doubles up to `idle_poll`.
const IDLE_FIRST: Duration = Duration::from_millis(10);

/// Relays until `setup.shutdown`. Servers that are away are waited for.
///
/// # Errors
/// When the configuration is refused, or the database is not what it should be.
pub async fn relay(setup: &Setup) -> anyhow::Result<()> {
    let config: RelayConfig = setup.section("relay")?;
    let kafka = client::producer(&setup.kafka()?).map_err(anyhow::Error::msg)?;
    let retry: RetryConfig = setup.section("retry")?;
    let owner = Uuid::new_v4();
    let (leases, held) = watch::channel(Arc::new(Leases::default()));
    let keeper = Keeper { pool: setup.pool.clone(), owner, ttl: config.lease };
    // Renewed until the last mark is made, not only until the shutdown begins.
    let published = CancellationToken::new();
    setup.spawn("leases", keeper.clone().keep(leases, published.clone()));
    setup.spawn("measure", keeper.measure(held.clone(), setup.shutdown.clone()));
    let (wake, woken) = watch::channel(());
    setup.spawn("listen", listen(setup.pool.clone(), wake, setup.shutdown.clone()));
    setup.health.set_ready(true);
    let mut failures = 0;
    while !setup.shutdown.is_cancelled() {
        let producer: FutureProducer = kafka.create()?;
        let ended = publish_until_error(setup, &config, &producer, owner, &held, &woken).await;
        // Whatever is still queued in this client must not be sent after what its successor sends.
        producer.purge(PurgeConfig::default().queue().inflight());
        let Err(error) = ended else { continue };
        if error.progressed {
            failures = 0;
        }
        metrics::counter!(metric::RELAY_FAILURES_TOTAL, "reason" => error.reason).increment(1);
        tracing::warn!(reason = error.reason, detail = error.detail, failures, "a new producer, and the table again");
        tokio::select! {
            () = tokio::time::sleep(retry.wait(failures, rand::random())) => failures += 1,
            () = setup.shutdown.cancelled() => {}
        }
    }
    setup.health.set_ready(false);
    published.cancel();
    Ok(())
}

/// Why a producer was given up.
#[derive(Debug)]
pub(crate) struct Broken {
    reason: &'static str,
    detail: String,
    /// Something was published since the producer was made.
    progressed: bool,
}

async fn publish_until_error(
    setup: &Setup,
    config: &RelayConfig,
    producer: &FutureProducer,
    owner: Uuid,
    held: &watch::Receiver<Arc<Leases>>,
    woken: &watch::Receiver<()>,
) -> Result<(), Broken> {
    // One publisher's error stops all of them: they share the producer.
    let stop = setup.shutdown.child_token();
    let mut publishers = JoinSet::new();
    for number in 0..config.publishers.max(1) {
        let publisher = Publisher {
            pool: setup.pool.clone(),
            producer: producer.clone(),
            config: config.clone(),
            owner,
            number,
            held: held.clone(),
            woken: woken.clone(),
            stop: stop.clone(),
            refused: Held::default(),
        };
        publishers.spawn(publisher.run());
    }
    let mut first = Ok(());
    while let Some(ended) = publishers.join_next().await {
        stop.cancel();
        let ended = ended.unwrap_or_else(|e| Err(Broken { reason: "panic", detail: e.to_string(), progressed: false }));
        first = first.and(ended);
    }
    first
}

struct Publisher {
    pool: PgPool,
    producer: FutureProducer,
    config: RelayConfig,
    owner: Uuid,
    number: i16,
    held: watch::Receiver<Arc<Leases>>,
    woken: watch::Receiver<()>,
    stop: CancellationToken,
    refused: Held,
}

impl Publisher {
    async fn run(mut self) -> Result<(), Broken> {
        let mut pause = IDLE_FIRST;
        let mut progressed = false;
        while !self.stop.is_cancelled() {
            let published = self.round().await.map_err(|error| Broken { progressed, ..error })?;
            if published > 0 {
                (pause, progressed) = (IDLE_FIRST, true);
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(self.config.idle_poll),
                // Fails only when the listener has ended; then the sleep decides.
                Ok(()) = self.woken.changed() => pause = IDLE_FIRST,
                () = self.stop.cancelled() => {}
            }
        }
        Ok(())
    }

    /// Reads, sends and marks one batch; returns how many rows were marked.
    async fn round(&mut self) -> Result<usize, Broken> {
        let leases = self.held.borrow().of_publisher(self.number, self.config.publishers.max(1));
        if leases.is_empty() {
            return Ok(0);
        }
        self.refused.expire();
        let rows = self.unpublished(&leases).await.map_err(database)?;
        if rows.is_empty() {
            return Ok(0);
        }
        let sent = publish::publish(&self.producer, rows).await;
        let marked = self.mark(&leases, &sent.acknowledged).await.map_err(database)?;
        for (row, detail) in &sent.refused {
            metrics::counter!(metric::RELAY_FAILURES_TOTAL, "reason" => "refused").increment(1);
            tracing::error!(
                row = row.id,
                topic = row.topic,
                detail,
                "Kafka refuses this row; it waits, with what follows it"
            );
            self.refused.hold(row.id, row.aggregate_id, self.config.hold_refused);
        }
        if marked < sent.acknowledged.len() {
            let repeated = sent.acknowledged.len() - marked;
            tracing::warn!(repeated, "shards were lost on the way; their new owner publishes these once more");
        }
        metrics::counter!(metric::RELAY_PUBLISHED_TOTAL).increment(sent.acknowledged.len() as u64);
        match sent.error {
            Some(detail) => Err(Broken { reason: "delivery", detail, progressed: marked > 0 }),
            None => Ok(marked),
        }
    }

    async fn unpublished(&self, leases: &BTreeMap<i16, i64>) -> Result<Vec<Unpublished>, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        let (rows, bytes) = (self.config.batch_rows, self.config.batch_bytes_max);
        let reading = store::unpublished(&mut connection, leases, &self.refused, rows, bytes);
        let answered = tokio::time::timeout(ANSWER_TIMEOUT, reading).await;
        in_time(answered, connection)
    }

    async fn mark(&self, leases: &BTreeMap<i16, i64>, ids: &[i64]) -> Result<usize, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        let answered =
            tokio::time::timeout(ANSWER_TIMEOUT, store::mark(&mut connection, self.owner, leases, ids)).await;
        in_time(answered, connection)
    }
}

fn database(error: sqlx::Error) -> Broken {
    Broken { reason: "database", detail: error.to_string(), progressed: false }
}

/// Hands the wake-ups of writers on. Only a hint: without it the relay is as right, and slower.
async fn listen(pool: PgPool, wake: watch::Sender<()>, shutdown: CancellationToken) -> anyhow::Result<()> {
    let listening = async {
        loop {
            if let Err(error) = listen_once(&pool, &wake).await {
                tracing::debug!(%error, "listening for wake-ups");
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        () = listening => Ok(()),
        () = shutdown.cancelled() => Ok(()),
    }
}

async fn listen_once(pool: &PgPool, wake: &watch::Sender<()>) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(docfleet_outbox::WAKE_UP_CHANNEL).await?;
    loop {
        listener.recv().await?;
        wake.send_replace(());
    }
}
