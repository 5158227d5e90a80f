use std::{collections::HashMap, time::Duration};

use uuid::Uuid;

use crate::harness::Bench;

const TOPIC: &str = "tests.counted.v1";
const UNPUBLISHED: &str = "SELECT count(*) FROM pipeline.outbox_events WHERE published_at IS NULL";

async fn first_occurrences_are_in_order(bench: &Bench, aggregates: usize, versions: i64) {
    let mut next: HashMap<Vec<u8>, i64> = HashMap::new();
    for record in bench.topics.read(TOPIC).await {
        let version: i64 = record.headers["aggregate_version"].parse().unwrap();
        let expected = next.entry(record.key.unwrap()).or_insert(1);
        assert!(version <= *expected, "version {version} before {expected}");
        if version == *expected {
            *expected += 1;
        }
    }
    assert_eq!(next.len(), aggregates);
    assert!(next.values().all(|next| *next == versions + 1), "{next:?}");
}

#[tokio::test]
async fn a_slow_transaction_with_a_smaller_id_is_published_too() {
    let bench = Bench::new().await;
    let relay = bench.relay();
    let mut slow = bench.database.pool().begin().await.unwrap();
    let draft = docfleet_outbox::Draft::first(
        crate::harness::Counted { counter_id: Uuid::from_u128(1), number: 0, how: "ok".into() },
        "acme",
        "test",
        None,
    );
    bench.outbox.append(&mut slow, vec![draft]).await.unwrap();
    bench.append([(Uuid::from_u128(2), 0, "ok")]).await;
    bench.until("the fast one", "SELECT count(*) FROM pipeline.outbox_events WHERE published_at IS NOT NULL", 1).await;
    slow.commit().await.unwrap();
    bench.until("both", "SELECT count(*) FROM pipeline.outbox_events WHERE published_at IS NOT NULL", 2).await;
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn two_relays_share_the_shards_and_one_takes_over_what_a_crashed_one_held() {
    let bench = Bench::new().await;
    let (first, second) = (bench.relay(), bench.relay());
    let each = "SELECT count(*) FROM (SELECT owner FROM pipeline.relay_leases WHERE owner IS NOT NULL
                 GROUP BY owner HAVING count(*) = 32) AS halves";
    bench.until("half each", each, 2).await;
    for number in 0..10 {
        bench.append((0..40).map(|n| (Uuid::from_u128(n + 1), number, "ok"))).await;
    }
    first.crash();
    for number in 10..20 {
        bench.append((0..40).map(|n| (Uuid::from_u128(n + 1), number, "ok"))).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bench.until("all published", UNPUBLISHED, 0).await;
    second.stop().await.unwrap();
    first_occurrences_are_in_order(&bench, 40, 20).await;
    let released =
        "SELECT count(*) FROM pipeline.relay_leases WHERE owner IS NOT NULL AND expires_at > clock_timestamp()";
    assert_eq!(bench.count(released).await, 0, "an orderly end hands its shards over at once");
}

#[tokio::test]
async fn a_relay_that_lost_its_shards_can_not_mark() {
    let bench = Bench::new().await;
    let relay = bench.relay();
    let stolen = Uuid::new_v4();
    bench.until("it owns all", "SELECT count(*) FROM pipeline.relay_leases WHERE owner IS NOT NULL", 64).await;
    // Between its heartbeats somebody else takes everything over.
    sqlx::query("UPDATE pipeline.relay_leases SET owner = $1, epoch = epoch + 1, expires_at = clock_timestamp() + interval '3 s'")
        .bind(stolen)
        .execute(&bench.database.pool())
        .await
        .unwrap();
    bench.append([(Uuid::from_u128(1), 0, "ok")]).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(bench.count(UNPUBLISHED).await, 1, "whatever it sent, it may not mark");
    bench.until("after the lease it takes them back", UNPUBLISHED, 0).await;
    relay.stop().await.unwrap();
    first_occurrences_are_in_order(&bench, 1, 1).await;
}

#[tokio::test]
async fn rows_that_kafka_refuses_hold_up_nobody_else() {
    let bench = Bench::with("[relay]\nlease = '2s'\n", 4).await;
    // Behind 3,000 rows for a topic that does not exist, more than a batch.
    sqlx::query(
        "INSERT INTO pipeline.outbox_events (kind, event_id, event_type, consumer, shard, topic, headers, payload, tenant, region)
         SELECT 'retry', gen_random_uuid(), 'x', 'nobody', n % 64, 'no.such.topic', '[]', 'x', 'acme', 'test'
           FROM generate_series(1, 3000) AS n",
    )
    .execute(&bench.database.pool())
    .await
    .unwrap();
    bench.append((0..50).map(|n| (Uuid::from_u128(n + 1), 0, "ok"))).await;
    let relay = bench.relay();
    bench
        .until(
            "the others are published",
            "SELECT count(*) FROM pipeline.outbox_events WHERE published_at IS NOT NULL",
            50,
        )
        .await;
    assert_eq!(bench.count(UNPUBLISHED).await, 3_000, "nothing is lost");
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn an_orderly_end_under_load_repeats_nothing() {
    let bench = Bench::new().await;
    let mut relay = bench.relay();
    for round in 0..12 {
        bench.append((0..500).map(|n| (Uuid::from_u128(n + 1), round, "ok"))).await;
        if round % 3 == 2 {
            relay.stop().await.unwrap();
            relay = bench.relay();
        }
    }
    bench.until("all published", UNPUBLISHED, 0).await;
    relay.stop().await.unwrap();
    assert_eq!(bench.topics.read(TOPIC).await.len(), 6_000);
}
