use std::time::Duration;

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::deliveries::{deleted_subscriptions, remove_deliveries, remove_subscription};

const INTERVAL: Duration = Duration::from_secs(2);
/// Rows of one statement: some ten milliseconds.
const STEP: i64 = 1_000;

/// Removes what belongs to deleted subscriptions, until `shutdown`. Any number of processes may do so at once.
pub(crate) async fn remove_deleted(pool: &PgPool, shutdown: &CancellationToken) {
    loop {
        if let Err(error) = pass(pool, shutdown).await {
            tracing::warn!(%error, "removing deleted subscriptions failed, trying again");
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

async fn pass(pool: &PgPool, shutdown: &CancellationToken) -> Result<(), sqlx::Error> {
    for subscription in deleted_subscriptions(pool).await? {
        remove(pool, subscription, shutdown).await?;
    }
    Ok(())
}

async fn remove(pool: &PgPool, subscription: Uuid, shutdown: &CancellationToken) -> Result<(), sqlx::Error> {
    let mut deliveries = 0;
    while !shutdown.is_cancelled() {
        let step = remove_deliveries(pool, subscription, STEP).await?;
        deliveries += step;
        if step == STEP {
            continue;
        }
        if remove_subscription(pool, subscription).await? {
            tracing::info!(subscription_id = %subscription, deliveries, "a deleted subscription is removed");
        }
        break;
    }
    Ok(())
}
