use crate::{fleet::Fleet, ledger::Ledger};

const UNPUBLISHED: &str = "SELECT count(*) FROM pipeline.outbox_unpublished";
const HOUR: [&str; 6] = ["relay", "republish", "--from", "2026-05-12T08:00:00Z", "--to", "2026-05-12T09:00:00Z"];

/// Published rows, all but one inserted within that hour.
async fn published() -> (Fleet, Ledger) {
    let fleet = Fleet::fresh().await;
    let ledger = Ledger::good(&fleet).await;
    ledger.sql("UPDATE pipeline.outbox_events SET created_at = '2026-05-12T08:30:00Z'").await;
    ledger
        .sql("UPDATE pipeline.outbox_events SET created_at = '2026-05-12T09:00:00Z' WHERE id = (SELECT max(id) FROM pipeline.outbox_events)")
        .await;
    (fleet, ledger)
}

async fn count(fleet: &Fleet, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(&fleet.database.pool()).await.unwrap()
}

#[tokio::test]
async fn a_dry_run_and_wrong_usage_unpublish_nothing() {
    let (fleet, _) = published().await;
    let wrong: [&[&str]; 4] = [
        &HOUR,
        &["relay", "republish", "--from", "2026-05-12T09:00:00Z", "--to", "2026-05-12T08:00:00Z", "--why", "x"],
        &["relay", "republish", "--from", "yesterday", "--to", "2026-05-12T08:00:00Z", "--why", "x"],
        &["relay", "republish", "--from", "2026-05-12T08:00:00Z", "--to", "2026-05-12T09:00:00Z", "--why", " "],
    ];
    for args in wrong {
        assert_eq!(fleet.run(args).await.code, 2, "{args:?}");
    }
    let strange = [&HOUR[..], &["--schema", "no such; schema", "--dry-run"]].concat();
    assert_eq!(fleet.run(&strange).await.code, 1);
    let plan = fleet.run(&[&HOUR[..], &["--dry-run", "--json"]].concat()).await;
    assert_eq!(
        (plan.code, &plan.json()["planned"], &plan.json()["done"]),
        (0, &3.into(), &0.into()),
        "{}",
        plan.stderr
    );
    assert_eq!(count(&fleet, UNPUBLISHED).await, 0);
}

#[tokio::test]
async fn rows_of_a_time_are_unpublished_once_and_on_record() {
    let (fleet, ledger) = published().await;
    let done = fleet.run(&[&HOUR[..], &["--why", "INC-42", "--json"]].concat()).await;
    assert_eq!((done.code, &done.json()["done"]), (0, &3.into()), "{}", done.stderr);
    assert_eq!(count(&fleet, UNPUBLISHED).await, 3);
    let on_record = "SELECT count(*) FROM pipeline.operator_actions WHERE action = 'republish' AND who = 'tester' AND why LIKE 'INC-42%'";
    assert_eq!(count(&fleet, on_record).await, 1);
    // The relay has published one of them; whoever resumes leaves it alone.
    ledger.sql("DELETE FROM pipeline.outbox_unpublished WHERE id = (SELECT min(id) FROM pipeline.outbox_events)").await;
    let before = done.json()["last"].to_string();
    let again = fleet.run(&[&HOUR[..], &["--why", "INC-42", "--after", &before, "--json"]].concat()).await;
    assert_eq!((again.code, &again.json()["done"]), (0, &0.into()), "{}", again.stderr);
    assert_eq!(count(&fleet, UNPUBLISHED).await, 2);
}

#[tokio::test]
async fn only_the_topic_that_was_named_is_published_again() {
    let (fleet, ledger) = published().await;
    let done = fleet.run(&[&HOUR[..], &["--topic", &ledger.uploaded_topic, "--why", "x", "--json"]].concat()).await;
    assert_eq!((done.code, &done.json()["done"]), (0, &2.into()), "{}", done.stderr);
}

#[tokio::test]
async fn rows_of_erased_documents_are_left_alone_but_for_the_news_of_the_erasure() {
    let (fleet, _) = published().await;
    let document: uuid::Uuid = sqlx::query_scalar(
        "SELECT aggregate_id FROM pipeline.outbox_events WHERE created_at = '2026-05-12T08:30:00Z' ORDER BY id LIMIT 1",
    )
    .fetch_one(&fleet.database.pool())
    .await
    .unwrap();
    sqlx::query("INSERT INTO documents.erasures (document_id, tenant, region, reason, erased_by) VALUES ($1, 't', 'r', 'request', 'x')")
        .bind(document)
        .execute(&fleet.database.pool())
        .await
        .unwrap();
    let of_it =
        "SELECT count(*) FROM pipeline.outbox_events o JOIN documents.erasures e ON e.document_id = o.aggregate_id
                  WHERE o.created_at = '2026-05-12T08:30:00Z'";
    let rows = count(&fleet, of_it).await;
    assert!(rows > 0);
    let plan = fleet.run(&[&HOUR[..], &["--dry-run"]].concat()).await;
    assert!(plan.stdout.contains("of erased documents are left alone"), "{}", plan.stdout);
    let done = fleet.run(&[&HOUR[..], &["--why", "INC-42", "--json"]].concat()).await;
    assert_eq!((&done.json()["done"], &done.json()["erased"]), (&(3 - rows).into(), &rows.into()), "{}", done.stderr);
    assert_eq!(count(&fleet, UNPUBLISHED).await, 3 - rows);
    sqlx::query("UPDATE pipeline.outbox_events SET event_type = 'DocumentErased' WHERE aggregate_id = $1")
        .bind(document)
        .execute(&fleet.database.pool())
        .await
        .unwrap();
    let news = fleet.run(&[&HOUR[..], &["--why", "INC-42", "--json"]].concat()).await;
    assert_eq!((&news.json()["done"], &news.json()["erased"]), (&rows.into(), &0.into()), "{}", news.stderr);
}
