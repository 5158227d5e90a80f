use std::{collections::HashMap, time::Duration};

use uuid::Uuid;

use crate::harness::{Bench, Echoed, QUICK};

const TOPIC: &str = "tests.counted.v1";
const UNPUBLISHED: &str = "SELECT count(*) FROM pipeline.outbox_unpublished";
const PUBLISHED: &str =
    "SELECT (SELECT count(*) FROM pipeline.outbox_events) - (SELECT count(*) FROM pipeline.outbox_unpublished)";

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
    bench.until("the fast one", PUBLISHED, 1).await;
    slow.commit().await.unwrap();
    bench.until("both", PUBLISHED, 2).await;
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
    bench.until("the others are published", PUBLISHED, 50).await;
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

/// Inserts versions of one aggregate as no writer of ours would, each in the given order of ids.
async fn insert_versions(bench: &Bench, aggregate: u128, versions: &[i64]) {
    let mut transaction = bench.database.pool().begin().await.unwrap();
    // Past whatever the database itself would refuse.
    sqlx::query("SET LOCAL session_replication_role = replica").execute(&mut *transaction).await.unwrap();
    sqlx::query(
        "WITH inserted AS (
         INSERT INTO pipeline.outbox_events (kind, event_id, event_type, aggregate_type, aggregate_id, aggregate_version,
                                             shard, topic, key, headers, payload, tenant, region)
         SELECT 'event', gen_random_uuid(), 'x', 'counter', $1, v, 7, $3, convert_to($1::text, 'UTF8'),
                jsonb_build_array(jsonb_build_array('aggregate_version', v::text)), 'x', 'acme', 'test'
           FROM UNNEST($2::bigint[]) WITH ORDINALITY AS u (v, position) ORDER BY position
         RETURNING id, created_at, shard)
         INSERT INTO pipeline.outbox_unpublished SELECT * FROM inserted",
    )
    .bind(Uuid::from_u128(aggregate))
    .bind(versions)
    .bind(bench.topics.full_name(TOPIC))
    .execute(&mut *transaction)
    .await
    .unwrap();
    transaction.commit().await.unwrap();
}

async fn versions_on_the_topic(bench: &Bench) -> Vec<i64> {
    let records = bench.topics.read(TOPIC).await;
    records.iter().map(|record| record.headers["aggregate_version"].parse().unwrap()).collect()
}

#[tokio::test]
async fn ids_that_run_against_versions_are_published_by_version() {
    let bench = Bench::new().await;
    insert_versions(&bench, 1, &[3, 1, 2]).await;
    let relay = bench.relay();
    bench.until("all published", UNPUBLISHED, 0).await;
    relay.stop().await.unwrap();
    assert_eq!(versions_on_the_topic(&bench).await, [1, 2, 3]);
}

#[tokio::test]
async fn a_row_waits_for_a_missing_predecessor_and_holds_up_nobody_else() {
    let bench = Bench::new().await;
    insert_versions(&bench, 1, &[1, 3, 4]).await;
    let relay = bench.relay();
    bench.until("what may go", UNPUBLISHED, 2).await;
    bench.append([(Uuid::from_u128(2), 0, "ok")]).await;
    bench.until("another aggregate", PUBLISHED, 2).await;
    assert_eq!(bench.count(UNPUBLISHED).await, 2);
    insert_versions(&bench, 1, &[2]).await;
    bench.until("the rest", UNPUBLISHED, 0).await;
    relay.stop().await.unwrap();
    let versions: Vec<i64> = bench
        .topics
        .read(TOPIC)
        .await
        .iter()
        .filter(|record| record.key.as_deref() == Some(Uuid::from_u128(1).to_string().as_bytes()))
        .map(|record| record.headers["aggregate_version"].parse().unwrap())
        .collect();
    assert_eq!(versions, [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_predecessor_that_was_dropped_with_its_day_is_not_waited_for() {
    let bench = Bench::new().await;
    insert_versions(&bench, 1, &[5, 6]).await;
    let relay = bench.relay();
    bench.until("all published", UNPUBLISHED, 0).await;
    relay.stop().await.unwrap();
    assert_eq!(versions_on_the_topic(&bench).await, [5, 6]);
}

#[tokio::test]
async fn a_slow_transaction_whose_id_is_long_past_is_published_too() {
    let bench = Bench::new().await;
    let relay = bench.relay();
    let mut slow = bench.database.pool().begin().await.unwrap();
    let counted = crate::harness::Counted { counter_id: Uuid::from_u128(1), number: 0, how: "ok".into() };
    bench.outbox.append(&mut slow, vec![docfleet_outbox::Draft::first(counted, "acme", "test", None)]).await.unwrap();
    // Farther than the readings between the walks look back.
    sqlx::query("SELECT setval(pg_get_serial_sequence('pipeline.outbox_events', 'id'), 1000000)")
        .execute(&bench.database.pool())
        .await
        .unwrap();
    bench.append([(Uuid::from_u128(2), 0, "ok")]).await;
    bench.until("the fast one", PUBLISHED, 1).await;
    slow.commit().await.unwrap();
    bench.until("both", PUBLISHED, 2).await;
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn one_relay_carries_the_outboxes_of_several_schemas() {
    let more = "[[relay.sources]]\nname = 'fleet'\n[[relay.sources]]\nname = 'orders'\nschema = 'orders'\n";
    let bench = Bench::with(&format!("{QUICK}{more}"), 4).await;
    let pool = bench.database.pool();
    for sql in [
        "CREATE SCHEMA orders",
        "CREATE TABLE orders.outbox_events (LIKE pipeline.outbox_events INCLUDING ALL)",
        "CREATE TABLE orders.outbox_unpublished (LIKE pipeline.outbox_unpublished INCLUDING ALL)",
        "CREATE TABLE orders.relay_leases (LIKE pipeline.relay_leases INCLUDING ALL)",
        "CREATE TABLE orders.relay_members (LIKE pipeline.relay_members INCLUDING ALL)",
        "INSERT INTO orders.relay_leases (shard) SELECT generate_series(0, 63)",
    ] {
        sqlx::query(sql).execute(&pool).await.unwrap();
    }
    bench.append([(Uuid::from_u128(1), 0, "ok")]).await;
    sqlx::query(
        "WITH inserted AS (
         INSERT INTO orders.outbox_events (kind, event_id, event_type, consumer, shard, topic, headers, payload, tenant, region)
         VALUES ('retry', gen_random_uuid(), 'x', 'nobody', 3, $1, '[[\"from\", \"orders\"]]', 'x', 'acme', 'test')
         RETURNING id, created_at, shard)
         INSERT INTO orders.outbox_unpublished SELECT * FROM inserted",
    )
    .bind(bench.topics.full_name(TOPIC))
    .execute(&pool)
    .await
    .unwrap();
    let relay = bench.relay();
    bench.until("ours", UNPUBLISHED, 0).await;
    bench.until("theirs", "SELECT count(*) FROM orders.outbox_unpublished", 0).await;
    relay.stop().await.unwrap();
    let records = bench.topics.read(TOPIC).await;
    assert_eq!(records.len(), 2);
    assert!(records.iter().any(|record| record.headers.get("from").is_some_and(|from| from == "orders")));
}

#[tokio::test]
async fn a_relay_that_stands_still_with_work_ends_itself() {
    let bench = Bench::with(&format!("{QUICK}stall_after = '2s'\n"), 4).await;
    // Whatever is published can not be marked: the relay turns in a circle.
    for sql in [
        "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER swallow BEFORE DELETE ON pipeline.outbox_unpublished FOR EACH ROW EXECUTE FUNCTION swallow()",
    ] {
        sqlx::query(sql).execute(&bench.database.pool()).await.unwrap();
    }
    bench.append([(Uuid::from_u128(1), 0, "ok")]).await;
    let error = bench.relay().ended().await.expect_err("it is no orderly end");
    assert!(format!("{error:#}").contains("stands still"), "{error:#}");
}

#[tokio::test]
async fn rows_that_kafka_refuses_are_no_stall() {
    let bench = Bench::with("[relay]\nlease = '2s'\nstall_after = '3s'\n", 4).await;
    sqlx::query(
        "INSERT INTO pipeline.outbox_events (kind, event_id, event_type, consumer, shard, topic, headers, payload, tenant, region)
         VALUES ('retry', gen_random_uuid(), 'x', 'nobody', 4, $1, '{\"not\": \"pairs\"}', 'x', 'acme', 'test')",
    )
    .bind(bench.topics.full_name(TOPIC))
    .execute(&bench.database.pool())
    .await
    .unwrap();
    let relay = bench.relay();
    // Longer than a stall: what waits is refused, and the relay lives.
    tokio::time::sleep(Duration::from_secs(8)).await;
    bench.append([(Uuid::from_u128(1), 0, "ok")]).await;
    bench.until("it goes on", UNPUBLISHED, 1).await;
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn without_a_wake_up_the_poll_finds_the_row() {
    let bench = Bench::new().await;
    let relay = bench.relay();
    bench.until("it owns all", "SELECT count(*) FROM pipeline.relay_leases WHERE owner IS NOT NULL", 64).await;
    insert_versions(&bench, 1, &[1]).await;
    bench.until("published", UNPUBLISHED, 0).await;
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn events_of_a_topic_with_partitions_that_nobody_accepted_wait_until_somebody_does() {
    let bench = Bench::new().await;
    let accept = |partitions: i32| {
        sqlx::query("INSERT INTO pipeline.topics VALUES ($1, $2) ON CONFLICT (topic) DO UPDATE SET partitions = $2")
            .bind(bench.topics.full_name("tests.counted.v1"))
            .bind(partitions)
    };
    accept(3).execute(&bench.database.pool()).await.unwrap();
    let relay = bench.relay();
    bench.append([(Uuid::from_u128(1), 0, "ok"), (Uuid::from_u128(1), 1, "ok")]).await;
    bench.outbox.registry().pin::<Echoed>().await.unwrap();
    let echoed = Echoed { counter_id: Uuid::from_u128(2), number: 0, how: String::new() };
    let mut transaction = bench.database.pool().begin().await.unwrap();
    let draft = docfleet_outbox::Draft::first(echoed, "acme", "test", None);
    bench.outbox.append(&mut transaction, vec![draft]).await.unwrap();
    transaction.commit().await.unwrap();
    bench.until("all but the two are published", UNPUBLISHED, 2).await;
    assert!(bench.topics.read(TOPIC).await.is_empty());
    accept(4).execute(&bench.database.pool()).await.unwrap();
    bench.until("both are published", UNPUBLISHED, 0).await;
    relay.stop().await.unwrap();
}
