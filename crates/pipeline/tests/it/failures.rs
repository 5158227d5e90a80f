use std::time::Duration;

use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::harness::{Bench, CONSUMER};

const EFFECTS: &str = "SELECT count(*) FROM effects";
const DEAD: &str = "SELECT count(*) FROM pipeline.inbox WHERE outcome = 'dead'";
const ID: Uuid = Uuid::from_u128(1);

#[tokio::test]
async fn a_transient_failure_is_repeated_in_its_lane_and_keeps_the_order_of_its_key() {
    let bench = Bench::new().await;
    let (relay, consumer) = (bench.relay(), bench.consumer());
    bench.append([(ID, 0, "transient:2"), (ID, 1, "ok")]).await;
    bench.until("both", EFFECTS, 2).await;
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
    assert_eq!(bench.handler.tries(ID, 0), 3);
    assert_eq!(bench.count("SELECT count(*) FROM pipeline.outbox_events WHERE kind = 'retry'").await, 0);
    let order: Vec<Uuid> = sqlx::query_scalar("SELECT event_id FROM pipeline.inbox ORDER BY settled_at, \"offset\"")
        .fetch_all(&bench.database.pool())
        .await
        .unwrap();
    let expected: Vec<Uuid> = sqlx::query_scalar(
        "SELECT event_id FROM pipeline.outbox_events WHERE event_type = 'Counted' ORDER BY aggregate_version",
    )
    .fetch_all(&bench.database.pool())
    .await
    .unwrap();
    assert_eq!(order, expected);
}

#[tokio::test]
async fn a_longer_failure_goes_through_the_retry_topics_and_succeeds_there() {
    let bench = Bench::new().await;
    let (relay, consumer) = (bench.relay(), bench.consumer());
    bench.append([(ID, 0, "transient:4"), (Uuid::from_u128(2), 0, "ok")]).await;
    bench.until("both", EFFECTS, 2).await;
    bench.until_committed(&format!("{CONSUMER}.retry.10s")).await;
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
    assert_eq!(bench.handler.tries(ID, 0), 5);
    assert_eq!(bench.count(DEAD).await, 0);
    let retried = bench.topics.read(&format!("{CONSUMER}.retry.10s")).await;
    assert_eq!(retried.len(), 1);
    assert_eq!(retried[0].headers["docfleet_attempt"], "1");
    assert_eq!(retried[0].headers["docfleet_reason"], "asked-to");
    assert!(retried[0].headers.contains_key("docfleet_not_before"));
}

#[tokio::test]
async fn a_lasting_failure_dies_after_the_last_tier_with_its_history() {
    let bench = Bench::new().await;
    let (relay, consumer) = (bench.relay(), bench.consumer());
    bench.append([(ID, 0, "transient:1000")]).await;
    bench.until("dead", DEAD, 1).await;
    bench.until("published", "SELECT count(*) FROM pipeline.outbox_unpublished", 0).await;
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
    assert_eq!(bench.handler.tries(ID, 0), 12, "3 tries in each of 4 deliveries");
    let dead = bench.topics.read(&format!("{CONSUMER}.dlq")).await;
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].headers["docfleet_attempt"], "3");
    assert_eq!(dead[0].headers["docfleet_consumer"], CONSUMER);
    assert!(dead[0].headers["docfleet_original_topic"].ends_with("tests.counted.v1"));
    assert!(dead[0].headers["docfleet_first_failed_at"] < dead[0].headers["docfleet_failed_at"]);
    assert_eq!(bench.count("SELECT count(*) FROM pipeline.outbox_events WHERE kind = 'retry'").await, 3);
}

#[tokio::test]
async fn poison_and_panics_harm_nobody_else() {
    let bench = Bench::new().await;
    let (relay, consumer) = (bench.relay(), bench.consumer());
    let asked = ["poison", "ok", "panic", "ok", "record-poison", "ok", "record-transient:2", "hang"];
    bench.append(asked.iter().enumerate().map(|(n, how)| (Uuid::from_u128(n as u128 + 1), 0, *how))).await;
    bench.until("the good ones and the one that recovers", EFFECTS, 4).await;
    bench
        .until(
            "the poisons are dead",
            "SELECT count(*) FROM pipeline.inbox WHERE outcome = 'dead' AND reason LIKE 'asked-to%'",
            2,
        )
        .await;
    bench
        .until(
            "the panic is dead",
            "SELECT count(*) FROM pipeline.inbox WHERE outcome = 'dead' AND reason = 'panicked'",
            1,
        )
        .await;
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
    let hung = "SELECT count(*) FROM pipeline.inbox WHERE reason = 'deadline-exceeded' OR outcome = 'done'";
    assert!(bench.count(hung).await >= 4);
}

#[tokio::test]
async fn what_is_away_is_waited_for_without_attempts() {
    let bench = Bench::new().await;
    let (relay, consumer) = (bench.relay(), bench.consumer());
    bench.append([(ID, 0, "unavailable:20")]).await;
    bench.until("it comes back", EFFECTS, 1).await;
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
    assert_eq!(bench.handler.tries(ID, 0), 21);
    assert_eq!(bench.count("SELECT count(*) FROM pipeline.outbox_events WHERE kind <> 'event'").await, 0);
}

#[tokio::test]
async fn a_database_that_goes_away_again_and_again_costs_only_time() {
    let bench = Bench::new().await;
    let (relay, consumer) = (bench.relay(), bench.consumer());
    let mut admin = PgConnection::connect(&docfleet_testkit::Servers::running().postgres_url()).await.unwrap();
    let name = bench.database.url().rsplit('/').next().unwrap().to_owned();
    for round in 0..10 {
        // Its own connection may be the one that is cut: appending must then be repeated by the writer.
        bench.append((0..30).map(|n| (Uuid::from_u128(n + 1), round, "ok"))).await;
        for _ in 0..3 {
            sqlx::query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                  WHERE datname = $1 AND application_name IN ('obedient', 'outbox-relay')",
            )
            .bind(&name)
            .execute(&mut admin)
            .await
            .unwrap();
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    }
    bench.until("all effects", EFFECTS, 300).await;
    bench.until_committed("tests.counted.v1").await;
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
    assert_eq!(bench.count("SELECT count(*) FROM pipeline.outbox_events WHERE event_type = 'Echoed'").await, 300);
    assert_eq!(bench.count(DEAD).await, 0);
}

#[tokio::test]
async fn an_end_of_the_process_is_no_attempt() {
    let bench = Bench::new().await;
    let relay = bench.relay();
    bench.append([(ID, 0, "away")]).await;
    for tries in [4, 5, 6] {
        let consumer = bench.consumer();
        docfleet_testkit::eventually("it is tried", 30, || async {
            (bench.handler.tries(ID, 0) >= tries).then_some(())
        })
        .await;
        consumer.stop().await.unwrap();
    }
    bench.handler.heal();
    let consumer = bench.consumer();
    bench.until("it comes back", EFFECTS, 1).await;
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
    let attempts = "SELECT max(attempt)::bigint FROM pipeline.inbox";
    assert_eq!(bench.count(attempts).await, 1, "the failures before it was away cost one, the ends none");
}
