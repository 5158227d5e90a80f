//! The limit: rows are read once and produced, and nobody marks anything. What marks cost is the distance to it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use docfleet_pipeline::{KafkaConfig, broker::client};
use rdkafka::{
    ClientContext, Message,
    error::KafkaError,
    message::{Header, OwnedHeaders},
    producer::{BaseRecord, DeliveryResult, ProducerContext, ThreadedProducer},
    types::RDKafkaErrorCode,
};
use sqlx::{PgPool, Row, postgres::PgRow, types::Json};

const BATCH_ROWS: i64 = 5_000;
const PATIENCE: Duration = Duration::from_secs(300);

struct Count(Arc<AtomicU64>);

impl ClientContext for Count {}

impl ProducerContext for Count {
    type DeliveryOpaque = ();

    fn delivery(&self, delivered: &DeliveryResult<'_>, (): ()) {
        if delivered.as_ref().is_ok_and(|record| record.offset() >= 0) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Reads and produces all rows of the outbox, whatever their marks, with the relay's client configuration; returns how
/// long it took until the last acknowledgement. The next rows are read while these are sent.
pub async fn read_and_produce(pool: &PgPool, kafka: &KafkaConfig, rows: u32) -> anyhow::Result<Duration> {
    let acknowledged = Arc::new(AtomicU64::new(0));
    let producer: ThreadedProducer<Count> =
        client::producer(kafka).map_err(anyhow::Error::msg)?.create_with_context(Count(Arc::clone(&acknowledged)))?;
    let began = Instant::now();
    let mut next = tokio::spawn(read(pool.clone(), 0));
    loop {
        let batch = next.await??;
        let Some(last) = batch.last() else { break };
        next = tokio::spawn(read(pool.clone(), last.try_get(0)?));
        for row in &batch {
            send(&producer, row).await?;
        }
    }
    while acknowledged.load(Ordering::Relaxed) < u64::from(rows) {
        anyhow::ensure!(began.elapsed() < PATIENCE, "not everything was acknowledged");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let took = began.elapsed();
    std::thread::spawn(move || drop(producer));
    Ok(took)
}

async fn read(pool: PgPool, after: i64) -> Result<Vec<PgRow>, sqlx::Error> {
    sqlx::query(
        "SELECT id, topic, key, headers, payload FROM pipeline.outbox_events WHERE id > $1 ORDER BY id LIMIT $2",
    )
    .bind(after)
    .bind(BATCH_ROWS)
    .fetch_all(&pool)
    .await
}

async fn send(producer: &ThreadedProducer<Count>, row: &PgRow) -> anyhow::Result<()> {
    let pairs: Json<Vec<(String, String)>> = row.try_get(3)?;
    let headers = pairs.0.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(value.as_bytes()) })
    });
    let mut record: BaseRecord<'_, [u8], [u8]> =
        BaseRecord::to(row.try_get(1)?).key(row.try_get(2)?).payload(row.try_get(4)?).headers(headers);
    while let Err((error, unsent)) = producer.send(record) {
        anyhow::ensure!(matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)), error);
        record = unsent;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}
