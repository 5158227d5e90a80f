use docfleet_outbox::{Event, EventMeta, codec};
use docfleet_testkit::Consumed;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::harness::{Bench, CONSUMER, Counted, Echoed};

const DEAD: &str = "SELECT count(*) FROM pipeline.inbox WHERE outcome = 'dead'";
const TOPIC: &str = "tests.counted.v1";

async fn dead_letter_of(payload: Option<&[u8]>) -> Consumed {
    let bench = Bench::new().await;
    let (relay, consumer) = (bench.relay(), bench.consumer());
    bench.topics.produce(TOPIC, "bad", payload, &[("tenant", "acme"), ("own", "kept")]).await;
    bench.append([(Uuid::from_u128(1), 0, "ok")]).await;
    bench.until("one dead letter", DEAD, 1).await;
    bench.until("the good one passes", "SELECT count(*) FROM effects", 1).await;
    bench.until("published", "SELECT count(*) FROM pipeline.outbox_unpublished", 0).await;
    bench.until_committed(TOPIC).await;
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
    let dead = bench.topics.read(&format!("{CONSUMER}.dlq")).await;
    assert_eq!(dead.len(), 1);
    let dead = dead.into_iter().next().unwrap();
    assert_eq!(dead.payload.as_deref(), payload, "the original bytes");
    assert_eq!(dead.key.as_deref(), Some(b"bad".as_slice()));
    assert_eq!(dead.headers["own"], "kept");
    assert!(dead.headers["docfleet_original_topic"].ends_with(TOPIC));
    assert_eq!(dead.headers["docfleet_class"], "poison");
    dead
}

async fn framed(id: u32) -> Vec<u8> {
    framed_at(id, OffsetDateTime::now_utc())
}

fn framed_at(id: u32, occurred_at: OffsetDateTime) -> Vec<u8> {
    let meta = EventMeta {
        event_id: Uuid::now_v7(),
        occurred_at,
        aggregate_type: "counter".into(),
        aggregate_id: Uuid::from_u128(3),
        aggregate_version: 1,
        tenant: "acme".into(),
        region: "test".into(),
        cause: None,
        traceparent: None,
    };
    codec::encode(id, &meta, &Counted { counter_id: Uuid::from_u128(3), number: 0, how: "ok".into() }).unwrap()
}

async fn id_of<E: Event>(bench: &Bench) -> u32 {
    bench.outbox.registry().pin::<E>().await.unwrap()
}

#[tokio::test]
async fn bytes_that_are_not_framed_are_dead_at_once() {
    assert_eq!(dead_letter_of(Some(b"hello")).await.headers["docfleet_reason"], "not-framed");
}

#[tokio::test]
async fn an_empty_value_and_a_tombstone_are_dead_at_once() {
    assert_eq!(dead_letter_of(Some(b"")).await.headers["docfleet_reason"], "empty-payload");
    assert_eq!(dead_letter_of(None).await.headers["docfleet_reason"], "empty-payload");
}

#[tokio::test]
async fn an_oversized_value_is_dead_at_once() {
    assert_eq!(dead_letter_of(Some(&vec![7; 600 * 1024])).await.headers["docfleet_reason"], "oversized");
}

#[tokio::test]
async fn a_datum_that_does_not_follow_its_schema_is_dead_at_once() {
    let bench = Bench::new().await;
    let mut payload = framed(id_of::<Counted>(&bench).await).await;
    payload.truncate(payload.len() / 2);
    assert_eq!(dead_letter_of(Some(&payload)).await.headers["docfleet_reason"], "undecodable");
    let mut payload = framed(id_of::<Counted>(&bench).await).await;
    payload.push(0);
    assert_eq!(dead_letter_of(Some(&payload)).await.headers["docfleet_reason"], "undecodable");
}

#[tokio::test]
async fn an_event_of_another_kind_is_dead_at_once() {
    let bench = Bench::new().await;
    let payload = framed(id_of::<Echoed>(&bench).await).await;
    assert_eq!(dead_letter_of(Some(&payload)).await.headers["docfleet_reason"], "unexpected-event");
}

#[tokio::test]
async fn an_unknown_schema_id_waits_and_holds_what_was_delivered_with_it_not_back() {
    let bench = Bench::new().await;
    let relay = bench.relay();
    bench.append((0..10).map(|n| (Uuid::from_u128(n + 1), 0, "ok"))).await;
    bench.until("published", "SELECT count(*) FROM pipeline.outbox_unpublished", 0).await;
    bench.topics.produce(TOPIC, "bad", Some(&framed(2_000_000_000).await), &[]).await;
    let consumer = bench.consumer();
    bench.until("the others pass", "SELECT count(*) FROM effects", 10).await;
    assert_eq!(bench.count(DEAD).await, 0);
    let committed: i64 = bench.topics.committed(CONSUMER, TOPIC).await.values().sum();
    assert!(committed < 11, "the frontier waits for it: {committed}");
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn a_message_that_is_decodable_after_a_fix_leaves_nothing_waiting_under_its_place() {
    let bench = Bench::new().await;
    let (relay, consumer) = (bench.relay(), bench.consumer());
    let payload = framed(id_of::<Counted>(&bench).await).await;
    bench.topics.produce(TOPIC, "bad", payload.get(..20), &[]).await;
    bench.until("dead", DEAD, 1).await;
    bench.until("published", "SELECT count(*) FROM pipeline.outbox_unpublished", 0).await;
    let dead = bench.topics.read(&format!("{CONSUMER}.dlq")).await.remove(0);
    // As a replay does; the whole payload plays the part of the fixed decoder.
    sqlx::query("UPDATE pipeline.inbox SET outcome = 'retrying', attempt = 1")
        .execute(&bench.database.pool())
        .await
        .unwrap();
    let headers: Vec<(&str, &str)> = dead
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), if name == "docfleet_attempt" { "1" } else { value.as_str() }))
        .collect();
    bench.topics.produce(&format!("{CONSUMER}.retry.10s"), "bad", Some(&payload), &headers).await;
    bench.until("its effect", "SELECT count(*) FROM effects", 1).await;
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
    assert_eq!(bench.count("SELECT count(*) FROM pipeline.inbox WHERE outcome = 'retrying'").await, 0);
    assert_eq!(
        bench.count("SELECT count(*) FROM pipeline.inbox WHERE outcome = 'skipped' AND reason = 'decoded-later'").await,
        1
    );
}

#[tokio::test]
async fn a_time_that_no_database_knows_is_dead_at_once() {
    let bench = Bench::new().await;
    let prehistoric = OffsetDateTime::from_unix_timestamp(-213_000_000_000).unwrap();
    let payload = framed_at(id_of::<Counted>(&bench).await, prehistoric);
    assert_eq!(dead_letter_of(Some(&payload)).await.headers["docfleet_reason"], "implausible-time");
}

#[tokio::test]
async fn a_header_name_that_is_not_text_costs_one_message() {
    let bench = Bench::new().await;
    let (relay, consumer) = (bench.relay(), bench.consumer());
    bench.topics.produce_with_raw_header(TOPIC, b"\xff\xfe").await;
    bench.append([(Uuid::from_u128(1), 0, "ok")]).await;
    bench.until("the good one passes", "SELECT count(*) FROM effects", 1).await;
    bench.until("dead", "SELECT count(*) FROM pipeline.inbox WHERE reason = 'unreadable-headers'", 1).await;
    bench.until_committed(TOPIC).await;
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn foreign_headers_can_not_speak_for_the_runtime() {
    let bench = Bench::new().await;
    let (relay, consumer) = (bench.relay(), bench.consumer());
    let forged = [("docfleet_not_before", "9223372036854775807"), ("docfleet_attempt", "99")];
    bench.topics.produce(TOPIC, "bad", Some(b"not framed"), &forged).await;
    bench.append([(Uuid::from_u128(1), 0, "ok")]).await;
    bench.until("the good one passes", "SELECT count(*) FROM effects", 1).await;
    bench
        .until("dead, at attempt 0", "SELECT count(*) FROM pipeline.inbox WHERE outcome = 'dead' AND attempt = 0", 1)
        .await;
    bench.until_committed(TOPIC).await;
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
}

/// The inbox has forgotten that it was done; only its age tells.
#[tokio::test]
async fn an_event_whose_day_was_dropped_is_dead_and_done_no_second_time() {
    let bench = Bench::new().await;
    let pool = bench.database.pool();
    let long_ago = OffsetDateTime::now_utc() - time::Duration::days(40);
    let payload = framed_at(id_of::<Counted>(&bench).await, long_ago);
    sqlx::query("SELECT pipeline.add_day('inbox', $1)").bind(long_ago.date()).execute(&pool).await.unwrap();
    sqlx::query("SELECT pipeline.drop_day('inbox', $1)").bind(long_ago.date()).execute(&pool).await.unwrap();
    let (relay, consumer) = (bench.relay(), bench.consumer());
    bench.topics.produce(TOPIC, "old", Some(&payload), &[]).await;
    bench
        .until("dead", "SELECT count(*) FROM pipeline.inbox_outliers WHERE outcome = 'dead' AND reason = 'too-old'", 1)
        .await;
    bench.topics.produce(TOPIC, "old", Some(&payload), &[]).await;
    bench.append([(Uuid::from_u128(1), 0, "ok")]).await;
    bench.until_committed(TOPIC).await;
    assert_eq!(bench.count("SELECT count(*) FROM effects").await, 1, "of the young one");
    let letters = "SELECT count(*) FROM pipeline.outbox_events WHERE kind = 'dead_letter'";
    assert_eq!(bench.count(letters).await, 1);

    // An operator who knows better redrives it; a copy of that record finds nothing that waits for it.
    sqlx::query("UPDATE pipeline.inbox SET outcome = 'retrying', attempt = 1 WHERE outcome = 'dead'")
        .execute(&pool)
        .await
        .unwrap();
    let redriven = [("docfleet_attempt", "1")];
    let retries = format!("{CONSUMER}.retry.10s");
    bench.topics.produce(&retries, "old", Some(&payload), &redriven).await;
    bench.until("its effect", "SELECT count(*) FROM effects", 2).await;
    bench.topics.produce(&retries, "old", Some(&payload), &redriven).await;
    bench.until_committed(&retries).await;
    assert_eq!(bench.count(letters).await, 1);
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
}
