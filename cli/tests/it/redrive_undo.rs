use serde_json::Value;
use sqlx::PgPool;

use crate::{crowd, fleet::Fleet, worker};

const REPLAY: [&str; 8] = ["dlq", "replay", "--consumer", "ocr", "--no-canary", "--why", "fixed", "--json"];
const UNDO: [&str; 6] = ["dlq", "undo", "1", "--why", "not deployed", "--json"];

async fn sql(pool: &PgPool, statement: &'static str) {
    sqlx::raw_sql(statement).execute(pool).await.unwrap();
}

async fn one(pool: &PgPool, statement: &'static str) -> i64 {
    sqlx::query_scalar(statement).fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn an_undo_takes_back_what_nobody_worked_on_and_says_what_it_could_not() {
    let fleet = Fleet::fresh().await;
    let pool = crowd::die(&fleet, "ocr", 500).await;
    assert_eq!(fleet.run(&[&REPLAY[..], &["--rate", "2000/s"]].concat()).await.json()["sent"], 500);
    worker::step(&pool, "ocr", "right(r.event_id::text, 1) = '3'").await;
    let settled = one(&pool, "SELECT count(*) FROM pipeline.inbox WHERE outcome = 'done'").await;
    let died = one(&pool, "SELECT count(*) FROM pipeline.inbox WHERE outcome = 'dead'").await;
    assert_eq!(settled + died, 200);
    // Fifty more are on the topic, ten have failed again and wait for another tier.
    sql(
        &pool,
        r"DELETE FROM pipeline.outbox_unpublished WHERE id IN
              (SELECT r.id FROM pipeline.outbox_events r JOIN pipeline.inbox i ON i.event_id = r.event_id
                WHERE r.kind = 'retry' AND i.outcome = 'retrying' ORDER BY r.id LIMIT 60);
          UPDATE pipeline.inbox SET attempt = attempt + 1 WHERE event_id IN
              (SELECT r.event_id FROM pipeline.outbox_events r JOIN pipeline.inbox i ON i.event_id = r.event_id
                WHERE r.kind = 'retry' AND i.outcome = 'retrying' AND NOT EXISTS (SELECT FROM pipeline.outbox_unpublished u WHERE u.id = r.id) ORDER BY r.id LIMIT 10)",
    )
    .await;
    let undone = fleet.run(&UNDO).await;
    let report = undone.json();
    assert_eq!(undone.code, 0, "{}", undone.stderr);
    assert_eq!((&report["taken_back_unsent"], &report["taken_back_sent"]), (&240.into(), &50.into()), "{report}");
    assert_eq!(
        (&report["worked"], &report["died_again"], &report["undone"]),
        (&settled.into(), &died.into(), &290.into())
    );
    assert_eq!(one(&pool, "SELECT count(*) FROM pipeline.inbox WHERE outcome = 'dead' AND attempt = 3").await, 290);
    assert_eq!(one(&pool, "SELECT count(*) FROM pipeline.inbox WHERE outcome = 'retrying'").await, 10);
    let orphans = r"SELECT count(*) FROM pipeline.outbox_events r JOIN pipeline.inbox i ON i.event_id = r.event_id
                     WHERE r.kind = 'retry' AND EXISTS (SELECT FROM pipeline.outbox_unpublished u WHERE u.id = r.id) AND i.outcome = 'dead' AND i.attempt = 3";
    assert_eq!(one(&pool, orphans).await, 0);
    assert_eq!(one(&pool, "SELECT count(*) FROM pipeline.operator_actions WHERE action = 'undo'").await, 1);
    assert_eq!(fleet.run(&["dlq", "list", "--json"]).await.json()["total"], 290 + died);
}

#[tokio::test]
async fn a_record_of_an_undone_attempt_settles_nothing_also_after_the_next_replay() {
    let fleet = Fleet::fresh().await;
    let pool = crowd::die(&fleet, "ocr", 1).await;
    assert_eq!(fleet.run(&REPLAY).await.json()["sent"], 1);
    sql(&pool, "DELETE FROM pipeline.outbox_unpublished").await;
    assert_eq!(fleet.run(&UNDO).await.json()["taken_back_sent"], 1);
    assert_eq!(fleet.run(&REPLAY).await.json()["sent"], 1);
    let attempt = one(&pool, "SELECT attempt::bigint FROM pipeline.inbox WHERE outcome = 'retrying'").await;
    assert_eq!(attempt, 5, "the record of attempt 4 may still come, and finds another number");
    assert_eq!(one(&pool, "SELECT count(*) FROM pipeline.outbox_events WHERE kind = 'retry' AND attempt = 5").await, 1);
}

#[tokio::test]
async fn an_undo_needs_a_reason_and_a_redrive_and_may_be_repeated() {
    let fleet = Fleet::fresh().await;
    crowd::die(&fleet, "ocr", 10).await;
    assert_eq!(fleet.run(&UNDO).await.code, 2, "there is none");
    let plan: Value = fleet.run(&["dlq", "plan", "--all", "--why", "later", "--json"]).await.json();
    assert_eq!(plan["redrive"], 1);
    assert_eq!(fleet.run(&["dlq", "undo", "1"]).await.code, 2, "without --why");
    for _ in 0..2 {
        let undone = fleet.run(&UNDO).await.json();
        assert_eq!(
            (&undone["taken_back_unsent"], &undone["to_send"]),
            (&0.into(), &10.into()),
            "nothing had been sent"
        );
    }
    assert_eq!(fleet.run(&["dlq", "replay", "--resume", "1"]).await.code, 2, "an undone plan is over");
    assert_eq!(fleet.run(&["dlq", "list", "--json"]).await.json()["total"], 10);
}
