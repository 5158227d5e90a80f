//! The standby follows what the live view applies.
//!
//! A mark in time must not pass an outcome that commits later: a candidate is taken with the snapshot's `xmax` and becomes
//! the mark when all transactions of that time have ended.

use docfleet_blobs::Blobs;
use docfleet_outbox::Registry;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Error, build::Build, fold, read, search::Texts};

/// Few enough to fold while writers wait.
pub const NEAR_DOCUMENTS: usize = 5_000;
const STEP_DOCUMENTS: usize = 2_000;
/// Between reading the clock for `settled_at` and taking a transaction id; and for a clock that is set back a little.
const CLOCK_MARGIN_SECONDS: f64 = 2.0;

/// A time, and the transaction id that must be passed before nothing at or below it can appear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub time: OffsetDateTime,
    pub xmax: i64,
}

struct Horizon {
    now: Mark,
    /// The oldest transaction that still runs.
    oldest: i64,
}

impl Horizon {
    async fn read(connection: &mut PgConnection) -> Result<Self, Error> {
        let (time, xmax): (OffsetDateTime, i64) = sqlx::query_as(
            "SELECT clock_timestamp() - make_interval(secs => $1), pg_snapshot_xmax(pg_current_snapshot())::text::bigint",
        )
        .bind(CLOCK_MARGIN_SECONDS)
        .fetch_one(&mut *connection)
        .await?;
        let oldest = sqlx::query_scalar("SELECT pipeline.oldest_transaction()").fetch_one(connection).await?;
        Ok(Self { now: Mark { time, xmax }, oldest })
    }

    /// Until when all is visible to a snapshot that is taken from now on, and the mark to ask for next: one that was not
    /// passed yet stays, or it would never be.
    fn advance(&self, until: OffsetDateTime, pending: Option<Mark>) -> (OffsetDateTime, Mark) {
        let asked = pending.unwrap_or(self.now);
        if self.oldest >= asked.xmax { (until.max(asked.time), self.now) } else { (until, asked) }
    }
}

/// Before the first document is read: whether everything that was settled before `followed_until` is visible by now. What
/// was under way when the build began could otherwise commit behind both the filling and the mark.
pub async fn begin(pool: &PgPool, build: &Build) -> Result<bool, Error> {
    let mut connection = pool.acquire().await?;
    let horizon = Horizon::read(&mut connection).await?;
    let (until, pending) = horizon.advance(OffsetDateTime::UNIX_EPOCH, build.pending());
    let passed = until > OffsetDateTime::UNIX_EPOCH;
    build.followed(&mut connection, if passed { until } else { build.followed_until }, pending).await?;
    Ok(passed)
}

/// One round; returns how many documents it found touched.
pub async fn once(pool: &PgPool, registry: &Registry, blobs: &Blobs, build: &mut Build) -> Result<usize, Error> {
    let mut connection = pool.acquire().await?;
    // Before the question what was touched, whose snapshot then shows all that had ended.
    let (until, pending) = Horizon::read(&mut connection).await?.advance(build.followed_until, build.pending());
    let touched = since(&mut connection, build.followed_until).await?;
    drop(connection);
    for documents in touched.chunks(STEP_DOCUMENTS) {
        let mut transaction = pool.begin().await?;
        catch_up(&mut transaction, registry, documents, Texts::Blobs(blobs)).await?;
        // Fences the step: the lease may be lost by now.
        build.followed(&mut transaction, build.followed_until, build.pending().unwrap_or(pending)).await?;
        transaction.commit().await?;
    }
    build.followed(&mut *pool.acquire().await?, until, pending).await?;
    build.followed_until = until;
    Ok(touched.len())
}

/// Documents of which the live view has applied an event since.
pub async fn since(connection: &mut PgConnection, mark: OffsetDateTime) -> Result<Vec<Uuid>, Error> {
    let documents = sqlx::query_scalar(
        r"SELECT DISTINCT o.aggregate_id
            FROM pipeline.inbox i
            JOIN pipeline.outbox_events o ON o.kind = 'event' AND o.event_id = i.event_id AND o.aggregate_type = 'document'
           WHERE i.consumer = 'projection-builder' AND i.outcome = 'done' AND i.settled_at > $1
           ORDER BY 1",
    )
    .bind(mark)
    .fetch_all(connection)
    .await?;
    Ok(documents)
}

pub async fn catch_up(
    connection: &mut PgConnection,
    registry: &Registry,
    documents: &[Uuid],
    texts: Texts<'_>,
) -> Result<(), Error> {
    let facts = read::of(&mut *connection, documents).await?.decode(registry).await?;
    fold::again(connection, documents, &facts, texts).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(seconds: i64, xmax: i64) -> Mark {
        Mark { time: OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(seconds), xmax }
    }

    #[test]
    fn the_mark_passes_a_time_only_when_its_transactions_have_ended() {
        let epoch = OffsetDateTime::UNIX_EPOCH;
        let horizon = |oldest| Horizon { now: mark(100, 50), oldest };
        assert_eq!(horizon(49).advance(epoch, None), (epoch, mark(100, 50)));
        assert_eq!(horizon(50).advance(epoch, None), (mark(100, 0).time, mark(100, 50)));
        assert_eq!(horizon(29).advance(epoch, Some(mark(80, 30))), (epoch, mark(80, 30)), "asked for again");
        assert_eq!(horizon(30).advance(epoch, Some(mark(80, 30))), (mark(80, 0).time, mark(100, 50)));
    }
}
