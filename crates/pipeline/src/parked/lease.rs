use std::time::Duration;

use sqlx::{FromRow, PgConnection, PgPool};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use uuid::Uuid;

use crate::ParkedConfig;

/// A key that is ours to drain, until the database's clock or another member says otherwise.
#[derive(Debug, Clone, FromRow)]
pub(super) struct Lease {
    pub key: Vec<u8>,
    /// Fences every statement about the key.
    pub lease_epoch: i64,
}

/// Of a key that is ours, under its lock.
#[derive(Debug, Clone, FromRow)]
pub(super) struct Parked {
    pub state: String,
    pub reason: String,
    pub detail: String,
    pub attempts: i32,
    pub messages: i64,
    pub head_age_seconds: f64,
    /// The message that failed last.
    pub event_id: Uuid,
    pub group_id: Option<Uuid>,
    pub buried: i64,
}

/// Takes up to `limit` keys that are due, or over their bound, and nobody's.
pub(super) async fn take(
    pool: &PgPool,
    consumer: &str,
    owner: Uuid,
    limit: usize,
    config: &ParkedConfig,
) -> Result<Vec<Lease>, sqlx::Error> {
    sqlx::query_as(
        r"UPDATE pipeline.parked_keys k
             SET lease_owner = $2, lease_epoch = nextval('pipeline.parked_lease_epochs'),
                 lease_until = clock_timestamp() + make_interval(secs => $3)
           WHERE (k.consumer, k.key) IN (
                 SELECT consumer, key FROM pipeline.parked_keys
                  WHERE consumer = $1 AND lease_until < clock_timestamp()
                    AND ((state <> 'held' AND next_try_at <= clock_timestamp()) OR messages > $4)
                  ORDER BY next_try_at LIMIT $5 FOR UPDATE SKIP LOCKED)
          RETURNING k.key, k.lease_epoch",
    )
    .bind(consumer)
    .bind(owner)
    .bind(config.lease.as_secs_f64())
    .bind(i64::from(config.messages_max))
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(pool)
    .await
}

impl Lease {
    /// Locks the key for the rest of the transaction. Nothing when it is not ours any more.
    pub async fn lock(&self, connection: &mut PgConnection, consumer: &str) -> Result<Option<Parked>, sqlx::Error> {
        sqlx::query_as(
            r"SELECT state, reason, detail, attempts, messages, event_id, group_id, buried,
                     EXTRACT(epoch FROM clock_timestamp() - head_since)::float8 AS head_age_seconds
                FROM pipeline.parked_keys WHERE consumer = $1 AND key = $2 AND lease_epoch = $3 FOR UPDATE",
        )
        .bind(consumer)
        .bind(&self.key)
        .bind(self.lease_epoch)
        .fetch_optional(connection)
        .await
    }

    /// Renews until the lease is lost; then returns. A database that is away costs nothing: whoever takes the key over
    /// raises the epoch. A key that was handed back has no owner: a renewal that comes late must not take it again.
    pub async fn keep(&self, pool: &PgPool, consumer: &str, lease: Duration) {
        let every = (lease / 4).max(Duration::from_millis(1));
        let mut beat = interval_at(Instant::now() + every, every);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            let renewed = sqlx::query(
                r"UPDATE pipeline.parked_keys SET lease_until = clock_timestamp() + make_interval(secs => $4)
                   WHERE consumer = $1 AND key = $2 AND lease_epoch = $3 AND lease_owner IS NOT NULL",
            )
            .bind(consumer)
            .bind(&self.key)
            .bind(self.lease_epoch)
            .bind(lease.as_secs_f64())
            .execute(pool)
            .await;
            match renewed {
                Ok(done) if done.rows_affected() == 0 => return,
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "the lease of a parked key could not be renewed"),
            }
        }
    }

    /// Hands the key back, due in `wait`.
    pub async fn put_off(&self, pool: &PgPool, consumer: &str, wait: Duration) -> Result<(), sqlx::Error> {
        self.end(pool, consumer, wait, None).await
    }

    /// Hands the key back after its head `event_id` failed for `reason`: one attempt more.
    pub async fn failed(
        &self,
        pool: &PgPool,
        consumer: &str,
        wait: Duration,
        event_id: Uuid,
        reason: &str,
        detail: &str,
    ) -> Result<(), sqlx::Error> {
        self.end(pool, consumer, wait, Some((event_id, reason, detail))).await
    }

    /// Removes a key that has no messages.
    pub async fn release_empty(&self, pool: &PgPool, consumer: &str) -> Result<(), sqlx::Error> {
        let mut transaction = pool.begin().await?;
        if self.lock(&mut transaction, consumer).await?.is_some() {
            sqlx::query(
                r"DELETE FROM pipeline.parked_keys k
                   WHERE k.consumer = $1 AND k.key = $2
                     AND NOT EXISTS (SELECT FROM pipeline.parked_messages m WHERE m.consumer = $1 AND m.key = $2)",
            )
            .bind(consumer)
            .bind(&self.key)
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await
    }

    async fn end(
        &self,
        pool: &PgPool,
        consumer: &str,
        wait: Duration,
        failed: Option<(Uuid, &str, &str)>,
    ) -> Result<(), sqlx::Error> {
        sqlx::query(
            r"UPDATE pipeline.parked_keys
                 SET lease_owner = NULL, lease_until = '-infinity',
                     next_try_at = clock_timestamp() + make_interval(secs => $4),
                     attempts = attempts + CASE WHEN $5::uuid IS NULL THEN 0 ELSE 1 END,
                     event_id = COALESCE($5, event_id), reason = COALESCE($6, reason), detail = COALESCE($7, detail)
               WHERE consumer = $1 AND key = $2 AND lease_epoch = $3 AND ($5::uuid IS NULL OR state = 'retrying')",
        )
        .bind(consumer)
        .bind(&self.key)
        .bind(self.lease_epoch)
        .bind(wait.as_secs_f64())
        .bind(failed.map(|(event_id, ..)| event_id))
        .bind(failed.map(|(_, reason, _)| reason))
        .bind(failed.map(|(.., detail)| detail))
        .execute(pool)
        .await?;
        Ok(())
    }
}
