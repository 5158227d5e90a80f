use docfleet_testkit::eventually;
use serde_json::Value;
use sqlx::PgPool;

use crate::{crowd, fleet::Fleet};

const MANY: i64 = 20_000;

#[tokio::test]
async fn letters_of_one_cause_are_one_group_however_their_errors_differ() {
    let fleet = Fleet::fresh().await;
    let pool = crowd::die(&fleet, "ocr", 100).await;
    sqlx::query(
        r"INSERT INTO pipeline.parked_keys (consumer, key, state, event_id, reason, detail, next_try_at, messages)
          VALUES ('ocr', 'key-3', 'held', gen_random_uuid(), 'blob-gone', '', now(), 2), ('ocr', 'other', 'held', gen_random_uuid(), 'x', '', now(), 1)",
    )
    .execute(&pool)
    .await
    .unwrap();
    sqlx::query(
        r#"INSERT INTO pipeline.parked_messages
                  (consumer, key, event_id, event_day, topic, partition, "offset", timestamp_ms, headers, tenant, region, event_type)
           SELECT 'ocr', k::bytea, gen_random_uuid(), now(), 't', 0, 0, 0, '[]', 'acme', 'local', 'e'
             FROM UNNEST(ARRAY['key-3', 'key-3', 'other']) AS k"#,
    )
    .execute(&pool)
    .await
    .unwrap();
    let report = fleet.run(&["dlq", "groups", "--json"]).await.json();
    assert_eq!(report["total"], 100);
    let groups = report["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 2, "{report}");
    let (large, small) = (&groups[0], &groups[1]);
    assert_eq!((&large["reason"], &large["count"], &large["keys"]), (&"blob-gone".into(), &80.into(), &10.into()));
    assert_eq!(large["pattern"], "blob-gone: no answer of child <n> for <text>");
    assert_eq!((&large["tenants"], &large["held_behind"]), (&2.into(), &2.into()));
    assert_eq!((&small["reason"], &small["count"]), (&"engine-crashed".into(), &20.into()));
    assert!(large["first_seen"].as_str() <= large["last_seen"].as_str());
    assert_eq!(large["example_event"], "00000000-0000-7000-8000-000000000099");

    let fingerprint = large["fingerprint"].as_str().unwrap();
    assert_eq!(fleet.run(&["dlq", "list", "--fingerprint", fingerprint, "--json"]).await.json()["total"], 80);
    let text = fleet.run(&["dlq", "groups", "--limit", "1"]).await.stdout;
    assert!(text.contains(fingerprint) && text.contains("1 more"), "{text}");
}

#[tokio::test]
async fn every_filter_narrows_the_choice_and_all_of_them_together() {
    let fleet = Fleet::fresh().await;
    crowd::die(&fleet, "ocr", 100).await;
    let total = async |filter: &[&str]| {
        let args = [&["dlq", "list", "--json", "--limit", "3"], filter].concat();
        fleet.run(&args).await.json()["total"].as_i64().unwrap()
    };
    let event = "00000000-0000-7000-8000-000000000031";
    assert_eq!(total(&[]).await, 100);
    assert_eq!(total(&["--tenant", "acme"]).await, 50);
    assert_eq!(total(&["--key", "key-3"]).await, 10);
    assert_eq!(total(&["--key", "0x6b65792d33"]).await, 10);
    assert_eq!(total(&["--reason", "engine-crashed"]).await, 20);
    assert_eq!(total(&["--consumer", "dedup"]).await, 0);
    assert_eq!(total(&["--since", "1h"]).await, 100);
    assert_eq!(total(&["--until", "1h"]).await, 0);
    assert_eq!(total(&["--since", "2020-01-01T00:00:00Z", "--until", "2021-01-01T00:00:00Z"]).await, 0);
    assert_eq!(total(&["--event-id", event]).await, 1);
    let all = [
        "--consumer",
        "ocr",
        "--reason",
        "blob-gone",
        "--tenant",
        "umbrella",
        "--key",
        "key-3",
        "--since",
        "1h",
        "--event-id",
        event,
    ];
    assert_eq!(total(&all).await, 1);
    assert_eq!(fleet.run(&["dlq", "list", "--since", "yesterday"]).await.code, 2);
}

/// Scans of the index of keys, or of its parts on partitions.
async fn used_index(pool: &PgPool) -> i64 {
    sqlx::query_scalar(
        r"SELECT coalesce(sum(s.idx_scan), 0)::bigint FROM pg_stat_user_indexes s JOIN pg_indexes i ON i.indexname = s.indexrelname
           WHERE i.schemaname = 'pipeline' AND i.indexdef LIKE '%md5(key)%'",
    )
    .fetch_one(pool)
    .await
    .unwrap()
}

/// Rows of the outbox that were read one after the other, from the first to the last.
async fn scanned(pool: &PgPool) -> i64 {
    sqlx::query_scalar("SELECT sum(seq_tup_read)::bigint FROM pg_stat_user_tables WHERE relname LIKE 'outbox_events%'")
        .fetch_one(pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn among_many_letters_a_page_a_key_and_a_cause_are_found_by_their_indexes() {
    let fleet = Fleet::fresh().await;
    let pool = crowd::die(&fleet, "ocr", MANY).await;
    let mut pages = Vec::new();
    let mut after = i64::MAX.to_string();
    for _ in 0..3 {
        let page =
            fleet.run(&["dlq", "list", "--key", "key-7", "--limit", "4", "--after", &after, "--json"]).await.json();
        pages.extend(page["letters"].as_array().unwrap().iter().map(|l| l["event_id"].as_str().unwrap().to_owned()));
        after = page["next"].as_i64().map_or_else(|| "0".to_owned(), |next| next.to_string());
    }
    let expected: Vec<String> = (70..80).rev().map(|n| format!("00000000-0000-7000-8000-{n:012}")).collect();
    assert_eq!(pages, expected, "the newest first, each once, over three pages");
    let used = || async { (used_index(&pool).await > 0).then_some(()) };
    eventually("the index of keys is used", 10, used).await;
    assert_eq!(scanned(&pool).await, 0, "no page reads the whole table");

    let groups: Value = fleet.run(&["dlq", "groups", "--json"]).await.json();
    assert_eq!((&groups["total"], groups["groups"].as_array().unwrap().len()), (&MANY.into(), 2));
    // What the planner does with a page of all: the newest by number, without a sort of everything.
    let plan: Vec<String> = sqlx::query_scalar(
        r"EXPLAIN SELECT o.id FROM pipeline.inbox i
            JOIN pipeline.outbox_events o
              ON o.kind = 'dead_letter' AND o.consumer = i.consumer AND o.event_id = i.event_id AND o.attempt = i.attempt
           WHERE i.outcome = 'dead' AND o.id < 1000000 ORDER BY o.id DESC LIMIT 50",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let plan = plan.join("\n");
    assert!(plan.contains("Index Scan Backward"), "{plan}");
}
