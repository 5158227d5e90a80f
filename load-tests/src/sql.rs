//! The limit of the database: a settlement's statements, driven from memory.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use docfleet_outbox::{Draft, EventMeta, Outbox};
use sqlx::PgPool;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::events::Passed;

const CONSUMER: &str = "sql-alone";

/// Settles `count` made-up messages, `batch` a transaction and `at_once` transactions at a time.
pub async fn settle(
    pool: &PgPool,
    outbox: &Outbox,
    count: u32,
    batch: u32,
    at_once: usize,
    filling: &str,
) -> anyhow::Result<Duration> {
    let left = Arc::new(AtomicU32::new(count));
    let began = Instant::now();
    let mut running: JoinSet<anyhow::Result<()>> = JoinSet::new();
    for _ in 0..at_once {
        let (pool, outbox, left, filling) = (pool.clone(), outbox.clone(), Arc::clone(&left), filling.to_owned());
        running.spawn(async move {
            while let Ok(before) = left.try_update_down(batch) {
                transaction(&pool, &outbox, before.min(batch), &filling).await?;
            }
            Ok(())
        });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(began.elapsed())
}

trait Countdown {
    fn try_update_down(&self, by: u32) -> Result<u32, u32>;
}

impl Countdown for AtomicU32 {
    /// Returns what was left before, or an error when that was nothing.
    fn try_update_down(&self, by: u32) -> Result<u32, u32> {
        self.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| (left > 0).then(|| left.saturating_sub(by)))
    }
}

/// The statements of the runtime's settlement: the inbox in one, then the outbox's own.
async fn transaction(pool: &PgPool, outbox: &Outbox, count: u32, filling: &str) -> anyhow::Result<()> {
    let causes: Vec<EventMeta> = (0..count).map(|_| cause()).collect();
    let mut ids: Vec<Uuid> = causes.iter().map(|cause| cause.event_id).collect();
    ids.sort_unstable();
    let mut transaction = pool.begin().await?;
    sqlx::query(
        r#"INSERT INTO pipeline.inbox AS i (consumer, event_id, event_day, outcome, reason, attempt, topic, partition, "offset")
           SELECT $1, e, CURRENT_DATE, 'done', NULL, 0, 'load.loaded.v1', 0, 0 FROM UNNEST($2::uuid[]) AS u (e)
           ON CONFLICT (consumer, event_id, event_day) DO UPDATE SET outcome = excluded.outcome WHERE i.outcome = 'retrying'
           RETURNING event_id"#,
    )
    .bind(CONSUMER)
    .bind(ids)
    .fetch_all(&mut *transaction)
    .await?;
    let draft = |cause: &EventMeta| {
        let event = Passed { item_id: cause.aggregate_id, filling: filling.to_owned() };
        Draft::following(event, cause, CONSUMER, 0, None)
    };
    outbox.append(&mut transaction, causes.iter().map(draft).collect()).await?;
    transaction.commit().await?;
    Ok(())
}

fn cause() -> EventMeta {
    EventMeta {
        event_id: Uuid::now_v7(),
        occurred_at: sqlx::types::time::OffsetDateTime::UNIX_EPOCH,
        aggregate_type: "item".to_owned(),
        aggregate_id: Uuid::now_v7(),
        aggregate_version: 1,
        tenant: "load".to_owned(),
        region: "load".to_owned(),
        cause: None,
        traceparent: None,
    }
}
