//! Topics whose number of partitions is not the one that was agreed to. Their keys would go to other partitions than
//! before, where nothing keeps the order between old records and new ones; so their events are held.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use rdkafka::{
    ClientConfig, ClientContext,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::metric;

/// Well below the five minutes after which a producer looks for new partitions.
const EVERY: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_secs(1);
const ANSWER: Duration = Duration::from_secs(5);

pub(super) type Changed = Arc<HashSet<String>>;

/// The observer's log lines would only repeat the producers'.
struct Quiet;
impl ClientContext for Quiet {}
impl ConsumerContext for Quiet {}

pub(super) struct Topics {
    pool: PgPool,
    kafka: Arc<BaseConsumer<Quiet>>,
    changed: watch::Sender<Changed>,
    stop: CancellationToken,
}

impl Topics {
    /// # Errors
    /// When the client's configuration is refused.
    pub fn new(pool: PgPool, kafka: &ClientConfig, stop: CancellationToken) -> anyhow::Result<Self> {
        let kafka = Arc::new(kafka.create_with_context(Quiet)?);
        Ok(Self { pool, kafka, changed: watch::Sender::new(Changed::default()), stop })
    }

    pub fn changed(&self) -> watch::Receiver<Changed> {
        self.changed.subscribe()
    }

    /// Waits for servers that are away: nothing may go before it is known whether it may.
    pub async fn first_look(&self) {
        while !self.stop.is_cancelled() && !self.look().await {
            tokio::time::sleep(AGAIN).await;
        }
    }

    pub async fn run(self) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {
                    self.look().await;
                }
                () = self.stop.cancelled() => break,
            }
        }
        // On a thread: the client's end may hang.
        std::thread::spawn(move || drop(self.kafka));
        Ok(())
    }

    /// False when a server did not answer; then what was known stays.
    async fn look(&self) -> bool {
        let Ok(Ok(accepted)) = tokio::time::timeout(ANSWER, self.accepted()).await else { return false };
        let Some(there) = self.there(accepted.keys().cloned().collect()).await else { return false };
        // A topic that is not there is another matter: Kafka refuses the row.
        let differs = |(topic, accepted): &(String, i32)| there.get(topic).is_some_and(|n| *n > 0 && n != accepted);
        let changed: Vec<(String, i32)> = accepted.into_iter().filter(differs).collect();
        for (topic, accepted) in &changed {
            let partitions = there[topic];
            tracing::error!(
                topic,
                accepted,
                partitions,
                "its partitions changed, and keys would change places: its events wait for `docfleet setup \
                 --accept-partitions {topic}={partitions}`"
            );
        }
        metrics::gauge!(metric::RELAY_CHANGED_TOPICS).set(metric::count(changed.len()));
        let changed: HashSet<String> = changed.into_iter().map(|(topic, _)| topic).collect();
        self.changed.send_if_modified(|before| {
            let news = **before != changed;
            *before = Arc::new(changed);
            news
        });
        true
    }

    /// Nothing where the fleet's own schema is missing: a relay may serve other outboxes only.
    async fn accepted(&self) -> Result<BTreeMap<String, i32>, sqlx::Error> {
        let rows = sqlx::query_as("SELECT topic, partitions FROM pipeline.topics").fetch_all(&self.pool).await;
        match rows {
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P01") => Ok(BTreeMap::new()),
            other => Ok(other?.into_iter().collect::<BTreeMap<String, i32>>()),
        }
    }

    async fn there(&self, topics: Vec<String>) -> Option<BTreeMap<String, i32>> {
        let kafka = Arc::clone(&self.kafka);
        let asking = tokio::task::spawn_blocking(move || {
            // Serves the client's own events, which would pile up while a broker is away.
            drop(kafka.poll(Duration::ZERO));
            let partitions = |topic: String| {
                let metadata = kafka.fetch_metadata(Some(&topic), ANSWER).ok()?;
                let count = metadata.topics().first().map_or(0, |found| found.partitions().len());
                Some((topic, i32::try_from(count).unwrap_or(i32::MAX)))
            };
            topics.into_iter().map(partitions).collect::<Option<BTreeMap<_, _>>>()
        });
        asking.await.ok().flatten()
    }
}
