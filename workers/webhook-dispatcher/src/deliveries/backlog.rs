use sqlx::{PgExecutor, Row};

/// Deliveries whose time has come and which nobody has claimed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backlog {
    pub due_rows: i64,
    pub oldest_due_seconds: f64,
}

pub async fn backlog(executor: impl PgExecutor<'_>) -> Result<Backlog, sqlx::Error> {
    let row = sqlx::query(
        r"SELECT count(*) AS due_rows, COALESCE(EXTRACT(EPOCH FROM now() - min(next_attempt_at)), 0)::float8 AS oldest
            FROM webhooks.deliveries WHERE status = 'pending' AND next_attempt_at <= now()",
    )
    .fetch_one(executor)
    .await?;
    Ok(Backlog { due_rows: row.try_get("due_rows")?, oldest_due_seconds: row.try_get("oldest")? })
}
