//! One step of a redrive, one transaction: inbox rows become `retrying` under the next attempt's number, and retry rows
//! carry that number. So the consumer accepts that record once, and nothing else.

use docfleet_outbox::{Kind, OutboxRow, WAKE_UP_CHANNEL, insert_rows};
use sqlx::{Connection, FromRow, PgConnection, types::Json};
use time::Date;
use uuid::Uuid;

use super::{repark, watch};
use crate::{
    Error,
    consumer::{RETRY_DELAYS, retry_topic},
};

/// As `docfleet_pipeline::header` names them; this crate does not know the runtime.
const ATTEMPT: &str = "docfleet_attempt";
const NOT_BEFORE: &str = "docfleet_not_before";

/// What every step needs to be allowed.
pub struct Hold {
    pub redrive: i64,
    pub owner: Uuid,
}

#[derive(FromRow)]
struct Dead {
    position: i64,
    consumer: String,
    event_id: Uuid,
    event_day: Date,
    next_attempt: i32,
    event_type: String,
    key: Option<Vec<u8>>,
    headers: Json<Vec<(String, String)>>,
    payload: Option<Vec<u8>>,
    tenant: String,
    region: String,
}

/// Renews the lease. False when another took the redrive, or somebody ended it.
pub async fn hold(connection: &mut PgConnection, hold: &Hold) -> Result<bool, Error> {
    let held = sqlx::query(
        r"UPDATE pipeline.redrives SET lease_until = clock_timestamp() + interval '30 seconds'
           WHERE id = $1 AND lease_owner = $2 AND state = 'running'",
    );
    Ok(held.bind(hold.redrive).bind(hold.owner).execute(connection).await?.rows_affected() == 1)
}

/// What a step did.
#[derive(Default)]
pub struct Step {
    pub sent: i64,
    pub gone: i64,
    pub refused: i64,
}

/// These positions, and those of the same parked keys: letters of one key go back together, or out of order.
pub async fn with_keys(connection: &mut PgConnection, redrive: i64, positions: &[i64]) -> Result<Vec<i64>, Error> {
    let all = sqlx::query_scalar(
        r"SELECT p.position FROM UNNEST($2::bigint[]) AS p (position)
          UNION
          SELECT t.position FROM pipeline.redrive_items t
           WHERE t.redrive_id = $1 AND t.state = 'planned' AND t.park_key IS NOT NULL
             AND (t.consumer, t.park_key) IN (SELECT n.consumer, n.park_key FROM pipeline.redrive_items n
                                               WHERE n.redrive_id = $1 AND n.position = ANY ($2))
          ORDER BY 1",
    );
    Ok(all.bind(redrive).bind(positions).fetch_all(connection).await?)
}

/// Sends the letters at `positions`; nothing when it is not allowed to any more. What is not dead any more is gone.
pub async fn send(
    connection: &mut PgConnection,
    held: &Hold,
    prefix: &str,
    positions: &[i64],
) -> Result<Option<Step>, Error> {
    let mut transaction = connection.begin().await?;
    // The row's lock is held until the commit: whoever ends the redrive waits for this step, and none follows.
    if !hold(&mut transaction, held).await? {
        return Ok(None);
    }
    // Keys before inbox rows, as settlements lock them.
    let mut step = repark::repark(&mut transaction, held.redrive, positions).await?;
    let mut letters = lock(&mut transaction, held.redrive, positions).await?;
    step.gone += mark(&mut transaction, held.redrive, positions, &letters).await?;
    step.sent += i64::try_from(letters.len()).unwrap_or(i64::MAX);
    watch::close_older(&mut transaction, held.redrive, positions).await?;
    letters.sort_by_key(|letter| letter.position);
    let retries: Vec<OutboxRow> = letters.into_iter().map(|letter| letter.into_retry(prefix)).collect();
    if !retries.is_empty() {
        insert_rows(&mut transaction, retries).await?;
        // A hint only: the relays poll.
        sqlx::query("SELECT pg_notify($1, '')").bind(WAKE_UP_CHANNEL).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(Some(step))
}

/// In the order in which settlements lock their inbox rows, so that the two can not deadlock. Whoever comes second
/// finds rows that are not dead any more, and skips them.
async fn lock(connection: &mut PgConnection, redrive: i64, positions: &[i64]) -> Result<Vec<Dead>, Error> {
    // An attempt that was taken back may still have a record on its way: its number is not used again.
    let dead = sqlx::query_as(
        r"SELECT t.position, i.consumer, i.event_id, i.event_day, o.event_type, o.key, o.headers, o.payload, o.tenant, o.region,
                 1 + greatest(i.attempt, (SELECT max(r.attempt) FROM pipeline.outbox_events r WHERE r.kind = 'retry'
                                             AND r.consumer = i.consumer AND r.event_id = i.event_id)) AS next_attempt
            FROM pipeline.redrive_items t
            JOIN pipeline.inbox i ON i.consumer = t.consumer AND i.event_id = t.event_id AND i.event_day = t.event_day
            JOIN pipeline.outbox_events o ON o.id = t.letter AND o.created_at = t.letter_at
           WHERE t.redrive_id = $1 AND t.position = ANY ($2) AND t.state = 'planned' AND t.park_key IS NULL
             AND i.outcome = 'dead' AND i.attempt = t.attempt
           ORDER BY i.event_id, i.consumer FOR UPDATE OF i",
    );
    Ok(dead.bind(redrive).bind(positions).fetch_all(connection).await?)
}

/// Returns how many are gone.
async fn mark(connection: &mut PgConnection, redrive: i64, positions: &[i64], letters: &[Dead]) -> Result<i64, Error> {
    let consumers: Vec<&str> = letters.iter().map(|letter| letter.consumer.as_str()).collect();
    let ids: Vec<Uuid> = letters.iter().map(|letter| letter.event_id).collect();
    let days: Vec<Date> = letters.iter().map(|letter| letter.event_day).collect();
    let attempts: Vec<i32> = letters.iter().map(|letter| letter.next_attempt).collect();
    let sent: Vec<i64> = letters.iter().map(|letter| letter.position).collect();
    sqlx::query(
        r"UPDATE pipeline.inbox i SET outcome = 'retrying', attempt = c.attempt, settled_at = clock_timestamp()
            FROM UNNEST($1::text[], $2::uuid[], $3::date[], $4::int[]) AS c (consumer, event_id, event_day, attempt)
           WHERE i.consumer = c.consumer AND i.event_id = c.event_id AND i.event_day = c.event_day",
    )
    .bind(consumers)
    .bind(ids)
    .bind(days)
    .bind(&attempts)
    .execute(&mut *connection)
    .await?;
    let gone: i64 = sqlx::query_scalar(
        r"WITH marked AS (
          UPDATE pipeline.redrive_items t
             SET state = CASE WHEN c.attempt IS NULL THEN 'gone' ELSE 'sent' END, sent_attempt = c.attempt,
                 sent_at = CASE WHEN c.attempt IS NULL THEN NULL ELSE clock_timestamp() END
            FROM UNNEST($2::bigint[]) AS p (position)
            LEFT JOIN UNNEST($3::bigint[], $4::int[]) AS c (position, attempt) USING (position)
           WHERE t.redrive_id = $1 AND t.position = p.position AND t.state = 'planned'
       RETURNING t.state)
          SELECT count(*) FROM marked WHERE state = 'gone'",
    )
    .bind(redrive)
    .bind(positions)
    .bind(sent)
    .bind(&attempts)
    .fetch_one(connection)
    .await?;
    Ok(gone)
}

impl Dead {
    fn into_retry(self, prefix: &str) -> OutboxRow {
        let [shortest, ..] = RETRY_DELAYS;
        OutboxRow {
            kind: Kind::Retry,
            event_id: self.event_id,
            event_type: self.event_type,
            aggregate: None,
            attempt: self.next_attempt,
            topic: retry_topic(prefix, &self.consumer, shortest),
            consumer: Some(self.consumer),
            key: self.key,
            headers: next_headers(self.headers.0, self.next_attempt),
            payload: self.payload,
            tenant: self.tenant,
            region: self.region,
        }
    }
}

/// The record's own headers and its origin stay; it may be worked on at once, under the next attempt's number.
fn next_headers(headers: Vec<(String, String)>, attempt: i32) -> Vec<(String, String)> {
    let kept = headers.into_iter().filter(|(name, _)| name != ATTEMPT && name != NOT_BEFORE);
    kept.chain([(ATTEMPT.to_owned(), attempt.to_string())]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(headers: &[(&str, &str)]) -> Vec<(String, String)> {
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_replay_keeps_the_origin_and_carries_the_next_attempt_only() {
        let died = pairs(&[
            ("event_id", "e"),
            ("docfleet_attempt", "3"),
            ("docfleet_not_before", "99"),
            ("docfleet_original_topic", "t"),
            ("docfleet_original_partition", "1"),
            ("docfleet_original_offset", "7"),
        ]);
        let expected = pairs(&[
            ("event_id", "e"),
            ("docfleet_original_topic", "t"),
            ("docfleet_original_partition", "1"),
            ("docfleet_original_offset", "7"),
            ("docfleet_attempt", "4"),
        ]);
        assert_eq!(next_headers(died, 4), expected);
    }
}
