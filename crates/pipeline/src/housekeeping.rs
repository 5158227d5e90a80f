//! Keeps the daily partitions of outbox and inbox, in the background of the relay: one process of the fleet at a time.

use std::time::Duration;

use docfleet_outbox::{
    RetentionConfig, SchemaName,
    retention::{Kept, Table, keep, today},
};
use sqlx::{PgConnection, PgPool};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{Setup, database::in_time, metric};

/// Between two looks at whether it is anybody's turn.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Between two passes, of all processes together.
const PASS_EVERY: Duration = Duration::from_secs(60 * 60);
/// A housekeeper that has not ended its pass by then is taken for dead. A pass itself is given half of it.
const PASS_MAX: Duration = Duration::from_secs(10 * 60);
const AGAIN_AFTER_BUSY: Duration = Duration::from_secs(30);

/// The background task that keeps the fleet's own outbox and inbox until the end of the process.
///
/// # Errors
/// A `[retention]` that would let the inbox forget too soon.
pub(crate) fn keep_house(setup: &Setup) -> anyhow::Result<impl Future<Output = anyhow::Result<()>> + use<>> {
    let config = setup.section::<RetentionConfig>("retention")?.validated()?;
    Ok(keep_schema(setup.pool.clone(), SchemaName::pipeline(), config, setup.shutdown.clone()))
}

/// The same for an outbox that the relay was asked to keep.
///
/// # Errors
/// As [`keep_house`]; a name that is none of a schema.
pub(crate) fn keep_house_of(
    setup: &Setup,
    pool: PgPool,
    schema: &str,
) -> anyhow::Result<impl Future<Output = anyhow::Result<()>> + use<>> {
    let config = setup.section::<RetentionConfig>("retention")?.validated()?;
    let schema: SchemaName = schema.parse()?;
    Ok(keep_schema(pool, schema, config, setup.shutdown.clone()))
}

/// The same for one schema of any database. A database that is away is waited for.
pub(crate) async fn keep_schema(
    pool: PgPool,
    schema: SchemaName,
    config: RetentionConfig,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let owner = Uuid::new_v4();
    while !shutdown.is_cancelled() {
        if let Err(error) = in_turn(&pool, &schema, &config, owner).await {
            tracing::warn!(%schema, %error, "housekeeping; it goes on later");
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = shutdown.cancelled() => {}
        }
    }
    Ok(())
}

/// One pass if it is nobody's turn yet. Returns whether there was one.
async fn in_turn(
    pool: &PgPool,
    schema: &SchemaName,
    config: &RetentionConfig,
    owner: Uuid,
) -> Result<bool, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    let passing = async {
        if !take_turn(&mut connection, schema, owner).await? {
            return Ok(false);
        }
        let mut busy = 0;
        for table in Table::of(schema) {
            let day = today(&mut connection).await?;
            let kept = keep(&mut connection, schema, *table, config, day).await?;
            report(schema, *table, &kept, day);
            busy += kept.busy;
        }
        let pause = if busy == 0 { PASS_EVERY } else { AGAIN_AFTER_BUSY };
        end_turn(&mut connection, schema, owner, pause).await?;
        Ok(true)
    };
    let answered = tokio::time::timeout(PASS_MAX / 2, passing).await;
    in_time(answered, connection)
}

async fn take_turn(connection: &mut PgConnection, schema: &SchemaName, owner: Uuid) -> Result<bool, sqlx::Error> {
    let taken = sqlx::query(schema.statement(
        r"UPDATE pipeline.housekeeping SET owner = $1, until = clock_timestamp() + make_interval(secs => $2)
           WHERE until < clock_timestamp()",
    ));
    let taken = taken.bind(owner).bind(PASS_MAX.as_secs_f64()).execute(connection).await?;
    Ok(taken.rows_affected() > 0)
}

async fn end_turn(
    connection: &mut PgConnection,
    schema: &SchemaName,
    owner: Uuid,
    pause: Duration,
) -> Result<(), sqlx::Error> {
    let ended = sqlx::query(schema.statement(
        r"UPDATE pipeline.housekeeping
             SET kept_at = clock_timestamp(), until = clock_timestamp() + make_interval(secs => $2) WHERE owner = $1",
    ));
    ended.bind(owner).bind(pause.as_secs_f64()).execute(connection).await?;
    Ok(())
}

fn report(schema: &SchemaName, table: Table, kept: &Kept, today: time::Date) {
    let labels = [("schema", schema.to_string()), ("table", table.as_str().to_owned())];
    metrics::counter!(metric::PARTITIONS_DROPPED_TOTAL, &labels).increment(kept.days_dropped.into());
    metrics::counter!(metric::PARTITIONS_ROWS_MOVED_TOTAL, &labels).increment(kept.rows_moved.unsigned_abs());
    metrics::gauge!(metric::PARTITIONS_HELD_DAYS, &labels).set(kept.days_held);
    if let Some(oldest) = kept.oldest_day {
        metrics::gauge!(metric::PARTITIONS_OLDEST_SECONDS, &labels).set((today - oldest).as_seconds_f64());
    }
    if kept.days_held > 0 {
        tracing::warn!(%schema, table = table.as_str(), days = kept.days_held,
            "days whose time has come can not go: rows of them are not published, or too many have no last word");
    }
    if kept.days_added + kept.days_dropped > 0 || kept.rows_swept > 0 || kept.busy > 0 {
        tracing::info!(%schema, table = table.as_str(), ?kept, "housekeeping");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use docfleet_testkit::Database;

    use super::*;

    #[tokio::test]
    async fn an_outbox_in_another_schema_is_kept_as_well() {
        let pool = Database::fresh().await.pool();
        let billing: SchemaName = "billing".parse().unwrap();
        billing.install(&mut pool.acquire().await.unwrap()).await.unwrap();
        sqlx::query("SELECT billing.add_day('outbox_events', current_date - 60)").execute(&pool).await.unwrap();
        let days = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'billing.outbox_events'::regclass";
        let before: i64 = sqlx::query_scalar(days).fetch_one(&pool).await.unwrap();
        assert!(in_turn(&pool, &billing, &RetentionConfig::default(), Uuid::new_v4()).await.unwrap());
        let after: i64 = sqlx::query_scalar(days).fetch_one(&pool).await.unwrap();
        assert_eq!(after, before - 1, "the old day is gone");
    }

    #[tokio::test]
    async fn one_housekeeper_at_a_time_and_a_dead_one_is_followed() {
        let pool = Database::fresh().await.pool();
        let (schema, config) = (SchemaName::pipeline(), RetentionConfig::default());
        let (one, other) = (Uuid::new_v4(), Uuid::new_v4());
        assert!(take_turn(&mut pool.acquire().await.unwrap(), &schema, one).await.unwrap());
        assert!(!in_turn(&pool, &schema, &config, other).await.unwrap(), "somebody is at it");
        // It dies; its time runs out.
        let late = "UPDATE pipeline.housekeeping SET until = clock_timestamp() - interval '1 s'";
        sqlx::query(late).execute(&pool).await.unwrap();
        assert!(in_turn(&pool, &schema, &config, other).await.unwrap());
        assert!(!in_turn(&pool, &schema, &config, one).await.unwrap(), "it has just been done");
    }
}
