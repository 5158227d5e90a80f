use std::collections::HashMap;

use docfleet_testkit::{Servers, Topics, admin::Admin, eventually};
use uuid::Uuid;

use crate::harness::{Asking, Bench, QUICK};

const EFFECTS: &str = "SELECT count(*) FROM effects";
const ECHOES: &str = "SELECT count(*) FROM pipeline.outbox_events WHERE event_type = 'Echoed'";

async fn fill(bench: &Bench, counters: u128, numbers: std::ops::Range<i64>, how: &str) {
    for number in numbers {
        bench.append((0..counters).map(|counter| (Uuid::from_u128(counter + 1), number, how))).await;
    }
}

#[tokio::test]
async fn every_event_has_its_effect_once_and_its_successor_in_order() {
    let bench = Bench::new().await;
    let (relay, consumer) = (bench.relay(), bench.consumer());
    fill(&bench, 20, 0..20, "ok").await;
    bench.until("400 effects", EFFECTS, 400).await;
    bench.until("all published", "SELECT count(*) FROM pipeline.outbox_unpublished", 0).await;
    bench.until_committed("tests.counted.v1").await;
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
    assert_eq!(bench.count(ECHOES).await, 400);
    assert_eq!(bench.count("SELECT count(*) FROM pipeline.inbox WHERE outcome = 'done'").await, 400);
    for topic in ["tests.counted.v1", "tests.echoed.v1"] {
        let mut last: HashMap<Vec<u8>, i64> = HashMap::new();
        for record in bench.topics.read(topic).await {
            let version: i64 = record.headers["aggregate_version"].parse().unwrap();
            let before = last.insert(record.key.unwrap(), version);
            assert!(before.is_none_or(|before| before < version), "{topic}: {version} after {before:?}");
        }
        assert_eq!(last.len(), 20);
    }
}

#[tokio::test]
async fn a_repeated_delivery_has_no_second_effect() {
    let bench = Bench::new().await;
    let relay = bench.relay();
    fill(&bench, 5, 0..4, "ok").await;
    bench.until("published", "SELECT count(*) FROM pipeline.outbox_unpublished", 0).await;
    relay.stop().await.unwrap();
    for record in bench.topics.read("tests.counted.v1").await {
        for _ in 0..3 {
            let key = String::from_utf8(record.key.clone().unwrap()).unwrap();
            bench.topics.produce("tests.counted.v1", &key, record.payload.as_deref(), &[]).await;
        }
    }
    let consumer = bench.consumer();
    bench.until_committed("tests.counted.v1").await;
    consumer.stop().await.unwrap();
    assert_eq!(bench.count(EFFECTS).await, 20);
    assert_eq!(bench.count(ECHOES).await, 20);
}

#[tokio::test]
async fn members_that_come_and_go_and_crash_lose_and_double_nothing() {
    let bench = Bench::with(QUICK, 8).await;
    let relay = bench.relay();
    let first = bench.consumer();
    fill(&bench, 30, 0..10, "ok").await;
    let second = bench.consumer();
    fill(&bench, 30, 10..15, "slow").await;
    let third = bench.consumer();
    first.crash();
    second.stop().await.unwrap();
    bench.until("450 effects", EFFECTS, 450).await;
    bench.until_committed("tests.counted.v1").await;
    third.stop().await.unwrap();
    relay.stop().await.unwrap();
    assert_eq!(bench.count(ECHOES).await, 450);
}

#[tokio::test]
async fn an_orderly_end_settles_and_commits_what_is_out() {
    let bench = Bench::new().await;
    let relay = bench.relay();
    let consumer = bench.consumer();
    fill(&bench, 8, 0..1, "slow").await;
    bench.until("published", "SELECT count(*) FROM pipeline.outbox_unpublished", 0).await;
    docfleet_testkit::eventually("work has begun", 20, || async {
        (0..8).any(|c| bench.handler.tries(Uuid::from_u128(c + 1), 0) > 0).then_some(())
    })
    .await;
    consumer.stop().await.unwrap();
    let settled = bench.count("SELECT count(*) FROM pipeline.inbox").await;
    let committed: i64 = bench.topics.committed("obedient", "tests.counted.v1").await.values().sum();
    assert!(settled > 0);
    assert_eq!(committed, settled, "what was settled is committed, and nothing else");
    assert!((0..8).all(|c| bench.handler.tries(Uuid::from_u128(c + 1), 0) <= 1), "no work was thrown away");
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn an_overloaded_member_pauses_serves_rebalances_and_loses_nothing() {
    let tight = "[retry]\nbackoff = '10ms'\n[consumer]\ncommit_interval = '50ms'\nin_flight_messages_max = 4\nconcurrency = 2\n";
    let bench = Bench::with(tight, 4).await;
    let relay = bench.relay();
    // More than fits between the poll thread and the driver, behind work that takes seconds.
    fill(&bench, 20, 0..1, "slow").await;
    fill(&bench, 300, 1..7, "ok").await;
    bench.until("published", "SELECT count(*) FROM pipeline.outbox_unpublished", 0).await;
    let first = bench.consumer();
    bench.until("it has begun", "SELECT least(count(*), 1) FROM effects", 1).await;
    let second = bench.consumer();
    bench
        .until(
            "the second one has partitions",
            "SELECT count(*) FROM pipeline.consumer_members WHERE partitions > 0",
            2,
        )
        .await;
    bench.until("1,820 effects", EFFECTS, 1_820).await;
    bench.until_committed("tests.counted.v1").await;
    first.stop().await.unwrap();
    second.stop().await.unwrap();
    relay.stop().await.unwrap();
    assert_eq!(bench.count(ECHOES).await, 1_820);
}

#[tokio::test]
async fn messages_that_are_asked_for_leave_connections_to_those_that_are_settled() {
    let mut bench = Bench::new().await;
    bench.reset(bench.configuration().replace("[consumer]\n", "[consumer]\nconcurrency = 2\n"));
    let relay = bench.relay();
    fill(&bench, 100, 0..1, "ok").await;
    bench.until("published", "SELECT count(*) FROM pipeline.outbox_unpublished", 0).await;
    relay.stop().await.unwrap();
    // Every question waits. A hundred are to be asked, and the pool has eight connections.
    let mut locking = bench.database.pool().begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE pipeline.inbox IN ACCESS EXCLUSIVE MODE").execute(&mut *locking).await.unwrap();
    let consumer = bench.consumer_under::<Asking>();
    let asking = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                     AND application_name = 'obedient' AND wait_event_type = 'Lock'";
    eventually("questions wait", 45, || async { (bench.count(asking).await > 0).then_some(()) }).await;
    for _ in 0..200 {
        assert!(bench.count(asking).await <= 2, "no more than slots");
    }
    locking.rollback().await.unwrap();
    bench.until("their effects", EFFECTS, 100).await;
    bench.until_committed("tests.counted.v1").await;
    consumer.stop().await.unwrap();
}

#[tokio::test]
async fn records_that_are_gone_before_they_were_read_end_the_process_until_their_loss_is_accepted() {
    let mut bench = Bench::with(QUICK, 1).await;
    let (relay, consumer) = (bench.relay(), bench.consumer());
    fill(&bench, 3, 0..1, "ok").await;
    bench.until("their effects", EFFECTS, 3).await;
    bench.until_committed("tests.counted.v1").await;
    consumer.stop().await.unwrap();
    fill(&bench, 3, 1..2, "ok").await;
    bench.until("published", "SELECT count(*) FROM pipeline.outbox_unpublished", 0).await;
    let ends = bench.topics.ends("tests.counted.v1").await;
    Admin::new(&Servers::running().brokers(), &bench.topics.full_name(""))
        .delete_records("tests.counted.v1", &ends)
        .await;
    fill(&bench, 3, 2..3, "ok").await;

    let ended = bench.consumer().ended().await.unwrap_err().to_string();
    assert!(ended.contains("records 3 to 5") && ended.contains("republish"), "{ended}");
    assert_eq!(bench.count(EFFECTS).await, 3, "nothing behind the gap was taken");

    bench.reset(bench.configuration().replace("[consumer]\n", "[consumer]\naccept_lost_records = true\n"));
    let consumer = bench.consumer();
    bench.until("what is left", EFFECTS, 6).await;
    let everything = "INSERT INTO pipeline.outbox_unpublished SELECT id, created_at, shard FROM pipeline.outbox_events WHERE event_type = 'Counted'";
    sqlx::query(everything).execute(&bench.database.pool()).await.unwrap();
    bench.until("what was lost comes again, and only that", EFFECTS, 9).await;
    bench.until_committed("tests.counted.v1").await;
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn a_topic_that_is_deleted_ends_its_readers_so_that_a_new_one_is_read_from_its_beginning() {
    let bench = Bench::with(QUICK, 1).await;
    let (relay, consumer) = (bench.relay(), bench.consumer());
    fill(&bench, 3, 0..2, "ok").await;
    bench.until("their effects", EFFECTS, 6).await;
    bench.until_committed("tests.counted.v1").await;
    relay.stop().await.unwrap();
    let prefix = bench.topics.full_name("");
    Admin::new(&Servers::running().brokers(), &prefix).delete_topic("tests.counted.v1").await;
    let ended = consumer.ended().await.unwrap_err().to_string();
    assert!(ended.contains("tests.counted.v1 is gone"), "{ended}");

    // More records than the old one had, before anybody reads.
    Topics::create(&prefix, &["tests.counted.v1"], 1).await;
    let everything = "INSERT INTO pipeline.outbox_unpublished SELECT id, created_at, shard FROM pipeline.outbox_events WHERE event_type = 'Counted'";
    sqlx::query(everything).execute(&bench.database.pool()).await.unwrap();
    fill(&bench, 3, 2..5, "ok").await;
    let relay = bench.relay();
    bench.until("published", "SELECT count(*) FROM pipeline.outbox_unpublished", 0).await;
    let consumer = bench.consumer();
    bench.until_committed("tests.counted.v1").await;
    assert_eq!(bench.count(EFFECTS).await, 15);
    consumer.stop().await.unwrap();
    relay.stop().await.unwrap();
}
