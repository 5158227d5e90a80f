use sqlx::PgExecutor;

use super::Claimed;
use crate::{Answer, Step};

/// Writes down what came of an attempt. False when there was nothing to mark: another dispatcher has claimed the
/// delivery since, or the subscription is gone.
pub async fn mark(
    executor: impl PgExecutor<'_>,
    claimed: &Claimed,
    answer: &Answer,
    step: Step,
) -> Result<bool, sqlx::Error> {
    let (status, wait) = match step {
        Step::Delivered => ("delivered", None),
        Step::Failed => ("failed", None),
        Step::Again(wait) => ("pending", Some(wait.as_secs_f64())),
    };
    let marked = sqlx::query(
        r"UPDATE webhooks.deliveries
             SET status = $3, last_status = $5, last_error = $6, claimed_at = NULL,
                 next_attempt_at = COALESCE(clock_timestamp() + make_interval(secs => $4), next_attempt_at),
                 finished_at = CASE WHEN $3 <> 'pending' THEN clock_timestamp() END
           WHERE id = $1 AND lease_epoch = $2 AND status = 'pending'",
    )
    .bind(claimed.id)
    .bind(claimed.epoch)
    .bind(status)
    .bind(wait)
    .bind(answer.status().map(i32::from))
    .bind(answer.error())
    .execute(executor)
    .await?;
    Ok(marked.rows_affected() == 1)
}
