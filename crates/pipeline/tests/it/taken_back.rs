use sqlx::PgPool;
use uuid::Uuid;

use crate::harness::{Bench, CONSUMER};

async fn sql(pool: &PgPool, statement: &'static str) {
    sqlx::raw_sql(statement).execute(pool).await.unwrap();
}

/// What an operator's undo rests on: he can take an attempt back though its record is on the topic.
#[tokio::test]
async fn a_record_of_an_attempt_that_was_taken_back_settles_nothing() {
    let bench = Bench::new().await;
    let pool = bench.database.pool();
    bench.append([(Uuid::from_u128(1), 0, "ok")]).await;
    let (id, payload): (Uuid, Vec<u8>) =
        sqlx::query_as("SELECT event_id, payload FROM pipeline.outbox_events").fetch_one(&pool).await.unwrap();
    sqlx::query(
        r#"INSERT INTO pipeline.inbox (consumer, event_id, event_day, outcome, attempt, topic, partition, "offset")
           SELECT $1, event_id, (created_at AT TIME ZONE 'UTC')::date, 'dead', 3, topic, 0, 0 FROM pipeline.outbox_events"#,
    )
    .bind(CONSUMER)
    .execute(&pool)
    .await
    .unwrap();
    let retries = format!("{CONSUMER}.retry.10s");
    let consumer = bench.consumer();
    bench.topics.produce(&retries, "key", Some(&payload), &[("docfleet_attempt", "4")]).await;
    bench.until_committed(&retries).await;
    assert_eq!(bench.count("SELECT count(*) FROM effects").await, 0);
    assert_eq!(
        bench.count("SELECT count(*) FROM pipeline.inbox WHERE outcome = 'dead' AND attempt = 3").await,
        1,
        "{id}"
    );

    // Sent once more, under another number: the old record is still nobody's.
    sql(&pool, "UPDATE pipeline.inbox SET outcome = 'retrying', attempt = 5").await;
    bench.topics.produce(&retries, "key", Some(&payload), &[("docfleet_attempt", "4")]).await;
    bench.until_committed(&retries).await;
    assert_eq!(bench.count("SELECT count(*) FROM effects").await, 0);
    for _ in 0..2 {
        bench.topics.produce(&retries, "key", Some(&payload), &[("docfleet_attempt", "5")]).await;
    }
    bench.until("its effect, once", "SELECT count(*) FROM effects", 1).await;
    bench.until_committed(&retries).await;
    assert_eq!(bench.count("SELECT count(*) FROM pipeline.inbox WHERE outcome = 'done' AND attempt = 5").await, 1);
    consumer.stop().await.unwrap();
}
