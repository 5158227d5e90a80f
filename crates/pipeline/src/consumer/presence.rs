use std::time::Duration;

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::progress::Progress;

const EVERY: Duration = Duration::from_secs(3);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Writes down every few seconds that this member lives and what it holds: operators see in flight from outside what
/// Kafka's offsets do not tell. Nothing depends on it, so a database that is away is no error here.
pub(crate) async fn announce(
    pool: PgPool,
    consumer: &'static str,
    progress: Progress,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let member = Uuid::new_v4();
    while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        let renewed = tokio::time::timeout(ANSWER_TIMEOUT, renew(&pool, consumer, member, &progress)).await;
        if !matches!(renewed, Ok(Ok(()))) {
            tracing::debug!(consumer, "the member's row could not be renewed");
        }
    }
    let farewell = sqlx::query("DELETE FROM pipeline.consumer_members WHERE member = $1").bind(member).execute(&pool);
    if !matches!(tokio::time::timeout(ANSWER_TIMEOUT, farewell).await, Ok(Ok(_))) {
        tracing::debug!(consumer, "the member's row could not be removed; it grows old");
    }
    Ok(())
}

async fn renew(pool: &PgPool, consumer: &str, member: Uuid, progress: &Progress) -> Result<(), sqlx::Error> {
    let partitions = progress.snapshot();
    let in_flight: usize = partitions.values().map(|partition| partition.open).sum();
    sqlx::query(
        r"WITH gone AS (DELETE FROM pipeline.consumer_members WHERE seen_at < clock_timestamp() - interval '1 hour')
          INSERT INTO pipeline.consumer_members (member, consumer, partitions, in_flight, waits, gate, started_at, seen_at)
          VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp(), clock_timestamp())
          ON CONFLICT (member) DO UPDATE SET partitions = excluded.partitions, in_flight = excluded.in_flight,
                 waits = excluded.waits, gate = excluded.gate, seen_at = excluded.seen_at",
    )
    .bind(member)
    .bind(consumer)
    .bind(i32::try_from(partitions.len()).unwrap_or(i32::MAX))
    .bind(i32::try_from(in_flight).unwrap_or(i32::MAX))
    .bind(progress.is_held_up())
    .bind(sqlx::types::Json(progress.gate()))
    .execute(pool)
    .await?;
    Ok(())
}
