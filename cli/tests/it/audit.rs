use docfleet_outbox::Draft;
use uuid::Uuid;

use crate::{
    fleet::Fleet,
    ledger::Ledger,
    topic::{self, Published},
};

async fn good() -> (Fleet, Ledger) {
    let fleet = Fleet::fresh().await;
    let ledger = Ledger::good(&fleet).await;
    (fleet, ledger)
}

/// Names and counts of the findings.
async fn findings(fleet: &Fleet, more: &[&str]) -> Vec<(String, i64)> {
    let mut args = vec!["audit", "--json"];
    args.extend_from_slice(more);
    let ended = fleet.run(&args).await;
    let report = ended.json();
    let findings: Vec<(String, i64)> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| (finding["check"].as_str().unwrap().to_owned(), finding["count"].as_i64().unwrap()))
        .collect();
    assert_eq!(report["green"], findings.is_empty());
    assert_eq!(ended.code, i32::from(!findings.is_empty()), "{}", ended.stderr);
    findings
}

fn one(check: &str) -> Vec<(String, i64)> {
    vec![(check.to_owned(), 1)]
}

#[tokio::test]
async fn a_good_ledger_is_green_and_its_totals_add_up() {
    let (fleet, ledger) = good().await;
    ledger.kill(&fleet, "av-scan", ledger.uploaded[0], "blob-gone", 3).await;
    topic::publish_all(&fleet, &ledger.pool).await;
    let ended = fleet.run(&["audit", "--topics", "--json"]).await;
    assert_eq!(ended.code, 0, "{}{}", ended.stdout, ended.stderr);
    let report = ended.json();
    assert_eq!(report["totals"]["events"], 4);
    let av_scan = &report["totals"]["consumers"][0];
    assert_eq!((&av_scan["owed"], &av_scan["done"], &av_scan["dead"]), (&2.into(), &1.into(), &1.into()));
    assert_eq!(report["totals"]["dead"][0]["reason"], "blob-gone");
    assert_eq!(report["topics"].as_array().unwrap().len(), 2);
    assert!(report["topics"].as_array().unwrap().iter().all(|topic| topic["records"] == 2));
    let text = fleet.run(&["audit"]).await.stdout;
    assert!(text.contains("GREEN") && !text.contains("NOT GREEN"), "{text}");
}

#[tokio::test]
async fn an_event_without_an_outcome_is_named() {
    let (fleet, ledger) = good().await;
    sqlx::query("DELETE FROM pipeline.inbox WHERE consumer = 'projection-builder' AND event_id = $1")
        .bind(ledger.scanned[1])
        .execute(&ledger.pool)
        .await
        .unwrap();
    assert_eq!(findings(&fleet, &[]).await, one("missing-outcome"));
    let text = fleet.run(&["audit"]).await.stdout;
    assert!(text.contains(&ledger.scanned[1].to_string()) && text.contains("projection-builder"), "{text}");
    assert_eq!(findings(&fleet, &["--settled-before", "1h"]).await, [], "younger than an hour: it may be on its way");
}

#[tokio::test]
async fn a_consumer_that_never_started_is_not_green_once_there_are_events() {
    let (fleet, ledger) = good().await;
    ledger.sql("DELETE FROM pipeline.subscriptions WHERE consumer IN ('ocr', 'webhook-dispatcher')").await;
    assert_eq!(findings(&fleet, &[]).await, [("consumer-never-started".to_owned(), 2)]);
    let text = fleet.run(&["audit"]).await.stdout;
    assert!(text.contains("NOT GREEN: consumer-never-started") && text.contains("→ Start each"), "{text}");
    assert!(text.contains("ocr  no subscription") && text.contains("webhook-dispatcher  no subscription"), "{text}");
    assert_eq!(findings(&fleet, &["--settled-before", "1h"]).await, [], "younger than an hour: not looked at yet");
}

#[tokio::test]
async fn an_undecodable_message_settles_the_event_whose_bytes_it_holds() {
    let (fleet, ledger) = good().await;
    ledger.bury_undecoded(&fleet, "av-scan", ledger.uploaded[0], "o.payload").await;
    assert_eq!(findings(&fleet, &[]).await, []);
    let (fleet, ledger) = good().await;
    ledger.bury_undecoded(&fleet, "av-scan", ledger.uploaded[0], "NULL").await;
    ledger
        .sql(
            r"UPDATE pipeline.outbox_events f SET headers = f.headers || jsonb_build_array(jsonb_build_array(
                     'docfleet_payload_omitted_bytes', octet_length(o.payload)::text))
                FROM pipeline.outbox_events o WHERE f.kind = 'dead_letter' AND o.event_id::text = f.headers #>> '{0,1}'",
        )
        .await;
    assert_eq!(findings(&fleet, &[]).await, [], "too large to be carried");
    ledger.sql("UPDATE pipeline.outbox_events SET headers = jsonb_set(headers, '{2,1}', '\"9\"') WHERE kind = 'dead_letter'").await;
    assert_eq!(findings(&fleet, &[]).await, one("missing-outcome"), "of another size");
}

#[tokio::test]
async fn a_foreign_message_that_names_an_event_does_not_hide_that_it_is_missing() {
    for payload in ["'forged'::bytea", "o.payload || '\\x00'::bytea", "NULL"] {
        let (fleet, ledger) = good().await;
        ledger.bury_undecoded(&fleet, "av-scan", ledger.uploaded[0], payload).await;
        assert_eq!(findings(&fleet, &[]).await, one("missing-outcome"), "{payload}");
        let text = fleet.run(&["audit"]).await.stdout;
        assert!(text.contains(&format!("av-scan  {}", ledger.uploaded[0])), "{text}");
    }
}

#[tokio::test]
async fn a_dead_message_needs_the_dead_letter_of_its_attempt() {
    let (fleet, ledger) = good().await;
    ledger.kill(&fleet, "av-scan", ledger.uploaded[0], "x", 2).await;
    assert_eq!(findings(&fleet, &[]).await, []);
    ledger.sql("UPDATE pipeline.inbox SET attempt = 3 WHERE outcome = 'dead'").await;
    assert_eq!(findings(&fleet, &[]).await, one("dead-without-letter"));
    ledger.sql("DELETE FROM pipeline.outbox_events WHERE kind = 'dead_letter'").await;
    assert_eq!(findings(&fleet, &[]).await, one("dead-without-letter"));
}

#[tokio::test]
async fn a_retry_that_waits_is_unfinished_and_one_that_was_never_written_is_lost() {
    let (fleet, ledger) = good().await;
    ledger.kill(&fleet, "av-scan", ledger.uploaded[0], "x", 0).await;
    assert_eq!(fleet.run(&["dlq", "replay", "--all", "--no-canary", "--why", "test"]).await.code, 0);
    assert_eq!(findings(&fleet, &[]).await, [("still-retrying".to_owned(), 1), ("unpublished".to_owned(), 1)]);
    ledger.sql("DELETE FROM pipeline.outbox_events WHERE kind = 'retry'").await;
    assert_eq!(
        findings(&fleet, &[]).await,
        [("still-retrying".to_owned(), 1), ("retrying-without-retry".to_owned(), 1)]
    );
}

#[tokio::test]
async fn gaps_in_versions_are_found_on_both_sides() {
    let (fleet, ledger) = good().await;
    ledger.sql("UPDATE pipeline.aggregates SET version = version + 1 WHERE aggregate_id = (SELECT min(aggregate_id::text)::uuid FROM pipeline.aggregates)").await;
    assert_eq!(findings(&fleet, &[]).await, one("version-gap"));
    let (fleet, ledger) = good().await;
    sqlx::query("DELETE FROM pipeline.outbox_events WHERE event_id = $1")
        .bind(ledger.uploaded[0])
        .execute(&ledger.pool)
        .await
        .unwrap();
    let expected = [("unknown-event".to_owned(), 3), ("version-gap".to_owned(), 1), ("unknown-cause".to_owned(), 1)];
    assert_eq!(findings(&fleet, &[]).await, expected);
}

#[tokio::test]
async fn two_outcomes_unpublished_rows_and_edited_payloads_are_found() {
    let (fleet, ledger) = good().await;
    ledger
        .sql("INSERT INTO pipeline.inbox SELECT consumer, event_id, event_day + 1, outcome, reason, attempt, topic, partition, \"offset\" FROM pipeline.inbox WHERE consumer = 'av-scan' LIMIT 1")
        .await;
    assert_eq!(findings(&fleet, &[]).await, one("several-outcomes"));
    let (fleet, ledger) = good().await;
    ledger.sql("UPDATE pipeline.outbox_events SET published_at = NULL WHERE id = (SELECT min(id) FROM pipeline.outbox_events)").await;
    assert_eq!(findings(&fleet, &[]).await, one("unpublished"));
    let (fleet, ledger) = good().await;
    ledger.sql("UPDATE pipeline.outbox_events SET payload = '\\x00ff' WHERE id = (SELECT min(id) FROM pipeline.outbox_events)").await;
    assert_eq!(findings(&fleet, &[]).await, one("payload-contradicts-row"));
}

#[tokio::test]
async fn a_topic_that_nobody_reads_is_not_green() {
    let (fleet, ledger) = good().await;
    sqlx::query("DELETE FROM pipeline.subscriptions WHERE topic = $1")
        .bind(&ledger.uploaded_topic)
        .execute(&ledger.pool)
        .await
        .unwrap();
    assert_eq!(findings(&fleet, &[]).await, one("no-consumer"));
}

#[tokio::test]
async fn a_lost_record_and_foreign_bytes_are_found_on_the_topic() {
    let (fleet, ledger) = good().await;
    let mut records = topic::published(&ledger.pool).await;
    let lost = records.pop().unwrap();
    topic::create(&fleet, &[&ledger.uploaded_topic, &lost.topic]).await;
    topic::produce(&fleet, &records).await;
    assert_eq!(findings(&fleet, &[]).await, [], "the database alone can not know");
    assert_eq!(findings(&fleet, &["--topics"]).await, one("lost-record"));
    topic::produce(&fleet, std::slice::from_ref(&lost)).await;
    topic::produce(&fleet, std::slice::from_ref(&lost)).await;
    assert_eq!(findings(&fleet, &["--topics"]).await, [], "a repeated record is no fault");
    topic::produce(&fleet, &[Published { payload: b"forged".to_vec(), ..lost }]).await;
    assert_eq!(findings(&fleet, &["--topics"]).await, one("other-bytes"));
}

#[tokio::test]
async fn a_topic_out_of_order_is_found_and_a_late_repeat_is_not() {
    let (fleet, ledger) = good().await;
    let (first, later) = (ledger.uploaded, upload_again(&fleet, &ledger).await);
    let records = topic::published(&ledger.pool).await;
    let of = |id: Uuid| records.iter().find(|record| record.event_id == id).unwrap().clone();
    topic::create(&fleet, &[&ledger.uploaded_topic, &of(ledger.scanned[0]).topic]).await;
    topic::produce(&fleet, &ledger.scanned.map(of)).await;
    topic::produce(&fleet, &[of(first[0]), of(later[0]), of(first[0])]).await;
    topic::produce(&fleet, &[of(first[1])]).await;
    assert_eq!(
        findings(&fleet, &["--topics"]).await,
        one("lost-record"),
        "the second's later version is not there yet"
    );
    topic::produce(&fleet, &[of(later[1])]).await;
    assert_eq!(findings(&fleet, &["--topics"]).await, []);

    let (fleet, ledger) = good().await;
    let (first, later) = (ledger.uploaded, upload_again(&fleet, &ledger).await);
    let records = topic::published(&ledger.pool).await;
    let of = |id: Uuid| records.iter().find(|record| record.event_id == id).unwrap().clone();
    topic::create(&fleet, &[&ledger.uploaded_topic, &of(ledger.scanned[0]).topic]).await;
    topic::produce(&fleet, &ledger.scanned.map(of)).await;
    topic::produce(&fleet, &[of(later[0]), of(first[1]), of(first[0]), of(later[1]), of(later[0])]).await;
    assert_eq!(findings(&fleet, &["--topics"]).await, one("out-of-order"));
}

/// Another event of each aggregate on the same topic, settled and published.
async fn upload_again(fleet: &Fleet, ledger: &Ledger) -> [Uuid; 2] {
    let outbox = crate::ledger::outbox(fleet).await;
    let mut ids = Vec::new();
    for event_id in ledger.uploaded {
        let document: Uuid = sqlx::query_scalar("SELECT aggregate_id FROM pipeline.outbox_events WHERE event_id = $1")
            .bind(event_id)
            .fetch_one(&ledger.pool)
            .await
            .unwrap();
        let draft = Draft::first(crate::ledger::uploaded(document), "acme", "local", None);
        ids.push(draft.event_id());
        let mut transaction = ledger.pool.begin().await.unwrap();
        outbox.append(&mut transaction, vec![draft]).await.unwrap();
        transaction.commit().await.unwrap();
    }
    ledger.settle_all().await;
    ids.try_into().unwrap()
}
