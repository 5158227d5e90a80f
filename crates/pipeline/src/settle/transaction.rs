use std::{borrow::Cow, collections::HashSet, panic::AssertUnwindSafe};

use docfleet_outbox::{Error, insert_rows};
use futures::FutureExt;
use sqlx::{Connection, PgConnection, Postgres, pool::PoolConnection};
use time::Date;
use tokio::time::error::Elapsed;
use uuid::Uuid;

use super::{Batch, End, Item, Settled, Settlement, Settler, TRANSACTION_TIMEOUT};
use crate::{
    Failure, Handler,
    database::in_time,
    failure,
    fate::Fate,
    gate::{CommandId, DROPPED, record_drops},
    message::{PLACE_DAY, place_id},
    parked::{self, Parking},
    planted::{self, Planted},
    replay,
};

/// Of a message that waits behind its parked key.
pub(super) const BEHIND: &str = "behind-parked-key";

impl<H: Handler> Settler<H> {
    /// One try, from `BEGIN` to `COMMIT`. May be repeated after any error, also when it is not known whether the commit
    /// took place: the inbox then says that there is nothing left to do.
    pub(super) async fn transact(&self, batch: &mut Batch<H>) -> Result<Settled, Failure> {
        let mut connection = self.pool.acquire().await.map_err(|e| failure::of_database(&e))?;
        let answered = tokio::time::timeout(TRANSACTION_TIMEOUT, self.statements(&mut connection, batch)).await;
        settled_in_time(answered, connection)
    }

    async fn statements(&self, connection: &mut PgConnection, batch: &mut Batch<H>) -> Result<Settled, Failure> {
        let database = |error: sqlx::Error| failure::of_database(&error);
        let mut transaction = connection.begin().await.map_err(database)?;
        let mut settled = Settled::default();
        let replay = batch.replay().cloned();
        let consumer = replay::logical(replay.as_ref(), self.consumer);
        if H::POLICY.is_ordered() {
            self.take_turns(&mut transaction, &batch.items, &mut settled).await.map_err(database)?;
        }
        loop {
            claim(&mut transaction, &consumer, &batch.items, &mut settled).await.map_err(database)?;
            let collided = collided(&mut transaction, &consumer, &batch.items, &settled).await.map_err(database)?;
            if collided.is_empty() {
                break;
            }
            // They are claimed in the next round, under the identity of their places, which collide with nothing.
            batch.collided(&collided);
        }
        let released = release_places(&mut transaction, &consumer, &batch.items).await.map_err(database)?;
        if !settled.all && settled.claimed.is_empty() && !released {
            return Ok(settled);
        }
        let mut settlement = Settlement::new(&mut transaction, self.consumer, replay);
        let fresh = batch.fresh(&settled);
        if !fresh.is_empty() {
            let recording = AssertUnwindSafe(self.handler.record(fresh, &mut settlement)).catch_unwind();
            recording.await.unwrap_or_else(|_| Err(panicked()))?;
        }
        let drafts = settlement.into_drafts();
        self.outbox.append(&mut transaction, drafts).await.map_err(of_outbox)?;
        let failed = self.failed_rows(&batch.items, &settled);
        if !failed.is_empty() && planted::is(Planted::DeadLetterAfterCommit) {
            transaction.commit().await.map_err(database)?;
            return Err(Failure::fatal(planted::REASON, "ended between the commit and the dead letter"));
        }
        insert_rows(&mut transaction, failed).await.map_err(database)?;
        let drops = drops(&batch.items, &settled);
        record_drops(&mut transaction, &consumer, &drops).await.map_err(database)?;
        if H::POLICY.is_ordered() {
            self.park(&mut transaction, &batch.items, &settled).await.map_err(database)?;
        }
        transaction.commit().await.map_err(database)?;
        Ok(settled)
    }

    /// Locks the keys that are parked, and so decides for the rest of the transaction whose turn it is.
    async fn take_turns(
        &self,
        connection: &mut PgConnection,
        items: &[Item],
        settled: &mut Settled,
    ) -> Result<(), sqlx::Error> {
        let keys: Vec<Cow<'_, [u8]>> = items.iter().map(|item| parked::key_of(&item.record)).collect();
        let parked = parked::lock(connection, self.consumer, keys.iter().map(AsRef::as_ref)).await?;
        let messages = keys.iter().zip(items).map(|(key, item)| (key.as_ref(), item.wish()));
        settled.take_turns(items, &parked::turns(messages, &parked));
        Ok(())
    }

    /// Heads and what goes behind them. A message whose claim was lost has an outcome, or waits already.
    async fn park(&self, connection: &mut PgConnection, items: &[Item], settled: &Settled) -> Result<(), sqlx::Error> {
        let parks = |item: &&Item| {
            settled.appended.contains(&item.identity.event_id)
                || matches!(item.end, End::Failed(_, Fate::Park | Fate::DeadLetterAndHold))
        };
        let parking: Vec<(Cow<'_, [u8]>, &Item)> = items
            .iter()
            .filter(parks)
            .filter(|item| settled.claimed(&item.identity.event_id))
            .map(|item| (parked::key_of(&item.record), item))
            .collect();
        let parking: Vec<Parking<'_>> = parking
            .iter()
            .map(|(key, item)| {
                let of_head = match &item.end {
                    End::Failed(failure, fate) if settled.counts(&item.identity.event_id) => Some((failure, fate)),
                    _ => None,
                };
                Parking {
                    key,
                    record: &item.record,
                    identity: &item.identity,
                    reason: of_head.map_or(BEHIND, |(failure, _)| failure.reason),
                    detail: of_head.map_or("", |(failure, _)| &failure.detail),
                    held: matches!(of_head, Some((_, Fate::DeadLetterAndHold))),
                }
            })
            .collect();
        parked::append(connection, self.consumer, &parking, self.park_wait.as_secs_f64()).await
    }

    fn failed_rows(&self, items: &[Item], settled: &Settled) -> Vec<docfleet_outbox::OutboxRow> {
        let carrier = self.carrier();
        let carry = |item: &Item| {
            let End::Failed(failure, fate) = &item.end else { return None };
            match fate {
                Fate::Retry(tier) => Some(carrier.to_retry(&item.record, &item.identity, failure.into(), *tier)),
                Fate::DeadLetter | Fate::DeadLetterAndHold => {
                    Some(carrier.to_dead_letters(&item.record, &item.identity, failure.into()))
                }
                Fate::Park | Fate::Abandon | Fate::Exit => None,
            }
        };
        items.iter().filter(|item| settled.counts(&item.identity.event_id)).filter_map(carry).collect()
    }
}

/// What commands discard, each with its command.
fn drops(items: &[Item], settled: &Settled) -> Vec<(Uuid, CommandId)> {
    let dropped = |item: &Item| match item.end {
        End::Dropped(command) if settled.counts(&item.identity.event_id) => Some((item.identity.event_id, command)),
        _ => None,
    };
    items.iter().filter_map(dropped).collect()
}

/// Of statements that ran under [`TRANSACTION_TIMEOUT`] on `connection`. A late answer is a busy database.
pub(crate) fn settled_in_time<T>(
    answered: Result<Result<T, Failure>, Elapsed>,
    connection: PoolConnection<Postgres>,
) -> Result<T, Failure> {
    let late = |error: sqlx::Error| Failure::unavailable(failure::DATABASE_BUSY, error);
    in_time(answered.map(Ok), connection).map_err(late)?
}

pub(crate) fn panicked() -> Failure {
    Failure::transient("panicked", "the handler panicked; see the process's standard error")
}

pub(crate) fn of_outbox(error: Error) -> Failure {
    match error {
        Error::Database(error) => failure::of_database(&error),
        Error::TooLarge { .. } => Failure::poison("event-too-large", error),
        // Without the error's text: it may quote the event.
        Error::Avro(_) => Failure::poison("event-not-encodable", "the event does not follow its schema"),
        other => Failure::fatal("outbox", other),
    }
}

/// Takes the events that have no outcome yet, or whose retry this very attempt is.
async fn claim(
    connection: &mut PgConnection,
    consumer: &str,
    items: &[Item],
    settled: &mut Settled,
) -> Result<(), sqlx::Error> {
    let mut rows = Rows::of(items.len());
    let offered = |item: &&Item| {
        let id = &item.identity.event_id;
        !settled.freed.contains(id) && !settled.claimed.contains(id)
    };
    items.iter().filter(offered).for_each(|item| rows.push(item, settled));
    if rows.event_id.is_empty() {
        return Ok(());
    }
    // Sorted: two settlements that meet the same events lock them in the same order.
    let claimed: Vec<Uuid> = sqlx::query_scalar(
        r#"INSERT INTO pipeline.inbox AS i (consumer, event_id, event_day, outcome, reason, attempt, topic, partition, "offset", digest)
           SELECT $1, u.*
             FROM UNNEST($2::uuid[], $3::date[], $4::text[], $5::text[], $6::int[], $7::text[], $8::int[], $9::bigint[], $10::bytea[])
                  AS u (e)
            ORDER BY u.e
           ON CONFLICT (consumer, event_id, event_day) DO UPDATE
              SET outcome = excluded.outcome, reason = excluded.reason, attempt = excluded.attempt,
                  topic = excluded.topic, partition = excluded.partition, "offset" = excluded."offset",
                  settled_at = excluded.settled_at
            WHERE i.outcome = 'retrying'
              AND i.attempt = excluded.attempt - CASE excluded.outcome WHEN 'retrying' THEN 1 ELSE 0 END
              AND (i.digest = excluded.digest OR i.digest = '')
           RETURNING event_id"#,
    )
    .bind(consumer)
    .bind(rows.event_id)
    .bind(rows.event_day)
    .bind(rows.outcome)
    .bind(rows.reason)
    .bind(rows.attempt)
    .bind(rows.topic)
    .bind(rows.partition)
    .bind(rows.offset)
    .bind(rows.digest)
    .fetch_all(connection)
    .await?;
    settled.all = claimed.len() == items.len() && settled.appended.is_empty() || planted::is(Planted::SkipInbox);
    if !settled.all {
        settled.claimed.extend(claimed);
    }
    Ok(())
}

/// Events whose outcome was given to another payload. Of a batch that was claimed as a whole nothing is asked.
async fn collided(
    connection: &mut PgConnection,
    consumer: &str,
    items: &[Item],
    settled: &Settled,
) -> Result<HashSet<Uuid>, sqlx::Error> {
    let lost = |item: &&Item| {
        let id = &item.identity.event_id;
        item.digest.is_some() && !settled.claimed(id) && !settled.freed.contains(id)
    };
    let mut rows = Rows::of(0);
    items.iter().filter(lost).for_each(|item| rows.push(item, settled));
    if rows.event_id.is_empty() {
        return Ok(HashSet::new());
    }
    let collided: Vec<Uuid> = sqlx::query_scalar(
        r"SELECT i.event_id
            FROM UNNEST($2::uuid[], $3::date[], $4::bytea[]) AS u (event_id, event_day, digest)
            JOIN pipeline.inbox i ON i.consumer = $1 AND i.event_id = u.event_id AND i.event_day = u.event_day
           WHERE i.digest <> '' AND i.digest <> u.digest",
    )
    .bind(consumer)
    .bind(rows.event_id)
    .bind(rows.event_day)
    .bind(rows.digest)
    .fetch_all(connection)
    .await?;
    Ok(collided.into_iter().collect())
}

/// Messages that could not be decoded when they died, and can be now: from here on their outcome stands under the id of
/// their event, and nothing waits under that of their place. Returns whether there was one.
async fn release_places(connection: &mut PgConnection, consumer: &str, items: &[Item]) -> Result<bool, sqlx::Error> {
    let was_place = |item: &&Item| item.record.attempt() > 0 && item.identity.event_day != PLACE_DAY;
    let places: Vec<Uuid> = items.iter().filter(was_place).map(|item| place_id(&item.record)).collect();
    if places.is_empty() {
        return Ok(false);
    }
    let released = sqlx::query(
        r"UPDATE pipeline.inbox SET outcome = 'skipped', reason = 'decoded-later', settled_at = clock_timestamp()
           WHERE consumer = $1 AND event_id = ANY($2) AND event_day = $3 AND outcome = 'retrying'",
    )
    .bind(consumer)
    .bind(places)
    .bind(PLACE_DAY)
    .execute(connection)
    .await?;
    Ok(released.rows_affected() > 0)
}

/// The items turned by 90 degrees, as UNNEST wants them.
#[derive(Default)]
struct Rows<'a> {
    event_id: Vec<Uuid>,
    event_day: Vec<Date>,
    outcome: Vec<&'static str>,
    reason: Vec<Option<&'static str>>,
    attempt: Vec<i32>,
    topic: Vec<&'a str>,
    partition: Vec<i32>,
    offset: Vec<i64>,
    digest: Vec<&'a [u8]>,
}

impl<'a> Rows<'a> {
    fn of(capacity: usize) -> Self {
        Self {
            event_id: Vec::with_capacity(capacity),
            event_day: Vec::with_capacity(capacity),
            outcome: Vec::with_capacity(capacity),
            reason: Vec::with_capacity(capacity),
            attempt: Vec::with_capacity(capacity),
            topic: Vec::with_capacity(capacity),
            partition: Vec::with_capacity(capacity),
            offset: Vec::with_capacity(capacity),
            digest: Vec::with_capacity(capacity),
        }
    }

    fn push(&mut self, item: &'a Item, settled: &Settled) {
        let attempt = item.record.attempt();
        let (outcome, reason, attempt) = match &item.end {
            _ if settled.appended.contains(&item.identity.event_id) => ("parked", Some(BEHIND), attempt),
            End::Worked => ("done", None, attempt),
            End::Failed(failure, Fate::Retry(_)) => ("retrying", Some(failure.reason), attempt + 1),
            End::Failed(failure, Fate::Park) => ("parked", Some(failure.reason), attempt),
            End::Failed(failure, _) => ("dead", Some(failure.reason), attempt),
            End::Behind(_) => ("parked", Some(BEHIND), attempt),
            End::Dropped(_) => ("discarded", Some(DROPPED), attempt),
        };
        self.event_id.push(item.identity.event_id);
        self.event_day.push(item.identity.event_day);
        self.outcome.push(outcome);
        self.reason.push(reason);
        self.attempt.push(attempt);
        self.topic.push(&item.record.source.topic);
        self.partition.push(item.record.source.partition);
        self.offset.push(item.record.offset);
        self.digest.push(item.digest.as_ref().map_or(&[][..], |digest| digest.as_slice()));
    }
}
