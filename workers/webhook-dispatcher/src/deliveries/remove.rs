use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

/// Subscriptions that their subscribers ended and which are still there, the first ended first.
pub async fn deleted_subscriptions(executor: impl PgExecutor<'_>) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar("SELECT id FROM webhooks.subscriptions WHERE deleted_at IS NOT NULL ORDER BY deleted_at")
        .fetch_all(executor)
        .await
}

/// Removes at most so many deliveries of a subscription, pending ones first: a document counts them. Returns how many;
/// fewer than `limit` means that no more are there, or that others have them locked just now.
pub async fn remove_deliveries(pool: &PgPool, subscription: Uuid, limit: i64) -> Result<i64, sqlx::Error> {
    // Two statements, so that each has its index.
    let pending = r"DELETE FROM webhooks.deliveries WHERE id IN (
                        SELECT id FROM webhooks.deliveries WHERE subscription_id = $1 AND status = 'pending'
                         LIMIT $2 FOR UPDATE SKIP LOCKED)";
    let any = r"DELETE FROM webhooks.deliveries WHERE id IN (
                    SELECT id FROM webhooks.deliveries WHERE subscription_id = $1 LIMIT $2 FOR UPDATE SKIP LOCKED)";
    let mut removed = 0;
    for sql in [pending, any] {
        let step = sqlx::query(sql).bind(subscription).bind(limit - removed).execute(pool).await?;
        removed += i64::try_from(step.rows_affected()).unwrap_or(i64::MAX);
        if removed >= limit {
            break;
        }
    }
    Ok(removed)
}

/// Removes a deleted subscription that has no deliveries any more. False when it has some, or a settlement that saw it
/// alive is just writing one: then it is removed later.
pub async fn remove_subscription(pool: &PgPool, subscription: Uuid) -> Result<bool, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    // Locked by a statement of its own: the next one sees what was committed until then.
    let locked = sqlx::query(
        "SELECT FROM webhooks.subscriptions WHERE id = $1 AND deleted_at IS NOT NULL FOR UPDATE SKIP LOCKED",
    )
    .bind(subscription)
    .fetch_optional(&mut *transaction)
    .await?;
    if locked.is_none() {
        return Ok(false);
    }
    let removed = sqlx::query(
        r"DELETE FROM webhooks.subscriptions s
           WHERE s.id = $1 AND NOT EXISTS (SELECT FROM webhooks.deliveries d WHERE d.subscription_id = s.id)",
    )
    .bind(subscription)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(removed.rows_affected() == 1)
}
