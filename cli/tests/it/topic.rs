use std::time::Duration;

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};
use sqlx::PgPool;
use uuid::Uuid;

use crate::fleet::Fleet;

#[derive(sqlx::FromRow, Clone)]
pub struct Published {
    pub event_id: Uuid,
    pub topic: String,
    pub key: Vec<u8>,
    pub payload: Vec<u8>,
}

/// The events as a relay would publish them.
pub async fn published(pool: &PgPool) -> Vec<Published> {
    sqlx::query_as("SELECT event_id, topic, key, payload FROM pipeline.outbox_events WHERE kind = 'event' ORDER BY id")
        .fetch_all(pool)
        .await
        .unwrap()
}

pub async fn create(fleet: &Fleet, topics: &[&str]) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", fleet.servers.brokers()).create().unwrap();
    let new: Vec<NewTopic<'_>> = topics.iter().map(|name| NewTopic::new(name, 1, TopicReplication::Fixed(1))).collect();
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
    for result in admin.create_topics(&new, &options).await.unwrap() {
        result.unwrap();
    }
}

/// One after the other, in the given order.
pub async fn produce(fleet: &Fleet, records: &[Published]) {
    let producer: FutureProducer =
        ClientConfig::new().set("bootstrap.servers", fleet.servers.brokers()).set("linger.ms", "0").create().unwrap();
    for record in records {
        let id = record.event_id.to_string();
        let headers = OwnedHeaders::new().insert(Header { key: "event_id", value: Some(&id) });
        let record = FutureRecord::to(&record.topic).key(&record.key).payload(&record.payload).headers(headers);
        producer.send(record, Duration::from_secs(10)).await.unwrap();
    }
}

/// All topics of the events, with all of them in it.
pub async fn publish_all(fleet: &Fleet, pool: &PgPool) {
    let records = published(pool).await;
    let mut topics: Vec<&str> = records.iter().map(|record| record.topic.as_str()).collect();
    topics.sort_unstable();
    topics.dedup();
    create(fleet, &topics).await;
    produce(fleet, &records).await;
}
