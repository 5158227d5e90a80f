//! The limit of the client library: no decoding, no order, no database.

use std::time::{Duration, Instant};

use docfleet_pipeline::{KafkaConfig, broker::client};
use rdkafka::{
    Message,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::KafkaError,
    producer::{BaseProducer, BaseRecord, Producer},
    types::RDKafkaErrorCode,
};

use crate::report::Measured;

const PATIENCE: Duration = Duration::from_secs(300);

/// Consumes `count` records and produces each one's bytes to `target`, with the configuration that the runtime uses;
/// returns the time from the first record to the last acknowledgement and the offset commit.
pub fn pass_on(kafka: &KafkaConfig, source: &str, target: &str, count: u32) -> anyhow::Result<Measured> {
    let consumer: BaseConsumer = client::consumer(kafka, "bare-loop").map_err(anyhow::Error::msg)?.create()?;
    let producer: BaseProducer = client::producer(kafka).map_err(anyhow::Error::msg)?.create()?;
    let mut began = Instant::now();
    consumer.subscribe(&[source])?;
    let mut passed = 0;
    while passed < count {
        anyhow::ensure!(began.elapsed() < PATIENCE, "{passed} of {count} records in {PATIENCE:?}");
        // Nothing comes while the group forms.
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message?;
        if passed == 0 {
            began = Instant::now();
        }
        let key = message.key().unwrap_or_default();
        let mut record = BaseRecord::to(target).key(key).payload(message.payload().unwrap_or_default());
        while let Err((error, unsent)) = producer.send(record) {
            match error {
                KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) => producer.poll(Duration::from_millis(1)),
                _ => return Err(error.into()),
            };
            record = unsent;
        }
        passed += 1;
        if passed % 1_000 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(PATIENCE)?;
    consumer.store_offsets(&consumer.position()?)?;
    consumer.commit_consumer_state(CommitMode::Sync)?;
    Ok(Measured { messages: count, took: began.elapsed() })
}
