use std::{collections::HashSet, panic::AssertUnwindSafe};

use docfleet_outbox::{Error, insert_rows};
use futures::FutureExt;
use sqlx::{Connection, PgConnection};
use time::Date;
use uuid::Uuid;

use super::{Batch, Item, Settlement, Settler, TRANSACTION_TIMEOUT, failed::Carrier};
use crate::{
    Failure, Handler, clock,
    database::in_time,
    failure,
    fate::Fate,
    message::{PLACE_DAY, place_id},
};

/// The events whose outcome this settlement decided. The others had one before.
pub(super) type Claimed = HashSet<Uuid>;

impl<H: Handler> Settler<H> {
    /// One try, from `BEGIN` to `COMMIT`. May be repeated after any error, also when it is not known whether the commit
    /// took place: the inbox then says that there is nothing left to do.
    pub(super) async fn transact(&self, batch: &mut Batch<H>) -> Result<Claimed, Failure> {
        let mut connection = self.pool.acquire().await.map_err(|e| failure::of_database(&e))?;
        let statements = async { Ok(self.statements(&mut connection, batch).await) };
        let answered = tokio::time::timeout(TRANSACTION_TIMEOUT, statements).await;
        let late = |error: sqlx::Error| Failure::unavailable(failure::DATABASE_BUSY, error);
        in_time(answered, connection).map_err(late)?
    }

    async fn statements(&self, connection: &mut PgConnection, batch: &mut Batch<H>) -> Result<Claimed, Failure> {
        let database = |error: sqlx::Error| failure::of_database(&error);
        let mut transaction = connection.begin().await.map_err(database)?;
        let claimed = claim(&mut transaction, self.consumer, &batch.items).await.map_err(database)?;
        let released = release_places(&mut transaction, self.consumer, &batch.items).await.map_err(database)?;
        if claimed.is_empty() && !released {
            return Ok(claimed);
        }
        let mut settlement = Settlement::new(&mut transaction, self.consumer);
        let fresh = batch.fresh(&claimed);
        if !fresh.is_empty() {
            let recording = AssertUnwindSafe(self.handler.record(fresh, &mut settlement)).catch_unwind();
            recording.await.unwrap_or_else(|_| {
                Err(Failure::transient("panicked", "the handler panicked; see the process's standard error"))
            })?;
        }
        let drafts = settlement.into_drafts();
        self.outbox.append(&mut transaction, drafts).await.map_err(of_outbox)?;
        let failed = self.failed_rows(&batch.items, &claimed);
        insert_rows(&mut transaction, failed).await.map_err(database)?;
        transaction.commit().await.map_err(database)?;
        Ok(claimed)
    }

    fn failed_rows(&self, items: &[Item], claimed: &Claimed) -> Vec<docfleet_outbox::OutboxRow> {
        let carrier = Carrier {
            consumer: self.consumer,
            topic_prefix: &self.topic_prefix,
            retry: &self.retry,
            now_ms: clock::now_ms(),
        };
        let carry = |item: &Item| match item.failed.as_ref()? {
            (failure, Fate::Retry(tier)) => Some(carrier.to_retry(&item.record, &item.identity, failure, *tier)),
            (failure, _) => Some(carrier.to_dead_letters(&item.record, &item.identity, failure)),
        };
        items.iter().filter(|item| claimed.contains(&item.identity.event_id)).filter_map(carry).collect()
    }
}

fn of_outbox(error: Error) -> Failure {
    match error {
        Error::Database(error) => failure::of_database(&error),
        Error::TooLarge { .. } => Failure::poison("event-too-large", error),
        // Without the error's text: it may quote the event.
        Error::Avro(_) => Failure::poison("event-not-encodable", "the event does not follow its schema"),
        other => Failure::fatal("outbox", other),
    }
}

/// Takes the events that have no outcome yet, or whose retry this very attempt is.
async fn claim(connection: &mut PgConnection, consumer: &str, items: &[Item]) -> Result<Claimed, sqlx::Error> {
    let mut rows = Rows::default();
    for item in items {
        rows.push(item);
    }
    // Sorted: two settlements that meet the same events lock them in the same order.
    let claimed: Vec<Uuid> = sqlx::query_scalar(
        r#"INSERT INTO pipeline.inbox AS i (consumer, event_id, event_day, outcome, reason, attempt, topic, partition, "offset", digest)
           SELECT $1, u.*
             FROM UNNEST($2::uuid[], $3::date[], $4::text[], $5::text[], $6::int[], $7::text[], $8::int[], $9::bigint[], $10::bytea[]) AS u (e)
            ORDER BY u.e
           ON CONFLICT (consumer, event_id, event_day) DO UPDATE
              SET outcome = excluded.outcome, reason = excluded.reason, attempt = excluded.attempt,
                  topic = excluded.topic, partition = excluded.partition, "offset" = excluded."offset",
                  settled_at = excluded.settled_at
            WHERE i.outcome = 'retrying'
              AND i.attempt = excluded.attempt - CASE excluded.outcome WHEN 'retrying' THEN 1 ELSE 0 END
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
    Ok(claimed.into_iter().collect())
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
struct Rows {
    event_id: Vec<Uuid>,
    event_day: Vec<Date>,
    outcome: Vec<&'static str>,
    reason: Vec<Option<&'static str>>,
    attempt: Vec<i32>,
    topic: Vec<String>,
    partition: Vec<i32>,
    offset: Vec<i64>,
    digest: Vec<Vec<u8>>,
}

impl Rows {
    fn push(&mut self, item: &Item) {
        let attempt = item.record.attempt();
        let (outcome, reason, attempt) = match &item.failed {
            None => ("done", None, attempt),
            Some((failure, Fate::Retry(_))) => ("retrying", Some(failure.reason), attempt + 1),
            Some((failure, _)) => ("dead", Some(failure.reason), attempt),
        };
        self.event_id.push(item.identity.event_id);
        self.event_day.push(item.identity.event_day);
        self.outcome.push(outcome);
        self.reason.push(reason);
        self.attempt.push(attempt);
        self.topic.push(item.record.source.topic.to_string());
        self.partition.push(item.record.source.partition);
        self.offset.push(item.record.offset);
        self.digest.push(item.record.digest());
    }
}
