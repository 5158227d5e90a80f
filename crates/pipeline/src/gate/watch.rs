use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sqlx::{PgConnection, PgPool, postgres::PgListener};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{CommandRow, CommandSet};
use crate::{
    clock,
    database::in_time,
    metric::{self, count},
};

/// As the trigger of `pipeline.commands` names it.
pub const CHANNEL: &str = "docfleet_commands";

/// A command is seen within this time, and the hint makes it shorter.
const EVERY: Duration = Duration::from_secs(2);
/// With the above below the 5 s that are promised.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// A listener that failed is tried again.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);
/// More commands than this nobody gave with a purpose.
const COMMANDS_MAX: i64 = 1_000;

/// Reads the consumer's commands every 2 s and at each hint, and shares them. Their ends count from `origin`.
///
/// A table that can not be read changes nothing: the last known set stays, and each command of it ends when its time is
/// over by the monotonic clock. The consumer neither stops nor forgets a pause because its database is away.
///
/// # Errors
/// None; it ends with `stop`.
pub async fn watch(
    pool: PgPool,
    consumer: &'static str,
    origin: Instant,
    share: watch::Sender<Arc<CommandSet>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let hint = Notify::new();
    let reading = async {
        let mut readable = true;
        loop {
            match read(&pool, consumer, origin).await {
                Ok(set) => {
                    readable = true;
                    tell(consumer, &set, origin.elapsed());
                    share.send_if_modified(|known| {
                        let differs = !known.is_same(&set);
                        if differs {
                            *known = Arc::new(set);
                        }
                        differs
                    });
                }
                // Once, not every 2 s of an outage: the age of the reading is a metric.
                Err(error) if readable => {
                    readable = false;
                    tracing::warn!(consumer, %error, "commands can not be read; the last known ones stay");
                }
                Err(error) => tracing::debug!(consumer, %error, "commands can still not be read"),
            }
            // A hint that comes while we read is kept.
            drop(tokio::time::timeout(EVERY, hint.notified()).await);
        }
    };
    tokio::select! {
        () = reading => {}
        () = listen(&pool, &hint) => {}
        () = stop.cancelled() => {}
    }
    Ok(())
}

async fn read(pool: &PgPool, consumer: &str, origin: Instant) -> Result<CommandSet, sqlx::Error> {
    let mut connection =
        tokio::time::timeout(ANSWER_TIMEOUT, pool.acquire()).await.map_err(|_| sqlx::Error::PoolTimedOut)??;
    let answered = tokio::time::timeout(ANSWER_TIMEOUT, active(&mut connection, consumer, origin.elapsed())).await;
    in_time(answered, connection)
}

/// The commands in force for a consumer, by the database's clock, with the number of its live members. `now`, since the
/// origin, is taken before: a slow answer ends a command early rather than late.
///
/// # Errors
/// As the query.
pub async fn active(connection: &mut PgConnection, consumer: &str, now: Duration) -> Result<CommandSet, sqlx::Error> {
    let rows: Vec<CommandRow> = sqlx::query_as(
        r"SELECT id, action, scope, selector, per_second,
                 extract(epoch FROM expires_at - clock_timestamp())::float8 AS remaining_seconds
            FROM pipeline.commands
           WHERE consumer = $1 AND ended_at IS NULL AND expires_at > clock_timestamp()
           ORDER BY id LIMIT $2",
    )
    .bind(consumer)
    .bind(COMMANDS_MAX)
    .fetch_all(&mut *connection)
    .await?;
    // Who renews its row every 3 s and has not for three times that is gone.
    let members: i64 = sqlx::query_scalar(
        r"SELECT count(*) FROM pipeline.consumer_members
           WHERE consumer = $1 AND seen_at > clock_timestamp() - interval '10 seconds'",
    )
    .bind(consumer)
    .fetch_one(connection)
    .await?;
    let understood = rows.iter().filter_map(|row| {
        let command = row.compile(now);
        if command.is_none() {
            tracing::warn!(consumer, command = row.id, "a command that this version does not understand is not obeyed");
        }
        command
    });
    Ok(CommandSet::new(understood.collect(), u32::try_from(members).unwrap_or(u32::MAX)))
}

#[allow(clippy::cast_precision_loss)]
fn tell(consumer: &'static str, set: &CommandSet, now: Duration) {
    let active = set.active(now).count();
    metrics::gauge!(metric::COMMANDS_ACTIVE, "consumer" => consumer).set(count(active));
    let read_at = clock::now_ms() as f64 / 1_000.0;
    metrics::gauge!(metric::COMMANDS_READ_AT_SECONDS, "consumer" => consumer).set(read_at);
}

/// A hint only: without it the next look comes all the same.
async fn listen(pool: &PgPool, hint: &Notify) {
    loop {
        if let Err(error) = listen_once(pool, hint).await {
            tracing::debug!(%error, "listening for commands");
        }
        tokio::time::sleep(LISTEN_AGAIN).await;
    }
}

async fn listen_once(pool: &PgPool, hint: &Notify) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    loop {
        listener.recv().await?;
        hint.notify_one();
    }
}
