//! One publisher of a source, over all its producers.

use std::sync::{Arc, Mutex};

use rdkafka::{
    ClientConfig,
    producer::{Producer, PurgeConfig, ThreadedProducer},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    acks::{Acks, Teller},
    config::RelayConfig,
    flow::Flow,
    gaps::Gaps,
    held::Held,
    lease::Leases,
    published::Published,
    source::Source,
    topics::Changed,
    vitals::Vitals,
};
use crate::{RetryConfig, metric};

pub(super) type Client = ThreadedProducer<Teller>;

/// What outlives a producer.
pub(super) struct Publisher {
    pub source: Source,
    pub kafka: ClientConfig,
    pub config: RelayConfig,
    pub retry: RetryConfig,
    pub owner: Uuid,
    pub number: i16,
    pub leases: watch::Receiver<Arc<Leases>>,
    pub woken: watch::Receiver<()>,
    pub stop: CancellationToken,
    pub vitals: Arc<Vitals>,
    pub changed: watch::Receiver<Changed>,
    pub memory: Memory,
}

/// What was learned of rows. A new producer does not change what Kafka refuses.
#[derive(Default)]
pub(super) struct Memory {
    pub refused: Held,
    pub gaps: Gaps,
    /// Shared with the readings, which run in tasks of their own.
    pub published: Arc<Mutex<Published>>,
}

/// Why a producer was given up.
#[derive(Debug)]
pub(super) struct Broken {
    pub reason: &'static str,
    pub detail: String,
    /// Something was published since the producer was made.
    pub progressed: bool,
}

impl Broken {
    pub fn database(error: &sqlx::Error) -> Self {
        Self { reason: "database", detail: error.to_string(), progressed: false }
    }

    pub fn delivery(detail: String) -> Self {
        Self { reason: "delivery", detail, progressed: false }
    }
}

impl Publisher {
    /// Publishes until the process ends.
    ///
    /// # Errors
    /// When the client's configuration is refused.
    pub async fn run(mut self) -> anyhow::Result<()> {
        let mut failures = 0;
        while !self.stop.is_cancelled() {
            let acks = Arc::new(Acks::default());
            let client: Client = self.kafka.create_with_context(Teller(Arc::clone(&acks)))?;
            let ended = match Flow::new(&mut self, client.clone(), acks).await {
                Ok(flow) => flow.run().await,
                Err(error) => Err(Broken::database(&error)),
            };
            // Whatever is still queued in this client must not be sent after what its successor sends.
            client.purge(PurgeConfig::default().queue().inflight());
            // On a thread: its end waits for threads of its own, and may hang (librdkafka#4884).
            std::thread::spawn(move || drop(client));
            let Err(broken) = ended else { continue };
            self.vitals.failed();
            if broken.progressed {
                failures = 0;
            }
            let source = self.source.name.clone();
            metrics::counter!(metric::RELAY_FAILURES_TOTAL, "source" => source, "reason" => broken.reason).increment(1);
            let Broken { reason, detail, .. } = broken;
            tracing::warn!(source = self.source.name, reason, detail, failures, "a new producer, and the table again");
            tokio::select! {
                () = tokio::time::sleep(self.retry.wait(failures, rand::random())) => failures += 1,
                () = self.stop.cancelled() => {}
            }
        }
        Ok(())
    }
}
