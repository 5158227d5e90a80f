//! What an operator must know of an outbox before it hurts. Apart from the heartbeat: an old snapshot somewhere makes
//! these questions slow, and must not cost the leases.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{lease::Leases, source::Source, vitals::Vitals};
use crate::metric;

const EVERY: Duration = Duration::from_secs(5);
/// The statistics of the database change slowly.
const DATABASE_EVERY_ROUNDS: u32 = 6;
/// A transaction older than this is told of, with who holds it.
const OLD_TRANSACTION_SECONDS: f64 = 300.0;

pub(super) struct Alarms {
    pub source: Source,
    pub leases: watch::Receiver<Arc<Leases>>,
    pub vitals: Arc<Vitals>,
    pub stop: CancellationToken,
}

#[derive(sqlx::FromRow)]
struct Holder {
    pid: i32,
    application: String,
    age_seconds: f64,
    snapshot_age: i64,
}

impl Alarms {
    pub async fn run(self) -> anyhow::Result<()> {
        for round in 0_u32.. {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = self.stop.cancelled() => return Ok(()),
            }
            self.held();
            match tokio::time::timeout(EVERY, self.outbox()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "measuring the outbox"),
                Err(_) => tracing::warn!(
                    source = self.source.name,
                    "the outbox is slow to measure: is there an old snapshot in the database?"
                ),
            }
            if round % DATABASE_EVERY_ROUNDS == 0
                && let Ok(Err(error)) = tokio::time::timeout(EVERY, self.database()).await
            {
                tracing::debug!(%error, "measuring the database");
            }
        }
        Ok(())
    }

    fn held(&self) {
        let waiting = self.vitals.waiting();
        let source = &self.source.name;
        metrics::gauge!(metric::RELAY_HELD_ROWS, "source" => source.clone()).set(metric::count(waiting.gaps));
        let oldest = waiting.oldest_gap.as_secs_f64();
        metrics::gauge!(metric::RELAY_OLDEST_HELD_SECONDS, "source" => source.clone()).set(oldest);
    }

    /// Rows and the age of the oldest. The count stops at 100,000: it is an alarm, not an account.
    async fn outbox(&self) -> Result<(), sqlx::Error> {
        let shards = self.leases.borrow().shards();
        let (rows, age_seconds): (i64, f64) = sqlx::query_as(
            r"WITH waiting AS (
                SELECT created_at FROM outbox_unpublished WHERE shard = ANY($1)
                 ORDER BY id LIMIT 100000)
              SELECT count(*), COALESCE(EXTRACT(epoch FROM clock_timestamp() - min(created_at)), 0)::float8 FROM waiting",
        )
        .bind(shards)
        .fetch_one(&self.source.pool)
        .await?;
        let rows = i32::try_from(rows).unwrap_or(i32::MAX);
        metrics::gauge!(metric::OUTBOX_UNPUBLISHED_ROWS, "source" => self.source.name.clone()).set(rows);
        metrics::gauge!(metric::OUTBOX_OLDEST_SECONDS, "source" => self.source.name.clone()).set(age_seconds);
        Ok(())
    }

    /// Dead rows, and what keeps them from being removed. A role without `pg_read_all_stats` sees its own sessions only.
    async fn database(&self) -> Result<(), sqlx::Error> {
        let source = &self.source.name;
        let dead: i64 = sqlx::query_scalar(
            r"SELECT COALESCE(sum(n_dead_tup), 0)::bigint FROM pg_stat_user_tables
               WHERE relid = 'outbox_unpublished'::regclass",
        )
        .fetch_one(&self.source.pool)
        .await?;
        let dead = i32::try_from(dead).unwrap_or(i32::MAX);
        metrics::gauge!(metric::OUTBOX_DEAD_ROWS, "source" => source.clone()).set(dead);
        let oldest: Option<Holder> = sqlx::query_as(
            r"SELECT pid, COALESCE(application_name, '') AS application,
                     EXTRACT(epoch FROM clock_timestamp() - xact_start)::float8 AS age_seconds,
                     COALESCE(age(backend_xmin), age(backend_xid), 0)::bigint AS snapshot_age
                FROM pg_stat_activity
               WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
               ORDER BY xact_start LIMIT 1",
        )
        .fetch_optional(&self.source.pool)
        .await?;
        let (age_seconds, snapshot) = oldest.as_ref().map_or((0.0, 0), |h| (h.age_seconds.max(0.0), h.snapshot_age));
        metrics::gauge!(metric::OUTBOX_OLDEST_TRANSACTION_SECONDS, "source" => source.clone()).set(age_seconds);
        let snapshot = i32::try_from(snapshot).unwrap_or(i32::MAX);
        metrics::gauge!(metric::OUTBOX_SNAPSHOT_AGE_TRANSACTIONS, "source" => source.clone()).set(snapshot);
        if let Some(Holder { pid, application, age_seconds, .. }) = oldest
            && age_seconds >= OLD_TRANSACTION_SECONDS
        {
            tracing::warn!(source, pid, application, age_seconds, "an old transaction keeps dead rows in the outbox");
        }
        Ok(())
    }
}
