use std::time::Duration;

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
};
use serde_json::Value;

use crate::{fleet::Fleet, ledger::Ledger, topic};

fn queue<'a>(reading: &'a Value, consumer: &str, topic: &str) -> &'a Value {
    let queues = reading["queues"].as_array().unwrap();
    queues.iter().find(|queue| queue["consumer"] == consumer && queue["topic"] == topic).unwrap()
}

pub fn commit(fleet: &Fleet, consumer: &str, topic: &str, offset: i64) {
    let member: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", fleet.servers.brokers())
        .set("group.id", format!("{}{consumer}", fleet.prefix))
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(topic, 0, Offset::Offset(offset)).unwrap();
    member.commit(&offsets, CommitMode::Sync).unwrap();
}

#[tokio::test]
async fn lag_counts_from_the_committed_offset_and_ages_with_its_first_message() {
    let fleet = Fleet::fresh().await;
    let ledger = Ledger::good(&fleet).await;
    topic::publish_all(&fleet, &ledger.pool).await;
    commit(&fleet, "projection-builder", &ledger.uploaded_topic, 2);
    commit(&fleet, "av-scan", &ledger.uploaded_topic, 1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let ended = fleet.run(&["status", "--json"]).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let reading = ended.json();
    let behind = queue(&reading, "av-scan", &ledger.uploaded_topic);
    assert_eq!(behind["lag_messages"], 1);
    let seconds = behind["lag_seconds"].as_f64().unwrap();
    assert!((1.0..60.0).contains(&seconds), "{seconds}");
    assert!(behind["partition"].is_null());
    let level = queue(&reading, "projection-builder", &ledger.uploaded_topic);
    assert_eq!((&level["lag_messages"], level["lag_seconds"].as_f64()), (&0.into(), Some(0.0)));
    let never = queue(&reading, "projection-builder", &format!("{}documents.virus-scanned.v1", fleet.prefix));
    assert_eq!(never["lag_messages"], 2, "a group that never committed starts at the beginning");
    let each = fleet.run(&["status", "--partitions", "--json"]).await.json();
    assert_eq!(queue(&each, "av-scan", &ledger.uploaded_topic)["partition"], 0);
}

#[tokio::test]
async fn failures_the_outbox_and_the_relays_are_shown() {
    let fleet = Fleet::fresh().await;
    let empty = fleet.run(&["status"]).await.stdout;
    assert!(empty.contains("No consumer has started yet") && empty.contains("Without a relay: 64 shards"), "{empty}");
    let ledger = Ledger::good(&fleet).await;
    ledger.kill(&fleet, "av-scan", ledger.uploaded[0], "blob-gone", 0).await;
    ledger.kill(&fleet, "av-scan", ledger.uploaded[1], "undecodable", 0).await;
    let id = ledger.uploaded[1].to_string();
    assert_eq!(fleet.run(&["dlq", "replay", "--event-id", &id, "--no-canary", "--why", "x"]).await.code, 0);
    ledger
        .sql("UPDATE pipeline.relay_leases SET owner = '01900000-0000-7000-8000-000000000001', expires_at = clock_timestamp() + interval '1 min' WHERE shard < 60")
        .await;
    ledger
        .sql("INSERT INTO pipeline.consumer_members VALUES
              (gen_random_uuid(), 'dedup', 4, 7, true, now(), now()), (gen_random_uuid(), 'ocr', 2, 0, false, now(), now() - interval '1 min')")
        .await;
    let reading = fleet.run(&["status", "--json"]).await.json();
    assert_eq!((&reading["members"][0]["in_flight"], &reading["members"][0]["waits"]), (&7.into(), &true.into()));
    assert!(reading["members"][1]["seen_seconds"].as_f64().unwrap() >= 60.0);
    assert_eq!((&reading["retries"][0]["consumer"], &reading["retries"][0]["waiting"]), (&"av-scan".into(), &1.into()));
    assert_eq!((&reading["dead"][0]["reason"], &reading["dead"][0]["count"]), (&"blob-gone".into(), &1.into()));
    assert_eq!(reading["outbox"]["unpublished"], 1);
    assert!(reading["outbox"]["oldest_seconds"].as_f64().unwrap() >= 0.0);
    assert_eq!((&reading["relays"][0]["shards"], &reading["shards_unowned"]), (&60.into(), &4.into()));
    assert!(reading["read_at"].is_string() && reading["took_seconds"].is_number());
    let text = fleet.run(&["status"]).await.stdout;
    for part in [
        "blob-gone",
        "waits for something that is away",
        "silent: gone",
        "1 message waiting for a retry",
        "Outbox: waiting 1 row,",
        "60 shards",
        "Without a relay: 4 shards",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[tokio::test]
async fn rates_the_time_to_empty_and_the_cause_come_from_two_readings() {
    let fleet = Fleet::fresh().await;
    let ledger = Ledger::good(&fleet).await;
    topic::publish_all(&fleet, &ledger.pool).await;
    let text = fleet.run(&["status"]).await.stdout;
    assert!(text.contains("no member: start one") && text.contains("never"), "{text}");
    ledger
        .sql("INSERT INTO pipeline.consumer_members (member, consumer, partitions, in_flight, waits, started_at, seen_at)
              VALUES (gen_random_uuid(), 'av-scan', 1, 0, false, now(), clock_timestamp() + interval '1 min')")
        .await;
    let reading = fleet.run(&["status", "--over", "100ms", "--json"]).await.json();
    let queue = queue(&reading, "av-scan", &ledger.uploaded_topic);
    let rates = (queue["arrival_per_second"].as_f64(), queue["drain_per_second"].as_f64());
    assert_eq!((rates, &queue["cause"]), ((Some(0.0), Some(0.0)), &"stands still, and nothing is in flight".into()));
    assert!(queue["eta_seconds"].is_null(), "a queue that stands has no end in sight: {queue}");
}
