use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use docfleet_outbox::SHARDS;
use sqlx::{Connection, PgConnection, Row};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::source::Source;
use crate::{database::in_time, metric};

/// The shards that are ours, each with its epoch, and until when by our own monotonic clock.
#[derive(Debug, Clone, Default)]
pub(super) struct Leases {
    shards: BTreeMap<i16, i64>,
    valid_until: Option<Instant>,
}

impl Leases {
    pub fn shards(&self) -> Vec<i16> {
        self.shards.keys().copied().collect()
    }

    /// The share of one of `count` publishers; nothing when the leases have run out without a renewal, as after a stop
    /// of the process.
    pub fn of_publisher(&self, number: i16, count: i16) -> BTreeMap<i16, i64> {
        if self.valid_until.is_none_or(|until| Instant::now() >= until) {
            return BTreeMap::new();
        }
        self.shards
            .iter()
            .filter(|(shard, _)| *shard % count == number)
            .map(|(shard, epoch)| (*shard, *epoch))
            .collect()
    }
}

/// Takes, renews and hands over shards, so that all relays alive have about the same number.
#[derive(Clone)]
pub(super) struct Keeper {
    pub source: Source,
    pub owner: Uuid,
    pub ttl: Duration,
}

impl Keeper {
    pub async fn keep(self, leases: watch::Sender<Arc<Leases>>, stop: CancellationToken) -> anyhow::Result<()> {
        let mut beat = tokio::time::interval(self.ttl / 5);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = beat.tick() => {}
                () = stop.cancelled() => {
                    self.leave().await;
                    return Ok(());
                }
            }
            // Read before the database is asked: a slow answer may not make a lease look longer than it is.
            let asked_at = Instant::now();
            match self.beat_in_time().await {
                Ok(shards) => {
                    let count = i32::try_from(shards.len()).unwrap_or(i32::MAX);
                    metrics::gauge!(metric::RELAY_SHARDS, "source" => self.source.name.clone()).set(count);
                    leases.send_replace(Arc::new(Leases { shards, valid_until: Some(asked_at + self.ttl) }));
                }
                Err(error) => {
                    tracing::warn!(source = self.source.name, %error, "the leases could not be renewed; they run out");
                }
            }
        }
    }

    async fn beat_in_time(&self) -> Result<BTreeMap<i16, i64>, sqlx::Error> {
        let mut connection = self.source.pool.acquire().await?;
        let answered = tokio::time::timeout(self.ttl, self.beat(&mut connection)).await;
        in_time(answered, connection)
    }

    /// One heartbeat; returns the shards that are ours after it.
    async fn beat(&self, connection: &mut PgConnection) -> Result<BTreeMap<i16, i64>, sqlx::Error> {
        let mut transaction = connection.begin().await?;
        sqlx::query(
            r"INSERT INTO relay_members (owner, seen_at) VALUES ($1, clock_timestamp())
              ON CONFLICT (owner) DO UPDATE SET seen_at = excluded.seen_at",
        )
        .bind(self.owner)
        .execute(&mut *transaction)
        .await?;
        sqlx::query("DELETE FROM relay_members WHERE seen_at < clock_timestamp() - make_interval(secs => $1 * 6)")
            .bind(self.ttl.as_secs_f64())
            .execute(&mut *transaction)
            .await?;
        let alive: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM relay_members WHERE seen_at > clock_timestamp() - make_interval(secs => $1)",
        )
        .bind(self.ttl.as_secs_f64())
        .fetch_one(&mut *transaction)
        .await?;
        let share = fair_share(alive);
        // Ours are renewed up to our share (the rest is let go), free ones are taken up to it. A shard that was ours and
        // ran out, but that nobody took, keeps its epoch: nobody else can have published in between.
        let rows = sqlx::query(
            r"WITH mine AS (
                SELECT shard FROM relay_leases WHERE owner = $1 ORDER BY shard FOR UPDATE
              ), kept AS (
                SELECT shard FROM mine ORDER BY shard LIMIT $2
              ), let_go AS (
                UPDATE relay_leases SET owner = NULL, expires_at = '-infinity'
                 WHERE shard IN (SELECT shard FROM mine EXCEPT SELECT shard FROM kept)
              ), free AS (
                SELECT shard FROM relay_leases
                 WHERE owner IS DISTINCT FROM $1 AND expires_at < clock_timestamp()
                 ORDER BY shard LIMIT GREATEST($2 - (SELECT count(*) FROM kept), 0) FOR UPDATE SKIP LOCKED
              )
              UPDATE relay_leases l
                 SET owner = $1, expires_at = clock_timestamp() + make_interval(secs => $3),
                     epoch = l.epoch + CASE WHEN l.owner IS NOT DISTINCT FROM $1 THEN 0 ELSE 1 END
               WHERE l.shard IN (SELECT shard FROM kept UNION ALL SELECT shard FROM free)
              RETURNING l.shard, l.epoch",
        )
        .bind(self.owner)
        .bind(share)
        .bind(self.ttl.as_secs_f64())
        .fetch_all(&mut *transaction)
        .await?;
        transaction.commit().await?;
        rows.iter().map(|row| Ok((row.try_get("shard")?, row.try_get("epoch")?))).collect()
    }

    /// Hands everything over at once. After the last mark: a mark without its lease is refused.
    async fn leave(&self) {
        if let Err(error) = self.release().await {
            tracing::warn!(%error, "the leases could not be released; they run out by themselves");
        }
    }

    async fn release(&self) -> Result<(), sqlx::Error> {
        sqlx::query("UPDATE relay_leases SET owner = NULL, expires_at = '-infinity' WHERE owner = $1")
            .bind(self.owner)
            .execute(&self.source.pool)
            .await?;
        sqlx::query("DELETE FROM relay_members WHERE owner = $1").bind(self.owner).execute(&self.source.pool).await?;
        Ok(())
    }
}

fn fair_share(alive: i64) -> i64 {
    let alive = alive.max(1);
    (i64::from(SHARDS) + alive - 1) / alive
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fair_shares_cover_all_shards() {
        for alive in 0..100 {
            assert!(fair_share(alive) * alive.max(1) >= i64::from(SHARDS));
        }
        assert_eq!(fair_share(2), 32);
    }

    #[test]
    fn leases_that_ran_out_are_nobodys() {
        let shards: BTreeMap<i16, i64> = (0..8).map(|shard| (shard, 1)).collect();
        let now = Instant::now();
        let valid = Leases { shards: shards.clone(), valid_until: Some(now + Duration::from_secs(60)) };
        assert_eq!(valid.of_publisher(1, 2).keys().copied().collect::<Vec<_>>(), [1, 3, 5, 7]);
        assert!(Leases { shards, valid_until: Some(now) }.of_publisher(1, 2).is_empty());
    }
}
