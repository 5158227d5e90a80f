use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use docfleet_outbox::Draft;
use docfleet_testkit::eventually;
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

/// A worker's metrics: what is done at dedup, and once that grows so many more. Tells how often they were read.
async fn counting(ledger: &Ledger, more: i64) -> (String, Arc<AtomicU32>) {
    let (pool, read) = (ledger.pool.clone(), Arc::new(AtomicU32::new(0)));
    let reads = Arc::clone(&read);
    let metrics = move || {
        let (pool, reads) = (pool.clone(), Arc::clone(&reads));
        async move {
            let done = "SELECT count(*) FROM pipeline.inbox WHERE consumer = 'dedup' AND outcome = 'done'";
            let done: i64 = sqlx::query_scalar(done).fetch_one(&pool).await.unwrap();
            reads.fetch_add(1, Ordering::SeqCst);
            let counted = if done > 2 { done + more } else { done };
            format!("docfleet_consumer_outcomes_total{{consumer=\"dedup\",outcome=\"done\",reason=\"\"}} {counted}\n")
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/metrics", listener.local_addr().unwrap());
    let router = axum::Router::new().route("/metrics", axum::routing::get(metrics));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, read)
}

/// One outcome is settled between the two readings.
async fn found_by_counters(more: i64) -> Vec<(String, i64)> {
    let (fleet, ledger) = good().await;
    let (url, read) = counting(&ledger, more).await;
    let settle = async {
        eventually("the first reading", 60, || async { (read.load(Ordering::SeqCst) > 0).then_some(()) }).await;
        ledger
            .sql(
                r#"INSERT INTO pipeline.inbox (consumer, event_id, event_day, outcome, topic, partition, "offset")
                   VALUES ('dedup', gen_random_uuid(), '1970-01-01', 'done', 't', 0, 1)"#,
            )
            .await;
    };
    let args = ["--counters", &url, "--counters-for", "12s"];
    tokio::join!(findings(&fleet, &args), settle).0
}

#[tokio::test]
async fn counters_that_grow_otherwise_than_the_ledger_are_named() {
    let (right, above, below) = tokio::join!(found_by_counters(0), found_by_counters(7), found_by_counters(-1));
    assert_eq!((right, above, below), (vec![], one("counters-differ"), one("counters-differ")));
    let (fleet, ledger) = good().await;
    let (url, _) = counting(&ledger, 0).await;
    ledger
        .sql(
            r"INSERT INTO pipeline.consumer_members (member, consumer, partitions, in_flight, waits, started_at, seen_at)
              SELECT gen_random_uuid(), 'dedup', 1, 0, false, now(), clock_timestamp() + interval '1 minute' FROM generate_series(1, 2)",
        )
        .await;
    let half = fleet.run(&["audit", "--counters", &url, "--counters-for", "1s"]).await;
    assert!(half.code == 2 && half.stderr.contains("2 members of dedup"), "{}", half.stderr);
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
    erased(&ledger, ledger.scanned[1]).await;
    assert_eq!(findings(&fleet, &[]).await, [], "nobody owes an outcome of an erased document");
    ledger.sql("UPDATE pipeline.outbox_events SET event_type = 'DocumentErased' WHERE kind = 'event'").await;
    assert_eq!(findings(&fleet, &[]).await, one("missing-outcome"), "but for the erasure");
}

/// A tombstone for the document of an event.
async fn erased(ledger: &Ledger, event: Uuid) {
    sqlx::query(
        "INSERT INTO documents.erasures (document_id, tenant, region, reason, erased_by)
         SELECT aggregate_id, tenant, region, 'request', 'x' FROM pipeline.outbox_events WHERE event_id = $1 AND kind = 'event'",
    )
    .bind(event)
    .execute(&ledger.pool)
    .await
    .unwrap();
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
    assert_eq!(findings(&fleet, &[]).await, [("unpublished".to_owned(), 1), ("still-retrying".to_owned(), 1)]);
    ledger.sql("DELETE FROM pipeline.outbox_events WHERE kind = 'retry'").await;
    assert_eq!(
        findings(&fleet, &[]).await,
        [
            ("retrying-without-retry".to_owned(), 1),
            ("unpublished-without-row".to_owned(), 1),
            ("still-retrying".to_owned(), 1)
        ]
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
    let expected = [("unknown-event".to_owned(), 3), ("unknown-cause".to_owned(), 1), ("version-gap".to_owned(), 1)];
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
    ledger.sql("INSERT INTO pipeline.outbox_unpublished SELECT id, created_at, shard FROM pipeline.outbox_events ORDER BY id LIMIT 1").await;
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

/// The mark of a pass, once the server's other transactions let it move.
async fn mark(fleet: &Fleet, pass: &str) -> serde_json::Value {
    let report = fleet.run(&["audit", "--json"]).await.json();
    report["proofs"].as_array().unwrap().iter().find(|proof| proof["pass"] == pass).cloned().unwrap_or_default()
}

async fn proven(fleet: &Fleet, events: i64) {
    eventually("every event is proven", 60, || async {
        (mark(fleet, "events").await["proven"] == events).then_some(())
    })
    .await;
    eventually("every payload is proven", 60, || async {
        (mark(fleet, "payloads").await["proven"] == events).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_was_proven_is_not_looked_at_again_until_it_is_asked_for() {
    let (fleet, ledger) = good().await;
    proven(&fleet, 4).await;
    let report = fleet.run(&["audit", "--json"]).await.json();
    assert_eq!((&report["totals"]["events"], &report["totals"]["proven_before"]), (&0.into(), &4.into()));
    sqlx::query("DELETE FROM pipeline.inbox WHERE consumer = 'dedup'").execute(&ledger.pool).await.unwrap();
    assert_eq!(findings(&fleet, &[]).await, [], "edited below the mark");
    assert_eq!(findings(&fleet, &["--full"]).await, [("missing-outcome".to_owned(), 2)]);
    assert_eq!(findings(&fleet, &[]).await, [("missing-outcome".to_owned(), 2)], "and remembered as unfinished");
    ledger.settle_all().await;
    assert_eq!(findings(&fleet, &[]).await, []);
}

#[tokio::test]
async fn an_unfinished_event_below_the_mark_is_looked_at_until_it_is_finished() {
    let (fleet, ledger) = good().await;
    ledger.sql("INSERT INTO pipeline.outbox_unpublished SELECT id, created_at, shard FROM pipeline.outbox_events ORDER BY id LIMIT 1").await;
    sqlx::query("DELETE FROM pipeline.inbox WHERE consumer = 'dedup'").execute(&ledger.pool).await.unwrap();
    proven_with_findings(&fleet, 4).await;
    let expected = [("missing-outcome".to_owned(), 2), ("unpublished".to_owned(), 1)];
    assert_eq!(findings(&fleet, &[]).await, expected);
    assert_eq!(findings(&fleet, &["--settled-before", "1h"]).await, []);
    assert_eq!(findings(&fleet, &[]).await, expected, "left out once, and not forgotten");
    ledger.settle_all().await;
    assert_eq!(findings(&fleet, &[]).await, []);
    let report = fleet.run(&["audit", "--json"]).await.json();
    assert_eq!(report["totals"]["events"], 0, "nothing is left to look at");
}

async fn proven_with_findings(fleet: &Fleet, events: i64) {
    eventually("the mark moves past what is remembered", 60, || async {
        (mark(fleet, "events").await["proven"] == events).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_event_that_commits_late_with_a_smaller_id_is_not_passed_by_the_mark() {
    let (fleet, ledger) = good().await;
    let outbox = crate::ledger::outbox(&fleet).await;
    let mut late = ledger.pool.begin().await.unwrap();
    outbox
        .append(&mut late, vec![Draft::first(crate::ledger::uploaded(Uuid::now_v7()), "acme", "local", None)])
        .await
        .unwrap();
    let mut early = ledger.pool.begin().await.unwrap();
    outbox
        .append(&mut early, vec![Draft::first(crate::ledger::uploaded(Uuid::now_v7()), "acme", "local", None)])
        .await
        .unwrap();
    early.commit().await.unwrap();
    ledger.settle_all().await;
    for _ in 0..3 {
        assert_eq!(findings(&fleet, &[]).await, []);
    }
    assert!(mark(&fleet, "events").await["up_to_id"].as_i64().unwrap_or(0) < 5, "the open transaction took row 5");
    late.commit().await.unwrap();
    assert_eq!(findings(&fleet, &[]).await, [("missing-outcome".to_owned(), 3), ("unpublished".to_owned(), 1)]);
    ledger.settle_all().await;
    proven(&fleet, 6).await;
}

#[tokio::test]
async fn another_consumer_makes_what_was_proven_too_little() {
    let (fleet, ledger) = good().await;
    proven(&fleet, 4).await;
    sqlx::query("INSERT INTO pipeline.subscriptions (consumer, topic) VALUES ('archive', $1)")
        .bind(&ledger.uploaded_topic)
        .execute(&ledger.pool)
        .await
        .unwrap();
    assert_eq!(findings(&fleet, &[]).await, [("missing-outcome".to_owned(), 2)]);
}

#[tokio::test]
async fn a_view_that_counts_other_events_than_were_applied_is_found() {
    let (fleet, ledger) = good().await;
    ledger.sql("UPDATE views.document_view SET version = version + 1 WHERE document_id = (SELECT min(document_id::text)::uuid FROM views.document_view)").await;
    assert_eq!(findings(&fleet, &[]).await, one("projection-count"));
    ledger.sql("DELETE FROM views.document_view").await;
    assert_eq!(findings(&fleet, &[]).await, [("projection-count".to_owned(), 2)]);
}

#[tokio::test]
async fn a_record_that_nobody_committed_is_found_and_a_pruned_event_is_not() {
    let (fleet, ledger) = good().await;
    topic::publish_all(&fleet, &ledger.pool).await;
    let forged = Published { event_id: Uuid::now_v7(), ..topic::published(&ledger.pool).await.remove(0) };
    topic::produce(&fleet, &[forged]).await;
    assert_eq!(findings(&fleet, &["--topics"]).await, one("uncommitted-record"));
    // As housekeeping drops the day of the ledger's first event.
    let (fleet, ledger) = good().await;
    ledger.sql("UPDATE pipeline.inbox SET event_day = event_day - 40 WHERE event_id IN (SELECT event_id FROM pipeline.outbox_events WHERE id = 1)").await;
    ledger.sql("DELETE FROM pipeline.outbox_events WHERE id = 1").await;
    assert_eq!(
        findings(&fleet, &[]).await,
        [("unknown-event".to_owned(), 3), ("unknown-cause".to_owned(), 1), ("version-gap".to_owned(), 1)]
    );
    ledger.sql("INSERT INTO pipeline.dropped_days VALUES ('outbox_events', current_date - 30)").await;
    assert_eq!(findings(&fleet, &[]).await, []);
}

#[tokio::test]
async fn an_offset_committed_ahead_of_its_settlement_is_found() {
    let (fleet, ledger) = good().await;
    topic::publish_all(&fleet, &ledger.pool).await;
    crate::status::commit(&fleet, "av-scan", &ledger.uploaded_topic, 2);
    assert_eq!(findings(&fleet, &["--topics"]).await, []);
    ledger.sql("DELETE FROM pipeline.inbox WHERE consumer = 'av-scan' AND event_id IN (SELECT event_id FROM pipeline.outbox_events WHERE id = 1)").await;
    let expected = [("missing-outcome".to_owned(), 1), ("committed-without-outcome".to_owned(), 1)];
    assert_eq!(findings(&fleet, &["--full", "--topics"]).await, expected);
}

#[tokio::test]
async fn a_topic_is_read_again_only_from_where_it_was_proven() {
    let (fleet, ledger) = good().await;
    topic::publish_all(&fleet, &ledger.pool).await;
    for consumer in ["av-scan", "webhook-dispatcher", "projection-builder"] {
        crate::status::commit(&fleet, consumer, &ledger.uploaded_topic, 2);
    }
    assert_eq!(findings(&fleet, &["--topics"]).await, []);
    // As if the proof were an hour younger.
    ledger.sql("UPDATE pipeline.audit_proofs SET up_to_time = up_to_time + interval '1 h' WHERE pass = 'topics'").await;
    let report = fleet.run(&["audit", "--topics", "--json"]).await.json();
    assert!(report["topics"].as_array().unwrap().iter().any(|topic| topic["records"] == 0), "{report}");
    let whole = fleet.run(&["audit", "--topics", "--full", "--json"]).await.json();
    assert!(whole["topics"].as_array().unwrap().iter().all(|topic| topic["records"] == 2), "{whole}");
}

#[tokio::test]
async fn a_queue_that_is_too_late_is_a_finding_when_asked_for() {
    let (fleet, ledger) = good().await;
    topic::publish_all(&fleet, &ledger.pool).await;
    let found = findings(&fleet, &["--lag-max", "0s"]).await;
    assert!(found.iter().all(|(check, _)| check == "late-queue") && found.len() == 1, "{found:?}");
    assert_eq!(findings(&fleet, &["--lag-max", "1h"]).await, []);
}

#[tokio::test]
async fn the_result_is_written_as_metrics_in_one_step() {
    let (fleet, ledger) = good().await;
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("docfleet.prom");
    let path = file.to_str().unwrap();
    assert_eq!(findings(&fleet, &["--metrics-file", path]).await, []);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("docfleet_audit_green_bool 1\n"), "{text}");
    assert!(text.contains("docfleet_audit_offenders_rows{property=\"L1\",check=\"none\"} 0\n"), "{text}");
    ledger.sql("DELETE FROM pipeline.inbox WHERE consumer = 'dedup'").await;
    assert_eq!(findings(&fleet, &["--full", "--metrics-file", path]).await, [("missing-outcome".to_owned(), 2)]);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("docfleet_audit_offenders_rows{property=\"L1\",check=\"missing-outcome\"} 2\n"), "{text}");
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
    assert_eq!(fleet.run(&["audit", "--metrics-file", "/nowhere/x.prom"]).await.code, 1);
}
