use docfleet_outbox::{Kind, OutboxRow, WAKE_UP_CHANNEL, insert_rows};
use sqlx::{Connection, FromRow, PgConnection, types::Json};
use time::Date;
use uuid::Uuid;

use super::{
    action::{ActionArgs, BATCH, Plan},
    filter::from_dead_letters,
};
use crate::{
    Error,
    consumer::{RETRY_DELAYS, retry_topic},
};

/// As `docfleet_pipeline::header` names them; this crate does not know the runtime.
const ATTEMPT: &str = "docfleet_attempt";
const NOT_BEFORE: &str = "docfleet_not_before";

#[derive(FromRow)]
struct Dead {
    consumer: String,
    event_id: Uuid,
    event_day: Date,
    attempt: i32,
    event_type: String,
    key: Option<Vec<u8>>,
    headers: Json<Vec<(String, String)>>,
    payload: Option<Vec<u8>>,
    tenant: String,
    region: String,
}

/// Sends the plan's letters to their consumers, each in one transaction with its inbox row: `retrying` with the next
/// attempt's number, which the record carries. So the consumer accepts that record once, and nothing else.
pub async fn replay(connection: &mut PgConnection, prefix: &str, args: &ActionArgs, plan: &Plan) -> Result<i64, Error> {
    let mut replayed = 0;
    loop {
        let mut transaction = connection.begin().await?;
        let letters = lock(&mut transaction, args, plan).await?;
        if letters.is_empty() {
            break;
        }
        replayed += i64::try_from(letters.len()).unwrap_or(0);
        revive(&mut transaction, args, &letters).await?;
        insert_rows(&mut transaction, letters.into_iter().map(|letter| letter.into_retry(prefix)).collect()).await?;
        transaction.commit().await?;
    }
    if replayed > 0 {
        // A hint only: the relays poll.
        sqlx::query("SELECT pg_notify($1, '')").bind(WAKE_UP_CHANNEL).execute(connection).await?;
    }
    Ok(replayed)
}

/// In the order in which settlements lock their inbox rows, so that the two can not deadlock. Whoever comes second
/// finds rows that are not dead any more, and skips them.
async fn lock(connection: &mut PgConnection, args: &ActionArgs, plan: &Plan) -> Result<Vec<Dead>, Error> {
    let query = sqlx::query_as(concat!(
        "SELECT i.consumer, i.event_id, i.event_day, i.attempt, o.event_type, o.key, o.headers, o.payload, o.tenant, o.region",
        from_dead_letters!(),
        "AND o.id <= $5 ORDER BY i.event_id, i.consumer LIMIT $6 FOR UPDATE OF i"
    ));
    Ok(args.filter.bind(query).bind(plan.last_row).bind(BATCH).fetch_all(connection).await?)
}

async fn revive(connection: &mut PgConnection, args: &ActionArgs, letters: &[Dead]) -> Result<(), Error> {
    let consumers: Vec<&str> = letters.iter().map(|letter| letter.consumer.as_str()).collect();
    let ids: Vec<Uuid> = letters.iter().map(|letter| letter.event_id).collect();
    let days: Vec<Date> = letters.iter().map(|letter| letter.event_day).collect();
    sqlx::query(
        r"WITH chosen AS (SELECT * FROM UNNEST($1::text[], $2::uuid[], $3::date[]) AS u (consumer, event_id, event_day)),
               revived AS (
                   UPDATE pipeline.inbox i
                      SET outcome = 'retrying', attempt = i.attempt + 1, settled_at = clock_timestamp()
                     FROM chosen c
                    WHERE i.consumer = c.consumer AND i.event_id = c.event_id AND i.event_day = c.event_day
                RETURNING i.consumer, i.event_id)
          INSERT INTO pipeline.operator_actions (who, action, consumer, event_id, why)
          SELECT $4, 'replay', consumer, event_id, $5 FROM revived ORDER BY event_id, consumer",
    )
    .bind(consumers)
    .bind(ids)
    .bind(days)
    .bind(&args.who)
    .bind(args.why())
    .execute(connection)
    .await?;
    Ok(())
}

impl Dead {
    fn into_retry(self, prefix: &str) -> OutboxRow {
        let attempt = self.attempt + 1;
        let [shortest, ..] = RETRY_DELAYS;
        OutboxRow {
            kind: Kind::Retry,
            event_id: self.event_id,
            event_type: self.event_type,
            aggregate: None,
            attempt,
            topic: retry_topic(prefix, &self.consumer, shortest),
            consumer: Some(self.consumer),
            key: self.key,
            headers: next_headers(self.headers.0, attempt),
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
