use serde_json::Value;
use uuid::Uuid;

use crate::{fleet::Fleet, ledger::Ledger};

/// Two documents, each dead at two consumers.
async fn dead() -> (Fleet, Ledger) {
    let fleet = Fleet::fresh().await;
    let ledger = Ledger::good(&fleet).await;
    for event_id in ledger.uploaded {
        ledger.kill(&fleet, "av-scan", event_id, "blob-gone", 3).await;
        ledger.kill(&fleet, "projection-builder", event_id, "undecodable", 0).await;
    }
    (fleet, ledger)
}

fn ids(report: &Value) -> Vec<Uuid> {
    report["letters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|letter| letter["event_id"].as_str().unwrap().parse().unwrap())
        .collect()
}

#[tokio::test]
async fn list_counts_all_and_names_the_newest() {
    let (fleet, ledger) = dead().await;
    let report = fleet.run(&["dlq", "list", "--limit", "1", "--json"]).await.json();
    assert_eq!(report["total"], 4);
    assert_eq!(report["groups"].as_array().unwrap().len(), 2);
    assert_eq!(ids(&report), [ledger.uploaded[1]]);
    let report = fleet
        .run(&["dlq", "list", "--consumer", "av-scan", "--reason", "blob-gone", "--since", "1h", "--json"])
        .await
        .json();
    assert_eq!(report["total"], 2);
    assert_eq!(fleet.run(&["dlq", "list", "--reason", "nothing", "--json"]).await.json()["total"], 0);
    let text = fleet.run(&["dlq", "list"]).await.stdout;
    assert!(text.contains("blob-gone") && text.contains(&ledger.uploaded[0].to_string()), "{text}");
}

#[tokio::test]
async fn show_decodes_what_can_be_decoded_and_says_why_not() {
    let (fleet, ledger) = dead().await;
    let id = ledger.uploaded[0].to_string();
    let shown = fleet.run(&["dlq", "show", &id, "--consumer", "av-scan", "--json"]).await;
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    let letter = &shown.json()["letters"][0];
    assert_eq!(letter["payload"]["decoded"]["data"]["file_name"], "letter.pdf");
    assert_eq!(letter["payload"]["decoded"]["meta"]["event_id"], id);
    assert_eq!(letter["payload"]["schema"], "DocumentUploaded");
    assert_eq!(letter["headers"][0], serde_json::json!(["event_id", id]));
    ledger.sql("UPDATE pipeline.outbox_events SET payload = '\\xdeadbeef' WHERE kind = 'dead_letter'").await;
    let text = fleet.run(&["dlq", "show", &id]).await.stdout;
    assert!(
        text.contains("deadbeef") && text.contains("not decodable") && text.contains("projection-builder"),
        "{text}"
    );
    assert_eq!(fleet.run(&["dlq", "show", &Uuid::nil().to_string()]).await.code, 1);
}

#[tokio::test]
async fn a_dry_run_and_a_refused_command_change_nothing() {
    let (fleet, ledger) = dead().await;
    let before = ledger.everything().await;
    let plan = fleet.run(&["dlq", "replay", "--consumer", "av-scan", "--dry-run", "--json"]).await;
    assert_eq!(
        (plan.code, &plan.json()["planned"], &plan.json()["done"]),
        (0, &2.into(), &0.into()),
        "{}",
        plan.stderr
    );
    assert_eq!(fleet.run(&["dlq", "purge", "--all", "--dry-run"]).await.code, 0);
    assert_eq!(fleet.run(&["dlq", "replay", "--all"]).await.code, 2, "without --why");
    assert_eq!(fleet.run(&["dlq", "replay", "--all", "--why", " "]).await.code, 2);
    assert_eq!(fleet.run(&["dlq", "replay", "--why", "x"]).await.code, 2, "without a choice");
    let asked = fleet.run(&["dlq", "purge", "--all", "--why", "x"]).await;
    assert_eq!(asked.code, 2, "nobody can answer");
    assert!(asked.stderr.contains("--yes"), "{}", asked.stderr);
    assert_eq!(ledger.everything().await, before);
}

#[tokio::test]
async fn a_replay_goes_to_the_failed_consumer_under_the_next_attempt_only_once() {
    let (fleet, ledger) = dead().await;
    let event_id = ledger.uploaded[0];
    let replay = [
        "dlq",
        "replay",
        "--consumer",
        "av-scan",
        "--event-id",
        &event_id.to_string(),
        "--why",
        "blob is back",
        "--json",
    ];
    let replayed = fleet.run(&replay).await;
    assert_eq!((replayed.code, &replayed.json()["done"]), (0, &1.into()), "{}", replayed.stderr);
    assert_eq!(ledger.inbox("av-scan", event_id).await, ("retrying".to_owned(), 4));
    assert_eq!(
        ledger.inbox("projection-builder", event_id).await,
        ("dead".to_owned(), 0),
        "the other consumer is not asked again"
    );
    assert_eq!(ledger.inbox("av-scan", ledger.uploaded[1]).await, ("dead".to_owned(), 3));

    let (topic, attempt, same, headers): (String, i32, bool, Value) = sqlx::query_as(
        r"SELECT r.topic, r.attempt, r.key = o.key AND r.payload = o.payload AND r.published_at IS NULL, r.headers
            FROM pipeline.outbox_events r JOIN pipeline.outbox_events o ON o.event_id = r.event_id AND o.kind = 'event'
           WHERE r.kind = 'retry'",
    )
    .fetch_one(&ledger.pool)
    .await
    .unwrap();
    assert_eq!((topic, attempt, same), (format!("{}av-scan.retry.10s", fleet.prefix), 4, true));
    let attempts: Vec<&Value> =
        headers.as_array().unwrap().iter().filter(|header| header[0] == "docfleet_attempt").collect();
    assert_eq!(attempts, [&serde_json::json!(["docfleet_attempt", "4"])]);
    assert!(headers.as_array().unwrap().contains(&serde_json::json!(["docfleet_original_offset", "7"])));

    let action: (String, String, String, Uuid, String) =
        sqlx::query_as("SELECT who, action, consumer, event_id, why FROM pipeline.operator_actions")
            .fetch_one(&ledger.pool)
            .await
            .unwrap();
    assert_eq!(action, ("tester".into(), "replay".into(), "av-scan".into(), event_id, "blob is back".into()));

    let before = ledger.everything().await;
    let repeated = fleet.run(&replay).await;
    assert_eq!(repeated.code, 1, "it was named, and is not dead");
    assert_eq!(repeated.json()["not_dead"][0], event_id.to_string());
    assert_eq!(ledger.everything().await, before, "a repeat is harmless");
}

#[tokio::test]
async fn what_dies_again_can_be_replayed_again() {
    let (fleet, ledger) = dead().await;
    let replay = ["dlq", "replay", "--consumer", "av-scan", "--why", "try", "--json"];
    assert_eq!(fleet.run(&replay).await.json()["done"], 2);
    assert_eq!(fleet.run(&replay).await.json()["done"], 0);
    ledger.kill(&fleet, "av-scan", ledger.uploaded[0], "blob-gone", 4).await;
    assert_eq!(
        fleet.run(&["dlq", "list", "--consumer", "av-scan", "--json"]).await.json()["total"],
        1,
        "of two letters one is current"
    );
    assert_eq!(fleet.run(&replay).await.json()["done"], 1);
    assert_eq!(ledger.inbox("av-scan", ledger.uploaded[0]).await, ("retrying".to_owned(), 5));
}

#[tokio::test]
async fn two_operators_at_once_replay_each_letter_once() {
    let (fleet, ledger) = dead().await;
    let replay = ["dlq", "replay", "--all", "--why", "race", "--json"];
    let (a, b) = tokio::join!(fleet.run(&replay), fleet.run(&replay));
    assert_eq!(a.json()["done"].as_i64().unwrap() + b.json()["done"].as_i64().unwrap(), 4, "{}{}", a.stderr, b.stderr);
    let retries: i64 = sqlx::query_scalar("SELECT count(*) FROM pipeline.outbox_events WHERE kind = 'retry'")
        .fetch_one(&ledger.pool)
        .await
        .unwrap();
    assert_eq!(retries, 4);
}

#[tokio::test]
async fn a_purge_is_final_on_record_and_keeps_the_bytes() {
    let (fleet, ledger) = dead().await;
    let purge = ["dlq", "purge", "--consumer", "projection-builder", "--why", "test data", "--yes", "--json"];
    assert_eq!(fleet.run(&purge).await.json()["done"], 2);
    assert_eq!(ledger.inbox("projection-builder", ledger.uploaded[0]).await.0, "discarded");
    assert_eq!(fleet.run(&["dlq", "list", "--json"]).await.json()["total"], 2);
    let letters: i64 =
        sqlx::query_scalar("SELECT count(payload) FROM pipeline.outbox_events WHERE kind = 'dead_letter'")
            .fetch_one(&ledger.pool)
            .await
            .unwrap();
    assert_eq!(letters, 4);
    assert_eq!(fleet.run(&purge).await.json()["done"], 0);
    assert_eq!(
        fleet.run(&["dlq", "replay", "--consumer", "projection-builder", "--why", "x", "--json"]).await.json()["done"],
        0
    );
    let audit = fleet.run(&["audit"]).await;
    assert_eq!(audit.code, 0, "discarded is an outcome: {}", audit.stdout);
    ledger.sql("DELETE FROM pipeline.operator_actions").await;
    assert!(fleet.run(&["audit"]).await.stdout.contains("DISCARDED-WITHOUT-DECISION: 2"));
}
