//! One event id, two payloads: somebody forges, or a producer is broken.

use std::sync::LazyLock;

use docfleet_outbox::{EventMeta, codec};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::harness::{Bench, CONSUMER, Counted, Ordered, Running};

const TOPIC: &str = "tests.counted.v1";
/// Its day is a part of the inbox's key, so each payload says the same.
static OCCURRED_AT: LazyLock<OffsetDateTime> = LazyLock::new(OffsetDateTime::now_utc);
const COLLIDED: &str = "SELECT count(*) FROM pipeline.inbox
    WHERE outcome = 'dead' AND reason = 'id-collision' AND event_day = '1970-01-01'";

/// Payloads of one event id that differ in their number.
async fn payload(bench: &Bench, event_id: Uuid, number: i64) -> Vec<u8> {
    let counter_id = Uuid::from_u128(3);
    let meta = EventMeta {
        event_id,
        occurred_at: *OCCURRED_AT,
        aggregate_type: "counter".into(),
        aggregate_id: counter_id,
        aggregate_version: 1,
        tenant: "acme".into(),
        region: "test".into(),
        cause: None,
        traceparent: None,
    };
    let schema = bench.outbox.registry().pin::<Counted>().await.unwrap();
    codec::encode(schema, &meta, &Counted { counter_id, number, how: "ok".into() }).unwrap()
}

async fn collide(bench: &Bench, consumer: Running) {
    let relay = bench.relay();
    let event_id = Uuid::now_v7();
    let (first, second) = (payload(bench, event_id, 1).await, payload(bench, event_id, 2).await);
    // Each twice: a repeated delivery is none, neither of the first nor of the dead one's place.
    for bytes in [&first, &second, &first] {
        bench.topics.produce(TOPIC, "key", Some(bytes), &[]).await;
    }
    bench.until_committed(TOPIC).await;
    assert_eq!(bench.count(COLLIDED).await, 1);
    assert_eq!(bench.count("SELECT count(*) FROM pipeline.inbox").await, 2);
    bench.until("published", "SELECT count(*) FROM pipeline.outbox_unpublished", 0).await;
    let dead = bench.topics.read(&format!("{CONSUMER}.dlq")).await;
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].payload.as_deref(), Some(second.as_slice()), "the original bytes");
    assert_eq!(dead[0].headers["docfleet_reason"], "id-collision");
    let effects: Vec<i64> =
        sqlx::query_scalar("SELECT number FROM effects").fetch_all(&bench.database.pool()).await.unwrap();
    assert_eq!(effects, [1]);
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn another_payload_under_a_known_event_id_is_a_dead_letter_and_a_redelivery_is_not() {
    let bench = Bench::new().await;
    let consumer = bench.consumer();
    collide(&bench, consumer).await;
}

#[tokio::test]
async fn a_collision_is_found_by_an_ordered_consumer_too() {
    let bench = Bench::new().await;
    let consumer = bench.consumer_under::<Ordered>();
    collide(&bench, consumer).await;
}

#[tokio::test]
async fn a_collision_inside_one_batch_is_found() {
    let bench = Bench::new().await;
    let relay = bench.relay();
    let event_id = Uuid::now_v7();
    // Other keys, so that they are worked on at once; before the consumer is there.
    for number in 0..40 {
        let bytes = payload(&bench, event_id, number % 2).await;
        bench.topics.produce(TOPIC, &format!("key-{number}"), Some(&bytes), &[]).await;
    }
    let consumer = bench.consumer();
    bench.until_committed(TOPIC).await;
    assert_eq!(bench.count(COLLIDED).await, 20, "one payload won, all of the other died");
    assert_eq!(bench.count("SELECT count(*) FROM effects").await, 1);
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
}
