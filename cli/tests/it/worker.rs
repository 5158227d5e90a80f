//! The relay and a consumer, as far as the tables show them: what was sent is published, then settled or dead again.

use std::time::Duration;

use sqlx::PgPool;
use tokio::task::JoinHandle;

/// Works until it is dropped.
pub struct Worker(JoinHandle<()>);

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Worker {
    /// `dies`: SQL over the retry row `r`, of what dies again. `$1` is the consumer.
    pub fn start(pool: &PgPool, consumer: &'static str, dies: &str) -> Self {
        let pool = pool.clone();
        let dies = dies.to_owned();
        Self(tokio::spawn(async move {
            loop {
                step(&pool, consumer, &dies).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }))
    }
}

/// One round over what is sent.
pub async fn step(pool: &PgPool, consumer: &str, dies: &str) {
    let mut transaction = pool.begin().await.unwrap();
    let statement = sqlx::AssertSqlSafe(format!(
        r"WITH due AS (
              SELECT i.consumer, i.event_id, i.event_day, r.id, r.created_at, r.attempt, {dies} AS dies
                FROM pipeline.inbox i
                JOIN pipeline.outbox_events r
                  ON r.kind = 'retry' AND r.consumer = i.consumer AND r.event_id = i.event_id AND r.attempt = i.attempt
               WHERE i.consumer = $1 AND i.outcome = 'retrying' ORDER BY i.event_id LIMIT 200 FOR UPDATE OF i SKIP LOCKED
          ), settled AS (
              UPDATE pipeline.inbox i SET outcome = CASE WHEN d.dies THEN 'dead' ELSE 'done' END, settled_at = clock_timestamp()
                FROM due d WHERE i.consumer = d.consumer AND i.event_id = d.event_id AND i.event_day = d.event_day
          ), published AS (
              DELETE FROM pipeline.outbox_unpublished u USING due d WHERE u.id = d.id
          )
          INSERT INTO pipeline.outbox_events
                 (kind, event_id, event_type, consumer, attempt, shard, topic, key, headers, payload, tenant, region)
          SELECT 'dead_letter', o.event_id, o.event_type, o.consumer, o.attempt, o.shard, 'dlq', o.key, o.headers, o.payload, o.tenant, o.region
            FROM due d JOIN pipeline.outbox_events o ON o.id = d.id WHERE d.dies"
    ));
    sqlx::query(statement).bind(consumer).execute(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();
}
