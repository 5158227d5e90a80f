use std::time::Duration;

use docfleet_events::DocumentUploaded;
use docfleet_outbox::{EventMeta, Registry, RegistryConfig, codec};
use docfleet_pipeline::{KafkaConfig, broker::client};
use rdkafka::{
    error::KafkaError,
    producer::{BaseProducer, BaseRecord, Producer},
    types::RDKafkaErrorCode,
};
use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(300);

/// As many uploads of as many documents on their topic.
pub async fn fill(kafka: &KafkaConfig, registry_url: &str, count: u32) -> anyhow::Result<()> {
    let registry = Registry::new(&RegistryConfig { url: registry_url.to_owned(), ..Default::default() })?;
    let schema = registry.pin::<DocumentUploaded>().await?;
    let producer: BaseProducer = client::producer(kafka).map_err(anyhow::Error::msg)?.create()?;
    let topic = format!("{}documents.uploaded.v1", kafka.topic_prefix);
    for nth in 0..count {
        let document = Uuid::now_v7();
        let blob = json!({ "key": format!("acme/documents/{document}"), "size_bytes": 48_211 });
        let uploaded: DocumentUploaded = serde_json::from_value(
            json!({ "document_id": document, "file_name": "Kontoauszug 2026-05.pdf", "declared_mime": "application/pdf", "blob": blob }),
        )?;
        let meta = EventMeta {
            event_id: Uuid::now_v7(),
            occurred_at: OffsetDateTime::now_utc(),
            aggregate_type: "document".into(),
            aggregate_id: document,
            aggregate_version: 1,
            tenant: "acme".into(),
            region: "eu".into(),
            cause: None,
            traceparent: None,
        };
        let (key, payload) = (document.to_string(), codec::encode(schema, &meta, &uploaded)?);
        let mut record = BaseRecord::to(&topic).key(&key).payload(&payload);
        while let Err((error, unsent)) = producer.send(record) {
            match error {
                KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) => producer.poll(Duration::from_millis(5)),
                _ => return Err(error.into()),
            };
            record = unsent;
        }
        if nth % 1_000 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(PATIENCE)?;
    Ok(())
}
