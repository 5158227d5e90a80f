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
    assert_eq!((plan.code, &plan.json()["planned"], &plan.json()["redrive"]), (0, &2.into(), &Value::Null));
    assert_eq!(fleet.run(&["dlq", "purge", "--all", "--dry-run"]).await.code, 0);
    assert_eq!(fleet.run(&["dlq", "plan", "--all"]).await.code, 2, "without --why");
    assert_eq!(fleet.run(&["dlq", "replay", "--all"]).await.code, 2, "without --why");
    assert_eq!(fleet.run(&["dlq", "replay", "--all", "--why", " "]).await.code, 2);
    assert_eq!(fleet.run(&["dlq", "replay", "--why", "x"]).await.code, 2, "without a choice");
    let asked = fleet.run(&["dlq", "purge", "--all", "--why", "x"]).await;
    assert_eq!(asked.code, 2, "nobody can answer");
    assert!(asked.stderr.contains("--yes"), "{}", asked.stderr);
    assert_eq!(ledger.everything().await, before);
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
        fleet.run(&["dlq", "replay", "--consumer", "projection-builder", "--why", "x", "--json"]).await.json()["planned"],
        0
    );
    // The view has not seen what died on its way there.
    ledger.sql("UPDATE views.document_view SET version = 1").await;
    let audit = fleet.run(&["audit"]).await;
    assert_eq!(audit.code, 0, "discarded is an outcome: {}", audit.stdout);
    ledger.sql("DELETE FROM pipeline.operator_actions").await;
    assert!(fleet.run(&["audit"]).await.stdout.contains("DISCARDED-WITHOUT-DECISION: 2"));
}

#[tokio::test]
async fn a_purge_can_be_taken_back_and_both_are_on_record() {
    let (fleet, ledger) = dead().await;
    let event_id = ledger.uploaded[0].to_string();
    let purge = ["dlq", "purge", "--consumer", "av-scan", "--why", "test data", "--yes", "--json"];
    assert_eq!(fleet.run(&purge).await.json()["done"], 2);
    let restore = ["dlq", "restore", "--event-id", &event_id, "--why", "by mistake", "--json"];
    let looked = fleet.run(&["dlq", "restore", "--event-id", &event_id, "--dry-run", "--json"]).await.json();
    assert_eq!((&looked["planned"], &looked["done"]), (&1.into(), &0.into()));
    assert_eq!(ledger.inbox("av-scan", ledger.uploaded[0]).await.0, "discarded", "a dry run changes nothing");
    assert_eq!(fleet.run(&["dlq", "restore", "--event-id", &event_id]).await.code, 2, "without --why");
    assert_eq!(fleet.run(&restore).await.json()["done"], 1);
    assert_eq!(ledger.inbox("av-scan", ledger.uploaded[0]).await, ("dead".to_owned(), 3));
    assert_eq!(ledger.inbox("av-scan", ledger.uploaded[1]).await.0, "discarded", "only what was named");
    assert_eq!(fleet.run(&restore).await.json()["done"], 0, "a repeat is harmless");
    let replay =
        ["dlq", "replay", "--event-id", &event_id, "--consumer", "av-scan", "--no-canary", "--why", "x", "--json"];
    assert_eq!(fleet.run(&replay).await.json()["sent"], 1, "what was restored can be replayed");
    let actions: Vec<String> =
        sqlx::query_scalar("SELECT action FROM pipeline.operator_actions WHERE event_id = $1 ORDER BY id")
            .bind(ledger.uploaded[0])
            .fetch_all(&ledger.pool)
            .await
            .unwrap();
    assert_eq!(actions, ["purge", "restore"]);
}

#[tokio::test]
async fn show_tells_each_attempt_and_bounds_the_bytes() {
    let (fleet, ledger) = dead().await;
    let event_id = ledger.uploaded[0].to_string();
    let replay =
        ["dlq", "replay", "--event-id", &event_id, "--consumer", "av-scan", "--no-canary", "--why", "INC-42", "--json"];
    assert_eq!(fleet.run(&replay).await.json()["sent"], 1);
    ledger.kill(&fleet, "av-scan", ledger.uploaded[0], "blob-gone", 4).await;
    let show = ["dlq", "show", &event_id, "--consumer", "av-scan"];
    let shown = fleet.run(&[&show[..], &["--json"]].concat()).await.json();
    let attempts: Vec<(&Value, &Value)> =
        shown["letters"][0]["attempts"].as_array().unwrap().iter().map(|a| (&a["attempt"], &a["what"])).collect();
    assert_eq!(attempts, [(&3.into(), &"died".into()), (&4.into(), &"replayed".into()), (&4.into(), &"died".into())]);
    assert!(shown["letters"][0]["attempts"][1]["error"].as_str().unwrap().contains("INC-42"));
    ledger
        .sql("UPDATE pipeline.outbox_events SET payload = decode(repeat('ab', 5000), 'hex') WHERE kind = 'dead_letter'")
        .await;
    let text = fleet.run(&show).await.stdout;
    assert!(text.contains("2952 bytes more by --json") && text.len() < 10_000, "{} {text}", text.len());
}
